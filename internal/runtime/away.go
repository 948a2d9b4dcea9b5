package runtime

import (
	"context"
	"errors"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// What an agent needs before it can work (values of its instruction, the key of its
// model, what its toolsets are made with) may be kept where nobody answers at the
// moment: CodeUnavailable. The run then waits, and looks again. Nothing is in the log
// but a warning, so another owner looks for itself.
const (
	// awayPatience is how long a run waits for what is away.
	awayPatience = 5 * time.Minute
	// minAwayPause and maxAwayPause are between two looks: longer with each in a row.
	minAwayPause = 100 * time.Millisecond
	maxAwayPause = 5 * time.Second
	// hookPatience is how long hooks wait for what they need: they are under way, and
	// hold up a worker that is to stop.
	hookPatience = 10 * time.Second
)

// errAway marks what is away while the run is patient.
var errAway = errors.New("not available at the moment")

// absence is what an ownership knows of what is away; only the loop's goroutine.
type absence struct {
	since time.Time // zero: nothing is
	pause time.Duration
}

// isAway reports whether an error says that something is away, for which the run still
// waits.
func (d *drive) isAway(err error) bool {
	return holdfast.CodeOf(err) == holdfast.CodeUnavailable && (d.absent.since.IsZero() || time.Since(d.absent.since) < awayPatience)
}

// isBack forgets what was away.
func (d *drive) isBack() { d.absent = absence{} }

// stayed waits a while for what is away, and tells the user once. It returns early if
// the run is canceled or the worker is to stop; the loop goes on with what is next.
func (d *drive) stayed(ctx context.Context, agentName string, err error) error {
	if d.absent.since.IsZero() {
		d.absent = absence{since: time.Now(), pause: minAwayPause}
		d.e.log.Warn("a run waits for what is away", "session", d.s.Ref.String(), "agent", agentName, "error", err)
		text := holdfast.PublicMessage(err) + "; the run goes on when that is back"
		if werr := d.warn(ctx, agentName, text, holdfast.CodeUnavailable); werr != nil {
			return werr
		}
	}
	d.working(ctx, func(wctx context.Context) {
		pause := time.NewTimer(d.absent.pause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-d.in.Draining():
		case <-wctx.Done():
		}
	})
	d.absent.pause = min(2*d.absent.pause, maxAwayPause)
	return d.stopped(ctx, nil)
}

// patiently calls fn until it says something else than that something is away.
func patiently(ctx context.Context, patience time.Duration, fn func() error) error {
	end := time.Now().Add(patience)
	for pause := minAwayPause; ; pause = min(2*pause, maxAwayPause) {
		err := fn()
		if holdfast.CodeOf(err) != holdfast.CodeUnavailable || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}
