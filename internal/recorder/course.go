package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// errRolledBack: the stream ends before what was recorded of it.
var errRolledBack = errors.New("the stream has lost frames that were recorded")

// course is one uninterrupted course of recording a stream. It belongs to the
// goroutine of run, but for what tend does beside it.
type course struct {
	*Recorder
	*progress
	stream string
	name   string // of the cursor
	log    *slog.Logger
	at     uint64        // the cursor
	took   time.Duration // the last transaction
	// doubtful is the last position that, in a stream that has lost frames, means
	// another frame than it did: what comes up to it is compared with the store.
	doubtful uint64
}

// run records until something forces a new start: ErrCursorMoved says that
// another recorder is at work.
func (c *course) run(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	c.active.Store(true)
	c.log.Info("recording", "cursor", c.at)

	ctx, cancel := context.WithCancelCause(ctx)
	q := newQueue(queueBatches*c.cfg.MaxBatch, queueBytes)
	c.queue.Store(q)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	from := c.at
	wg.Go(func() {
		cancel(events.Guard(c.log, "read the stream", func() error {
			return c.source.Frames(ctx, c.stream, from, func(f Frame) error {
				// The source may call from a goroutine of its own.
				return events.Guard(c.log, "read a frame", func() error { return q.put(ctx, decode(f)) })
			})
		}))
	})
	wg.Go(func() { cancel(events.Guard(c.log, "tend the stream", func() error { return c.tend(ctx) })) })

	for {
		wait := max(c.cfg.MaxWait, min(restShare*c.took, c.cfg.MaxWait+maxRest))
		entries, err := q.take(ctx, c.cfg.MaxBatch, wait)
		if err != nil {
			return err
		}
		if err := c.recordEntries(ctx, entries); err != nil {
			return err
		}
	}
}

func decode(f Frame) entry {
	e := entry{Frame: f}
	if e.err = f.Session.Validate(); e.err == nil {
		e.frame, e.err = events.DecodeFrame(f.Data)
	}
	return e
}

// begin reads where to go on from.
func (c *course) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := c.source.Info(ctx, c.stream)
	if err != nil {
		return err
	}
	if c.name, c.at, c.doubtful, err = c.cursor(ctx, c.stream, &info); err != nil {
		return err
	}
	if c.doubtful > 0 {
		c.log.Error("the stream has lost frames that are recorded; what it has is recorded under another cursor and compared",
			"cursor", c.name, "stream_ends", info.Last, "recorded", c.doubtful)
	}
	if info.First > c.at+1 && info.Last > c.at {
		c.log.Error("frames were removed from the stream before they were recorded", "from", c.at+1, "to", info.First-1)
	}
	c.recorded.Store(c.at)
	c.last.Store(info.Last)
	return nil
}

// recordEntries records frames in one transaction, or in several where one of
// them cannot be recorded like the others.
func (c *course) recordEntries(ctx context.Context, entries []entry) error {
	b := newBatch(c.name, c.at)
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Pos <= b.to:
			return fmt.Errorf("the source gives position %d after %d", e.Pos, b.to)
		case errors.Is(e.err, events.ErrNewer):
			return c.stopBefore(ctx, b, e)
		case e.err != nil:
			if err := c.bury(ctx, e, e.err); err != nil {
				return err
			}
			b.to = e.Pos
			continue
		}
		if e.Pos <= c.doubtful {
			if err := c.compare(ctx, e); err != nil {
				return err
			}
		}
		if err := b.add(e); err != nil {
			// It does not follow the frame before it, which is in the same batch: what
			// the bus has between them must be found first.
			if err := c.record(ctx, b); err != nil {
				return err
			}
			b = newBatch(c.name, c.at)
			if err := b.add(e); err != nil {
				return err
			}
		}
	}
	return c.record(ctx, b)
}

// stopBefore records what comes before a frame of a newer program and then
// gives up, so that a newer recorder can take over.
func (c *course) stopBefore(ctx context.Context, b *batch, e *entry) error {
	if err := c.record(ctx, b); err != nil {
		return err
	}
	c.log.Error("a frame needs a newer version of this program; recording waits for it", "session", e.Session, "position", e.Pos, "error", e.err)
	return fmt.Errorf("record the frame at %d: %w", e.Pos, e.err)
}

// bury keeps a frame aside, until that has succeeded.
func (c *course) bury(ctx context.Context, e *entry, reason error) error {
	c.log.Error("a frame cannot be recorded and is kept aside", "session", e.Session, "position", e.Pos, "error", reason)
	c.countBuried(ctx, c.stream)
	return c.retry(ctx, "keep a frame aside", func(ctx context.Context) error {
		return c.source.Bury(ctx, c.stream, e.Frame, reason)
	})
}

// retry calls fn until it succeeds or ctx ends.
func (c *course) retry(ctx context.Context, what string, fn func(context.Context) error) error {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		err := fn(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.log.Warn("trying again", "what", what, "error", err, "after", backoff)
		sleep(ctx, backoff)
	}
}

// record stores a batch, however long it takes, or returns ErrCursorMoved.
func (c *course) record(ctx context.Context, b *batch) error {
	if b.to == b.from {
		return nil
	}
	started := time.Now()
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, recordTimeout)
		err := c.store.Record(attempt, b.build())
		cancel()
		if errors.Is(err, events.ErrGap) {
			if err := c.mend(ctx, b); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			// Refused, or the outcome is unknown: the cursor tells.
			err = c.settle(ctx, b, err)
		}
		if err == nil {
			break
		}
		if errors.Is(err, events.ErrCursorMoved) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.log.Warn("the store does not take a batch, trying again", "frames_to", b.to, "error", err, "after", backoff)
		sleep(ctx, backoff)
	}
	c.at = b.to
	c.recorded.Store(b.to)
	c.took = time.Since(started)
	c.countBatch(ctx, c.stream, b.events, c.took)
	return nil
}

// settle finds out what became of a batch: nil says that it is stored,
// ErrCursorMoved that another recorder is at work, cause that it is to be tried
// again.
func (c *course) settle(ctx context.Context, b *batch, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	pos, err := c.store.Cursor(ctx, c.name)
	switch {
	case err != nil:
		// Not known. If the batch was stored, the next attempt finds the cursor moved
		// and asks again.
		if errors.Is(cause, events.ErrCursorMoved) {
			return fmt.Errorf("read the cursor: %w", err)
		}
		return cause
	case pos == b.to:
		return nil
	case pos != b.from:
		return fmt.Errorf("%w: it is at %d, not at %d", events.ErrCursorMoved, pos, b.from)
	case errors.Is(cause, events.ErrCursorMoved):
		return errors.New("the store says that the cursor has moved, but it has not")
	}
	return cause
}
