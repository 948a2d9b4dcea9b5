package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// world is a real bus and a real store, with a clock that the test sets.
type world struct {
	t     *testing.T
	bus   *natsbus.Bus
	store *sqlitestore.Store
	at    uint64
	seq   map[string]uint64

	mu   sync.Mutex // guards what follows
	now  time.Time
	down bool
	sent chan events.Command
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	nc, err := s.Connect(natsbus.Options(t.Name(), nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := &world{t: t, seq: map[string]uint64{}, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), sent: make(chan events.Command, 100)}
	if w.bus, err = natsbus.Open(t.Context(), nc, natsbus.Config{MaxBytes: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.bus.Close() })
	if w.store, err = sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	return w
}

// Send is the bus as the keeper sees it.
func (w *world) Send(ctx context.Context, c events.Command) error {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return errors.New("the bus is down for the test")
	}
	if err := w.bus.Send(ctx, c); err != nil {
		return err
	}
	w.sent <- c
	return nil
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) keeper() *schedule.Keeper {
	return schedule.New(schedule.Config{Timers: w.store, Sender: w, Now: w.clock})
}

// record stores events of a session as the recorder does.
func (w *world) record(session string, evs ...holdfast.Event) {
	w.t.Helper()
	ref := holdfast.SessionRef{Tenant: "default", Session: session}
	var list []events.Envelope
	if w.seq[session] == 0 {
		evs = append([]holdfast.Event{&holdfast.SessionCreatedEvent{}}, evs...)
	}
	for _, ev := range evs {
		p, err := holdfast.MarshalPayload(ev)
		if err != nil {
			w.t.Fatal(err)
		}
		w.seq[session]++
		list = append(list, events.Envelope{Seq: w.seq[session], Time: w.clock(), Type: ev.EventType(), V: 1, Payload: p})
	}
	b := events.Batch{Stream: "s", From: w.at, To: w.at + 1, Sessions: []events.SessionEvents{{Session: ref, Events: list}}}
	if err := w.store.Record(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
	w.at++
}

// fire looks once and returns what was sent, and when something is next.
func (w *world) fire(k *schedule.Keeper) (ids []string, next time.Time, err error) {
	next, err = k.Fire(w.t.Context())
	for {
		select {
		case c := <-w.sent:
			if c.Kind != events.KindTimer {
				w.t.Errorf("a timer sends %s", c.Kind)
			}
			ids = append(ids, c.ID)
		default:
			return ids, next, err
		}
	}
}

// TestSimulatedTime lets days pass in a moment: a timer fires when its time has
// come, whatever the clock did between, and again until the log knows.
func TestSimulatedTime(t *testing.T) {
	w := newWorld(t)
	k := w.keeper()
	begin := w.clock()
	expect := func(what string, next time.Time, want ...string) {
		t.Helper()
		ids, n, err := w.fire(k)
		if err != nil || fmt.Sprint(ids) != fmt.Sprint(want) || !n.Equal(next) {
			t.Fatalf("%s: sent %v, next %v, %v; want %v, next %v", what, ids, n, err, want, next)
		}
	}
	day := func(n int) time.Time { return begin.Add(time.Duration(n) * 24 * time.Hour) }
	expect("nothing is set", time.Time{})
	w.record("a", &holdfast.TimerSetEvent{Timer: "t1", At: day(3), Kind: events.TimerRun})
	w.record("b", &holdfast.TimerSetEvent{Timer: "t2", At: day(1), Kind: events.TimerApproval})
	expect("too early", day(1))
	w.set(func() { w.now = day(-400) })
	expect("the clock went back", day(1))
	w.set(func() { w.now = day(2) })
	expect("two days later", day(2).Add(events.TimerRetry(0)), "t2")
	expect("it was sent a moment ago", day(2).Add(events.TimerRetry(0)))
	// The command is durable, under the id of the timer, and nobody has taken it.
	pending, err := w.bus.Commands(t.Context(), holdfast.SessionRef{Tenant: "default", Session: "b"}, 0)
	if err != nil || len(pending) != 1 || pending[0].Command.ID != "t2" {
		t.Fatalf("commands: %+v, %v", pending, err)
	}
	w.set(func() { w.now = day(2).Add(time.Minute) })
	expect("nobody said that it fired", day(2).Add(time.Minute+events.TimerRetry(1)), "t2")
	w.record("b", &holdfast.TimerFiredEvent{Timer: "t2"})
	expect("the log says that it fired", day(3))

	// The bus is away when the time comes: the timer is late and not lost.
	w.set(func() { w.now, w.down = day(3), true })
	if ids, _, err := w.fire(k); err == nil || len(ids) != 0 {
		t.Fatalf("without a bus: sent %v, %v", ids, err)
	}
	w.set(func() { w.now, w.down = day(3).Add(events.TimerRetry(0)), false })
	expect("the bus is back", w.clock().Add(events.TimerRetry(1)), "t1")
	// A keeper that begins now, after a restart, knows the same.
	k = w.keeper()
	w.set(func() { w.now = day(4) })
	expect("another keeper", day(4).Add(events.TimerRetry(2)), "t1")
	w.record("a", &holdfast.SessionDeletedEvent{})
	expect("the session was deleted", time.Time{})
}

// TestLateness runs a keeper by the real clock.
func TestLateness(t *testing.T) {
	w := newWorld(t)
	k := schedule.New(schedule.Config{Timers: w.store, Sender: w})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	for n := range 5 {
		id := fmt.Sprintf("t%d", n)
		at := time.Now().Add(time.Duration(n*60) * time.Millisecond)
		w.record(id, &holdfast.TimerSetEvent{Timer: id, At: at, Kind: events.TimerRun})
		c := <-w.sent
		late := time.Since(at)
		// The promise is 0.3 s on a machine that is not busy with something else.
		if c.ID != id || late < 0 || late > 20*time.Second {
			t.Errorf("timer %s: %s came %v late", id, c.ID, late)
		}
		t.Logf("%s: %v late", id, late)
		w.record(id, &holdfast.TimerFiredEvent{Timer: id})
	}
}
