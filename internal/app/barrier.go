package app

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

// barrierPoll is how often a waiting list looks whether the store has caught up.
const barrierPoll = 4 * time.Millisecond

// barrier waits until the store has recorded what is on the bus.
type barrier struct {
	bus   positions
	store events.Store

	mu   sync.Mutex        // guards seen
	seen map[string]uint64 // how far each stream is known to be recorded
}

// positions says how far the streams reach.
type positions interface {
	Streams() []string
	Info(ctx context.Context, stream string) (recorder.StreamInfo, error)
}

// wait returns when everything that was on the bus at the time of the call is in
// the store, when ctx ends, or when one of the two cannot be asked.
func (b *barrier) wait(ctx context.Context) {
	for _, stream := range b.bus.Streams() {
		info, err := b.bus.Info(ctx, stream)
		if err != nil || !b.waitFor(ctx, stream, info.Last) {
			return
		}
	}
}

func (b *barrier) waitFor(ctx context.Context, stream string, pos uint64) bool {
	for {
		b.mu.Lock()
		done := b.seen[stream] >= pos
		b.mu.Unlock()
		if done {
			return true
		}
		at, err := b.store.Cursor(ctx, stream)
		if err != nil {
			return false
		}
		b.mu.Lock()
		if b.seen == nil {
			b.seen = map[string]uint64{}
		}
		b.seen[stream] = max(b.seen[stream], at)
		done = at >= pos
		b.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(barrierPoll):
		}
	}
}
