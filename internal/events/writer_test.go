package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
)

var errUnknown = errors.New("outcome unknown")

// outcomes are the ways in which one Append can go wrong without that it is
// refused: each is what the writer is told, and what has really happened.
var outcomes = map[string]func(store func() (uint64, error)) (uint64, error){
	"DidNotHappen": func(func() (uint64, error)) (uint64, error) { return 0, errUnknown },
	"DidHappen": func(store func() (uint64, error)) (uint64, error) {
		_, err := store()
		return 0, errors.Join(errUnknown, err)
	},
	"Busy": func(func() (uint64, error)) (uint64, error) { return 0, events.ErrBusy },
	"HappenedTwice": func(store func() (uint64, error)) (uint64, error) {
		_, _ = store()
		return store() // refused: that is what the writer hears
	},
}

func TestWriterOutcomes(t *testing.T) {
	for name, fault := range outcomes {
		t.Run("Create/"+name, func(t *testing.T) {
			w := newWorld(t)
			w.bus.once(fault)
			w.create()
			w.wantLog()
		})
		t.Run("Claim/"+name, func(t *testing.T) {
			w := newWorld(t)
			w.create()
			w.bus.once(fault)
			wr := w.claim("w1")
			w.add(wr, "a")
			w.flush(wr)
			w.wantLog("a")
		})
		t.Run("Frame/"+name, func(t *testing.T) {
			w := newWorld(t)
			w.create()
			wr := w.claim("w1")
			w.add(wr, "a")
			w.flush(wr)
			w.bus.once(fault)
			w.add(wr, "b", "c")
			w.flush(wr)
			w.add(wr, "d")
			w.flush(wr)
			w.wantLog("a", "b", "c", "d")
			if wr.Err() != nil {
				t.Fatalf("the writer ended: %v", wr.Err())
			}
		})
		t.Run("AgedOut/"+name, func(t *testing.T) {
			// The same while the bus has none of the session's frames.
			w := newWorld(t)
			w.create()
			wr := w.claim("w1")
			w.add(wr, "a")
			w.flush(wr)
			w.record()
			w.forget()
			w.bus.once(fault)
			w.add(wr, "b")
			w.flush(wr)
			w.add(wr, "c")
			w.flush(wr)
			w.wantLog("a", "b", "c")
		})
		t.Run("AgedOutBefore/"+name, func(t *testing.T) {
			// A claim of a session that only the store has.
			w := newWorld(t)
			w.create()
			w.record()
			w.forget()
			if tail := w.tail(); tail != (events.Tail{Seq: 1, Type: holdfast.TypeSessionParked}) {
				t.Fatalf("tail %+v", tail)
			}
			w.bus.once(fault)
			wr := w.claim("w1")
			w.add(wr, "a")
			w.flush(wr)
			w.wantLog("a")
		})
	}
	// What was stored is recorded and forgotten before the writer can look.
	forgotten := func(w *world) func(store func() (uint64, error)) (uint64, error) {
		return func(store func() (uint64, error)) (uint64, error) {
			_, err := store()
			w.record()
			w.forget()
			return 0, errors.Join(errUnknown, err)
		}
	}
	t.Run("Claim/StoredAndForgotten", func(t *testing.T) {
		w := newWorld(t)
		w.create()
		w.bus.once(forgotten(w))
		wr := w.claim("w1")
		w.add(wr, "a")
		w.flush(wr)
		w.wantLog("a")
	})
	t.Run("Frame/StoredAndForgotten", func(t *testing.T) {
		w := newWorld(t)
		w.create()
		wr := w.claim("w1")
		w.bus.once(forgotten(w))
		w.add(wr, "a")
		w.flush(wr)
		w.add(wr, "b")
		w.flush(wr)
		w.wantLog("a", "b")
	})
	t.Run("Claim/OtherStoredAndForgotten", func(t *testing.T) {
		// Two claims of the same epoch; the other one was stored and is forgotten.
		w := newWorld(t)
		w.create()
		tail := w.tail()
		w.bus.once(func(func() (uint64, error)) (uint64, error) {
			w.claim("other")
			w.record()
			w.forget()
			return 0, errUnknown
		})
		if _, _, err := events.Claim(w.ctx, w.bus, w.away, w.ref, tail, "w1", "test"); !errors.Is(err, events.ErrConflict) {
			t.Fatalf("Claim: %v, want ErrConflict", err)
		}
		if got := w.wantLog().Worker(1); got != "other" {
			t.Fatalf("epoch 1 belongs to %q", got)
		}
	})
}

