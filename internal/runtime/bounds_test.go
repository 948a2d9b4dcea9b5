package runtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// TestCommandsAreForgotten: a session that lives for months remembers its last
// commands and those of a day, and every owner remembers the same.
func TestCommandsAreForgotten(t *testing.T) {
	t.Parallel()
	whole, resumed := runtime.NewState(ref("s")), runtime.NewState(ref("s"))
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const commands = 12000
	at := func(n int) time.Time {
		if n < commands/2 {
			return began.Add(time.Duration(n) * time.Hour) // for months
		}
		return began.Add(commands/2*time.Hour + time.Duration(n)*time.Millisecond) // then all at once
	}
	most, calm := 0, 0
	for n := range commands {
		ev := &holdfast.CommandAcceptedEvent{Command: fmt.Sprintf("c%d", n), Kind: events.KindCompact, Hash: "h"}
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			t.Fatal(err)
		}
		e := events.Envelope{Seq: uint64(n) + 1, Time: at(n), Type: ev.EventType(), V: 1, Payload: payload}
		for _, s := range []*runtime.State{whole, resumed} {
			if err := s.Fold(&e); err != nil {
				t.Fatal(err)
			}
		}
		if n%777 == 0 {
			raw, err := json.Marshal(resumed)
			if err != nil {
				t.Fatal(err)
			}
			resumed = runtime.NewState(ref("s"))
			if err := json.Unmarshal(raw, resumed); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, len(whole.Commands))
		if n < commands/2 {
			calm = most
		}
	}
	if calm > 2*events.RememberCommands {
		t.Errorf("%d commands are remembered of months", calm)
	}
	for n := range commands {
		_, ok := whole.Commands[fmt.Sprintf("c%d", n)]
		if must := at(commands-1).Sub(at(n)) < events.RememberFor || n >= commands-events.RememberCommands; must && !ok {
			t.Fatalf("command %d is forgotten", n)
		}
	}
	if !reflect.DeepEqual(whole.Commands, resumed.Commands) || whole.ForgetAt != resumed.ForgetAt {
		t.Errorf("from snapshots %d commands are remembered, from the log %d", len(resumed.Commands), len(whole.Commands))
	}
}

// TestRollbackOfWindow: a run that is made void leaves the context as full as it
// found it.
func TestRollbackOfWindow(t *testing.T) {
	t.Parallel()
	s := runtime.NewState(ref("s"))
	fold(t, s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	usage := func(n int64) holdfast.Event {
		return &holdfast.TokenUsageEvent{AgentContext: root, Usage: holdfast.Usage{InputTokens: n, ContextLength: n, ContextLimit: 1000}}
	}
	fold(t, s, middle[:4]...)
	fold(t, s, usage(100), &holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "m1"},
		&holdfast.StreamStoppedEvent{AgentContext: root, Reason: "stop"}, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
	before := s.Window
	fold(t, s, middle[:4]...)
	fold(t, s, usage(950), &holdfast.RunCanceledEvent{Run: "r", Rollback: true}, &holdfast.ModelCallVoidedEvent{AgentContext: root, Call: "m1"},
		&holdfast.StreamStoppedEvent{AgentContext: root, Reason: "canceled"})
	if s.Window.Used != 950 {
		t.Fatalf("the window: %+v", s.Window)
	}
	fold(t, s, &holdfast.RunFinishedEvent{Run: "r", Reason: "rolled_back"})
	if s.Window != before {
		t.Errorf("the window is %+v, it was %+v before the run", s.Window, before)
	}
}

// TestSummaryAttempts: only a call for a summary whose worker died counts as broken off.
func TestSummaryAttempts(t *testing.T) {
	t.Parallel()
	s := runtime.NewState(ref("s"))
	fold(t, s, &holdfast.SessionCreatedEvent{Agent: "agent"}, &holdfast.SessionCompactionEvent{Status: "started"})
	for range 4 {
		fold(t, s, &holdfast.ModelCallStartedEvent{Call: "c", Purpose: "summary"}, &holdfast.ModelCallFinishedEvent{Call: "c", Purpose: "summary", FinishReason: "error"})
	}
	fold(t, s, &holdfast.ModelCallStartedEvent{Call: "c", Purpose: "summary"})
	if s.Compacting.Attempts != 1 {
		t.Errorf("%d calls broke off, 1 did", s.Compacting.Attempts)
	}
}

// TestTimerOfNobody: a timer that the log does not know, or not any more, is taken
// away, so that nobody sends it again.
func TestTimerOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, payingAgent)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if a, err := w.bus.Request(ctx, timerCommand(t, s, "left-over")); err != nil || a.Err() != nil {
		t.Fatalf("%v, %v", err, a.Err())
	}
	w.waitParked(s, events.WaitingIdle)
	if fired := lastOf[*holdfast.TimerFiredEvent](t, w.events(s)); !fired.Canceled || fired.Timer != "left-over" {
		t.Errorf("%+v", fired)
	}
	verify(t, s, w.events(s))
}

// refusing is an authorizer whose flows fail; Deliver waits until it may.
type refusing struct {
	expiring
	reached, open chan struct{}
}

