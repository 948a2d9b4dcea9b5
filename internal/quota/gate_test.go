package quota_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// world is a store with a clock that the test sets, and as many processes as it wants.
type world struct {
	t     *testing.T
	store *sqlitestore.Store

	mu   sync.Mutex // guards what follows
	now  time.Time
	down bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &world{t: t, store: s, now: time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) outage(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// shaky is the store as gates see it: it can be away.
type shaky struct {
	*sqlitestore.Store
	w *world
}

func (s shaky) up() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.down {
		return errors.New("down for the test")
	}
	return nil
}

func (s shaky) Quota(ctx context.Context, id string) (quota.Stored, error) {
	if err := s.up(); err != nil {
		return quota.Stored{}, err
	}
	return s.Store.Quota(ctx, id)
}

func (s shaky) QuotaUse(ctx context.Context, id string, now time.Time) (quota.Use, error) {
	if err := s.up(); err != nil {
		return quota.Use{}, err
	}
	return s.Store.QuotaUse(ctx, id, now)
}

func (s shaky) TakePermits(ctx context.Context, id string, r quota.Rate, now time.Time, want int64) (quota.Permits, error) {
	if err := s.up(); err != nil {
		return quota.Permits{}, err
	}
	return s.Store.TakePermits(ctx, id, r, now, want)
}

func (s shaky) TakePlace(ctx context.Context, r quota.Run, limit int64, beside bool, now time.Time) (bool, error) {
	if err := s.up(); err != nil {
		return false, err
	}
	return s.Store.TakePlace(ctx, r, limit, beside, now)
}

// gate is one more process.
func (w *world) gate(text string) *quota.Gate {
	w.t.Helper()
	q, err := holdfast.ParseQuota(text)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := quota.New(quota.Config{Store: shaky{w.store, w}, Default: q, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func command(t *testing.T, session, run, mode string) events.Command {
	t.Helper()
	c, err := events.NewCommand(holdfast.SessionRef{Tenant: "acme", Session: session}, events.KindRun, "", events.RunBody{Run: run, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantLimit(t *testing.T, what string, err error, limit string) {
	t.Helper()
	var r *quota.Refusal
	got := ""
	if errors.As(err, &r) {
		got = r.Limit
	}
	if got != limit || limit == "" && err != nil {
		t.Errorf("%s: %v, want a refusal for %q", what, err, limit)
	}
}

// Processes share what a tenant may use.
func TestProcesses(t *testing.T) {
	w := newWorld(t)
	gates := []*quota.Gate{w.gate("requests_per_second=0.5,burst=40,runs=3"), w.gate("requests_per_second=0.5,burst=40,runs=3")}
	var requests, runs atomic.Int64
	var wg sync.WaitGroup
	for i := range 120 {
		wg.Go(func() {
			g := gates[i%2]
			if _, err := g.Request(t.Context(), "acme"); err == nil {
				requests.Add(1)
			} else if holdfast.CodeOf(err) != holdfast.CodeRateLimited {
				t.Error(err)
			}
			if i < 20 {
				if _, err := g.Command(t.Context(), command(t, string(rune('a'+i)), "r", "")); err == nil {
					runs.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := requests.Load(); n > 40 || n < 40-4 { // a process may keep some that it took
		t.Errorf("%d requests of 40", n)
	}
	if n := runs.Load(); n != 3 {
		t.Errorf("%d runs of 3", n)
	}
	// With time there is more, and a clock that jumps back keeps nobody out for long.
	_, err := gates[0].Request(t.Context(), "acme")
	var r *quota.Refusal
	if !errors.As(err, &r) || r.RetryAfter <= 0 || r.RetryAfter > 2*time.Second {
		t.Fatalf("%v", err)
	}
	w.wait(r.RetryAfter)
	if _, err := gates[0].Request(t.Context(), "acme"); err != nil {
		t.Errorf("after its time: %v", err)
	}
	w.wait(-time.Hour)
	_, err = gates[0].Request(t.Context(), "acme")
	w.wait(2 * time.Second)
	if _, err2 := gates[0].Request(t.Context(), "acme"); err != nil && err2 != nil {
		t.Errorf("an hour back: %v, %v", err, err2)
	}
	// What one sets counts there at once, and in the other after five seconds.
	if _, err := gates[0].Set(t.Context(), "acme", holdfast.Quota{}); err != nil {
		t.Fatal(err)
	}
	done, err := gates[0].Command(t.Context(), command(t, "z", "r", ""))
	wantLimit(t, "in the process that was told", err, "")
	done(events.Answer{Run: "r"}, nil)
	w.wait(5 * time.Second)
	_, err = gates[1].Command(t.Context(), command(t, "y", "r", ""))
	wantLimit(t, "in the other", err, "")
}

// A place is given back when there will be no run, and only then.
func TestDone(t *testing.T) {
	w := newWorld(t)
	g := w.gate("runs=1")
	for _, c := range []struct {
		what string
		ans  events.Answer
		err  error
		free bool
	}{
		{"refused by its owner", events.Answer{Code: holdfast.CodeConflict, Message: "no"}, nil, true},
		{"joined another run", events.Answer{Run: "other"}, nil, true},
		{"nobody answered yet", events.Answer{Code: holdfast.CodeTimeout}, nil, false},
		{"nobody knows whether it is stored", events.Answer{}, errors.New("the connection broke"), false},
		{"accepted", events.Answer{Run: "r"}, nil, false},
	} {
		done, err := g.Command(t.Context(), command(t, "s", "r", ""))
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		done(c.ans, c.err)
		next, err := g.Command(t.Context(), command(t, "other", "r2", ""))
		if (err == nil) != c.free {
			t.Errorf("%s: the next run: %v", c.what, err)
		}
		if err == nil {
			next(events.Answer{Code: holdfast.CodeConflict}, nil)
		}
	}
	// What steers the run of a session needs no place, what is elsewhere does.
	for _, mode := range []string{events.ModeSteer, events.ModeInterrupt, events.ModeRollback} {
		done, err := g.Command(t.Context(), command(t, "s", "r3", mode))
		wantLimit(t, mode, err, "")
		done(events.Answer{Run: "r"}, nil)
		_, err = g.Command(t.Context(), command(t, "other", "r3", mode))
		wantLimit(t, mode+" elsewhere", err, holdfast.QuotaRuns)
	}
	// Nothing else needs one.
	for _, kind := range []string{events.KindCancel, events.KindDecide, events.KindDelete, events.KindInput, events.KindResume, events.KindSchedule} {
		_, err := g.Command(t.Context(), events.Command{Kind: kind, Session: holdfast.SessionRef{Tenant: "acme", Session: "s"}, Body: json.RawMessage("{}")})
		wantLimit(t, kind, err, "")
	}
}

// While the store is away tenants are let through, and the limits that are known count
// again afterwards.
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	g := w.gate("requests_per_second=0.1,burst=1,runs=0,sessions=0,tokens_per_day=0,storage_bytes=0")
	ask := map[string]func() error{
		"request": func() error { _, err := g.Request(t.Context(), "acme"); return err },
		"run":     func() error { _, err := g.Command(t.Context(), command(t, "s", "r", "")); return err },
		"session": func() error { return g.Session(t.Context(), "acme") },
		"write":   func() error { return g.Write(t.Context(), "acme") },
		"timer": func() error {
			return g.Timer(t.Context(), &events.Timer{Session: holdfast.SessionRef{Tenant: "acme", Session: "s"}, Kind: events.TimerRun, ID: "t"})
		},
	}
	w.outage(true)
	for what, fn := range ask {
		for range 3 {
			if err := fn(); err != nil {
				t.Errorf("%s in an outage: %v", what, err)
			}
		}
	}
	w.outage(false)
	w.wait(time.Minute + time.Second) // what was not known for lack of a store is asked again
	_ = ask["request"]()
	for what, fn := range ask {
		if err := fn(); err == nil {
			t.Errorf("%s after the outage: let through", what)
		}
	}
	if err := g.Timer(t.Context(), &events.Timer{Session: holdfast.SessionRef{Tenant: "acme", Session: "s"}, Kind: events.TimerApproval}); err != nil {
		t.Errorf("a timer that begins no run: %v", err)
	}
}

// A day that ends takes what was used with it, at once, and so does a month.
func TestDayEnds(t *testing.T) {
	w := newWorld(t)
	payload, err := holdfast.MarshalPayload(&holdfast.ModelCallFinishedEvent{Call: "c", Model: "m", Usage: &holdfast.Usage{InputTokens: 10, CallCost: 3}})
	if err != nil {
		t.Fatal(err)
	}
	ref := holdfast.SessionRef{Tenant: "acme", Session: "s"}
	created, err := holdfast.MarshalPayload(&holdfast.SessionCreatedEvent{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Record(t.Context(), events.Batch{Stream: "S", To: 1, Sessions: []events.SessionEvents{{Session: ref, Events: []events.Envelope{
		{Seq: 1, Time: w.clock(), Type: holdfast.TypeSessionCreated, V: 1, Payload: created}, {Seq: 2, Time: w.clock(), Type: holdfast.TypeModelCallFinished, V: 1, Payload: payload},
	}}}}); err != nil {
		t.Fatal(err)
	}
	for limits, limit := range map[string]string{"tokens_per_day=10": "tokens_per_day", "tokens_per_month=10": "tokens_per_month", "cost_per_day=3": "cost_per_day", "cost_per_month=2.5": "cost_per_month", "tokens_per_day=11,cost_per_month=3.01": ""} {
		g := w.gate(limits)
		wantLimit(t, limits, g.Spend(t.Context(), "acme"), limit)
		wantLimit(t, limits+" of another tenant", g.Spend(t.Context(), "bolt"), "")
		w.wait(time.Minute) // it was the last one of the day and of the month
		wantLimit(t, limits+" on the next day", g.Spend(t.Context(), "acme"), "")
		w.wait(-time.Minute)
	}
}

func TestTake(t *testing.T) {
	r := quota.Rate{PerSecond: 2, Burst: 4}
	for _, c := range []struct {
		left    float64
		ago     time.Duration
		want    int64
		granted int64
		then    float64
	}{
		{4, 0, 3, 3, 1},
		{0, time.Second, 5, 2, 0},
		{0, 400 * time.Millisecond, 1, 0, 0.8},
		{1, -time.Hour, 1, 1, 0}, // a clock that jumped back
		{0, math.MaxInt64, 100, 4, 0},
		{-5, 0, 1, 0, 0},
		{100, 0, 100, 4, 0}, // the burst was lowered
		{4, 0, -1, 0, 4},
	} {
		if p := r.Take(c.left, c.ago, c.want); p.Granted != c.granted || math.Abs(p.Left-c.then) > 1e-9 {
			t.Errorf("%v: %+v", c, p)
		}
	}
}
