package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Times of what a process remembers.
const (
	// limitsFor is how long limits count that were looked up: the longest that a change
	// by the operator takes to come to another process.
	limitsFor = 5 * time.Second
	// useFor is how long a look at what is used counts, or useFactor times what it took,
	// if that is longer: looks take at most a twentieth of the time of one connection.
	useFor    = time.Second
	useFactor = 20
	useMost   = time.Minute
	// storageFor is how old a measure of storage may be before it is made again.
	storageFor = time.Minute
	// lookTimeout is how long a request waits for a look at the store.
	lookTimeout = time.Second
	// complainEvery is how often it is said that the store cannot be asked.
	complainEvery = 10 * time.Second
	// tenantsMost is how many tenants are remembered.
	tenantsMost = 100_000
	// runsRetry is what a refused run is told to wait.
	runsRetry = time.Second
)

// Config configures a [Gate]. Store must be set.
type Config struct {
	Store Store
	// Default is the quota of tenants that have none of their own.
	Default holdfast.Quota
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
	// Meter makes the instruments; nil measures nothing.
	Meter metric.Meter
}

// Gate admits what tenants ask for. All methods are safe for concurrent use.
type Gate struct {
	cfg      Config
	log      *slog.Logger
	refusals metric.Int64Counter
	passed   metric.Int64Counter
	measure  chan string

	mu        sync.Mutex // guards what follows
	tenants   map[string]*account
	complains time.Time // when it may be said again that the store cannot be asked
}

// New returns a gate. It is of use without Run, but then nobody measures storage.
func New(cfg Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		cfg.Meter = noop.Meter{}
	}
	if err := cfg.Default.Validate(); err != nil {
		return nil, err
	}
	refusals, err1 := cfg.Meter.Int64Counter("holdfast.quota.refusals", metric.WithDescription("What was refused, by the limit that it was over."), metric.WithUnit("{refusal}"))
	passed, err2 := cfg.Meter.Int64Counter("holdfast.quota.unchecked", metric.WithDescription("What was let through since the store could not be asked."), metric.WithUnit("{admission}"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("make the instruments of quotas: %w", err)
	}
	return &Gate{cfg: cfg, log: cfg.Logger, refusals: refusals, passed: passed, measure: make(chan string, 256), tenants: map[string]*account{}}, nil
}

// Run measures storage until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-g.measure:
			err := events.Guard(g.log, "measure storage", func() error { return g.cfg.Store.MeasureStorage(ctx, id, g.cfg.Now(), storageFor) })
			if err != nil && ctx.Err() == nil {
				g.log.Warn("the storage of a tenant cannot be measured; it is tried again", "tenant", id, "error", err)
			}
			a := g.account(id)
			a.mu.Lock()
			a.measuring = false
			a.mu.Unlock()
		}
	}
}

// Default returns the quota of tenants that have none of their own.
func (g *Gate) Default() holdfast.Quota { return g.cfg.Default }

// Stored returns what the operator has set for a tenant, CodeNotFound for nothing.
func (g *Gate) Stored(ctx context.Context, id string) (Stored, error) {
	return g.cfg.Store.Quota(ctx, id)
}

// List returns what the operator has set for the tenants behind one.
func (g *Gate) List(ctx context.Context, after string, limit int) ([]Stored, error) {
	return g.cfg.Store.Quotas(ctx, after, limit)
}

// Set stores the quota of a tenant; in this process it counts at once.
func (g *Gate) Set(ctx context.Context, id string, q holdfast.Quota) (Stored, error) {
	if err := errors.Join(holdfast.ValidateID("tenant", id), q.Validate()); err != nil {
		return Stored{}, err
	}
	s := Stored{Tenant: id, Quota: q, UpdatedAt: g.cfg.Now().UTC().Truncate(time.Microsecond)}
	defer g.forget(id)
	return s, g.cfg.Store.PutQuota(ctx, s)
}

