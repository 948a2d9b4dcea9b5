package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

// oldConfig is what a client of version 1.3 and its next successors decode an agent
// file into, and send back: members of any other type fail the whole request, those
// that are not here are lost, and structs in the place of pointers are always sent.
type oldConfig struct {
	Version  string              `json:"version,omitempty"`
	Agents   map[string]oldAgent `json:"agents,omitempty"`
	Models   map[string]oldModel `json:"models,omitempty"`
	Metadata struct {
		Author  string `json:"author,omitempty"`
		License string `json:"license,omitempty"`
		Readme  string `json:"readme,omitempty"`
	} `json:"metadata"`
}

type oldAgent struct {
	Model       string            `json:"model,omitempty"`
	Description string            `json:"description,omitempty"`
	Toolsets    []oldToolset      `json:"toolsets,omitempty"`
	Instruction string            `json:"instruction,omitempty"`
	SubAgents   []string          `json:"sub_agents,omitempty"`
	AddDate     bool              `json:"add_date,omitempty"`
	Commands    map[string]string `json:"commands,omitempty"`
}

type oldToolset struct {
	Type        string   `json:"type,omitempty"`
	Tools       []string `json:"tools,omitempty"`
	Instruction string   `json:"instruction,omitempty"`
	Command     string   `json:"command,omitempty"`
	Remote      struct {
		URL           string            `json:"url"`
		TransportType string            `json:"transport_type,omitempty"`
		Headers       map[string]string `json:"headers,omitempty"`
	} `json:"remote"`
	Env    map[string]string `json:"env,omitempty"`
	Shared bool              `json:"shared,omitempty"`
	Shell  map[string]struct {
		Cmd         string   `json:"cmd"`
		Description string   `json:"description"`
		Required    []string `json:"required"`
	} `json:"shell,omitempty"`
	Timeout int `json:"timeout,omitempty"`
}

type oldModel struct {
	Provider       string         `json:"provider,omitempty"`
	Model          string         `json:"model,omitempty"`
	Temperature    float64        `json:"temperature,omitempty"`
	ProviderOpts   map[string]any `json:"provider_opts,omitempty"`
	ThinkingBudget *struct {
		Effort string `json:"effort,omitempty"`
		Tokens int    `json:"tokens,omitempty"`
	} `json:"thinking_budget,omitempty"`
}

const oldConfigFile = `version: "2"
agents:
  root:
    model: deep
    description: One. # kept
    instruction: Do.
    commands:
      short: Explain in one sentence.
      child:
        description: Explain to a child
        instruction: Explain $1 to a child.
    toolsets:
      - type: todo
        shared: true
        defer: true
      - type: mcp
        remote:
          url: https://mcp.example/mcp
        readonly: true
    welcome_message: Hello.
models:
  deep:
    provider: openai
    model: gpt-5
    temperature: 0
    thinking_budget: low
  deeper:
    provider: anthropic
    model: claude
    thinking_budget: 2000
`

// A client of version 1.3 reads an agent file, changes one text and sends the whole
// back. The text is changed, and nothing else is: neither what it sends of itself
// nor what it cannot read.
func TestOldClientEdits(t *testing.T) {
	w := newWorld(t)
	w.mustCall("PUT", "/v1/agents/mine", oldConfigFile, nil)
	read := func() (c oldConfig) {
		t.Helper()
		st, body := w.call("GET", "/api/agents/mine.yaml", "")
		if err := json.Unmarshal([]byte(body), &c); err != nil || st != 200 {
			t.Fatalf("an existing client cannot read %d %s: %v", st, body, err)
		}
		return c
	}
	source := func() string {
		t.Helper()
		_, body := w.call("GET", "/v1/agents/mine", "", "Accept", "application/yaml")
		if !strings.HasPrefix(body, "{") {
			return body
		}
		var f struct{ Source string }
		if err := json.Unmarshal([]byte(body), &f); err != nil {
			t.Fatal(err)
		}
		return f.Source
	}
	edit := func(c oldConfig) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"agent_config": c, "filename": "mine.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(body, []byte(`"remote":{"url":""}`)) || !bytes.Contains(body, []byte(`"metadata":{}`)) {
			t.Fatalf("the double does not send what the client sends: %s", body)
		}
		var out struct {
			Message, Path string
			Config        oldConfig
		}
		w.mustCall("PUT", "/api/agents/config", string(body), &out)
		if fmt.Sprint(out.Config.Agents["root"]) != fmt.Sprint(c.Agents["root"]) {
			t.Errorf("edited: %+v", out.Config)
		}
	}
	c := read()
	root := c.Agents["root"]
	if root.Commands["child"] != "Explain $1 to a child." || c.Models["deep"].ThinkingBudget.Effort != "low" || c.Models["deeper"].ThinkingBudget.Tokens != 2000 {
		t.Errorf("read %+v", c)
	}
	edit(c) // as it was
	if got := source(); got != oldConfigFile {
		t.Errorf("nothing was changed, and the file is now:\n%s", got)
	}
	root.Description = "Two."
	c.Agents["root"] = root
	edit(c)
	if got, want := source(), strings.Replace(oldConfigFile, "One.", "Two.", 1); got != want {
		t.Errorf("the file is now:\n%s\nwant:\n%s", got, want)
	}
	// A toolset more, a text of another, another budget.
	root.Toolsets = append(root.Toolsets, oldToolset{Type: "think"})
	root.Toolsets[0].Instruction = "Use it."
	c.Agents["root"] = root
	c.Models["deep"].ThinkingBudget.Effort = "high"
	edit(c)
	got := source()
	for _, want := range []string{"type: think", "instruction: Use it.", "defer: true", "readonly: true", "thinking_budget: high", "thinking_budget: 2000", "description: Explain to a child", "temperature: 0"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the file:\n%s", want, got)
		}
	}
	if strings.Contains(got, `url: ""`) || strings.Contains(got, "effort:") {
		t.Errorf("the file has what only the client has:\n%s", got)
	}
}

