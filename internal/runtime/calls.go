package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxResponse is the most bytes of a tool's output that the conversation holds;
	// the log keeps the whole in payload_part events.
	maxResponse = 128 << 10
	// maxPart is the most bytes of one part: base64 makes them a third longer.
	maxPart = 360 << 10
	// maxLostCalls is how many workers may end within a call that can be repeated
	// before it is taken for what ends them.
	maxLostCalls = 10
	// maxConcurrent is how many calls of one turn run at the same time.
	maxConcurrent = 8
)

// response is the event that answers a call.
func response(agentName string, c holdfast.ToolCall, text string, failed bool, meta json.RawMessage) *holdfast.ToolCallResponseEvent {
	return &holdfast.ToolCallResponseEvent{
		AgentContext: holdfast.AgentContext{AgentName: agentName},
		ToolCall:     shown(c), Response: text, ToolCallID: c.ID,
		Result: holdfast.ToolCallOutcome{Output: text, IsError: failed, Meta: meta},
	}
}

// verdict is what is to be done with a call now.
type verdict int

const (
	doRun      verdict = iota
	doAsk              // a human must decide
	doWait             // a human was asked
	doAnswer           // it never runs: text answers it
	doTransfer         // a sub-agent takes over
	doHandoff          // another agent takes the conversation
	doUnknown          // its worker died in it
	doHook             // hooks of the event in text are run first
)

// plan is a call with what is to be done and why.
type plan struct {
	call *Call
	do   verdict
	tool boxed
	text string // of doAnswer, the target of doTransfer and doHandoff
}

// toolStep does the next thing for the calls of the innermost thread: asks for
// the decisions that are needed, then runs or answers the first call that can go
// on, together with those behind it that may run beside it.
func (d *drive) toolStep(ctx context.Context) error {
	team, a, err := d.lockedTeam()
	if err != nil {
		return d.failTop(ctx, err)
	}
	var box *toolbox
	var boxErr error
	d.working(ctx, func(wctx context.Context) { box, boxErr = d.box(wctx, team, a) })
	if errors.Is(boxErr, errAway) {
		return d.stayed(ctx, a.Name, boxErr)
	}
	if boxErr != nil {
		return d.stopped(ctx, boxErr)
	}
	d.isBack()

	if m := d.callHooks(team, a, box); m != nil {
		return d.runHooks(m)(ctx)
	}
	group, err := d.decided(ctx, team, a, box)
	if err != nil || group == nil {
		return err
	}
	return d.perform(ctx, a, group)
}

// decided does what needs no tool to run, and returns the calls that are to run
// now, if there are any.
func (d *drive) decided(ctx context.Context, team *agent.Team, a *agent.Agent, box *toolbox) ([]plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s.Run.Canceled {
		return nil, nil
	}
	t := d.s.top()
	plans := make([]plan, len(t.Calls))
	var ask bundle
	for i, c := range t.Calls {
		plans[i] = d.plan(team, a, box, c)
		if plans[i].do == doHook {
			return nil, nil // a command has changed what the last look saw
		}
		if plans[i].do == doAsk {
			if !ask.put(d.confirmation(a, c, "")...) {
				break // the others in the next step
			}
		}
	}
	if len(ask.evs) > 0 {
		return nil, d.add(ctx, ask.evs...)
	}
	i := firstToDo(plans)
	if i < 0 {
		d.blocked = d.s.Seq
		return nil, nil
	}
	switch p := plans[i]; p.do {
	case doAnswer:
		return nil, d.add(ctx, response(a.Name, p.call.ToolCall, p.text, true, nil))
	case doUnknown:
		return nil, d.unknown(ctx, a, p)
	case doTransfer:
		return nil, d.add(ctx, d.intent(a, p), &holdfast.StreamStartedEvent{AgentContext: holdfast.AgentContext{AgentName: p.text}})
	case doHandoff:
		who := holdfast.AgentContext{AgentName: a.Name}
		return nil, d.add(ctx, d.intent(a, p),
			response(a.Name, p.call.ToolCall, "The conversation is with "+p.text+" now.", false, nil),
			&holdfast.AgentSwitchingEvent{AgentContext: who, Switching: true, FromAgent: a.Name, ToAgent: p.text})
	}
	group := plans[i : i+1]
	for concurrent(plans[i]) && len(group) < maxConcurrent && i+len(group) < len(plans) && concurrent(plans[i+len(group)]) {
		group = plans[i : i+len(group)+1]
	}
	return group, nil
}

