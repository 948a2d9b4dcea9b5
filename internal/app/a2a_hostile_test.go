package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// a2aAnswer is an answer of A2A 1.0 over JSON-RPC, as far as this test reads it.
type a2aAnswer struct {
	Result struct {
		Task struct {
			ID, ContextID string
			Status        struct{ State string }
		}
		ID, ContextID string
		Status        struct{ State string }
		History       []struct{ Parts []struct{ Text string } }
	}
	Error struct {
		Code    int
		Message string
		Data    []struct {
			Reason   string
			Metadata map[string]string
		}
	}
}

// a2aCall asks an agent in A2A 1.0, with params as they are written.
func a2aCall(t *testing.T, base, key, agent, method, params string) (a a2aAnswer) {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/agents/"+agent+"/a2a", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return a
	}
	req.Header = http.Header{"Authorization": {"Bearer " + key}, "A2a-Version": {"1.0"}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(raw, []byte(`"code":"internal"`)) {
		t.Errorf("%s %.200s: %s %.500s, %v", method, params, resp.Status, raw, err)
	}
	return a
}

// a2aSays is a message as its parameters are written; more is what else they have.
func a2aSays(id, text, at, more string) string {
	return fmt.Sprintf(`{"message":{"messageId":%q,"role":"ROLE_USER","parts":[{"text":%q}]%s}%s}`, id, text, at, more)
}

const a2aQuick = `,"configuration":{"returnImmediately":true}`

