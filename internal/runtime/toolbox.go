package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// startTimeout is how long a toolset may take to start and list its tools.
const startTimeout = 45 * time.Second

// toolbox holds the tools of one agent in one session.
type toolbox struct {
	sets  []*toolset
	tools map[string]boxed
	order []string
	// lookup finds what the agent defers, nil if it defers nothing; hidden are the
	// names of those tools that were not added.
	lookup *toolset
	hidden map[string]bool
	// partial says that a toolset did not say what it has.
	partial bool
}

// put offers a tool; of several with one name the first wins, and the others are not
// offered.
func (b *toolbox) put(t boxed) (offered bool) {
	if _, dup := b.tools[t.def.Name]; dup {
		return false
	}
	b.tools[t.def.Name] = t
	b.order = append(b.order, t.def.Name)
	return true
}

// find returns the tool that a call means: the one of that name, or else the only one
// that has it at its server, whose name here begins with the server's. Models leave
// that out, instructions that were written for the server do, and calls that a session
// waited with when its file gave the server no name yet. With exact only the first
// counts: an agent with hooks has to say the whole name, as they are chosen by it. So it
// is while a toolset does not answer, which may have a tool of that name, too.
func (b *toolbox) find(name string, exact bool) (t boxed, known bool) {
	if t, known = b.tools[name]; known || exact || b.partial || name == "" {
		return t, known
	}
	for _, other := range b.order {
		if b.tools[other].def.Remote != name {
			continue
		}
		if known {
			return boxed{}, false // which one is not for us to guess
		}
		t, known = b.tools[other], true
	}
	return t, known
}

// toolset is a toolset with what the agent file says of it.
type toolset struct {
	tool.Toolset
	spec *agent.Toolset
	warn string // the last problem that was told to the user
	// clash is what was told of tools whose names another toolset has.
	clash string
}

// clashed tells the user once of tools that are not offered.
func (d *drive) clashed(ctx context.Context, agentName string, ts *toolset, names []string) error {
	text := ""
	if len(names) > 0 {
		text = fmt.Sprintf("toolset %s: not offered, because another toolset has tools of the same name: %s", ts.Name(), strings.Join(names, ", "))
		if ts.spec.Type == "mcp" {
			text += "; give the server a `name`, which comes before the names of its tools"
		}
	}
	if text == ts.clash {
		return nil
	}
	ts.clash = text
	if text == "" {
		return nil
	}
	return d.warn(ctx, agentName, text, holdfast.CodeInvalid)
}

// boxed is a tool and where it comes from; own marks those of the loop.
type boxed struct {
	def tool.Definition
	set *toolset
	own bool
	// described says that the parameter description is the loop's, not the tool's.
	described bool
}

// box returns the agent's tools, started and listed anew: a toolset knows by
// itself whether its list is still good. It puts warnings into the log for
// toolsets that cannot start; the run goes on without them.
func (d *drive) box(ctx context.Context, team *agent.Team, a *agent.Agent) (*toolbox, error) {
	b := d.boxes[a.Name]
	if b == nil {
		b = &toolbox{lookup: lookupOf(a)}
		d.boxes[a.Name] = b
		var user string
		d.locked(func() { user = d.s.User })
		for _, spec := range a.Toolsets {
			ts, err := d.e.toolset(tool.WithUser(ctx, user), d.s.Ref, team, a, spec)
			if err != nil && ctx.Err() == nil && d.isAway(err) { // the agent is not to go without
				b.close(d.e.log)
				delete(d.boxes, a.Name)
				return nil, fmt.Errorf("%w: toolset %s: %w", errAway, spec.Type, err)
			}
			if err != nil && ctx.Err() != nil { // the run is stopped: the next one is not to go without either
				b.close(d.e.log)
				delete(d.boxes, a.Name)
				return nil, context.Cause(ctx)
			}
			if err != nil {
				if werr := d.warn(ctx, a.Name, fmt.Sprintf("toolset %s: %s", spec.Type, holdfast.PublicMessage(err)), holdfast.CodeOf(err)); werr != nil {
					b.close(d.e.log)
					delete(d.boxes, a.Name)
					return nil, werr
				}
				continue
			}
			b.sets = append(b.sets, &toolset{Toolset: ts, spec: spec})
		}
	}
	b.tools, b.order = map[string]boxed{}, nil
	var hidden []boxed
	for _, def := range ownTools(team, a) {
		b.put(boxed{def: def, own: true})
	}
	if b.lookup != nil {
		defs, err := b.lookup.Tools(ctx)
		if err != nil {
			return nil, err
		}
		for _, def := range defs {
			b.put(boxed{def: def, set: b.lookup})
		}
	}
	for _, ts := range b.sets {
		tctx, cancel := context.WithTimeout(ctx, startTimeout)
		defs, err := ts.Tools(tctx)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			parked, why, aerr := d.authorize(ctx, a.Name, ts.Name(), "", err)
			switch {
			case aerr != nil:
				return nil, aerr
			case parked:
				return nil, errAwaiting
			case why != nil:
				err = why
			}
			b.partial = true
			text := fmt.Sprintf("toolset %s: %s", ts.Name(), holdfast.PublicMessage(err))
			if text != ts.warn {
				ts.warn = text
				if werr := d.warn(ctx, a.Name, text, holdfast.CodeOf(err)); werr != nil {
					return nil, werr
				}
			}
			continue
		}
		ts.warn = ""
		var clashes []string
		for _, def := range defs {
			if len(ts.spec.Tools) > 0 && !slices.Contains(ts.spec.Tools, def.Name) && !slices.Contains(ts.spec.Tools, def.Remote) {
				continue
			}
			if ts.spec.ReadOnly && def.Effect != tool.EffectReadOnly {
				continue
			}
			if policy := cmp.Or(ts.spec.OnUnknown[def.Name], ts.spec.OnUnknown[def.Remote], ts.spec.OnUnknown["*"]); policy != "" {
				def.OnUnknown = policy
			}
			t := boxed{def: def, set: ts}
			if a.AddDescriptionParameter {
				t.def.Parameters, t.described = describe(def.Parameters)
			}
			if ts.deferred(def) {
				if !slices.ContainsFunc(hidden, func(h boxed) bool { return h.def.Name == def.Name }) {
					hidden = append(hidden, t)
				}
				continue
			}
			if !b.put(t) {
				clashes = append(clashes, def.Name)
			}
		}
		if err := d.clashed(ctx, a.Name, ts, clashes); err != nil {
			return nil, err
		}
	}
	if b.lookup != nil {
		d.offerDeferred(b, a, hidden)
	}
	return b, nil
}

