package modeltest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// left checks that nothing of a call that was given up is still open when Stream
// has returned, and that the server has noticed.
func (n *network) left(t *testing.T) {
	t.Helper()
	// net/http closes a connection in a goroutine of its own; no time may pass until
	// it has.
	synctest.Wait()
	if open := n.open.Load(); open != 0 {
		t.Errorf("%d connections are open after Stream has returned", open)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inflight != 0 {
		t.Errorf("the server still answers %d requests", n.inflight)
	}
}

// runCancel cancels at the first chunk of an answer that never ends.
func runCancel(t *testing.T, p *Provider, c *Case, rec *Recording) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, rec)
		cause := errors.New("the user pressed stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		var a Answer
		start := time.Now()
		err := p.model(t, c, n).Stream(ctx, c.request(p), func(c model.Chunk) error {
			cancel(cause)
			return a.Add(c)
		})
		n.left(t)
		if holdfast.CodeOf(err) != holdfast.CodeCanceled || !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v (%s)", err, holdfast.CodeOf(err))
		}
		if a.Text != rec.Want.Text || a.Finish != "" {
			t.Errorf("answer %+v", a)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s", took)
		}
		if err := p.model(t, c, n).Stream(ctx, c.request(p), a.Add); holdfast.CodeOf(err) != holdfast.CodeCanceled {
			t.Errorf("with a context that has ended: %v", err)
		}
		n.check(t)
	})
}

// runCancelWaiting lets a deadline pass before the provider answers at all.
func runCancelWaiting(t *testing.T, p *Provider, c *Case, rec *Recording) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, rec)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := p.model(t, c, n).Stream(ctx, c.request(p), func(model.Chunk) error {
			t.Error("a chunk")
			return nil
		})
		n.left(t)
		if holdfast.CodeOf(err) != holdfast.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v (%s)", err, holdfast.CodeOf(err))
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// runYieldError refuses the first chunk.
func runYieldError(t *testing.T, p *Provider, c *Case, rec *Recording) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, rec)
		full := errors.New("the log is full")
		chunks := 0
		err := p.model(t, c, n).Stream(t.Context(), c.request(p), func(model.Chunk) error {
			chunks++
			return full
		})
		n.left(t)
		if !errors.Is(err, full) || chunks != 1 {
			t.Errorf("error %v after %d chunks", err, chunks)
		}
		n.check(t)
	})
}

// runSlowCaller takes longer with each chunk than the provider may.
func runSlowCaller(t *testing.T, p *Provider, c *Case, rec *Recording) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, rec)
		var a Answer
		start := time.Now()
		err := p.model(t, c, n).Stream(t.Context(), c.request(p), func(c model.Chunk) error {
			timer := time.NewTimer(2 * IdleTimeout)
			defer timer.Stop()
			<-timer.C
			return a.Add(c)
		})
		rec.Want.Waits = (time.Duration(a.Chunks) * 2 * IdleTimeout).String()
		rec.Want.check(t, &a, err, time.Since(start))
		n.check(t)
	})
}
