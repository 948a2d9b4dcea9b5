package runtime

import (
	"encoding/json"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// The decisions on a tool call. Nothing else is a decision.
const (
	DecisionApprove        = "approve"
	DecisionApproveSession = "approve-session"
	DecisionReject         = "reject"
)

const reasonOutcomeUnknown = "outcome_unknown"

// moreIterations is what an approval grants to a run that reached its limit.
const moreIterations = 10

// source is the agent file that a run command resolved to, or why it did not. For
// an authorization server's answer err says why it could not be kept.
type source struct {
	name, text, sha256 string
	// start is the agent that the run starts with.
	start string
	err   error
}

// accept decides about a command: the events that record its acceptance or
// refusal together with its effect, and the answer. No events means that the
// command was settled before (or that the session is deleted). It reads only
// the state and the command, so every owner would decide the same.
func (s *State) accept(c events.Command, src source) ([]holdfast.Event, events.Answer) {
	hash := c.Hash()
	if was, ok := s.Commands[c.ID]; ok {
		if was.Hash != hash {
			return nil, events.Answer{
				Command: c.ID, Seq: was.Seq, Code: holdfast.CodeKeyReused,
				Message: "this Idempotency-Key was used before with another request",
			}
		}
		return nil, events.Answer{Command: c.ID, Seq: was.Seq, Run: was.Run, Code: was.Code, Message: was.Message}
	}
	if s.Deleted {
		if c.Kind == events.KindDelete {
			return nil, events.Answer{Command: c.ID, Seq: s.Seq} // it is done, whoever has asked first
		}
		return nil, events.Answer{Command: c.ID, Seq: s.Seq, Code: holdfast.CodeNotFound, Message: "the session was deleted"}
	}
	if c.Kind == events.KindWake {
		return nil, events.Answer{Command: c.ID, Seq: s.Seq}
	}
	if id, over := s.overdue(c); over {
		// Whoever sent it believes the timer to be set, and would send it for ever.
		return []holdfast.Event{&holdfast.TimerFiredEvent{Timer: id, Canceled: true}}, events.Answer{Command: c.ID, Seq: s.Seq + 1}
	}
	evs, run, err := s.effect(c, src)
	if err != nil {
		if code := holdfast.CodeOf(err); code == holdfast.CodeUnavailable {
			// Something is away and nothing happened. A refusal in the log would answer
			// the same request for ever, also when it is there again.
			return nil, events.Answer{Command: c.ID, Seq: s.Seq, Code: code, Message: holdfast.PublicMessage(err)}
		}
		return s.refuse(c, err)
	}
	accepted := &holdfast.CommandAcceptedEvent{Command: c.ID, Kind: c.Kind, Hash: hash, Run: run}
	return append([]holdfast.Event{accepted}, evs...), events.Answer{Command: c.ID, Seq: s.Seq + 1, Run: run}
}

// refuse is the refusal of a command.
func (s *State) refuse(c events.Command, err error) ([]holdfast.Event, events.Answer) {
	code, msg := holdfast.CodeOf(err), holdfast.PublicMessage(err)
	return []holdfast.Event{&holdfast.CommandRefusedEvent{Command: c.ID, Kind: c.Kind, Hash: c.Hash(), Code: code, Message: msg}},
		events.Answer{Command: c.ID, Seq: s.Seq + 1, Code: code, Message: msg}
}

// effect returns what a command that was not seen before changes.
func (s *State) effect(c events.Command, src source) (evs []holdfast.Event, run string, err error) {
	switch c.Kind {
	case events.KindRun:
		var b events.RunBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptRun(c, b, src)
	case events.KindDecide:
		var b events.DecideBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptDecision(c, b)
	case events.KindCancel:
		var b events.CancelBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptCancel(c, b)
	case events.KindResume:
		var b events.ResumeBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptResume(c, b)
	case events.KindInput:
		var b events.InputBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptInput(c, b)
	case events.KindCompact:
		return s.acceptCompact()
	case events.KindSchedule:
		var b events.ScheduleBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptSchedule(c, b)
	case events.KindTimer:
		var b events.TimerBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.fire(c, b.Timer, src)
	case events.KindAuthorize:
		var b events.AuthorizeBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptAuthorize(c, b)
	case events.KindAnswer:
		var b events.AnswerBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptAnswer(c, b, src.err)
	case events.KindVouch:
		var b events.VouchBody
		if err := unmarshalBody(c, &b); err != nil {
			return nil, "", err
		}
		return s.acceptVouch(c, b)
	case events.KindDelete:
		return []holdfast.Event{&holdfast.SessionDeletedEvent{Command: c.ID}}, "", nil
	}
	return nil, "", holdfast.Errorf(holdfast.CodeNotOffered, "command %q is not offered in this deployment", c.Kind)
}

func unmarshalBody(c events.Command, into any) error {
	if len(c.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Body, into); err != nil {
		return holdfast.WrapError(holdfast.CodeInvalid, err, "the body of the "+c.Kind+" command cannot be read")
	}
	return nil
}

func (s *State) acceptRun(c events.Command, b events.RunBody, src source) ([]holdfast.Event, string, error) {
	if b.Run == "" {
		b.Run = holdfast.DeriveID("run", c.ID)
	}
	if src.err != nil {
		return nil, "", src.err
	}
	msgs := b.Messages
	if b.History {
		msgs = s.newMessages(msgs)
	}
	if len(msgs) == 0 {
		// Everything was said before: the caller looks for the run that it lost.
		switch {
		case s.Run != nil:
			return nil, s.Run.ID, nil
		case len(s.Queue) > 0:
			return nil, s.Queue[0].Run, nil
		case s.LastRun != "":
			return nil, s.LastRun, nil
		}
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "a run needs at least one message")
	}
	if err := userRoles(msgs); err != nil {
		return nil, "", err
	}
	if tooMany(msgs) {
		return nil, "", errTooMany(msgs)
	}
	var evs []holdfast.Event
	if p, ok := s.Pinned[src.name]; !ok || p.SHA256 != src.sha256 {
		evs = append(evs, &holdfast.AgentPinnedEvent{Agent: src.name, SHA256: src.sha256, Source: src.text})
	}
	queued := &holdfast.RunQueuedEvent{Run: b.Run, Command: c.ID, Agent: src.name, AgentInFile: src.start, Named: b.AgentInFile != "", Messages: msgs}
	active := s.Run != nil || len(s.Queue) > 0
	switch b.Mode {
	case "", events.ModeEnqueue:
	case events.ModeReject:
		if active {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "the session has an active run")
		}
	case events.ModeSteer:
		if s.Run != nil && !s.Run.Canceled && s.Run.Stopped == "" && s.Run.Declined == "" {
			queued.Mode, queued.Run = events.ModeSteer, s.Run.ID
		}
	case events.ModeInterrupt, events.ModeRollback:
		if s.Run != nil && !s.Run.Canceled {
			evs = append(evs, &holdfast.RunCanceledEvent{Run: s.Run.ID, Command: c.ID, Rollback: b.Mode == events.ModeRollback, ReplacedBy: queued.Run})
		}
		queued.Mode = b.Mode
	default:
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "mode %q: use enqueue, steer, interrupt, rollback or reject", b.Mode)
	}
	return append(evs, queued), queued.Run, nil
}

