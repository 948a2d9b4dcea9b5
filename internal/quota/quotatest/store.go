// Package quotatest checks what every store of quotas promises.
package quotatest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
)

// Archive is a store with quotas.
type Archive interface {
	events.Store
	quota.Store
}

// start is the last hour of a month, so that days and months end.
var start = time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)

// Store runs the suite; open returns an empty store.
func Store(t *testing.T, open func(t *testing.T) Archive) {
	t.Run("documents", func(t *testing.T) { documents(t, open(t)) })
	t.Run("use", func(t *testing.T) { use(t, open(t)) })
	t.Run("permits", func(t *testing.T) { permits(t, open(t)) })
	t.Run("places", func(t *testing.T) { places(t, open(t)) })
	t.Run("the last place", func(t *testing.T) { lastPlace(t, open(t)) })
}

// Outcomes lets writes fail whose outcome is then not known. fail lets the next write
// be reported as failed with CodeUnavailable, after it has happened or before.
func Outcomes(t *testing.T, s quota.Store, fail func(happened bool)) {
	for _, happened := range []bool{false, true} {
		t.Run(fmt.Sprintf("happened %v", happened), func(t *testing.T) {
			q := parse(t, "u", "runs=5")
			fail(happened)
			wantCode(t, "put", s.PutQuota(t.Context(), q), holdfast.CodeUnavailable)
			must(t, s.PutQuota(t.Context(), q))
			r := quota.Run{Session: ref("u", fmt.Sprint("s", happened)), ID: "r"}
			fail(happened)
			if _, err := s.TakePlace(t.Context(), r, 1, false, start); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
				t.Errorf("take a place: %v", err)
			}
			// Whoever asks again for the same run has its place, and it is one.
			take(t, s, r, 1, false, start, true)
			take(t, s, quota.Run{Session: r.Session, ID: "r2"}, 1, false, start, false)
			fail(happened)
			wantCode(t, "drop", s.DropPlace(t.Context(), r), holdfast.CodeUnavailable)
			must(t, s.DropPlace(t.Context(), r))
			fail(happened)
			again := holdfast.CodeNotFound
			if !happened {
				again = ""
			}
			wantCode(t, "delete", s.DeleteQuota(t.Context(), "u"), holdfast.CodeUnavailable)
			wantCode(t, "delete again", s.DeleteQuota(t.Context(), "u"), again)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, what string, err error, code holdfast.Code) {
	t.Helper()
	if holdfast.CodeOf(err) != code {
		t.Errorf("%s: %v, want code %q", what, err, code)
	}
}

func parse(t *testing.T, tenant, text string) quota.Stored {
	t.Helper()
	q, err := holdfast.ParseQuota(text)
	must(t, err)
	return quota.Stored{Tenant: tenant, Quota: q, UpdatedAt: start}
}

func ref(tenant, session string) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: tenant, Session: session}
}

func documents(t *testing.T, s Archive) {
	ctx := t.Context()
	_, err := s.Quota(ctx, "acme")
	wantCode(t, "none", err, holdfast.CodeNotFound)
	wantCode(t, "delete none", s.DeleteQuota(ctx, "acme"), holdfast.CodeNotFound)
	a, b := parse(t, "acme", "runs=0,requests_per_second=0.5,burst=3,cost_per_month=12.25"), parse(t, "bolt", "")
	must(t, s.PutQuota(ctx, parse(t, "acme", "sessions=9007199254740991")))
	must(t, s.PutQuota(ctx, a))
	must(t, s.PutQuota(ctx, b))
	for _, want := range []quota.Stored{a, b} {
		got, err := s.Quota(ctx, want.Tenant)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v: %s", err, d)
		}
	}
	for _, c := range []struct {
		after string
		limit int
		want  []quota.Stored
	}{{"", 10, []quota.Stored{a, b}}, {"", 1, []quota.Stored{a}}, {"acme", 10, []quota.Stored{b}}, {"bolt", 10, nil}} {
		got, err := s.Quotas(ctx, c.after, c.limit)
		if d := cmp.Diff(c.want, got); err != nil || d != "" {
			t.Errorf("behind %q: %v: %s", c.after, err, d)
		}
	}
	must(t, s.DeleteQuota(ctx, "acme"))
	_, err = s.Quota(ctx, "acme")
	wantCode(t, "deleted", err, holdfast.CodeNotFound)
}

// script records events of sessions.
type script struct {
	t    *testing.T
	s    events.Store
	pos  uint64
	seqs map[holdfast.SessionRef]uint64
}

func (w *script) record(r holdfast.SessionRef, at time.Time, evs ...holdfast.Event) {
	w.t.Helper()
	var list []events.Envelope
	for _, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		must(w.t, err)
		w.seqs[r]++
		list = append(list, events.Envelope{Seq: w.seqs[r], Time: at, Run: "r", Type: ev.EventType(), V: 1, Agent: "root", Payload: payload})
	}
	must(w.t, w.s.Record(w.t.Context(), events.Batch{Stream: "EVENTS-0", From: w.pos, To: w.pos + 1, Sessions: []events.SessionEvents{{Session: r, Events: list}}}))
	w.pos++
}

