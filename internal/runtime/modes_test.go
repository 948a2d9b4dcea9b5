package runtime_test

import (
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// gated is an agent whose answer to "one" waits in a tool until the test lets it.
const gated = `
version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    max_iterations: 3
    toolsets: [{type: mcp, remote: {url: "http://effects.test/"}}]
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: T
        turns:
          - {when: {after_tool: gate}, say: "passed, {{.User}}"}
          - {when: {equals: one}, say: "I wait.", call: [{name: gate, arguments: {}}]}
          - {when: {contains: loop}, call: [{name: look, arguments: {}}]}
          - {when: {after_tool: look}, call: [{name: look, arguments: {n: "{{.Messages}}"}}]}
          - {when: {equals: nuls}, call: [{name: flood, arguments: {n: nul}}]}
          - {when: {equals: flood}, call: [{name: flood, arguments: {}}]}
          - {say: "ok, {{.User}}"}
`

// during starts a run that waits in its tool.
func during(t *testing.T) (*world, holdfast.SessionRef) {
	t.Helper()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "one", "")
	select {
	case <-w.agents.tools.reached:
	case <-time.After(30 * time.Second):
		t.Fatalf("the tool is not reached:\n%s", transcript(w.events(s)))
	}
	return w, s
}

func (w *world) try(s holdfast.SessionRef, text, mode string) events.Answer {
	w.t.Helper()
	return w.send(s, events.KindRun, events.RunBody{Mode: mode, Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}})
}

func (w *world) say(s holdfast.SessionRef, text, mode string) events.Answer {
	w.t.Helper()
	a := w.try(s, text, mode)
	if err := a.Err(); err != nil {
		w.t.Fatal(err)
	}
	return a
}

// talk is the conversation in one line.
func (w *world) talk(s holdfast.SessionRef) string {
	w.t.Helper()
	var parts []string
	for _, m := range w.state(s).Conversation {
		parts = append(parts, string(m.Role)+": "+m.Content)
	}
	verify(w.t, s, w.events(s))
	return strings.Join(parts, " | ")
}

