package httpapi

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// aguiFold makes the events of AG-UI from the log. It tells what the outermost
// agent says; sub-agents are steps, and what they answer is in the result of the
// call that asked them.
type aguiFold struct {
	*partSink
	api *API
	ctx context.Context //nolint:containedctx // of the one request that this is for
	q   *aguiRequest

	buf []byte
	// place counts the messages of the run.
	place int
	// talking and thinking are the ids of what is being said, "" for nothing; said
	// is the id that the model call's message has.
	talking, thinking, said string
	calls                   []string // that are being written, in their order
	steps                   []string // that are open, the outermost first
	written                 map[string]bool
}

func newAGUIFold(ctx context.Context, a *API, q *aguiRequest, p *part) *aguiFold {
	f := &aguiFold{api: a, ctx: ctx, q: q, written: map[string]bool{}}
	f.partSink = &partSink{part: p, session: q.ref.Session, tell: f.tell}
	return f
}

// event implements sink: it counts the run's messages before anything is told.
func (f *aguiFold) event(it *item) (done bool, err error) {
	done, err = f.partSink.event(it)
	if err != nil || f.part.run == "" || it.run != f.part.run {
		return done, err
	}
	switch it.typ {
	case holdfast.TypeUserMessage, holdfast.TypeToolCallResponse:
		f.place++
	case holdfast.TypeModelCallFinished:
		ev, err := holdfast.UnmarshalEvent(it.line)
		if err != nil {
			return done, err
		}
		if m, ok := ev.(*holdfast.ModelCallFinishedEvent); ok && m.Purpose == "" {
			f.place++
		}
	}
	return done, nil
}

// emit gives an event to the stream.
func (f *aguiFold) emit(evs ...aguiEvent) error {
	for i := range evs {
		data, err := json.Marshal(&evs[i])
		if err != nil {
			return err
		}
		f.buf = append(append(append(f.buf[:0], "data: "...), data...), "\n\n"...)
		if err := f.wire.write(f.buf); err != nil {
			return err
		}
	}
	return nil
}

// begin opens the stream: that the run has started, and where the session stands.
func (f *aguiFold) begin(v *View) error {
	if err := f.emit(aguiEvent{Type: "RUN_STARTED", ThreadID: f.q.ThreadID, RunID: f.q.RunID}); err != nil {
		return err
	}
	if err := f.state(v); err != nil {
		return err
	}
	thread := aguiThread(v, f.q.Messages)
	for _, m := range thread {
		has := slices.ContainsFunc(f.q.Messages, func(have aguiMessage) bool { return have.ID == m.ID })
		if !has && m.Role != "reasoning" {
			return f.emit(aguiEvent{Type: "MESSAGES_SNAPSHOT", Messages: &thread})
		}
	}
	return f.flush()
}

// state tells where the session stands. The client's own state stays beside it.
func (f *aguiFold) state(v *View) error {
	state, ok := f.q.state()
	if !ok {
		return nil // it is no object; there is no place in it
	}
	state["holdfast"] = map[string]any{
		"session": f.session, "seq": v.Info.Head.Seq, "status": v.Info.Status, "title": v.Info.Title, "run": v.Info.Run, "waiting": v.Info.Waiting,
	}
	return f.emit(aguiEvent{Type: "STATE_SNAPSHOT", Snapshot: state})
}

// history tells all messages as of an event.
func (f *aguiFold) history(v *View) error {
	thread := aguiThread(v, f.q.Messages)
	return f.emit(aguiEvent{Type: "MESSAGES_SNAPSHOT", Messages: &thread})
}

// tell folds an event of the part.
func (f *aguiFold) tell(t told, it *item) error {
	if err := f.step(t.event, it); err != nil {
		return err
	}
	if t.outer {
		if err := f.saying(t.event, it); err != nil {
			return err
		}
	}
	if f.part.ended && (f.part.finished || !f.part.reopens) {
		return f.end(it.seq)
	}
	return nil
}

