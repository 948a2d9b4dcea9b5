package runtime_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

func said(text string) events.RunBody {
	return events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: text}}}
}

func count(evs []events.Envelope, typ string) (n int) {
	for i := range evs {
		if evs[i].Type == typ {
			n++
		}
	}
	return n
}

// wrote is a session that an owner before has written, group by group, and left.
func (w *world) wrote(ref holdfast.SessionRef, groups ...[]holdfast.Event) {
	w.t.Helper()
	w.wroteOn(w.bus, ref, groups...)
}

func (w *world) wroteOn(bus events.Bus, ref holdfast.SessionRef, groups ...[]holdfast.Event) {
	w.t.Helper()
	if _, err := events.Create(w.t.Context(), bus, w.store, ref, &holdfast.SessionCreatedEvent{Agent: "agent"}); err != nil {
		w.t.Fatal(err)
	}
	tail, err := events.ReadTail(w.t.Context(), bus, w.store, ref)
	if err != nil {
		w.t.Fatal(err)
	}
	writer, _, err := events.Claim(w.t.Context(), bus, w.store, ref, tail, "older", "command")
	if err != nil {
		w.t.Fatal(err)
	}
	groups = append(groups, []holdfast.Event{&holdfast.SessionHandedOverEvent{Worker: "older", Reason: "draining"}})
	for _, evs := range groups {
		if _, err := writer.Add(w.t.Context(), "r", evs...); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := writer.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// begun are the events of a run of the file that begins.
func begun(file string, msgs ...holdfast.Message) []holdfast.Event {
	return []holdfast.Event{
		&holdfast.AgentPinnedEvent{Agent: "agent.yaml", SHA256: "0", Source: file},
		&holdfast.RunQueuedEvent{Run: "r", Agent: "agent.yaml", AgentInFile: "root", Messages: msgs},
		&holdfast.RunStartedEvent{Run: "r", Agent: "agent.yaml", AgentInFile: "root"},
		&holdfast.UserMessageEvent{Message: "go"},
		&holdfast.StreamStartedEvent{AgentContext: root},
	}
}

func wake(t *testing.T, w *world, s holdfast.SessionRef) {
	t.Helper()
	c, err := events.NewCommand(s, events.KindWake, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Send(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// rests waits until the session is parked behind seq, and reads no more of its log
// than the end.
func (w *world) rests(ref holdfast.SessionRef, seq uint64) uint64 {
	w.t.Helper()
	woken := make(chan struct{}, 1)
	stop, err := w.bus.Follow(w.t.Context(), ref, func(events.Stored) {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer stop()
	deadline := time.After(2 * time.Minute)
	for {
		tail, err := events.ReadTail(w.t.Context(), w.bus, w.store, ref)
		if err != nil {
			w.t.Fatal(err)
		}
		if tail.Seq > seq && tail.Type == holdfast.TypeSessionParked {
			return tail.Seq
		}
		select {
		case <-woken:
		case <-deadline:
			w.t.Fatalf("the log ends with %s at %d", tail.Type, tail.Seq)
		}
	}
}

// TestManyOpenCalls: more calls than fit a frame, as questions and as the answers
// of a canceled run; and one that fits no event, which is answered and not run.
func TestManyOpenCalls(t *testing.T) {
	t.Parallel()
	const calls = 160
	w := newWorld(t, looking)
	w.agents.limit = 1 << 30
	s := ref("s")
	asked := make([]holdfast.Event, 0, calls+1)
	groups := [][]holdfast.Event{
		begun(looking),
		{&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m", Model: "scripted/m"}},
	}
	for n := range calls {
		asked = append(asked, &holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: holdfast.NewToolCall(fmt.Sprintf("c%d", n), "pay", `{"to":"`+strings.Repeat("x", 5000)+`"}`)})
	}
	for i := 0; i < calls; i += calls / 4 {
		groups = append(groups, asked[i:i+calls/4])
	}
	huge := holdfast.NewToolCall("huge", "look", `{"to":"`+strings.Repeat("x", 300<<10))
	groups = append(groups,
		[]holdfast.Event{&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: huge}},
		[]holdfast.Event{&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: holdfast.NewToolCall("huge", "", strings.Repeat("x", 300<<10)+`"}`)}},
		[]holdfast.Event{&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "m", Model: "scripted/m", FinishReason: "tool_calls"}})
	w.wrote(s, groups...)
	w.start(-1, false)
	wake(t, w, s)
	at := w.rests(s, 0)
	evs := w.events(s)
	if n := count(evs, holdfast.TypeToolCallConfirmation); n != calls {
		t.Errorf("%d calls were asked about of %d", n, calls)
	}
	for i := range evs {
		var r holdfast.ToolCallResponseEvent
		if evs[i].Type == holdfast.TypeToolCallResponse {
			if err := json.Unmarshal(evs[i].Payload, &r); err != nil || r.ToolCallID != "huge" || !r.Result.IsError || !strings.Contains(r.Response, "too large") {
				t.Errorf("call %s was answered with %.200s, %v", r.ToolCallID, r.Response, err)
			}
		}
	}
	if err := w.send(s, events.KindCancel, nil).Err(); err != nil {
		t.Fatal(err)
	}
	w.rests(s, at)
	evs = w.events(s)
	if n := count(evs, holdfast.TypeToolCallResponse); n != calls+1 {
		t.Errorf("%d calls were answered of %d", n, calls+1)
	}
	if reason, _, _ := w.ended(s, 0); reason != "canceled" {
		t.Errorf("the run ended with %q", reason)
	}
	verify(t, s, evs)
}

// TestManyMessages: messages that do not fit the log when their run begins are
// refused; so is a run that is in the queue with them already.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, looking)
	w.agents.limit = 1 << 30
	many := func(n int) events.RunBody {
		var b events.RunBody
		for range n {
			b.Messages = append(b.Messages, holdfast.Message{Role: holdfast.RoleUser, Content: "a"})
		}
		return b
	}
	queued := ref("queued")
	w.wrote(queued, begun(looking, many(12000).Messages...)[:2])
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	if a := w.send(s, events.KindRun, many(6000)); a.Code != holdfast.CodeTooLarge {
		t.Errorf("6000 messages: %+v", a)
	}
	if a := w.send(s, events.KindSchedule, events.ScheduleBody{RunBody: many(6000), Delay: "1h"}); a.Code != holdfast.CodeTooLarge {
		t.Errorf("6000 messages for later: %+v", a)
	}
	if err := w.send(s, events.KindRun, many(500)).Err(); err != nil {
		t.Errorf("500 messages: %v", err)
	}
	w.waitParked(s, events.WaitingIdle)
	if n := count(w.events(s), holdfast.TypeUserMessage); n != 500 {
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

const wordy = `
version: "2"
agents:
  root: {model: m, description: d, instruction: i, sub_agents: [clerk]}
  clerk: {model: m, description: d, instruction: i}
models:
  m:
    provider: scripted
    model: m
    provider_opts: {script: {title: A title, turns: [{say: thanks}]}}
`

// TestWordySubAgent: an answer of a sub-agent that does not fit the event that
// brings it to its caller is cut.
func TestWordySubAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wordy)
	w.agents.limit = 1 << 30
	s := ref("s")
	clerk := holdfast.AgentContext{AgentName: "clerk"}
	transfer := holdfast.NewToolCall("c", "transfer_task", `{"agent":"clerk","task":"all"}`)
	text := strings.Repeat("xyz ", 75<<10)
	w.wrote(s,
		append(begun(wordy),
			&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "m1", Model: "scripted/m"},
			&holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: transfer},
			&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "m1", Model: "scripted/m", FinishReason: "tool_calls"},
			&holdfast.ToolCallEvent{AgentContext: root, ToolCall: transfer, Attempt: 1},
			&holdfast.StreamStartedEvent{AgentContext: clerk},
			&holdfast.ModelCallStartedEvent{AgentContext: clerk, Call: "m2", Model: "scripted/m"}),
		[]holdfast.Event{&holdfast.AgentChoiceEvent{AgentContext: clerk, Content: text}},
		[]holdfast.Event{&holdfast.AgentChoiceEvent{AgentContext: clerk, Content: text}},
		[]holdfast.Event{&holdfast.ModelCallFinishedEvent{AgentContext: clerk, Call: "m2", Model: "scripted/m", FinishReason: "stop"}})
	w.start(-1, false)
	wake(t, w, s)
	w.waitParked(s, events.WaitingIdle)
	if reason, codes, _ := w.ended(s, 0); reason != "stop" || len(codes) > 0 {
		t.Errorf("the run ended with %q, errors %q", reason, codes)
	}
	verify(t, s, w.events(s))
}
