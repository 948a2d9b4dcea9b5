package searchtest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/search"
)

// Outcomes checks each write whose outcome its caller does not know: it is made
// again, and everything is found once, and nothing of what is deleted. fail lets the
// next write be reported as failed with CodeUnavailable, after it has happened or
// before.
func Outcomes(t *testing.T, s Archive, fail func(happened bool)) {
	for name, happened := range map[string]bool{"failed and did not happen": false, "failed and did happen": true} {
		t.Run(name, func(t *testing.T) { outcomes(t, s, happened, fail) })
	}
}

func outcomes(t *testing.T, s Archive, happened bool, fail func(happened bool)) {
	ctx := t.Context()
	w := newWorld(t, s)
	tenant := map[bool]string{false: "acme", true: "bolt"}[happened]
	w.stream = "SEARCH-" + tenant
	unsure := func(what string, err error) {
		t.Helper()
		if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
			t.Fatalf("%s: %v, want %s", what, err, holdfast.CodeUnavailable)
		}
	}
	fail(happened)
	_, err := s.LeadIndex(ctx, "test", start, start.Add(time.Minute))
	unsure("take the lease", err)
	walk := search.Walk{After: ref(tenant, "a"), Ended: start}
	fail(happened)
	unsure("note the walk", s.PutWalk(ctx, walk))
	must(t, s.PutWalk(ctx, walk))
	l, err := s.LeadIndex(ctx, "test", start, start.Add(time.Minute))
	must(t, err)
	if d := cmp.Diff(search.Lead{Held: true, Walk: walk}, l); d != "" {
		t.Error(d)
	}
	w.index() // what the tests before have left

	r := ref(tenant, "nectarine")
	w.say(r, "nectarine")
	fail(happened)
	_, err = w.x.Round(ctx)
	unsure("index", err)
	w.index()
	if got := w.search(tenant, "nectarine"); len(got) != 1 {
		t.Errorf("indexed: %q", got)
	}

	w.say(r, "nectarine noted")
	w.add(w.log(r), "", &holdfast.SessionDeletedEvent{})
	b := w.batch()
	fail(happened)
	unsure("delete", w.tryRecord(b))
	if err := w.tryRecord(b); errors.Is(err, events.ErrCursorMoved) != happened || !happened && err != nil {
		t.Fatalf("delete again: %v", err)
	}
	w.index()
	if got := w.search(tenant, "nectarine"); len(got) != 0 {
		t.Errorf("deleted: %q", got)
	}
}
