package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
)

// Violation is a rule that a log breaks.
type Violation struct {
	Session holdfast.SessionRef
	Seq     uint64
	// Rule is the rule's short name, Detail says what was found.
	Rule   string
	Detail string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: seq %d: %s: %s", v.Session, v.Seq, v.Rule, v.Detail)
}

// The rules that every log keeps, whatever died while it was written.
const (
	RuleSeq      = "seq"      // seq is contiguous from the session's first event
	RuleEpoch    = "epoch"    // the epoch never falls and rises by one with each session_claimed
	RuleFirst    = "first"    // session_created is the first event and only that
	RuleLeft     = "left"     // only a claim follows session_parked and session_handed_over
	RuleDeleted  = "deleted"  // nothing follows session_deleted
	RulePayload  = "payload"  // every payload of a known type can be read
	RuleCommand  = "command"  // a command is settled once
	RuleRun      = "run"      // a run is queued, started and finished once, one at a time
	RuleStream   = "stream"   // streams nest, and all are closed when the run is finished
	RuleModel    = "model"    // deltas belong to an open model call; calls are closed once
	RuleIntent   = "intent"   // a call that succeeded was started before
	RuleOutcome  = "outcome"  // a call is answered once
	RuleRepeat   = "repeat"   // a call that is neither read-only nor idempotent starts again only after it was said that its outcome is unknown
	RuleDecision = "decision" // a decision answers a confirmation, once
	RuleSummary  = "summary"  // a compaction is started and completed once, and a summary comes within one
	RuleParts    = "parts"    // the parts of a payload are complete and have its hash
)

// Verifier judges one session's log by reading it alone: what it knows is in
// this file, not in the code that writes logs.
type Verifier struct {
	// Report receives what is wrong. It must be set.
	Report func(Violation)

	ref          holdfast.SessionRef
	seq          uint64
	epoch        uint64
	last         string
	commands     map[string]verifySettled
	settledCount int
	queued       map[string]bool
	started      map[string]bool
	finished     map[string]bool
	run          string
	threads      []*verifyThread
	parts        *verifyParts
	// compacting says that a compaction is under way.
	compacting bool
	waiting    verifyWaits
}

type verifyThread struct {
	agent string
	open  string // model call under way
	calls map[string]*verifyCall
}

type verifyCall struct {
	started  int
	effect   string
	attempt  int
	key      string
	asked    bool // a confirmation waits
	unknown  bool // it was asked because the outcome is unknown
	rejected bool
	again    bool // its outcome was said to be unknown
	answered bool
	told     bool // its tool_call is there
}

type verifyParts struct {
	sum   string
	next  int
	parts int
	data  []byte
}

// NewVerifier returns a verifier for one session. A log that is read from the
// middle is not supported: rules look back.
func NewVerifier(ref holdfast.SessionRef, report func(Violation)) *Verifier {
	return &Verifier{
		Report: report, ref: ref, commands: map[string]verifySettled{}, waiting: newVerifyWaits(), queued: map[string]bool{},
		started: map[string]bool{}, finished: map[string]bool{},
	}
}

