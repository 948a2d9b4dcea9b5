package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Hooks are effects: what is run is in the log before, and what it said after. A
// worker that dies between the two leaves a moment whose hooks are run again, with
// the same keys: what comes next depends on what they say, so nobody can go on
// without. What they said is read from the log from then on, by forks and replays
// too.

// HookRunner is what [Agents] implement that can run the hooks of agent files. An
// error says that a hook could not be run or did not come to its end.
type HookRunner interface {
	RunHook(ctx context.Context, s holdfast.SessionRef, a *agent.Agent, h *agent.Hook, in HookInput) (tool.HookOutput, error)
}

// ErrNoHooks is why hooks of agents fail that cannot run any.
var ErrNoHooks = holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: hooks")

// HookInput is what a hook reads, as JSON.
type HookInput struct {
	SessionID string `json:"session_id"`
	// Cwd is set by who runs the hook.
	Cwd           string `json:"cwd"`
	HookEventName string `json:"hook_event_name"`
	AgentName     string `json:"agent_name"`
	// IdempotencyKey is the same on every attempt.
	IdempotencyKey string `json:"idempotency_key"`
	Attempt        int    `json:"attempt"`

	ToolName     string          `json:"tool_name,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	ToolInput    json.RawMessage `json:"tool_input,omitempty"`
	ToolResponse string          `json:"tool_response,omitempty"`
	ToolError    bool            `json:"tool_error,omitempty"`

	// Source is "startup" in a session's first run and "resume" in later ones.
	Source              string `json:"source,omitempty"`
	Reason              string `json:"reason,omitempty"`
	Prompt              string `json:"prompt,omitempty"`
	StopResponse        string `json:"stop_response,omitempty"`
	LastUserMessage     string `json:"last_user_message,omitempty"`
	NotificationLevel   string `json:"notification_level,omitempty"`
	NotificationMessage string `json:"notification_message,omitempty"`
}

const (
	// maxHookText is how many bytes of what hooks say the log holds, of each kind.
	maxHookText = 32 << 10
	// maxHookInput is how many bytes of a text a hook is told.
	maxHookInput = maxResponse
)

// moment is when hooks are run.
type moment struct {
	event  string
	thread int
	callID string
	mark   string
	agent  *agent.Agent
	hooks  []*agent.Hook
	in     HookInput
	// last says that a cancellation of the run does not end them.
	last bool
}

// moment returns when hooks of the agent of a thread are run now, nil if it has
// none for the event. The caller holds mu.
// Hooks for the tools that also names count for the call, too.
func (d *drive) moment(event string, thread int, a *agent.Agent, call *holdfast.ToolCall, also ...string) *moment {
	name, id := "", ""
	if call != nil {
		name, id = call.Function.Name, call.ID
	}
	hooks := a.Hooks.For(event, append(also, name)...)
	if len(hooks) == 0 {
		return nil
	}
	m := &moment{event: event, thread: thread, callID: id, agent: a, hooks: hooks, in: HookInput{
		SessionID: d.s.Ref.Session, HookEventName: event, AgentName: a.Name, ToolName: name, ToolUseID: id,
	}}
	if call != nil {
		m.in.ToolInput = json.RawMessage("{}")
		if args := strings.TrimSpace(call.Function.Arguments); args != "" && json.Valid([]byte(args)) {
			m.in.ToolInput = json.RawMessage(args)
		}
	}
	return m
}

// agentAt is the agent of a thread, nil if its file cannot be used, which the next
// step says. The caller holds mu.
func (d *drive) agentAt(thread int) *agent.Agent {
	p, ok := d.s.fileOf(d.s.Run)
	if !ok {
		return nil
	}
	team, err := d.e.team(d.s.Run.Agent, p)
	if err != nil {
		return nil
	}
	return team.Agent(d.s.Run.Threads[thread].Agent)
}

// due returns the hooks that are to be run before the next step, nil for none. It
// looks at what the step will be in the order of next. The caller holds mu.
func (d *drive) due() *moment {
	s, t := d.s, d.s.top()
	switch {
	case t == nil:
		return nil
	case s.Run.Canceled, s.Run.Declined != "":
		for i := len(s.Run.Threads) - 1; i >= 0; i-- {
			if a := d.agentAt(i); a != nil && !s.Run.Threads[i].Hooks.Ended {
				if m := d.ends(i, a, "canceled"); m != nil {
					return m
				}
			}
		}
		return nil
	case s.Run.ready() != nil, t.Open != nil:
		return nil
	}
	at := len(s.Run.Threads) - 1
	a := d.agentAt(at)
	if a == nil || a.Hooks == nil {
		return nil
	}
	switch {
	case s.Run.Failed:
		if m := d.notice(at, a, agent.HookOnError, "error", t.Hooks.Error, "failed"); m != nil {
			return m
		}
		if len(t.Calls) > 0 || len(s.Run.Steer) > 0 && t.Task == nil || t.Hooks.Ended {
			return nil
		}
		return d.ends(at, a, "error")
	case s.Run.AtLimit:
		mark := "limit " + strconv.Itoa(s.Run.Extra)
		if m := d.notice(at, a, agent.HookOnMaxIterations, "warning", "The agent has used up its iterations.", mark); m != nil {
			return m
		}
		return d.asked(at, a, mark)
	case t.Unauthorized != "", s.Compacting != nil:
		return nil
	case t.Awaits != "":
		return d.asked(at, a, "authorization "+t.Awaits)
	case !t.Hooks.Started:
		if m := d.moment(agent.HookSessionStart, at, a, nil); m != nil {
			m.in.Source = "resume"
			if s.LastRun == "" {
				m.in.Source = "startup"
			}
			return m
		}
	}
	if m := d.ran(at, a); m != nil {
		return m
	}
	if len(t.Calls) > 0 {
		if d.callsToDo(t) && d.blocked != s.Seq {
			return nil
		}
		mark := t.waitsFor()
		for _, c := range t.Calls {
			mark += fmt.Sprintf(" %s/%d", c.ID, len(c.Inputs))
		}
		return d.asked(at, a, mark)
	}
	if t.Task == nil && len(s.Run.Steer) == 0 && t.Hooks.Prompts > 0 {
		if m := d.moment(agent.HookUserPromptSubmit, at, a, nil); m != nil {
			m.in.Prompt = clip(lastPrompts(s.Conversation, t.Hooks.Prompts), maxHookInput)
			return m
		}
	}
	return nil
}

// ran are the hooks after a call that was made.
func (d *drive) ran(at int, a *agent.Agent) *moment {
	t := d.s.Run.Threads[at]
	msgs := *d.s.messages(t)
	for i := range t.Hooks.Ran {
		r := &t.Hooks.Ran[i]
		if r.Hooked || r.Own || r.Message >= len(msgs) {
			continue
		}
		var also []string
		if r.RuledAs != "" {
			also = []string{r.RuledAs}
		}
		if m := d.moment(agent.HookPostToolUse, at, a, &r.ToolCall, also...); m != nil {
			m.in.ToolResponse, m.in.ToolError = msgs[r.Message].Content, msgs[r.Message].IsError
			return m
		}
	}
	return nil
}

// asked are the hooks before a wait for the user.
func (d *drive) asked(at int, a *agent.Agent, mark string) *moment {
	if d.s.Run.Threads[at].Hooks.Asked == mark {
		return nil
	}
	m := d.moment(agent.HookOnUserInput, at, a, nil)
	if m != nil {
		m.mark = mark
	}
	return m
}

// notice are the hooks of an event of its own and then those of notification.
func (d *drive) notice(at int, a *agent.Agent, event, level, text, mark string) *moment {
	told := &d.s.Run.Threads[at].Hooks
	for _, ev := range []string{event, agent.HookNotification} {
		if told.told(ev, mark) {
			continue
		}
		if m := d.moment(ev, at, a, nil); m != nil {
			m.mark, m.in.NotificationLevel, m.in.NotificationMessage = mark, level, text
			return m
		}
	}
	return nil
}

// ends are the hooks at the end of a stream.
func (d *drive) ends(at int, a *agent.Agent, reason string) *moment {
	m := d.moment(agent.HookSessionEnd, at, a, nil)
	if m != nil {
		m.in.Reason, m.last = reason, true
	}
	return m
}

// stops are the hooks that come before the stream of an agent is closed that has
// given its answer: those of stop, then those of session_end.
func (d *drive) stops() *moment {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := len(d.s.Run.Threads) - 1
	a := d.agentAt(at)
	if a == nil || a.Hooks == nil || d.s.Run.Canceled {
		return nil
	}
	t := d.s.Run.Threads[at]
	if !t.Hooks.Stopped {
		if m := d.moment(agent.HookStop, at, a, nil); m != nil {
			msgs := *d.s.messages(t)
			m.in.StopResponse = clip(lastWords(msgs), maxHookInput)
			m.in.LastUserMessage = clip(lastPrompts(msgs, 1), maxHookInput)
			return m
		}
	}
	if t.Hooks.Ended {
		return nil
	}
	return d.ends(at, a, "stream_ended")
}

// turnStarts are the hooks before a model call.
func (d *drive) turnStarts(a *agent.Agent) *moment {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.Hooks == nil || d.s.top().Hooks.Turn || d.s.Run.Canceled {
		return nil
	}
	return d.moment(agent.HookTurnStart, len(d.s.Run.Threads)-1, a, nil)
}

// callHooks are the hooks that decide about a call of the innermost thread.
func (d *drive) callHooks(team *agent.Team, a *agent.Agent, box *toolbox) *moment {
	if a.Hooks == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s.Run.Canceled {
		return nil
	}
	for _, c := range d.s.top().Calls {
		if p := d.plan(team, a, box, c); p.do == doHook {
			return d.moment(p.text, len(d.s.Run.Threads)-1, a, &c.ToolCall, p.alike()...)
		}
	}
	return nil
}

// hooked lets what hooks said before a call decide about it. It returns false if
// they have no say. The caller holds mu.
func hooked(a *agent.Agent, p *plan) bool {
	c := p.call
	if a.Hooks == nil || c.Status != CallNew && c.Status != CallApproved {
		return false
	}
	if c.Hooked == nil {
		if len(a.Hooks.For(agent.HookPreToolUse, append(p.alike(), c.Function.Name)...)) == 0 {
			return false
		}
		if problem := misspelled(c.Function.Arguments, p.tool.def.Parameters); problem != "" {
			p.do, p.text = doAnswer, problem
			return true
		}
		p.do, p.text = doHook, agent.HookPreToolUse
		return true
	}
	if c.Hooked.Blocked {
		p.do, p.text = doAnswer, blockedCall(c.Hooked.Message)
	}
	return c.Hooked.Blocked
}

// permitted lets hooks answer in place of the user about a call that is to be asked
// about. The caller holds mu.
func permitted(a *agent.Agent, p plan) plan {
	c := p.call
	switch v := c.Permitted; {
	case v == nil && len(a.Hooks.For(agent.HookPermissionRequest, append(p.alike(), c.Function.Name)...)) > 0:
		p.do, p.text = doHook, agent.HookPermissionRequest
	case v == nil:
	case v.Blocked:
		p.do, p.text = doAnswer, blockedCall(v.Message)
	case v.Decision == "allow":
		p.do = doRun
	}
	return p
}

// alike is the tool for which rules and hooks count for this one, too, if there is one.
func (p plan) alike() []string {
	if p.tool.def.RuledAs == "" {
		return nil
	}
	return []string{p.tool.def.RuledAs}
}

// misspelled says what is wrong with the names of a call's arguments, "" for nothing.
// Tools understand more than their schema says: a name in another case, cmd and
// command. A hook that looks for one of them would miss the others, so for an agent
// with hooks they are spelled as the schema says, once.
func misspelled(arguments string, schema json.RawMessage) string {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return ""
	}
	dec := json.NewDecoder(strings.NewReader(arguments))
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return ""
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return ""
		}
		if seen[name] {
			return fmt.Sprintf("The argument %q is there twice.", name)
		}
		seen[name] = true
		if _, ok := s.Properties[name]; ok {
			continue
		}
		for _, other := range slices.Sorted(maps.Keys(s.Properties)) {
			if strings.EqualFold(name, other) || strings.EqualFold(otherName[other], name) {
				return fmt.Sprintf("There is no argument %q; it is called %q.", name, other)
			}
		}
	}
	return ""
}

// otherName is how else an argument may be called that tools understand.
var otherName = map[string]string{"cmd": "command", "command": "cmd", "path": "paths", "paths": "path"}

func blockedCall(why string) string {
	if why == "" {
		return "The tool call was blocked by a hook."
	}
	return "The tool call was blocked by a hook: " + why
}

// runHooks runs the hooks of a moment.
func (d *drive) runHooks(m *moment) step {
	return func(ctx context.Context) error {
		var id string
		var attempt int
		var err error
		d.locked(func() {
			if d.s.Deleted || d.s.Run == nil || d.s.Run.Canceled && !m.last {
				return
			}
			id = holdfast.DeriveID("hook", d.s.Ref.Tenant, d.s.Ref.Session, d.s.Run.ID, strconv.Itoa(d.s.Run.Hooked), m.event, m.callID)
			attempt = 1
			if open := d.s.Run.Hook; open != nil && open.ID == id {
				attempt = open.Attempt + 1
			}
			err = d.add(ctx, &holdfast.HookStartedEvent{
				AgentContext: holdfast.AgentContext{AgentName: m.agent.Name}, ID: id, HookEvent: m.event,
				Thread: m.thread, ToolCallID: m.callID, Mark: m.mark, Attempt: attempt,
			})
		})
		if err != nil || id == "" {
			return err
		}
		if err := d.w.Flush(ctx); err != nil { // the intent is stored before the effect
			return err
		}
		m.in.Attempt = attempt
		var said hookVerdict
		canceled := false
		run := d.working
		if m.last {
			run = d.lasting
		}
		run(ctx, func(wctx context.Context) {
			said = d.consult(wctx, m, id)
			canceled = errors.Is(context.Cause(wctx), errRunCanceled)
		})
		switch {
		case d.w.Err() != nil:
			return d.w.Err()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		return d.concluded(ctx, m, id, said, canceled)
	}
}

// lasting is working for what the end of a run brings about itself.
func (d *drive) lasting(ctx context.Context, fn func(ctx context.Context)) {
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-d.w.Lost():
			cancel(events.ErrLost)
		case <-stop:
		}
	})
	defer func() {
		close(stop)
		watch.Wait()
	}()
	fn(wctx)
}

// consult runs the hooks: those that may change the arguments of a call one after
// the other, others beside each other.
func (d *drive) consult(ctx context.Context, m *moment, id string) hookVerdict {
	if m.in.Attempt > maxLostCalls {
		v := hookVerdict{event: m.event}
		v.failed(m.hooks[0], fmt.Errorf("it was begun %d times, and each time the process that ran it ended", m.in.Attempt-1))
		return v
	}
	one := func(i int, in HookInput) (tool.HookOutput, error) {
		in.IdempotencyKey = holdfast.DeriveID("hook", id, strconv.Itoa(i))
		var out tool.HookOutput
		err := patiently(ctx, hookPatience, func() error {
			return d.e.guarded("run a hook of "+m.event, func() (err error) {
				runner, ok := d.e.cfg.Agents.(HookRunner)
				if !ok {
					return ErrNoHooks
				}
				out, err = runner.RunHook(ctx, d.s.Ref, m.agent, m.hooks[i], in)
				return err
			})
		})
		return out, err
	}
	v := hookVerdict{event: m.event, arguments: m.in.ToolInput}
	if m.event == agent.HookPreToolUse {
		for i, h := range m.hooks {
			in := m.in
			in.ToolInput = v.arguments
			out, err := one(i, in)
			v.add(h, out, err)
		}
		return v
	}
	outs, errs := make([]tool.HookOutput, len(m.hooks)), make([]error, len(m.hooks))
	var all sync.WaitGroup
	for i := range m.hooks {
		all.Go(func() { outs[i], errs[i] = one(i, m.in) })
	}
	all.Wait()
	for i, h := range m.hooks {
		v.add(h, outs[i], errs[i])
	}
	return v
}

// concluded puts what the hooks said into the log, with what follows from it.
func (d *drive) concluded(ctx context.Context, m *moment, id string, v hookVerdict, canceled bool) error {
	who := holdfast.AgentContext{AgentName: m.agent.Name}
	fin := &holdfast.HookFinishedEvent{AgentContext: who, ID: id, HookEvent: m.event, Allowed: !v.blocked, Canceled: canceled}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.s.Deleted {
		return nil // that is the last event
	}
	if canceled {
		return d.add(ctx, fin)
	}
	fin.Message, fin.Decision = wieldy(strings.Join(v.messages, "\n"), maxHookText), v.decision
	fin.Context = wieldy(strings.Join(v.contexts, "\n"), maxHookText)
	if v.changed && !v.blocked {
		if fin.Arguments = string(v.arguments); jsonLen(fin.Arguments) > maxArguments {
			fin.Arguments, fin.Allowed, fin.Message = "", false, fmt.Sprintf("the arguments that a hook put in place are larger than %d KiB", maxArguments>>10)
		}
	}
	evs := []holdfast.Event{fin}
	if !fin.Allowed {
		blocked := &holdfast.HookBlockedEvent{AgentContext: who, Message: fin.Message, HookEvent: m.event}
		for _, c := range d.s.Run.Threads[m.thread].Calls {
			if m.callID != "" && c.ID == m.callID {
				blocked.ToolCall = shown(c.ToolCall)
			}
		}
		evs = append(evs, blocked)
	}
	for _, text := range v.warnings {
		evs = append(evs, &holdfast.WarningEvent{AgentContext: who, Message: wieldy(text, 4<<10)})
	}
	if !fin.Allowed && (m.event == agent.HookUserPromptSubmit || m.event == agent.HookPostToolUse) {
		text := "a hook of " + m.event + " ended the run"
		if fin.Message != "" {
			text += ": " + fin.Message
		}
		evs = append(evs, &holdfast.ErrorEvent{AgentContext: who, Error: text, Code: holdfast.CodeForbidden})
	}
	return d.add(ctx, evs...)
}
