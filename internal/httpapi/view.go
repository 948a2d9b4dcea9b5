package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// View is the document of a session at one sequence number: what its events say
// to somebody who reads them, sub-sessions in their place. Make it with
// [NewView] and give it the events in order.
type View struct {
	// Info is the row of the session in lists.
	Info events.SessionInfo
	// Created is the event that the session begins with.
	Created *holdfast.SessionCreatedEvent
	// Messages of the user, of all agents and of their tools, without system
	// messages. A compaction removes none; a rolled back run takes its own along.
	Messages []ViewMessage
	// Pending are the tool calls that wait for a decision, oldest first.
	Pending []PendingCall
	// Questions are those that wait for an answer, oldest first.
	Questions []QuestionDoc
	// Scheduled are the runs that are to begin later.
	Scheduled []ScheduledRun
	// Runs are all runs, in the order in which they were accepted.
	Runs []RunView

	ref  holdfast.SessionRef
	open map[string]*openCall // model calls under way, by agent
}

// ViewMessage is one message of a session document.
type ViewMessage struct {
	// AgentFile and Agent are whose message it is, both "" where nobody's.
	AgentFile string
	Agent     string
	Run       string
	// Seq is the event that completed the message.
	Seq     uint64
	Message holdfast.Message
}

// PendingCall is a tool call that waits for a human.
type PendingCall struct {
	ToolCall holdfast.ToolCall
	Agent    string
	Run      string
	Reason   string
	// Seq is the event that asked.
	Seq       uint64
	ExpiresAt time.Time
}

// Status of a [RunView].
const (
	runQueued   = "queued"
	runRunning  = "running"
	runFinished = "finished"
)

// RunView is what became of a run.
type RunView struct {
	Run         string
	Agent       string
	AgentInFile string
	// Status is "scheduled", "queued", "running" or "finished"; Reason is why it finished.
	Status string
	Reason string
	// CancelReason and ReplacedBy are those of [holdfast.RunCanceledEvent].
	CancelReason, ReplacedBy string
	// FirstSeq and LastSeq are its first event and its newest one.
	FirstSeq uint64
	LastSeq  uint64
	// Changed is the time of the newest one.
	Changed time.Time

	rollback bool
}

// openCall is a model call whose answer is being written.
type openCall struct {
	id, file, run   string
	text, reasoning strings.Builder
	calls           []holdfast.ToolCall
	args            []*strings.Builder
}

// NewView returns the document of a session without events.
func NewView(ref holdfast.SessionRef) *View {
	return &View{Info: events.SessionInfo{Session: ref}, ref: ref, open: map[string]*openCall{}}
}

// view reads a session's document as of through, 0 for the newest event. The
// document is shared: nobody may change it. Errors:
// CodeNotFound, CodeGone for a seq beyond the end, CodeUnavailable.
func (a *API) view(ctx context.Context, ref holdfast.SessionRef, through uint64) (*View, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	from := a.views.get(ref, through)
	if through != 0 || from != nil { // a deletion behind it, or of all events, is not read
		if err := a.exists(ctx, ref); err != nil {
			return nil, err
		}
	}
	v, shared := from, from != nil
	if v == nil {
		v = NewView(ref)
	}
	head, err := a.reader.Read(ctx, ref, v.Info.Head.Seq, func(e events.Envelope) error {
		if through != 0 && e.Seq > through {
			return errDone
		}
		if shared {
			v, shared = v.clone(), false
		}
		return v.Apply(&e)
	})
	switch {
	case errors.Is(err, events.ErrNoSession), err == nil && v.Info.Deleted:
		if err := a.exists(ctx, ref); err != nil {
			return nil, err // it says whether there was one
		}
		return nil, errNoSession(ref)
	case err != nil && !errors.Is(err, errDone):
		return nil, unavailable(fmt.Errorf("read the document of %s: %w", ref, err))
	}
	if through > head.Seq {
		return nil, &cursorError{after: through, head: head.Seq}
	}
	if !shared {
		a.views.put(v)
	}
	return v, nil
}

// Apply folds the next event into the document.
func (v *View) Apply(e *events.Envelope) error {
	if err := v.Info.Apply(e); err != nil {
		return err
	}
	if e.Run != "" {
		if r := v.run(e.Run); r != nil {
			r.LastSeq, r.Changed = e.Seq, e.Time
		}
	}
	ev, err := e.Event()
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	switch ev := ev.(type) {
	case *holdfast.AgentChoiceEvent:
		v.call(e).text.WriteString(ev.Content)
	case *holdfast.AgentChoiceReasoningEvent:
		v.call(e).reasoning.WriteString(ev.Content)
	case *holdfast.PartialToolCallEvent:
		v.call(e).delta(ev.ToolCall)
	case *holdfast.ModelCallStartedEvent:
		if ev.Purpose == "" {
			v.open[e.Agent] = &openCall{id: ev.Call, run: e.Run, file: v.fileOf(e.Run)}
		}
	case *holdfast.ModelCallVoidedEvent:
		if o := v.open[e.Agent]; o != nil && (o.id == ev.Call || o.id == "") {
			delete(v.open, e.Agent)
		}
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose == "" {
			v.finish(e, ev)
		}
	case *holdfast.UserMessageEvent:
		v.add(e, holdfast.Message{Role: holdfast.RoleUser, Content: ev.Message, Parts: ev.Parts})
	case *holdfast.ToolCallResponseEvent:
		v.settle(ev.ToolCallID)
		v.add(e, holdfast.Message{Role: holdfast.RoleTool, Content: ev.Response, Parts: ev.Parts, ToolCallID: ev.ToolCallID, IsError: ev.Result.IsError})
	case *holdfast.ToolCallConfirmationEvent:
		v.settle(ev.ToolCall.ID)
		v.Pending = append(v.Pending, PendingCall{ToolCall: ev.ToolCall, Agent: e.Agent, Run: e.Run, Reason: ev.Reason, Seq: e.Seq, ExpiresAt: ev.ExpiresAt})
	case *holdfast.ToolCallDecidedEvent:
		v.settle(ev.ToolCallID)
		if ev.Decision == decisionApproveSession {
			v.Info.ToolsApproved = true
		}
	default:
		v.applyRun(e, ev)
	}
	return nil
}

