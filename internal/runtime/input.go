package runtime

import (
	"bytes"
	"context"
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Input is a question to the user that a tool call asked.
type Input struct {
	ID  string
	Key string `json:",omitempty"`
	// Schema is that of the answer, nil for any.
	Schema json.RawMessage `json:",omitempty"`
	// Held says that the call goes on while the user is asked.
	Held bool `json:",omitempty"`
	// Action and Content are the answer; Action is "" before it.
	Action  string          `json:",omitempty"`
	Content json.RawMessage `json:",omitempty"`
}

// asks reports whether the suspended call waits for an answer.
func (c *Call) asks() bool {
	if c.Status != CallSuspended {
		return false
	}
	for _, in := range c.Inputs {
		if in.Action == "" {
			return true
		}
	}
	return false
}

// begin folds that the call runs: questions of an attempt before that are open, or
// that were asked within it, are void.
func (c *Call) begin() {
	var kept []*Input
	for _, in := range c.Inputs {
		if in.Action != "" && !in.Held {
			kept = append(kept, in)
		}
	}
	c.Inputs = kept
}

// answers are what the call gets when it is made again.
func (c *Call) answers() map[string]tool.InputAnswer {
	if len(c.Inputs) == 0 {
		return nil
	}
	out := map[string]tool.InputAnswer{}
	for _, in := range c.Inputs {
		out[in.Key] = tool.InputAnswer{Action: in.Action, Content: in.Content}
	}
	return out
}

// applyInput changes a tool call by an event of its questions.
func (s *State) applyInput(t *Thread, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.ToolCallSuspendedEvent:
		if c := t.call(ev.ToolCallID); c != nil {
			c.Status, c.Continuation, c.Inputs = CallSuspended, ev.Continuation, nil
		}
	case *holdfast.ElicitationRequestEvent:
		if c := t.call(ev.ToolCallID); c != nil {
			c.Inputs = append(c.Inputs, &Input{ID: ev.ID, Key: ev.Key, Schema: ev.Schema, Held: ev.Held})
		}
	case *holdfast.ElicitationAnsweredEvent:
		if s.Run.Answered == nil {
			s.Run.Answered = map[string]string{}
		}
		s.Run.Answered[ev.ID] = ev.Action + " " + string(ev.Content)
		if _, in := s.input(ev.ID); in != nil {
			in.Action, in.Content = ev.Action, ev.Content
		}
	}
}

// input returns the open or answered question of that id, or the oldest open one
// for "", with its call.
func (s *State) input(id string) (*Call, *Input) {
	if s.Run == nil {
		return nil, nil
	}
	for _, t := range s.Run.Threads {
		for _, c := range t.Calls {
			for _, in := range c.Inputs {
				if in.ID == id || (id == "" && in.Action == "") {
					return c, in
				}
			}
		}
	}
	return nil, nil
}

// acceptInput takes an answer of the user, checked against the question's schema.
func (s *State) acceptInput(c events.Command, b events.InputBody) ([]holdfast.Event, string, error) {
	switch b.Action {
	case tool.InputAccept:
		var compact bytes.Buffer
		if len(b.Content) == 0 {
			b.Content = json.RawMessage("{}")
		}
		if err := json.Compact(&compact, b.Content); err != nil {
			return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "content: it is not JSON")
		}
		b.Content = compact.Bytes()
	case tool.InputDecline, tool.InputCancel:
		b.Content = nil
	default:
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "action %q: use accept, decline or cancel", b.Action)
	}
	if s.Run == nil {
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for an answer: the session has no active run")
	}
	run := s.Run.ID
	call, in := s.input(b.ID)
	if in == nil || in.Action != "" {
		was, ok := s.Run.Answered[b.ID]
		switch {
		case ok && was == b.Action+" "+string(b.Content):
			return nil, run, nil // the same answer again changes nothing
		case ok:
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "question %s was answered already", b.ID)
		case b.ID == "":
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for an answer")
		}
		return nil, "", holdfast.Errorf(holdfast.CodeNotFound, "no question %s waits for an answer", b.ID)
	}
	if b.Action == tool.InputAccept && len(in.Schema) > 0 {
		if err := tool.Validate(in.Schema, b.Content); err != nil {
			return nil, "", holdfast.Errorf(holdfast.CodeInvalidInput, "content: %v", err)
		}
	}
	return []holdfast.Event{&holdfast.ElicitationAnsweredEvent{
		ID: in.ID, Action: b.Action, Content: b.Content, ToolCallID: call.ID, Command: c.ID,
	}}, run, nil
}