func newScript(t *testing.T, s events.Store) *script {
	return &script{t: t, s: s, seqs: map[holdfast.SessionRef]uint64{}}
}

func took(in, out int64, cost float64) holdfast.Event {
	return &holdfast.ModelCallFinishedEvent{Call: "c", Model: "scripted/demo", Usage: &holdfast.Usage{InputTokens: in, OutputTokens: out, CallCost: cost}}
}

func use(t *testing.T, s Archive) {
	ctx := t.Context()
	w := newScript(t, s)
	one, two := ref("acme", "one"), ref("acme", "two")
	w.record(one, start.AddDate(0, -1, 0), &holdfast.SessionCreatedEvent{}, took(1_000_000, 1, 100)) // a month ago
	w.record(one, start.AddDate(0, 0, -1), took(100, 10, 1))                                         // yesterday
	w.record(one, start, took(20, 2, 0.5), took(1<<62, 1<<62, 0))
	w.record(one, start, took(-5, 3, -7)) // in the same row: it takes the sums down as far as it goes
	w.record(two, start, &holdfast.SessionCreatedEvent{})
	w.record(ref("bolt", "one"), start, &holdfast.SessionCreatedEvent{}, took(7, 7, 7))
	u, err := s.QuotaUse(ctx, "acme", start)
	if err != nil || u.Sessions != 2 || u.Month.Tokens < 1<<62 || u.Day.Tokens < 1<<62 || u.Runs != 0 || u.Storage != 0 || !u.StorageAt.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err = s.QuotaUse(ctx, "acme", start.Add(-24*time.Hour)); err != nil || u.Month.Cost < 1 {
		t.Errorf("the day before: %+v, %v", u, err)
	}
	if u, err = s.QuotaUse(ctx, "bolt", start); err != nil || u.Day != (quota.Spent{Tokens: 14, Cost: 7}) || u.Month != u.Day || u.Sessions != 1 {
		t.Errorf("another tenant: %+v, %v", u, err)
	}
	if u, err = s.QuotaUse(ctx, "bolt", start.Add(time.Hour)); err != nil || u.Day != (quota.Spent{}) || u.Month != u.Day {
		t.Errorf("the next month: %+v, %v", u, err)
	}
	if u, err = s.QuotaUse(ctx, "nobody", start); err != nil || u != (quota.Use{}) {
		t.Errorf("nobody: %+v, %v", u, err)
	}

	// Storage is what was there when somebody looked.
	must(t, s.MeasureStorage(ctx, "bolt", start, time.Minute))
	first, err := s.QuotaUse(ctx, "bolt", start)
	if err != nil || first.Storage <= 0 || !first.StorageAt.Equal(start) {
		t.Fatalf("measured: %+v, %v", first, err)
	}
	w.record(ref("bolt", "one"), start, &holdfast.UserMessageEvent{Message: fmt.Sprintf("%x", make([]byte, 5000))})
	for _, at := range []time.Duration{0, time.Second, 59 * time.Second} { // others are looking, or have looked
		must(t, s.MeasureStorage(ctx, "bolt", start.Add(at), time.Minute))
	}
	if u, err := s.QuotaUse(ctx, "bolt", start); err != nil || u.Storage != first.Storage || !u.StorageAt.Equal(start) {
		t.Errorf("measured too often: %+v, %v", u, err)
	}
	must(t, s.MeasureStorage(ctx, "bolt", start.Add(time.Minute), time.Minute))
	second, err := s.QuotaUse(ctx, "bolt", start)
	if err != nil || second.Storage <= first.Storage {
		t.Errorf("measured again: %+v, %v", second, err)
	}
	// A clock that was an hour ahead does not keep the figure for an hour.
	w.record(ref("bolt", "one"), start, &holdfast.SessionDeletedEvent{})
	must(t, s.MeasureStorage(ctx, "bolt", start.Add(time.Second), time.Minute))
	if u, err := s.QuotaUse(ctx, "bolt", start); err != nil || u.Storage != 0 || u.Sessions != 0 || u.Day.Tokens != 14 {
		t.Errorf("after the deletion: %+v, %v", u, err)
	}
}

