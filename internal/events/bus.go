package events

import (
	"context"
	"errors"

	holdfast "github.com/holdfast-run/holdfast"
)

// Errors of a [Bus]. Any other error of Append or Send is an unknown outcome:
// the frame may or may not be stored.
var (
	// ErrConflict: the frame was refused because the session's last frame is not
	// at the expected position. It was not stored by this attempt.
	ErrConflict = errors.New("another frame came first")
	// ErrBusy: the bus could not take the frame now and did not store it; the same
	// call may succeed in a moment.
	ErrBusy = errors.New("the bus is busy")
	// ErrBusClosed: the connection was closed for good; nothing will be stored any more.
	ErrBusClosed = errors.New("the bus is closed")
	// ErrNoFrame: there is no such frame on the bus. It never was, or it is older
	// than what the bus keeps; the store knows.
	ErrNoFrame = errors.New("no such frame on the bus")
)

// Stored is a frame as the bus has it.
type Stored struct {
	// Pos is the frame's position on the bus. Positions of one session rise.
	Pos  uint64
	Data []byte
}

// Bus carries frames and commands. It promises:
//
//   - a frame is durable when Append has returned without error, to the degree
//     that docs/operations.md states for the configured replicas;
//   - Append is a compare-and-set: it stores the frame only if the session's
//     last frame on the bus is at position prev (0: none);
//   - Last and At read from where writes are decided, never from a lagging copy;
//   - Follow sees only stored frames, in order, perhaps with gaps: whoever needs
//     every frame notices a gap by Seq and reads what is missing with a [Reader];
//   - a command is durable when Send has returned without error.
//
// All methods are safe for concurrent use. The suite in eventstest checks them.
type Bus interface {
	Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (pos uint64, err error)
	// Last returns the session's newest frame, or ErrNoFrame.
	Last(ctx context.Context, s holdfast.SessionRef) (Stored, error)
	// At returns the frame at a position that the session's chain named, or ErrNoFrame.
	At(ctx context.Context, s holdfast.SessionRef, pos uint64) (Stored, error)
	// Follow calls fn for every frame that is stored from now on, from one
	// goroutine; fn must not block. It returns when the subscription is active.
	Follow(ctx context.Context, s holdfast.SessionRef, fn func(Stored)) (stop func(), err error)
	// Send makes a command durable and wakes a worker.
	Send(ctx context.Context, c Command) error
}
