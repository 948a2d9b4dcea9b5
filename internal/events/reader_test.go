package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
)

// counting counts what a reader asks of the bus, and may act before it answers.
type counting struct {
	events.Bus
	at     int
	before func(n int)
}

func (c *counting) At(ctx context.Context, s holdfast.SessionRef, pos uint64) (events.Stored, error) {
	c.at++
	if c.before != nil {
		c.before(c.at)
	}
	return c.Bus.At(ctx, s, pos)
}

// fill writes n frames with one event each and returns the last seq.
func (w *world) fill(wr *events.Writer, n int) uint64 {
	w.t.Helper()
	for i := range n {
		w.add(wr, fmt.Sprint(wr.Epoch(), "-", i, "-", wr.Stored()))
		w.flush(wr)
	}
	return wr.Stored()
}

// read returns the seqs that a reader gives.
func read(w *world, r *events.Reader, ref holdfast.SessionRef, after uint64) ([]uint64, events.Head, error) {
	var seqs []uint64
	head, err := r.Read(w.ctx, ref, after, func(e events.Envelope) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	return seqs, head, err
}

func wantSeqs(t *testing.T, have []uint64, first, last uint64) {
	t.Helper()
	for i, s := range have {
		if s != first+uint64(i) {
			t.Fatalf("event %d has seq %d, want %d", i, s, first+uint64(i))
		}
	}
	if uint64(len(have)) != last+1-first {
		t.Fatalf("%d events, want %d to %d", len(have), first, last)
	}
}

func TestReader(t *testing.T) {
	w := newWorld(t)
	r := &events.Reader{Bus: w.nats, Store: w.away}
	if _, _, err := read(w, r, w.ref, 0); !errors.Is(err, events.ErrNoSession) {
		t.Fatalf("a session that does not exist: %v", err)
	}
	w.create()
	wr := w.claim("w1")
	last := w.fill(wr, 60)
	from := func(what string) {
		t.Helper()
		for _, after := range []uint64{0, 1, last / 2, last - 1, last} {
			have, head, err := read(w, r, w.ref, after)
			if err != nil {
				t.Fatalf("%s, after %d: %v", what, after, err)
			}
			wantSeqs(t, have, after+1, last)
			if head.Seq != last || head.Epoch == 0 && what != "all forgotten" {
				t.Fatalf("%s, after %d: head %+v, want %d", what, after, head, last)
			}
		}
	}
	from("all on the bus")
	w.record()
	from("all in both")
	last = w.fill(wr, 40)
	from("the end on the bus only")
	w.forget()
	from("the beginning in the store only")
	w.record()
	w.forget()
	from("all forgotten")
	last = w.fill(wr, 3)
	from("claimed before, forgotten, written")
}

func TestReaderNearEnd(t *testing.T) {
	w := newWorld(t)
	w.create()
	last := w.fill(w.claim("w1"), 100)
	w.away.set(errUnknown)
	bus := &counting{Bus: w.nats}
	r := &events.Reader{Bus: bus, Store: w.away}
	have, _, err := read(w, r, w.ref, last-5)
	if err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, have, last-4, last)
	if bus.at > 5 {
		t.Fatalf("%d frames were asked for to read 5 events", bus.at)
	}
}

func TestReaderStoreAway(t *testing.T) {
	w := newWorld(t)
	w.create()
	wr := w.claim("w1")
	last := w.fill(wr, 50)
	w.away.set(errUnknown)
	r := &events.Reader{Bus: w.nats, Store: w.away}
	// As long as the bus has everything, nobody notices.
	have, _, err := read(w, r, w.ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, have, 1, last)
	// If not, the answer is the store's error, never a part of the log.
	w.away.set(nil)
	w.record()
	w.forget()
	second := w.claim("w2")
	w.add(second, "x")
	w.flush(second)
	w.away.set(errUnknown)
	have, _, err = read(w, r, w.ref, 0)
	if !errors.Is(err, errUnknown) || len(have) != 0 {
		t.Fatalf("gave %d events and %v, want the store's error", len(have), err)
	}
	w.away.set(nil)
	have, _, err = read(w, r, w.ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantSeqs(t, have, 1, last+2)
}

// TestReaderPurge: the bus forgets frames while they are being read.
func TestReaderPurge(t *testing.T) {
	for _, at := range []int{1, 5, 16, 17, 30} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := newWorld(t)
			w.create()
			last := w.fill(w.claim("w1"), 60)
			bus := &counting{Bus: w.nats}
			bus.before = func(n int) {
				if n == at {
					w.record()
					w.forget()
				}
			}
			r := &events.Reader{Bus: bus, Store: w.away}
			have, _, err := read(w, r, w.ref, 0)
			if err != nil {
				t.Fatal(err)
			}
			wantSeqs(t, have, 1, last)
		})
	}
}

