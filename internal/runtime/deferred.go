package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// The tools with which a model finds those that its agent defers. They are there
// for agents with a toolset that has the key defer.
const (
	ToolSearch = "search_tool"
	ToolAdd    = "add_tool"
)

// deferredState is where the session keeps what was added: the name of a toolset,
// with the agent's name as the key and a list of tools as the value. It is stored.
const deferredState = "holdfast:deferred"

// maxFound is how many tools one search shows.
const maxFound = 20

// lookup is the toolset of search_tool and add_tool of one agent. What was added is
// state of the session, so that it is there for whoever goes on with it.
type lookup struct {
	agent string
	// tools are all that the agent defers, those that were added too, in the order
	// of the file. Only the loop's goroutine changes them, while no call runs.
	tools []tool.Definition
}

func (l *lookup) Name() string         { return deferredState }
func (l *lookup) Instructions() string { return "" }
func (l *lookup) Close() error         { return nil }

// Tools implements [tool.Toolset].
func (l *lookup) Tools(context.Context) ([]tool.Definition, error) {
	return []tool.Definition{
		{
			Name: ToolSearch, Title: "Search for a tool", Effect: tool.EffectReadOnly, Concurrent: true, NoApproval: true,
			Description: "There are more tools than you see. Find them by words of what they do; add the one that you need with " + ToolAdd + ".",
			Parameters: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string",` +
				`"description":"Words to look for in names and descriptions; empty for all tools"}},"required":["query"],"additionalProperties":false}`),
		},
		{
			Name: ToolAdd, Title: "Add a tool", Effect: tool.EffectIdempotent, NoApproval: true,
			Description: "Add a tool that " + ToolSearch + " has found. From then on you can call it.",
			Parameters: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string",` +
				`"description":"Name of the tool"}},"required":["name"],"additionalProperties":false}`),
		},
	}, nil
}

// Call implements [tool.Toolset].
func (l *lookup) Call(_ context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		Query string `json:"query"`
		Name  string `json:"name"`
	}
	if strings.TrimSpace(c.Arguments) != "" {
		if err := json.Unmarshal([]byte(c.Arguments), &args); err != nil {
			return tool.ErrorResult("The arguments of " + c.Name + " are not what its schema says."), nil
		}
	}
	if c.Name == ToolSearch {
		return tool.Result{Output: l.search(args.Query)}, nil
	}
	i := slices.IndexFunc(l.tools, func(d tool.Definition) bool { return d.Name == args.Name })
	if i < 0 {
		return tool.ErrorResult(fmt.Sprintf("There is no tool %.100q to add. Look for its name with %s.", args.Name, ToolSearch)), nil
	}
	added := addedTools(c.State(l.agent))
	if slices.Contains(added, args.Name) {
		return tool.Result{Output: "The tool " + args.Name + " was added already."}, nil
	}
	list, err := json.Marshal(append(added, args.Name))
	if err != nil {
		return tool.Result{}, fmt.Errorf("encoding the added tools: %w", err)
	}
	return tool.Result{
		Output: "The tool " + args.Name + " is yours to call from now on.",
		State:  map[string]json.RawMessage{l.agent: list},
	}, nil
}

// search lists the tools in which the most words of the query occur, best first,
// equal ones in the order of the file.
func (l *lookup) search(query string) string {
	words := strings.Fields(strings.ToLower(query))
	type hit struct{ place, score int }
	var hits []hit
	for i, d := range l.tools {
		name, text := strings.ToLower(d.Name), strings.ToLower(d.Title+"\n"+d.Description)
		score := 0
		for _, w := range words {
			switch {
			case strings.Contains(name, w):
				score += 3 // who knows a part of the name means this one
			case strings.Contains(text, w):
				score++
			}
		}
		if score > 0 || len(words) == 0 {
			hits = append(hits, hit{i, score})
		}
	}
	if len(hits) == 0 {
		return "No tool fits. Try other words, or an empty query for all."
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	var b strings.Builder
	for _, h := range hits[:min(len(hits), maxFound)] {
		d := l.tools[h.place]
		fmt.Fprintf(&b, "- %s", d.Name)
		if text := strings.TrimSpace(cmp.Or(d.Description, d.Title)); text != "" {
			fmt.Fprintf(&b, ": %s", tool.BoundTo(text, 500))
		}
		b.WriteByte('\n')
	}
	if more := len(hits) - maxFound; more > 0 {
		fmt.Fprintf(&b, "%d more; use more words.\n", more)
	}
	return strings.TrimRight(b.String(), "\n")
}

// addedTools reads the stored list.
func addedTools(raw json.RawMessage) (names []string) {
	_ = json.Unmarshal(raw, &names) // of our own making; nothing means none
	return names
}

// lookupOf returns the toolset with which an agent finds what it defers, nil if it
// defers nothing.
func lookupOf(a *agent.Agent) *toolset {
	for _, t := range a.Toolsets {
		if t.Defer != nil && (t.Defer.All || len(t.Defer.Tools) > 0) {
			return &toolset{Toolset: &lookup{agent: a.Name}, spec: &agent.Toolset{}}
		}
	}
	return nil
}

// deferred reports whether the agent file defers the tool.
func (ts *toolset) deferred(def tool.Definition) bool {
	d := ts.spec.Defer
	return d != nil && (d.All || slices.Contains(d.Tools, def.Name) || (def.Remote != "" && slices.Contains(d.Tools, def.Remote)))
}

// offerDeferred puts into the box what looks for tools, and those that the
// session has added, in the order in which it did: what stands before them in a
// prompt stays the same.
func (d *drive) offerDeferred(b *toolbox, a *agent.Agent, hidden []boxed) {
	look := b.lookup.Toolset.(*lookup)
	look.tools = look.tools[:0]
	for _, t := range hidden {
		look.tools = append(look.tools, t.def)
	}
	var added []string
	d.locked(func() { added = addedTools(d.s.Tool[deferredState][a.Name]) })
	b.hidden = map[string]bool{}
	for _, t := range hidden {
		b.hidden[t.def.Name] = true
	}
	for _, name := range added {
		if i := slices.IndexFunc(hidden, func(t boxed) bool { return t.def.Name == name }); i >= 0 {
			delete(b.hidden, name)
			b.put(hidden[i])
		}
	}
}

// unknownTool is what a model reads that calls a tool which it does not have.
func (b *toolbox) unknownTool(name string) string {
	if b.hidden[name] {
		return fmt.Sprintf("The tool %q has to be added first, with %s.", name, ToolAdd)
	}
	return fmt.Sprintf("There is no tool %q. Available: %s", name, strings.Join(b.order, ", "))
}
