package events_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

var (
	boss  = holdfast.AgentContext{AgentName: "root"}
	clerk = holdfast.AgentContext{AgentName: "clerk"}
)

func call(id, name string) holdfast.ToolCall { return holdfast.NewToolCall(id, name, "{}") }

func intentOf(id, key string, attempt int) *holdfast.ToolCallEvent {
	return &holdfast.ToolCallEvent{AgentContext: boss, ToolCall: call(id, "pay"), IdempotencyKey: key, Attempt: attempt}
}

func outcomeOf(who holdfast.AgentContext, id string) *holdfast.ToolCallResponseEvent {
	return &holdfast.ToolCallResponseEvent{AgentContext: who, ToolCall: call(id, "pay"), ToolCallID: id, Response: "ok", Result: holdfast.ToolCallOutcome{Output: "ok"}}
}

// sound is a log in which everything occurs and nothing is wrong.
func sound() []holdfast.Event {
	return []holdfast.Event{
		&holdfast.SessionCreatedEvent{Agent: "agent"},
		&holdfast.SessionClaimedEvent{Worker: "w1", Reason: "command"},
		&holdfast.CommandAcceptedEvent{Command: "k1", Kind: "run", Hash: "h", Run: "r1"},
		&holdfast.RunQueuedEvent{Run: "r1", Command: "k1", Agent: "agent", AgentInFile: "root"},
		&holdfast.RunStartedEvent{Run: "r1", Agent: "agent", AgentInFile: "root"},
		&holdfast.UserMessageEvent{Message: "pay"},
		&holdfast.StreamStartedEvent{AgentContext: boss},
		&holdfast.ModelCallStartedEvent{AgentContext: boss, Call: "m1"},
		&holdfast.AgentChoiceEvent{AgentContext: boss, Content: "I pay."},
		&holdfast.PartialToolCallEvent{AgentContext: boss, ToolCall: call("c1", "pay")},
		&holdfast.PartialToolCallEvent{AgentContext: boss, ToolCall: call("c2", "transfer_task")},
		&holdfast.ModelCallFinishedEvent{AgentContext: boss, Call: "m1", FinishReason: "tool_calls"},
		&holdfast.ToolCallConfirmationEvent{AgentContext: boss, ToolCall: call("c1", "pay")},
		&holdfast.TimerSetEvent{Timer: "t1", Kind: events.TimerApproval, ToolCallID: "c1"},
		&holdfast.SessionParkedEvent{Waiting: events.WaitingApproval},
		&holdfast.SessionClaimedEvent{Worker: "w2", Reason: "command"},
		&holdfast.CommandAcceptedEvent{Command: "k2", Kind: "decide", Hash: "h", Run: "r1"},
		&holdfast.ToolCallDecidedEvent{ToolCallID: "c1", Decision: "approve", Command: "k2"},
		&holdfast.TimerFiredEvent{Timer: "t1", Canceled: true},
		intentOf("c1", "key-1", 1),
		&holdfast.AuthorizationRequiredEvent{AgentContext: boss, ServerURL: "s", Confirmation: "pending", FlowID: "f1"},
		&holdfast.AuthorizationAwaitedEvent{AgentContext: boss, FlowID: "f1", ToolCallID: "c1"},
		&holdfast.AuthorizationReceivedEvent{AgentContext: boss, FlowID: "f1"},
		&holdfast.AuthorizationRequiredEvent{AgentContext: boss, ServerURL: "s", Confirmation: "confirmed", FlowID: "f1"},
		intentOf("c1", "key-1", 2),
		&holdfast.ElicitationRequestEvent{AgentContext: boss, ID: "q1", ToolCallID: "c1"},
		&holdfast.ElicitationAnsweredEvent{ID: "q1", Action: "decline", ToolCallID: "c1"},
		outcomeOf(boss, "c1"),
		&holdfast.ToolCallEvent{AgentContext: boss, ToolCall: call("c2", "transfer_task"), IdempotencyKey: "key-2", Attempt: 1},
		&holdfast.StreamStartedEvent{AgentContext: clerk},
		&holdfast.ModelCallStartedEvent{AgentContext: clerk, Call: "m2"},
		&holdfast.ModelCallFinishedEvent{AgentContext: clerk, Call: "m2", FinishReason: "stop"},
		&holdfast.StreamStoppedEvent{AgentContext: clerk, Reason: "stop"},
		outcomeOf(boss, "c2"),
		&holdfast.SessionCompactionEvent{AgentContext: boss, Status: "started"},
		&holdfast.SessionSummaryEvent{AgentContext: boss, Summary: "all"},
		&holdfast.SessionCompactionEvent{AgentContext: boss, Status: "completed"},
		&holdfast.ModelCallStartedEvent{AgentContext: boss, Call: "m3"},
		&holdfast.AgentChoiceEvent{AgentContext: boss, Content: "Done."},
		&holdfast.ModelCallFinishedEvent{AgentContext: boss, Call: "m3", FinishReason: "stop"},
		&holdfast.StreamStoppedEvent{AgentContext: boss, Reason: "stop"},
		&holdfast.RunFinishedEvent{Run: "r1", Reason: "stop"},
		&holdfast.SessionParkedEvent{Waiting: events.WaitingIdle},
	}
}