// step folds the streams of agents.
func (f *aguiFold) step(ev holdfast.Event, it *item) error {
	switch ev.(type) {
	case *holdfast.StreamStartedEvent:
		if slices.Contains(f.steps, it.agent) {
			return nil // it asked itself: one step of that name is open
		}
		f.steps = append(f.steps, it.agent)
		return f.emit(aguiEvent{Type: "STEP_STARTED", StepName: it.agent})
	case *holdfast.StreamStoppedEvent:
		if i := slices.Index(f.steps, it.agent); i > 0 { // the outermost ends with the run
			f.steps = slices.Delete(f.steps, i, i+1)
			return f.emit(aguiEvent{Type: "STEP_FINISHED", StepName: it.agent})
		}
	}
	return nil
}

// saying folds what the outermost agent says and does.
func (f *aguiFold) saying(ev holdfast.Event, it *item) error {
	switch ev := ev.(type) {
	case *holdfast.ModelCallStartedEvent:
		if ev.Purpose == "" {
			f.said = aguiID(f.part.run, f.place)
		}
	case *holdfast.AgentChoiceReasoningEvent:
		return f.thought(ev.Content)
	case *holdfast.AgentChoiceEvent:
		return f.text(ev.Content)
	case *holdfast.PartialToolCallEvent:
		return f.partial(ev.ToolCall)
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose == "" {
			return f.quiet()
		}
	case *holdfast.ModelCallVoidedEvent:
		// What was sent cannot be taken back but by a list of all that counts.
		if err := f.quiet(); err != nil {
			return err
		}
		v, err := f.api.view(f.ctx, f.q.ref, it.seq)
		if err != nil {
			return err
		}
		clear(f.written)
		return f.history(v)
	case *holdfast.ToolCallEvent:
		return f.whole(ev.ToolCall)
	case *holdfast.ToolCallConfirmationEvent:
		return f.whole(ev.ToolCall)
	case *holdfast.ToolCallResponseEvent:
		content := ev.Response
		return f.emit(aguiEvent{Type: "TOOL_CALL_RESULT", MessageID: aguiID(f.part.run, f.place), ToolCallID: ev.ToolCallID, Role: "tool", Content: &content})
	}
	return nil
}

// message is the id of the message that is being made.
func (f *aguiFold) message() string {
	if f.said == "" {
		f.said = aguiID(f.part.run, f.place)
	}
	return f.said
}

func (f *aguiFold) thought(delta string) error {
	if delta == "" {
		return nil
	}
	if f.thinking == "" {
		f.thinking = f.message() + aguiThought
		if err := f.emit(aguiEvent{Type: "REASONING_START", MessageID: f.thinking}, aguiEvent{Type: "REASONING_MESSAGE_START", MessageID: f.thinking, Role: "reasoning"}); err != nil {
			return err
		}
	}
	return f.emit(aguiEvent{Type: "REASONING_MESSAGE_CONTENT", MessageID: f.thinking, Delta: delta})
}

// thinkingDone closes what the model was thinking.
func (f *aguiFold) thinkingDone() error {
	id := f.thinking
	if id == "" {
		return nil
	}
	f.thinking = ""
	return f.emit(aguiEvent{Type: "REASONING_MESSAGE_END", MessageID: id}, aguiEvent{Type: "REASONING_END", MessageID: id})
}

func (f *aguiFold) text(delta string) error {
	if delta == "" {
		return nil
	}
	if err := f.thinkingDone(); err != nil {
		return err
	}
	if f.talking == "" {
		f.talking = f.message()
		if err := f.emit(aguiEvent{Type: "TEXT_MESSAGE_START", MessageID: f.talking, Role: "assistant"}); err != nil {
			return err
		}
	}
	return f.emit(aguiEvent{Type: "TEXT_MESSAGE_CONTENT", MessageID: f.talking, Delta: delta})
}

