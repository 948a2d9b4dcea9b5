package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// oldClient does what existing clients of the contract do, and fails exactly
// where they do: it takes members of events by type assertions that are not
// checked, reads lines with a scanner of 64 KiB, gives up after a while in the
// middle of a stream, asks for pirate.yaml whatever was meant, runs on ids that it
// made up, sends all earlier words of its user with each turn, and never delivers
// a decision on the stream that asked for one.
type oldClient struct {
	base    string
	quits   bool   // gives up when it is asked for a decision
	asked   func() // called once when it is asked for a decision
	session string
	said    []map[string]string
}

// oldMembers are the members that a known client asserts to be texts, by type.
// A dot goes one object down.
var oldMembers = map[string][]string{
	"user_message":           {"message"},
	"agent_choice":           {"content", "agent_name"},
	"agent_choice_reasoning": {"content", "agent_name"},
	"partial_tool_call":      {"agent_name", "tool_call.id", "tool_call.type", "tool_call.function.name", "tool_call.function.arguments"},
	"tool_call":              {"agent_name", "tool_call.id", "tool_call.type", "tool_call.function.name", "tool_call.function.arguments"},
	"tool_call_confirmation": {"agent_name", "tool_call.id", "tool_call.type", "tool_call.function.name", "tool_call.function.arguments"},
	"tool_call_response":     {"agent_name", "response", "tool_call.id", "tool_call.function.name"},
	"elicitation_request":    {"message", "elicitation_id", "agent_name"},
	"session_title":          {"session_id", "title"},
	"session_summary":        {"session_id", "summary"},
	"session_compaction":     {"session_id", "status"},
	"authorization_required": {"server_url", "server_type", "confirmation"},
	"shell":                  {"output", "error"},
	"error":                  {"error"},
}

// oldNumbers are those that it asserts to be numbers.
var oldNumbers = map[string][]string{
	"token_usage": {"usage.input_tokens", "usage.output_tokens", "usage.context_length", "usage.context_limit", "usage.cost"},
}

// decodeOld panics where an existing client panics.
func decodeOld(line []byte) (typ string, event map[string]any) {
	if err := json.Unmarshal(line, &event); err != nil {
		panic(fmt.Sprintf("no JSON: %s", line))
	}
	member := func(path string) any {
		var v any = event
		for key := range strings.SplitSeq(path, ".") {
			v = v.(map[string]any)[key]
		}
		return v
	}
	typ = event["type"].(string)
	for _, path := range oldMembers[typ] {
		text := member(path).(string)
		if strings.HasSuffix(path, "agent_name") && text == "" {
			panic("agent_name is empty")
		}
	}
	for _, path := range oldNumbers[typ] {
		_ = member(path).(float64)
	}
	return typ, event
}

// run says something and returns the types of what came, and the text of the
// model. cut says that the client gave up before the end.
func (c *oldClient) run(t *testing.T, text string) (types []string, answer string, cut bool) {
	t.Helper()
	c.said = append(c.said, map[string]string{"role": "user", "content": text})
	return c.again(t)
}

// again sends the same once more.
func (c *oldClient) again(t *testing.T) (types []string, answer string, cut bool) {
	t.Helper()
	body, err := json.Marshal(c.said)
	if err != nil {
		t.Fatal(err)
	}
	ctx, quit := context.WithCancel(t.Context())
	defer quit()
	req, err := http.NewRequestWithContext(ctx, "POST", c.base+"/api/sessions/"+c.session+"/agent/pirate.yaml", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		_ = json.NewDecoder(resp.Body).Decode(&e)
		t.Fatalf("%d %s", resp.StatusCode, e.Error)
	}
	var last []byte
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("an existing client panics: %v on %.300s", p, last)
		}
	}()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		last = []byte(data)
		typ, event := decodeOld(last)
		types = append(types, typ)
		if c.quits && typ == "tool_call_confirmation" {
			// A moment, in which something that must not come would.
			defer time.AfterFunc(300*time.Millisecond, quit).Stop()
		}
		if c.asked != nil && typ == "tool_call_confirmation" {
			c.asked()
			c.asked = nil
		}
		if typ == "agent_choice" {
			answer += event["content"].(string)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		t.Fatal("an existing client stops reading at a line of 64 KiB")
	case errors.Is(err, context.Canceled):
		return types, answer, true
	case err != nil:
		t.Fatal(err)
	}
	return types, answer, false
}

