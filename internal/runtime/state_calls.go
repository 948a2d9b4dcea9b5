package runtime

import (
	"bytes"
	"encoding/json"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// applyCall changes a tool call of the thread.
func (s *State) applyCall(e *events.Envelope, t *Thread, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.ToolCallsStartedEvent:
		for _, st := range ev.Calls {
			if c := t.call(st.ID); c != nil {
				c.Status, c.Epoch = CallStarted, e.Epoch
				c.Attempt, c.Effect, c.OnUnknown = st.Attempt, st.Effect, st.OnUnknown
				c.begin()
			}
		}
	case *holdfast.ToolCallEvent:
		if c := t.call(ev.ToolCall.ID); c != nil {
			c.Status, c.Epoch, c.Announced = CallStarted, e.Epoch, true
			c.Attempt, c.Effect, c.OnUnknown = max(ev.Attempt, 1), ev.Effect, ev.OnUnknown
			c.RuledAs = ev.RuledAs
			c.begin()
		}
	case *holdfast.ToolCallConfirmationEvent:
		if c := t.call(ev.ToolCall.ID); c != nil {
			c.Status = CallWaiting
			c.AskedUnknown = ev.Reason == reasonOutcomeUnknown
		}
	case *holdfast.ToolCallDecidedEvent:
		s.decide(ev)
	case *holdfast.ToolCallSuspendedEvent, *holdfast.ElicitationRequestEvent, *holdfast.ElicitationAnsweredEvent:
		s.applyInput(t, ev)
	case *holdfast.ToolOutcomeUnknownEvent:
		if c := t.call(ev.ToolCallID); c != nil {
			c.Status, c.Policy = CallUnknown, ev.Policy
		}
	case *holdfast.ToolCallResponseEvent:
		for i, c := range t.Calls {
			if c.ID == ev.ToolCallID {
				t.Calls = append(t.Calls[:i:i], t.Calls[i+1:]...)
				msgs := s.messages(t)
				if c.Status == CallStarted {
					t.Hooks.Ran = append(t.Hooks.Ran, RanCall{
						ToolCall: c.ToolCall, Message: len(*msgs), RuledAs: c.RuledAs, Own: c.Transferred,
					})
				}
				*msgs = append(*msgs, holdfast.Message{
					Role: holdfast.RoleTool, Content: ev.Response, ToolCallID: c.ID,
					Parts: ev.Parts, IsError: ev.Result.IsError, CreatedAt: e.Time,
				})
				if len(t.Calls) == 0 {
					t.Repeats.note(*msgs)
				}
				return
			}
		}
	}
}

// decided is what is remembered of a decision, to tell whether another one is the
// same: to approve a call with other arguments is to decide otherwise.
func decided(decision, arguments string) string {
	if arguments == "" {
		return decision
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(arguments)) != nil { // only an imported log gets here
		return decision + " " + arguments
	}
	return decision + " " + compact.String()
}

// decide applies a human's decision to the call that it names, in whichever
// thread that call waits.
func (s *State) decide(ev *holdfast.ToolCallDecidedEvent) {
	s.Run.Decided[ev.ToolCallID] = decided(ev.Decision, ev.Arguments)
	if ev.Decision == DecisionApproveSession {
		s.ToolsApproved = true
	}
	for _, t := range s.Run.Threads {
		c := t.call(ev.ToolCallID)
		if c == nil {
			continue
		}
		c.Status = CallApproved
		if ev.Decision == DecisionReject {
			c.Status, c.RejectReason = CallRejected, ev.Reason
		}
		if ev.Arguments != "" {
			c.Function.Arguments = ev.Arguments
			c.Hooked, c.Permitted = nil, nil // hooks have seen others
		}
		return
	}
}

// call returns the thread's unanswered call of that id, nil if there is none.
func (t *Thread) call(id string) *Call {
	for _, c := range t.Calls {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// transfer returns the thread's transfer that is under way.
func (t *Thread) transfer() *Call {
	for _, c := range t.Calls {
		if c.Status == CallStarted && c.Function.Name == ToolTransfer {
			return c
		}
	}
	return &Call{} // only a log that breaks the rules gets here
}

// delta adds a piece of a tool call.
func (o *OpenCall) delta(d holdfast.ToolCall) {
	for i := len(o.Message.ToolCalls) - 1; i >= 0; i-- { // it is the last one, nearly always
		if o.Message.ToolCalls[i].ID == d.ID {
			o.Message.ToolCalls[i].Function.Name += d.Function.Name
			o.args[i].WriteString(d.Function.Arguments)
			return
		}
	}
	o.Message.ToolCalls = append(o.Message.ToolCalls, holdfast.NewToolCall(d.ID, d.Function.Name, ""))
	b := new(strings.Builder)
	b.WriteString(d.Function.Arguments)
	o.args = append(o.args, b)
}

// assemble returns the message that the deltas so far make.
func (o *OpenCall) assemble() holdfast.Message {
	m := o.Message
	m.Role = holdfast.RoleAssistant
	m.Content, m.ReasoningContent = o.text.String(), o.reasoning.String()
	m.ToolCalls = append([]holdfast.ToolCall(nil), o.Message.ToolCalls...)
	for i := range m.ToolCalls {
		m.ToolCalls[i].Function.Arguments = o.args[i].String()
	}
	return m
}
