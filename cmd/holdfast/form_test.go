package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// askAgent asks for several things at once.
const askAgent = `version: "2"
agents:
  root:
    model: script
    description: Asks.
    instruction: Ask.
    toolsets: [{type: user_prompt}]
models:
  script:
    provider: scripted
    model: ask
    provider_opts:
      script:
        turns:
          - when: { after_tool: user_prompt }
            say: "You answered {{.Tool}}"
          - call:
              - name: user_prompt
                arguments:
                  message: A table?
                  schema:
                    type: object
                    properties:
                      name: { type: string, title: Your name }
                      people: { type: integer, minimum: 2 }
                      where: { enum: [inside, outside] }
                      smoking: { type: boolean, default: false }
                      note: { type: string }
                    required: [name, people, where]
`

func TestForm(t *testing.T) {
	const schema = `{"type":"object","properties":{
		"z":{"type":"string","title":"Zett","description":"the last"},
		"n":{"type":"number"},"i":{"type":"integer","default":7},"b":{"type":"boolean"},
		"e":{"type":"string","enum":["x","y"],"enumNames":["Ex","Why"]},
		"o":{"oneOf":[{"const":1,"title":"One"},{"const":2,"title":"Two"}]},
		"m":{"type":"array","items":{"type":"string","enum":["p","q","r"]}},
		"j":{"type":"object"}},"required":["z","e"]}`
	f := newForm("q", "?", "", "", json.RawMessage(schema))
	for _, step := range []struct{ ask, line, problem string }{
		{"Zett (the last)", "", "an answer is needed"},
		{"Zett (the last)", `say "hi"`, ""},
		{"n (number) (Enter leaves it out)", "many", "want a number"},
		{"n (number) (Enter leaves it out)", "NaN", "want a number"},
		{"n (number) (Enter leaves it out)", "-1.5e3", ""},
		{"i (integer) (Enter: 7)", "1.5", "whole"},
		{"i (integer) (Enter: 7)", "", ""},
		{"b [y/n] (Enter leaves it out)", "maybe", "y or n"},
		{"b [y/n] (Enter leaves it out)", "Yes", ""},
		{"e [1 Ex, 2 Why]", "3", "one of 1 to 2"},
		{"e [1 Ex, 2 Why]", "why", ""},
		{"o [1 One, 2 Two] (Enter leaves it out)", "2", ""},
		{"m [1 p, 2 q, 3 r] (several with commas) (Enter leaves it out)", "r, 1", ""},
		{"j (JSON) (Enter leaves it out)", "{", "want JSON"},
		{"j (JSON) (Enter leaves it out)", `{"a":[1]}`, ""},
	} {
		if got := f.ask(); got != step.ask {
			t.Errorf("asks %q, want %q", got, step.ask)
		}
		_, _, problem := f.enter(step.line)
		if (problem == nil) != (step.problem == "") || problem != nil && !strings.Contains(problem.Error(), step.problem) {
			t.Errorf("%s: %q: %v, want %q", step.ask, step.line, problem, step.problem)
		}
	}
	a, err := f.answer()
	if want := `{"b":true,"e":"y","i":7,"j":{"a":[1]},"m":["r","p"],"n":-1.5e3,"o":2,"z":"say \"hi\""}`; err != nil || string(a.Content) != want || a.Action != client.InputAccept {
		t.Errorf("the answer: %s %v, want %s", a.Content, err, want)
	}
	for line, want := range map[string]client.InputAction{"/decline": client.InputDecline, "/dismiss": client.InputCancel} {
		if a, done, err := newForm("q", "?", "", "", json.RawMessage(schema)).enter(line); !done || err != nil || a.Action != want {
			t.Errorf("%s: %+v %v %v", line, a, done, err)
		}
	}
	// What is no flat object is asked in one piece; what is done on a page needs none.
	whole := newForm("q", "?", "", "", json.RawMessage(`{"type":"array"}`))
	if a, done, err := whole.enter(`[1]`); !done || err != nil || string(a.Content) != "[1]" {
		t.Errorf("in one piece: %s %v %v", a.Content, done, err)
	}
	page := newForm("q", "?", "https://x.example", "", json.RawMessage(schema))
	if a, done, err := page.enter(`y`); !done || err != nil || a.Content != nil || a.Action != client.InputAccept {
		t.Errorf("on a page: %+v %v %v", a, done, err)
	}
}

