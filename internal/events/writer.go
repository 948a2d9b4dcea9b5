package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Errors of a [Writer].
var (
	// ErrLost: another worker has claimed the session. Nothing more may be done for it.
	ErrLost = errors.New("the session belongs to another worker")
	// ErrHandedOver: the session was left in the middle of its work, on purpose.
	ErrHandedOver = errors.New("the session was handed over")
	// ErrPanicked: the code that drove the session panicked.
	ErrPanicked = errors.New("panic")
	// ErrClosed: the writer was closed.
	ErrClosed = errors.New("the writer is closed")
	// ErrTooLarge: an event does not fit a frame; its payload must be split.
	ErrTooLarge = errors.New("event does not fit a frame")
)

const (
	// maxPending is how many bytes may wait behind the frame in flight before Add
	// blocks: back-pressure on the model's stream.
	maxPending = 2 << 20
	// maxFrameEvents bounds the events of a frame, so that one frame is never a
	// long pause for its readers.
	maxFrameEvents = 1024
	// eventOverhead is more than the members of an event take in a frame beside its
	// strings and payload.
	eventOverhead = 48
	// attemptTimeout is how long one publish may take before its outcome counts as
	// unknown and is looked up.
	attemptTimeout = 2 * time.Second
	minBackoff     = 5 * time.Millisecond
	maxBackoff     = time.Second
)

// Writer appends events to one session as its only owner: one frame in flight,
// every frame a compare-and-set on the one before. What is added while a frame
// is in flight rides in the next one.
//
// It never gives up on an unknown outcome: it asks the bus what is stored and
// sends the very same bytes again if they are not. It ends in one of two ways:
// Close, or ErrLost when somebody else has written to the session.
type Writer struct {
	bus   Bus
	store HeadReader
	ref   holdfast.SessionRef
	epoch uint64
	// worker is who claims; unique per process, never used again after a restart.
	worker string
	now    func() time.Time

	// sole says that nobody else can know the session's id.
	sole bool

	cancel context.CancelFunc
	done   chan struct{} // closed when the publishing goroutine has ended

	mu      sync.Mutex // guards what follows
	changed *sync.Cond // anything below changed
	groups  []group    // waiting, oldest first
	bytes   int        // of groups
	next    uint64     // seq of the next event to be added
	stored  uint64     // seq of the last stored event
	at      place      // of the last stored frame
	err     error      // why the writer ended
	closing bool
	lost    chan struct{} // closed when err becomes ErrLost
}

type group struct {
	events []Envelope
	bytes  int
}

// place is where a frame goes: after the position that the bus expects, naming
// the frame before it in the log.
type place struct {
	pos  uint64
	prev uint64 // pos, or 0 if the frame at pos is not known to be in the log
}

// Create writes the first frame of a session and returns its envelope. It returns
// ErrConflict if the session exists already.
func Create(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent) (Envelope, error) {
	return create(ctx, bus, store, ref, ev, 0, false)
}

// CreateNew is [Create] for an id that the caller has just made with
// [holdfast.NewID] and told nobody: whatever the store may come to have of it is
// this very frame, so that it is not asked to confirm.
func CreateNew(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent) (Envelope, error) {
	return create(ctx, bus, store, ref, ev, 0, true)
}

// ErrNoEvent: the log does not reach to that sequence number.
var ErrNoEvent = errors.New("no such event in the log")

