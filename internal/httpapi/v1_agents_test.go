package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// agentDoc is what these tests read of an agent file.
type agentDoc struct {
	Name, ETag, Source, Origin, Out string
	Version                         int64
	Parsed                          json.RawMessage
	Problems                        []struct {
		Line, Column int
		Key, Message string
	}
}

func TestAgentVersions(t *testing.T) {
	w, _, reg := contractWorld(t)
	const first = "version: \"2\"\nagents:\n  root: # a remark\n    model: scripted/demo\n    description: one\n"
	yaml := []string{"Content-Type", "application/yaml"}
	put := func(body string, want int, header ...string) (d agentDoc) {
		t.Helper()
		st, answer := w.call("PUT", "/v1/agents/mine", body, append(header, yaml...)...)
		if st != want {
			t.Fatalf("put: %d %s; want %d", st, answer, want)
		}
		if err := json.Unmarshal([]byte(answer), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	one := put(first, 201)
	if one.Version != 1 || one.Name != "mine" || one.Source != first || len(one.Problems) != 0 || !strings.Contains(string(one.Parsed), `"root"`) || one.Origin != "put" {
		t.Fatalf("stored %+v", one)
	}
	if again := put(first, 200); again.Version != 1 {
		t.Errorf("the same again: version %d", again.Version)
	}
	put(first, 412, "If-None-Match", "*")
	two := put(strings.Replace(first, "one\n", "two\n", 1), 200, "If-Match", one.ETag)
	put(first, 412, "If-Match", one.ETag)
	if again := put(two.Source, 200, "If-Match", one.ETag); again.Version != 2 || again.ETag != two.ETag {
		t.Errorf("the same request, whose answer was lost: %+v", again)
	}
	if two.Version != 2 || two.ETag == one.ETag {
		t.Errorf("second: %+v", two)
	}

	// An edit keeps comments and makes a version of its own.
	st, body := w.call("PATCH", "/v1/agents/mine", `{"agents":{"root":{"description":"three"}}}`, "Content-Type", "application/merge-patch+json", "If-Match", `"x", `+two.ETag)
	if st != 200 || !strings.Contains(body, "# a remark") || !strings.Contains(body, `"version":3`) {
		t.Errorf("edit: %d %s", st, body)
	}
	for _, bad := range []struct {
		body string
		want int
	}{{`{"agents":{"root":{"modle":"x"}}}`, 400}, {`null`, 400}, {`[]`, 400}, {`{`, 400}} {
		if st, body := w.call("PATCH", "/v1/agents/mine", bad.body); st != bad.want {
			t.Errorf("edit %s: %d %s", bad.body, st, body)
		}
	}

	// Old versions are listed, read and run.
	var old agentDoc
	w.mustCall("GET", "/v1/agents/mine@1", "", &old)
	if old.Source != first || old.Version != 1 {
		t.Errorf("version 1: %+v", old)
	}
	var page struct {
		Versions []struct {
			Version int64
			Digest  string
		}
		Next string
	}
	w.mustCall("GET", "/v1/agents/mine/versions?limit=2", "", &page)
	if len(page.Versions) != 2 || page.Versions[0].Version != 3 || page.Next != "2" || !strings.HasPrefix(page.Versions[0].Digest, "sha256:") {
		t.Errorf("versions %+v", page)
	}
	page.Next = ""
	w.mustCall("GET", "/v1/agents/mine/versions?cursor=2", "", &page)
	if len(page.Versions) != 1 || page.Next != "" {
		t.Errorf("last page %+v", page)
	}
	var session struct{ ID, Agent string }
	w.mustCall("POST", "/v1/sessions", `{"agent":"mine@1"}`, &session)
	if session.Agent != "mine@1.yaml" {
		t.Errorf("a session with a version has agent %s", session.Agent)
	}

	// What is pulled is pinned by its digest.
	var pushed struct{ Digest string }
	w.mustCall("POST", "/v1/agents/mine@1/push", `{"reference":"`+reg+`/acme/mine:1"}`, &pushed)
	var pulled agentDoc
	w.mustCall("POST", "/v1/agents/pull", `{"reference":"`+reg+`/acme/mine:1","name":"pulled"}`, &pulled)
	if pulled.Source != first || pulled.Origin != "pull "+reg+"/acme/mine:1@"+pushed.Digest {
		t.Errorf("pulled %+v", pulled)
	}
	var made agentDoc
	w.mustCall("POST", "/v1/agents", `{"prompt":"trips","name":"mine"}`, &made)
	if made.Name != "mine-2" || made.Origin != "prompt" || !strings.Contains(made.Out, "Trip-Planner") {
		t.Errorf("made %+v", made)
	}

	// A deletion leaves the versions.
	w.mustCall("DELETE", "/v1/agents/mine", "", nil)
	if st, _ := w.call("GET", "/v1/agents/mine", ""); st != 404 {
		t.Errorf("after the deletion: %d", st)
	}
	w.mustCall("GET", "/v1/agents/mine@3", "", &old)
	if again := put(first, 201); again.Version != 5 {
		t.Errorf("after a deletion: version %d", again.Version)
	}
	var list struct {
		Agents []struct{ Name string }
		Next   string
	}
	w.mustCall("GET", "/v1/agents?limit=2&cursor=broken.yaml", "", &list)
	if len(list.Agents) != 2 || list.Agents[0].Name != "demo" || list.Next != "mine-2.yaml" && list.Next != "mine.yaml" {
		t.Errorf("list %+v", list)
	}
}

// Every route of agents with what may go wrong.
func TestAgentRefusals(t *testing.T) {
	w, _, reg := contractWorld(t)
	big := `"` + strings.Repeat("x", contractMaxBody) + `"`
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/v1/agents?limit=0", "", 400, "limit"},
		{"GET", "/v1/agents/nobody", "", 404, "not_found"},
		{"GET", "/v1/agents/demo@1", "", 404, "not_found"},
		{"GET", "/v1/agents/broken", "", 200, `"problems":[{"line":2,"column":3,`},
		{"PUT", "/v1/agents/x", "agents:\n  root:\n    model: openai/a\n    modle: b\n", 400, `"location":"agents.root.modle","line":4,"column":5`},
		{"PUT", "/v1/agents/x", "", 400, "required"},
		{"PUT", "/v1/agents/x", big, 413, "too_large"},
		{"PUT", "/v1/agents/a%20b", "agents: {root: {model: openai/a}}", 400, "name"},
		{"PATCH", "/v1/agents/nobody", "{}", 404, "not_found"},
		{"PATCH", "/v1/agents/demo", big, 413, "too_large"},
		{"DELETE", "/v1/agents/nobody", "", 404, "not_found"},
		{"DELETE", "/v1/agents/demo", "", 403, "forbidden"},
		{"GET", "/v1/agents/nobody/versions", "", 404, "not_found"},
		{"GET", "/v1/agents/demo/versions", "", 200, `"versions":[]`},
		{"GET", "/v1/agents/demo/versions?cursor=x", "", 400, "cursor"},
		{"POST", "/v1/agents/check", "agents: {root: {model: openai/a}}", 200, `"ok":true`},
		{"POST", "/v1/agents/check", "agents: {root: {}}", 200, `"ok":false,"parsed":null,"problems":[{"line":1`},
		{"POST", "/v1/agents/check", big, 413, "too_large"},
		{"POST", "/v1/agents", `{"prompt":""}`, 400, "prompt"},
		{"POST", "/v1/agents", `{"prompt":"x","nmae":"y"}`, 400, "nmae"},
		{"POST", "/v1/agents", big, 413, "too_large"},
		{"POST", "/v1/agents/pull", `{"reference":"` + reg + `/no/body"}`, 502, "upstream"},
		{"POST", "/v1/agents/pull", `{"reference":"::"}`, 400, "invalid"},
		{"POST", "/v1/agents/pull", big, 413, "too_large"},
		{"POST", "/v1/agents/nobody/push", `{"reference":"` + reg + `/a/b"}`, 404, "not_found"},
		{"POST", "/v1/agents/demo/push", `{}`, 400, "reference"},
	} {
		st, body := w.call(c.method, c.path, c.body, "Content-Type", map[bool]string{true: "application/yaml", false: "application/json"}[c.method == "PUT" || strings.HasSuffix(c.path, "check")])
		if st != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s %s %.60s: %d %.400s; want %d and %s", c.method, c.path, c.body, st, body, c.status, c.text)
		}
	}
	// The same as JSON.
	st, body := w.call("POST", "/v1/agents/check", `{"source":"agents: {root: {model: openai/a}}"}`, "Content-Type", "application/json")
	if st != 200 || !strings.Contains(body, `"ok":true`) {
		t.Errorf("as JSON: %d %s", st, body)
	}
	// Without a model, a registry or a store each is refused by name.
	w = newWorld(t)
	for _, c := range [][2]string{{"/v1/agents", `{"prompt":"x"}`}, {"/v1/agents/pull", `{"reference":"a/b"}`}, {"/v1/agents/demo/push", `{"reference":"a/b"}`}} {
		if st, body := w.call("POST", c[0], c[1]); st != 501 || !strings.Contains(body, "not_offered") {
			t.Errorf("%s: %d %s", c[0], st, body)
		}
	}
}

// A model that cannot write an agent file.
func TestMakeAgentFails(t *testing.T) {
	_, err := answers("no file at all")(t.Context(), "", "x")
	if err == nil || !strings.Contains(err.Error(), "the model wrote no agent file") {
		t.Errorf("%v", err)
	}
}
