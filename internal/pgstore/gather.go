package pgstore

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// maxGathered is how many keys are looked up at once.
	maxGathered = 256
	// gatherPatience is how long a lookup waits for the round before it. A connection
	// that has died without a word holds up nobody who asks later for longer.
	gatherPatience = 25 * time.Millisecond
	// gatherTimeout is how long a round of many may take: it fetches rows by key. What
	// one connection keeps is asked again over another.
	gatherTimeout = 3 * time.Second
)

// gather answers lookups that are made at the same time in rounds: while one
// round is on its way to the database, those who ask meanwhile are put together
// in the next. One who asks alone does not wait. A busy API so makes a few
// hundred round trips a second instead of thousands, each of which costs both
// sides more than the row that it fetches.
//
// A lookup sees what was committed before it was made, since its round begins
// after it. Whoever waits no longer leaves, and the others of the round do not
// notice; a round that nobody waits for is given up. If a round of many fails because
// its connection was lost, its callers ask once more, together; if for another reason,
// each for himself: the key that broke it fails alone.
type gather[K comparable, V any] struct {
	// many looks keys up and returns those that exist. one looks up one; it returns
	// false if it does not exist.
	many func(ctx context.Context, keys []K) (map[K]V, error)
	one  func(ctx context.Context, key K) (V, bool, error)

	mu     sync.Mutex
	open   *round[K, V] // takes who asks now; nil if nobody waits to be sent
	flying int          // rounds on their way
}

type round[K comparable, V any] struct {
	// keys, waiting and sent are guarded by the gather's lock until the round is sent;
	// from then on keys does not change.
	keys    map[K]struct{}
	waiting int
	sent    bool
	late    *time.Timer

	ctx    context.Context
	cancel context.CancelFunc

	done  chan struct{} // closed when found and err are there
	found map[K]V
	err   error
}

// get looks a key up.
func (g *gather[K, V]) get(ctx context.Context, key K) (v V, found bool, err error) {
	if ctx.Err() != nil {
		return v, false, context.Cause(ctx)
	}
	r := g.join(key)
	for again := false; ; again = true {
		select {
		case <-r.done:
		case <-ctx.Done():
			g.leave(r)
			return v, false, context.Cause(ctx)
		}
		if again || r.err == nil || len(r.keys) == 1 || holdfast.CodeOf(r.err) != holdfast.CodeUnavailable {
			break
		}
		r = g.join(key)
	}
	if r.err != nil && len(r.keys) > 1 && holdfast.CodeOf(r.err) == holdfast.CodeInternal {
		return g.one(ctx, key)
	}
	v, found = r.found[key]
	return v, found, r.err
}

// join puts a key into the round that is next, and sends that if none is on its way.
func (g *gather[K, V]) join(key K) *round[K, V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.open
	if r == nil {
		r = &round[K, V]{keys: map[K]struct{}{}, done: make(chan struct{})}
		r.ctx, r.cancel = context.WithCancel(context.Background())
		g.open = r
	}
	r.keys[key] = struct{}{}
	r.waiting++
	switch {
	case g.flying == 0 || len(r.keys) >= maxGathered:
		g.send(r)
	case r.late == nil:
		r.late = time.AfterFunc(gatherPatience, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if !r.sent && r.waiting > 0 {
				g.send(r)
			}
		})
	}
	return r
}

// leave takes one who waits no longer out of a round.
func (g *gather[K, V]) leave(r *round[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.waiting--; r.waiting > 0 {
		return
	}
	r.cancel()
	if g.open == r {
		g.open = nil
		if r.late != nil {
			r.late.Stop()
		}
	}
}

// send starts a round, which is the open one. The caller holds mu.
func (g *gather[K, V]) send(r *round[K, V]) {
	g.open = nil
	g.flying++
	r.sent = true
	if r.late != nil {
		r.late.Stop()
	}
	keys := make([]K, 0, len(r.keys))
	for k := range r.keys {
		keys = append(keys, k)
	}
	// It ends with its statement, whose time is bounded, or when nobody waits for it.
	go func() {
		defer r.cancel()
		r.fetch(g, keys)
		close(r.done)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.flying--
		if g.open != nil && g.flying == 0 {
			g.send(g.open)
		}
	}()
}

func (r *round[K, V]) fetch(g *gather[K, V], keys []K) {
	defer func() {
		// The server of requests would have caught it in each of those who wait.
		if v := recover(); v != nil {
			r.err = fmt.Errorf("a lookup panicked: %v\n%s", v, debug.Stack())
		}
	}()
	if len(keys) > 1 {
		ctx, cancel := context.WithTimeoutCause(r.ctx, gatherTimeout, errNoAnswer)
		defer cancel()
		r.found, r.err = g.many(ctx, keys)
		return
	}
	v, found, err := g.one(r.ctx, keys[0])
	if r.err = err; found {
		r.found = map[K]V{keys[0]: v}
	}
}