// userRoles makes all messages those of the user, or refuses them.
func userRoles(msgs []holdfast.Message) error {
	for i, m := range msgs {
		switch m.Role {
		case holdfast.RoleUser:
		case "":
			msgs[i].Role = holdfast.RoleUser
		default:
			return holdfast.Errorf(holdfast.CodeInvalid, "message %d: role %q cannot be sent; use \"user\"", i+1, m.Role)
		}
	}
	return nil
}

// newMessages drops the messages that repeat what the user said before: clients
// of the original send the whole history with every turn.
//
// A list that is the history and nothing else is a client that lost its stream
// and asks again, so nothing is new while a run is active. When none is, a single
// message that equals the only one so far is somebody who says the same again.
func (s *State) newMessages(msgs []holdfast.Message) []holdfast.Message {
	var users []string
	for _, m := range msgs {
		if m.Role == holdfast.RoleUser || m.Role == "" {
			users = append(users, m.Content)
		}
	}
	known := s.Said.Count
	if known == 0 || len(users) < known {
		return msgs
	}
	var begins Said
	for _, text := range users[:known] {
		begins.add(text)
	}
	if begins != s.Said {
		return msgs
	}
	if len(users) == known {
		if s.Run == nil && len(s.Queue) == 0 && known == 1 {
			return msgs
		}
		return nil
	}
	// Drop everything up to the last known user message, and answers of the
	// assistant that follow it: the log has them.
	seen := 0
	for i, m := range msgs {
		if m.Role == holdfast.RoleUser || m.Role == "" {
			if seen == known {
				return msgs[i:]
			}
			seen++
		}
	}
	return nil
}

