package schedule

import "time"

// backoff is how long the pause after the last of several panics in a row was.
type backoff time.Duration

// mostAway is the longest pause after panics.
const mostAway = 30 * time.Second

// after returns the pause after a failure. What returned an error, as its store or
// its bus is away, is tried again soon; what panics less and less often.
func (b *backoff) after(returned bool) time.Duration {
	if returned {
		*b = 0
		return away
	}
	*b = backoff(min(max(2*time.Duration(*b), away), mostAway))
	return time.Duration(*b)
}
