package builtin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// caller calls the tools of a toolset in one session.
func caller(t *testing.T, ts *builtin.Toolset) func(name, arguments string) tool.Result {
	t.Helper()
	state := tooltest.State{}
	return func(name, arguments string) tool.Result {
		t.Helper()
		c := tooltest.Call(tool.Call{Name: name, Arguments: arguments})
		c.State = state.Get
		res, err := ts.Call(t.Context(), c)
		mustDo(t, err)
		state.Apply(res)
		return res
	}
}

func TestTodosAtOnce(t *testing.T) {
	do := caller(t, builtin.NewTodo(""))
	do("create_todos", `{"descriptions":"[\"a\",\"b\"]"}`) // a list as text
	do("create_todos", `{"descriptions":"c"}`)
	if res := do("update_todos", `{"updates":[{"id":"todo_1","status":"in_progress"},{"id":"todo_9","status":"completed"},{"id":"todo_3","status":"completed"}]}`); res.IsError ||
		res.Output != "Todo [todo_1] is now in-progress.\nThere is no todo \"todo_9\".\nTodo [todo_3] is now completed." {
		t.Errorf("%+v", res)
	}
	if res := do("update_todos", `{"updates":[{"id":"todo_9","status":"pending"}]}`); !res.IsError {
		t.Errorf("%+v", res)
	}
	if res := do("update_todos", `{"updates":[]}`); !res.IsError {
		t.Errorf("%+v", res)
	}
	if res := do("list_todos", ``); res.Output != "Todos:\n- [todo_1] a (in-progress)\n- [todo_2] b (pending)\n- [todo_3] c (completed)\n" {
		t.Errorf("%+v", res)
	}
}

func TestMemoryKeepsItsCategory(t *testing.T) {
	store := tooltest.NewMemoryMap()
	do := caller(t, builtin.NewMemory(store, ""))
	do("add_memory", `{"memory":"tea","category":"preference"}`)
	all, err := store.Memories(t.Context(), "tenant", "root")
	mustDo(t, err)
	do("update_memory", fmt.Sprintf(`{"id":%q,"memory":"coffee"}`, all[0].ID))
	if res := do("search_memories", `{"category":"preference"}`); !strings.Contains(res.Output, "coffee") {
		t.Errorf("%+v", res)
	}
	do("update_memory", fmt.Sprintf(`{"id":%q,"memory":"coffee","category":""}`, all[0].ID))
	if res := do("search_memories", `{"category":"preference"}`); res.Output != "There are no memories." {
		t.Errorf("%+v", res)
	}
}

func TestUserPromptAsks(t *testing.T) {
	ts := builtin.NewUserPrompt()
	for _, c := range []struct{ arguments, message, good, bad string }{
		{`{"message":"Name?"}`, "Name?", `{"response":"Ada"}`, `{"response":1}`},
		{`{"message":"How many?","schema":{"type":"integer"}}`, "How many?", `{"response":3}`, `{"response":"x"}`},
		{`{"message":"Which?","schema":{"enum":["a","b"]}}`, "Which?", `{"response":"a"}`, `{"response":"c"}`},
		{`{"title":"T","message":"Who?","schema":{"type":"object","properties":{"n":{"type":"string"}},"required":["n"]}}`, "T\n\nWho?", `{"n":"x"}`, `{}`},
		{
			`{"message":"Which?","options":[{"label":"A","description":"first"},{"label":"B"}]}`, "Which?\n- A: first\n- B",
			`{"selection":["B"]}`, `{"selection":["A","B"]}`,
		},
		{`{"message":"Which?","options":[{"label":"A"},{"label":"B"}],"multiple":true}`, "Which?\n- A\n- B", `{"selection":["A","B"]}`, `{"selection":["C"]}`},
		{`{"message":"Which?","options":[{"label":"A"}]}`, "Which?\n- A", `{"custom":"none of them"}`, `{}`},
	} {
		_, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "user_prompt", Arguments: c.arguments}))
		var asked *tool.InputRequired
		if !errors.As(err, &asked) || len(asked.Requests) != 1 || asked.Requests[0].Message != c.message {
			t.Errorf("%s: %v, %+v", c.arguments, err, asked)
			continue
		}
		schema := asked.Requests[0].Schema
		if err := tool.Validate(schema, json.RawMessage(c.good)); err != nil {
			t.Errorf("%s: %s for %s: %v", c.arguments, c.good, schema, err)
		}
		if err := tool.Validate(schema, json.RawMessage(c.bad)); err == nil {
			t.Errorf("%s: %s fits %s", c.arguments, c.bad, schema)
		}
	}
	for _, arguments := range []string{
		`{}`, `{"message":"x","schema":{"description":"x"}}`, `{"message":"x","schema":{"type":"nothing"}}`, `{"message":"x","schema":[]}`,
		`{"message":"x","schema":{"type":"string"},"options":[{"label":"A"}]}`, `{"message":"x","options":[{"label":" "}]}`, `{"message":"x","options":[{"label":"A"},{"label":"A"}]}`,
	} {
		res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "user_prompt", Arguments: arguments}))
		if err != nil || !res.IsError {
			t.Errorf("%s: %+v, %v", arguments, res, err)
		}
	}
}

