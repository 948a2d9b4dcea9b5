package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// DefaultIdleTimeout is Config.IdleTimeout where it is 0.
const DefaultIdleTimeout = 2 * time.Minute

var errIdle = errors.New("nothing arrived from the provider")

// IdleWatch cancels a context when a provider sends nothing for too long. Only
// the time in which somebody waits for the provider counts: a consumer that
// takes its time with a chunk does not cut the stream.
type IdleWatch struct {
	timeout time.Duration
	timer   *time.Timer // nil: never
	cancel  context.CancelCauseFunc
}

// WatchIdle returns a context that ends with ctx, with Stop, or when a wait
// lasts longer than timeout: 0 is DefaultIdleTimeout, negative is never.
func WatchIdle(ctx context.Context, timeout time.Duration) (context.Context, *IdleWatch) {
	if timeout == 0 {
		timeout = DefaultIdleTimeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &IdleWatch{timeout: timeout, cancel: cancel}
	if timeout > 0 {
		w.timer = time.AfterFunc(timeout, func() { cancel(errIdle) })
		w.timer.Stop()
	}
	return ctx, w
}

// Stop ends the watch and its context.
func (w *IdleWatch) Stop() {
	w.Arrived()
	w.cancel(nil)
}

// Wait starts the clock.
func (w *IdleWatch) Wait() {
	if w.timer != nil {
		w.timer.Reset(w.timeout)
	}
}

// Arrived stops the clock.
func (w *IdleWatch) Arrived() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Reader returns r with every Read under the watch.
func (w *IdleWatch) Reader(r io.Reader) io.Reader { return &watchedReader{r, w} }

type watchedReader struct {
	r io.Reader
	w *IdleWatch
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.w.Wait()
	n, err := r.r.Read(p)
	r.w.Arrived()
	return n, err
}

// Interrupted is the error of ctx, the context that WatchIdle returned: nil
// while it goes on, CodeModelFailed if the provider was silent for too long,
// else as the function of that name.
func (w *IdleWatch) Interrupted(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errIdle) {
		return holdfast.WrapError(holdfast.CodeModelFailed, errIdle,
			fmt.Sprintf("the model provider sent nothing for %s", w.timeout))
	}
	return Interrupted(ctx)
}
