package events

import (
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// The rules about what a session waits for, and about keys.
const (
	RuleTimer         = "timer"         // a timer that fires is set and fires once; one is set once
	RuleAuthorization = "authorization" // what is said of an authorization is said of one that is pending
	RuleInput         = "input"         // an answer answers a question, once
	RuleIdle          = "idle"          // a session that is parked idle has no run that is active or waits for its turn
	RuleKey           = "key"           // all attempts of a call have one idempotency key, and no other call has it
)

// verifyWaits is what a session waits for, as its log says.
type verifyWaits struct {
	timers map[string]bool
	flows  map[string]bool
	asked  map[string]bool // questions: true until they are answered
	keys   map[string]*verifyCall
	// approved says that the session's tools need no decision.
	approved bool
}

func newVerifyWaits() verifyWaits {
	return verifyWaits{timers: map[string]bool{}, flows: map[string]bool{}, asked: map[string]bool{}, keys: map[string]*verifyCall{}}
}

// waits checks the events of waiting, whether a run is active or not.
func (v *Verifier) waits(e *Envelope, ev holdfast.Event) {
	w := &v.waiting
	switch ev := ev.(type) {
	case *holdfast.SessionCreatedEvent:
		approved := w.approved || ev.ToolsApproved
		keys := w.keys
		*w = newVerifyWaits()
		w.approved, w.keys = approved, keys
	case *holdfast.TimerSetEvent:
		if w.timers[ev.Timer] {
			v.bad(e, RuleTimer, "timer %s is set twice", ev.Timer)
		}
		w.timers[ev.Timer] = true
	case *holdfast.TimerFiredEvent:
		// One that is taken away may be unknown: somebody believed it to be set.
		if !w.timers[ev.Timer] && !ev.Canceled {
			v.bad(e, RuleTimer, "timer %s fires and is not set", ev.Timer)
		}
		delete(w.timers, ev.Timer)
	case *holdfast.ToolCallDecidedEvent:
		w.approved = w.approved || ev.Decision == "approve-session"
	case *holdfast.RunFinishedEvent:
		if ev.Run == v.run {
			w.flows, w.asked = map[string]bool{}, map[string]bool{}
		}
	case *holdfast.AuthorizationRequiredEvent:
		switch {
		case ev.FlowID == "":
		case ev.Confirmation == "pending":
			if w.flows[ev.FlowID] {
				v.bad(e, RuleAuthorization, "flow %s begins twice", ev.FlowID)
			}
			w.flows[ev.FlowID] = true
		case ev.Confirmation == "denied":
			v.pending(e, ev.FlowID) // it stays until the run has ended
		default:
			v.pending(e, ev.FlowID)
			delete(w.flows, ev.FlowID)
		}
	case *holdfast.AuthorizationAwaitedEvent:
		v.pending(e, ev.FlowID)
	case *holdfast.AuthorizationReceivedEvent:
		v.pending(e, ev.FlowID)
	case *holdfast.AuthorizationVouchedEvent:
		v.pending(e, ev.FlowID)
	case *holdfast.AuthorizationEndedEvent:
		v.pending(e, ev.FlowID)
		delete(w.flows, ev.FlowID)
	case *holdfast.ElicitationRequestEvent:
		w.asked[ev.ID] = true
	case *holdfast.ElicitationAnsweredEvent:
		if !w.asked[ev.ID] {
			v.bad(e, RuleInput, "question %s was not asked, or was answered before", ev.ID)
		}
		w.asked[ev.ID] = false
	case *holdfast.SessionParkedEvent:
		if ev.Waiting == WaitingIdle {
			v.idle(e)
		}
	}
}

func (v *Verifier) pending(e *Envelope, flow string) {
	if flow != "" && v.run != "" && !v.waiting.flows[flow] {
		v.bad(e, RuleAuthorization, "%s of flow %s, which is not pending", e.Type, flow)
	}
}

// idle checks that nothing is to be done.
func (v *Verifier) idle(e *Envelope) {
	if v.run != "" {
		v.bad(e, RuleIdle, "run %s is active", v.run)
		return
	}
	for run := range v.queued {
		if !v.started[run] && !v.finished[run] {
			v.bad(e, RuleIdle, "run %s waits for its turn", run)
			return
		}
	}
}

// begin checks the start of a call against what was decided about it.
func (v *Verifier) begin(e *Envelope, c *verifyCall, id string) {
	switch {
	case c.rejected:
		v.bad(e, RuleDecision, "call %s starts although it was rejected", id)
	case c.asked && (c.unknown || !v.waiting.approved):
		v.bad(e, RuleDecision, "call %s starts while a human is asked about it", id)
	}
}

// key checks the idempotency key of a call.
func (v *Verifier) key(e *Envelope, c *verifyCall, id, key string) {
	if c == nil || key == "" {
		return
	}
	switch other := v.waiting.keys[key]; {
	case c.key != "" && c.key != key:
		v.bad(e, RuleKey, "call %s had another key before", id)
	case other != nil && other != c:
		v.bad(e, RuleKey, "another call had the key of call %s", id)
	}
	c.key, v.waiting.keys[key] = key, c
}

// answered checks that every call of the last answer has an outcome.
func (v *Verifier) answered(e *Envelope, t *verifyThread, what string) {
	for id, c := range t.calls {
		if !c.answered {
			v.bad(e, RuleOutcome, "%s and call %s has no answer", what, id)
			return
		}
	}
}

// nested checks that a stream within another one is a sub-agent at work for a call.
func (v *Verifier) nested(e *Envelope, t *verifyThread) {
	for _, c := range t.calls {
		if c.started > 0 && !c.answered {
			return
		}
	}
	v.bad(e, RuleStream, "a stream starts within that of %s, no call of which is under way", t.agent)
}

// verifySettled is when a command was settled, and as which one.
type verifySettled struct {
	seq uint64
	at  time.Time
	n   int
}

// settled checks that a command is settled once, within the time and the number
// of commands for which they are remembered.
func (v *Verifier) settled(e *Envelope, command string) {
	before, ok := v.commands[command]
	if ok && (e.Time.Sub(before.at) < RememberFor || v.settledCount-before.n < RememberCommands) {
		v.bad(e, RuleCommand, "command %s was settled by seq %d", command, before.seq)
	}
	v.settledCount++
	v.commands[command] = verifySettled{seq: e.Seq, at: e.Time, n: v.settledCount}
}
