package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
)

// ringOnly is what the routes of a session's authorizations need.
type ringOnly struct {
	httpapi.Authorizations
	ring *state.Ring
}

func (r ringOnly) Ring() *state.Ring { return r.ring }

// Every route of sessions: what succeeds, what is malformed, what is not there,
// what contradicts, what is too large. The description says which of these a
// route can answer, and the test wants one of each.
func TestV1Contract(t *testing.T) {
	ring, err := state.NewRing(state.Key{ID: "k", Secret: []byte(strings.Repeat("k", 32))})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *httpapi.Config) {
		c.MaxBody, c.MaxImport = contractMaxBody, 2048
		c.Authorizations = ringOnly{ring: ring}
	})
	const (
		hello = `{"agent":"demo","messages":[{"content":"hello"}]}`
		v1    = "/v1/sessions"
	)
	fill := map[string]string{}
	for id, typ := range map[string]string{
		"hello": holdfast.TypeRunFinished, "tool": holdfast.TypeToolCallConfirmation, "gate": holdfast.TypeAgentChoice, "gate2": holdfast.TypeAgentChoice, "ask": holdfast.TypeElicitationRequest,
		"limit": holdfast.TypeMaxIterationsReached, "oauth": holdfast.TypeAuthorizationRequired,
	} {
		var run struct{ Run string }
		w.mustCall("POST", v1, `{"id":"`+id+`"}`, nil)
		w.mustCall("POST", v1+"/"+id+"/runs", `{"agent":"demo","messages":[{"content":"`+strings.TrimRight(id, "2")+`"}]}`, &run)
		fill["{"+id+"}"] = run.Run
		w.until(id, func() bool {
			for _, e := range w.stored(id) {
				if e.Type == typ {
					return true
				}
			}
			return false
		})
	}
	for _, id := range []string{"s", "gone"} {
		w.mustCall("POST", v1, `{"id":"`+id+`"}`, nil)
	}
	fill["{file}"], fill["{bigfile}"] = string(w.copyOf("s")), string(w.copyOf("hello"))
	for _, name := range []string{"{later}", "{later2}"} {
		var run struct{ Run string }
		w.mustCall("POST", v1+"/s/messages", strings.Replace(hello, "{", `{"delay":"9h",`, 1), &run)
		fill[name] = run.Run
	}
	vouch := func(flow, verifier, user string) string {
		if verifier == "" {
			verifier = ring.Verifier(state.Data{Tenant: "default", SessionID: "oauth", Connection: "c", Flow: flow, Random: "r"})
		}
		return fmt.Sprintf(`{"random":"r","connection":"c","verifier":%q,"user":%q}`, verifier, user)
	}
	var done []string
	for _, c := range []struct {
		route, path, body string
		status            int
		has               string // of the answer; else its code
	}{
		{"POST", v1, `{"id":"new","metadata":{"a":"b"}}`, 201, `"id":"new"`},
		{"POST#k1", v1, `{"title":"t"}`, 201, `"title":"t"`},
		{"POST#k1", v1, `{"title":"t"}`, 200, `"title":"t"`},
		{"POST#k1", v1, `{"title":"u"}`, 422, "key_reused"},
		{"POST", v1, `{"id":"a b"}`, 400, "invalid"},
		{"POST", v1, `{"agent":"nobody"}`, 404, "not_found"},
		{"POST", v1, `{"id":"s","title":"other"}`, 409, "conflict"},
		{"POST", v1, bigBody, 413, "too_large"},
		{"GET", v1, "", 200, `"id":"new"`},
		{"GET", v1 + "?limit=0", "", 400, "invalid"},
		{"GET", v1 + "?cursor=x", "", 400, "invalid"},
		{"GET", v1 + "/s", "", 200, `"id":"s"`},
		{"GET", v1 + "/s?at=x", "", 400, "invalid"},
		{"GET", v1 + "/nobody", "", 404, "not_found"},
		{"GET", v1 + "/s?at=1000", "", 410, "gone"},
		{"POST", v1 + "/s/forks", `{"id":"fork"}`, 201, `"fork_of":"s"`},
		{"POST#k2", v1 + "/s/forks", `{"title":"t"}`, 201, `"fork_of":"s"`},
		{"POST#k2", v1 + "/s/forks", `{"title":"t"}`, 200, `"fork_of":"s"`},
		{"POST#k2", v1 + "/s/forks", `{"title":"u"}`, 422, "key_reused"},
		{"POST", v1 + "/s/forks", `{"seq":18446744073709551615}`, 410, "gone"},
		{"POST", v1 + "/s/forks", `{"seq":18446744073709551616}`, 400, "invalid"},
		{"POST", v1 + "/s/forks", `{"seq":-1}`, 400, "invalid"},
		{"GET", v1 + "/s?at=18446744073709551615", "", 410, "gone"},
		{"POST", v1 + "/s/forks", `{"sequence":1}`, 400, "invalid"},
		{"POST", v1 + "/nobody/forks", `{}`, 404, "not_found"},
		{"POST", v1 + "/s/forks", `{"id":"new"}`, 409, "conflict"},
		{"POST", v1 + "/s/forks", `{"seq":1000}`, 410, "gone"},
		{"POST", v1 + "/s/forks", bigBody, 413, "too_large"},
		{"DELETE", v1 + "/gone", "", 200, `"status":"accepted"`},
		{"DELETE", v1 + "/gone", "", 404, "not_found"},
		{"POST", v1, `{"id":"gone"}`, 410, "gone"},
		{"DELETE", v1 + "/no.id", "", 400, "invalid"},

		{"POST", v1 + "/s/runs", hello, 200, `"status":"accepted"`},
		{"POST#k3", v1 + "/s/runs", hello, 200, `"status":"accepted"`},
		{"POST#k3", v1 + "/s/runs", strings.Replace(hello, "hello", "hello you", 1), 422, "key_reused"},
		{"POST", v1 + "/s/runs", `{"agent":"demo","messages":[]}`, 400, "invalid"},
		{"POST", v1 + "/s/runs", strings.Replace(hello, "{", `{"mode":"now",`, 1), 400, "invalid"},
		{"POST", v1 + "/nobody/runs", hello, 404, "not_found"},
		{"POST", v1 + "/tool/runs", strings.Replace(hello, "{", `{"mode":"reject",`, 1), 409, "conflict"},
		{"POST", v1 + "/s/runs", bigBody, 413, "too_large"},
		{"GET", v1 + "/hello/runs/{hello}", "", 200, `"reason":"stop"`},
		{"GET", v1 + "/no.id/runs/x", "", 400, "invalid"},
		{"GET", v1 + "/hello/runs/{gate}", "", 404, "not_found"},
		{"POST", v1 + "/gate/runs/{gate}/cancel", `{"reason":7}`, 400, "invalid"},
		{"POST", v1 + "/gate/runs/{gate}/cancel", `{"reason":"` + strings.Repeat("x", 1001) + `"}`, 400, "invalid"},
		{"POST", v1 + "/gate/runs/{gate}/cancel", bigBody, 413, "too_large"},
		{"POST#k8", v1 + "/gate/runs/{gate}/cancel", `{"reason":"the wrong town"}`, 200, `"run":"{gate}"`},
		{"POST#k8", v1 + "/gate/runs/{gate}/cancel", `{"reason":"another"}`, 422, "key_reused"},
		{"GET", v1 + "/gate/runs/{gate}", "", 200, `"cancel_reason":"the wrong town"`},
		{"POST#k8", v1 + "/gate/runs/other/cancel", "", 422, "key_reused"},
		{"POST", v1 + "/no.id/runs/x/cancel", "", 400, "invalid"},
		{"POST", v1 + "/nobody/runs/x/cancel", "", 404, "not_found"},
		{"POST", v1 + "/tool/runs/{gate}/cancel", "", 409, "conflict"},

		{"POST", v1 + "/tool/tool-calls/call_1/decision", `{"decision":"perhaps"}`, 400, "invalid"},
		{"POST", v1 + "/tool/tool-calls/call_1/decision", `{"decision":"approve","arguments":"x"}`, 400, "invalid"},
		{"POST#k5", v1 + "/tool/tool-calls/call_1/decision", `{"decision":"approve"}`, 200, `"run":"{tool}"`},
		{"POST#k5", v1 + "/tool/tool-calls/call_1/decision", `{"decision":"reject"}`, 422, "key_reused"},
		{"POST", v1 + "/tool/tool-calls/call_1/decision", `{"decision":"reject"}`, 409, "conflict"},
		{"POST", v1 + "/nobody/tool-calls/call_1/decision", `{"decision":"approve"}`, 404, "not_found"},
		{"POST", v1 + "/tool/tool-calls/call_1/decision", bigBody, 413, "too_large"},
		{"GET", v1 + "/tool/events?until={tool}", "", 200, `"type":"tool_call_response"`}, // the run ends
		{"GET", v1 + "/tool/tool-calls/call_1/output", "", 200, "done"},
		{"GET", v1 + "/no.id/tool-calls/call_1/output", "", 400, "invalid"},
		{"GET", v1 + "/tool/tool-calls/call_2/output", "", 404, "not_found"},

		{"GET", v1 + "/ask", "", 200, `"questions":[{"id":"q1","message":"What is your name?","schema":{"type":"object"`},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"perhaps"}`, 400, "invalid"},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"accept","answer":{}}`, 400, "invalid"},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"accept"}`, 422, "invalid_input"},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"accept","content":{"name":7}}`, 422, "invalid_input"},
		{"POST", v1 + "/ask/inputs/q2", `{"action":"decline"}`, 404, "not_found"},
		{"POST", v1 + "/nobody/inputs/q1", `{"action":"decline"}`, 404, "not_found"},
		{"POST", v1 + "/ask/inputs/q1", bigBody, 413, "too_large"},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"accept","content":{"name":"Ann","age":12345678901234567890}}`, 200, `"run":"{ask}"`},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"accept","content":{"name":"Ann","age":12345678901234567890}}`, 200, `"status":"accepted"`},
		{"POST", v1 + "/ask/inputs/q1", `{"action":"cancel"}`, 409, "conflict"},
		{"GET", v1 + "/ask", "", 200, `"pending":[],"runs"`},
		{"GET", v1 + "/ask/events?until={ask}", "", 200, `"age":12345678901234567890`},

		{"POST", v1 + "/limit/runs/{limit}/continue", `{"iterations":0}`, 400, "invalid"},
		{"POST", v1 + "/limit/runs/{ask}/continue", `{}`, 409, "conflict"},
		{"POST", v1 + "/nobody/runs/{limit}/continue", `{}`, 404, "not_found"},
		{"POST", v1 + "/limit/runs/{limit}/continue", bigBody, 413, "too_large"},
		{"POST#k7", v1 + "/limit/runs/{limit}/continue", "", 200, `"run":"{limit}"`},
		{"POST#k7", v1 + "/limit/runs/{limit}/continue", `{"iterations":5}`, 422, "key_reused"},

		{"POST", v1 + "/limit/compact", "", 200, `"status":"accepted"`},
		{"POST", v1 + "/new/compact", "", 409, "conflict"},
		{"POST", v1 + "/nobody/compact", "", 404, "not_found"},
		{"POST", v1 + "/no.id/compact", "", 400, "invalid"},

		{"POST", v1 + "/oauth/authorizations/f1", `{"decision":"perhaps"}`, 400, "invalid"},
		{"POST", v1 + "/oauth/authorizations/f2", `{"decision":"start"}`, 409, "conflict"},
		{"POST", v1 + "/nobody/authorizations/f1", `{"decision":"start"}`, 404, "not_found"},
		{"POST", v1 + "/oauth/authorizations/f1", bigBody, 413, "too_large"},
		{"POST#k10", v1 + "/oauth/authorizations/f1", `{"decision":"start"}`, 200, `"run":"{oauth}"`},
		{"POST#k10", v1 + "/oauth/authorizations/f1", `{"decision":"decline"}`, 422, "key_reused"},
		{"POST", v1 + "/oauth/authorizations/f1/vouch", `{"user":"ann"}`, 400, "invalid"},
		{"POST", v1 + "/oauth/authorizations/f1/vouch", vouch("f1", "forged", "ann"), 403, "forbidden"},
		{"POST", v1 + "/oauth/authorizations/f1/vouch", vouch("f1", "", "bob"), 403, "forbidden"},
		{"POST", v1 + "/oauth/authorizations/f2/vouch", vouch("f1", "", "ann"), 403, "forbidden"},
		{"POST", v1 + "/oauth/authorizations/f2/vouch", vouch("f2", "", "ann"), 409, "conflict"},
		{"POST", v1 + "/nobody/authorizations/f1/vouch", vouch("f1", "", "ann"), 403, "forbidden"},
		{"POST", v1 + "/nobody/authorizations/f1/vouch", vouch("f1", ring.Verifier(state.Data{Tenant: "default", SessionID: "nobody", Connection: "c", Flow: "f1", Random: "r"}), "ann"), 404, "not_found"},
		{"POST", v1 + "/oauth/authorizations/f1/vouch", bigBody, 413, "too_large"},
		{"POST#k11", v1 + "/oauth/authorizations/f1/vouch", vouch("f1", "", "ann"), 200, `"run":"{oauth}"`},
		{"POST#k11", v1 + "/oauth/authorizations/f1/vouch", vouch("f1", "", "bob"), 422, "key_reused"},

		{"POST", v1 + "/gate2/messages", strings.Replace(hello, "{", `{"mode":"reject",`, 1), 409, "conflict"},
		{"POST", v1 + "/gate2/cancel", `{"why":"x"}`, 400, "invalid"},
		{"POST", v1 + "/gate2/cancel", bigBody, 413, "too_large"},
		{"POST", v1 + "/gate2/cancel", "", 200, `"run":"{gate2}"`},
		{"POST", v1 + "/new/cancel", "", 409, "conflict"},
		{"POST", v1 + "/nobody/cancel", "", 404, "not_found"},
		{"POST", v1 + "/no.id/cancel", "", 400, "invalid"},

		{"POST", v1 + "/s/messages", hello, 200, `"status":"accepted"`},
		{"POST#k4", v1 + "/s/messages", hello, 200, `"status":"accepted"`},
		{"POST#k4", v1 + "/s/messages", strings.Replace(hello, "hello", "hello you", 1), 422, "key_reused"},
		{"POST", v1 + "/s/messages", strings.Replace(hello, "{", `{"delay":"soon",`, 1), 400, "invalid"},
		{"POST", v1 + "/nobody/messages", hello, 404, "not_found"},
		{"POST", v1 + "/s/messages", bigBody, 413, "too_large"},
		{"GET", v1 + "/s/scheduled", "", 200, `"run":"{later}"`},
		{"GET", v1 + "/no.id/scheduled", "", 400, "invalid"},
		{"GET", v1 + "/nobody/scheduled", "", 404, "not_found"},
		{"DELETE#k9", v1 + "/s/scheduled/{later}", "", 200, `"run":"{later}"`},
		{"DELETE#k9", v1 + "/s/scheduled/{later2}", "", 422, "key_reused"},
		{"DELETE", v1 + "/no.id/scheduled/x", "", 400, "invalid"},
		{"DELETE", v1 + "/s/scheduled/nobody", "", 404, "not_found"},
		{"DELETE", v1 + "/hello/scheduled/{hello}", "", 409, "conflict"},

		{"GET", v1 + "/s/events?wait=false", "", 200, "session_created"},
		{"GET", v1 + "/s/events?after=x", "", 400, "invalid"},
		{"GET", v1 + "/nobody/events", "", 404, "not_found"},
		{"GET", v1 + "/s/events?after=100000", "", 410, "gone"},
		{"GET", v1 + "/s/events/1", "", 200, "session_created"},
		{"GET", v1 + "/s/events/0", "", 400, "invalid"},
		{"GET", v1 + "/nobody/events/1", "", 404, "not_found"},
		{"GET", v1 + "/s/events/100000", "", 410, "gone"},
		{"GET", v1 + "/s/export", "", 200, `"session":"s"`},
		{"GET", v1 + "/no.id/export", "", 400, "invalid"},
		{"GET", v1 + "/nobody/export", "", 404, "not_found"},
		{"POST", v1 + "/import?id=copy", "{file}", 201, `"id":"copy"`},
		{"POST", v1 + "/import?id=copy", "{file}", 200, `"id":"copy"`},
		{"POST", v1 + "/import?id=copy", "x", 400, "invalid"},
		{"POST", v1 + "/import?id=hello", "{file}", 409, "conflict"},
		{"POST", v1 + "/import?id=big", "{bigfile}", 413, "too_large"},
	} {
		for name, v := range fill {
			c.path, c.body, c.has = strings.ReplaceAll(c.path, name, v), strings.ReplaceAll(c.body, name, v), strings.ReplaceAll(c.has, name, v)
		}
		if c.body == bigBody {
			c.body = `"` + strings.Repeat("x", contractMaxBody) + `"`
		}
		method, header := headerOf(c.route)
		name := fmt.Sprintf("%s %s %.80s", c.route, c.path, c.body)
		done = append(done, fmt.Sprintf("%s %s %d", method, c.path, c.status))
		st, body := w.call(method, c.path, c.body, header...)
		if st >= 400 {
			c.has = `"code":"` + c.has + `"`
		}
		if st != c.status || !strings.Contains(body, c.has) {
			t.Errorf("%s: %d %.300s; want %d and %s", name, st, body, c.status, c.has)
		}
	}
	if log := w.stored("hello"); len(log) == 0 || log[len(log)-1].Type != holdfast.TypeSessionParked {
		t.Error("what was refused left something in the log")
	}
	w.complete("/v1/sessions", done)
}
