package schedule_test

import (
	"context"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

var (
	errUsedUp  = holdfast.Errorf(holdfast.CodeQuota, "the quota is used up, for the test")
	errNoPlace = holdfast.Errorf(holdfast.CodeRateLimited, "there is no place, for the test")
)

// TestTimerWaitsForRoom: a timer that is not admitted sends nothing, is no failure,
// comes again, and fires once when it is admitted; it delays no other one.
func TestTimerWaitsForRoom(t *testing.T) {
	for name, refusal := range map[string]error{"no place": errNoPlace, "used up": errUsedUp} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			full := true
			k := schedule.New(schedule.Config{Timers: w.store, Sender: w, Now: w.clock, Admit: func(_ context.Context, tm *events.Timer) error {
				if full && tm.Session.Session == "full" {
					return refusal
				}
				return nil
			}})
			w.record("full", &holdfast.TimerSetEvent{Timer: "waits", At: w.clock(), Kind: events.TimerRun})
			w.record("free", &holdfast.TimerSetEvent{Timer: "fires", At: w.clock(), Kind: events.TimerRun})
			ids, next, err := w.fire(k)
			if err != nil || len(ids) != 1 || ids[0] != "fires" {
				t.Fatalf("sent %v, %v; want the one that has room", ids, err)
			}
			w.record("free", &holdfast.TimerFiredEvent{Timer: "fires"})
			for try := range 10 {
				if wait := next.Sub(w.clock()); wait <= 0 || wait > 5*time.Minute {
					t.Fatalf("try %d: again after %v", try, wait)
				}
				w.set(func() { w.now = next })
				if ids, next, err = w.fire(k); err != nil || len(ids) != 0 {
					t.Fatalf("try %d without room: sent %v, %v", try, ids, err)
				}
			}
			full = false
			w.set(func() { w.now = next })
			if ids, _, err = w.fire(k); err != nil || len(ids) != 1 || ids[0] != "waits" {
				t.Fatalf("with room: sent %v, %v", ids, err)
			}
			w.record("full", &holdfast.TimerFiredEvent{Timer: "waits"})
			if ids, next, err = w.fire(k); err != nil || len(ids) != 0 || !next.IsZero() {
				t.Fatalf("after it fired: sent %v, next %v, %v", ids, next, err)
			}
		})
	}
}

// TestScheduleAtTheQuota: a time at which a quota is used up is refused with the
// reason, whether sessions or runs are; one at which there is no place comes again
// until there is one.
func TestScheduleAtTheQuota(t *testing.T) {
	w := newStarterWorld(t)
	w.put("a", func(*schedule.Spec) {})
	var session error
	s := schedule.NewStarter(schedule.StarterConfig{
		Schedules: w.store, Bus: w.bus, Log: w.store, Commands: w.asked, Now: w.clock,
		Admit: func(context.Context, string) error { return session },
	})
	refused := func(what string, at time.Duration) {
		t.Helper()
		if err := w.at(s, at); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := w.want(what, "a", schedule.Refused, at, 0)
		if got.Last.Detail != holdfast.PublicMessage(errUsedUp) || got.Paused || !got.Next.Equal(begin.Add(at+10*time.Minute)) {
			t.Errorf("%s: %+v", what, got)
		}
	}
	session = errUsedUp
	refused("no more sessions", 10*time.Minute)
	session = nil
	w.asked.will(events.Answer{}, errUsedUp)
	refused("no more runs", 20*time.Minute)

	w.asked.will(events.Answer{}, errNoPlace)
	for _, after := range []time.Duration{0, 30 * time.Second, 60 * time.Second} {
		if err := w.at(s, 30*time.Minute+after); err != nil { // nor does it hold up others
			t.Fatalf("no place after %v: %v", after, err)
		}
		w.want("it is not settled", "a", schedule.Refused, 20*time.Minute, 0)
	}
	w.asked.will(events.Answer{}, nil)
	if err := w.at(s, 30*time.Minute+90*time.Second); err != nil {
		t.Fatal(err)
	}
	w.want("there is a place", "a", schedule.Started, 30*time.Minute, 1)
}