// TestChatAsks fills in a form in a chat, is refused, and goes on in another chat.
func TestChatAsks(t *testing.T) {
	first := startChat(t, "ask", 70)
	first.typed("book\r")
	first.await(t, "? A table?", "Your name")
	first.typed("Ann\r")
	first.await(t, "note (Enter leaves it out)")
	first.typed("\r")
	first.await(t, "people (integer)")
	first.leave()

	c := &chatting{screenRecorder: newScreenRecorder(70), t: t, keys: make(chan []byte), done: make(chan error, 1)}
	c.chat = &chat{client: newTestClient(t), out: c, session: first.chat.session, where: "test", size: func() (int, int) { return 70, 24 }}
	if err := c.chat.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.chat.loop(t.Context(), c.keys) }()
	c.await(t, "? A table?", "Your name")
	for _, line := range []string{"Ann\r", "\r", "1\r", "\r", "2\r"} {
		c.typed(line)
	}
	c.await(t, "✗ ", "got 1, want 2", "? Your name") // the server says what does not fit, and all is asked again
	for _, line := range []string{"Bob\r", "\r", "3\r", "y\r", "inside\r"} {
		c.typed(line)
	}
	c.await(t, "You answered", `{"name":"Bob","people":3,`)
	c.typed("once more\r")
	c.awaitTimes(t, "? A table?", 2)
	c.typed("/decline\r")
	c.awaitTimes(t, "You answered", 2, `{"action":"decline"`)
	c.leave()
}

// TestRunAsks answers the question of a run, and does without an answer where
// nobody can be asked.
func TestRunAsks(t *testing.T) {
	var out, errOut bytes.Buffer
	lines := func(text string, tty bool) *runner {
		out.Reset()
		errOut.Reset()
		return &runner{client: newTestClient(t), agent: "ask", tty: tty, in: bufio.NewReader(strings.NewReader(text)), out: &out, errOut: &errOut}
	}
	if err := lines("Ann\nby the sea\nlots\n4\n\noutside\n", true).once(context.WithoutCancel(t.Context()), "book"); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	if !strings.Contains(out.String(), `"name":"Ann","note":"by the sea","people":4,`) || !strings.Contains(errOut.String(), "want a whole number") {
		t.Errorf("%s\n%s", out.String(), errOut.String())
	}
	err := lines("", false).once(t.Context(), "book")
	if code, _ := explain(err); err == nil || code != exitRejected || !strings.Contains(err.Error(), "A table?") || !strings.Contains(out.String(), `{"action":"cancel"`) {
		t.Errorf("nobody to ask: %v\n%s", err, out.String())
	}
}

// TestRunAuthorization shows the link of an authorization and waits, or declines
// where nobody can open it.
func TestRunAuthorization(t *testing.T) {
	var errOut bytes.Buffer
	c := newTestClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{})
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{client: c, session: doc.ID, tty: true, out: io.Discard, errOut: &errOut}
	ev := &holdfast.AuthorizationRequiredEvent{ServerURL: "https://mcp.example", Confirmation: "pending", FlowID: "f", AuthorizationURL: "https://login.example/a?b=c"}
	if err := r.authorization(t.Context(), ev); err != nil || !strings.Contains(errOut.String(), "https://login.example/a?b=c") {
		t.Errorf("%v: %s", err, errOut.String())
	}
	r.tty = false
	if err := r.authorization(t.Context(), ev); err == nil {
		t.Error("nobody can open a link, and it waits")
	}
}
