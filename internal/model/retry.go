package model

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// DefaultMaxRetries is Config.MaxRetries where it is 0.
const DefaultMaxRetries = 3

// Pauses between the attempts of a call.
const (
	firstBackoff = 500 * time.Millisecond // doubles with every attempt, with jitter
	maxBackoff   = 8 * time.Second
	// MaxRetryAfter is the longest wait that a provider can ask for. When it asks
	// for more, the call fails at once: to come back sooner would be impolite, and
	// the caller may have a better use for the time, such as another model.
	MaxRetryAfter = time.Minute
)

// Transient marks an error of an attempt that may succeed when it is repeated.
type Transient struct {
	Err error
	// After is the least pause that the provider asked for, 0 for none.
	After time.Duration
}

func (t *Transient) Error() string { return t.Err.Error() }

// Unwrap returns the error that the caller of Stream gets to see.
func (t *Transient) Unwrap() error { return t.Err }

// Retry makes attempts at one call until one succeeds, fails with an error that
// is not [Transient], or has handed out a chunk. maxRetries is
// Config.MaxRetries. Attempts must call the yield that they are given; it is
// how Retry knows that text must not be sent a second time.
func Retry(ctx context.Context, maxRetries int, yield func(Chunk) error, attempt func(yield func(Chunk) error) error) error {
	if maxRetries == 0 {
		maxRetries = DefaultMaxRetries
	}
	handedOut := false
	y := func(c Chunk) error {
		handedOut = true
		return yield(c)
	}
	for n := 0; ; n++ {
		err := attempt(y)
		var t *Transient
		if err == nil || handedOut || !errors.As(err, &t) {
			return unmark(err)
		}
		if n >= maxRetries {
			return unmark(err)
		}
		if t.After > MaxRetryAfter {
			return holdfast.WrapError(holdfast.CodeOf(t.Err), t.Err, fmt.Sprintf(
				"%s; it asks to wait %s", holdfast.PublicMessage(t.Err), t.After.Round(time.Second)))
		}
		if err := pause(ctx, max(backoff(n), jitter(t.After))); err != nil {
			return err
		}
	}
}

// unmark takes the outermost mark off, so that nobody repeats what Retry gave
// up on.
func unmark(err error) error {
	if t, ok := err.(*Transient); ok {
		return t.Err
	}
	return err
}

// backoff is the pause after the n-th attempt, from 0: a random part, at least
// half, of a time that doubles.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 5 {
		d = min(d, firstBackoff<<n)
	}
	return d/2 + rand.N(d/2)
}

// jitter adds up to a tenth, one second at most, so that clients that were
// refused together do not come back together.
func jitter(after time.Duration) time.Duration {
	if after <= 0 {
		return 0
	}
	return after + rand.N(min(after/10, time.Second)+1)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return Interrupted(ctx)
}

// RetryAfter reads the pause that an answer asks for: Retry-After in seconds or
// as a date (RFC 9110 section 10.2.3), or the Retry-After-Ms of OpenAI and
// Azure. 0 is none.
func RetryAfter(h http.Header) time.Duration {
	const longest = 365 * 24 * time.Hour
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 {
		return time.Duration(min(ms, float64(longest.Milliseconds())) * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if s >= 0 {
			return time.Duration(min(s, longest.Seconds()) * float64(time.Second))
		}
		return 0
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