// Unset removes the quota of a tenant: that of the deployment counts again.
func (g *Gate) Unset(ctx context.Context, id string) error {
	defer g.forget(id)
	return g.cfg.Store.DeleteQuota(ctx, id)
}

// Limits returns the quota that counts for a tenant, and whether it is its own. In
// another process it may be some seconds old; this one asks.
func (g *Gate) Limits(ctx context.Context, id string) (q holdfast.Quota, own bool, err error) {
	s, err := g.cfg.Store.Quota(ctx, id)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound {
		return g.cfg.Default, false, nil
	}
	return s.Quota, err == nil, err
}

// Use returns what a tenant uses, and sees to it that its storage is measured.
func (g *Gate) Use(ctx context.Context, id string) (Use, error) {
	now := g.cfg.Now()
	use, err := g.cfg.Store.QuotaUse(ctx, id, now)
	if err == nil {
		a := g.account(id)
		a.mu.Lock()
		defer a.mu.Unlock()
		g.wantMeasure(a, use, now)
	}
	return use, err
}

// Command admits a command, or says why not ([Refusal]). Whoever was admitted calls
// done with what became of it, once. Only what lets agents do more is looked at:
// answers, decisions and cancellations are always admitted.
func (g *Gate) Command(ctx context.Context, c events.Command) (done func(events.Answer, error), err error) {
	done = func(events.Answer, error) {}
	id := c.Session.Tenant
	switch c.Kind {
	case events.KindRun, events.KindSchedule, events.KindResume, events.KindCompact:
	default:
		return done, nil
	}
	q := g.limits(ctx, id)
	if q.IsZero() {
		return done, nil
	}
	if err := g.afford(ctx, id, q); err != nil {
		return nil, err
	}
	if q.Runs == nil || c.Kind != events.KindRun {
		return done, nil
	}
	var body events.RunBody
	if err := json.Unmarshal(c.Body, &body); err != nil || body.Run == "" {
		return done, nil // its owner refuses it
	}
	// What steers or replaces a run needs no second place.
	beside := false
	switch body.Mode {
	case events.ModeSteer, events.ModeInterrupt, events.ModeRollback:
		beside = true
	}
	run := Run{Session: c.Session, ID: body.Run}
	if err := g.place(ctx, run, *q.Runs, beside); err != nil {
		return nil, err
	}
	return func(ans events.Answer, err error) {
		// A key that was used before stands for another request, whose run may have this place.
		refused := err == nil && ans.Code != "" && ans.Code != holdfast.CodeTimeout && ans.Code != holdfast.CodeKeyReused
		if refused || err == nil && ans.Run != "" && ans.Run != body.Run {
			g.drop(ctx, run) // there will be no such run
		}
	}, nil
}

// Timer admits a message for later whose time has come.
func (g *Gate) Timer(ctx context.Context, t *events.Timer) error {
	q := g.limits(ctx, t.Session.Tenant)
	if q.IsZero() || t.Kind != events.TimerRun {
		return nil
	}
	if err := g.afford(ctx, t.Session.Tenant, q); err != nil {
		return err
	}
	if q.Runs == nil {
		return nil
	}
	return g.place(ctx, Run{Session: t.Session, ID: t.ID}, *q.Runs, false)
}

// Session admits a new session.
func (g *Gate) Session(ctx context.Context, id string) error {
	q := g.limits(ctx, id)
	if q.Sessions == nil && q.StorageBytes == nil {
		return nil
	}
	a := g.account(id)
	use, ok := g.use(ctx, a)
	if !ok {
		return nil
	}
	if err := g.stored(ctx, q, use); err != nil {
		return err
	}
	if q.Sessions == nil {
		return nil
	}
	// What this process made since the look is not in it.
	a.mu.Lock()
	defer a.mu.Unlock()
	have := use.Sessions + a.made(g.cfg.Now())
	if have >= *q.Sessions {
		return g.refuse(ctx, spent(holdfast.QuotaSessions, float64(*q.Sessions), float64(have), time.Time{}, "sessions"))
	}
	a.creations = append(a.creations, g.cfg.Now())
	return nil
}