// Fork writes the first frame of a session that continues another one of its
// tenant after the event seq: by reference, nothing is copied. It fills in
// ev's ForkOf and ForkSeq. It returns ErrConflict if the new session exists
// already, ErrNoSession and ErrNoEvent if there is nothing to continue.
func Fork(ctx context.Context, r *Reader, parent holdfast.SessionRef, seq uint64, id string, ev *holdfast.SessionCreatedEvent) error {
	if seq == 0 {
		return fmt.Errorf("fork %s: %w: 0", parent, ErrNoEvent)
	}
	var at Envelope
	_, err := r.Read(ctx, parent, seq-1, func(e Envelope) error {
		at = e
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("fork %s: %w", parent, err)
	}
	if at.Seq != seq {
		return fmt.Errorf("fork %s: %w: %d", parent, ErrNoEvent, seq)
	}
	ev.ForkOf, ev.ForkSeq = parent.Session, seq
	ref := holdfast.SessionRef{Tenant: parent.Tenant, Session: id}
	_, err = create(ctx, r.Bus, r.Store, ref, ev, at.Epoch, false)
	return err
}

// create writes the first frame in an epoch that is not below what the session
// inherits.
func create(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent, epoch uint64, sole bool) (Envelope, error) {
	payload, err := holdfast.MarshalPayload(ev)
	if err != nil {
		return Envelope{}, err
	}
	// The time as it is stored: who is given the envelope sees what readers see.
	now := time.Now().UTC().Truncate(time.Microsecond)
	env := Envelope{Seq: ev.ForkSeq + 1, Epoch: epoch, Time: now, Type: ev.EventType(), V: 1, Payload: payload}
	// What the bus has refuses the frame. What only the store has would do so
	// afterwards; to ask before leaves no void frame, and none of unknown fate while
	// the store is away.
	_, err = store.Session(ctx, ref)
	if err == nil {
		return Envelope{}, ErrConflict
	}
	if !errors.Is(err, ErrNoSession) {
		return Envelope{}, fmt.Errorf("look for %s: %w", ref, err)
	}
	w := &Writer{bus: bus, store: store, ref: ref, epoch: epoch, sole: sole}
	_, err = w.publish(ctx, place{}, []Envelope{env})
	if errors.Is(err, ErrLost) {
		err = ErrConflict
	}
	return env, err
}

// Claim takes the session over: it appends session_claimed in a new epoch after
// tail and returns the writer of that epoch and the claim's envelope. It returns
// ErrConflict if somebody else wrote meanwhile: read the tail again and decide
// anew. The writer lives until Close or ErrLost; ctx is only for the claim.
func Claim(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, tail Tail, worker, reason string) (*Writer, Envelope, error) {
	payload, err := holdfast.MarshalPayload(&holdfast.SessionClaimedEvent{Worker: worker, Reason: reason})
	if err != nil {
		return nil, Envelope{}, err
	}
	w := &Writer{
		bus: bus, store: store, ref: ref, epoch: tail.Epoch + 1, worker: worker, now: time.Now,
		done: make(chan struct{}), lost: make(chan struct{}),
		next: tail.Seq + 2, stored: tail.Seq + 1,
	}
	w.changed = sync.NewCond(&w.mu)
	env := Envelope{Seq: tail.Seq + 1, Epoch: w.epoch, Time: w.now(), Type: holdfast.TypeSessionClaimed, V: 1, Payload: payload}
	at, err := w.publish(ctx, place{tail.Pos, tail.Prev}, []Envelope{env})
	if errors.Is(err, ErrLost) {
		return nil, Envelope{}, ErrConflict
	}
	if err != nil {
		return nil, Envelope{}, fmt.Errorf("claim %s: %w", ref, err)
	}
	w.at = at
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	go w.run(runCtx)
	return w, env, nil
}

// Ref returns the session.
func (w *Writer) Ref() holdfast.SessionRef { return w.ref }

// Epoch returns the epoch that this writer writes.
func (w *Writer) Epoch() uint64 { return w.epoch }

// Lost is closed when another worker has taken the session.
func (w *Writer) Lost() <-chan struct{} { return w.lost }

// Err returns why the writer ended, nil while it works.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Stored returns the seq of the last event that is durable.
func (w *Writer) Stored() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stored
}

