package schedule

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	// away is the pause after a failure, least the shortest one at all.
	away  = 500 * time.Millisecond
	least = 5 * time.Millisecond
)

// rounds is what looks, again and again, for what is due.
type rounds struct {
	what string        // what fires, for the log
	look time.Duration // the longest pause between two rounds that work
	now  func() time.Time
	log  *slog.Logger
	// fire fires what is due and returns when something is next, zero if nothing is
	// set.
	fire func(ctx context.Context) (next time.Time, err error)
}

// run makes rounds until ctx ends. One that fails, or panics, is followed by another
// after a pause; the log says so once, until one works again.
func (r rounds) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	var rest backoff
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		var next time.Time
		returned := false // else it panicked as a whole, not for one row
		err := events.Guard(r.log, "fire "+r.what, func() (err error) { next, err = r.fire(ctx); returned = true; return err })
		wait := r.look
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				r.log.Warn(r.what+" cannot be fired, trying again", "error", err)
			}
			failing, wait = true, max(rest.after(returned), wait)
		case err == nil:
			failing, rest = false, 0
			if !next.IsZero() {
				wait = max(least, min(wait, next.Sub(r.now())))
			}
		}
		timer.Reset(wait)
	}
}
