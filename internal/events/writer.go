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

	cancel context.CancelFunc
	done   chan struct{} // closed when the publishing goroutine has ended

	mu      sync.Mutex // guards what follows
	changed *sync.Cond // anything below changed
	groups  []group    // waiting, oldest first
	bytes   int        // of groups
	next    uint64     // seq of the next event to be added
	stored  uint64     // seq of the last stored event
	pos     uint64     // position of the last stored frame
	err     error      // why the writer ended
	closing bool
	lost    chan struct{} // closed when err becomes ErrLost
}

// HeadReader is what a [Writer] asks of the store when the bus does not keep a
// session's frames any more. Every [Store] has it.
type HeadReader interface {
	Session(ctx context.Context, s holdfast.SessionRef) (SessionInfo, error)
}

type group struct {
	events []Envelope
	bytes  int
}

// Tail is the end of a session's log as a claimant read it.
type Tail struct {
	// Pos is the position of the last frame on the bus, 0 if the bus has none.
	Pos   uint64
	Seq   uint64
	Epoch uint64
	// Type is that of the last event if the bus has it, and session_deleted or
	// session_parked if the store says so, else "".
	Type string
}

// ReadTail finds the end of a session's log: the bus's last frame, else what
// the store knows. A session that does not exist has Seq 0.
func ReadTail(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef) (Tail, error) {
	st, err := bus.Last(ctx, ref)
	if err == nil {
		f, err := DecodeFrame(st.Data)
		if err != nil {
			return Tail{}, fmt.Errorf("read the last frame of %s: %w", ref, err)
		}
		return Tail{Pos: st.Pos, Seq: f.Last(), Epoch: f.Epoch(), Type: f.Events[len(f.Events)-1].Type}, nil
	}
	if !errors.Is(err, ErrNoFrame) {
		return Tail{}, fmt.Errorf("read the last frame of %s: %w", ref, err)
	}
	info, err := store.Session(ctx, ref)
	if errors.Is(err, ErrNoSession) {
		return Tail{}, nil
	}
	if err != nil {
		return Tail{}, fmt.Errorf("read the head of %s: %w", ref, err)
	}
	tail := Tail{Seq: info.Head.Seq, Epoch: info.Head.Epoch}
	switch {
	case info.Deleted:
		tail.Type = holdfast.TypeSessionDeleted
	case info.Worker == "" && (info.Status == StatusIdle || info.Status == StatusWaiting):
		tail.Type = holdfast.TypeSessionParked
	}
	return tail, nil
}

// Create writes the first frame of a session. It returns ErrConflict if the
// session exists already.
func Create(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent) error {
	return create(ctx, bus, store, ref, ev, 0)
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
	return create(ctx, r.Bus, r.Store, ref, ev, at.Epoch)
}

// create writes the first frame in an epoch that is not below what the session
// inherits.
func create(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent, epoch uint64) error {
	payload, err := holdfast.MarshalPayload(ev)
	if err != nil {
		return err
	}
	env := Envelope{Seq: ev.ForkSeq + 1, Epoch: epoch, Time: time.Now(), Type: ev.EventType(), V: 1, Payload: payload}
	tail, err := ReadTail(ctx, bus, store, ref)
	if err != nil {
		return err
	}
	if tail.Seq != 0 {
		return ErrConflict
	}
	w := &Writer{bus: bus, store: store, ref: ref}
	_, err = w.publish(ctx, 0, []Envelope{env})
	if errors.Is(err, ErrLost) {
		return ErrConflict
	}
	return err
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
	pos, err := w.publish(ctx, tail.Pos, []Envelope{env})
	if errors.Is(err, ErrLost) {
		return nil, Envelope{}, ErrConflict
	}
	if err != nil {
		return nil, Envelope{}, fmt.Errorf("claim %s: %w", ref, err)
	}
	w.pos = pos
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
		pos := w.pos
		w.mu.Unlock()

		newPos, err := w.publish(ctx, pos, evs)

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
		w.pos, w.stored = newPos, evs[len(evs)-1].Seq
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

// publish stores one frame after the frame at prev and returns its position (0
// if the bus does not keep it any more). It returns ErrLost if another frame is
// there instead, and ctx's error if ctx ends before the outcome is known.
func (w *Writer) publish(ctx context.Context, prev uint64, evs []Envelope) (uint64, error) {
	expect := prev
	frame := AppendFrame(nil, prev, evs)
	backoff := 5 * time.Millisecond
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		pos, err := w.bus.Append(attempt, w.ref, expect, frame)
		cancel()
		if err == nil {
			return pos, nil
		}
		if errors.Is(err, ErrBusClosed) {
			return 0, err
		}
		if !errors.Is(err, ErrBusy) {
			// Refused, or the outcome is unknown: look at what is stored.
			v, err := w.resolve(ctx, prev, evs, frame)
			switch {
			case errors.Is(err, ErrLost):
				return 0, err
			case err == nil && v.stored:
				return v.pos, nil
			case err == nil:
				expect = v.pos
			}
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// verdict is what became of a frame: stored at pos, or not stored and to be
// sent again with pos expected.
type verdict struct {
	stored bool
	pos    uint64
}

// resolve finds out whether a frame was stored, by what is stored now. Any
// error but ErrLost means that it is still not known.
func (w *Writer) resolve(ctx context.Context, prev uint64, evs []Envelope, frame []byte) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	st, err := w.bus.Last(ctx, w.ref)
	switch {
	case err == nil && bytes.Equal(st.Data, frame):
		return verdict{stored: true, pos: st.Pos}, nil
	case err == nil && st.Pos == prev:
		return verdict{pos: prev}, nil
	case err == nil:
		return verdict{}, ErrLost
	case !errors.Is(err, ErrNoFrame):
		return verdict{}, err
	}
	// The bus has none of the session's frames: there never was one, or all are
	// recorded and have aged out. The store tells what came last.
	info, err := w.store.Session(ctx, w.ref)
	if errors.Is(err, ErrNoSession) {
		info, err = SessionInfo{}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	first, last := evs[0], evs[len(evs)-1]
	switch {
	case info.Head.Seq == first.Seq-1, info.Head.Seq == 0 && first.Type == holdfast.TypeSessionCreated:
		return verdict{}, nil
	case info.Head.Seq < first.Seq-1:
		return verdict{}, fmt.Errorf("the store is behind: seq %d, want %d", info.Head.Seq, first.Seq-1)
	case info.Head == Head{Seq: last.Seq, Epoch: last.Epoch} && w.ours(first, info):
		return verdict{stored: true}, nil
	}
	return verdict{}, ErrLost
}

// ours reports whether the event that the store has at first's place is the one
// that this writer sent. Once claimed, an epoch has one writer; two claims of
// the same epoch are told apart by the worker.
func (w *Writer) ours(first Envelope, info SessionInfo) bool {
	if first.Type == holdfast.TypeSessionCreated {
		return false // nobody is the owner yet: another creation looks the same
	}
	return first.Type != holdfast.TypeSessionClaimed || info.Worker == w.worker
}
