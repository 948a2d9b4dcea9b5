package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

var errPassing = holdfast.Errorf(holdfast.CodeModelFailed, "it passes")

func TestRetryCounts(t *testing.T) {
	for _, tc := range []struct{ max, want int }{{0, 1 + DefaultMaxRetries}, {-1, 1}, {1, 2}, {7, 8}} {
		synctest.Test(t, func(t *testing.T) {
			n, start := 0, time.Now()
			err := Retry(t.Context(), tc.max, nil, func(func(Chunk) error) error {
				n++
				return &Transient{Err: errPassing}
			})
			var mark *Transient
			if n != tc.want || !errors.Is(err, errPassing) || errors.As(err, &mark) {
				t.Errorf("max %d: %d attempts, %v", tc.max, n, err)
			}
			// Half a second, one, two, four, then eight each, and at least half of that.
			longest := time.Duration(0)
			for i := range tc.want - 1 {
				longest += min(firstBackoff<<i, maxBackoff)
			}
			if took := time.Since(start); took > longest || took < longest/2 {
				t.Errorf("max %d: took %s, want %s to %s", tc.max, took, longest/2, longest)
			}
		})
	}
}

func TestRetryNeverAfterTheFirstChunk(t *testing.T) {
	n := 0
	err := Retry(t.Context(), 5, func(Chunk) error { return nil }, func(yield func(Chunk) error) error {
		n++
		if err := yield(Chunk{Text: "a"}); err != nil {
			return err
		}
		return &Transient{Err: errPassing}
	})
	if n != 1 || !errors.Is(err, errPassing) {
		t.Errorf("%d attempts, %v", n, err)
	}
	// A caller who refuses the chunk has seen it.
	full := errors.New("full")
	n = 0
	err = Retry(t.Context(), 5, func(Chunk) error { return full }, func(yield func(Chunk) error) error {
		n++
		return &Transient{Err: yield(Chunk{Text: "a"})}
	})
	if n != 1 || !errors.Is(err, full) {
		t.Errorf("%d attempts, %v", n, err)
	}
}

func TestRetryPermanentAndCanceled(t *testing.T) {
	n := 0
	final := holdfast.Errorf(holdfast.CodeModelAuth, "no")
	err := Retry(t.Context(), 5, nil, func(func(Chunk) error) error { n++; return final })
	if n != 1 || err != final {
		t.Errorf("%d attempts, %v", n, err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		err := Retry(ctx, 5, nil, func(func(Chunk) error) error { return &Transient{Err: errPassing, After: time.Minute} })
		if holdfast.CodeOf(err) != holdfast.CodeTimeout || time.Since(start) != time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestRetryAfterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
		for _, tc := range []struct {
			name, value string
			want        time.Duration
		}{
			{"Retry-After", "", 0},
			{"Retry-After", "3", 3 * time.Second},
			{"Retry-After", "0.5", 500 * time.Millisecond},
			{"Retry-After", "-3", 0},
			{"Retry-After", "soon", 0},
			{"Retry-After", "NaN", 0},
			{"Retry-After", "1e300", 365 * 24 * time.Hour},
			{"Retry-After", date(90 * time.Second), 90 * time.Second},
			{"Retry-After", date(-time.Hour), 0},
			{"Retry-After-Ms", "1500", 1500 * time.Millisecond},
		} {
			h := http.Header{tc.name: {tc.value}}
			if got := RetryAfter(h); got != tc.want {
				t.Errorf("%s: %q is %s, want %s", tc.name, tc.value, got, tc.want)
			}
		}
	})
}