// TestWriterLate: a frame whose sender gave it up arrives after everything else.
func TestWriterLate(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	var late func() (uint64, error)
	w.bus.once(func(store func() (uint64, error)) (uint64, error) {
		late = store
		return 0, errUnknown
	})
	w.add(wr, "a")
	w.flush(wr)
	if _, err := late(); err == nil {
		t.Fatal("the late frame was stored a second time")
	}
	w.add(wr, "b")
	w.flush(wr)
	second := w.claim("w2")
	w.add(second, "c")
	w.flush(second)
	if _, err := late(); err == nil {
		t.Fatal("the late frame was stored after another claim")
	}
	w.wantLog("a", "b", "c")
}

func TestWriterLosesSession(t *testing.T) {
	for name, fault := range map[string]func(store func() (uint64, error)) (uint64, error){
		"Refused": func(store func() (uint64, error)) (uint64, error) { return store() },
		"Unknown": func(store func() (uint64, error)) (uint64, error) { return 0, errUnknown },
	} {
		for _, aged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/aged=%v", name, aged), func(t *testing.T) {
				w := newWorld(t)
				w.create()
				first := w.claim("w1")
				w.add(first, "a")
				w.flush(first)
				second := w.claim("w2")
				w.add(second, "b")
				w.flush(second)
				if aged {
					w.record()
					w.forget()
				}
				w.bus.once(fault)
				w.add(first, "never")
				if err := first.Flush(w.ctx); !errors.Is(err, events.ErrLost) {
					t.Fatalf("Flush: %v, want ErrLost", err)
				}
				await(t, first.Lost(), "Lost is closed")
				if _, err := first.Add(w.ctx, "run", text("never")); !errors.Is(err, events.ErrLost) {
					t.Fatalf("Add: %v, want ErrLost", err)
				}
				if err := first.Close(w.ctx); !errors.Is(err, events.ErrLost) {
					t.Fatalf("Close with what was not stored: %v, want ErrLost", err)
				}
				w.add(second, "c")
				w.flush(second)
				w.wantLog("a", "b", "c")
			})
		}
	}
}

