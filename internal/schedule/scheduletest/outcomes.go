package scheduletest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

// Outcomes checks each write whose outcome its caller does not know: it is made
// again, and what is there then does not tell whether it had happened. fail lets
// the next write be reported as failed with CodeUnavailable, after it has happened
// or before.
func Outcomes(t *testing.T, s schedule.Store, fail func(happened bool)) {
	for name, happened := range map[string]bool{"failed and did not happen": false, "failed and did happen": true} {
		t.Run(name, func(t *testing.T) { outcomes(t, s, happened, fail) })
	}
}

func outcomes(t *testing.T, s schedule.Store, happened bool, fail func(happened bool)) {
	ctx := t.Context()
	// unsure makes a write that fails, and then again: again is what the second one
	// answers if the first one happened.
	unsure := func(what string, again holdfast.Code, write func() error) {
		t.Helper()
		fail(happened)
		wantCode(t, what, write(), holdfast.CodeUnavailable)
		if !happened {
			again = ""
		}
		wantCode(t, what+" again", write(), again)
	}
	want := func(what string, want schedule.Schedule) {
		t.Helper()
		got, err := s.Schedule(ctx, "acme", "u")
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	one := of("acme", "u", 0, 5)
	unsure("create", holdfast.CodeConflict, func() error { return s.PutSchedule(ctx, one, 10) })
	want("created", one)
	one.Revision, one.UpdatedAt, one.Spec.Timezone = 2, minute(1), ""
	unsure("change", holdfast.CodeStale, func() error { return s.ChangeSchedule(ctx, one) })
	want("changed", one)

	// Nobody knows who has a schedule that was taken without an answer: it comes
	// again after the lease.
	fail(happened)
	if due, _, err := s.TakeSchedules(ctx, minute(5), time.Minute, 10); holdfast.CodeOf(err) != holdfast.CodeUnavailable || len(due) > 0 && !happened {
		t.Fatalf("take: %d, %v", len(due), err)
	}
	if happened {
		wantTaken(t, s, minute(5), minute(6))
		wantTaken(t, s, minute(6), minute(7), "acme/u")
	} else {
		wantTaken(t, s, minute(5), minute(6), "acme/u")
		wantTaken(t, s, minute(6), minute(7), "acme/u")
	}
	want("taken", one)

	o := schedule.Settled{
		Firing: schedule.Firing{At: minute(5), Began: minute(6), Outcome: schedule.Started, Session: "s", Run: "r"}, Taken: minute(5), Next: minute(10),
	}
	fail(happened)
	wantCode(t, "settle", s.SettleFiring(ctx, "acme", "u", o), holdfast.CodeUnavailable)
	if happened {
		wantTaken(t, s, minute(7), minute(10))
	} else {
		wantTaken(t, s, minute(7), minute(8), "acme/u")
	}
	// The same firing, from the same process or from the one that took it next, is
	// counted once.
	must(t, s.SettleFiring(ctx, "acme", "u", o))
	one.Last, one.Fired, one.Next = o.Firing, 1, minute(10)
	want("settled", one)
	wantTaken(t, s, minute(8), minute(10))
	unsure("delete", holdfast.CodeNotFound, func() error { return s.DeleteSchedule(ctx, "acme", "u") })
	wantTaken(t, s, minute(20), time.Time{})
}