func TestOldClient(t *testing.T) {
	w := newWorld(t)
	for _, mount := range []string{"", "/v2"} {
		c := &oldClient{base: w.srv.URL + mount, session: "made-up" + strings.TrimPrefix(mount, "/")}
		types, answer, _ := c.run(t, "hello")
		if got := strings.Join(types, " "); answer != "Hello, world." ||
			got != "user_message stream_started agent_choice agent_choice agent_choice token_usage stream_stopped session_title" {
			t.Errorf("%q, %s", answer, got)
		}
		// All that was said comes again, and is not said again.
		types, _, _ = c.run(t, "fail")
		if strings.Count(strings.Join(types, " "), "user_message") != 1 || !strings.Contains(strings.Join(types, " "), "error") {
			t.Errorf("second turn: %v", types)
		}
		// No line is too long, whatever a model or a tool says.
		if types, _, _ = c.run(t, "big"); types[len(types)-1] != "session_title" {
			t.Errorf("long lines: %v", types)
		}
		c.quits = true // it asks for a decision and gets none
		if types, _, cut := c.run(t, "write"); !cut || types[len(types)-1] != "tool_call_confirmation" {
			t.Errorf("long arguments: cut %v, %v", cut, types)
		}
	}
}

// The client gives up in the middle of a run and never delivers a decision. The
// run waits; somebody decides elsewhere; the same words again find what happened.
func TestOldClientComesBack(t *testing.T) {
	w := newWorld(t)
	user, err := url.Parse(w.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	user.User = url.UserPassword("anybody", "a-key-that-nobody-asks-for") // as http://user:KEY@host
	c := &oldClient{base: user.String(), quits: true, session: "asks"}
	types, _, cut := c.run(t, "tool")
	if !cut || types[len(types)-1] != "tool_call_confirmation" {
		t.Fatalf("cut %v, %v", cut, types)
	}
	if types, _, cut = c.again(t); !cut || types[len(types)-1] != "tool_call_confirmation" || types[0] != "user_message" {
		t.Errorf("the same again while it waits: cut %v, %v", cut, types)
	}
	w.mustCall("POST", "/api/sessions/asks/resume", `{"confirmation":"approve"}`, nil)
	c.quits = false
	types, _, _ = c.again(t)
	if got := strings.Join(types, " "); !strings.Contains(got, "tool_call_confirmation tool_call tool_call_response") || types[0] != "user_message" {
		t.Errorf("after the decision: %s", got)
	}
	if n := strings.Count(fmt.Sprint(w.stored("asks")), "user_message"); n != 1 {
		t.Errorf("the user's word is %d times in the log", n)
	}
}

// A client whose decision never arrives says something else. Its run waits for its
// turn, and the stream says what for.
func TestOldClientSaysSomethingElse(t *testing.T) {
	w := newWorld(t)
	c := &oldClient{base: w.srv.URL, quits: true, session: "else"}
	c.run(t, "tool")
	c.quits = false
	c.asked = func() { w.mustCall("POST", "/api/sessions/else/resume", `{"confirmation":"approve"}`, nil) }
	types, answer, _ := c.run(t, "hello")
	got := strings.Join(types, " ")
	if !strings.HasPrefix(got, "tool_call_confirmation tool_call tool_call_response") || strings.Count(got, "user_message") != 1 ||
		!strings.Contains(got, "user_message stream_started agent_choice") || !strings.HasSuffix(answer, "Hello, world.") {
		t.Errorf("%q: %s", answer, got)
	}
}

// The double itself fails on what existing clients fail on.
func TestOldDecoderPanics(t *testing.T) {
	for _, line := range []string{
		`{"type":"agent_choice","content":"x"}`,
		`{"type":"agent_choice","content":"x","agent_name":""}`,
		`{"type":"agent_choice","content":null,"agent_name":"root"}`,
		`{"type":"token_usage","usage":null}`,
		`{"type":"tool_call","agent_name":"root","tool_call":{"id":"1","type":"function","function":{"name":"x","arguments":{}}}}`,
		`{"type":"shell","error":"x"}`,
		`{}`,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was taken", line)
				}
			}()
			decodeOld([]byte(line))
		}()
	}
	decodeOld([]byte(`{"type":"something_new","of":{"the":"future"}}`))
}