func wantTalk(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	first := w.state(s).Run.ID
	if a := w.say(s, "two", ""); a.Run == first {
		t.Error("a second message joined the run")
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one | user: two | assistant: ok, two")
}

func TestSteer(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	first := w.state(s).Run.ID
	if a := w.say(s, "also this", events.ModeSteer); a.Run != first {
		t.Error("a steering message began a run of its own")
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | user: also this | assistant: ok, also this")
}

func TestReject(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	if a := w.try(s, "two", events.ModeReject); a.Code != holdfast.CodeConflict {
		t.Errorf("answer: %+v", a)
	}
	if a := w.try(s, "two", "whatever"); a.Code != holdfast.CodeInvalid {
		t.Errorf("answer: %+v", a)
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one")
	if a := w.try(s, "two", events.ModeReject); a.Code != "" {
		t.Errorf("nothing is active: %+v", a)
	}
	w.waitParked(s, events.WaitingIdle)
}

// canceled returns the payloads of the cancellations in the log.
func (w *world) canceled(s holdfast.SessionRef) (payloads []string) {
	w.t.Helper()
	for _, e := range w.events(s) {
		if e.Type == holdfast.TypeRunCanceled {
			payloads = append(payloads, string(e.Payload))
		}
	}
	return payloads
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	w.say(s, "later", "")
	now := w.say(s, "now", events.ModeInterrupt)
	w.waitParked(s, events.WaitingIdle)
	if got := w.canceled(s); len(got) != 1 || !strings.Contains(got[0], `"replaced_by":"`+now.Run+`"`) {
		t.Errorf("the log does not say what interrupted the run: %q", got)
	}
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: The tool call was canceled by the user. | user: now | assistant: ok, now | user: later | assistant: ok, later")
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	w.say(s, "instead", events.ModeRollback)
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: instead | assistant: ok, instead")
	if text := transcript(w.events(s)); !strings.Contains(text, `user_message  message="one"`) {
		t.Errorf("the log has lost what was rolled back:\n%s", text)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	queued := w.say(s, "two", "")
	if err := w.send(s, events.KindCancel, events.CancelBody{Run: queued.Run, Reason: "of the queued"}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.send(s, events.KindCancel, events.CancelBody{Reason: "of the active"}).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	if got := w.canceled(s); len(got) != 2 || !strings.Contains(got[0], `"reason":"of the queued"`) || !strings.Contains(got[1], `"reason":"of the active"`) {
		t.Errorf("the log does not say why: %q", got)
	}
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: The tool call was canceled by the user.")
	if a := w.send(s, events.KindCancel, nil); a.Code != holdfast.CodeConflict {
		t.Errorf("nothing to cancel: %+v", a)
	}
	w.say(s, "go on", "")
	w.waitParked(s, events.WaitingIdle)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	if err := w.send(s, events.KindDelete, nil).Err(); err != nil {
		t.Fatal(err)
	}
	w.wait(s, "deleted", func(e events.Envelope) bool { return e.Type == holdfast.TypeSessionDeleted })
	for _, kind := range []string{events.KindRun, events.KindDecide, events.KindCancel} {
		if a := w.send(s, kind, events.DecideBody{Decision: "approve"}); a.Code != holdfast.CodeNotFound {
			t.Errorf("%s to a deleted session: %+v", kind, a)
		}
	}
	if a := w.send(s, events.KindDelete, nil); a.Code != "" {
		t.Errorf("deleted again: %+v", a)
	}
	evs := w.events(s)
	if last := evs[len(evs)-1].Type; last != holdfast.TypeSessionDeleted {
		t.Errorf("%s follows the deletion", last)
	}
	verify(t, s, evs)
}

// TestHistory: clients of the original send everything that the user said with
// every turn, and again when they have lost a stream.
func TestHistory(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	post := func(texts ...string) events.Answer {
		t.Helper()
		var msgs []holdfast.Message
		for _, text := range texts {
			msgs = append(msgs, holdfast.Message{Role: holdfast.RoleUser, Content: text})
		}
		a := w.send(s, events.KindRun, events.RunBody{History: true, Messages: msgs})
		if err := a.Err(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := w.state(s).Run.ID
	if a := post("one"); a.Run != first {
		t.Errorf("the lost run was not found again: %+v", a)
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	second := post("one", "two")
	w.waitParked(s, events.WaitingIdle)
	if a := post("one", "two"); a.Run != second.Run {
		t.Errorf("the last run was not found again: %+v", a)
	}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one | user: two | assistant: ok, two")
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	for _, d := range []events.DecideBody{{Decision: "approve"}, {Decision: "reject", ToolCallID: "no such call"}} {
		if a := w.send(s, events.KindDecide, d); a.Code != holdfast.CodeConflict {
			t.Errorf("%+v with nothing waiting: %+v", d, a)
		}
	}
	for _, d := range []events.DecideBody{{Decision: "yes"}, {}, {Decision: "approve", Arguments: "{"}} {
		if a := w.send(s, events.KindDecide, d); a.Code != holdfast.CodeInvalid {
			t.Errorf("%+v: %+v", d, a)
		}
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
}

// TestIterations: a run that used them up waits; an approval gives it more, a
// rejection ends it.
func TestIterations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "loop", "")
	w.waitParked(s, events.WaitingIterations)
	if err := w.send(s, events.KindDecide, events.DecideBody{Decision: "approve"}).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIterations)
	if n := strings.Count(transcript(w.events(s)), "token_usage"); n != 13 {
		t.Errorf("%d model calls, want 3 and 10 more", n)
	}
	if err := w.send(s, events.KindDecide, events.DecideBody{Decision: "reject"}).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	verify(t, s, w.events(s))
}

// TestFlood: an output that is too long for the conversation is cut there and
// whole in the log.
func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "flood", "")
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	verify(t, s, evs) // has the hash of the parts
	for _, m := range w.state(s).Conversation {
		if m.Role == holdfast.RoleTool && (len(m.Content) > 200<<10 || !strings.Contains(m.Content, "cut here")) {
			t.Errorf("the conversation has %d bytes of output", len(m.Content))
		}
	}
}

// TestTooLarge: a prompt that does not fit the log is refused, and the session
// goes on.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if a := w.try(s, strings.Repeat("x", 700<<10), ""); a.Code != holdfast.CodeTooLarge {
		t.Errorf("answer: %s %s", a.Code, a.Message)
	}
	w.say(s, "hello", "")
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: hello | assistant: ok, hello")
}

// A run keeps the file that it was accepted with, although the next one in the
// queue has pinned a newer version; and so does a worker that takes it over.
func TestEditDuringRun(t *testing.T) {
	t.Parallel()
	w, s := during(t)
	old := w.say(s, "old too", "")
	text := strings.ReplaceAll(strings.ReplaceAll(w.agents.file, "passed, ", "newly passed, "), "ok, ", "newly ok, ")
	w.agents.edited.Store(&text)
	w.say(s, "new", "")
	st := w.state(s)
	if st.Queue[0].Run != old.Run || st.Queue[0].File != st.Run.File || st.Queue[1].File == st.Run.File || len(st.Held) != 1 {
		t.Fatalf("run %s, queue %+v, held %d", st.Run.File, st.Queue, len(st.Held))
	}
	w.agents.tools.open <- struct{}{}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: one | assistant: I wait. | tool: open | assistant: passed, one | user: old too | assistant: ok, old too | user: new | assistant: newly ok, new")
	if st = w.state(s); len(st.Held) != 0 {
		t.Errorf("%d versions are held for nobody", len(st.Held))
	}
}