// TestA2AHostile: what nobody should send over A2A is refused by its name, and what
// is sent twice, at once or to the wrong task does nothing that was not asked for.
func TestA2AHostile(t *testing.T) {
	base := startFacades(t)
	ask := func(agent, method, params string) a2aAnswer {
		t.Helper()
		return a2aCall(t, base, facadeKey, agent, method, params)
	}
	hello := ask("demo", "SendMessage", a2aSays("first", "hello", `,"contextId":"mine","unknown":{"x":1}`, `,"more":[]`)).Result.Task
	if hello.ContextID != "mine" || hello.Status.State != "TASK_STATE_COMPLETED" {
		t.Fatalf("%+v", hello)
	}
	foreign := a2aCall(t, base, "another-key-of-other", "demo", "SendMessage", a2aSays("first", "hello", `,"contextId":"mine"`, "")).Result.Task
	if foreign.ContextID != "mine" || foreign.ID == "" {
		t.Errorf("another tenant has a context of the same name: %+v", foreign)
	}
	parts := func(list string) string {
		return `{"message":{"messageId":"p","role":"ROLE_USER","parts":` + list + `}}`
	}
	for what, c := range map[string]struct {
		agent, method, params string
		reason, says          string
	}{
		"a file":                 {"demo", "SendMessage", parts(`[{"raw":"aGk=","mediaType":"text/plain"}]`), "CONTENT_TYPE_NOT_SUPPORTED", "parts[0]"},
		"a file by URL":          {"demo", "SendMessage", parts(`[{"text":"x"},{"url":"file:///etc/passwd","mediaType":"text/plain"}]`), "CONTENT_TYPE_NOT_SUPPORTED", "parts[1]"},
		"data":                   {"demo", "SendMessage", parts(`[{"data":{"x":1}}]`), "CONTENT_TYPE_NOT_SUPPORTED", "parts[0]"},
		"no parts":               {"demo", "SendMessage", parts(`[]`), "INVALID_PARAMS", "want a text"},
		"a part of two kinds":    {"demo", "SendMessage", parts(`[{"text":"x","data":{}}]`), "INVALID_PARAMS", "message.parts[0]"},
		"a part of no kind":      {"demo", "SendMessage", parts(`[{"kind":"text"}]`), "INVALID_PARAMS", "message.parts[0]"},
		"a message of the agent": {"demo", "SendMessage", strings.Replace(parts(`[{"text":"x"}]`), "ROLE_USER", "ROLE_AGENT", 1), "INVALID_PARAMS", "message.role"},
		"no message":             {"demo", "SendMessage", `{}`, "INVALID_PARAMS", "message"},
		"params that are a list": {"demo", "SendMessage", `[]`, "INVALID_PARAMS", "params"},
		"a type that is wrong":   {"demo", "GetTask", `{"id":7}`, "INVALID_PARAMS", "id"},
		"a long messageId":       {"demo", "SendMessage", a2aSays(strings.Repeat("m", 300), "x", "", ""), "INVALID_PARAMS", "message.messageId"},
		"a used messageId":       {"demo", "SendMessage", a2aSays("first", "other words", `,"contextId":"mine"`, ""), "INVALID_PARAMS", "used before"},
		"a context that is none": {"demo", "SendMessage", a2aSays("n", "x", `,"contextId":"../mine"`, ""), "INVALID_PARAMS", "message.contextId"},
		"a history below zero":   {"demo", "GetTask", `{"id":"` + hello.ID + `","historyLength":-1}`, "INVALID_PARAMS", "historyLength"},
		"a page token of nobody": {"demo", "ListTasks", `{"pageToken":"AAAA"}`, "INVALID_PARAMS", "pageToken"},
		"a state of nobody":      {"demo", "ListTasks", `{"status":"working"}`, "INVALID_PARAMS", "status"},
		"push with a message":    {"demo", "SendMessage", a2aSays("n", "x", "", `,"configuration":{"taskPushNotificationConfig":{"url":"https://p.example"}}`), "PUSH_NOTIFICATION_NOT_SUPPORTED", ""},
		"an answer nobody reads": {"demo", "SendMessage", a2aSays("n", "x", "", `,"configuration":{"acceptedOutputModes":["image/png"]}`), "CONTENT_TYPE_NOT_SUPPORTED", "acceptedOutputModes"},
		"another tenant's task":  {"demo", "GetTask", `{"id":"` + foreign.ID + `x"}`, "TASK_NOT_FOUND", ""},
		"another agent's task":   {"talker", "GetTask", `{"id":"` + hello.ID + `"}`, "TASK_NOT_FOUND", ""},
		"an id of other signs":   {"demo", "CancelTask", `{"id":"` + hello.ID[:36] + `_../../mine"}`, "", ""},
		"no id":                  {"demo", "SubscribeToTask", `{}`, "TASK_NOT_FOUND", ""},
		"a method of 0.3":        {"demo", "message/send", `{}`, "METHOD_NOT_FOUND", "message/send"},
	} {
		got := ask(c.agent, c.method, c.params).Error
		if len(got.Data) != 1 || c.reason != "" && got.Data[0].Reason != c.reason || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %+v, want %s, %q", what, got, c.reason, c.says)
		}
	}

	// The same message eight times at once is one task.
	var all sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		all.Go(func() {
			ids[i] = a2aCall(t, base, facadeKey, "demo", "SendMessage", a2aSays("once", "hello", `,"contextId":"crowd"`, "")).Result.Task.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("the same message at once: %q", ids)
			break
		}
	}
	// So are eight approvals, each with an id of its own: one counts, none breaks.
	asked := ask("demo", "SendMessage", a2aSays("milk", "remember the milk", "", "")).Result.Task
	done := make([]string, 8)
	for i := range done {
		all.Go(func() {
			a := a2aCall(t, base, facadeKey, "demo", "SendMessage", a2aSays(fmt.Sprintf("yes-%d", i), "approve", `,"taskId":"`+asked.ID+`"`, ""))
			if done[i] = a.Result.Task.Status.State; a.Result.Task.ID != "" && a.Result.Task.ID != asked.ID {
				t.Errorf("an approval began the task %s", a.Result.Task.ID)
			}
		})
	}
	all.Wait()
	if got := ask("demo", "GetTask", `{"id":"`+asked.ID+`"}`).Result; got.Status.State != "TASK_STATE_COMPLETED" || len(got.History) != 1 {
		t.Errorf("approved at once (%q): %+v", done, got)
	}

	// A message to a task that has not begun must not reach the one that works.
	putSleeper(t, base)
	works := ask("sleeper", "SendMessage", a2aSays("w", "count", `,"contextId":"queue"`, a2aQuick)).Result.Task
	waits := ask("sleeper", "SendMessage", a2aSays("q", "count", `,"contextId":"queue"`, a2aQuick)).Result.Task
	if works.ID == waits.ID || waits.Status.State != "TASK_STATE_SUBMITTED" {
		t.Fatalf("two tasks: %+v, %+v", works, waits)
	}
	if got := ask("sleeper", "SendMessage", a2aSays("s1", "faster", `,"taskId":"`+waits.ID+`"`, a2aQuick)).Error; len(got.Data) != 1 || got.Data[0].Reason != "UNSUPPORTED_OPERATION" {
		t.Errorf("a message to a task that has not begun: %+v", got)
	}
	for _, id := range []string{waits.ID, works.ID} {
		if got := ask("sleeper", "CancelTask", `{"id":"`+id+`"}`).Result; got.Status.State != "TASK_STATE_CANCELED" {
			t.Errorf("canceled: %+v", got)
		}
	}
	if got := ask("sleeper", "GetTask", `{"id":"`+works.ID+`"}`).Result; len(got.History) != 1 {
		t.Errorf("the task that worked heard what was not for it: %+v", got.History)
	}
}