func TestClaimRace(t *testing.T) {
	w := newWorld(t)
	w.create()
	const rounds, workers = 10, 8
	for round := range rounds {
		tail := w.tail()
		var mu sync.Mutex
		var won []string
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				name := fmt.Sprintf("w%d-%d", round, i)
				wr, env, err := events.Claim(w.ctx, w.bus, w.away, w.ref, tail, name, "race")
				switch {
				case err == nil:
					if env.Epoch != tail.Epoch+1 || wr.Epoch() != env.Epoch || env.Seq != tail.Seq+1 {
						t.Errorf("claimed %d/%d after %+v", env.Seq, env.Epoch, tail)
					}
					mu.Lock()
					won = append(won, name)
					mu.Unlock()
					if _, err := wr.Add(w.ctx, "", text(name)); err != nil {
						t.Error(err)
					}
					if err := wr.Close(w.ctx); err != nil {
						t.Error(err)
					}
				case !errors.Is(err, events.ErrConflict):
					t.Errorf("Claim: %v", err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d workers won: %v", len(won), won)
		}
	}
	c := eventstest.NewCheck()
	r := events.Reader{Bus: w.nats, Store: w.store}
	if _, err := r.Read(w.ctx, w.ref, 0, c.Event); err != nil {
		t.Fatal(err)
	}
	if len(c.Content) != rounds || c.Seq() != 1+2*rounds {
		t.Fatalf("%d texts, seq %d", len(c.Content), c.Seq())
	}
}

func TestCreateTwice(t *testing.T) {
	w := newWorld(t)
	w.create()
	again := func() error {
		_, err := events.Create(w.ctx, w.bus, w.away, w.ref, &holdfast.SessionCreatedEvent{Title: "again"})
		return err
	}
	if err := again(); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("the second Create: %v, want ErrConflict", err)
	}
	w.record()
	w.forget()
	if err := again(); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Create of a session that only the store has: %v, want ErrConflict", err)
	}
	w.away.set(errUnknown)
	if err := again(); !errors.Is(err, errUnknown) {
		t.Fatalf("Create while nobody can tell: %v", err)
	}
	w.away.set(nil)
	w.wantLog()
	w.ref = eventstest.NewRef()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() { errs <- again() })
	}
	wg.Wait()
	made := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			made++
		} else if !errors.Is(err, events.ErrConflict) {
			t.Fatal(err)
		}
	}
	if made != 1 {
		t.Fatalf("%d of %d concurrent Create succeeded", made, cap(errs))
	}
}

