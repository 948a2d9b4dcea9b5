package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// TestHandedOver: a worker that is told to stop leaves its session, at a safe point or
// at the end of its patience in the middle of a step, and another one goes on at once.
// Nothing but the wake-up of the one that leaves brings it there.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, say, waiting, reason string }{
		{"in the middle of a step", "one", events.WaitingIdle, "shutting_down"},
		{"between two steps", "loop", events.WaitingIterations, "draining"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Replace(gated, "max_iterations: 3", "max_iterations: 200", 1))
			_, stop := w.start(-1, false)
			s := ref("s")
			w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
			w.say(s, tc.say, "")
			if tc.waiting == events.WaitingIdle {
				w.reached()
			} else {
				w.wait(s, "a few steps", func(e events.Envelope) bool { return e.Seq > 30 })
			}
			w.start(-1, false)
			stop()
			if tc.waiting == events.WaitingIdle {
				w.reached()
				w.agents.tools.open <- struct{}{}
			}
			w.waitParked(s, tc.waiting)
			verify(t, s, w.events(s))
			var reasons []string
			for _, e := range w.events(s) {
				var p holdfast.SessionHandedOverEvent
				if e.Type != holdfast.TypeSessionHandedOver {
					continue
				}
				if err := json.Unmarshal(e.Payload, &p); err != nil {
					t.Fatal(err)
				}
				reasons = append(reasons, p.Reason)
			}
			if strings.Join(reasons, " ") != tc.reason {
				t.Errorf("handed over: %v, want %s\n%s", reasons, tc.reason, transcript(w.events(s)))
			}
		})
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
