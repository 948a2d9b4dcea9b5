package eventstest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Timers checks every promise of [events.TimerStore]. The function returns an
// empty store that nobody else uses.
func Timers(t *testing.T, open func(t *testing.T) events.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, a *archive, s events.TimerStore)
	}{
		{"a timer is there until it has fired", testTimer},
		{"timers of a deleted session are gone", testTimerDeleted},
		{"a batch that comes again sets nothing again", testTimerAgain},
		{"takers share the timers", testTimerTakers},
		{"tenants are apart", testTimerTenants},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			ts, ok := s.(events.TimerStore)
			if !ok {
				t.Fatalf("%T is no events.TimerStore", s)
			}
			c.run(t, &archive{Store: s}, ts)
		})
	}
}

// set is a timer for minute n after the start.
func set(id string, n int) *holdfast.TimerSetEvent {
	return &holdfast.TimerSetEvent{Timer: id, At: minute(n), Kind: events.TimerRun}
}

func minute(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }

func take(t *testing.T, s events.TimerStore, now time.Time) (ids []string, next time.Time) {
	t.Helper()
	due, next, err := s.TakeTimers(t.Context(), now, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range due {
		ids = append(ids, d.ID)
	}
	return ids, next
}

func wantTaken(t *testing.T, s events.TimerStore, now time.Time, next time.Time, want ...string) {
	t.Helper()
	ids, n := take(t, s, now)
	if !slices.Equal(ids, want) || !n.Equal(next) {
		t.Fatalf("due at %v: %v, next %v; want %v, next %v", now, ids, n, want, next)
	}
}

func testTimer(t *testing.T, a *archive, s events.TimerStore) {
	wantTaken(t, s, minute(100), time.Time{})
	st := newStory(t, ref("s"), 0)
	st.add(t, set("late", 20), set("early", 10), set("canceled", 5))
	a.record(t, st.next())
	st.add(t, &holdfast.TimerFiredEvent{Timer: "canceled", Canceled: true})
	a.record(t, st.next())
	wantTaken(t, s, minute(10).Add(-time.Microsecond), minute(10))
	due, next, err := s.TakeTimers(t.Context(), minute(10), 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(due) != 1 || due[0] != (events.Timer{Session: ref("s"), ID: "early", At: minute(10), Kind: events.TimerRun}) {
		t.Fatalf("due: %+v", due)
	}
	// Nobody said that it fired: it comes again, after longer and longer pauses.
	now := minute(10)
	for n := range 4 {
		now = now.Add(events.TimerRetry(n))
		if !next.Equal(now) {
			t.Fatalf("sent %d times: next %v, want %v", n+1, next, now)
		}
		var ids []string
		ids, next = take(t, s, now)
		if !slices.Equal(ids, []string{"early"}) {
			t.Fatalf("due again: %v", ids)
		}
	}
	st.add(t, &holdfast.TimerFiredEvent{Timer: "early"}, &holdfast.TimerFiredEvent{Timer: "never set"})
	a.record(t, st.next())
	wantTaken(t, s, minute(19), minute(20))
	// One that is set anew is set for its new time.
	st.add(t, set("late", 40))
	a.record(t, st.next())
	wantTaken(t, s, minute(39), minute(40))
	list, err := s.PendingTimers(t.Context(), "acme", 10)
	if err != nil || len(list) != 1 || list[0].ID != "late" || !list[0].At.Equal(minute(40)) {
		t.Fatalf("pending: %+v, %v", list, err)
	}
}

func testTimerDeleted(t *testing.T, a *archive, s events.TimerStore) {
	st := newStory(t, ref("s"), 0).add(t, set("a", 1), set("b", 2))
	other := newStory(t, ref("other"), 0).add(t, set("c", 3))
	a.record(t, st.next(), other.next())
	st.add(t, &holdfast.SessionDeletedEvent{})
	a.record(t, st.next())
	wantTaken(t, s, minute(2), minute(3))
	// Set and deleted in one batch.
	third := newStory(t, ref("third"), 0).add(t, set("d", 1), &holdfast.SessionDeletedEvent{})
	a.record(t, third.next())
	wantTaken(t, s, minute(2), minute(3))
}

func testTimerAgain(t *testing.T, a *archive, s events.TimerStore) {
	st := newStory(t, ref("s"), 0).add(t, set("a", 1))
	first := st.next()
	a.record(t, first)
	st.add(t, &holdfast.TimerFiredEvent{Timer: "a"})
	a.record(t, st.next())
	a.record(t, first)
	wantTaken(t, s, minute(100), time.Time{})
}

func testTimerTakers(t *testing.T, a *archive, s events.TimerStore) {
	const n = 200
	st := newStory(t, ref("s"), 0)
	for i := range n {
		st.add(t, set(fmt.Sprintf("t%03d", i), 1))
	}
	a.record(t, st.next())
	var mu sync.Mutex
	var all []string
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				due, _, err := s.TakeTimers(t.Context(), minute(1), 7)
				if err != nil {
					t.Error(err)
					return
				}
				if len(due) == 0 {
					return
				}
				mu.Lock()
				for _, d := range due {
					all = append(all, d.ID)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	if got := slices.Compact(slices.Clone(all)); len(got) != len(all) {
		t.Errorf("%d timers were given out %d times", len(got), len(all))
	}
	// A taker that saw nothing but locked rows left; nothing is lost by that.
	for {
		due, _, err := s.TakeTimers(t.Context(), minute(1), 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		for _, d := range due {
			all = append(all, d.ID)
		}
	}
	if len(all) != n {
		t.Errorf("%d of %d timers were taken", len(all), n)
	}
}

func testTimerTenants(t *testing.T, a *archive, s events.TimerStore) {
	for i, tenant := range []string{"acme", "bolt"} {
		st := newStory(t, holdfast.SessionRef{Tenant: tenant, Session: "s"}, 0).add(t, set("a", 1+i))
		a.record(t, st.next())
	}
	for i, tenant := range []string{"acme", "bolt", "*", ""} {
		list, err := s.PendingTimers(t.Context(), tenant, 10)
		if err != nil {
			t.Fatal(err)
		}
		if want := max(0, min(1, 2-i)); len(list) != want {
			t.Errorf("tenant %q has %d timers, want %d", tenant, len(list), want)
		}
	}
	wantTaken(t, s, minute(2), minute(2).Add(events.TimerRetry(0)), "a", "a")
}
