package recorder

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// entry is a frame on its way to the store; err says why it cannot be decoded.
type entry struct {
	Frame
	frame events.Frame
	err   error
}

// queue is between who reads the stream and who records it. It is bounded by
// events and bytes, so that a store that is away costs a fixed amount of memory.
type queue struct {
	maxEvents, maxBytes int

	added chan struct{} // something was put
	taken chan struct{} // something was taken

	mu      sync.Mutex // guards what follows
	entries []entry
	events  int
	bytes   int
	since   time.Time // when the oldest entry was put
}

func newQueue(maxEvents, maxBytes int) *queue {
	return &queue{maxEvents: maxEvents, maxBytes: maxBytes, added: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put waits until there is room.
func (q *queue) put(ctx context.Context, e entry) error {
	for {
		q.mu.Lock()
		if len(q.entries) == 0 || q.events < q.maxEvents && q.bytes < q.maxBytes {
			if len(q.entries) == 0 {
				q.since = time.Now()
			}
			q.entries = append(q.entries, e)
			q.events += len(e.frame.Events)
			q.bytes += len(e.Data)
			q.mu.Unlock()
			signal(q.added)
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.taken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take waits until enough events are there, or the oldest has waited long
// enough, and returns at most that many, but at least one frame.
func (q *queue) take(ctx context.Context, enough int, wait time.Duration) ([]entry, error) {
	for {
		q.mu.Lock()
		n, left := len(q.entries), wait-time.Since(q.since)
		full := q.events >= enough || q.bytes >= q.maxBytes/2
		if n > 0 && (full || left <= 0) {
			taken := q.cut(enough)
			q.mu.Unlock()
			signal(q.taken)
			return taken, nil
		}
		q.mu.Unlock()
		if n == 0 {
			select {
			case <-q.added:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-q.added:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// cut removes entries from the front. The caller holds mu.
func (q *queue) cut(enough int) []entry {
	n, count, bytes := 0, 0, 0
	for n < len(q.entries) && (n == 0 || count+len(q.entries[n].frame.Events) <= enough && bytes < q.maxBytes/2) {
		count += len(q.entries[n].frame.Events)
		bytes += len(q.entries[n].Data)
		n++
	}
	taken := q.entries[:n:n]
	q.entries = q.entries[n:]
	if len(q.entries) == 0 {
		q.entries = nil
	}
	q.events -= count
	q.bytes -= bytes
	q.since = time.Now()
	return taken
}

// oldest returns when the bus stored the oldest frame that waits.
func (q *queue) oldest() (time.Time, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.entries) == 0 {
		return time.Time{}, false
	}
	return q.entries[0].Time, true
}
