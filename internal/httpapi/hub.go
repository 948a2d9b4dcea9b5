package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// hub has one feed for every session that somebody reads through this process,
// however many read it.
type hub struct {
	bus    events.Bus
	reader *events.Reader
	logger *slog.Logger
	linger time.Duration
	look   time.Duration
	buffer int

	// ctx ends when the hub closes; the streams end with it.
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex // guards feeds, and readers and idle of each
	feeds map[holdfast.SessionRef]*feed
}

func newHub(bus events.Bus, reader *events.Reader, logger *slog.Logger, linger, look time.Duration, buffer int) *hub {
	ctx, cancel := context.WithCancel(context.Background())
	return &hub{
		bus: bus, reader: reader, logger: logger, linger: linger, look: look, buffer: buffer,
		ctx: ctx, stop: cancel, feeds: map[holdfast.SessionRef]*feed{},
	}
}

// close ends all feeds and waits for them.
func (h *hub) close() {
	h.stop()
	h.mu.Lock()
	for _, f := range h.feeds {
		if f.idle != nil {
			f.idle.Stop()
		}
	}
	h.mu.Unlock()
	h.wg.Wait()
}

var errClosing = holdfast.Errorf(holdfast.CodeUnavailable, "this process is about to stop; try again")

// open returns the session's feed, ready to be read. Whoever gets it must call
// release. CodeNotFound says that there is no such session.
func (h *hub) open(ctx context.Context, ref holdfast.SessionRef) (f *feed, release func(), err error) {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return nil, nil, errClosing
	}
	f = h.feeds[ref]
	if f == nil {
		f = &feed{hub: h, ref: ref, ready: make(chan struct{}), kick: make(chan struct{}, 1), wake: make(chan struct{})}
		h.feeds[ref] = f
		fctx, cancel := context.WithCancel(h.ctx)
		f.cancel = cancel
		begun := f // f is a result: a reader that leaves before the goroutine runs sets it to nil
		h.wg.Go(func() { begun.run(fctx) })
	}
	f.readers++
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	h.mu.Unlock()

	release = sync.OnceFunc(func() { h.release(f) })
	select {
	case <-f.ready:
	case <-ctx.Done():
		release()
		return nil, nil, context.Cause(ctx)
	}
	if f.err != nil {
		release()
		return nil, nil, f.err
	}
	return f, release, nil
}

// release counts a reader out; a feed without readers ends after a while.
func (h *hub) release(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.readers--
	if f.readers > 0 || h.feeds[f.ref] != f {
		return
	}
	f.idle = time.AfterFunc(h.linger, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if f.readers == 0 && h.feeds[f.ref] == f {
			delete(h.feeds, f.ref)
			f.cancel()
		}
	})
}

// forget drops a feed that could not start.
func (h *hub) forget(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds[f.ref] == f {
		delete(h.feeds, f.ref)
	}
	f.cancel()
}

// live returns how many feeds there are.
func (h *hub) live() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.feeds)
}

// sink takes the events of a stream.
type sink interface {
	// event takes the next event; done ends the stream after it.
	event(it *item) (done bool, err error)
	// flush sends what event took to the client.
	flush() error
	// beat tells the client that the stream is alive.
	beat() error
	// pause returns the time of silence after which beat is due.
	pause() time.Duration
}

// errDone ends a reading of the log because the sink has all it wants.
var errDone = errors.New("done")

// sinkError is a failure of the client, not of the log.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// stream gives the sink every event of the session behind after, in order, once
// each, until the sink is done, the client or the hub is gone. It outlives
// outages: what cannot be read now is read when it can be.
func (h *hub) stream(ctx context.Context, ref holdfast.SessionRef, after uint64, out sink) error {
	f, release, err := h.open(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { release() }()
	at := after
	give := func(it *item) error {
		if it.seq <= at {
			return nil
		}
		done, err := out.event(it)
		if err != nil {
			return &sinkError{err}
		}
		at = it.seq
		if done {
			return errDone
		}
		return nil
	}
	timer := time.NewTimer(out.pause())
	defer timer.Stop()
	backoff := 10 * time.Millisecond
	for {
		items, wake, gap, ended := f.after(at)
		var wait <-chan time.Time
		switch {
		case ended:
			if h.ctx.Err() != nil {
				return out.flush()
			}
			release()
			if f, release, err = h.open(ctx, ref); err != nil {
				release = func() {}
				return err
			}
			continue
		case len(items) > 0:
			for i := range items {
				if err := give(&items[i]); err != nil {
					return finished(out, err)
				}
			}
			backoff = 10 * time.Millisecond
			continue
		case gap:
			before := at
			err := h.catchUp(ctx, ref, at, give)
			if err == nil && at > before {
				continue
			}
			var s *sinkError
			if errors.Is(err, errDone) || errors.As(err, &s) || ctx.Err() != nil || errors.Is(err, events.ErrNoSession) {
				return finished(out, err)
			}
			h.logger.LogAttrs(ctx, slog.LevelWarn, "a stream waits for the log", slog.String("session", ref.String()), slog.Uint64("after", at), slog.Any("error", err))
			wait = time.After(backoff)
			backoff = min(2*backoff, time.Second)
		}
		if err := out.flush(); err != nil {
			return err
		}
		if rider, ok := out.(directSink); ok && !gap {
			var rode bool
			if at, rode, err = h.ride(ctx, f, at, rider, timer); err != nil {
				return err
			}
			if rode {
				continue
			}
		}
		timer.Reset(out.pause())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.ctx.Done():
			return nil
		case <-wake:
		case <-wait:
		case <-timer.C:
			if err := out.beat(); err != nil {
				return err
			}
		}
	}
}

// catchUp gives what is stored behind after.
func (h *hub) catchUp(ctx context.Context, ref holdfast.SessionRef, after uint64, give func(*item) error) error {
	_, err := h.reader.Read(ctx, ref, after, func(e events.Envelope) error {
		it, _ := encode([]events.Envelope{e}, ref.Session)
		return give(&it[0])
	})
	return err
}

// finished flushes a stream that its sink has ended.
func finished(out sink, err error) error {
	if errors.Is(err, errDone) {
		return out.flush()
	}
	return err
}
