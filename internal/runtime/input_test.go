package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const holding = `
version: "2"
agents:
  root: {model: m, description: d, instruction: i, toolsets: [{type: mcp, remote: {url: "http://effects.test/"}}]}
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: T
        turns:
          - {when: {after_tool: "*"}, say: "It says {{.Tool}}"}
          - {call: [{name: put_holding, arguments: {}}]}
`

// questions returns the ids of the questions so far.
func (w *world) questions(s holdfast.SessionRef) (ids []string) {
	w.t.Helper()
	for _, e := range w.events(s) {
		if e.Type == holdfast.TypeElicitationRequest {
			var q holdfast.ElicitationRequestEvent
			if err := json.Unmarshal(e.Payload, &q); err != nil {
				w.t.Fatal(err)
			}
			ids = append(ids, q.ID)
		}
	}
	return ids
}

func (w *world) waitQuestion(s holdfast.SessionRef, n int) string {
	w.t.Helper()
	w.wait(s, "a question", func(events.Envelope) bool { return len(w.questions(s)) >= n })
	return w.questions(s)[n-1]
}

// A call that is held open while the user is asked gets the answer, once, and only
// one that fits.
func TestHeldQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, holding)
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "go", "")
	id := w.waitQuestion(s, 1)
	in := func(id, action, content string) holdfast.Code {
		t.Helper()
		a := w.send(s, events.KindInput, events.InputBody{ID: id, Action: action, Content: json.RawMessage(content)})
		return a.Code
	}
	if c := in(id, tool.InputAccept, `"x"`); c != holdfast.CodeInvalidInput {
		t.Errorf("content that does not fit: %q", c)
	}
	if c := in("other", tool.InputAccept, `{}`); c != holdfast.CodeNotFound {
		t.Errorf("a question that does not exist: %q", c)
	}
	if c := in(id, "maybe", `{}`); c != holdfast.CodeInvalid {
		t.Errorf("an action that does not exist: %q", c)
	}
	if c := in(id, tool.InputAccept, `{"a": 1}`); c != "" {
		t.Errorf("the answer: %q", c)
	}
	w.waitParked(s, events.WaitingIdle)
	if c := in(id, tool.InputAccept, `{"a":1}`); c != holdfast.CodeConflict {
		t.Errorf("an answer after the run: %q", c)
	}
	wantTalk(t, w.talk(s), `user: go | assistant:  | tool: done put_holding{}accept{"a":1} | assistant: It says done put_holding{}accept{"a":1}`)
}

// The worker leaves while a call holds: the question is void, and the tool, which
// may run again, asks anew.
func TestHeldQuestionOfALostWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, holding)
	_, stop := w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "go", "")
	first := w.waitQuestion(s, 1)
	stop()
	w.start(-1, false)
	second := w.waitQuestion(s, 2)
	if a := w.send(s, events.KindInput, events.InputBody{ID: first, Action: tool.InputAccept}); a.Code != holdfast.CodeNotFound {
		t.Errorf("an answer to a void question: %+v", a)
	}
	if a := w.send(s, events.KindInput, events.InputBody{ID: second, Action: tool.InputDecline}); a.Err() != nil {
		t.Error(a.Err())
	}
	w.waitParked(s, events.WaitingIdle)
	if talk := w.talk(s); !strings.HasSuffix(talk, "It says done put_holding{}decline") {
		t.Error(talk)
	}
}

// The same answer again changes nothing, another one is a conflict, while the run
// waits for something else.
func TestSameAnswerAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(holding, "put_holding", "pay_asking", 1))
	w.start(-1, false)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	w.say(s, "go", "")
	w.waitParked(s, events.WaitingInput)
	id := w.questions(s)[0]
	for _, tc := range []struct {
		content string
		want    holdfast.Code
	}{{`{"amount":2}`, ""}, {`{"amount": 2}`, ""}, {`{"amount":3}`, holdfast.CodeConflict}} {
		a := w.send(s, events.KindInput, events.InputBody{ID: id, Action: tool.InputAccept, Content: json.RawMessage(tc.content)})
		if a.Code != tc.want {
			t.Errorf("%s: %+v", tc.content, a)
		}
		w.waitParked(s, events.WaitingInput)
	}
	if a := w.send(s, events.KindCancel, nil); a.Err() != nil {
		t.Error(a.Err())
	}
	w.waitParked(s, events.WaitingIdle)
	wantTalk(t, w.talk(s), "user: go | assistant:  | tool: The tool call was canceled by the user.")
}
