package app

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// beside compares what the database keeps beside the row with the log: the timers
// that are set, and the usage. Snapshots, which are of no use to anybody else, are
// compared while the log is read.
func (v *verifier) beside(ctx context.Context, row events.SessionInfo, fold *events.Rebuilt) error {
	usage, err := v.usage(ctx, row.Session)
	if err != nil {
		return err
	}
	timers, err := v.timersOf(ctx, row.Session)
	if err != nil {
		return err
	}
	alike := func(a, b events.Timer) bool { return a.ID == b.ID && a.Kind == b.Kind && a.At.Equal(b.At) }
	sameTimers := maps.EqualFunc(timers, fold.Timers, alike)
	if !sameTimers { // those of the tenant may have been read long before the session's row
		v.timers = nil
		if timers, err = v.timersOf(ctx, row.Session); err != nil {
			return err
		}
		sameTimers = maps.EqualFunc(timers, fold.Timers, alike)
	}
	sameUsage := events.SameUsage(usage, fold.Usage)
	if sameTimers && sameUsage {
		return nil
	}
	// What was read after the row may be of later events.
	switch now, err := v.store.Session(ctx, row.Session); {
	case err != nil:
		return err
	case now.Head != row.Head:
		return nil
	}
	if !sameTimers {
		v.bad(events.Violation{
			Session: row.Session, Seq: row.Head.Seq, Rule: "projection",
			Detail: fmt.Sprintf("the timers are %v, the log says %v", slices.Sorted(maps.Keys(timers)), slices.Sorted(maps.Keys(fold.Timers))),
		})
	}
	if !sameUsage {
		v.bad(events.Violation{
			Session: row.Session, Seq: row.Head.Seq, Rule: "projection",
			Detail: fmt.Sprintf("the usage is %v, the log says %v", usage, fold.Usage),
		})
	}
	return nil
}

func (v *verifier) usage(ctx context.Context, ref holdfast.SessionRef) (map[events.UsageKey]events.UsageSum, error) {
	rows, err := v.store.Usage(ctx, events.UsageQuery{
		Tenant: ref.Tenant, Match: map[string]string{"session": ref.Session},
		By: []string{"day", "agent", "agent_name", "model"}, Limit: math.MaxInt32,
	})
	if err != nil {
		return nil, err
	}
	sums := map[events.UsageKey]events.UsageSum{}
	for i := range rows {
		r := &rows[i]
		sums[events.UsageKey{Session: ref, Day: r.Day.UTC(), Agent: r.Agent, AgentName: r.AgentName, Model: r.Model}] = r.UsageSum
	}
	return sums, nil
}

// timersOf returns the timers of a session that are set. Those of a tenant are read
// once: verify goes through the sessions of a tenant one after the other.
func (v *verifier) timersOf(ctx context.Context, ref holdfast.SessionRef) (map[string]events.Timer, error) {
	if v.tenant != ref.Tenant || v.timers == nil {
		list, err := v.store.PendingTimers(ctx, ref.Tenant, math.MaxInt32)
		if err != nil {
			return nil, err
		}
		v.tenant, v.timers = ref.Tenant, map[string]map[string]events.Timer{}
		for _, t := range list {
			if v.timers[t.Session.Session] == nil {
				v.timers[t.Session.Session] = map[string]events.Timer{}
			}
			v.timers[t.Session.Session][t.ID] = t
		}
	}
	return v.timers[ref.Session], nil
}

// rowless names the sessions that have events and no row: nobody finds them.
func (v *verifier) rowless(ctx context.Context) error {
	refs, err := v.store.Rowless(ctx, 1000)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		v.bad(events.Violation{Session: ref, Seq: 1, Rule: "projection", Detail: "the database has events of it and no row that lists it"})
	}
	return nil
}