// applyRun folds what says how a run goes.
func (v *View) applyRun(e *events.Envelope, ev holdfast.Event) {
	v.applyScheduled(e, ev)
	v.applyQuestions(e, ev)
	switch ev := ev.(type) {
	case *holdfast.SessionCreatedEvent:
		v.Created = ev
		if ev.ForkOf != "" {
			// What was under way goes on in the session that this one was forked from.
			v.Pending, v.open = nil, map[string]*openCall{}
			v.Info.Run, v.Info.Worker, v.Info.Waiting = "", "", ""
			v.Runs = slices.DeleteFunc(v.Runs, func(r RunView) bool { return r.Status != runFinished })
		}
	case *holdfast.RunQueuedEvent:
		if v.run(ev.Run) == nil {
			v.Runs = append(v.Runs, RunView{Run: ev.Run, Agent: ev.Agent, AgentInFile: ev.AgentInFile, Status: runQueued, FirstSeq: e.Seq, LastSeq: e.Seq, Changed: e.Time})
		}
	case *holdfast.RunStartedEvent:
		if v.run(ev.Run) == nil {
			v.Runs = append(v.Runs, RunView{Run: ev.Run, FirstSeq: e.Seq})
		}
		r := v.run(ev.Run)
		r.Changed = e.Time
		r.Agent, r.AgentInFile, r.Status, r.LastSeq = ev.Agent, ev.AgentInFile, runRunning, e.Seq
	case *holdfast.RunCanceledEvent:
		if r := v.run(ev.Run); r != nil {
			r.rollback = r.rollback || ev.Rollback
			r.CancelReason, r.ReplacedBy = ev.Reason, ev.ReplacedBy
		}
	case *holdfast.RunFinishedEvent:
		v.finishRun(e, ev)
	}
}

// finishRun closes a run and what it left open.
func (v *View) finishRun(e *events.Envelope, ev *holdfast.RunFinishedEvent) {
	for agent, o := range v.open {
		if o.run == ev.Run {
			delete(v.open, agent)
		}
	}
	v.Pending = slices.DeleteFunc(v.Pending, func(p PendingCall) bool { return p.Run == ev.Run })
	r := v.run(ev.Run)
	if r == nil {
		return
	}
	r.Status, r.Reason, r.LastSeq, r.Changed = runFinished, ev.Reason, e.Seq, e.Time
	if r.rollback || ev.Reason == "rolled_back" {
		v.Messages = slices.DeleteFunc(v.Messages, func(m ViewMessage) bool { return m.Run == ev.Run })
	}
}

// finish turns the deltas of a model call into a message. Those of a call that
// broke off stand, its tool calls do not.
func (v *View) finish(e *events.Envelope, ev *holdfast.ModelCallFinishedEvent) {
	o := v.open[e.Agent]
	if o == nil || o.id != ev.Call && o.id != "" {
		return
	}
	delete(v.open, e.Agent)
	m := holdfast.Message{Role: holdfast.RoleAssistant, Content: o.text.String(), ReasoningContent: o.reasoning.String()}
	if ev.FinishReason != "error" && ev.FinishReason != "canceled" {
		m.ToolCalls = o.calls
		for i := range m.ToolCalls {
			m.ToolCalls[i].Function.Arguments = o.args[i].String()
		}
	}
	v.add(e, m)
}

// add appends a message that e completes.
func (v *View) add(e *events.Envelope, m holdfast.Message) {
	m.CreatedAt = e.Time.UTC()
	v.Messages = append(v.Messages, ViewMessage{AgentFile: v.fileOf(e.Run), Agent: e.Agent, Run: e.Run, Seq: e.Seq, Message: m})
}

// call returns the model call that the agent's deltas belong to.
func (v *View) call(e *events.Envelope) *openCall {
	o := v.open[e.Agent]
	if o == nil {
		o = &openCall{run: e.Run, file: v.fileOf(e.Run)}
		v.open[e.Agent] = o
	}
	return o
}

// delta adds a piece of a tool call.
func (o *openCall) delta(d holdfast.ToolCall) {
	for i := range o.calls {
		if o.calls[i].ID == d.ID {
			o.calls[i].Function.Name += d.Function.Name
			o.args[i].WriteString(d.Function.Arguments)
			return
		}
	}
	o.calls = append(o.calls, holdfast.NewToolCall(d.ID, d.Function.Name, ""))
	b := new(strings.Builder)
	b.WriteString(d.Function.Arguments)
	o.args = append(o.args, b)
}

// settle takes a call from the list of those that wait.
func (v *View) settle(id string) {
	v.Pending = slices.DeleteFunc(v.Pending, func(p PendingCall) bool { return p.ToolCall.ID == id })
}

// run returns the run of that id, nil if there is none. The newest runs are the
// ones that are asked for.
func (v *View) run(id string) *RunView {
	for i := len(v.Runs) - 1; i >= 0; i-- {
		if v.Runs[i].Run == id {
			return &v.Runs[i]
		}
	}
	return nil
}

// fileOf returns the agent file of a run.
func (v *View) fileOf(run string) string {
	if r := v.run(run); r != nil {
		return r.Agent
	}
	return v.Info.Agent
}