// Add queues events of one run as a group that is stored in one frame, all or
// nothing, and returns their envelopes. It does not wait until they are stored,
// except that it blocks while too much waits.
func (w *Writer) Add(ctx context.Context, run string, evs ...holdfast.Event) ([]Envelope, error) {
	if len(evs) == 0 {
		return nil, nil
	}
	g := group{events: make([]Envelope, len(evs))}
	now := w.now()
	for i, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			return nil, err
		}
		if len(payload) > MaxPayload {
			return nil, fmt.Errorf("%w: %s with %d bytes", ErrTooLarge, ev.EventType(), len(payload))
		}
		g.events[i] = Envelope{Epoch: w.epoch, Time: now, Run: run, Type: ev.EventType(), V: 1, Agent: ev.GetAgentName(), Payload: payload}
		g.bytes += len(payload) + eventOverhead + len(run) + len(g.events[i].Type) + len(g.events[i].Agent)
	}
	if g.bytes > MaxFrame {
		return nil, fmt.Errorf("%w: a group of %d bytes", ErrTooLarge, g.bytes)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes > maxPending && w.err == nil {
		stop := context.AfterFunc(ctx, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changed.Broadcast()
		})
		for w.bytes > maxPending && w.err == nil && ctx.Err() == nil {
			w.changed.Wait()
		}
		stop()
	}
	switch {
	case w.err != nil:
		return nil, w.err
	case w.closing:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	for i := range g.events {
		g.events[i].Seq = w.next
		w.next++
	}
	w.groups = append(w.groups, g)
	w.bytes += g.bytes
	w.changed.Broadcast()
	return g.events, nil
}

// Flush waits until everything that was added before is stored.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := w.next - 1
	if w.stored >= want {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	defer stop()
	for w.stored < want && w.err == nil && ctx.Err() == nil {
		w.changed.Wait()
	}
	switch {
	case w.stored >= want:
		return nil
	case w.err != nil:
		return w.err
	}
	return context.Cause(ctx)
}

// Close stores what was added, until ctx ends, and stops the writer. It returns
// an error if something could not be stored.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closing = true
	w.changed.Broadcast()
	w.mu.Unlock()
	err := w.Flush(ctx)
	w.cancel()
	<-w.done
	return err
}