func TestFailure(t *testing.T) {
	for _, tc := range []struct {
		f     Failure
		code  holdfast.Code
		retry bool
	}{
		{Failure{Status: 400}, holdfast.CodeInvalid, false},
		{Failure{Status: 401}, holdfast.CodeModelAuth, false},
		{Failure{Status: 402}, holdfast.CodeModelRate, false},
		{Failure{Status: 403}, holdfast.CodeModelAuth, false},
		{Failure{Status: 404}, holdfast.CodeInvalid, false},
		{Failure{Status: 408}, holdfast.CodeModelFailed, true},
		{Failure{Status: 409}, holdfast.CodeModelFailed, true},
		{Failure{Status: 413}, holdfast.CodeModelContext, false},
		{Failure{Status: 429}, holdfast.CodeModelRate, true},
		{Failure{Status: 429, Final: true}, holdfast.CodeModelRate, false},
		{Failure{Status: 500}, holdfast.CodeModelFailed, true},
		{Failure{Status: 503, Header: http.Header{"X-Should-Retry": {"false"}}}, holdfast.CodeModelFailed, false},
		{Failure{Status: 400, Header: http.Header{"X-Should-Retry": {"true"}}}, holdfast.CodeInvalid, true},
		{Failure{Status: 302}, holdfast.CodeModelFailed, true},
		{Failure{Code: holdfast.CodeModelFilter}, holdfast.CodeModelFilter, false},
		{Failure{Code: holdfast.CodeModelRate}, holdfast.CodeModelRate, true},
		{Failure{}, holdfast.CodeModelFailed, true},
	} {
		tc.f.Provider, tc.f.Message = "p", "because"
		err := tc.f.Err()
		var mark *Transient
		if holdfast.CodeOf(err) != tc.code || errors.As(err, &mark) != tc.retry {
			t.Errorf("%+v: %v (%s), retry %v", tc.f, err, holdfast.CodeOf(err), errors.As(err, &mark))
		}
		says := strings.Contains(holdfast.PublicMessage(err), "because")
		if says != (tc.code != holdfast.CodeModelAuth) {
			t.Errorf("%+v: %v", tc.f, err)
		}
	}
}

func TestPublicText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{" two\nlines\tand \x1b[31m\x00bytes\xff ", "two lines and [31mbytes\uFFFD"},
		{"<html>nothing of it", ""},
		{"key s3cret here", "key [redacted] here"},
		{"Bearer abc.def wrong", "[redacted] wrong"},
		{"Incorrect sk-proj-abcdefgh*****wxyz given", "Incorrect [redacted] given"},
		{"a task-oriented desk-chair", "a task-oriented desk-chair"},
		{strings.Repeat("☔", 200), strings.Repeat("☔", 133) + "…"},
	} {
		if got := PublicText(tc.in, "s3cret", ""); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestInterrupted(t *testing.T) {
	if err := Interrupted(t.Context()); err != nil {
		t.Error(err)
	}
	why := fmt.Errorf("the user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := Interrupted(ctx); holdfast.CodeOf(err) != holdfast.CodeCanceled || !errors.Is(err, why) || !errors.Is(err, context.Canceled) ||
		strings.Contains(holdfast.PublicMessage(err), "left") {
		t.Error(err)
	}
	ctx, stop := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer stop()
	if err := Interrupted(ctx); holdfast.CodeOf(err) != holdfast.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestIdleWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ timeout, want time.Duration }{{0, DefaultIdleTimeout}, {time.Second, time.Second}} {
			ctx, w := WatchIdle(t.Context(), tc.timeout)
			// Not waiting costs nothing.
			synctestSleep(time.Hour)
			if ctx.Err() != nil {
				t.Fatal("cut although nobody waited")
			}
			r, pw := io.Pipe()
			start := time.Now()
			go func() { <-ctx.Done(); pw.CloseWithError(ctx.Err()) }()
			_, err := w.Reader(r).Read(make([]byte, 1))
			if err == nil || time.Since(start) != tc.want {
				t.Errorf("%s: %v after %s", tc.timeout, err, time.Since(start))
			}
			if err := w.Interrupted(ctx); holdfast.CodeOf(err) != holdfast.CodeModelFailed {
				t.Error(err)
			}
			w.Stop()
		}
		parent, cancel := context.WithCancel(t.Context())
		ctx, w := WatchIdle(parent, -1)
		defer w.Stop()
		w.Wait()
		synctestSleep(24 * time.Hour)
		if err := w.Interrupted(ctx); err != nil {
			t.Errorf("cut although the time-out is off: %v", err)
		}
		cancel()
		if err := w.Interrupted(ctx); holdfast.CodeOf(err) != holdfast.CodeCanceled {
			t.Error(err)
		}
	})
}

// synctestSleep lets virtual time pass in a bubble.
func synctestSleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
