package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// manyCalls is an agent that makes n calls of a tool in its first turn.
func manyCalls(n int, tool string) string {
	call := `{name: ` + tool + `, arguments: {to: "{{.User}}"}}`
	return `
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
          - when: {after_tool: ` + tool + `}
            say: "done"
          - say: "I call."
            call: [` + strings.Repeat(call+", ", n-1) + call + `]
`
}

func said(text string) events.RunBody {
	return events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}}
}

// TestManyOpenCalls: more calls than fit a frame, as questions and as the
// answers of a canceled run.
func TestManyOpenCalls(t *testing.T) {
	t.Parallel()
	const calls = 600
	text := strings.Repeat("x", 1000)
	w := newWorld(t, manyCalls(calls, "pay"))
	w.agents.limit = 1 << 30
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if err := w.send(s, events.KindRun, said(text)).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingApproval)
	if err := w.send(s, events.KindCancel, nil).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	if asked, answered := count(evs, holdfast.TypeToolCallConfirmation), count(evs, holdfast.TypeToolCallResponse); asked != calls || answered != calls {
		t.Errorf("%d calls were asked about and %d answered, of %d", asked, answered, calls)
	}
	if reason, _, _ := w.ended(s, 0); reason != "canceled" {
		t.Errorf("the run ended with %q", reason)
	}
	verify(t, s, evs)
}

func count(evs []events.Envelope, typ string) (n int) {
	for i := range evs {
		if evs[i].Type == typ {
			n++
		}
	}
	return n
}

// TestManyMessages: messages that do not fit the log when their run begins are
// refused; so is a run that is in the queue with them already.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, looking)
	many := func(n int) events.RunBody {
		b := events.RunBody{Run: "r-many"}
		for range n {
			b.Messages = append(b.Messages, holdfast.Message{Role: holdfast.RoleUser, Content: "a"})
		}
		return b
	}
	queued := ref("queued")
	w.create(queued, &holdfast.SessionCreatedEvent{Agent: "agent"})
	tail, err := events.ReadTail(t.Context(), w.bus, w.store, queued)
	if err != nil {
		t.Fatal(err)
	}
	writer, _, err := events.Claim(t.Context(), w.bus, w.store, queued, tail, "older", "command")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Add(t.Context(), "",
		&holdfast.AgentPinnedEvent{Agent: "agent.yaml", SHA256: "0", Source: looking},
		&holdfast.RunQueuedEvent{Run: "r-many", Agent: "agent.yaml", AgentInFile: "root", Messages: many(9000).Messages},
		&holdfast.SessionHandedOverEvent{Worker: "older", Reason: "draining"}); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if a := w.send(s, events.KindRun, many(9000)); a.Code != holdfast.CodeTooLarge {
		t.Errorf("9000 messages: %+v", a)
	}
	if a := w.send(s, events.KindSchedule, events.ScheduleBody{RunBody: many(9000), Delay: "1h"}); a.Code != holdfast.CodeTooLarge {
		t.Errorf("9000 messages for later: %+v", a)
	}
	if err := w.send(s, events.KindRun, many(2000)).Err(); err != nil {
		t.Errorf("2000 messages: %v", err)
	}
	w.waitParked(s, events.WaitingIdle)
	if n := count(w.events(s), holdfast.TypeUserMessage); n != 2000 {
		t.Errorf("%d messages are in the conversation", n)
	}

	if err := w.send(queued, events.KindRun, said("after it")).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(queued, events.WaitingIdle)
	evs := w.events(queued)
	if reason, codes, _ := w.ended(queued, 0); reason != "stop" || len(codes) != 1 || codes[0] != holdfast.CodeTooLarge || count(evs, holdfast.TypeRunFinished) != 2 {
		t.Errorf("the run behind it ended with %q, errors %q", reason, codes)
	}
	verify(t, queued, evs)
}

// TestHugeCall: a call whose arguments do not fit the events that it would need is
// answered with an error, and the run goes on.
func TestHugeCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, manyCalls(2, "look"))
	w.agents.limit = 1 << 30
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if err := w.send(s, events.KindRun, said(strings.Repeat("x", 400<<10))).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	evs := w.events(s)
	if reason, codes, _ := w.ended(s, 0); reason != "stop" || len(codes) > 0 {
		t.Errorf("the run ended with %q, errors %q", reason, codes)
	}
	for _, e := range evs {
		var r holdfast.ToolCallResponseEvent
		if e.Type != holdfast.TypeToolCallResponse {
			continue
		}
		if err := json.Unmarshal(e.Payload, &r); err != nil || !r.Result.IsError || !strings.Contains(r.Response, "too large") {
			t.Errorf("the call was answered with %.200s, %v", r.Response, err)
		}
	}
	if n := count(evs, holdfast.TypeToolCallResponse); n != 2 {
		t.Errorf("%d calls were answered", n)
	}
	verify(t, s, evs)
}

const wordy = `
version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    sub_agents: [clerk]
  clerk:
    model: c
    description: d
    instruction: i
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: A title
        turns:
          - when: {after_tool: transfer_task}
            say: "thanks"
          - say: "ask"
            call: [{name: transfer_task, arguments: {agent: clerk, task: "{{.User}}", expected_output: all}}]
  c:
    provider: scripted
    model: c
    provider_opts:
      script:
        turns:
          - say: "{{.User}}{{.User}}{{.User}}{{.User}}"
`

// TestWordySubAgent: an answer of a sub-agent that does not fit the event that
// brings it to its caller is cut.
func TestWordySubAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wordy)
	w.agents.limit = 1 << 30
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if err := w.send(s, events.KindRun, said(strings.Repeat("xyz ", 32<<10))).Err(); err != nil {
		t.Fatal(err)
	}
	w.waitParked(s, events.WaitingIdle)
	if reason, codes, _ := w.ended(s, 0); reason != "stop" || len(codes) > 0 {
		t.Errorf("the run ended with %q, errors %q", reason, codes)
	}
	verify(t, s, w.events(s))
}
