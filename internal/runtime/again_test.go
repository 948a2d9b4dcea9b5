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
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
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
