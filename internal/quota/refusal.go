package quota

import (
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Refusal says that a tenant may not have what it asked for. Its code is
// CodeRateLimited if the same request may succeed in a moment (too many requests, too
// many runs at once), else CodeQuota.
type Refusal struct {
	// Limit is the name of the limit, Max its value and Used what is used of it.
	Limit     string
	Max, Used float64
	// RetryAfter is when to come again, 0 if that is not known.
	RetryAfter time.Duration
	// ResetsAt is when the day or the month ends, zero for other limits.
	ResetsAt time.Time

	err error
}

func (r *Refusal) Error() string { return r.err.Error() }

// Unwrap returns the error for the tenant.
func (r *Refusal) Unwrap() error { return r.err }

// busy is a refusal that passes by itself.
func busy(limit string, most, used float64, after time.Duration, text string) *Refusal {
	return &Refusal{Limit: limit, Max: most, Used: used, RetryAfter: after, err: holdfast.Errorf(holdfast.CodeRateLimited, "%s", text)}
}

// spent is a refusal for something that is used up.
func spent(limit string, most, used float64, resets time.Time, what string) *Refusal {
	until := "delete something, or ask the operator for more"
	if !resets.IsZero() {
		until = "it begins again at " + resets.Format(time.RFC3339)
	}
	return &Refusal{Limit: limit, Max: most, Used: used, ResetsAt: resets, err: holdfast.Errorf(holdfast.CodeQuota, "the tenant's quota of %s is used up (%s): %s", what, limit, until)}
}
