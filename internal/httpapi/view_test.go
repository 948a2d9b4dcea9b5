package httpapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// log is a session written by hand.
type log struct {
	t    *testing.T
	v    *httpapi.View
	next uint64
}

func newLog(t *testing.T) *log {
	return &log{t: t, v: httpapi.NewView(holdfast.SessionRef{Tenant: "t", Session: "s"}), next: 1}
}

func (l *log) add(run string, evs ...holdfast.Event) *log {
	l.t.Helper()
	for _, ev := range evs {
		p, err := holdfast.MarshalPayload(ev)
		if err != nil {
			l.t.Fatal(err)
		}
		e := events.Envelope{
			Seq: l.next, Epoch: 1, Run: run, Type: ev.EventType(), Agent: ev.GetAgentName(), V: 1, Payload: p,
			Time: time.Unix(1_700_000_000+int64(l.next), 0),
		}
		if err := l.v.Apply(&e); err != nil {
			l.t.Fatal(err)
		}
		l.next++
	}
	return l
}

// messages shows the document's messages in short.
func (l *log) messages() string {
	var b strings.Builder
	for _, m := range l.v.Messages {
		fmt.Fprintf(&b, "%s %s %q", m.Agent, m.Message.Role, m.Message.Content)
		for _, c := range m.Message.ToolCalls {
			fmt.Fprintf(&b, " %s(%s)", c.Function.Name, c.Function.Arguments)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func agentOf(name string) holdfast.AgentContext { return holdfast.AgentContext{AgentName: name} }

func turn(name, call, finish string, deltas ...holdfast.Event) []holdfast.Event {
	all := append([]holdfast.Event{&holdfast.ModelCallStartedEvent{AgentContext: agentOf(name), Call: call}}, deltas...)
	return append(all, &holdfast.ModelCallFinishedEvent{AgentContext: agentOf(name), Call: call, FinishReason: finish})
}

func delta(name, text string) holdfast.Event {
	return &holdfast.AgentChoiceEvent{AgentContext: agentOf(name), Content: text}
}

func begin(l *log, run, text string) *log {
	return l.add(run,
		&holdfast.RunQueuedEvent{Run: run, Agent: "team"}, &holdfast.RunStartedEvent{Run: run, Agent: "team"},
		&holdfast.UserMessageEvent{Message: text}, &holdfast.StreamStartedEvent{AgentContext: agentOf("root")})
}

func TestViewInlinesSubSessions(t *testing.T) {
	l := newLog(t).add("", &holdfast.SessionCreatedEvent{})
	begin(l, "r", "do it")
	transfer := holdfast.NewToolCall("c1", "transfer_task", `{"agent":"helper"}`)
	l.add("r", turn("root", "m1", "tool_calls", delta("root", "I "), delta("root", "ask."),
		&holdfast.AgentChoiceReasoningEvent{AgentContext: agentOf("root"), Content: "hm"},
		&holdfast.PartialToolCallEvent{AgentContext: agentOf("root"), ToolCall: holdfast.NewToolCall("c1", "transfer_task", `{"agent":`)},
		&holdfast.PartialToolCallEvent{AgentContext: agentOf("root"), ToolCall: holdfast.NewToolCall("c1", "", `"helper"}`)})...)
	l.add("r", &holdfast.ToolCallEvent{AgentContext: agentOf("root"), ToolCall: transfer}, &holdfast.StreamStartedEvent{AgentContext: agentOf("helper")})
	// A title that is made beside the turn leaves no message.
	l.add("r", &holdfast.ModelCallStartedEvent{AgentContext: agentOf("helper"), Call: "m2"},
		delta("helper", "Do"), &holdfast.ModelCallStartedEvent{AgentContext: agentOf("helper"), Call: "title", Purpose: "title"},
		delta("helper", "ne."), &holdfast.ModelCallFinishedEvent{AgentContext: agentOf("helper"), Call: "title", Purpose: "title"},
		&holdfast.ModelCallFinishedEvent{AgentContext: agentOf("helper"), Call: "m2", FinishReason: "stop"},
		&holdfast.StreamStoppedEvent{AgentContext: agentOf("helper")})
	l.add("r", &holdfast.ToolCallResponseEvent{AgentContext: agentOf("root"), ToolCall: transfer, ToolCallID: "c1", Response: "Done."},
		// A compaction removes nothing.
		&holdfast.SessionSummaryEvent{AgentContext: agentOf("root"), Summary: "short"})
	l.add("r", turn("root", "m3", "stop", delta("root", "All done."))...)
	const want = ` user "do it"
root assistant "I ask." transfer_task({"agent":"helper"})
helper assistant "Done."
root tool "Done."
root assistant "All done."
`
	if got := l.messages(); got != want {
		t.Errorf("messages:\n%swant:\n%s", got, want)
	}
	if m := l.v.Messages[1].Message; m.ReasoningContent != "hm" || m.CreatedAt.IsZero() {
		t.Errorf("the message of root: %+v", m)
	}
	if l.v.Info.NumMessages != int64(len(l.v.Messages)) {
		t.Errorf("the list counts %d messages, the document has %d", l.v.Info.NumMessages, len(l.v.Messages))
	}
}

func TestViewOfBrokenCalls(t *testing.T) {
	l := newLog(t).add("", &holdfast.SessionCreatedEvent{})
	begin(l, "r", "x")
	l.add("r", &holdfast.ModelCallStartedEvent{AgentContext: agentOf("root"), Call: "m1"}, delta("root", "lost"),
		&holdfast.ModelCallVoidedEvent{AgentContext: agentOf("root"), Call: "m1"})
	l.add("r", turn("root", "m2", "canceled", delta("root", "half a"),
		&holdfast.PartialToolCallEvent{AgentContext: agentOf("root"), ToolCall: holdfast.NewToolCall("c", "f", "{")})...)
	if got, want := l.messages(), " user \"x\"\nroot assistant \"half a\"\n"; got != want {
		t.Errorf("messages:\n%swant:\n%s", got, want)
	}
}

func TestViewOfRollback(t *testing.T) {
	l := newLog(t).add("", &holdfast.SessionCreatedEvent{})
	begin(l, "r1", "first").add("r1", turn("root", "m1", "stop", delta("root", "one"))...)
	l.add("r1", &holdfast.RunFinishedEvent{Run: "r1", Reason: "stop"})
	begin(l, "r2", "second").add("r2", turn("root", "m2", "stop", delta("root", "two"))...)
	l.add("r2", &holdfast.RunCanceledEvent{Run: "r2", Rollback: true})
	if !strings.Contains(l.messages(), "two") {
		t.Error("the run's messages left before it had stopped")
	}
	l.add("r2", &holdfast.RunFinishedEvent{Run: "r2", Reason: "rolled_back"})
	if got, want := l.messages(), " user \"first\"\nroot assistant \"one\"\n"; got != want {
		t.Errorf("messages:\n%swant:\n%s", got, want)
	}
	if n := len(l.v.Runs); n != 2 || l.v.Runs[1].Status != "finished" || l.v.Runs[1].Reason != "rolled_back" {
		t.Errorf("runs: %+v", l.v.Runs)
	}
}

func TestViewOfApprovals(t *testing.T) {
	l := newLog(t).add("", &holdfast.SessionCreatedEvent{})
	begin(l, "r", "x")
	ask := func(id string) *holdfast.ToolCallConfirmationEvent {
		return &holdfast.ToolCallConfirmationEvent{AgentContext: agentOf("root"), ToolCall: holdfast.NewToolCall(id, "f", "{}")}
	}
	pending := func() string {
		var ids []string
		for _, p := range l.v.Pending {
			ids = append(ids, p.ToolCall.ID)
		}
		return strings.Join(ids, " ")
	}
	l.add("r", ask("a"), ask("b"), ask("c"), &holdfast.ToolCallDecidedEvent{ToolCallID: "b", Decision: "reject"})
	if got := pending(); got != "a c" {
		t.Errorf("pending: %s", got)
	}
	l.add("r", &holdfast.ToolCallDecidedEvent{ToolCallID: "a", Decision: "approve-session"})
	if got := pending(); got != "c" || !l.v.Info.ToolsApproved {
		t.Errorf("pending: %s, approved for the session: %v", got, l.v.Info.ToolsApproved)
	}
	l.add("r", &holdfast.RunFinishedEvent{Run: "r", Reason: "canceled"})
	if got := pending(); got != "" {
		t.Errorf("pending after the run: %s", got)
	}
}

func TestViewOfFork(t *testing.T) {
	l := newLog(t).add("", &holdfast.SessionCreatedEvent{Title: "parent"})
	begin(l, "r1", "first").add("r1", turn("root", "m1", "stop", delta("root", "one"))...)
	l.add("r1", &holdfast.RunFinishedEvent{Run: "r1", Reason: "stop"})
	begin(l, "r2", "second").add("r2", &holdfast.ToolCallConfirmationEvent{AgentContext: agentOf("root"), ToolCall: holdfast.NewToolCall("c", "f", "{}")})
	l.add("", &holdfast.SessionCreatedEvent{Title: "fork", ForkOf: "p", ForkSeq: l.next - 1})
	if len(l.v.Pending) != 0 || len(l.v.Runs) != 1 || l.v.Info.Run != "" || l.v.Info.Title != "fork" || len(l.v.Messages) != 3 {
		t.Errorf("the fork: %+v %+v", l.v.Info, l.v)
	}
}

// A log that breaks the rules is folded without a panic.
func FuzzView(f *testing.F) {
	f.Add("agent_choice", "root", `{"content":"x"}`, "tool_call_response", "root", `{"tool_call_id":"a"}`)
	f.Add("run_finished", "", `{"run":"r"}`, "model_call_finished", "a", `{"call":"x"}`)
	f.Add("session_created", "", `{"fork_of":"x"}`, "unknown", "a", `[]`)
	f.Fuzz(func(t *testing.T, t1, a1, p1, t2, a2, p2 string) {
		v := httpapi.NewView(holdfast.SessionRef{Tenant: "t", Session: "s"})
		for i, e := range []events.Envelope{
			{Type: t1, Agent: a1, Payload: []byte(p1), Run: "r"}, {Type: t2, Agent: a2, Payload: []byte(p2), Run: "r"}, {Type: t1, Agent: a2, Payload: []byte(p1)},
		} {
			e.Seq = uint64(i + 1)
			if err := v.Apply(&e); err != nil {
				return
			}
		}
	})
}

func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		"null", "[]", "{}", `[{"role":"user","content":"x"}]`, `{"messages":[{"content":"x","multi_content":[{"type":"text","text":"y"}]}]}`,
		`{"tools_approved":true}`, "[{\"content\":\"\xff\"}]", " ", "[1,", `{"messages":null}`, "bWlu:",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(what string, err error) {
			if err != nil && holdfast.CodeOf(err) != holdfast.CodeInvalid {
				t.Errorf("%s: %v has code %s", what, err, holdfast.CodeOf(err))
			}
		}
		list, err := httpapi.RunInput(data)
		check("messages", err)
		if err == nil {
			msgs, err := httpapi.UserMessages(list)
			check("messages", err)
			for _, m := range msgs {
				if m.Role != holdfast.RoleUser || m.Content == "" && len(m.Parts) == 0 {
					t.Errorf("message %+v", m)
				}
			}
		}
		_, err = httpapi.Template(data)
		check("template", err)
		_, err = httpapi.ParsePageCursor(string(data))
		check("cursor", err)
	})
}