// firstToDo is the place of the call whose turn it is, -1 if all wait. The agent that
// asked for the calls of a turn hands over when the last of them has its answer: until
// then they are its calls, with its tools, its hooks and its permissions. Of several
// handovers in a turn the first counts.
func firstToDo(plans []plan) int {
	handsOver := slices.IndexFunc(plans, func(p plan) bool { return p.do == doHandoff })
	for i := range plans {
		switch {
		case plans[i].do == doWait || i == handsOver:
			continue
		case plans[i].do == doHandoff:
			plans[i].do = doAnswer
			plans[i].text = "The conversation is handed over to " + plans[handsOver].text + " already, by another call of this turn."
		}
		return i
	}
	if handsOver >= 0 && len(plans) > 1 {
		return -1
	}
	return handsOver
}

func concurrent(p plan) bool {
	return p.do == doRun && (p.tool.def.Concurrent || p.tool.def.Effect == tool.EffectReadOnly)
}

// plan decides about one call. The caller holds mu.
func (d *drive) plan(team *agent.Team, a *agent.Agent, box *toolbox, c *Call) plan {
	p := plan{call: c}
	answer := func(format string, args ...any) plan {
		p.do, p.text = doAnswer, fmt.Sprintf(format, args...)
		return p
	}
	if unwieldy(&c.ToolCall) && c.Status != CallStarted {
		return answer("The tool call is too large: its arguments may have %d KiB.", maxArguments>>10)
	}
	t, known := box.find(c.Function.Name, a.Hooks != nil)
	p.tool = t
	switch {
	case c.Status == CallRejected && c.AskedUnknown:
		return answer("Whether this tool call had its effect is not known, and the user decided not to repeat it.")
	case c.Status == CallRejected && c.RejectReason == reasonTimedOut:
		return answer("Nobody decided on the tool call in time, so it was not run.")
	case c.Status == CallRejected && c.RejectReason != "":
		return answer("The user rejected the tool call. %s", c.RejectReason)
	case c.Status == CallRejected:
		return answer("The user rejected the tool call.")
	case !known && c.Status != CallStarted:
		return answer("%s", box.unknownTool(c.Function.Name))
	}
	args := strings.TrimSpace(c.Function.Arguments)
	if args == "" {
		args = "{}"
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(args), &object); err != nil {
		return answer("The arguments are not a JSON object: %v", err)
	}
	rule, why := team.Permissions.Decide(args, cmp.Or(t.def.Name, c.Function.Name))
	for _, name := range []string{t.def.Remote, t.def.RuledAs} {
		// What refuses or wants a question also counts under the name that the tool has
		// at its server, and for tools that do the same; what allows does not.
		if name == "" {
			continue
		}
		if other, because := team.Permissions.Decide(args, name); other == agent.Deny || other == agent.Ask && rule == agent.Unset {
			rule, why = other, because
		}
	}
	if rule == agent.Deny {
		return answer("The tool call is not permitted (rule %q).", why)
	}
	if hooked(a, &p) {
		return p
	}
	switch c.Status {
	case CallStarted:
		if c.Effect == string(tool.EffectReadOnly) || c.Effect == string(tool.EffectIdempotent) || c.Policy == "retry" {
			// What the log says of the effect, it says of the tool of exactly this name.
			if _, same := box.find(c.Function.Name, true); !same {
				return answer("There is no tool %q any more.", c.Function.Name)
			}
			if c.Attempt >= maxLostCalls {
				return answer("The tool call was begun %d times, and each time the process that ran it ended. It is not repeated any more.", c.Attempt)
			}
			return p
		}
		p.do = doUnknown
		return p
	case CallDeferred:
		p.do = doWait
		return p
	case CallSuspended:
		if c.asks() {
			p.do = doWait
		}
		return p
	case CallUnknown:
		if c.Policy != "retry" {
			p.do = doUnknown
		}
		return p
	case CallWaiting:
		if !d.s.ToolsApproved || c.AskedUnknown || rule == agent.Ask || c.Hooked.asks() {
			p.do = doWait
			return p
		}
	}
	asked := c.Hooked.asks() && c.Status == CallNew
	if t.own && !asked {
		return d.planOwn(a, p, object)
	}
	if c.Status == CallApproved || c.Status == CallWaiting || rule == agent.Allow && !asked {
		return p
	}
	free := t.def.NoApproval || t.def.Effect == tool.EffectReadOnly || d.s.ToolsApproved || c.Hooked.allows()
	if !free || rule == agent.Ask || asked {
		p.do = doAsk
		if p = permitted(a, p); p.do == doRun && t.own {
			return d.planOwn(a, p, object)
		}
	}
	return p
}

