package runtime_test

import (
	"context"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// fold makes a state of events that need not keep the rules of a log.
func fold(t *testing.T, s *runtime.State, evs ...holdfast.Event) {
	t.Helper()
	for _, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			t.Fatal(err)
		}
		e := events.Envelope{Seq: s.Seq + 1, Time: time.Unix(int64(s.Seq), 0), Type: ev.EventType(), V: 1, Agent: ev.GetAgentName(), Payload: payload}
		if err := s.Fold(&e); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	root   = holdfast.AgentContext{AgentName: "root"}
	middle = []holdfast.Event{
		&holdfast.RunStartedEvent{Run: "r", Agent: "agent.yaml", AgentInFile: "root"},
		&holdfast.UserMessageEvent{Message: "one"},
		&holdfast.StreamStartedEvent{AgentContext: root},
		&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m1", Model: "scripted/m"},
		&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("c1", "look", "{}")},
		&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("c2", "look", "{}")},
		&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "m1", Model: "scripted/m", FinishReason: "tool_calls"},
	}
)

// TestForkBehindSummary: a fork does not inherit a turn that is under way; the
// summary may already stand for it.
func TestForkBehindSummary(t *testing.T) {
	t.Parallel()
	s := runtime.NewState(ref("s"))
	fold(t, s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	fold(t, s, middle...)
	fold(t, s,
		&holdfast.ToolCallResponseEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("c1", "look", "{}"), ToolCallID: "c1"},
		&holdfast.ToolCallResponseEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("c2", "look", "{}"), ToolCallID: "c2"},
		&holdfast.SessionCompactionEvent{AgentContext: root, Status: "started"},
		&holdfast.SessionSummaryEvent{AgentContext: root, Summary: "all", Messages: 4},
		&holdfast.SessionCompactionEvent{AgentContext: root, Status: "completed"},
		&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m2", Model: "scripted/m"},
	)
	if s.Summarized != 4 || len(s.Conversation) != 4 {
		t.Fatalf("%d of %d messages are summarized", s.Summarized, len(s.Conversation))
	}
	fold(t, s, &holdfast.SessionCreatedEvent{ForkOf: "s", ForkSeq: s.Seq})
	if s.Summarized != len(s.Conversation) {
		t.Errorf("the summary stands for %d messages, the fork has %d", s.Summarized, len(s.Conversation))
	}
}

// TestTriedInVain: a run whose conversation did not fit, because no summary could
// be had, does not keep the next one from asking for a summary.
func TestTriedInVain(t *testing.T) {
	t.Parallel()
	s := runtime.NewState(ref("s"))
	fold(t, s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	fold(t, s, middle[:4]...)
	fold(t, s,
		&holdfast.ModelCallVoidedEvent{AgentContext: root, Call: "m1", Reason: "context_overflow"},
		&holdfast.SessionCompactionEvent{AgentContext: root, Status: "started"},
		&holdfast.SessionCompactionEvent{AgentContext: root, Status: "completed"})
	if !s.Window.Overflow || !s.Window.Tried {
		t.Fatalf("the window: %+v", s.Window)
	}
	fold(t, s, &holdfast.ErrorEvent{AgentContext: root, Error: "too long"})
	if s.Window.Overflow || s.Window.Tried {
		t.Errorf("the window after the failure: %+v", s.Window)
	}
}

// TestVoidOfNothing: a log that breaks the rules makes no negative counts.
func TestVoidOfNothing(t *testing.T) {
	t.Parallel()
	s := runtime.NewState(ref("s"))
	fold(t, s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	fold(t, s, middle[:3]...)
	fold(t, s, &holdfast.ModelCallVoidedEvent{AgentContext: root, Call: "no such"})
	if n := s.Run.Threads[0].Iterations; n != 0 {
		t.Errorf("%d iterations", n)
	}
}

// TestFailedTurn: what an agent that fails leaves open is closed, so that the
// session can go on, and what was said to it meanwhile is not lost.
func TestFailedTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	tail, err := events.ReadTail(t.Context(), w.bus, w.store, s)
	if err != nil {
		t.Fatal(err)
	}
	writer, _, err := events.Claim(t.Context(), w.bus, w.store, s, tail, "dead", "command")
	if err != nil {
		t.Fatal(err)
	}
	evs := append(middle[:len(middle):len(middle)],
		&holdfast.RunQueuedEvent{Run: "r", Agent: "agent.yaml", AgentInFile: "root", Mode: events.ModeSteer, Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "also"}}},
		&holdfast.ErrorEvent{AgentContext: root, Error: "no"})
	if _, err := writer.Add(t.Context(), "r", evs...); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.start(-1, false)
	w.say(s, "two", "")
	w.waitParked(s, events.WaitingIdle)
	var talk []string
	for _, m := range w.state(s).Conversation {
		talk = append(talk, string(m.Role)+" "+m.ToolCallID+m.Content)
	}
	const not = "The tool call was not made: the agent failed before."
	wantTalk(t, strings.Join(talk, " | "), "user one | assistant  | tool c1"+not+" | tool c2"+not+" | user also | user two | assistant ok, two")
}

// TestOutcomeTooLarge: an output that the log does not take ends the call and not
// the session.
func TestOutcomeTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "nuls", "")
	w.waitParked(s, events.WaitingIdle)
	if talk := w.talk(s); !strings.Contains(talk, "too large for the log") {
		t.Errorf("the conversation: %.500s", talk)
	}
}

// TestTimerWhileAway: a scheduled run whose agent file cannot be had when its time
// comes is not lost: the timer comes again.
func TestTimerWhileAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	later := events.ScheduleBody{At: time.Now(), RunBody: events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "hello"}}}}
	if err := w.send(s, events.KindSchedule, later).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	w.agents.away.Store(true)
	for id := range w.state(s).Timers {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		a, err := w.bus.Request(ctx, timerCommand(t, s, id))
		cancel()
		if err != nil || a.Code != holdfast.CodeUnavailable {
			t.Fatalf("answer %+v, error %v", a, err)
		}
	}
	w.waitParked(s, events.WaitingIdle)
	w.scheduled(s)
	w.agents.away.Store(false)
	w.expire(s)
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: hello | assistant: ok, hello")
}
