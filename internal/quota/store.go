package quota

import (
	"context"
	"math"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Stored is a quota that the operator has set for a tenant.
type Stored struct {
	Tenant    string
	Quota     holdfast.Quota
	UpdatedAt time.Time
}

// Use is what a tenant uses.
type Use struct {
	// Day and Month are what model calls of the day and of the month took, in UTC.
	Day, Month Spent
	Sessions   int64
	// Runs are the open ones that have a place.
	Runs int64
	// Storage is how many bytes the archive had at StorageAt; zero if nobody has looked.
	Storage   int64
	StorageAt time.Time
}

// Spent is what model calls took: tokens in and out, and US dollars.
type Spent struct {
	Tokens int64
	Cost   float64
}

// Run is a run that wants a place.
type Run struct {
	Session holdfast.SessionRef
	// ID is the run's, or that of the timer that begins it.
	ID string
}

// Rate is how a bucket fills: PerSecond permits a second, up to Burst.
type Rate struct {
	PerSecond float64
	Burst     int64
}

// Permits is what a bucket gave.
type Permits struct {
	// Granted is how many permits, at most as many as were wanted.
	Granted int64
	// Left is what the bucket has then, which may be less than one.
	Left float64
}

// Take takes up to want permits out of a bucket that had left permits some time ago.
func (r Rate) Take(left float64, ago time.Duration, want int64) Permits {
	left = min(float64(r.Burst), max(0, left)+r.PerSecond*max(0, ago.Seconds()))
	n := max(0, min(want, int64(math.Floor(left))))
	return Permits{Granted: n, Left: left - float64(n)}
}

// Times after which a place is taken back whose run does not seem to be there: it
// was taken unusedAfter ago, and its session has been idle for idleAfter.
const (
	UnusedAfter = 30 * time.Second
	IdleAfter   = 10 * time.Second
)

// Store keeps quotas and what is counted for them. Tenants do not see each other's.
// The suite in quotatest checks it.
type Store interface {
	// Quota returns the quota of a tenant, CodeNotFound if the operator has set none.
	Quota(ctx context.Context, tenant string) (Stored, error)
	// Quotas returns at most limit quotas behind a tenant's, by tenant.
	Quotas(ctx context.Context, after string, limit int) ([]Stored, error)
	// PutQuota stores a quota in place of the one before.
	PutQuota(ctx context.Context, q Stored) error
	// DeleteQuota removes one, CodeNotFound if there is none.
	DeleteQuota(ctx context.Context, tenant string) error

	// QuotaUse returns what a tenant uses. now says which day and month it is.
	QuotaUse(ctx context.Context, tenant string, now time.Time) (Use, error)
	// MeasureStorage looks how much the archive has of a tenant, unless somebody began
	// to do so less than age before now.
	MeasureStorage(ctx context.Context, tenant string, now time.Time, age time.Duration) error

	// TakePermits takes up to want permits for requests.
	TakePermits(ctx context.Context, tenant string, r Rate, now time.Time, want int64) (Permits, error)
	// TakePlace takes a place for a run if its tenant has fewer than limit, if it has
	// one already, or, with beside, if another run of the session has one. Two callers
	// never both get the last one. Places whose runs are over are taken back, some
	// seconds late if nobody said so: [UnusedAfter].
	TakePlace(ctx context.Context, run Run, limit int64, beside bool, now time.Time) (bool, error)
	// DropPlace gives a place back. Without one nothing happens. A finished run and a
	// deleted session give theirs back when the log that says so is recorded.
	DropPlace(ctx context.Context, run Run) error
}

// Day returns when the day of a time began, in UTC.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Month returns when the month of a time began, in UTC.
func Month(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

// NextDay returns when the day of a time ends.
func NextDay(t time.Time) time.Time { return Day(t).AddDate(0, 0, 1) }

// NextMonth returns when the month of a time ends.
func NextMonth(t time.Time) time.Time { return Month(t).AddDate(0, 1, 0) }