// Whatever an event is, its lines on the legacy routes are short and JSON.
func FuzzLegacyLines(f *testing.F) {
	f.Add("tool_call_response", "root", `{"response":"x","tool_call_id":"c","result":{"output":"x"}}`, uint(100_000))
	f.Add("agent_choice", "", `{"content":"x"}`, uint(70_000))
	f.Add("tool_call", "root", `{"tool_call":{"id":"c","type":"function","function":{"name":"f","arguments":"x"}}}`, uint(65_000))
	f.Add("user_message", "", `{"message":"<x","multi_content":[{"type":"text","text":"x"}]}`, uint(60_000))
	f.Add("new_type", "", `{"a":["x",{"b":"x"}]}`, uint(80_000))
	f.Fuzz(func(t *testing.T, typ, agentName, payload string, n uint) {
		payload = strings.ReplaceAll(payload, "x", strings.Repeat("é<", int(n%200_000)/3))
		var object map[string]any
		if json.Unmarshal([]byte(payload), &object) != nil || object == nil || len(payload) > events.MaxPayload || holdfast.ValidateID("type", typ) != nil {
			return
		}
		e := events.Envelope{Seq: 7, Type: typ, Agent: agentName, Payload: []byte(payload), Run: "r", Time: time.Unix(1, 0)}
		lines, err := httpapi.LegacyLines(typ, agentName, "s", 7, e.AppendWire(nil, "s"))
		if err != nil {
			return // not the type's own shape
		}
		for line := range strings.SplitSeq(string(lines), "\n") {
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				continue
			}
			if len(data) > httpapi.MaxLine || !json.Valid([]byte(data)) {
				t.Errorf("a line of %d bytes, valid JSON: %v", len(data), json.Valid([]byte(data)))
			}
		}
	})
}
