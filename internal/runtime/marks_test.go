package runtime_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// unsureMarks is a worker's bus that fails to note an ownership, or to remove the
// note, once: after it is done or before.
type unsureMarks struct {
	*natsbus.Bus
	happened bool

	mu   sync.Mutex // guards call
	call string     // "" when it has failed
}

func (b *unsureMarks) fails(call string, work func() error) error {
	b.mu.Lock()
	hit := b.call == call
	if hit {
		b.call = ""
	}
	b.mu.Unlock()
	if hit && !b.happened {
		return errors.New("no answer, for the test")
	}
	if err := work(); err != nil || !hit {
		return err
	}
	return errors.New("no answer, for the test")
}

func (b *unsureMarks) Mark(ctx context.Context, name string, s holdfast.SessionRef) error {
	return b.fails("mark", func() error { return b.Bus.Mark(ctx, name, s) })
}

func (b *unsureMarks) Unmark(ctx context.Context, name string, s holdfast.SessionRef) error {
	return b.fails("unmark", func() error { return b.Bus.Unmark(ctx, name, s) })
}

func (b *unsureMarks) failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.call == ""
}

// TestMarkOutcomes: a note of ownership whose outcome is unknown stops no session
// and wakes none for nothing: the run is done once, nothing follows it, and the
// note is gone when another worker has seen to it.
func TestMarkOutcomes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	for _, call := range []string{"mark", "unmark"} {
		for half, happened := range map[string]bool{"did not happen": false, "did happen": true} {
			t.Run(call+" failed and "+half, func(t *testing.T) {
				name := call + map[bool]string{false: "-not", true: "-done"}[happened]
				s := ref(name)
				w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
				start := func(id string, bus interface {
					worker.Bus
					worker.Registry
					events.Bus
				},
				) (stop func()) {
					engine := runtime.NewEngine(runtime.Config{Reader: &events.Reader{Bus: bus, Store: w.store}, Agents: w.agents, Snapshots: w.store, Logger: w.log})
					wk := worker.New(bus, bus, w.store, engine, worker.Config{ID: id, Logger: w.log, DrainGrace: 100 * time.Millisecond})
					ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
					var running sync.WaitGroup
					running.Go(func() {
						if err := wk.Run(ctx); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
						engine.Wait()
					})
					stop = func() { cancel(); running.Wait() }
					t.Cleanup(stop)
					return stop
				}
				_, bus := w.connect("worker")
				unsure := &unsureMarks{Bus: bus, happened: happened, call: call}
				stop := start(name, unsure)
				w.say(s, "hello", "")
				w.waitParked(s, events.WaitingIdle)
				stop()
				if !unsure.failed() {
					t.Fatal("nothing failed")
				}
				evs := w.events(s)
				if n := count(evs, holdfast.TypeRunStarted); n != 1 || count(evs, holdfast.TypeRunFinished) != 1 {
					t.Fatalf("%d runs", n)
				}
				marked := func() bool {
					refs, _, err := w.bus.Marked(t.Context(), name)
					if err != nil {
						t.Fatal(err)
					}
					return slices.Contains(refs, s)
				}
				if left := call == "unmark" && !happened; marked() != left {
					t.Fatalf("a note is left: %v, want %v", !left, left)
				}
				// What is left is found by whoever comes next, and wakes nothing.
				_, bus = w.connect("another")
				stop = start(name+"-2", bus)
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				deadline := time.After(time.Minute)
				for marked() {
					select {
					case <-tick.C:
					case <-deadline:
						t.Fatal("a note of a worker that is gone stays")
					}
				}
				w.say(s, "hello again", "")
				w.waitParked(s, events.WaitingIdle)
				stop()
				if evs := w.events(s); count(evs, holdfast.TypeRunStarted) != 2 {
					t.Errorf("%d runs", count(evs, holdfast.TypeRunStarted))
				}
			})
		}
	}
}
