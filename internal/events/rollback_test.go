package events_test

import (
	"errors"
	"fmt"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// goBack takes the session's newest frames off the bus until it ends at seq or
// before, as a server does that comes back with an older copy of its disk.
func (w *world) goBack(seq uint64) {
	w.t.Helper()
	for {
		last, err := w.nats.Last(w.ctx, w.ref)
		if errors.Is(err, events.ErrNoFrame) {
			return
		}
		if err != nil {
			w.t.Fatal(err)
		}
		f, err := events.DecodeFrame(last.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		if f.Last() <= seq {
			return
		}
		subject := "$JS.API.STREAM.MSG.DELETE." + w.nats.Streams()[0]
		if _, err := w.nc.RequestWithContext(w.ctx, subject, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, last.Pos)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestBusWentBack: the bus comes back without frames that the store has. Readers
// and whoever claims the session go on behind what the store has, and what they
// write is recorded.
func TestBusWentBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		alive bool // the owner lives on
	}{{name: "claimed by another"}, {name: "owner lives", alive: true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.create()
			wr := w.claim("w1")
			var want []string
			for n := range 8 {
				want = append(want, fmt.Sprint("text ", n))
				w.add(wr, want[n])
				w.flush(wr)
			}
			w.record()
			w.goBack(5)
			if tail := w.tail(); tail.Seq != 10 || tail.Prev != 0 || tail.Pos == 0 {
				t.Fatalf("the log ends at %+v, the store has 10 events", tail)
			}
			r := events.Reader{Bus: w.bus, Store: w.away}
			for _, after := range []uint64{0, 7, 10} {
				// A cursor behind the end of the bus is none behind the end of the log.
				n := after
				head, err := r.Read(w.ctx, w.ref, after, func(e events.Envelope) error {
					if n++; e.Seq != n {
						return fmt.Errorf("seq %d, want %d", e.Seq, n)
					}
					return nil
				})
				if err != nil || head.Seq != 10 {
					t.Errorf("read after %d: %+v, %v", after, head, err)
				}
			}
			next := wr
			if !c.alive {
				next = w.claim("w2")
			}
			for n := range 3 {
				want = append(want, fmt.Sprint("later ", n))
				w.add(next, want[len(want)-1])
				w.flush(next)
			}
			w.wantLog(want...)
			w.record()
			w.wantLog(want...)
			w.forget()
			w.wantLog(want...)
			if !c.alive {
				w.add(wr, "too late")
				if err := wr.Flush(w.ctx); !errors.Is(err, events.ErrLost) {
					t.Errorf("the owner before: %v", err)
				}
			}
		})
	}
}

// TestBusWentBackFurther: what neither the bus nor the store has is lost, the
// owner notices, and the next one goes on behind what there is.
func TestBusWentBackFurther(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	w.add(wr, "recorded")
	w.flush(wr)
	w.record()
	for _, s := range []string{"one", "two"} {
		w.add(wr, s)
		w.flush(wr)
	}
	w.goBack(2)
	w.add(wr, "three")
	if err := wr.Flush(w.ctx); !errors.Is(err, events.ErrLost) {
		t.Fatalf("the owner of lost events: %v", err)
	}
	next := w.claim("w2")
	w.add(next, "on")
	w.flush(next)
	w.wantLog("recorded", "on")
	w.record()
	w.wantLog("recorded", "on")
}

// TestBusWentBackStoreAway: while the store is away, nobody waits for it to say
// that the bus is all there is.
func TestBusWentBackStoreAway(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	w.add(wr, "one")
	w.flush(wr)
	w.record()
	w.away.set(holdfast.Errorf(holdfast.CodeUnavailable, "away"))
	next := w.claim("w2")
	w.add(next, "two")
	w.flush(next)
	w.away.set(nil)
	w.wantLog("one", "two")
}
