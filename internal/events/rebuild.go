package events

import (
	"maps"

	holdfast "github.com/holdfast-run/holdfast"
)

// Rebuilt is what a store keeps of one session beside its events, made anew from
// them: the row, the timers that are set, the usage. A store that differs was
// changed by somebody else, or has a fault.
type Rebuilt struct {
	Info SessionInfo
	// Timers are by id. Usage adds up the session's own model calls, not those that a
	// fork inherits.
	Timers map[string]Timer
	Usage  map[UsageKey]UsageSum
}

// NewRebuilt returns a session before its first event.
func NewRebuilt(ref holdfast.SessionRef) *Rebuilt {
	return &Rebuilt{Info: SessionInfo{Session: ref}, Timers: map[string]Timer{}, Usage: map[UsageKey]UsageSum{}}
}

// Inherit passes over an event of the session that this one was forked from.
func (r *Rebuilt) Inherit(e *Envelope) { r.Info.Head = Head{Seq: e.Seq, Epoch: e.Epoch} }

// Apply folds the session's next own event, as Record does. An event that cannot be
// read changes nothing but the head, and is an error.
func (r *Rebuilt) Apply(e *Envelope) error {
	row := Row{SessionInfo: r.Info}
	waiting := row.Waiting
	err := row.Apply(e)
	if err != nil {
		row.Head, row.UpdatedAt = Head{Seq: e.Seq, Epoch: e.Epoch}, e.Time
	} else {
		p := Plan{Usage: r.Usage}
		if err = p.project(&row, waiting, e); err == nil {
			r.timers(p.Timers)
		}
	}
	row.storable()
	r.Info = row.SessionInfo
	if r.Info.Deleted {
		clear(r.Timers)
	}
	return err
}

func (r *Rebuilt) timers(changes []TimerChange) {
	for _, c := range changes {
		if c.Gone {
			delete(r.Timers, c.ID)
			continue
		}
		r.Timers[c.ID] = c.Timer
	}
}

// Same reports whether the sums are equal but for what adding up fractions of a
// dollar in another order makes.
func (s UsageSum) Same(o UsageSum) bool {
	d := s.Cost - o.Cost
	s.Cost, o.Cost = 0, 0
	return s == o && d < 1e-6 && d > -1e-6
}

// SameUsage reports whether two accounts are the same.
func SameUsage(a, b map[UsageKey]UsageSum) bool {
	return maps.EqualFunc(a, b, UsageSum.Same)
}
