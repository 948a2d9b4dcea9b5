package runtime_test

import (
	"context"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// TestAgain: a command that is sent again while its run is active gets the same
// answer at once, and another body under its id is refused.
func TestAgain(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	body := func(text string) events.RunBody {
		return events.RunBody{Run: "r", Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}}
	}
	ask := func(text string) events.Answer {
		t.Helper()
		c, err := events.NewCommand(s, events.KindRun, "key", body(text))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, err := w.bus.Request(ctx, c)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		return a
	}
	first := ask("two")
	for range 3 {
		if again := ask("two"); again != first {
			t.Errorf("again: %+v, first: %+v", again, first)
		}
	}
	if other := ask("three"); other.Code != holdfast.CodeKeyReused {
		t.Errorf("another body: %+v", other)
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	if again := ask("two"); again != first {
		t.Errorf("after the run: %+v, first: %+v", again, first)
	}
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one | user: two | assistant: ok, two")
}

// TestAgainAfterAnOutage: a run that could not be accepted because something was
// away leaves nothing in the log, so that the same request succeeds later. A
// session that knows the file from a run before does not notice the outage.
func TestAgainAfterAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	ask := func(key, text string) events.Answer {
		t.Helper()
		c, err := events.NewCommand(s, events.KindRun, key, events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, err := w.bus.Request(ctx, c)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		return a
	}
	w.agents.away.Store(true)
	for range 2 {
		if a := ask("key", "hello"); a.Code != holdfast.CodeUnavailable {
			t.Fatalf("while the files are away: %+v", a)
		}
	}
	w.agents.away.Store(false)
	if a := ask("key", "hello"); a.Code != "" || a.Run == "" {
		t.Fatalf("afterwards: %+v", a)
	}
	w.waitParked(s, events.WaitingIdle)
	w.agents.away.Store(true)
	if a := ask("other", "again"); a.Code != "" || a.Run == "" {
		t.Fatalf("a file that the session has: %+v", a)
	}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: hello | assistant: ok, hello | user: again | assistant: ok, again")
	verify(t, s, w.events(s))
}
