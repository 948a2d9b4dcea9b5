package testenv

import (
	"iter"
	"time"
)

// Limits yields first and then ever longer limits, up to about a minute, for
// tests of what happens when a time-out strikes in the middle of something: on a
// busy machine a short one strikes before that has begun. The test tries again
// with the next limit until it got that far, and fails if it never does.
func Limits(first time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for limit := first; limit <= time.Minute; limit *= 4 {
			if !yield(limit) {
				return
			}
		}
	}
}
