package runtime_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// twoPayments is an agent that wants to pay twice, which a human has to approve, and
// then wait.
var twoPayments = strings.Replace(gated, `- {when: {equals: one}, say: "I wait.", call: [{name: gate, arguments: {}}]}`,
	`- {when: {equals: one}, call: [{name: pay, arguments: {n: 1}}, {name: pay, arguments: {n: 2}}]}`, 1)

// TestDecisionsOfSiblings: each call has its own decision, in any order; the same one
// again changes nothing, another one is a conflict, and so is one with other
// arguments; what ran does not run again.
func TestDecisionsOfSiblings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twoPayments)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "one", "")
	w.waitParked(s, events.WaitingApproval)
	calls := w.state(s).Run.Threads[0].Calls
	if len(calls) != 2 {
		t.Fatalf("%d calls wait", len(calls))
	}
	first, second := calls[0].ID, calls[1].ID
	const edited = `{"n": 22}`
	for _, tc := range []struct {
		call, decision, arguments string
		want                      holdfast.Code
	}{
		{second, "approve", edited, ""},
		{second, "approve", `{"n":22}`, ""},
		{second, "approve", `{"n":23}`, holdfast.CodeConflict},
		{second, "approve", "", holdfast.CodeConflict},
		{second, "reject", "", holdfast.CodeConflict},
		{second, "approve-session", edited, holdfast.CodeConflict},
		{first + "x", "approve", "", holdfast.CodeConflict},
	} {
		a := w.send(s, events.KindDecide, events.DecideBody{ToolCallID: tc.call, Decision: tc.decision, Arguments: tc.arguments})
		if a.Code != tc.want {
			t.Errorf("%s %s: %+v, want %q", tc.decision, tc.arguments, a, tc.want)
		}
		w.waitParked(s, events.WaitingApproval)
	}
	if n := w.agents.tools.count("pay"); n != 1 {
		t.Errorf("the approved call ran %d times", n)
	}
	if a := w.send(s, events.KindDecide, events.DecideBody{ToolCallID: first, Decision: "approve"}); a.Err() != nil {
		t.Error(a.Err())
	}
	w.waitParked(s, events.WaitingIdle)
	verify(t, s, w.events(s))
	for _, args := range []string{`{"n":1}`, edited} {
		if n := w.agents.tools.count("pay" + args); n != 1 {
			t.Errorf("pay %s ran %d times", args, n)
		}
	}
	if n := w.agents.tools.count("pay"); n != 2 {
		t.Errorf("%d payments", n)
	}
}

// TestDecisionMeetsTimer: a decision and the time-out of the same approval that are
// both in the queue when somebody looks: the first counts, and only that.
func TestDecisionMeetsTimer(t *testing.T) {
	t.Parallel()
	file := strings.Replace(twoPayments, "max_iterations: 3", "max_iterations: 3\n    approval_timeout: 1h", 1)
	file = strings.Replace(file, ", {name: pay, arguments: {n: 2}}", "", 1)
	for _, decidedFirst := range []bool{true, false} {
		w := newWorld(t, file)
		_, stop := w.start(-1, false)
		s := ref("s")
		w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
		w.say(s, "one", "")
		w.waitParked(s, events.WaitingApproval)
		stop()
		timers := slices.Collect(maps.Keys(w.state(s).Timers))
		if len(timers) != 1 {
			t.Fatalf("timers %v", timers)
		}
		call := w.state(s).Run.Threads[0].Calls[0].ID
		decide, err := events.NewCommand(s, events.KindDecide, "decision", events.DecideBody{ToolCallID: call, Decision: "approve"})
		if err != nil {
			t.Fatal(err)
		}
		both := []events.Command{decide, timerCommand(t, s, timers[0])}
		if !decidedFirst {
			slices.Reverse(both)
		}
		for _, c := range both {
			if err := w.bus.Send(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		w.start(-1, false)
		w.waitParked(s, events.WaitingIdle)
		verify(t, s, w.events(s))
		want := 0
		if decidedFirst {
			want = 1
		}
		if n := w.agents.tools.count("pay"); n != want {
			t.Errorf("decided first: %v, %d payments:\n%s", decidedFirst, n, transcript(w.events(s)))
		}
	}
}

// count is how often a tool has run, by name, or by name and arguments.
func (e *effects) count(what string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, times := range e.runs {
		if k == what || strings.HasPrefix(k, what+"{") {
			n += times
		}
	}
	return n
}