// run publishes until the writer is closed or the session is lost.
func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	defer w.cancel()
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	defer stop()
	for {
		w.mu.Lock()
		for len(w.groups) == 0 && ctx.Err() == nil && !w.closing {
			w.changed.Wait()
		}
		if ctx.Err() != nil || len(w.groups) == 0 {
			if w.err == nil {
				w.err = ErrClosed
			}
			w.changed.Broadcast()
			w.mu.Unlock()
			return
		}
		evs, n, size := w.take()
		at := w.at
		w.mu.Unlock()

		at, err := w.publish(ctx, at, evs)

		w.mu.Lock()
		if err != nil {
			if errors.Is(err, ErrLost) {
				close(w.lost)
			} else {
				err = ErrClosed
			}
			w.err = err
			w.changed.Broadcast()
			w.mu.Unlock()
			return
		}
		w.groups = w.groups[n:]
		if len(w.groups) == 0 {
			w.groups = nil
		}
		w.bytes -= size
		w.at, w.stored = at, evs[len(evs)-1].Seq
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

// take returns the events of the next frame, how many groups they are and what
// those count. The caller holds mu; the groups stay queued until stored.
func (w *Writer) take() (evs []Envelope, n, size int) {
	for _, g := range w.groups {
		if n > 0 && (size+g.bytes > MaxFrame || len(evs)+len(g.events) > maxFrameEvents) {
			break
		}
		if n == 0 {
			evs = g.events[:len(g.events):len(g.events)]
		} else {
			evs = append(evs, g.events...)
		}
		n++
		size += g.bytes
	}
	return evs, n, size
}

// publish stores one frame at a place and returns that of the next one. It
// returns ErrLost if another frame is there instead, and ctx's error if ctx ends
// before the outcome is known.
func (w *Writer) publish(ctx context.Context, at place, evs []Envelope) (place, error) {
	frame := AppendFrame(nil, at.prev, evs)
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		pos, err := w.bus.Append(attempt, w.ref, at.pos, frame)
		cancel()
		switch {
		case err == nil && at.pos == 0 && !w.sole:
			return place{pos, pos}, w.confirm(ctx, evs)
		case err == nil:
			return place{pos, pos}, nil
		case errors.Is(err, ErrBusClosed):
			return place{}, err
		case !errors.Is(err, ErrBusy):
			// Refused, or the outcome is unknown: look at what is stored.
			next, stored, err := w.resolve(ctx, at, evs)
			switch {
			case errors.Is(err, ErrLost):
				return place{}, err
			case err == nil && stored:
				return next, nil
			case err == nil && next != at:
				at, frame = next, AppendFrame(nil, next.prev, evs)
			}
		}
		if err := rest(ctx, backoff); err != nil {
			return place{}, err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// confirm asks whether a frame that was stored where the bus had none of the
// session is in the log: see [ReadEnd]. ErrLost says that it came too late.
func (w *Writer) confirm(ctx context.Context, evs []Envelope) error {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		info, err := w.store.Session(attempt, w.ref)
		cancel()
		switch {
		case errors.Is(err, ErrNoSession), err == nil && info.Head.Seq < evs[0].Seq:
			return nil
		case err == nil && w.ours(evs, &info):
			return nil
		case err == nil:
			return ErrLost
		}
		if err := rest(ctx, backoff); err != nil {
			return err
		}
	}
}

// resolve finds out whether a frame that was sent to a place was stored, by what
// is stored now. If so it returns the place of the next frame, else the place
// where it is to be sent again. Any error but ErrLost means that it is still not
// known.
func (w *Writer) resolve(ctx context.Context, at place, evs []Envelope) (next place, stored bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	st, err := w.bus.Last(ctx, w.ref)
	switch {
	case errors.Is(err, ErrNoFrame):
		st = Stored{}
	case err != nil:
		return place{}, false, err
	case st.Pos == at.pos:
		return at, false, nil
	}
	end, err := endAt(ctx, w.store, w.ref, st)
	if err != nil {
		return place{}, false, err
	}
	first := &evs[0]
	next = place{end.Pos, end.Prev}
	switch {
	case end.Frame != nil && bytes.Equal(st.Data, AppendFrame(nil, end.Frame.Prev, evs)):
		return next, true, nil
	case end.precedes(first):
		// The end is where it was: what has changed is that its frame left the bus, or
		// that a void one came.
		return next, false, nil
	case end.Frame == nil && w.ours(evs, end.Info):
		return next, true, nil
	case end.Pos == 0 && end.Seq < first.Seq-1:
		return place{}, false, fmt.Errorf("the store is behind: seq %d, want %d", end.Seq, first.Seq-1)
	}
	return place{}, false, ErrLost
}

// precedes reports whether the end is where it was when a writer made the event
// for the place behind it.
func (t *Tail) precedes(e *Envelope) bool {
	switch e.Type {
	case holdfast.TypeSessionCreated:
		return t.Seq == 0
	case holdfast.TypeSessionClaimed:
		return t.Seq == e.Seq-1
	}
	return t.Seq == e.Seq-1 && t.Epoch == e.Epoch
}

// ours reports whether the store has the frame that this writer sent. Once
// claimed, an epoch has one writer; two claims of the same epoch are told apart
// by the worker, two creations by their time.
func (w *Writer) ours(evs []Envelope, info *SessionInfo) bool {
	first, last := &evs[0], &evs[len(evs)-1]
	if first.Type == holdfast.TypeSessionCreated {
		return info.begunBy(first)
	}
	if info.Head != (Head{Seq: last.Seq, Epoch: last.Epoch}) {
		return false
	}
	return first.Type != holdfast.TypeSessionClaimed || info.Worker == w.worker
}
