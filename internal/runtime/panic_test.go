package runtime_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

const looking = `
version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    toolsets: [{type: mcp, remote: {url: "http://effects.test/"}}]
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: A title
        turns:
          - when: {after_tool: look}
            say: "It says: {{.Tool}}"
          - say: "I look."
            call: [{name: look, arguments: {}}]
`

// ended returns how the session's last run ended, and the codes of all errors and
// the reasons of all owners who left since seq after.
func (w *world) ended(ref holdfast.SessionRef, after uint64) (reason string, codes []holdfast.Code, left []string) {
	w.t.Helper()
	for _, e := range w.events(ref) {
		if e.Seq <= after {
			continue
		}
		ev, err := e.Event()
		if err != nil {
			w.t.Fatal(err)
		}
		switch ev := ev.(type) {
		case *holdfast.RunFinishedEvent:
			reason = ev.Reason
		case *holdfast.ErrorEvent:
			codes = append(codes, ev.Code)
		case *holdfast.SessionHandedOverEvent:
			left = append(left, ev.Reason)
		}
	}
	return reason, codes, left
}

// TestPanics: whatever panics, the process and its other sessions go on, the run
// ends in a way that the log tells, and the next run of the session works.
func TestPanics(t *testing.T) {
	t.Parallel()
	servers := newWorld(t, looking)
	for _, test := range []struct {
		where  string
		reason string
		code   holdfast.Code // of the error in the log, "" for none
		left   int           // how many owners a panic ended
	}{
		{where: "model", reason: "error", code: holdfast.CodeInternal},
		{where: "stream ", reason: "error", code: holdfast.CodeInternal},
		{where: "stream title", reason: "stop"},
		{where: "chunk", reason: "error", code: holdfast.CodeInternal},
		{where: "toolset", reason: "stop"},
		{where: "tools", reason: "stop"},
		{where: "instructions", reason: "stop"},
		{where: "call", reason: "stop"},
		{where: "close", reason: "stop"},
		{where: "cost", reason: "error", code: holdfast.CodeInternal, left: 3}, // in the loop itself, under its lock
	} {
		t.Run(test.where, func(t *testing.T) {
			w := servers.again(t, looking)
			var on atomic.Bool
			on.Store(true)
			w.agents.trap = func(what string) {
				if what == test.where && on.Load() {
					panic("broken: " + what)
				}
			}
			_, stop := w.start(-1, false)
			defer stop()
			s := ref("panics-" + holdfast.DeriveID("case", test.where))
			w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
			run := func(text string) {
				t.Helper()
				body := events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}}
				if err := w.send(s, events.KindRun, body).Err(); err != nil {
					t.Fatal(err)
				}
				w.waitParked(s, events.WaitingIdle)
			}
			run("one")
			reason, codes, left := w.ended(s, 0)
			if reason != test.reason || len(left) != test.left || (len(codes) > 0) != (test.code != "") || (len(codes) > 0 && codes[len(codes)-1] != test.code) {
				t.Errorf("the run ended with %q, errors %q, owners who left %q; want %q, %q, %d", reason, codes, left, test.reason, test.code, test.left)
			}
			on.Store(false)
			before := w.events(s)
			run("two")
			if reason, codes, _ := w.ended(s, before[len(before)-1].Seq); reason != "stop" || len(codes) > 0 {
				t.Errorf("the next run ended with %q, errors %q", reason, codes)
			}
			verify(t, s, w.events(s))
		})
	}
}

// TestPanicOverCommand: a command over which an agent file's code panics is
// refused, and the owner goes on.
func TestPanicOverCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, looking)
	w.agents.trap = func(what string) {
		if what == "load" {
			panic("broken: " + what)
		}
	}
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	a := w.send(s, events.KindRun, events.RunBody{Messages: []holdfast.Message{{Content: "one"}}})
	if a.Code != holdfast.CodeInternal {
		t.Errorf("the answer: %+v", a)
	}
	w.waitParked(s, events.WaitingIdle)
}

// TestPanicWhileTakingCommands: a panic on the side of the commands ends the
// ownership, not the process, and the run goes on.
func TestPanicWhileTakingCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	var once atomic.Bool
	var armed atomic.Bool
	w.pending = func() {
		if armed.Load() && once.CompareAndSwap(false, true) {
			panic("broken: pending")
		}
	}
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	body := func(text string) events.RunBody {
		return events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}}
	}
	w.send(s, events.KindRun, body("one"))
	<-w.agents.tools.reached
	armed.Store(true)
	if err := w.send(s, events.KindRun, body("two")).Err(); err != nil {
		t.Fatal(err)
	}
	if !once.Load() {
		t.Fatal("nothing has panicked")
	}
	<-w.agents.tools.reached // the call is made again: it only reads
	close(w.agents.tools.open)
	w.waitParked(s, events.WaitingIdle)
	if _, _, left := w.ended(s, 0); len(left) != 1 || left[0] != events.LeftPanicked {
		t.Errorf("owners who left: %q", left)
	}
	if reason, codes, _ := w.ended(s, 0); reason != "stop" || len(codes) > 0 {
		t.Errorf("the run ended with %q, errors %q", reason, codes)
	}
	verify(t, s, w.events(s))
}

// TestPanicAtOnce: a session that nobody can even load is tried a few times and
// then rests until its next command, which is kept.
func TestPanicAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, looking)
	var on atomic.Bool
	on.Store(true)
	w.pending = func() {
		if on.Load() {
			panic("broken: pending")
		}
	}
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	c, err := events.NewCommand(s, events.KindRun, "", events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "one"}}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.bus.Request(t.Context(), c)
	if err != nil || a.Code != holdfast.CodeUnavailable {
		t.Fatalf("the answer: %+v, %v", a, err)
	}
	w.wait(s, "parked", func(e events.Envelope) bool {
		var p holdfast.SessionParkedEvent
		return e.Type == holdfast.TypeSessionParked && json.Unmarshal(e.Payload, &p) == nil && p.Waiting == events.WaitingError
	})
	if n := len(w.events(s)); n > 1+6*events.MaxPanics { // a delivery may come again meanwhile
		t.Errorf("the log has %d events", n)
	}
	on.Store(false)
	if err := w.send(s, events.KindRun, events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "two"}}}).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	if reason, codes, _ := w.ended(s, 0); reason != "stop" || len(codes) > 0 {
		t.Errorf("the run ended with %q, errors %q", reason, codes)
	}
	verify(t, s, w.events(s))
}
