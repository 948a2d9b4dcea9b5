package eventstest

import (
	"fmt"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Usage checks every promise of [events.UsageStore]. The function returns an empty
// store that nobody else uses.
func Usage(t *testing.T, open func(t *testing.T) events.Store) {
	t.Helper()
	s := open(t)
	us, ok := s.(events.UsageStore)
	if !ok {
		t.Fatalf("%T is no events.UsageStore", s)
	}
	a := &archive{Store: s}
	rows := func(q events.UsageQuery) []string {
		t.Helper()
		if q.Tenant == "" {
			q.Tenant = "acme"
		}
		list, err := us.Usage(t.Context(), q)
		must(t, err)
		out := []string{}
		for _, r := range list {
			out = append(out, fmt.Sprintf("%v calls=%d in=%d out=%d cached=%d reasoning=%d cost=%g",
				r.Columns(q.By), r.Calls, r.InputTokens, r.OutputTokens, r.CachedInputTokens, r.ReasoningTokens, r.Cost))
		}
		return out
	}
	same := func(q events.UsageQuery, want ...string) {
		t.Helper()
		if got := rows(q); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("usage by %v: %q, want %q", q.By, got, want)
		}
	}
	same(events.UsageQuery{}, "[] calls=0 in=0 out=0 cached=0 reasoning=0 cost=0")
	same(events.UsageQuery{By: []string{"day"}})

	call := func(model string, n int64) *holdfast.TokenUsageEvent {
		return &holdfast.TokenUsageEvent{Model: model, Usage: holdfast.Usage{InputTokens: n, OutputTokens: 1, CachedInputTokens: 2, ReasoningTokens: 3, CallCost: float64(n) / 2}}
	}
	// The first day of stories is that of start; the second story is of the day after.
	first := newStory(t, ref("s1"), 0).add(t, call("m/one", 10)).add(t, call("m/one", 20)).add(t, call("m/two", 4))
	later := newStory(t, ref("s2"), 24*60).add(t, call("m/one", 100))
	theirs := newStory(t, holdfast.SessionRef{Tenant: "evil", Session: "s1"}, 0).add(t, call("m/one", 1000))
	a.record(t, first.next(), later.next(), theirs.next())
	day := start.Truncate(24 * time.Hour)
	d1, d2 := day.Format(time.DateOnly), day.Add(24*time.Hour).Format(time.DateOnly)

	same(events.UsageQuery{}, "[] calls=4 in=134 out=4 cached=8 reasoning=12 cost=67")
	same(events.UsageQuery{By: []string{"day", "model"}},
		"["+d1+" m/one] calls=2 in=30 out=2 cached=4 reasoning=6 cost=15",
		"["+d1+" m/two] calls=1 in=4 out=1 cached=2 reasoning=3 cost=2",
		"["+d2+" m/one] calls=1 in=100 out=1 cached=2 reasoning=3 cost=50")
	same(events.UsageQuery{By: []string{"session"}, Match: map[string]string{"model": "m/one"}},
		"[s1] calls=2 in=30 out=2 cached=4 reasoning=6 cost=15", "[s2] calls=1 in=100 out=1 cached=2 reasoning=3 cost=50")
	same(events.UsageQuery{From: day.Add(24 * time.Hour)}, "[] calls=1 in=100 out=1 cached=2 reasoning=3 cost=50")
	same(events.UsageQuery{To: day}, "[] calls=3 in=34 out=3 cached=6 reasoning=9 cost=17")
	same(events.UsageQuery{By: []string{"session", "day", "model"}, After: []string{"s1", d1, "m/one"}, Limit: 1},
		"[s1 "+d1+" m/two] calls=1 in=4 out=1 cached=2 reasoning=3 cost=2")
	same(events.UsageQuery{By: []string{"session", "day", "model"}, After: []string{"s2", d2, "m/one"}})
	same(events.UsageQuery{Match: map[string]string{"session": "s1' OR 'x'='x"}}, "[] calls=0 in=0 out=0 cached=0 reasoning=0 cost=0")
	for _, tenant := range []string{"*", "%", "acm"} {
		same(events.UsageQuery{Tenant: tenant, By: []string{"session"}})
	}
	for _, q := range []events.UsageQuery{
		{By: []string{"tenant"}},
		{By: []string{"day", "day"}},
		{By: []string{"cost) --"}},
		{Match: map[string]string{"day": d1}},
		{By: []string{"day"}, After: []string{"s1", "x"}},
		{By: []string{"day"}, After: []string{"x"}},
	} {
		if _, err := us.Usage(t.Context(), q); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%+v: %v", q, err)
		}
	}
	// It stays when the session goes, and a batch that comes again adds nothing.
	a.record(t, first.add(t, &holdfast.SessionDeletedEvent{}).next())
	same(events.UsageQuery{}, "[] calls=4 in=134 out=4 cached=8 reasoning=12 cost=67")
}
