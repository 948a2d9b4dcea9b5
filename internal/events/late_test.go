package events_test

import (
	"errors"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// What is written where the bus has none of a session's frames is stored however
// late it comes. These tests make it come after others have written, and after
// the bus has let go of what they wrote.

// pass lets another worker have the session, write, and be forgotten by the bus.
func (w *world) pass(worker string, texts ...string) {
	w.t.Helper()
	wr := w.claim(worker)
	w.add(wr, texts...)
	w.flush(wr)
	w.record()
	w.forget()
}

// rest brings the session to where the bus has none of its frames.
func (w *world) rest() {
	w.t.Helper()
	w.create()
	w.pass("w0", "a")
}

// goOn checks the log, then that workers can go on with the session, whether what
// they find on the bus is recorded or not.
func (w *world) goOn(texts ...string) {
	w.t.Helper()
	w.wantLog(texts...)
	for _, s := range []string{"x", "y"} {
		wr := w.claim("after " + s)
		w.add(wr, s)
		w.flush(wr)
		texts = append(texts, s)
		w.wantLog(texts...)
		w.record()
		w.wantLog(texts...)
	}
	w.forget()
	w.wantLog(texts...)
}

func TestLateClaim(t *testing.T) {
	for _, content := range [][]string{{"b"}, {"b", "c", "d"}} {
		w := newWorld(t)
		w.rest()
		tail := w.tail() // the worker is frozen with what it has read
		w.pass("w1", content...)
		if _, _, err := events.Claim(w.ctx, w.bus, w.away, w.ref, tail, "w2", "late"); !errors.Is(err, events.ErrConflict) {
			t.Fatalf("Claim: %v, want ErrConflict", err)
		}
		if got := w.tail(); got.Pos == 0 || got.Prev != 0 || got.Seq != 4+uint64(len(content)) || got.Epoch != 2 {
			t.Fatalf("tail %+v", got)
		}
		w.goOn(append([]string{"a"}, content...)...)
	}
}

// TestLateClaimOfTheSameSeq: two claims with the same seq and epoch, the late one
// void, and nothing behind the other one.
func TestLateClaimOfTheSameSeq(t *testing.T) {
	w := newWorld(t)
	w.rest()
	tail := w.tail()
	w.claim("w1")
	w.record()
	w.forget()
	if _, _, err := events.Claim(w.ctx, w.bus, w.away, w.ref, tail, "w2", "late"); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Claim: %v, want ErrConflict", err)
	}
	if got := w.wantLog("a").Worker(2); got != "w1" {
		t.Fatalf("epoch 2 belongs to %q", got)
	}
	// Nobody who reads without the store sees the void claim either.
	wr := w.claim("w3")
	w.add(wr, "b")
	w.flush(wr)
	w.away.set(errUnknown)
	r := &events.Reader{Bus: w.nats, Store: w.away}
	if have, _, err := read(w, r, w.ref, tail.Seq); !errors.Is(err, errUnknown) || len(have) != 0 {
		t.Fatalf("a reader gets %v, %v", have, err)
	}
	w.away.set(nil)
	w.goOn("a", "b")
}

// late returns a script that keeps an Append back, which is reported as lost.
func late(kept *func() (uint64, error)) func(func() (uint64, error)) (uint64, error) {
	return func(store func() (uint64, error)) (uint64, error) {
		*kept = store
		return 0, errUnknown
	}
}

// arrive lets an Append that was kept back happen.
func (w *world) arrive(kept func() (uint64, error)) {
	w.t.Helper()
	if _, err := kept(); err != nil {
		w.t.Fatalf("the late frame is refused: %v", err)
	}
}