// waiting returns the calls that wait for a human, oldest first.
func (s *State) waiting() []*Call {
	var cs []*Call
	if s.Run == nil {
		return nil
	}
	for _, t := range s.Run.Threads {
		for _, c := range t.Calls {
			if c.Status == CallWaiting {
				cs = append(cs, c)
			}
		}
	}
	return cs
}

func (s *State) acceptDecision(c events.Command, b events.DecideBody) ([]holdfast.Event, string, error) {
	switch b.Decision {
	case DecisionApprove, DecisionApproveSession, DecisionReject:
	default:
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "decision %q: use approve, approve-session or reject", b.Decision)
	}
	if b.Arguments != "" && !json.Valid([]byte(b.Arguments)) {
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "the edited arguments are not valid JSON")
	}
	if s.Run == nil {
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for a decision: the session has no active run")
	}
	run := s.Run.ID
	waiting := s.waiting()
	if b.ToolCallID == "" {
		switch {
		case len(waiting) > 0:
			b.ToolCallID = waiting[0].ID
		case s.Run.AtLimit && b.Decision == DecisionReject:
			return []holdfast.Event{&holdfast.RunCanceledEvent{Run: run, Command: c.ID, Reason: b.Reason}}, run, nil
		case s.Run.AtLimit:
			return []holdfast.Event{&holdfast.RunContinuedEvent{Run: run, Iterations: moreIterations, Command: c.ID}}, run, nil
		default:
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for a decision")
		}
	}
	for _, w := range waiting {
		if w.ID == b.ToolCallID {
			return []holdfast.Event{&holdfast.ToolCallDecidedEvent{
				ToolCallID: b.ToolCallID, Decision: b.Decision, Arguments: b.Arguments, Reason: b.Reason, Command: c.ID,
			}}, run, nil
		}
	}
	if was, ok := s.Run.Decided[b.ToolCallID]; ok {
		if was == decided(b.Decision, b.Arguments) {
			return nil, run, nil // the same answer again changes nothing
		}
		decision, _, _ := strings.Cut(was, " ")
		if decision == b.Decision {
			decision += ", with other arguments"
		}
		return nil, "", holdfast.Errorf(holdfast.CodeConflict, "tool call %s was decided already: %s", b.ToolCallID, decision)
	}
	return nil, "", holdfast.Errorf(holdfast.CodeConflict, "tool call %s does not wait for a decision", b.ToolCallID)
}

func (s *State) acceptCancel(c events.Command, b events.CancelBody) ([]holdfast.Event, string, error) {
	if b.Run == "" && s.Run != nil {
		b.Run = s.Run.ID
	}
	if s.Run != nil && s.Run.ID == b.Run {
		if s.Run.Canceled {
			return nil, b.Run, nil
		}
		return []holdfast.Event{&holdfast.RunCanceledEvent{Run: b.Run, Command: c.ID, Reason: b.Reason}}, b.Run, nil
	}
	for _, q := range s.Queue {
		if q.Run == b.Run {
			return []holdfast.Event{
				&holdfast.RunCanceledEvent{Run: b.Run, Command: c.ID, Reason: b.Reason},
				&holdfast.RunFinishedEvent{Run: b.Run, Reason: "canceled"},
			}, b.Run, nil
		}
	}
	if id := s.scheduled(b.Run); id != "" {
		return []holdfast.Event{
			&holdfast.RunCanceledEvent{Run: b.Run, Command: c.ID, Reason: b.Reason},
			&holdfast.TimerFiredEvent{Timer: id, Canceled: true},
			&holdfast.RunFinishedEvent{Run: b.Run, Reason: "canceled"},
		}, b.Run, nil
	}
	return nil, "", holdfast.Errorf(holdfast.CodeConflict, "there is no active run to cancel")
}

// refuseTooLarge refuses a command whose effect does not fit the log.
func (s *State) refuseTooLarge(c events.Command) ([]holdfast.Event, events.Answer) {
	return s.refuse(c, holdfast.Errorf(holdfast.CodeTooLarge, "the messages of one run may have %d KiB at most", events.MaxPayload>>10))
}
