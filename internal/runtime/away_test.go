package runtime_test

import (
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

const awayAgent = `version: "6"
agents:
  root: {model: m, description: d, instruction: "${env.AWAY}"}
models:
  m: {provider: scripted, model: m, provider_opts: {script: {title: Away, turns: [{say: here}]}}}
`

// TestAway: a run that waits for what is away can be canceled, and is left by a worker
// that is to stop, for another one that waits on.
func TestAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, awayAgent)
	w.agents.lost.Store(true)
	warned := func(s holdfast.SessionRef) (n int) {
		for _, e := range w.events(s) {
			if e.Type == holdfast.TypeWarning {
				n++
				if !strings.Contains(string(e.Payload), "the vault does not answer") || strings.Contains(string(e.Payload), "dial") {
					t.Errorf("%s", e.Payload)
				}
			}
		}
		return n
	}
	waits := func(e events.Envelope) bool { return e.Type == holdfast.TypeWarning }
	_, stop := w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	run := func() {
		t.Helper()
		if err := w.send(s, events.KindRun, events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "go"}}}).Err(); err != nil {
			t.Fatal(err)
		}
		w.wait(s, "the run waits", waits)
	}
	run()
	if err := w.send(s, events.KindCancel, nil).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)

	run()
	stop()
	w.start(-1, false)
	w.wait(s, "another worker waits", func(e events.Envelope) bool { return waits(e) && e.Epoch > 1 && warned(s) == 3 })
	w.agents.lost.Store(false)
	w.waitParked(s, events.WaitingIdle)
	if all := transcript(w.events(s)); !strings.Contains(all, `agent_choice root "here"`) || strings.Contains(all, "error root") {
		t.Error(all)
	}
	verify(t, s, w.events(s))
}