// TestLateCopies: a copy of a frame that was stored long ago arrives.
func TestLateCopies(t *testing.T) {
	t.Run("Claim", func(t *testing.T) {
		w := newWorld(t)
		w.rest()
		var copied func() (uint64, error)
		w.bus.once(late(&copied))
		wr := w.claim("w1")
		w.add(wr, "b")
		w.flush(wr)
		w.record()
		w.forget()
		w.arrive(copied)
		w.wantLog("a", "b")
		// The owner finds a frame that it does not know, and is the owner still.
		w.add(wr, "c")
		w.flush(wr)
		w.goOn("a", "b", "c")
	})
	t.Run("Create", func(t *testing.T) {
		w := newWorld(t)
		var copied func() (uint64, error)
		w.bus.once(late(&copied))
		w.create()
		w.pass("w1", "a")
		w.arrive(copied)
		w.goOn("a")
	})
	t.Run("CreateDeleted", func(t *testing.T) {
		w := newWorld(t)
		var copied func() (uint64, error)
		w.bus.once(late(&copied))
		w.create()
		wr := w.claim("w1")
		if _, err := wr.Add(w.ctx, "", &holdfast.SessionDeletedEvent{}); err != nil {
			t.Fatal(err)
		}
		w.flush(wr)
		w.record()
		w.forget()
		w.arrive(copied)
		if tail := w.tail(); tail.Type != holdfast.TypeSessionDeleted {
			t.Fatalf("tail %+v", tail)
		}
		r := &events.Reader{Bus: w.nats, Store: w.store}
		if have, _, err := read(w, r, w.ref, 0); !errors.Is(err, events.ErrNoSession) || len(have) != 0 {
			t.Fatalf("a reader of the deleted session gets %v, %v", have, err)
		}
	})
	t.Run("Frame", func(t *testing.T) {
		w := newWorld(t)
		w.create()
		wr := w.claim("w1")
		w.record()
		w.forget()
		var copied func() (uint64, error)
		w.bus.script(func(store func() (uint64, error)) (uint64, error) {
			// The first attempt is refused: the frame that it expects has left the bus.
			w.bus.once(late(&copied))
			return store()
		})
		w.add(wr, "a", "b", "c")
		w.flush(wr)
		w.record()
		w.forget()
		w.arrive(copied)
		w.wantLog("a", "b", "c")
		w.add(wr, "d")
		w.flush(wr)
		w.goOn("a", "b", "c", "d")
	})
}

// TestLateFrame: a frame of several events of an owner that has lost the session
// in the meantime. Its seqs reach beyond what the store has: none of them may
// count.
func TestLateFrame(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	w.record()
	w.forget()
	frozen, melt := make(chan struct{}), make(chan struct{})
	w.bus.script(func(store func() (uint64, error)) (uint64, error) {
		w.bus.once(func(store func() (uint64, error)) (uint64, error) {
			close(frozen)
			<-melt
			return store()
		})
		return store()
	})
	w.add(wr, "never 1", "never 2", "never 3", "never 4")
	await(t, frozen, "the writer sends")
	w.pass("w2", "a")
	close(melt)
	if err := wr.Flush(w.ctx); !errors.Is(err, events.ErrLost) {
		t.Fatalf("Flush: %v, want ErrLost", err)
	}
	r := &events.Reader{Bus: w.nats, Store: w.store}
	for after := range uint64(6) {
		have, _, err := read(w, r, w.ref, after)
		if err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, have, after+1, max(4, after))
	}
	w.goOn("a")
}

// TestLateCreate: of two creations of one id the late one is refused.
func TestLateCreate(t *testing.T) {
	w := newWorld(t)
	w.bus.once(func(store func() (uint64, error)) (uint64, error) {
		w.create()
		w.pass("w1", "a")
		return store()
	})
	if _, err := events.Create(w.ctx, w.bus, w.away, w.ref, &holdfast.SessionCreatedEvent{Title: "late"}); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("Create: %v, want ErrConflict", err)
	}
	w.goOn("a")
}

// TestLateStoreAway: a claim is not given out before the store has confirmed it.
func TestLateStoreAway(t *testing.T) {
	w := newWorld(t)
	w.rest()
	tail := w.tail()
	w.bus.once(func(store func() (uint64, error)) (uint64, error) {
		w.away.set(errUnknown)
		return store()
	})
	asked := make(chan struct{}, 100)
	w.away.asked = asked
	claimed := make(chan error, 1)
	go func() {
		wr, _, err := events.Claim(w.ctx, w.bus, w.away, w.ref, tail, "w1", "test")
		if err == nil {
			err = wr.Close(w.ctx)
		}
		claimed <- err
	}()
	await(t, asked, "the store is asked")
	await(t, asked, "the store is asked again")
	select {
	case err := <-claimed:
		t.Fatalf("Claim returns before the store has answered: %v", err)
	default:
	}
	w.away.set(nil)
	if err := await(t, claimed, "Claim returns"); err != nil {
		t.Fatal(err)
	}
	w.goOn("a")
}