func permits(t *testing.T, s Archive) {
	ctx := t.Context()
	slow := quota.Rate{PerSecond: 0.001, Burst: 5}
	// Many ask at once: all get what there is, together.
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := s.TakePermits(ctx, "acme", slow, time.Now(), 2)
			if err != nil || p.Granted < 0 || p.Granted > 2 {
				t.Errorf("%+v, %v", p, err)
			}
			got.Add(p.Granted)
		})
	}
	wg.Wait()
	if got.Load() != 5 {
		t.Errorf("%d permits of 5", got.Load())
	}
	if p, err := s.TakePermits(ctx, "acme", slow, time.Now(), 1); err != nil || p.Granted != 0 || p.Left < 0 || p.Left >= 1 {
		t.Errorf("from an empty bucket: %+v, %v", p, err)
	}
	if p, err := s.TakePermits(ctx, "bolt", slow, time.Now(), 9); err != nil || p.Granted != 5 {
		t.Errorf("of another tenant: %+v, %v", p, err)
	}
	// It fills with time, as the rate is now, and not over the brim.
	fast := quota.Rate{PerSecond: 1e6, Burst: 3}
	for deadline := time.Now().Add(30 * time.Second); ; {
		p, err := s.TakePermits(ctx, "acme", fast, time.Now(), 3)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a bucket that should fill: %+v, %v", p, err)
		}
		if p.Granted == 3 && p.Left == 0 {
			break
		}
	}
}

func take(t *testing.T, s quota.Store, r quota.Run, limit int64, beside bool, now time.Time, want bool) {
	t.Helper()
	if got, err := s.TakePlace(t.Context(), r, limit, beside, now); err != nil || got != want {
		t.Errorf("a place for %s of %s: %v, %v; want %v", r.ID, r.Session, got, err, want)
	}
}

func places(t *testing.T, s Archive) {
	w := newScript(t, s)
	one, two := ref("acme", "one"), ref("acme", "two")
	run := func(r holdfast.SessionRef, id string) quota.Run { return quota.Run{Session: r, ID: id} }
	take(t, s, run(one, "a"), 0, false, start, false)
	take(t, s, run(one, "a"), 2, false, start, true)
	take(t, s, run(one, "a"), 2, false, start, true) // the same run again
	take(t, s, run(two, "b"), 2, false, start, true)
	take(t, s, run(two, "c"), 2, false, start, false)
	take(t, s, run(ref("bolt", "one"), "c"), 1, false, start, true) // of another tenant
	take(t, s, run(ref("acme", "three"), "c"), 2, true, start, false)
	take(t, s, run(two, "c"), 2, true, start, true)   // beside b
	take(t, s, run(two, "d"), 1, false, start, false) // the limit was lowered
	if u, err := s.QuotaUse(t.Context(), "acme", start); err != nil || u.Runs != 3 {
		t.Errorf("open runs: %+v, %v", u, err)
	}

	must(t, s.DropPlace(t.Context(), run(two, "c")))
	must(t, s.DropPlace(t.Context(), run(two, "c")))
	must(t, s.DropPlace(t.Context(), run(ref("bolt", "one"), "a"))) // not that tenant's
	take(t, s, run(two, "d"), 2, false, start, false)
	// A run that has ended, and no other.
	w.record(one, start, &holdfast.SessionCreatedEvent{}, &holdfast.RunQueuedEvent{Run: "a"}, &holdfast.RunStartedEvent{Run: "a"}, &holdfast.RunQueuedEvent{Run: "z"})
	take(t, s, run(two, "d"), 2, false, start, false)
	w.record(one, start, &holdfast.RunFinishedEvent{Run: "a", Reason: "completed"})
	take(t, s, run(two, "d"), 2, false, start, true)
	// A session that was deleted.
	w.record(two, start, &holdfast.SessionCreatedEvent{}, &holdfast.SessionDeletedEvent{})
	take(t, s, run(one, "e"), 2, false, start, true)
	take(t, s, run(one, "f"), 2, false, start, true)

	// Places whose runs are not there are taken back when they are needed: not before
	// their time, not while the session is at something or was a moment ago.
	late := start.Add(quota.UnusedAfter + time.Second)
	take(t, s, run(two, "g"), 2, false, start.Add(quota.UnusedAfter), false)
	w.record(one, late, &holdfast.RunStartedEvent{Run: "e"})
	take(t, s, run(two, "g"), 2, false, late.Add(time.Hour), false)
	w.record(one, late, &holdfast.RunFinishedEvent{Run: "e", Reason: "completed"})
	take(t, s, run(two, "g"), 2, false, late, true) // that of e
	take(t, s, run(two, "h"), 2, false, late, false)
	take(t, s, run(two, "h"), 2, false, late.Add(quota.IdleAfter+time.Second), true) // f is nowhere
	if u, err := s.QuotaUse(t.Context(), "bolt", start); err != nil || u.Runs != 1 {
		t.Errorf("of the other tenant: %+v, %v", u, err)
	}
}

// lastPlace lets many take the last places at the same instant.
func lastPlace(t *testing.T, s Archive) {
	var got atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range 24 {
		wg.Go(func() {
			<-begin
			ok, err := s.TakePlace(t.Context(), quota.Run{Session: ref("acme", fmt.Sprint("s", i)), ID: "r"}, 3, false, start)
			if err != nil {
				t.Error(err)
			}
			if ok {
				got.Add(1)
			}
		})
	}
	close(begin)
	wg.Wait()
	if got.Load() != 3 {
		t.Errorf("%d of 3 places were taken", got.Load())
	}
}