// enveloped numbers events; each claim begins an epoch.
func enveloped(t *testing.T, evs []holdfast.Event) []events.Envelope {
	t.Helper()
	out := make([]events.Envelope, len(evs))
	epoch := uint64(0)
	for i, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			t.Fatal(err)
		}
		if ev.EventType() == holdfast.TypeSessionClaimed {
			epoch++
		}
		out[i] = events.Envelope{
			Seq: uint64(i + 1), Epoch: epoch, Time: time.Unix(int64(1000+i), 0).UTC(), Type: ev.EventType(), V: 1, Agent: ev.GetAgentName(), Payload: payload,
		}
	}
	return out
}

func violations(evs []events.Envelope) []events.Violation {
	var bad []events.Violation
	v := events.NewVerifier(ref0, func(found events.Violation) { bad = append(bad, found) })
	for i := range evs {
		v.Event(&evs[i])
	}
	return bad
}

var ref0 = holdfast.SessionRef{Tenant: "t", Session: "s"}

// breaks is a way to break a sound log, and the rule and the event that tell.
type breaks struct {
	name string
	rule string
	seq  uint64
	log  func(t *testing.T) []events.Envelope
}

func broken() []breaks {
	find := func(evs []holdfast.Event, what holdfast.Event, nth int) int {
		for i, ev := range evs {
			if ev.EventType() == what.EventType() {
				if nth--; nth == 0 {
					return i
				}
			}
		}
		panic(fmt.Sprintf("no such %s", what.EventType()))
	}
	// edit changes the nth event of a type: it is replaced by what stands for it.
	edit := func(what holdfast.Event, nth int, instead ...holdfast.Event) func(*testing.T) []events.Envelope {
		return func(t *testing.T) []events.Envelope {
			evs := sound()
			i := find(evs, what, nth)
			return enveloped(t, slices.Replace(evs, i, i+1, instead...))
		}
	}
	bytewise := func(fn func(evs []events.Envelope)) func(*testing.T) []events.Envelope {
		return func(t *testing.T) []events.Envelope {
			evs := enveloped(t, sound())
			fn(evs)
			return evs
		}
	}
	finished, part := &holdfast.ModelCallFinishedEvent{}, &holdfast.PayloadPartEvent{SHA256: strings.Repeat("0", 64), Part: 1, Parts: 1, Data: []byte("x")}
	return []breaks{
		{"a gap", events.RuleSeq, 6, func(t *testing.T) []events.Envelope { e := enveloped(t, sound()); return slices.Delete(e, 4, 5) }},
		{"an epoch that falls", events.RuleEpoch, 20, bytewise(func(e []events.Envelope) { e[19].Epoch = 0 })},
		{"an epoch without a claim", events.RuleEpoch, 6, bytewise(func(e []events.Envelope) { e[5].Epoch++ })},
		{"no beginning", events.RuleFirst, 1, edit(&holdfast.SessionCreatedEvent{}, 1, &holdfast.WarningEvent{})},
		{"two beginnings", events.RuleFirst, 3, edit(&holdfast.CommandAcceptedEvent{}, 1, &holdfast.SessionCreatedEvent{})},
		{"work after parking", events.RuleLeft, 16, edit(&holdfast.SessionClaimedEvent{}, 2, &holdfast.WarningEvent{})},
		{"after the end", events.RuleDeleted, 4, edit(&holdfast.CommandAcceptedEvent{}, 1, &holdfast.SessionDeletedEvent{})},
		{"no payload", events.RulePayload, 9, bytewise(func(e []events.Envelope) { e[8].Payload = []byte(`{"content":7}`) })},
		{"a command twice", events.RuleCommand, 17, edit(&holdfast.CommandAcceptedEvent{}, 2, &holdfast.CommandRefusedEvent{Command: "k1"})},
		{"a run that nobody asked for", events.RuleRun, 4, edit(&holdfast.RunQueuedEvent{}, 1)},
		{"a run twice", events.RuleRun, 5, edit(&holdfast.RunQueuedEvent{}, 1, &holdfast.RunQueuedEvent{Run: "r1"}, &holdfast.RunQueuedEvent{Run: "r1"})},
		{"an end twice", events.RuleRun, 43, edit(&holdfast.RunFinishedEvent{}, 1, &holdfast.RunFinishedEvent{Run: "r1"}, &holdfast.RunFinishedEvent{Run: "r1"})},
		{"a stream left open", events.RuleStream, 41, edit(&holdfast.StreamStoppedEvent{}, 2)},
		{"another stream stops", events.RuleStream, 33, edit(&holdfast.StreamStoppedEvent{}, 1, &holdfast.StreamStoppedEvent{AgentContext: boss})},
		{"a stream for no call", events.RuleStream, 8, edit(&holdfast.StreamStartedEvent{}, 1, &holdfast.StreamStartedEvent{AgentContext: boss}, &holdfast.StreamStartedEvent{AgentContext: clerk})},
		{"text outside of a call", events.RuleModel, 8, edit(&holdfast.ModelCallStartedEvent{}, 1)},
		{"a call within a call", events.RuleModel, 12, edit(finished, 1, &holdfast.ModelCallStartedEvent{AgentContext: boss, Call: "m9"})},
		{"an end of another call", events.RuleModel, 12, edit(finished, 1, &holdfast.ModelCallFinishedEvent{AgentContext: boss, Call: "m9"})},
		{"an outcome without an intent", events.RuleIntent, 33, func(t *testing.T) []events.Envelope {
			evs := sound()
			i := find(evs, &holdfast.ToolCallEvent{}, 3) // and the stream of the sub-agent with it
			return enveloped(t, slices.Insert(slices.Delete(evs, i, i+5), i, []holdfast.Event{&holdfast.WarningEvent{}, &holdfast.WarningEvent{}, &holdfast.WarningEvent{}, &holdfast.WarningEvent{}}...))
		}},
		{"an outcome twice", events.RuleOutcome, 29, edit(&holdfast.ToolCallResponseEvent{}, 1, outcomeOf(boss, "c1"), outcomeOf(boss, "c1"))},
		{"an outcome of no call", events.RuleOutcome, 29, edit(&holdfast.ToolCallResponseEvent{}, 1, outcomeOf(boss, "c1"), outcomeOf(boss, "c9"))},
		{"a call without an outcome", events.RuleOutcome, 37, edit(&holdfast.ToolCallResponseEvent{}, 2)},
		{"the same attempt again", events.RuleRepeat, 25, edit(&holdfast.ToolCallEvent{}, 2, intentOf("c1", "key-1", 1))},
		{"again in silence", events.RuleRepeat, 24, edit(&holdfast.AuthorizationAwaitedEvent{}, 1)},
		{"a decision on nothing", events.RuleDecision, 17, edit(&holdfast.ToolCallConfirmationEvent{}, 1)},
		{"begun while somebody is asked", events.RuleDecision, 19, edit(&holdfast.ToolCallDecidedEvent{}, 1)},
		{"begun although rejected", events.RuleDecision, 20, edit(&holdfast.ToolCallDecidedEvent{}, 1, &holdfast.ToolCallDecidedEvent{ToolCallID: "c1", Decision: "reject"})},
		{"a summary of nothing", events.RuleSummary, 35, edit(&holdfast.SessionCompactionEvent{}, 1)},
		{"a part that is not whole", events.RuleParts, 3, edit(&holdfast.CommandAcceptedEvent{}, 1, part)},
		{"a timer that is not set", events.RuleTimer, 18, func(t *testing.T) []events.Envelope {
			evs := sound()
			evs[find(evs, &holdfast.TimerFiredEvent{}, 1)] = &holdfast.TimerFiredEvent{Timer: "t1"}
			i := find(evs, &holdfast.TimerSetEvent{}, 1)
			return enveloped(t, slices.Delete(evs, i, i+1))
		}},
		{"a timer twice", events.RuleTimer, 15, edit(&holdfast.TimerSetEvent{}, 1, &holdfast.TimerSetEvent{Timer: "t1"}, &holdfast.TimerSetEvent{Timer: "t1"})},
		{"an authorization of nothing", events.RuleAuthorization, 23, edit(&holdfast.AuthorizationReceivedEvent{}, 1, &holdfast.AuthorizationReceivedEvent{FlowID: "f9"})},
		{"an authorization twice", events.RuleAuthorization, 25, edit(&holdfast.ToolCallEvent{}, 2, &holdfast.AuthorizationEndedEvent{FlowID: "f1", Reason: "expired"}, intentOf("c1", "key-1", 2))},
		{"an answer to nothing", events.RuleInput, 26, edit(&holdfast.ElicitationRequestEvent{}, 1)},
		{"an answer twice", events.RuleInput, 28, edit(&holdfast.ElicitationAnsweredEvent{}, 1, &holdfast.ElicitationAnsweredEvent{ID: "q1"}, &holdfast.ElicitationAnsweredEvent{ID: "q1"})},
		{"idle with a run", events.RuleIdle, 15, edit(&holdfast.SessionParkedEvent{}, 1, &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle})},
		{"idle with a run in the queue", events.RuleIdle, 44, edit(&holdfast.RunFinishedEvent{}, 1, &holdfast.RunFinishedEvent{Run: "r1"}, &holdfast.RunQueuedEvent{Run: "r2"})},
		{"another key", events.RuleKey, 25, edit(&holdfast.ToolCallEvent{}, 2, intentOf("c1", "key-9", 2))},
		{"a key twice", events.RuleKey, 29, edit(&holdfast.ToolCallEvent{}, 3, &holdfast.ToolCallEvent{AgentContext: boss, ToolCall: call("c2", "transfer_task"), IdempotencyKey: "key-1", Attempt: 1})},
	}
}

