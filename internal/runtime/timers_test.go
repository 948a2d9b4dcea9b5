package runtime_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// expire sends every timer of the session as a keeper does: again and again,
// without an answer, until the log says that it fired.
func (w *world) expire(ref holdfast.SessionRef) {
	w.t.Helper()
	for _, id := range slices.Sorted(maps.Keys(w.state(ref).Timers)) {
		for range 2 {
			c := timerCommand(w.t, ref, id)
			if err := w.bus.Send(w.t.Context(), c); err != nil {
				w.t.Fatal(err)
			}
		}
		c := timerCommand(w.t, ref, id)
		for {
			ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
			a, err := w.bus.Request(ctx, c)
			cancel()
			if err == nil && a.Code != holdfast.CodeTimeout {
				if err := a.Err(); err != nil {
					w.t.Fatal(err)
				}
				break
			}
			if w.t.Context().Err() != nil {
				w.t.Fatal("a timer is not answered")
			}
		}
	}
}

func timerCommand(t testing.TB, ref holdfast.SessionRef, id string) events.Command {
	t.Helper()
	c, err := events.NewCommand(ref, events.KindTimer, id, events.TimerBody{Timer: id})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// waitsFor returns what the session waits for now.
func (w *world) waitsFor(ref holdfast.SessionRef) string {
	w.t.Helper()
	if s := w.state(ref); s.Run != nil {
		return events.WaitingApproval
	}
	return events.WaitingIdle
}

// scheduled returns the run that is to be queued first.
func (w *world) scheduled(ref holdfast.SessionRef) string {
	w.t.Helper()
	var first *runtime.Timer
	for _, t := range w.state(ref).Timers {
		if t.Run != nil && (first == nil || t.At.Before(first.At)) {
			first = t
		}
	}
	if first == nil {
		w.t.Fatal("no run is scheduled")
	}
	return first.Run.Run
}

const payingAgent = `version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    approval_timeout: 1h
    toolsets: [{type: mcp, remote: {url: "http://effects.test/"}}]
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: Payments
        turns:
          - when: {after_tool: pay}
            say: "It says: {{.Tool}}"
          - say: "I pay."
            call: [{name: pay, arguments: {to: "{{.User}}"}}]
`

// TestApprovalTimer: the question says until when, and whoever decides first has
// decided: a timer behind a decision changes nothing, a decision behind the timer
// is a conflict.
func TestApprovalTimer(t *testing.T) {
	w := newWorld(t, payingAgent)
	w.start(-1, false)
	run := func(session, text string) (holdfast.SessionRef, string) {
		r := ref(session)
		w.create(r, &holdfast.SessionCreatedEvent{Agent: "agent"})
		w.send(r, events.KindRun, events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}})
		w.waitParked(r, events.WaitingApproval)
		s := w.state(r)
		if len(s.Timers) != 1 {
			t.Fatalf("%d timers are set, want 1", len(s.Timers))
		}
		for id, timer := range s.Timers {
			asked := lastOf[*holdfast.ToolCallConfirmationEvent](t, w.events(r))
			if !asked.ExpiresAt.Equal(timer.At) || timer.Call != asked.ToolCall.ID {
				t.Errorf("the question is open until %v, the timer of %s is set for %v", asked.ExpiresAt, timer.Call, timer.At)
			}
			return r, id
		}
		panic("unreachable")
	}
	r, id := run("decided", "ann")
	if err := w.send(r, events.KindDecide, events.DecideBody{Decision: runtime.DecisionApprove}).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(r, events.WaitingIdle)
	if fired := lastOf[*holdfast.TimerFiredEvent](t, w.events(r)); !fired.Canceled || fired.Timer != id {
		t.Errorf("the timer of a decided call: %+v", fired)
	}
	before := w.state(r)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if a, err := w.bus.Request(ctx, timerCommand(t, r, id)); err != nil || a.Err() != nil {
		t.Errorf("a timer that comes too late: %v, %v", err, a.Err())
	}
	w.waitParked(r, events.WaitingIdle)
	after := w.state(r)
	if len(after.Timers) != 0 || len(after.Conversation) != len(before.Conversation) || len(after.Commands) != len(before.Commands) {
		t.Errorf("a timer that came too late changed the session")
	}

	r, _ = run("expired", "bob")
	w.expire(r)
	w.waitParked(r, events.WaitingIdle)
	call := lastOf[*holdfast.ToolCallDecidedEvent](t, w.events(r))
	if call.Decision != runtime.DecisionReject || call.Reason != "timed out" {
		t.Errorf("the decision of the timer: %+v", call)
	}
	a := w.send(r, events.KindDecide, events.DecideBody{ToolCallID: call.ToolCallID, Decision: runtime.DecisionApprove})
	if a.Code != holdfast.CodeConflict {
		t.Errorf("a decision behind the timer: %v", a.Err())
	}
	w.agents.tools.mu.Lock()
	defer w.agents.tools.mu.Unlock()
	if n := w.agents.tools.runs[`pay{"to":"bob"}`]; n != 0 {
		t.Errorf("the call that nobody approved ran %d times", n)
	}
	verify(t, r, w.events(r))
}

// TestScheduledRuns: bad input is refused, a run that cannot begin says so, and a
// fork does not take timers along.
func TestScheduledRuns(t *testing.T) {
	w := newWorld(t, payingAgent)
	w.start(-1, false)
	r := ref("later")
	w.create(r, &holdfast.SessionCreatedEvent{Agent: "agent", ToolsApproved: true})
	say := []holdfast.Message{{Role: holdfast.RoleUser, Content: "ann"}}
	at := time.Now().Add(time.Hour)
	for _, bad := range []events.ScheduleBody{
		{RunBody: events.RunBody{Messages: say}},
		{At: at},
		{At: at, RunBody: events.RunBody{Messages: []holdfast.Message{{Role: "system", Content: "x"}}}},
	} {
		if a := w.send(r, events.KindSchedule, bad); a.Code != holdfast.CodeInvalid {
			t.Errorf("%+v: %v", bad, a.Err())
		}
	}
	a := w.send(r, events.KindSchedule, events.ScheduleBody{At: at, RunBody: events.RunBody{Agent: "nobody", Messages: say}})
	if a.Err() != nil || a.Run == "" {
		t.Fatal(a.Err())
	}
	w.waitParked(r, events.WaitingIdle)
	tail, err := events.ReadTail(t.Context(), w.bus, w.store, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Fork(t.Context(), w.reader, r, tail.Seq, "fork", &holdfast.SessionCreatedEvent{}); err != nil {
		t.Fatal(err)
	}
	if s := w.state(ref("fork")); len(s.Timers) != 0 {
		t.Errorf("a fork has %d timers", len(s.Timers))
	}
	w.expire(r)
	w.waitParked(r, events.WaitingIdle)
	if end := lastOf[*holdfast.RunFinishedEvent](t, w.events(r)); end.Run != a.Run || end.Reason != "error" {
		t.Errorf("the run of an agent that does not exist: %+v", end)
	}
	if s := w.state(r); len(s.Timers) != 0 || s.Run != nil || len(s.Queue) != 0 {
		t.Errorf("left: %d timers", len(s.Timers))
	}
	verify(t, r, w.events(r))
}

// lastOf returns the newest event of a type.
func lastOf[E holdfast.Event](t *testing.T, evs []events.Envelope) E {
	t.Helper()
	for _, e := range slices.Backward(evs) {
		ev, err := e.Event()
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := ev.(E); ok {
			return want
		}
	}
	var none E
	t.Fatalf("no %T in the log", none)
	return none
}