func (v *Verifier) bad(e *Envelope, rule, format string, args ...any) {
	v.Report(Violation{Session: v.ref, Seq: e.Seq, Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

// Event judges the next event.
func (v *Verifier) Event(e *Envelope) {
	v.chain(e)
	ev, err := e.Event()
	if err != nil {
		v.bad(e, RulePayload, "%v", err)
	} else {
		v.content(e, ev)
	}
	v.seq, v.epoch, v.last = e.Seq, e.Epoch, e.Type
}

// chain checks what holds for events of all types.
func (v *Verifier) chain(e *Envelope) {
	if e.Seq != v.seq+1 {
		v.bad(e, RuleSeq, "follows seq %d", v.seq)
	}
	claim := e.Type == holdfast.TypeSessionClaimed
	switch {
	case e.Epoch < v.epoch:
		v.bad(e, RuleEpoch, "fell from %d to %d", v.epoch, e.Epoch)
	case claim && e.Epoch != v.epoch+1:
		v.bad(e, RuleEpoch, "a claim went from %d to %d", v.epoch, e.Epoch)
	case !claim && e.Epoch != v.epoch && e.Type != holdfast.TypeSessionCreated:
		v.bad(e, RuleEpoch, "%s begins epoch %d", e.Type, e.Epoch)
	}
	if v.seq == 0 && e.Type != holdfast.TypeSessionCreated {
		v.bad(e, RuleFirst, "the log begins with %s", e.Type)
	}
	switch v.last {
	case holdfast.TypeSessionParked, holdfast.TypeSessionHandedOver:
		if !claim && e.Type != holdfast.TypeSessionCreated { // a fork may begin after any event
			v.bad(e, RuleLeft, "%s follows %s", e.Type, v.last)
		}
	case holdfast.TypeSessionDeleted:
		v.bad(e, RuleDeleted, "%s follows session_deleted", e.Type)
	}
}

func (v *Verifier) top() *verifyThread {
	if len(v.threads) == 0 {
		return nil
	}
	return v.threads[len(v.threads)-1]
}

// content checks what an event says against what was said before.
func (v *Verifier) content(e *Envelope, ev holdfast.Event) {
	v.waits(e, ev)
	switch ev := ev.(type) {
	case *holdfast.SessionCreatedEvent:
		v.created(e, ev)
	case *holdfast.CommandAcceptedEvent:
		v.settled(e, ev.Command)
	case *holdfast.CommandRefusedEvent:
		v.settled(e, ev.Command)
	case *holdfast.RunQueuedEvent:
		if ev.Mode == ModeSteer && v.started[ev.Run] {
			return
		}
		if v.queued[ev.Run] {
			v.bad(e, RuleRun, "run %s is queued twice", ev.Run)
		}
		v.queued[ev.Run] = true
	case *holdfast.RunStartedEvent:
		if v.run != "" {
			v.bad(e, RuleRun, "run %s starts while %s is active", ev.Run, v.run)
		}
		if !v.queued[ev.Run] || v.started[ev.Run] {
			v.bad(e, RuleRun, "run %s starts: queued %v, started before %v", ev.Run, v.queued[ev.Run], v.started[ev.Run])
		}
		v.run, v.started[ev.Run], v.threads = ev.Run, true, nil
	case *holdfast.RunFinishedEvent:
		if v.finished[ev.Run] || (v.run != ev.Run && v.started[ev.Run]) {
			v.bad(e, RuleRun, "run %s finishes; active is %q, finished before %v", ev.Run, v.run, v.finished[ev.Run])
		}
		v.finished[ev.Run] = true
		if v.run == ev.Run {
			if len(v.threads) > 0 {
				v.bad(e, RuleStream, "run %s finishes with %d open streams", ev.Run, len(v.threads))
			}
			v.run, v.threads = "", nil
		}
	case *holdfast.PayloadPartEvent:
		v.part(e, ev)
	case *holdfast.SessionCompactionEvent:
		if started := ev.Status == "started"; started == v.compacting {
			v.bad(e, RuleSummary, "a compaction is %s; one was under way: %v", ev.Status, v.compacting)
		}
		v.compacting = ev.Status == "started"
	case *holdfast.SessionSummaryEvent:
		if !v.compacting {
			v.bad(e, RuleSummary, "a summary outside of a compaction")
		}
	default:
		if v.run != "" {
			v.inRun(e, ev)
		}
	}
}

func (v *Verifier) created(e *Envelope, ev *holdfast.SessionCreatedEvent) {
	switch {
	case ev.ForkOf == "" && v.seq != 0:
		v.bad(e, RuleFirst, "the session is created twice")
	case ev.ForkOf != "" && ev.ForkSeq != v.seq:
		v.bad(e, RuleFirst, "a fork after seq %d is here after seq %d", ev.ForkSeq, v.seq)
	}
	// What was under way stays with the session that this one was forked from.
	v.run, v.threads, v.parts, v.compacting = "", nil, nil, false
	v.commands, v.settledCount, v.queued = map[string]verifySettled{}, 0, map[string]bool{}
	v.started, v.finished = map[string]bool{}, map[string]bool{}
}

// inRun checks the events of the active run.
func (v *Verifier) inRun(e *Envelope, ev holdfast.Event) {
	t := v.top()
	switch ev := ev.(type) {
	case *holdfast.StreamStartedEvent:
		if t != nil {
			v.nested(e, t)
		}
		v.threads = append(v.threads, &verifyThread{agent: ev.AgentName, calls: map[string]*verifyCall{}})
	case *holdfast.StreamStoppedEvent:
		if t == nil {
			v.bad(e, RuleStream, "a stream stops and none is open")
			return
		}
		if t.open != "" {
			v.bad(e, RuleModel, "the stream stops in model call %s", t.open)
		}
		if ev.AgentName != t.agent {
			v.bad(e, RuleStream, "the stream of %s stops, that of %s is the innermost", ev.AgentName, t.agent)
		}
		v.answered(e, t, "the stream stops")
		v.threads = v.threads[:len(v.threads)-1]
	case *holdfast.ModelCallStartedEvent:
		if ev.Purpose != "" {
			return
		}
		if t == nil || t.open != "" {
			v.bad(e, RuleModel, "model call %s starts outside a stream or in another call", ev.Call)
			return
		}
		v.answered(e, t, "a model call starts")
		t.open, t.calls = ev.Call, map[string]*verifyCall{}
	case *holdfast.ModelCallVoidedEvent:
		v.closeCall(e, t, ev.Call)
		if t != nil {
			t.calls = map[string]*verifyCall{}
		}
	case *holdfast.ModelCallFinishedEvent:
		if ev.Purpose == "" {
			v.closeCall(e, t, ev.Call)
			if t != nil && (ev.FinishReason == "error" || ev.FinishReason == "canceled") {
				t.calls = map[string]*verifyCall{}
			}
		}
	case *holdfast.AgentChoiceEvent, *holdfast.AgentChoiceReasoningEvent:
		if t == nil || t.open == "" {
			v.bad(e, RuleModel, "%s outside a model call", e.Type)
		}
	case *holdfast.AgentSwitchingEvent:
		if t != nil && ev.Switching {
			t.agent = ev.ToAgent
		}
	case *holdfast.PartialToolCallEvent:
		if t == nil || t.open == "" {
			v.bad(e, RuleModel, "%s outside a model call", e.Type)
			return
		}
		if t.calls[ev.ToolCall.ID] == nil {
			t.calls[ev.ToolCall.ID] = &verifyCall{}
		}
	default:
		if t != nil {
			v.inCalls(e, t, ev)
		}
	}
}

func (v *Verifier) closeCall(e *Envelope, t *verifyThread, call string) {
	if t == nil || t.open != call {
		v.bad(e, RuleModel, "model call %s ends and is not open", call)
		return
	}
	t.open = ""
}

// inCalls checks the events of tool calls.
func (v *Verifier) inCalls(e *Envelope, t *verifyThread, ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.ToolCallsStartedEvent:
		for _, c := range ev.Calls {
			v.start(e, t, c.ID, c.Effect, c.Attempt)
		}
	case *holdfast.ToolCallEvent:
		// The events of a group follow the intent that they share.
		c := t.calls[ev.ToolCall.ID]
		v.key(e, c, ev.ToolCall.ID, ev.IdempotencyKey)
		if c != nil && c.started > 0 && c.attempt == max(ev.Attempt, 1) && !c.told {
			c.told = true
			return
		}
		v.start(e, t, ev.ToolCall.ID, ev.Effect, ev.Attempt)
		if c != nil {
			c.told = true
		}
	case *holdfast.ToolOutcomeUnknownEvent:
		if c := v.call(e, t, ev.ToolCallID); c != nil {
			if c.started == 0 {
				v.bad(e, RuleIntent, "call %s was never started and its outcome is unknown", ev.ToolCallID)
			}
			c.again = true
		}
	case *holdfast.AuthorizationAwaitedEvent:
		if ev.ToolCallID == "" {
			return
		}
		if c := v.call(e, t, ev.ToolCallID); c != nil {
			if c.started == 0 || c.answered {
				v.bad(e, RuleIntent, "call %s waits for an authorization and is not under way", ev.ToolCallID)
			}
			c.again = true // the server refused it before it did anything
		}
	case *holdfast.ToolCallSuspendedEvent:
		if c := v.call(e, t, ev.ToolCallID); c != nil {
			if c.started == 0 {
				v.bad(e, RuleIntent, "call %s was never started and asks the user", ev.ToolCallID)
			}
			c.again = true // it ended, and that was said
		}
	case *holdfast.ToolCallConfirmationEvent:
		if c := v.call(e, t, ev.ToolCall.ID); c != nil {
			c.asked, c.unknown = true, ev.Reason == "outcome_unknown"
		}
	case *holdfast.ToolCallDecidedEvent:
		found := false
		for _, th := range v.threads {
			if c := th.calls[ev.ToolCallID]; c != nil && c.asked {
				c.asked, c.rejected, found = false, ev.Decision == "reject", true
			}
		}
		if !found {
			v.bad(e, RuleDecision, "call %s does not wait for one", ev.ToolCallID)
		}
	case *holdfast.ToolCallResponseEvent:
		c := v.call(e, t, ev.ToolCallID)
		if c == nil {
			return
		}
		if c.answered {
			v.bad(e, RuleOutcome, "call %s is answered twice", ev.ToolCallID)
		}
		if c.started == 0 && !ev.Result.IsError {
			v.bad(e, RuleIntent, "call %s succeeded and was never started", ev.ToolCallID)
		}
		c.answered = true
		if ev.SHA256 != "" && (v.parts == nil || v.parts.sum != ev.SHA256 || v.parts.next <= v.parts.parts) {
			v.bad(e, RuleParts, "the parts of %s are not there", ev.SHA256)
		}
	}
}

func (v *Verifier) call(e *Envelope, t *verifyThread, id string) *verifyCall {
	c := t.calls[id]
	if c == nil {
		v.bad(e, RuleOutcome, "no open call %s", id)
	}
	return c
}

func (v *Verifier) start(e *Envelope, t *verifyThread, id, effect string, attempt int) {
	c := v.call(e, t, id)
	if c == nil {
		return
	}
	if c.answered {
		v.bad(e, RuleOutcome, "call %s starts after its answer", id)
	}
	if c.started > 0 && c.effect == "" && !c.again {
		v.bad(e, RuleRepeat, "call %s starts again in silence", id)
	}
	if attempt = max(attempt, 1); c.started > 0 && attempt <= c.attempt {
		v.bad(e, RuleRepeat, "attempt %d of call %s follows attempt %d", attempt, id, c.attempt)
	}
	v.begin(e, c, id)
	c.started++
	c.attempt = attempt
	c.effect, c.again = effect, false
}

func (v *Verifier) part(e *Envelope, ev *holdfast.PayloadPartEvent) {
	if ev.Part == 1 {
		v.parts = &verifyParts{sum: ev.SHA256, next: 1, parts: ev.Parts}
	}
	p := v.parts
	if p == nil || p.sum != ev.SHA256 || p.next != ev.Part || p.parts != ev.Parts {
		v.bad(e, RuleParts, "part %d of %d of %s is out of order", ev.Part, ev.Parts, ev.SHA256)
		return
	}
	p.next++
	p.data = append(p.data, ev.Data...)
	if ev.Part == ev.Parts {
		if sum := sha256.Sum256(p.data); hex.EncodeToString(sum[:]) != p.sum {
			v.bad(e, RuleParts, "the parts do not have the hash %s", p.sum)
		}
		p.data = nil
	}
}
