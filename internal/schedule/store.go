package schedule

import (
	"context"
	"time"
)

// Schedule is something that a tenant wants said to an agent again and again.
type Schedule struct {
	Tenant, ID string
	Spec       Spec
	// Revision counts the changes that somebody made, from 1.
	Revision             int64
	CreatedAt, UpdatedAt time.Time
	// Paused says that nothing fires; Reason why, if nobody asked for it.
	Paused bool
	Reason string
	// Next is when it fires next, zero while it is paused or has no further time.
	Next time.Time
	// Last is the newest firing, zero if there was none; Fired counts those that
	// started a run.
	Last  Firing
	Fired int64
}

// Firing is what came of one time of a schedule. It is stored as JSON: its names
// never change.
type Firing struct {
	// At is the time of the schedule, Began when somebody came to it.
	At    time.Time `json:"at"`
	Began time.Time `json:"began"`
	// Outcome is one of the values below.
	Outcome string `json:"outcome"`
	// Session and Run are the newest that the schedule started, by this firing or by
	// one before.
	Session string `json:"session,omitempty"`
	Run     string `json:"run,omitempty"`
	// Detail says why nothing was started, for people.
	Detail string `json:"detail,omitempty"`
}

// Values of [Firing] Outcome.
const (
	Started = "started" // a run was queued
	Skipped = "skipped" // the one before is not over
	Missed  = "missed"  // nobody could fire when it was time
	Refused = "refused" // the run could not be queued
)

// Settled is what a firing changes in its schedule.
type Settled struct {
	Firing Firing
	// Taken is Next of the schedule that was taken. Next replaces it, unless somebody
	// has changed the schedule meanwhile.
	Taken, Next time.Time
	// Pause says why the schedule does not go on, "" if it does.
	Pause string
}

// Page selects schedules of a tenant, newest (CreatedAt, then ID) first.
type Page struct {
	// Limit is the most rows, at least 1.
	Limit int
	// BeforeTime and BeforeID continue after the last row of the page before.
	BeforeTime time.Time
	BeforeID   string
}

// Store keeps schedules. Times are kept to the microsecond.
type Store interface {
	// PutSchedule keeps a new schedule. CodeConflict says that there is one with its
	// id, or that the tenant has most of them already.
	PutSchedule(ctx context.Context, s Schedule, most int) error
	// ChangeSchedule replaces Spec, Paused, Reason, Next and UpdatedAt of the schedule
	// whose Revision is one less. CodeStale says that it is another one, CodeNotFound
	// that there is none.
	ChangeSchedule(ctx context.Context, s Schedule) error
	// Schedule returns one. CodeNotFound.
	Schedule(ctx context.Context, tenant, id string) (Schedule, error)
	Schedules(ctx context.Context, tenant string, p Page) ([]Schedule, error)
	// DeleteSchedule removes one. CodeNotFound.
	DeleteSchedule(ctx context.Context, tenant, id string) error
	// TakeSchedules returns at most limit schedules of all tenants that are due at
	// now, the oldest first, and puts each of them off by lease, so that nobody else
	// gets it meanwhile. They stay due until they are settled or changed. next is when
	// the first of the others is due, zero if there is none.
	TakeSchedules(ctx context.Context, now time.Time, lease time.Duration, limit int) (due []Schedule, next time.Time, err error)
	// SettleFiring notes what came of a firing. Of one that was noted already, or of a
	// schedule that is gone, it notes nothing.
	SettleFiring(ctx context.Context, tenant, id string, o Settled) error
}