// A program that keeps the conversation sends the answers along, and a word that was
// none.
func TestOldClientSendsAnswers(t *testing.T) {
	w := newWorld(t)
	c := &oldClient{base: w.srv.URL, session: "whole"}
	c.run(t, "hello")
	c.said = append(c.said,
		map[string]string{"role": "assistant", "content": "Hello, world."},
		map[string]string{"role": "user", "content": ""})
	types, _, _ := c.run(t, "fail")
	if n := strings.Count(fmt.Sprint(types), "user_message"); n != 1 || types[0] != "user_message" {
		t.Errorf("second turn: %v", types)
	}
	if st, body := w.call("POST", "/api/sessions/whole/agent/demo", `[{"role":"assistant","content":"x"}]`); st != 400 {
		t.Errorf("nothing that a user said: %d %s", st, body)
	}
}

// What clients of 2026 ask for beside the contract.
func TestNewerClient(t *testing.T) {
	w := newWorld(t)
	base := "/v2/api/sessions/newer"
	run := func(text string) { // until it waits
		t.Helper()
		w.mustCall("POST", "/v1/sessions/newer/runs", `{"agent":"demo","messages":[{"content":"`+text+`"}]}`, nil)
	}
	c := &oldClient{base: w.srv.URL + "/v2", session: "newer"}
	c.run(t, "hello")
	var state struct {
		ID, Title, Agent string
		Streaming        bool
		NumMessages      int        `json:"num_messages"`
		Messages         []struct{} `json:"messages"`
		LastEventSeq     uint64     `json:"last_event_seq"`
	}
	w.mustCall("GET", base+"/status", "", &state)
	if state.ID != "newer" || state.Streaming || state.NumMessages != 2 || state.Agent != "root" {
		t.Errorf("status %+v", state)
	}
	w.mustCall("GET", base+"/snapshot", "", &state)
	if len(state.Messages) != 2 || state.LastEventSeq == 0 {
		t.Errorf("snapshot %+v", state)
	}

	// The stream behind the snapshot has what comes, of whichever run.
	resp := w.open(t.Context(), "GET", fmt.Sprintf("%s/events?since=%d", base, state.LastEventSeq), "")
	defer resp.Body.Close()
	run("ask")
	lines := newLines(resp.Body)
	next := func(typ string) map[string]any {
		t.Helper()
		for {
			data, ok := lines()
			if !ok {
				t.Fatalf("the stream ended before %s", typ)
			}
			if got, event := decodeOld([]byte(data)); got == typ {
				return event
			}
		}
	}
	if q := next("elicitation_request"); q["elicitation_id"] != "q1" || q["message"] == "" {
		t.Errorf("asked %v", q)
	}
	w.mustCall("GET", base+"/status", "", &state)
	if !state.Streaming {
		t.Errorf("status while it waits: %+v", state)
	}
	if st, body := w.call("POST", base+"/elicitation", `{"action":"yes"}`); st != 400 {
		t.Errorf("%d %s", st, body)
	}
	w.mustCall("POST", base+"/elicitation", `{"action":"accept","content":{"name":"Ada"}}`, nil)
	next("stream_stopped")
	for _, route := range []string{"/steer", "/followup"} {
		if st, body := w.call("POST", base+route, `{"messages":[{"content":"hello"}]}`); st != 202 || !strings.Contains(body, `"status":"queued`) {
			t.Errorf("%s: %d %s", route, st, body)
		}
		next("stream_stopped")
	}
	run("tool")
	next("tool_call_confirmation")
	w.mustCall("POST", base+"/resume", `{"confirmation":"approve-tool","tool_name":"look"}`, nil)
	next("tool_call_response")
	next("stream_stopped")

	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/sessions/nobody/status", "", 404},
		{"GET", "/sessions/nobody/snapshot", "", 404},
		{"GET", "/sessions/nobody/events", "", 404},
		{"GET", "/sessions/newer/events?since=x", "", 400},
		{"GET", "/sessions/newer/events?since=999999", "", 410},
		{"POST", "/sessions/nobody/steer", `{"messages":[{"content":"x"}]}`, 404},
		{"POST", "/sessions/newer/followup", `{"messages":[]}`, 400},
		{"POST", "/sessions/newer/elicitation", `{"action":"decline"}`, 409},
		{"POST", "/sessions/newer/compact", "", 200},
		{"PATCH", "/sessions/newer/title", `{"title":"x"}`, 501},
		{"POST", "/sessions/newer/tools/toggle", "", 501},
		{"GET", "/agents/demo/root/tools/count", "", 501},
		{"POST", "/sessions/batch/delete", `{"session_ids":[]}`, 400},
		{"POST", "/sessions/batch/delete", `{"session_ids":["newer","nobody"]}`, 200},
	} {
		st, body := w.call(c.method, "/api"+c.path, c.body)
		var e struct{ Error, Message, Code string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || st != c.status || st >= 400 && (e.Error == "" || e.Error != e.Message || e.Code == "") {
			t.Errorf("%s %s: %d %s; want %d", c.method, c.path, st, body, c.status)
		}
	}
	data, ok := lines()
	for ok && !strings.Contains(data, "session_exited") {
		data, ok = lines()
	}
	if !ok {
		t.Error("the stream ended without session_exited")
	}
}

// newLines returns a function that reads the data of the next server-sent event.
func newLines(r io.Reader) func() (data string, ok bool) {
	lines := bufio.NewScanner(r)
	return func() (string, bool) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data, true
			}
		}
		return "", false
	}
}
