package recorder

import (
	"context"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Frame is a frame of a stream, not yet decoded.
type Frame struct {
	// Pos rises from frame to frame of a stream.
	Pos     uint64
	Session holdfast.SessionRef
	// Time is when the bus stored it, by the bus's clock.
	Time time.Time
	Data []byte
}

// StreamInfo is what a stream holds at the moment.
type StreamInfo struct {
	// First and Last are positions; Last is 0 for a stream that never had a frame,
	// and stays when frames are removed.
	First, Last uint64
	LastTime    time.Time
	// Bytes of MaxBytes are taken; MaxBytes 0 is no limit.
	Bytes, MaxBytes uint64
}

// Source is where frames come from. All methods are safe for concurrent use.
type Source interface {
	// Streams returns the names of the streams; they are the names of the store's
	// cursors too.
	Streams() []string
	// Frames calls fn, one call after the other, for every frame of the stream with a
	// position after the given one, in order, and goes on with new ones until ctx
	// ends or fn fails; it returns that error. What is removed meanwhile is left
	// out; nothing else is. When it returns, fn does not run any more.
	Frames(ctx context.Context, stream string, after uint64, fn func(Frame) error) error
	Info(ctx context.Context, stream string) (StreamInfo, error)
	// PosBefore returns the position of the last frame that was stored before t, 0
	// if the stream has none.
	PosBefore(ctx context.Context, stream string, t time.Time) (uint64, error)
	// Trim removes the frames up to a position, that one included. If the stream
	// ends before it, its next frame gets a later position all the same.
	Trim(ctx context.Context, stream string, upto uint64) error
	// At returns the session's frame at a position, events.ErrNoFrame if there is none.
	At(ctx context.Context, s holdfast.SessionRef, pos uint64) (events.Stored, error)
	// Bury keeps a frame durably aside that can never be recorded.
	Bury(ctx context.Context, stream string, f Frame, reason error) error
}