// What a server says with an error is shown; a page that is none is not.
func TestFetchShowsWhatIsWrong(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"q is missing"}`+strings.Repeat(" x", 10_000))
		case "/any":
			kind, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, "<b>"+kind+"</b>")
		case "/html":
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<html><script>x()</script><p>Members only`)
		default:
			w.Header().Set("Content-Type", "image/png")
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	ts := builtin.NewFetch(builtin.FetchOptions{AllowHosts: []string{srv.Listener.Addr().String()}})
	t.Cleanup(func() { mustDo(t, ts.Close()) })
	do := caller(t, ts)
	if res := do("fetch", fmt.Sprintf(`{"urls":"%s/json"}`, srv.URL)); !res.IsError || !strings.HasPrefix(res.Output, "Error: the server answered HTTP 400.\n{\"error\":\"q is missing\"}") || len(res.Output) > 5000 {
		t.Errorf("%d bytes: %.200s", len(res.Output), res.Output)
	}
	if res := do("fetch", fmt.Sprintf(`{"urls":["%s/html"],"timeout":"30"}`, srv.URL)); !res.IsError || res.Output != "Error: the server answered HTTP 403.\nMembers only" {
		t.Errorf("%+v", res)
	}
	for format, want := range map[string]string{"markdown": "<b>text/markdown</b>", "": "<b>text/markdown</b>", "text": "<b>text/plain</b>", "html": "<b>text/html</b>"} {
		if res := do("fetch", fmt.Sprintf(`{"urls":["%s/any"],"format":%q,"timeout":""}`, srv.URL, format)); res.Output != want {
			t.Errorf("%q: %+v", format, res)
		}
	}
	if res := do("fetch", fmt.Sprintf(`{"urls":["%s/image"]}`, srv.URL)); !res.IsError || res.Output != "Error: the server answered HTTP 404." {
		t.Errorf("%+v", res)
	}
}

// robots.txt may not lead to where pages may not be fetched from.
func TestFetchRobotsStaysWithTheAllowedHosts(t *testing.T) {
	asked := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	t.Cleanup(other.Close)
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			http.Redirect(w, r, elsewhere+"/robots.txt", http.StatusFound)
		}
	}))
	t.Cleanup(srv.Close)
	ts := builtin.NewFetch(builtin.FetchOptions{
		AllowHosts: []string{srv.Listener.Addr().String(), strings.TrimPrefix(elsewhere, "http://")}, Blocked: []string{"localhost"},
	})
	t.Cleanup(func() { mustDo(t, ts.Close()) })
	res := caller(t, ts)("fetch", fmt.Sprintf(`{"urls":["%s/x"]}`, srv.URL))
	if !res.IsError || !strings.Contains(res.Output, "may not fetch from this host") {
		t.Errorf("%+v", res)
	}
	if len(asked) != 0 {
		t.Errorf("the blocked host was asked for %s", <-asked)
	}
}
