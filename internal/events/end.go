package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// HeadReader is what the end of a log asks of the store when the bus does not
// keep a session's frames any more. Every [Store] has it. Session must see every
// transaction that was committed before it was called.
type HeadReader interface {
	Session(ctx context.Context, s holdfast.SessionRef) (SessionInfo, error)
}

// Tail is the end of a session's log, as who wants to write to it needs it.
type Tail struct {
	// Pos is the position of the session's last frame on the bus, 0 if the bus has
	// none. The next frame expects it.
	Pos uint64
	// Prev is Pos if that frame is known to be the end of the log, else 0. The next
	// frame names it as the one before.
	Prev  uint64
	Seq   uint64
	Epoch uint64
	// Type is that of the last event if the bus has it, and session_deleted or
	// session_parked if the store says so, else "".
	Type string
	// Panics says how many owners in a row panicked before they had done anything, as
	// far as the bus still knows.
	Panics int
}

// End is the end of a session's log. A session that does not exist has Seq 0.
type End struct {
	Tail
	// Frame is the last frame of the log, nil if the bus does not have it.
	Frame *Frame
	// Info is what the store knows, the zero value if it does not have the session,
	// nil if it was not asked or did not answer.
	Info *SessionInfo
}

// ReadTail is the [Tail] of [ReadEnd].
func ReadTail(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef) (Tail, error) {
	end, err := ReadEnd(ctx, bus, store, ref)
	return end.Tail, err
}

// ReadEnd finds the end of a session's log.
//
// It is the bus's last frame, but for one case. A frame that names no frame
// before it (a root) was stored when the bus had none of the session, or none
// that its writer took for the end of the log. What the bus has let go of is in
// the store, so the store, asked after the root was read, tells what the root
// is. Does the store end before it, the root is the end. Has the store an event
// in its place, then either this very frame is recorded, or the root is void: its
// writer (or one of its copies in the network) came late, after others had
// written, and nothing of it counts. Both ways the log ends where the store does.
//
// And a bus that was rolled back, to an older copy of its disk, has a last frame
// behind which the store has more: then too the log ends where the store does, and
// the next frame is a root behind the bus's last one. A store that does not answer
// at once is not waited for: nothing but a bus that went back makes a difference.
func ReadEnd(ctx context.Context, bus Bus, store HeadReader, ref holdfast.SessionRef) (End, error) {
	st, err := bus.Last(ctx, ref)
	if err != nil && !errors.Is(err, ErrNoFrame) {
		return End{}, fmt.Errorf("read the last frame of %s: %w", ref, err)
	}
	return endAt(ctx, store, ref, st)
}

// endAt is the end of the log of a session whose last frame on the bus is st,
// the zero value for none.
func endAt(ctx context.Context, store HeadReader, ref holdfast.SessionRef, st Stored) (End, error) {
	var frame *Frame
	if st.Pos != 0 {
		f, err := DecodeFrame(st.Data)
		if err != nil {
			return End{}, fmt.Errorf("read the last frame of %s: %w", ref, err)
		}
		frame = &f
		if f.Prev != 0 {
			end := End{Tail: frameTail(st.Pos, frame), Frame: frame}
			if info, ok := glance(ctx, store, ref); ok {
				if end.Info = &info; info.Head.Seq > f.Last() {
					end.Tail, end.Frame = info.tail(st.Pos), nil
				}
			}
			return end, nil
		}
	}
	info, err := store.Session(ctx, ref)
	if err != nil && !errors.Is(err, ErrNoSession) {
		return End{}, fmt.Errorf("read the head of %s: %w", ref, err)
	}
	if frame != nil && (info.Head.Seq < frame.First() || info.endsWith(frame)) {
		return End{Tail: frameTail(st.Pos, frame), Frame: frame, Info: &info}, nil
	}
	return End{Tail: info.tail(st.Pos), Info: &info}, nil
}

// glanceTimeout is how long the store may take to say that it is further than the bus.
const glanceTimeout = 250 * time.Millisecond

// glance asks the store for a session's row, if it answers at once. The row of a
// session that it does not have is the zero value.
func glance(ctx context.Context, store HeadReader, ref holdfast.SessionRef) (SessionInfo, bool) {
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	info, err := store.Session(ctx, ref)
	if errors.Is(err, ErrNoSession) {
		return SessionInfo{}, true
	}
	return info, err == nil
}

// tail is the end of a log that ends where the store does, while the session's
// last frame on the bus is at pos.
func (i *SessionInfo) tail(pos uint64) Tail {
	t := Tail{Pos: pos, Seq: i.Head.Seq, Epoch: i.Head.Epoch}
	switch {
	case i.Deleted:
		t.Type = holdfast.TypeSessionDeleted
	case i.Worker == "" && (i.Status == StatusIdle || i.Status == StatusWaiting):
		t.Type = holdfast.TypeSessionParked
	}
	return t
}

func frameTail(pos uint64, f *Frame) Tail {
	last := &f.Events[len(f.Events)-1]
	t := Tail{Pos: pos, Prev: pos, Seq: f.Last(), Epoch: f.Epoch(), Type: last.Type}
	switch last.Type {
	case holdfast.TypeSessionHandedOver:
		var p holdfast.SessionHandedOverEvent
		if decode(last, &p) == nil { // what cannot be read counts nothing
			t.Panics = p.Panics
		}
	case holdfast.TypeSessionParked:
		var p holdfast.SessionParkedEvent
		if decode(last, &p) == nil && p.Waiting == WaitingError {
			t.Panics = MaxPanics
		}
	}
	return t
}

// MaxPanics is how many owners in a row may panic, without having done anything
// for the session, before it is parked until its next command.
const MaxPanics = 3

// endsWith reports whether the store's last frame is this one.
func (i *SessionInfo) endsWith(f *Frame) bool {
	last := &f.Events[len(f.Events)-1]
	if i.Head != (Head{Seq: last.Seq, Epoch: last.Epoch}) {
		return false
	}
	switch last.Type {
	case holdfast.TypeSessionCreated:
		return i.begunBy(last)
	case holdfast.TypeSessionClaimed:
		// Of an epoch only the claim may have two that want to be it.
		var p holdfast.SessionClaimedEvent
		return decode(last, &p) == nil && i.Worker == p.Worker && sameTime(i.UpdatedAt, last.Time)
	}
	return true
}

// begunBy reports whether the session in the store began with this event.
func (i *SessionInfo) begunBy(e *Envelope) bool {
	return i.Head.Seq >= e.Seq && sameTime(i.CreatedAt, e.Time)
}

func sameTime(a, b time.Time) bool { return a.UnixMicro() == b.UnixMicro() }