// planOwn decides about a call of a tool of the loop's own. The caller holds mu.
func (d *drive) planOwn(a *agent.Agent, p plan, args map[string]json.RawMessage) plan {
	var target string
	_ = json.Unmarshal(args["agent"], &target) // a wrong type is an unknown agent
	allowed := a.SubAgents
	p.do, p.text = doTransfer, target
	if p.call.Function.Name == ToolHandoff {
		allowed, p.do = a.Handoffs, doHandoff
	}
	if !slices.Contains(allowed, target) {
		p.do, p.text = doAnswer, fmt.Sprintf("There is no agent %q here. Available: %s", target, strings.Join(allowed, ", "))
		return p
	}
	if p.do == doTransfer {
		for _, t := range d.s.Run.Threads {
			if t.Agent == target {
				p.do, p.text = doAnswer, fmt.Sprintf("Agent %q is already waiting for this task: a transfer may not go round in a circle.", target)
				return p
			}
		}
	}
	return p
}

// intent is the event that must be stored before the call runs.
func (d *drive) intent(a *agent.Agent, p plan) *holdfast.ToolCallEvent {
	return &holdfast.ToolCallEvent{
		AgentContext: holdfast.AgentContext{AgentName: a.Name}, ToolCall: p.call.ToolCall,
		IdempotencyKey: d.key(p.call.ID), Attempt: p.call.Attempt + 1,
		Effect: string(p.tool.def.Effect), OnUnknown: p.tool.def.OnUnknown, RuledAs: p.tool.def.RuledAs,
	}
}

// key is what lets a tool notice that a call is the same call again. It is made
// of where the call stands in the conversation, because models use the same
// call id more than once. The caller holds mu.
func (d *drive) key(callID string) string {
	msgs := *d.s.messages(d.s.top())
	at := len(msgs) - 1
	for at > 0 && msgs[at].Role == holdfast.RoleTool {
		at-- // answers of other calls of the same turn
	}
	place := fmt.Sprintf("%s/%d/%d", d.s.Run.ID, len(d.s.Run.Threads), at)
	return holdfast.DeriveID("tool", d.s.Ref.Tenant, d.s.Ref.Session, place, callID)
}

// unknown says what becomes of a call whose worker died in it. The caller holds mu.
func (d *drive) unknown(ctx context.Context, a *agent.Agent, p plan) error {
	policy := p.call.OnUnknown
	switch policy {
	case "tell", "retry", "fail":
	default:
		policy = "ask"
	}
	who := holdfast.AgentContext{AgentName: a.Name}
	evs := []holdfast.Event{&holdfast.ToolOutcomeUnknownEvent{AgentContext: who, ToolCallID: p.call.ID, Policy: policy}}
	switch policy {
	case "ask":
		evs = append(evs, d.confirmation(a, p.call, reasonOutcomeUnknown)...)
	case "tell":
		evs = append(evs, response(a.Name, p.call.ToolCall, "Whether this tool call had its effect is not known: it was interrupted. It was not repeated.", true, nil))
	case "fail":
		evs = append(evs, response(a.Name, p.call.ToolCall, "Whether this tool call had its effect is not known: it was interrupted.", true, nil),
			&holdfast.ErrorEvent{AgentContext: who, Error: "tool " + p.call.Function.Name + " was interrupted and its outcome is not known", Code: holdfast.CodeInternal})
	}
	return d.add(ctx, evs...)
}