// partial folds a piece of a tool call that the model writes.
func (f *aguiFold) partial(c holdfast.ToolCall) error {
	if !f.written[c.ID] {
		f.written[c.ID] = true
		f.calls = append(f.calls, c.ID)
		if err := f.thinkingDone(); err != nil {
			return err
		}
		if err := f.emit(aguiEvent{Type: "TOOL_CALL_START", ToolCallID: c.ID, ToolCallName: c.Function.Name, ParentMessageID: f.message()}); err != nil {
			return err
		}
	}
	if c.Function.Arguments == "" {
		return nil
	}
	return f.emit(aguiEvent{Type: "TOOL_CALL_ARGS", ToolCallID: c.ID, Delta: c.Function.Arguments})
}

// whole tells a call that nobody has written in this stream, unless its proposal
// was told by the stream before.
func (f *aguiFold) whole(c holdfast.ToolCall) error {
	if f.written[c.ID] || f.part.from > 0 {
		return nil
	}
	if err := f.partial(c); err != nil {
		return err
	}
	f.calls = nil
	return f.emit(aguiEvent{Type: "TOOL_CALL_END", ToolCallID: c.ID})
}

// quiet closes everything that a model call has open.
func (f *aguiFold) quiet() error {
	if err := f.thinkingDone(); err != nil {
		return err
	}
	if f.talking != "" {
		if err := f.emit(aguiEvent{Type: "TEXT_MESSAGE_END", MessageID: f.talking}); err != nil {
			return err
		}
	}
	for _, id := range f.calls {
		if err := f.emit(aguiEvent{Type: "TOOL_CALL_END", ToolCallID: id}); err != nil {
			return err
		}
	}
	f.talking, f.said, f.calls = "", "", nil
	return nil
}

// end closes the stream as of an event.
func (f *aguiFold) end(seq uint64) error {
	if err := f.quiet(); err != nil {
		return err
	}
	for len(f.steps) > 0 {
		last := len(f.steps) - 1
		if err := f.emit(aguiEvent{Type: "STEP_FINISHED", StepName: f.steps[last]}); err != nil {
			return err
		}
		f.steps = f.steps[:last]
	}
	p := f.part
	usage := []aguiUsage{{
		InputTokens: p.usage.InputTokens, OutputTokens: p.usage.OutputTokens, TotalTokens: p.usage.InputTokens + p.usage.OutputTokens,
		ReasoningTokens: p.usage.ReasoningTokens, CachedInputTokens: p.usage.CachedInputTokens,
	}}
	v, err := f.api.view(f.ctx, f.q.ref, seq)
	switch holdfast.CodeOf(err) {
	case holdfast.CodeNotFound, holdfast.CodeGone: // it was deleted; the run says so
		v = nil
	default:
		if err != nil {
			return err
		}
	}
	if v != nil {
		if err := f.state(v); err != nil {
			return err
		}
	}
	if !p.finished && v != nil {
		if err := f.history(v); err != nil {
			return err
		}
		return f.emit(aguiEvent{Type: "RUN_FINISHED", ThreadID: f.q.ThreadID, RunID: f.q.RunID, Outcome: &aguiOutcome{"interrupt", interrupts(v, p)}, Usage: usage})
	}
	done := aguiEvent{Type: "RUN_FINISHED", ThreadID: f.q.ThreadID, RunID: f.q.RunID, Outcome: &aguiOutcome{Type: "success"}, Usage: usage}
	switch err := p.err(); {
	case p.reason == "canceled" || p.reason == "rolled_back":
		done.Outcome.Type = "cancelled"
	case err != nil && p.reason != "rejected":
		done = aguiEvent{Type: "RUN_ERROR", Message: holdfast.PublicMessage(err), Code: holdfast.CodeOf(err), Usage: usage}
	}
	return f.emit(done)
}

// interrupts are what a part waits for.
func interrupts(v *View, p *part) []aguiInterrupt {
	var list []aguiInterrupt
	for _, n := range p.needs {
		var expires time.Time
		for _, c := range v.Pending {
			if n.Kind == needApproval && c.ToolCall.ID == n.ID {
				expires = c.ExpiresAt.UTC()
			}
		}
		list = append(list, newInterrupt(n, expires))
	}
	return list
}