// TestVerifier: a sound log breaks no rule, and each rule is broken by a log that
// does so in that way.
func TestVerifier(t *testing.T) {
	t.Parallel()
	if bad := violations(enveloped(t, sound())); len(bad) > 0 {
		t.Fatalf("a sound log: %v", bad)
	}
	for _, b := range broken() {
		bad := violations(b.log(t))
		if !slices.ContainsFunc(bad, func(v events.Violation) bool { return v.Rule == b.rule && v.Seq == b.seq }) {
			t.Errorf("%s: want rule %s broken at %d, found %v", b.name, b.rule, b.seq, bad)
		}
	}
}

// TestCommandsMayComeBack: the id of a command is free again when it is forgotten.
func TestCommandsMayComeBack(t *testing.T) {
	t.Parallel()
	log := func(between int, apart time.Duration) []events.Envelope {
		evs := []holdfast.Event{&holdfast.SessionCreatedEvent{}, &holdfast.SessionClaimedEvent{Worker: "w"}, &holdfast.CommandAcceptedEvent{Command: "k", Kind: "compact"}}
		for n := range between {
			evs = append(evs, &holdfast.CommandAcceptedEvent{Command: fmt.Sprint("k", n), Kind: "compact"})
		}
		out := enveloped(t, append(evs, &holdfast.CommandAcceptedEvent{Command: "k", Kind: "compact"}))
		out[len(out)-1].Time = out[2].Time.Add(apart)
		return out
	}
	for _, c := range []struct {
		between int
		apart   time.Duration
		bad     int
	}{
		{events.RememberCommands, events.RememberFor + time.Second, 0},
		{events.RememberCommands - 2, events.RememberFor + time.Second, 1},
		{events.RememberCommands, events.RememberFor - time.Second, 1},
	} {
		if bad := violations(log(c.between, c.apart)); len(bad) != c.bad {
			t.Errorf("again after %d commands and %s: %v", c.between, c.apart, bad)
		}
	}
}

