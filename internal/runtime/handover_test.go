package runtime_test

import (
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// TestHandedOver: a worker that is told to stop leaves its session, at the end of its
// patience in the middle of a step, and another one goes on at once. Nothing but the
// wake-up of the one that leaves brings it there.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	_, stop := w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "one", "")
	w.reached()
	stop()
	w.start(-1, false)
	w.reached()
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one")
	left := 0
	for _, e := range w.events(s) {
		if e.Type == holdfast.TypeSessionHandedOver {
			left++
		}
	}
	if left != 1 {
		t.Errorf("handed over %d times:\n%s", left, transcript(w.events(s)))
	}
}

// reached waits until the tool gate is called.
func (w *world) reached() {
	w.t.Helper()
	select {
	case <-w.agents.tools.reached:
	case <-time.After(60 * time.Second):
		w.t.Fatal("waited a minute for the tool")
	}
}