// suspend puts into the log that a call ended with questions, and the intent of
// the next call behind it. The caller holds mu.
func (d *drive) suspend(ctx context.Context, a *agent.Agent, c holdfast.ToolCall, q *tool.InputRequired, next holdfast.Event) error {
	who := holdfast.AgentContext{AgentName: a.Name}
	evs := []holdfast.Event{&holdfast.ToolCallSuspendedEvent{AgentContext: who, ToolCallID: c.ID, Continuation: q.Continuation}}
	for _, r := range q.Requests {
		evs = append(evs, question(a, c.ID, r))
	}
	if next != nil {
		evs = append(evs, next)
	}
	return d.add(ctx, evs...)
}

// question is the event that asks the user.
func question(a *agent.Agent, callID string, r tool.InputRequest) *holdfast.ElicitationRequestEvent {
	return &holdfast.ElicitationRequestEvent{
		AgentContext: holdfast.AgentContext{AgentName: a.Name}, ID: holdfast.NewID(), Message: r.Message, Schema: r.Schema,
		ToolCallID: callID, ServerURL: r.ServerURL, Key: r.Key, URL: r.URL,
	}
}

// badQuestion returns why questions cannot be asked, "" if they can.
func badQuestion(q *tool.InputRequired) string {
	if len(q.Requests) == 0 {
		return "The tool wants answers of the user and asks nothing."
	}
	keys := map[string]bool{}
	for _, r := range q.Requests {
		if keys[r.Key] {
			return "The tool asks the user two questions of one name."
		}
		keys[r.Key] = true
		if len(r.Schema) > 0 {
			if err := tool.CheckSchema(r.Schema); err != nil {
				return "The tool asks the user for an answer of a form that cannot be checked: " + err.Error()
			}
		}
	}
	return ""
}

// elicit is Call.Elicit of one call: the question is an event, the answer comes as
// a command, and the call waits in between.
func (d *drive) elicit(a *agent.Agent, callID string) tool.Elicit {
	return func(ctx context.Context, r tool.InputRequest) (tool.InputAnswer, error) {
		if bad := badQuestion(&tool.InputRequired{Requests: []tool.InputRequest{r}}); bad != "" {
			return tool.InputAnswer{}, holdfast.Errorf(holdfast.CodeInvalid, "%s", bad)
		}
		ev := question(a, callID, r)
		ev.Held = true
		answered := make(chan tool.InputAnswer, 1)
		var err error
		d.locked(func() {
			if d.asking == nil {
				d.asking = map[string]chan tool.InputAnswer{}
			}
			d.asking[ev.ID] = answered
			err = d.add(ctx, ev)
		})
		defer d.locked(func() { delete(d.asking, ev.ID) })
		if err != nil {
			return tool.InputAnswer{}, err
		}
		select {
		case answer := <-answered:
			return answer, nil
		case <-ctx.Done():
			return tool.InputAnswer{}, context.Cause(ctx)
		}
	}
}

// answered hands the answers among events that were just added to the calls that
// hold for them. The caller holds mu.
func (d *drive) answered(evs []holdfast.Event) {
	for _, ev := range evs {
		if a, ok := ev.(*holdfast.ElicitationAnsweredEvent); ok {
			if ch := d.asking[a.ID]; ch != nil {
				ch <- tool.InputAnswer{Action: a.Action, Content: a.Content}
				delete(d.asking, a.ID)
			}
		}
	}
}

// waitsFor says what the calls of a thread wait for when none can go on.
func (t *Thread) waitsFor() string {
	for _, c := range t.Calls {
		if c.Status == CallWaiting {
			return events.WaitingApproval
		}
	}
	for _, c := range t.Calls {
		if c.asks() {
			return events.WaitingInput
		}
	}
	return events.WaitingAuthorization
}