// TestImportOfBrokenLogs: a file that no worker can have written is refused with
// the rule and the event.
func TestImportOfBrokenLogs(t *testing.T) {
	t.Parallel()
	for _, b := range append(broken(), breaks{name: "nothing", log: func(t *testing.T) []events.Envelope { return enveloped(t, sound()) }}) {
		var file bytes.Buffer
		w, err := events.NewCopyWriter(&file, "s")
		if err != nil {
			t.Fatal(err)
		}
		evs := b.log(t)
		for i := range evs {
			if err := w.Event(&evs[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := events.NewCopyReader(&file)
		for err == nil {
			_, err = r.Next()
		}
		switch {
		case b.rule == "":
			if !errors.Is(err, io.EOF) {
				t.Errorf("a sound log is refused: %v", err)
			}
		case holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "breaks the rule "):
			t.Errorf("%s: %v", b.name, err)
		case !strings.Contains(err.Error(), fmt.Sprintf("event %d breaks the rule %s", b.seq, b.rule)):
			// Another rule may be broken before; it must then be one of the verifier's.
			bad := violations(evs)
			if first := bad[0]; !strings.Contains(err.Error(), fmt.Sprintf("event %d breaks the rule %s", first.Seq, first.Rule)) {
				t.Errorf("%s: %v, want %v", b.name, err, first)
			}
		}
	}
}