func TestReaderForks(t *testing.T) {
	w := newWorld(t)
	w.create()
	parent := w.ref
	wr := w.claim("w1")
	w.fill(wr, 20)
	const forkSeq = 10
	child := eventstest.NewRef()
	child.Tenant = parent.Tenant
	grandchild := holdfast.SessionRef{Tenant: parent.Tenant, Session: "grand-" + child.Session}
	fork := func(from, to holdfast.SessionRef, seq uint64) {
		t.Helper()
		if _, err := events.Create(w.ctx, w.bus, w.away, to, &holdfast.SessionCreatedEvent{ForkOf: from.Session, ForkSeq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	fork(parent, child, forkSeq)
	w.ref = child
	childLast := w.fill(w.claim("w1"), 5)
	fork(child, grandchild, forkSeq+2)
	w.ref = grandchild
	grandLast := w.fill(w.claim("w1"), 5)
	r := &events.Reader{Bus: w.nats, Store: w.away}
	check := func(what string) {
		t.Helper()
		for ref, last := range map[holdfast.SessionRef]uint64{child: childLast, grandchild: grandLast} {
			for _, after := range []uint64{0, 3, forkSeq - 1, forkSeq, forkSeq + 1, last} {
				have, _, err := read(w, r, ref, after)
				if err != nil {
					t.Fatalf("%s: %s after %d: %v", what, ref, after, err)
				}
				wantSeqs(t, have, after+1, last)
			}
		}
	}
	w.away.set(errUnknown)
	check("all on the bus, the store away")
	w.away.set(nil)
	w.recordAll(parent, child, grandchild)
	check("all in both")
	w.forget()
	check("all in the store")
	w.ref = grandchild
	wr = w.claim("w2")
	grandLast = w.fill(wr, 2)
	check("the end on the bus")
}

// recordAll is record for several sessions.
func (w *world) recordAll(refs ...holdfast.SessionRef) {
	w.t.Helper()
	stream := w.nats.Streams()[0]
	info, err := w.nats.Info(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	b := events.Batch{Stream: stream, To: info.Last}
	for _, ref := range refs {
		var evs []events.Envelope
		r := events.Reader{Bus: w.nats, Store: w.store}
		_, err := r.Read(w.ctx, ref, 0, func(e events.Envelope) error { evs = append(evs, e); return nil })
		if err != nil {
			w.t.Fatal(err)
		}
		start := 0 // a fork's own events begin with its last session_created
		for i := range evs {
			if evs[i].Type == holdfast.TypeSessionCreated {
				start = i
			}
		}
		b.Sessions = append(b.Sessions, events.SessionEvents{Session: ref, Events: evs[start:]})
	}
	if err := w.store.Record(w.ctx, b); err != nil {
		w.t.Fatal(err)
	}
}

// TestReaderError: what fn returns ends the reading and comes back as it is.
func TestReaderError(t *testing.T) {
	w := newWorld(t)
	w.create()
	w.fill(w.claim("w1"), 5)
	mine := errors.New("mine")
	r := &events.Reader{Bus: w.nats, Store: w.away}
	head, err := r.Read(w.ctx, w.ref, 0, func(e events.Envelope) error {
		if e.Seq == 3 {
			return mine
		}
		return nil
	})
	if err != mine || head.Seq != 2 {
		t.Fatalf("Read = %+v, %v", head, err)
	}
}