// Write admits something else that is stored, such as an agent file.
func (g *Gate) Write(ctx context.Context, id string) error {
	q := g.limits(ctx, id)
	if q.StorageBytes == nil {
		return nil
	}
	use, ok := g.use(ctx, g.account(id))
	if !ok {
		return nil
	}
	return g.stored(ctx, q, use)
}

// Spend admits a model call outside of runs.
func (g *Gate) Spend(ctx context.Context, id string) error {
	return g.afford(ctx, id, g.limits(ctx, id))
}

func (g *Gate) stored(ctx context.Context, q holdfast.Quota, use Use) error {
	if q.StorageBytes != nil && use.Storage >= *q.StorageBytes {
		return g.refuse(ctx, spent(holdfast.QuotaStorage, float64(*q.StorageBytes), float64(use.Storage), time.Time{}, "storage"))
	}
	return nil
}

// afford looks whether something is left to work with.
func (g *Gate) afford(ctx context.Context, id string, q holdfast.Quota) error {
	if q.StorageBytes == nil && q.TokensPerDay == nil && q.TokensPerMonth == nil && q.CostPerDay == nil && q.CostPerMonth == nil {
		return nil
	}
	use, ok := g.use(ctx, g.account(id))
	if !ok {
		return nil
	}
	now := g.cfg.Now()
	for _, l := range []struct {
		limit  string
		whole  *int64
		frac   *float64
		used   float64
		resets time.Time
		what   string
	}{
		{holdfast.QuotaTokensPerMonth, q.TokensPerMonth, nil, float64(use.Month.Tokens), NextMonth(now), "tokens"},
		{holdfast.QuotaTokensPerDay, q.TokensPerDay, nil, float64(use.Day.Tokens), NextDay(now), "tokens"},
		{holdfast.QuotaCostPerMonth, nil, q.CostPerMonth, use.Month.Cost, NextMonth(now), "money"},
		{holdfast.QuotaCostPerDay, nil, q.CostPerDay, use.Day.Cost, NextDay(now), "money"},
	} {
		if l.whole != nil {
			most := float64(*l.whole)
			l.frac = &most
		}
		if l.frac != nil && l.used >= *l.frac {
			return g.refuse(ctx, spent(l.limit, *l.frac, l.used, l.resets, l.what))
		}
	}
	return g.stored(ctx, q, use)
}

// place takes a place for a run.
func (g *Gate) place(ctx context.Context, run Run, limit int64, beside bool) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	ok, err := g.cfg.Store.TakePlace(ctx, run, limit, beside, g.cfg.Now())
	switch {
	case err != nil:
		g.unchecked(ctx, "take a place for a run", err)
	case !ok:
		return g.refuse(ctx, busy(holdfast.QuotaRuns, float64(limit), float64(limit), runsRetry,
			fmt.Sprintf("the tenant's quota of runs at once is used up (%s): %d are open; try again when one has ended", holdfast.QuotaRuns, limit)))
	}
	return nil
}

func (g *Gate) drop(ctx context.Context, run Run) {
	// Whoever asked may have gone; the place is somebody else's all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	if err := g.cfg.Store.DropPlace(ctx, run); err != nil {
		g.log.DebugContext(ctx, "the place of a run is given back later", "error", err)
	}
}

func (g *Gate) refuse(ctx context.Context, r *Refusal) error {
	g.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("holdfast.quota.limit", r.Limit)))
	return r
}

// unchecked notes that something is let through without a look.
func (g *Gate) unchecked(ctx context.Context, doing string, err error) {
	g.passed.Add(ctx, 1)
	now := g.cfg.Now()
	g.mu.Lock()
	say := !now.Before(g.complains)
	if say {
		g.complains = now.Add(complainEvery)
	}
	g.mu.Unlock()
	if say {
		g.log.WarnContext(ctx, "quotas cannot be looked up; what is asked for is let through", "doing", doing, "error", err)
	}
}