// warn tells the user of something that does not fail the run.
func (d *drive) warn(ctx context.Context, agentName, text string, code holdfast.Code) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, &holdfast.WarningEvent{AgentContext: holdfast.AgentContext{AgentName: agentName}, Message: text, Code: code})
}

// ownTools returns the definitions of the tools that the loop itself provides.
func ownTools(team *agent.Team, a *agent.Agent) []tool.Definition {
	var defs []tool.Definition
	schema := func(props map[string]any, required ...string) json.RawMessage {
		raw, err := json.Marshal(map[string]any{"type": "object", "properties": props, "required": required, "additionalProperties": false})
		if err != nil { // fixed shapes always marshal
			panic(err)
		}
		return raw
	}
	text := func(desc string) map[string]any { return map[string]any{"type": "string", "description": desc} }
	one := func(names []string) map[string]any {
		return map[string]any{"type": "string", "enum": names, "description": "Name of the agent"}
	}
	if len(a.SubAgents) > 0 {
		defs = append(defs, tool.Definition{
			Name: ToolTransfer, Title: "Transfer a task", NoApproval: true,
			Description: "Give a task to another agent, wait for it and get its answer.",
			Parameters: schema(map[string]any{
				"agent": one(a.SubAgents), "task": text("What the agent is to do, with all that it needs to know"),
				"expected_output": text("What the answer should look like"),
			}, "agent", "task", "expected_output"),
		})
	}
	if len(a.Handoffs) > 0 {
		defs = append(defs, tool.Definition{
			Name: ToolHandoff, Title: "Hand over", NoApproval: true,
			Description: "Hand the whole conversation over to another agent, who answers from now on.",
			Parameters:  schema(map[string]any{"agent": one(a.Handoffs)}, "agent"),
		})
	}
	return defs
}

// modelTools returns the tools as a model sees them.
func (b *toolbox) modelTools() []model.Tool {
	ts := make([]model.Tool, len(b.order))
	for i, name := range b.order {
		def := b.tools[name].def
		ts[i] = model.Tool{Name: def.Name, Description: def.Description, Parameters: def.Parameters}
	}
	return ts
}

// instructions returns what the toolsets want in the system prompt.
func (b *toolbox) instructions() []string {
	var out []string
	for _, ts := range b.sets {
		if ts.warn != "" {
			continue
		}
		text := ts.Instructions()
		if ts.spec.Instruction != "" {
			text = strings.ReplaceAll(ts.spec.Instruction, "{ORIGINAL_INSTRUCTIONS}", text)
		}
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, text)
		}
	}
	return out
}

func (b *toolbox) close(log *slog.Logger) {
	for _, ts := range b.sets {
		if err := ts.Close(); err != nil && !errors.Is(err, context.Canceled) {
			log.Warn("close toolset", "toolset", ts.Name(), "error", err)
		}
	}
	b.sets = nil
}
