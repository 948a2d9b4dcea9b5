package simtest

import (
	"context"
	"fmt"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
)

// check reads every session, from bus and store together and then from the
// store alone, and compares with what was acknowledged.
func (w *World) check() {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p, err := w.newProcess(ctx, "check")
	if err != nil {
		w.t.Errorf("open the checker's bus: %v", err)
		return
	}
	defer p.crash()
	whole := events.Reader{Bus: p.bus, Store: w.store}
	for _, ref := range w.sessions {
		if len(w.tried[ref]) == 0 {
			continue
		}
		var log []events.Envelope
		// A server that was restarted a moment ago may still lose a request.
		_, err := whole.Read(ctx, ref, 0, func(e events.Envelope) error { log = append(log, e); return nil })
		if err != nil {
			w.t.Errorf("read %s: %v", ref, err)
			continue
		}
		w.note(func(s *Stats) { s.Events += len(log) })
		if err := w.judge(ref, log); err != nil {
			w.t.Errorf("%s: %v\n%s", ref, err, dump(log))
			continue
		}
		if err := w.compareStore(ctx, ref, log); err != nil {
			w.t.Errorf("the store's log of %s: %v", ref, err)
		}
	}
}

// judge checks one session's log.
func (w *World) judge(ref holdfast.SessionRef, log []events.Envelope) error {
	c := eventstest.NewCheck()
	var part, size int // of the group that is being read
	var group string
	for i := range log {
		e := &log[i]
		if err := c.Event(*e); err != nil {
			return err
		}
		key, err := c.Key(e)
		if err != nil {
			return err
		}
		if key == "" {
			if part != size {
				return fmt.Errorf("seq %d is in the middle of group %s", e.Seq, group)
			}
			continue
		}
		if !w.tried[ref][key] {
			return fmt.Errorf("seq %d: nobody wrote %q", e.Seq, key)
		}
		// "session worker group n i/size"
		f := strings.Fields(key)
		if got := c.Worker(e.Epoch); got != f[1] {
			return fmt.Errorf("seq %d: %q in the epoch of %s", e.Seq, key, got)
		}
		var at, of int
		if _, err := fmt.Sscanf(f[4], "%d/%d", &at, &of); err != nil {
			return err
		}
		if part == size {
			part, size, group = 0, of, f[3]
		}
		if part++; at != part || of != size || f[3] != group {
			return fmt.Errorf("seq %d: %q where part %d of %d of group %s belongs", e.Seq, key, part, size, group)
		}
	}
	if part != size {
		return fmt.Errorf("the log ends in the middle of group %s", group)
	}
	for key, worker := range w.acked[ref] {
		if c.Content[key] != 1 {
			return fmt.Errorf("%q was acknowledged to %s and is there %d times", key, worker, c.Content[key])
		}
	}
	return nil
}

// compareStore waits until the store has the whole log and compares.
func (w *World) compareStore(ctx context.Context, ref holdfast.SessionRef, log []events.Envelope) error {
	var have []events.Envelope
	for len(have) < len(log) {
		more, err := w.store.Read(ctx, ref, uint64(len(have)), 1000)
		if err != nil {
			return fmt.Errorf("after %d events: %w", len(have), err)
		}
		have = append(have, more...)
		if len(more) == 0 && !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("it has %d events of %d", len(have), len(log))
		}
	}
	for i := range log {
		a, b := &log[i], &have[i]
		if a.Seq != b.Seq || a.Epoch != b.Epoch || a.Type != b.Type || string(a.Payload) != string(b.Payload) {
			return fmt.Errorf("seq %d: bus %v, store %v", a.Seq, *a, *b)
		}
	}
	info, err := w.store.Session(ctx, ref)
	if err != nil {
		return err
	}
	if last := log[len(log)-1]; info.Head != (events.Head{Seq: last.Seq, Epoch: last.Epoch}) {
		return fmt.Errorf("head %+v, want %d/%d", info.Head, last.Seq, last.Epoch)
	}
	return nil
}

// dump is a log for who has to find out what went wrong.
func dump(log []events.Envelope) string {
	var b strings.Builder
	for _, e := range log {
		fmt.Fprintf(&b, "%5d %3d %s %s %s\n", e.Seq, e.Epoch, e.Time.UTC().Format("15:04:05.000000"), e.Type, e.Payload)
	}
	return b.String()
}
