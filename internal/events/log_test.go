package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

const patience = 30 * time.Second

// world is a real bus and a real store for one test.
type world struct {
	t     *testing.T
	ctx   context.Context
	nc    *nats.Conn
	nats  *natsbus.Bus
	bus   *scripted // in front of nats
	store *sqlitestore.Store
	away  *away // in front of store
	ref   holdfast.SessionRef
}

func newWorld(t *testing.T) *world {
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
	bus, err := natsbus.Open(t.Context(), nc, natsbus.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &world{
		t: t, ctx: ctx, nc: nc, nats: bus, bus: &scripted{Bus: bus}, store: store, away: &away{Store: store},
		ref: eventstest.NewRef(),
	}
}

// scripted is a bus that lets the test decide about each Append.
type scripted struct {
	events.Bus
	mu       sync.Mutex
	onAppend func(store func() (uint64, error)) (uint64, error) // nil: nothing special
	appends  int
}

func (b *scripted) script(fn func(store func() (uint64, error)) (uint64, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onAppend = fn
}

// once scripts the next Append only.
func (b *scripted) once(fn func(store func() (uint64, error)) (uint64, error)) {
	b.script(func(store func() (uint64, error)) (uint64, error) {
		b.script(nil)
		return fn(store)
	})
}

func (b *scripted) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	b.mu.Lock()
	fn := b.onAppend
	b.appends++
	b.mu.Unlock()
	// What was sent does not come back when its sender gives up.
	store := func() (uint64, error) { return b.Bus.Append(context.WithoutCancel(ctx), s, prev, frame) }
	if fn == nil {
		return store()
	}
	return fn(store)
}

// away is a store that can be away.
type away struct {
	events.Store
	mu    sync.Mutex
	err   error
	asked chan<- struct{} // if not nil, receives when Session is asked
}

func (a *away) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *away) get() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *away) Session(ctx context.Context, s holdfast.SessionRef) (events.SessionInfo, error) {
	if a.asked != nil {
		a.asked <- struct{}{}
	}
	if err := a.get(); err != nil {
		return events.SessionInfo{}, err
	}
	return a.Store.Session(ctx, s)
}

func (a *away) Read(ctx context.Context, s holdfast.SessionRef, after uint64, limit int) ([]events.Envelope, error) {
	if err := a.get(); err != nil {
		return nil, err
	}
	return a.Store.Read(ctx, s, after, limit)
}

func (w *world) create() {
	w.t.Helper()
	if _, err := events.Create(w.ctx, w.bus, w.away, w.ref, &holdfast.SessionCreatedEvent{Title: "test"}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tail() events.Tail {
	w.t.Helper()
	tail, err := events.ReadTail(w.ctx, w.bus, w.away, w.ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return tail
}

func (w *world) claim(worker string) *events.Writer {
	w.t.Helper()
	wr, _, err := events.Claim(w.ctx, w.bus, w.away, w.ref, w.tail(), worker, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = wr.Close(ended)
	})
	return wr
}

func text(s string) holdfast.Event { return &holdfast.AgentChoiceEvent{Content: s} }

func (w *world) add(wr *events.Writer, texts ...string) {
	w.t.Helper()
	var evs []holdfast.Event
	for _, s := range texts {
		evs = append(evs, text(s))
	}
	if _, err := wr.Add(w.ctx, "run", evs...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) flush(wr *events.Writer) {
	w.t.Helper()
	if err := wr.Flush(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// record brings everything to the store.
func (w *world) record() {
	w.t.Helper()
	stream := w.nats.Streams()[0]
	cursor, err := w.store.Cursor(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := w.nats.Info(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if info.Last == cursor {
		return
	}
	var evs []events.Envelope // a void frame is not among them
	r := events.Reader{Bus: w.nats, Store: w.store}
	if _, err := r.Read(w.ctx, w.ref, 0, func(e events.Envelope) error { evs = append(evs, e); return nil }); err != nil {
		w.t.Fatal(err)
	}
	b := events.Batch{Stream: stream, From: cursor, To: info.Last, Sessions: []events.SessionEvents{{Session: w.ref, Events: evs}}}
	if err := w.store.Record(w.ctx, b); err != nil {
		w.t.Fatal(err)
	}
}

// forget removes from the bus what is recorded.
func (w *world) forget() {
	w.t.Helper()
	stream := w.nats.Streams()[0]
	cursor, err := w.store.Cursor(w.ctx, stream)
	if err == nil {
		err = w.nats.Trim(w.ctx, stream, cursor)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// wantLog reads the whole session, judges it and compares its texts.
func (w *world) wantLog(texts ...string) *eventstest.Check {
	w.t.Helper()
	c := eventstest.NewCheck()
	var have []string
	r := events.Reader{Bus: w.nats, Store: w.store}
	_, err := r.Read(w.ctx, w.ref, 0, func(e events.Envelope) error {
		key, err := c.Key(&e)
		if key != "" {
			have = append(have, key)
		}
		return errors.Join(err, c.Event(e))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if fmt.Sprint(have) != fmt.Sprint(texts) {
		w.t.Fatalf("the log has %q, want %q", have, texts)
	}
	return c
}

// await waits for a signal of the test.
func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("not after %s: %s", patience, what)
		panic("unreachable")
	}
}

func TestPack(t *testing.T) {
	for _, data := range []string{"", "x", strings.Repeat(`{"content":"word "}`, 10_000)} {
		packed := events.Pack([]byte(data))
		got, err := events.Unpack(packed)
		if err != nil || string(got) != data {
			t.Errorf("%d bytes come back as %d, %v", len(data), len(got), err)
		}
		if len(data) > 1000 && len(packed) > len(data)/20 {
			t.Errorf("%d bytes of repetition are packed into %d", len(data), len(packed))
		}
	}
	for _, bad := range []string{"x", `{"Seq":1}`, string(events.Pack([]byte("whole"))[:8])} {
		if _, err := events.Unpack([]byte(bad)); !errors.Is(err, events.ErrCorrupt) {
			t.Errorf("unpack %q: %v, want ErrCorrupt", bad, err)
		}
	}
}
