// Package scheduletest checks what a schedule.Store promises.
package scheduletest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

var begin = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return begin.Add(time.Duration(n) * time.Minute) }

func of(tenant, id string, created, next int) schedule.Schedule {
	s := schedule.Schedule{
		Tenant: tenant, ID: id, Revision: 1, CreatedAt: minute(created), UpdatedAt: minute(created),
		Spec: schedule.Spec{
			Cron: "0 9 * * 1-5", Timezone: "Europe/Berlin", StartsAt: minute(created), Agent: "demo.yaml", Overlap: schedule.OverlapSkip, Missed: schedule.MissedCatchUp,
			Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "Ünï \"quoted\" 'text'"}}, Metadata: map[string]string{"a": "b"},
		},
	}
	if next > 0 {
		s.Next = minute(next)
	}
	return s
}

// Store runs the suite. The function returns an empty store.
func Store(t *testing.T, open func(t *testing.T) schedule.Store) {
	t.Run("rows", func(t *testing.T) { rows(t, open(t)) })
	t.Run("firings", func(t *testing.T) { firings(t, open(t)) })
	t.Run("takers", func(t *testing.T) { takers(t, open(t)) })
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
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func rows(t *testing.T, s schedule.Store) {
	ctx := t.Context()
	a, b := of("acme", "a", 1, 5), of("acme", "b", 1, 0)
	c, other := of("acme", "c", 2, 7), of("bolt", "a", 3, 9)
	for _, one := range []schedule.Schedule{a, b, c} {
		must(t, s.PutSchedule(ctx, one, 3))
	}
	must(t, s.PutSchedule(ctx, other, 3))
	wantCode(t, "one too many", s.PutSchedule(ctx, of("acme", "d", 4, 5), 3), holdfast.CodeConflict)
	wantCode(t, "the same id", s.PutSchedule(ctx, of("acme", "a", 4, 5), 10), holdfast.CodeConflict)
	for tenant, want := range map[string][]schedule.Schedule{"acme": {c, b, a}, "bolt": {other}, "*": nil, "": nil} {
		got, err := s.Schedules(ctx, tenant, schedule.Page{Limit: 10})
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("of %q: %s", tenant, d)
		}
	}
	var paged []string
	p := schedule.Page{Limit: 1}
	for {
		got, err := s.Schedules(ctx, "acme", p)
		must(t, err)
		if len(got) == 0 {
			break
		}
		paged = append(paged, got[0].ID)
		p.BeforeTime, p.BeforeID = got[0].CreatedAt, got[0].ID
	}
	if d := cmp.Diff([]string{"c", "b", "a"}, paged); d != "" {
		t.Errorf("page by page: %s", d)
	}
	_, err := s.Schedule(ctx, "bolt", "c")
	wantCode(t, "of another tenant", err, holdfast.CodeNotFound)

	a.Spec.Cron, a.Spec.Every, a.Spec.Timezone = "", "1h", ""
	a.Revision, a.UpdatedAt, a.Paused, a.Reason, a.Next = 2, minute(6), true, "why not", time.Time{}
	must(t, s.ChangeSchedule(ctx, a))
	got, err := s.Schedule(ctx, "acme", "a")
	must(t, err)
	if d := cmp.Diff(a, got); d != "" {
		t.Errorf("changed: %s", d)
	}
	wantCode(t, "changed twice", s.ChangeSchedule(ctx, a), holdfast.CodeStale)
	wantCode(t, "nobody's", s.ChangeSchedule(ctx, of("bolt", "c", 1, 1)), holdfast.CodeNotFound)
	must(t, s.DeleteSchedule(ctx, "acme", "a"))
	wantCode(t, "deleted twice", s.DeleteSchedule(ctx, "acme", "a"), holdfast.CodeNotFound)
	if _, err := s.Schedule(ctx, "bolt", "a"); err != nil {
		t.Errorf("that of another tenant: %v", err)
	}
}

// wantTaken takes what is due and checks which that is, and what is next.
func wantTaken(t *testing.T, s schedule.Store, now, next time.Time, want ...string) {
	t.Helper()
	due, n, err := s.TakeSchedules(t.Context(), now, time.Minute, 10)
	must(t, err)
	var ids []string
	for _, d := range due {
		ids = append(ids, d.Tenant+"/"+d.ID)
	}
	if d := cmp.Diff(want, ids); d != "" || !n.Equal(next) {
		t.Fatalf("at %v: next %v, want %v; taken: %s", now, n, next, d)
	}
}

func firings(t *testing.T, s schedule.Store) {
	ctx := t.Context()
	wantTaken(t, s, minute(1), time.Time{})
	must(t, s.PutSchedule(ctx, of("acme", "a", 0, 5), 10))
	must(t, s.PutSchedule(ctx, of("bolt", "b", 0, 4), 10))
	must(t, s.PutSchedule(ctx, of("acme", "never", 0, 0), 10))
	wantTaken(t, s, minute(3), minute(4))
	wantTaken(t, s, minute(5), minute(6), "bolt/b", "acme/a")
	wantTaken(t, s, minute(5), minute(6)) // others have them
	// Nobody settled them: they come again.
	wantTaken(t, s, minute(6), minute(7), "bolt/b", "acme/a")
	f := schedule.Firing{At: minute(5), Began: minute(6), Outcome: schedule.Started, Session: "s", Run: "r"}
	for range 2 { // the second time is not counted
		must(t, s.SettleFiring(ctx, "acme", "a", schedule.Settled{Firing: f, Taken: minute(5), Next: minute(10)}))
	}
	got, err := s.Schedule(ctx, "acme", "a")
	must(t, err)
	want := of("acme", "a", 0, 10)
	want.Last, want.Fired = f, 1
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("settled: %s", d)
	}
	// Somebody changed it while it fired: what they want stays, and the firing is told.
	want.Revision, want.Next = 2, minute(30)
	must(t, s.ChangeSchedule(ctx, want))
	f.At, f.Outcome = minute(10), schedule.Skipped
	must(t, s.SettleFiring(ctx, "acme", "a", schedule.Settled{Firing: f, Taken: minute(10), Next: minute(15), Pause: "no"}))
	got, err = s.Schedule(ctx, "acme", "a")
	must(t, err)
	want.Last = f
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("settled after a change: %s", d)
	}
	f.At = minute(4)
	must(t, s.SettleFiring(ctx, "bolt", "b", schedule.Settled{Firing: f, Taken: minute(4), Next: minute(8), Pause: "the session is gone"}))
	if got, err = s.Schedule(ctx, "bolt", "b"); err != nil || !got.Paused || got.Reason != "the session is gone" || !got.Next.IsZero() || got.Fired != 0 {
		t.Errorf("paused: %+v, %v", got, err)
	}
	wantTaken(t, s, minute(29), minute(30))
	must(t, s.DeleteSchedule(ctx, "acme", "a"))
	must(t, s.SettleFiring(ctx, "acme", "a", schedule.Settled{Firing: f, Taken: minute(30), Next: minute(31)}))
	wantTaken(t, s, minute(100), time.Time{})
}

// takers: what several take at the same time goes to one each.
func takers(t *testing.T, s schedule.Store) {
	const n = 40
	for i := range n {
		must(t, s.PutSchedule(t.Context(), of("acme", fmt.Sprintf("s%02d", i), 0, 1), n))
	}
	var mu sync.Mutex // guards seen
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n {
				due, _, err := s.TakeSchedules(t.Context(), minute(1), time.Hour, 3)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, d := range due {
					seen[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != n {
		t.Errorf("%d of %d were taken", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was taken %d times", id, times)
		}
	}
}
