package recorder_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

// traps are places that panic, so many times each.
type traps struct {
	mu   sync.Mutex // guards left
	left map[string]int
}

func (p *traps) pass(at string) {
	p.mu.Lock()
	hit := p.left[at] > 0
	p.left[at]--
	p.mu.Unlock()
	if hit {
		panic(at)
	}
}

func (p *traps) set(at string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left[at] = n
}

func (p *traps) sprung(at string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left[at] <= 0
}

type brittleStore struct {
	events.Store
	*traps
}

func (s brittleStore) Record(ctx context.Context, b events.Batch) error {
	s.pass("before record")
	err := s.Store.Record(ctx, b)
	s.pass("after record")
	return err
}

type brittleSource struct {
	recorder.Source
	*traps
}

func (s brittleSource) Frames(ctx context.Context, stream string, after uint64, fn func(recorder.Frame) error) error {
	s.pass("frames")
	return s.Source.Frames(ctx, stream, after, fn)
}

func (s brittleSource) PosBefore(ctx context.Context, stream string, at time.Time) (uint64, error) {
	s.pass("tend")
	return s.Source.PosBefore(ctx, stream, at)
}

// TestPanics: a panic at any place ends neither the process nor the recording,
// and nothing is lost or doubled by it.
func TestPanics(t *testing.T) {
	b := newBench(t, 1)
	p := &traps{left: map[string]int{"frames": 1}}
	log, _, _ := startLogged(t, brittleSource{b.bus, p}, brittleStore{b.store, p}, recorder.Config{MaxWait: time.Millisecond, Standby: 10 * time.Millisecond})
	s := newSession(t, b)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := uint64(0)
	for _, trap := range []struct {
		at string
		n  int
	}{{"frames", 1}, {"before record", 2}, {"after record", 1}, {"tend", 1}, {"nowhere", 0}} {
		p.set(trap.at, trap.n)
		if trap.at == "frames" {
			p.set("tend", 1) // only a course that ends reads anew
		}
		last = s.add(t, 3)
		deadline := time.After(patience)
		for {
			info, err := b.store.Session(t.Context(), s.ref)
			if err != nil && !errors.Is(err, events.ErrNoSession) {
				t.Fatal(err)
			}
			// What panicked is said a moment after it is done.
			said := strings.Contains(log.String(), trap.at) && strings.Contains(log.String(), "level=ERROR msg=panic")
			if info.Head.Seq >= last && p.sprung(trap.at) && said == (trap.n > 0) {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("a panic at %q: recorded up to %d of %d, it has panicked: %v; the log:\n%s", trap.at, info.Head.Seq, last, p.sprung(trap.at), log)
			}
		}
	}
	s.checkStore(t, b.store, last)
}
