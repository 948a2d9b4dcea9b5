package quota

import (
	"context"
	"math"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// account is what a process remembers of a tenant.
type account struct {
	id string
	// look and fetch let one caller at a time ask the store for the tenant's limits, use
	// and permits.
	look, lookUse, fetch sync.Mutex

	mu        sync.Mutex // guards what follows
	limits    holdfast.Quota
	limitsAt  time.Time // zero: nobody has looked
	use       Use
	useAt     time.Time
	useFor    time.Duration
	measuring bool
	creations []time.Time
	// openAt and failedAt are when the store last failed to give permits, or to say what is used.
	openAt, failedAt time.Time

	permits   int64     // taken from the store and not used yet
	permitsAt time.Time // when they were taken
	left      float64   // what the store had then
	denied    time.Time // until then the store has none
	waiting   int64     // callers who want one
}

// account returns what is known of a tenant.
func (g *Gate) account(id string) *account {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.tenants[id]
	if a == nil {
		if len(g.tenants) >= tenantsMost {
			clear(g.tenants) // it is looked up again
		}
		a = &account{id: id}
		g.tenants[id] = a
	}
	return a
}

// forget lets limits be looked up again.
func (g *Gate) forget(id string) {
	a := g.account(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limitsAt, a.denied, a.permits = time.Time{}, time.Time{}, 0
}

// limits returns the quota that counts for a tenant.
func (g *Gate) limits(ctx context.Context, id string) holdfast.Quota {
	a := g.account(id)
	known := func() (q holdfast.Quota, fresh, any bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.limitsAt.IsZero() {
			return g.cfg.Default, false, false
		}
		age := g.cfg.Now().Sub(a.limitsAt)
		return a.limits, age >= 0 && age < limitsFor, true
	}
	q, fresh, known1 := known()
	if fresh {
		return q
	}
	if known1 {
		if !a.look.TryLock() {
			return q // somebody is looking
		}
	} else {
		a.look.Lock()
	}
	defer a.look.Unlock()
	if q, fresh, _ = known(); fresh {
		return q
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	s, err := g.cfg.Store.Quota(ctx, id)
	switch {
	case holdfast.CodeOf(err) == holdfast.CodeNotFound:
		q = g.cfg.Default
	case err != nil:
		g.unchecked(ctx, "look up the quota of a tenant", err) // what was known still counts
	default:
		q = s.Quota
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits, a.limitsAt = q, g.cfg.Now()
	return q
}

// use returns what a tenant uses, false if that cannot be said.
func (g *Gate) use(ctx context.Context, a *account) (Use, bool) {
	known := func() (use Use, fresh bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		now := g.cfg.Now()
		age := now.Sub(a.useAt)
		// A day that ends takes what was used with it.
		return a.use, !a.useAt.IsZero() && age >= 0 && age < a.useFor && Day(now).Equal(Day(a.useAt))
	}
	if use, fresh := known(); fresh {
		return use, true
	}
	a.lookUse.Lock()
	defer a.lookUse.Unlock()
	if use, fresh := known(); fresh {
		return use, true
	}
	a.mu.Lock()
	failing := g.open(a.failedAt)
	a.mu.Unlock()
	if failing { // whoever waited for this look is not to wait for one of its own
		return Use{}, false
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	now := g.cfg.Now()
	use, err := g.cfg.Store.QuotaUse(ctx, a.id, now)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		g.unchecked(ctx, "look up what a tenant uses", err)
		if a.useAt.IsZero() || !Day(now).Equal(Day(a.useAt)) {
			a.failedAt = g.cfg.Now()
			return Use{}, false
		}
		use = a.use // the last that was known
	}
	a.use, a.useAt = use, now
	a.useFor = min(max(useFor, useFactor*time.Since(began)), useMost)
	g.wantMeasure(a, use, now)
	return use, true
}

// wantMeasure sees to it that storage is measured if that is long ago. The caller
// holds a.mu.
func (g *Gate) wantMeasure(a *account, use Use, now time.Time) {
	if a.measuring || now.Sub(use.StorageAt) < storageFor {
		return
	}
	select {
	case g.measure <- a.id:
		a.measuring = true
	default: // there is much to do; the next look asks again
	}
}

// made is how many sessions this process made since the last look. Those of the
// moment before it, which the archive did not have yet, are in the next one. The
// caller holds mu.
func (a *account) made(now time.Time) int64 {
	from := a.useAt
	keep := a.creations[:0]
	for _, t := range a.creations {
		if !t.Before(from) && !t.After(now) {
			keep = append(keep, t)
		}
	}
	a.creations = keep
	return int64(len(keep))
}

// Remaining is what a tenant has left of its rate, for the header fields of
// draft-ietf-httpapi-ratelimit-headers. Rate is zero if there is no limit.
type Remaining struct {
	Rate Rate
	Left int64
}

// RateOf returns the rate of a quota, false if it has none.
func RateOf(q holdfast.Quota) (Rate, bool) {
	if q.RequestsPerSecond == nil {
		return Rate{}, false
	}
	r := Rate{PerSecond: *q.RequestsPerSecond, Burst: max(1, int64(math.Ceil(*q.RequestsPerSecond)))}
	if q.Burst != nil {
		r.Burst = *q.Burst
	}
	return r, true
}

// permitsFor is how long permits may be used that a process has taken.
const permitsFor = time.Second

// openFor is how long a store that has failed is not asked again: a store that hangs
// would take its time of each request, one behind the other.
const openFor = time.Second

// open reports whether the store failed a moment ago.
func (g *Gate) open(failed time.Time) bool {
	age := g.cfg.Now().Sub(failed)
	return !failed.IsZero() && age >= 0 && age < openFor
}

// Request admits one request of a tenant.
func (g *Gate) Request(ctx context.Context, id string) (Remaining, error) {
	rate, limited := RateOf(g.limits(ctx, id))
	if !limited {
		return Remaining{}, nil
	}
	a := g.account(id)
	if r, decided, err := g.ownPermit(ctx, a, rate); decided {
		return r, err
	}
	a.mu.Lock()
	a.waiting++
	a.mu.Unlock()
	a.fetch.Lock()
	defer a.fetch.Unlock()
	a.mu.Lock()
	a.waiting--
	want := min(rate.Burst, max(1, min(int64(rate.PerSecond/10), rate.Burst/10), a.waiting+1))
	a.mu.Unlock()
	if r, decided, err := g.ownPermit(ctx, a, rate); decided {
		return r, err
	}
	lctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	now := g.cfg.Now()
	p, err := g.cfg.Store.TakePermits(lctx, id, rate, now, want)
	if err != nil {
		if ctx.Err() != nil {
			return Remaining{}, context.Cause(ctx)
		}
		g.unchecked(ctx, "take permits for requests", err)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.openAt = g.cfg.Now()
		return Remaining{Rate: rate}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.permits, a.permitsAt, a.left, a.denied = max(0, p.Granted-1), now, p.Left, time.Time{}
	if p.Granted == 0 {
		wait := time.Duration((1 - p.Left) / rate.PerSecond * float64(time.Second))
		a.denied = now.Add(wait)
		return Remaining{Rate: rate}, g.tooFast(ctx, rate, wait)
	}
	return Remaining{rate, a.permits + int64(a.left)}, nil // one is this request's
}

// ownPermit uses a permit that the process has, or refuses while it knows that there
// is none.
func (g *Gate) ownPermit(ctx context.Context, a *account, rate Rate) (r Remaining, decided bool, err error) {
	now := g.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.open(a.openAt) {
		return Remaining{Rate: rate}, true, nil
	}
	if age := now.Sub(a.permitsAt); a.permits > 0 && age >= 0 && age < permitsFor {
		a.permits--
		return Remaining{rate, a.permits + int64(a.left)}, true, nil
	}
	wait := a.denied.Sub(now)
	// A clock that jumped back denies nothing for longer than a permit takes.
	if wait > 0 && wait <= time.Duration(float64(time.Second)/rate.PerSecond)+time.Millisecond {
		return Remaining{Rate: rate}, true, g.tooFast(ctx, rate, wait)
	}
	return Remaining{}, false, nil
}

func (g *Gate) tooFast(ctx context.Context, rate Rate, wait time.Duration) error {
	return g.refuse(ctx, busy(holdfast.QuotaRequests, rate.PerSecond, rate.PerSecond, wait,
		"the tenant's quota of requests is used up ("+holdfast.QuotaRequests+"): try again in a moment"))
}