// TestWriterBatches: what is added while a frame is in flight rides in the next.
func TestWriterBatches(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	entered, release := make(chan struct{}), make(chan struct{})
	w.bus.once(func(store func() (uint64, error)) (uint64, error) {
		close(entered)
		<-release
		return store()
	})
	before := w.bus.appends
	var want []string
	w.add(wr, "first")
	want = append(want, "first")
	await(t, entered, "the first frame is in flight")
	for i := range 500 {
		w.add(wr, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
		want = append(want, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
	}
	close(release)
	w.flush(wr)
	if n := w.bus.appends - before; n != 2 {
		t.Fatalf("%d frames, want 2", n)
	}
	w.wantLog(want...)
	last, err := w.nats.Last(w.ctx, w.ref)
	if err != nil {
		t.Fatal(err)
	}
	f, err := events.DecodeFrame(last.Data)
	if err != nil || len(f.Events) != 1000 {
		t.Fatalf("the second frame has %d events, %v", len(f.Events), err)
	}
}

// TestWriterGroups: a group is never cut, however much waits, and no frame is
// larger than the bus takes.
func TestWriterGroups(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	var want []string
	big := strings.Repeat("x", 200<<10)
	for i := range 12 {
		a, b := fmt.Sprint(i, "a", big), fmt.Sprint(i, "b")
		w.add(wr, a, b)
		want = append(want, a, b)
	}
	w.flush(wr)
	w.wantLog(want...)
	if err := wr.Close(w.ctx); err != nil {
		t.Fatal(err)
	}
	// Walk the frames: each has both of a group, or neither.
	st, err := w.nats.Last(w.ctx, w.ref)
	for err == nil {
		if len(st.Data) > events.MaxFrame {
			t.Fatalf("a frame of %d bytes", len(st.Data))
		}
		var f events.Frame
		if f, err = events.DecodeFrame(st.Data); err != nil {
			break
		}
		if n := len(f.Events); f.Events[0].Type == holdfast.TypeAgentChoice && n%2 != 0 {
			t.Fatalf("a frame with %d events cuts a group", n)
		}
		st, err = w.nats.At(w.ctx, w.ref, f.Prev)
	}
	if !errors.Is(err, events.ErrNoFrame) {
		t.Fatal(err)
	}
}

func TestWriterLimits(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	if _, err := wr.Add(w.ctx, "run", text(strings.Repeat("x", events.MaxPayload))); !errors.Is(err, events.ErrTooLarge) {
		t.Fatalf("Add of a payload that is too large: %v", err)
	}
	// Many small events in one group, each by an agent with a long name: what does
	// not fit must be refused here, since a server refuses it for ever.
	var many []holdfast.Event
	for i := range 8000 {
		ev := &holdfast.AgentChoiceEvent{Content: "x"}
		ev.AgentName = strings.Repeat(string(rune('a'+i%2)), 128)
		many = append(many, ev)
	}
	if _, err := wr.Add(w.ctx, "run", many...); !errors.Is(err, events.ErrTooLarge) {
		t.Fatalf("Add of a group that does not fit: %v", err)
	}
	w.add(wr, "fits")
	w.flush(wr)
	w.wantLog("fits")

	// While too much waits, Add waits too, and its context ends it.
	release := make(chan struct{})
	w.bus.once(func(store func() (uint64, error)) (uint64, error) {
		<-release
		return store()
	})
	half := strings.Repeat("x", events.MaxPayload-100)
	for i := range 5 {
		w.add(wr, fmt.Sprint(i, half))
	}
	ended, cancel := context.WithCancel(w.ctx)
	blocked := make(chan error, 1)
	go func() {
		_, err := wr.Add(ended, "run", text("never"))
		blocked <- err
	}()
	cancel()
	if err := await(t, blocked, "Add returns when its context ends"); !errors.Is(err, context.Canceled) {
		t.Fatalf("Add: %v", err)
	}
	close(release)
	w.add(wr, "after")
	w.flush(wr)
}

func TestWriterClose(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	w.add(wr, "a")
	if err := wr.Close(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.wantLog("a")
	if _, err := wr.Add(w.ctx, "run", text("b")); !errors.Is(err, events.ErrClosed) {
		t.Fatalf("Add after Close: %v", err)
	}
	if err := wr.Close(w.ctx); err != nil {
		t.Fatalf("Close again: %v", err)
	}
	// A writer that cannot store what it has ends when Close is told to give up.
	second := w.claim("w2")
	w.bus.script(func(func() (uint64, error)) (uint64, error) { return 0, errUnknown })
	w.add(second, "never")
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := second.Close(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("Close: %v, want context.Canceled", err)
	}
	w.wantLog("a")
}

// TestWriterStoreAway: a writer whose frames have aged out needs the store; it
// waits for it and loses nothing.
func TestWriterStoreAway(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	w.add(wr, "a")
	w.flush(wr)
	w.record()
	w.forget()
	w.away.set(errUnknown)
	tried := make(chan struct{}, 100)
	w.bus.script(func(store func() (uint64, error)) (uint64, error) {
		tried <- struct{}{}
		return store()
	})
	w.add(wr, "b")
	await(t, tried, "the first attempt")
	await(t, tried, "the second attempt")
	if wr.Err() != nil {
		t.Fatalf("the writer gave up: %v", wr.Err())
	}
	w.away.set(nil)
	w.flush(wr)
	w.wantLog("a", "b")
}

// TestWriterFaults: many writers under random faults; the check reads the log.
func TestWriterFaults(t *testing.T) {
	w := newWorld(t)
	w.create()
	faulty := eventstest.NewFaultyBus(w.nats, 7, eventstest.Faults{Lost: 150, Done: 150, Busy: 100})
	var want []string
	for i := range 3 {
		tail, err := events.ReadTail(w.ctx, w.nats, w.store, w.ref)
		if err != nil {
			t.Fatal(err)
		}
		wr, _, err := events.Claim(w.ctx, faulty, w.store, w.ref, tail, fmt.Sprint("w", i), "test")
		if err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			s := fmt.Sprint(i, "-", j)
			want = append(want, s)
			if _, err := wr.Add(w.ctx, "run", text(s)); err != nil {
				t.Fatal(err)
			}
			if err := wr.Flush(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := wr.Close(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	w.wantLog(want...)
}
