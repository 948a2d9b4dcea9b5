package worker

import (
	"context"
	"errors"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Errors of a [Bus] and a [Registry].
var (
	// ErrNoCommand: nothing was there to deliver for a while. Ask again.
	ErrNoCommand = errors.New("no command")
	// ErrNobody: nobody listens; the worker that did is gone or never was.
	ErrNobody = errors.New("nobody listens")
)

// Bus is what a worker asks of the bus beside the log itself.
type Bus interface {
	events.Bus
	// NextCommand waits for a command to be delivered to this worker. It asks for
	// one at a time with a short expiry, so that a frozen worker swallows at most
	// one, and for a short time only. ErrNoCommand says that none came.
	NextCommand(ctx context.Context) (Delivery, error)
	// Commands returns the session's commands that nobody acknowledged yet, with
	// positions after the given one, oldest first.
	Commands(ctx context.Context, s holdfast.SessionRef, after uint64) ([]Queued, error)
	// Own makes this process the one that AskOwner reaches for the session. fn runs
	// in a goroutine of its own per request; what it returns is the answer.
	Own(s holdfast.SessionRef, fn func(ctx context.Context, c events.Command) (accepted bool)) (stop func(), err error)
	// AskOwner hands a command to the session's owner and waits until the owner has
	// stored its acceptance (true) or is leaving the session (false). ErrNobody says
	// that the session has no owner; a time-out that the owner does not react.
	AskOwner(ctx context.Context, c events.Command) (accepted bool, err error)
	// Answer tells whoever waits for the command what became of it. It is best
	// effort: who hears nothing asks again with the same id.
	Answer(c events.Command, a events.Answer) error
}

// Queued is a command with its position in the stream of commands.
type Queued struct {
	Pos     uint64
	Command events.Command
}

// Delivery is a command that was delivered to this worker. It comes again, to
// some worker, unless it is acknowledged.
type Delivery struct {
	Queued
	// Ack says that the command's acceptance or refusal is stored.
	Ack func(ctx context.Context) error
	// Hold keeps the command with this worker until release, while the process
	// runs; else it comes again soon.
	Hold func() (release func())
	// Retry gives the command back, to be delivered again after the delay.
	Retry func(delay time.Duration) error
}

// Registry knows which workers live and what they own. What it says may be
// late or wrong: the chain of compare-and-sets decides, not the registry.
type Registry interface {
	// Announce makes the worker answer pings and keeps its key alive (time to live
	// two seconds) until stop.
	Announce(ctx context.Context, worker string) (stop func(), err error)
	// Beats calls fn with the name of each worker that renews its key from now on,
	// which every worker does at least twice a second. fn must not block. A renewal
	// may go unseen.
	Beats(fn func(worker string)) (stop func(), err error)
	// Workers returns the workers that have a mark or a live key.
	Workers(ctx context.Context) (live, marked []string, err error)
	// Ping returns nil if the worker answers within the context's time, ErrNobody
	// if no such process is connected.
	Ping(ctx context.Context, worker string) error
	// Mark notes durably that the worker owns the session; Unmark removes the note.
	Mark(ctx context.Context, worker string, s holdfast.SessionRef) error
	Unmark(ctx context.Context, worker string, s holdfast.SessionRef) error
	// Marked lists the notes of a worker, as of at.
	Marked(ctx context.Context, worker string) (refs []holdfast.SessionRef, at uint64, err error)
	// UnmarkAt removes a note unless it was made, or made again, after at.
	UnmarkAt(ctx context.Context, worker string, s holdfast.SessionRef, at uint64) error
}