func (r *refusing) Deliver(ctx context.Context, _ holdfast.SessionRef, _ string, _ []byte) error {
	if r.open == nil {
		return nil
	}
	r.reached <- struct{}{}
	select {
	case <-r.open:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (*refusing) Finish(context.Context, holdfast.SessionRef, string, string) (runtime.AuthorizationResult, error) {
	return runtime.AuthorizationResult{Outcome: runtime.AuthorizationFailed, Reason: "the server says no"}, nil
}

// asked is a run in which a call of the agent waits for an authorization, while a
// sub-agent works for another call if busy says so.
func asked(busy bool) [][]holdfast.Event {
	locked, transfer := holdfast.NewToolCall("c1", "look", `{}`), holdfast.NewToolCall("c2", "transfer_task", `{"agent":"clerk","task":"all"}`)
	evs := append(begun(wordy),
		&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m1", Model: "scripted/m"},
		&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: locked})
	if busy {
		evs = append(evs, &holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: transfer})
	}
	evs = append(evs,
		&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "m1", Model: "scripted/m", FinishReason: "tool_calls"},
		&holdfast.ToolCallEvent{AgentContext: root, ToolCall: locked, Attempt: 1},
		&holdfast.AuthorizationRequiredEvent{AgentContext: root, ServerURL: "http://effects.test/", Confirmation: "pending", FlowID: "f", ExpiresAt: time.Now().Add(time.Hour)},
		&holdfast.AuthorizationAwaitedEvent{AgentContext: root, FlowID: "f", ToolCallID: "c1"})
	if busy {
		evs = append(evs, &holdfast.ToolCallEvent{AgentContext: root, ToolCall: transfer, Attempt: 1},
			&holdfast.StreamStartedEvent{AgentContext: holdfast.AgentContext{AgentName: "clerk"}})
	}
	return [][]holdfast.Event{evs}
}

// TestAuthorizationFailsForOuter: an authorization that fails fails the agent that
// waited for it, not the sub-agent that works meanwhile.
func TestAuthorizationFailsForOuter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wordy)
	w.agents.limit, w.authorizer = 1<<30, &refusing{}
	s := ref("s")
	w.wrote(s, append(asked(true), []holdfast.Event{&holdfast.AuthorizationReceivedEvent{AgentContext: root, FlowID: "f"}})...)
	w.start(-1, false)
	wake(t, w, s)
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	if failed := lastOf[*holdfast.ErrorEvent](t, evs); failed.AgentName != "root" || failed.Code != holdfast.CodeUnauthorized || count(evs, holdfast.TypeError) != 1 {
		t.Errorf("the error: %+v", failed)
	}
	for i := range evs {
		ev, err := evs[i].Event()
		if err != nil {
			t.Fatal(err)
		}
		if stop, ok := ev.(*holdfast.StreamStoppedEvent); ok && (stop.AgentName == "clerk") != (stop.Reason == "stop") {
			t.Errorf("the stream of %s stopped: %s", stop.AgentName, stop.Reason)
		}
	}
	verify(t, s, evs)
}

// TestDeclinedWithinCompaction: what a run that is declined leaves open is closed.
func TestDeclinedWithinCompaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wordy)
	w.agents.limit, w.authorizer = 1<<30, &refusing{}
	s := ref("s")
	w.wrote(s, append(asked(false), []holdfast.Event{
		&holdfast.SessionCompactionEvent{AgentContext: root, Status: "started"},
		&holdfast.AuthorizationRequiredEvent{AgentContext: root, ServerURL: "http://effects.test/", Confirmation: "denied", FlowID: "f"},
	})...)
	w.start(-1, false)
	wake(t, w, s)
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	if done := lastOf[*holdfast.SessionCompactionEvent](t, evs); done.Status != "completed" || count(evs, holdfast.TypeSessionSummary) != 0 {
		t.Errorf("the compaction is %s", done.Status)
	}
	if reason, _, _ := w.ended(s, 0); reason != "rejected" {
		t.Errorf("the run ended with %q", reason)
	}
	verify(t, s, evs)
}

// TestSlowDelivery: while the answer of an authorization server cannot be kept,
// other commands of the session are taken, and it is kept in the end.
func TestSlowDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wordy)
	az := &refusing{reached: make(chan struct{}, 8), open: make(chan struct{})}
	w.agents.limit, w.authorizer = 1<<30, az
	s := ref("s")
	w.wrote(s, asked(false)...)
	w.start(-1, false)
	wake(t, w, s)
	w.waitParked(s, events.WaitingAuthorization)
	answer, err := events.NewCommand(s, events.KindAnswer, "", events.AnswerBody{Flow: "f", Sealed: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Send(t.Context(), answer); err != nil {
		t.Fatal(err)
	}
	<-az.reached
	if err := w.send(s, events.KindRun, said("meanwhile")).Err(); err != nil {
		t.Fatal(err)
	}
	if n := count(w.events(s), holdfast.TypeAuthorizationReceived); n != 0 {
		t.Fatal("the answer is taken and was not kept")
	}
	close(az.open)
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	if n := count(evs, holdfast.TypeAuthorizationReceived); n != 1 {
		t.Errorf("the answer was taken %d times", n)
	}
	if n := count(evs, holdfast.TypeRunFinished); n != 2 {
		t.Errorf("%d runs finished", n)
	}
	verify(t, s, evs)
}