// done is the outcome of one call.
type done struct {
	result tool.Result
	err    error
}

// perform stores the intents, runs the calls and puts their outcomes into the
// log in the model's order, each as soon as those before it are there.
func (d *drive) perform(ctx context.Context, a *agent.Agent, group []plan) error {
	calls := make([]tool.Call, len(group))
	intents := make([]*holdfast.ToolCallEvent, len(group))
	again := make([]bool, len(group))
	if err := d.intend(ctx, a, group, calls, intents, again); err != nil {
		return err
	}
	if err := d.w.Flush(ctx); err != nil { // the intent is stored before the effect
		return err
	}

	outcomes := make([]chan done, len(group))
	var addErr error
	d.working(ctx, func(wctx context.Context) {
		cctx, cancel := context.WithCancelCause(wctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel(nil) // if the loop breaks off, nobody waits for what the tools say
		for i := range group {
			out := make(chan done, 1)
			outcomes[i] = out
			running.Go(func() { out <- d.call(cctx, group[i].tool.set, calls[i]) })
		}
		for i := range group {
			o := <-outcomes[i]
			if d.w.Err() != nil || ctx.Err() != nil || addErr != nil {
				continue
			}
			if o.err != nil && context.Cause(wctx) != nil && errors.Is(context.Cause(wctx), errRunCanceled) {
				continue // cancelRun answers it
			}
			var next holdfast.Event
			if i+1 < len(group) && !again[i+1] {
				next = intents[i+1]
			}
			addErr = d.outcome(ctx, a, group[i].call.ToolCall, group[i].tool, o, next)
		}
	})
	switch {
	case d.w.Err() != nil:
		return d.w.Err()
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return addErr
}

// intend adds the intents of a group of calls to the log, and fills in what the
// calls are. again says which of them are in the log already.
func (d *drive) intend(ctx context.Context, a *agent.Agent, group []plan, calls []tool.Call, intents []*holdfast.ToolCallEvent, again []bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var evs []holdfast.Event
	var started []holdfast.StartedCall
	for i, p := range group {
		calls[i] = d.toolCall(a, p)
		intents[i] = d.intent(a, p)
		again[i] = p.call.Announced
		if again[i] || len(group) > 1 {
			started = append(started, holdfast.StartedCall{
				ID: p.call.ID, Attempt: intents[i].Attempt, Effect: intents[i].Effect, OnUnknown: intents[i].OnUnknown,
			})
		}
	}
	if len(started) > 0 {
		evs = append(evs, &holdfast.ToolCallsStartedEvent{AgentContext: holdfast.AgentContext{AgentName: a.Name}, Calls: started})
	}
	if !again[0] {
		evs = append(evs, intents[0])
	}
	return d.add(ctx, evs...)
}

// toolCall is the call as the tool gets it. The caller holds mu.
func (d *drive) toolCall(a *agent.Agent, p plan) tool.Call {
	name := p.tool.set.Name()
	arguments := p.call.Function.Arguments
	if p.tool.described {
		arguments = undescribed(arguments)
	}
	return tool.Call{
		Session: d.s.Ref, Agent: a.Name, ID: p.call.ID, Name: p.tool.def.Name,
		Arguments: arguments, IdempotencyKey: d.key(p.call.ID), Now: d.s.Now,
		State: func(key string) json.RawMessage {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.s.Tool[name][key]
		},
		Input: p.call.answers(), Continuation: p.call.Continuation, Elicit: d.elicit(a, p.call.ID),
	}
}

// call runs a tool; nothing that the tool does ends the worker.
func (d *drive) call(ctx context.Context, set *toolset, c tool.Call) (o done) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.e.cfg.ToolTimeout, errToolTimeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			d.e.log.Error("a tool panicked", "tool", c.Name, "panic", r, "stack", string(debug.Stack()))
			o = done{result: tool.ErrorResult("The tool failed: internal error.")}
		}
	}()
	res, err := d.e.traceTool(ctx, &c, func(ctx context.Context) (tool.Result, error) { return set.Call(ctx, c) })
	return done{result: res, err: err}
}

var errToolTimeout = errors.New("the tool took too long")
