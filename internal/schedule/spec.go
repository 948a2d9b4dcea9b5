package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // a name of a zone must mean the same on every machine, also on one that has none

	holdfast "github.com/holdfast-run/holdfast"
)

// Spec says what a schedule does, and when. It is stored as JSON: its names never
// change.
type Spec struct {
	// Cron is an expression of five fields, read in Timezone (a name of the IANA
	// database, "" for UTC); or else Every is a duration such as 90s or 36h.
	Cron     string `json:"cron,omitempty"`
	Every    string `json:"every,omitempty"`
	Timezone string `json:"timezone,omitempty"`
	// StartsAt is what Every counts from, and before which there is no firing but one
	// at that very time.
	StartsAt time.Time `json:"starts_at"`

	// Agent is the agent file of the runs, AgentName the agent in it to start with.
	Agent     string             `json:"agent"`
	AgentName string             `json:"agent_name,omitempty"`
	Messages  []holdfast.Message `json:"messages"`
	// Session is where it is said; "" is a new session each time, made with what
	// follows.
	Session       string            `json:"session,omitempty"`
	Title         string            `json:"title,omitempty"`
	User          string            `json:"user,omitempty"`
	ToolsApproved bool              `json:"tools_approved,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`

	// Overlap and Missed are one of the values below.
	Overlap string `json:"overlap"`
	Missed  string `json:"missed"`
}

// Values of [Spec] Overlap: what happens if the run of an earlier firing, or
// anything in a given session, is not over.
const (
	OverlapSkip    = "skip"    // nothing, until the next time
	OverlapEnqueue = "enqueue" // its run waits for its turn; in a new session it begins at once
)

// Values of [Spec] Missed: what happens to times at which nobody could fire.
const (
	MissedSkip    = "skip"     // nothing
	MissedCatchUp = "catch_up" // the newest of them fires, late; the others do not
)

const (
	// minEvery is the shortest interval.
	minEvery = time.Second
	// maxEvery is the longest.
	maxEvery = 10 * 366 * 24 * time.Hour
	// Tolerance is how late a firing may be before its time counts as missed.
	Tolerance = time.Minute
)

// times gives the moments of a schedule.
type times interface {
	// next returns the first one after t, zero if there is none.
	next(t time.Time) time.Time
}

// interval counts from a moment.
type interval struct {
	from  time.Time
	every time.Duration
}

func (i interval) next(t time.Time) time.Time {
	if t.Before(i.from) {
		return i.from
	}
	return i.from.Add((t.Sub(i.from)/i.every + 1) * i.every)
}

// notBefore are times that do not count before a moment.
type notBefore struct {
	times
	from time.Time
}

func (n notBefore) next(t time.Time) time.Time {
	if t.Before(n.from) {
		t = n.from.Add(-1)
	}
	return n.times.next(t)
}

// Check refuses a specification that cannot be followed. CodeInvalid.
func (s *Spec) Check() error {
	t, err := s.times()
	if err != nil {
		return err
	}
	if t.next(s.StartsAt.Add(-1)).IsZero() {
		return holdfast.Errorf(holdfast.CodeInvalid, "cron %q: there is no such day", s.Cron)
	}
	switch {
	case s.Overlap != OverlapSkip && s.Overlap != OverlapEnqueue:
		return holdfast.Errorf(holdfast.CodeInvalid, "overlap %q: want skip or enqueue", s.Overlap)
	case s.Missed != MissedSkip && s.Missed != MissedCatchUp:
		return holdfast.Errorf(holdfast.CodeInvalid, "missed %q: want skip or catch_up", s.Missed)
	case len(s.Messages) == 0:
		return holdfast.Errorf(holdfast.CodeInvalid, "messages: at least one is needed")
	case s.Session != "" && (s.Title != "" || s.User != "" || s.ToolsApproved || len(s.Metadata) > 0):
		return holdfast.Errorf(holdfast.CodeInvalid, "title, user, tools_approved and metadata are for new sessions, and this schedule has a session")
	}
	return nil
}

func (s *Spec) times() (times, error) {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil || strings.EqualFold(s.Timezone, "local") {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "timezone %q: want a name of the IANA database, such as Europe/Berlin", s.Timezone)
	}
	switch {
	case (s.Cron == "") == (s.Every == ""):
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "cron and every: give one of them")
	case s.Cron != "":
		c, err := parseCron(s.Cron, zone)
		if err != nil {
			return nil, err
		}
		return notBefore{c, s.StartsAt}, nil
	case s.Timezone != "":
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "timezone: an interval has none")
	}
	every, err := time.ParseDuration(s.Every)
	if err != nil || every < minEvery || every > maxEvery {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "every %q: want a duration of at least a second and at most ten years, such as 90s, 10m or 36h", s.Every)
	}
	return interval{s.StartsAt, every}, nil
}

// Next returns the first time after t, zero if there is none. The specification
// has passed Check.
func (s *Spec) Next(t time.Time) time.Time {
	ts, err := s.times()
	if err != nil { // of a newer program, or of another database of time zones
		return time.Time{}
	}
	return stored(ts.next(t))
}

// stored is a time as every database keeps it.
func stored(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

// newest returns the newest time from first, which is one, up to now.
func (s *Spec) newest(first, now time.Time) time.Time {
	ts, err := s.times()
	if err != nil {
		return first
	}
	// Looked for from near to far, so that a schedule of each minute that nobody
	// served for a year is not counted through.
	const day = 24 * time.Hour
	for _, back := range []time.Duration{time.Hour, day + time.Hour, 32 * day, 367 * day, now.Sub(first)} {
		t := now.Add(-back)
		if t.Before(first) {
			t = first.Add(-1)
		}
		at := ts.next(t)
		if at.IsZero() || at.After(now) {
			continue
		}
		for next := ts.next(at); !next.IsZero() && !next.After(now); next = ts.next(at) {
			at = next
		}
		return stored(at)
	}
	return first
}
