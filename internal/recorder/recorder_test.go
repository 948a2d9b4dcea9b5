package recorder_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/recorder"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

const patience = 30 * time.Second

// bench is a bus and a store to record between.
type bench struct {
	bus   *natsbus.Bus
	store *sqlitestore.Store
}

func newBench(t testing.TB, shards int) *bench {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
	nc, err := s.Connect(natsbus.Options(t.Name(), nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	bus, err := natsbus.Open(t.Context(), nc, natsbus.Config{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &bench{bus, store}
}

// watched is a store that tells when something was recorded.
type watched struct {
	events.Store
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every record
}

func watch(s events.Store) *watched { return &watched{Store: s, changed: make(chan struct{})} }

func (w *watched) Record(ctx context.Context, b events.Batch) error {
	err := w.Store.Record(ctx, b)
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
	return err
}

// next waits for a record, or a moment: who records notes it after that.
func (w *watched) next(ctx context.Context) {
	w.mu.Lock()
	changed := w.changed
	w.mu.Unlock()
	select {
	case <-changed:
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
}

// until waits until ok says yes, asking whenever something was recorded.
func (w *watched) until(t *testing.T, what string, ok func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok(ctx) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("not after %s: %s", patience, what)
		}
	}
}

// untilAt waits until the session is recorded up to a seq.
func (w *watched) untilAt(t *testing.T, ref holdfast.SessionRef, seq uint64) {
	t.Helper()
	w.until(t, fmt.Sprintf("%s is recorded up to %d", ref, seq), func(ctx context.Context) bool {
		info, err := w.Store.Session(ctx, ref)
		if err != nil && !errors.Is(err, events.ErrNoSession) {
			t.Fatal(err)
		}
		return info.Head.Seq >= seq
	})
}

// start runs a recorder until the returned function is called.
func start(t testing.TB, source recorder.Source, store events.Store, cfg recorder.Config) (r *recorder.Recorder, stop func()) {
	t.Helper()
	r, err := recorder.New(source, store, cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx) // the cause is our own cancel
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return r, stop
}

// session writes one session.
type session struct {
	ref holdfast.SessionRef
	w   *events.Writer
	n   int
}

func newSession(t testing.TB, b *bench) *session {
	t.Helper()
	s := &session{ref: eventstest.NewRef()}
	if _, err := events.Create(t.Context(), b.bus, b.store, s.ref, &holdfast.SessionCreatedEvent{Title: "test"}); err != nil {
		t.Fatal(err)
	}
	s.claim(t, b, "w1")
	return s
}

func (s *session) claim(t testing.TB, b *bench, worker string) {
	t.Helper()
	tail, err := events.ReadTail(t.Context(), b.bus, b.store, s.ref)
	if err != nil {
		t.Fatal(err)
	}
	if s.w, _, err = events.Claim(t.Context(), b.bus, b.store, s.ref, tail, worker, "test"); err != nil {
		t.Fatal(err)
	}
	w := s.w
	t.Cleanup(func() { _ = w.Close(context.WithoutCancel(t.Context())) })
}

// add writes n events, each in a frame of its own, and returns the last seq.
func (s *session) add(t testing.TB, n int) uint64 {
	t.Helper()
	for range n {
		s.n++
		if _, err := s.w.Add(t.Context(), "run", &holdfast.AgentChoiceEvent{Content: fmt.Sprint("text ", s.n)}); err != nil {
			t.Fatal(err)
		}
		if err := s.w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s.w.Stored()
}

// checkStore reads the session from the store alone.
func (s *session) checkStore(t *testing.T, store events.Store, want uint64) {
	t.Helper()
	c := eventstest.NewCheck()
	for {
		evs, err := store.Read(t.Context(), s.ref, c.Seq(), 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range evs {
			if err := c.Event(e); err != nil {
				t.Fatal(err)
			}
		}
		if len(evs) < 100 {
			break
		}
	}
	if c.Seq() != want || len(c.Content) != s.n {
		t.Fatalf("the store ends at %d with %d texts, want %d with %d", c.Seq(), len(c.Content), want, s.n)
	}
}

func TestRecords(t *testing.T) {
	b := newBench(t, 3)
	w := watch(b.store)
	_, stop := start(t, b.bus, w, recorder.Config{})
	var all []*session
	for range 6 {
		all = append(all, newSession(t, b))
	}
	last := map[*session]uint64{}
	for range 5 {
		for _, s := range all {
			last[s] = s.add(t, 3)
		}
	}
	for _, s := range all {
		w.untilAt(t, s.ref, last[s])
		s.checkStore(t, b.store, last[s])
	}
	// What came while nobody recorded is recorded by the next.
	stop()
	for _, s := range all {
		last[s] = s.add(t, 3)
	}
	start(t, b.bus, w, recorder.Config{MaxBatch: 2})
	for _, s := range all {
		w.untilAt(t, s.ref, last[s])
		s.checkStore(t, b.store, last[s])
	}
}

// TestFailures: every write of the recorder, lost and done but reported as failed.
func TestFailures(t *testing.T) {
	for name, faults := range map[string]eventstest.Faults{
		"Lost": {Lost: 500},
		"Done": {Done: 500},
		"Both": {Lost: 250, Done: 250, Slow: 200, MaxDelay: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 1)
			w := watch(eventstest.NewFaultyStore(b.store, 1, faults))
			start(t, b.bus, w, recorder.Config{MaxBatch: 4, MaxWait: time.Millisecond})
			s := newSession(t, b)
			last := s.add(t, 30)
			w.until(t, "recorded", func(ctx context.Context) bool {
				info, err := b.store.Session(ctx, s.ref)
				return err == nil && info.Head.Seq == last
			})
			s.checkStore(t, b.store, last)
		})
	}
}

func TestTwoRecorders(t *testing.T) {
	b := newBench(t, 2)
	w := watch(b.store)
	cfg := recorder.Config{MaxBatch: 3, MaxWait: time.Millisecond, Standby: 20 * time.Millisecond}
	_, stopFirst := start(t, b.bus, w, cfg)
	_, stopSecond := start(t, b.bus, w, cfg)
	s := newSession(t, b)
	w.untilAt(t, s.ref, s.add(t, 20))
	stopFirst()
	w.untilAt(t, s.ref, s.add(t, 20))
	_, stopThird := start(t, b.bus, w, cfg)
	s.add(t, 20)
	stopSecond()
	last := s.add(t, 1)
	w.untilAt(t, s.ref, last)
	stopThird()
	s.checkStore(t, b.store, last)
}
