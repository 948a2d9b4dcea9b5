package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

const notA2A = "only refuses, with the protocol's own error, what the card does not offer"

// undescribed says of routes of our own why the description does not have them.
var undescribed = map[string]string{
	"GET /healthz": "for the supervisor of the process", "GET /readyz": "for the supervisor of the process",
	"GET /health": "of the original contract", "GET /v2/health": "of the original contract",
	"GET /ready": "of the original contract", "GET /v2/ready": "of the original contract",
	"GET /ping": "of the original contract", "GET /v2/ping": "of the original contract",
	"GET /openapi.json": "the description itself", "GET /openapi.yaml": "the description itself", "GET /docs": "the description itself",
	"POST /v1/agents/{name}/a2a/tasks/{task}/pushNotificationConfigs": notA2A, "GET /v1/agents/{name}/a2a/tasks/{task}/pushNotificationConfigs": notA2A,
	"GET /v1/agents/{name}/a2a/tasks/{task}/pushNotificationConfigs/{config}": notA2A, "DELETE /v1/agents/{name}/a2a/tasks/{task}/pushNotificationConfigs/{config}": notA2A,
	"GET /v1/agents/{name}/a2a/extendedAgentCard": notA2A,
	"GET /v1/openapi.json":                        "the description itself", "GET /v1/openapi.yaml": "the description itself", "GET /v1/docs": "the description itself",
}

// What is mounted, what is described and what the tables of these tests have are
// the same routes: a new one fails until it has its rows.
func TestEveryRouteHasItsRows(t *testing.T) {
	w := newWorld(t)
	described := w.operations("")
	mounted := map[string]bool{}
	legacy := map[string]int{}
	for _, route := range w.api.Routes() {
		mounted[route] = true
		mount, plain := mountOf(route)
		switch {
		case mount != "":
			legacy[plain]++
		case undescribed[route] == "" && described[route] == nil:
			t.Errorf("%s is mounted and not described", route)
		}
	}
	for route := range described {
		_, path, _ := strings.Cut(route, " ")
		if !mounted[route] {
			t.Errorf("%s is described and not mounted", route)
		}
		if coveredBy(path) == "" {
			t.Errorf("%s: covered names no test with its rows", route)
		}
	}
	for route := range undescribed {
		if !mounted[route] {
			t.Errorf("%s is no route any more", route)
		}
	}
	for plain, mounts := range legacy {
		if mounts != 2 {
			t.Errorf("%s is on %d mounts, want both", plain, mounts)
		}
	}
	for key := range cannot {
		i := strings.LastIndex(key, " ")
		if !slices.Contains(described[key[:i]], key[i+1:]) {
			t.Errorf("%s is no status of a route any more", key)
		}
	}
}

// withoutKeys lets everybody be the default tenant.
func withoutKeys(c *httpapi.Config) { c.Keys = nil }

func TestAgentRoutes(t *testing.T) {
	made := answers("```yaml\n# name: made\nversion: \"2\"\nagents:\n  root:\n    model: scripted/demo\n```\n")
	w, _, reg := everything(t, withoutKeys, func(c *httpapi.Config) {
		c.MakeAgent = func(ctx context.Context, tenantID, prompt string) (agent.Composed, error) {
			if prompt == "nonsense" {
				return answers("I would rather not.")(ctx, tenantID, prompt)
			}
			return made(ctx, tenantID, prompt)
		}
	})
	const (
		v1   = "/v1/agents"
		mine = v1 + "/mine"
		file = "agents: {root: {model: scripted/demo}} # mine\n"
		list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		say  = `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"kind":"message","messageId":"m","role":"user","parts":[{"kind":"text","text":"hello"}]}}}`
		card = "/a2a/.well-known/agent-card.json"
		say1 = `{"message":{"messageId":"n","role":"ROLE_USER","parts":[{"text":"hello"}]}}`
		rpc1 = `{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":` + say1 + `}`
		rest = "/a2a"
		push = "/pushNotificationConfigs"
		send = "POST#A2A-Version=1.0"
		read = "GET#A2A-Version=1.0"
	)
	// begin begins a task of an agent that everybody has and does not wait for it.
	begin := func(text string) string {
		var answer struct{ Task struct{ ID string } }
		st, body := w.call("POST", v1+"/team/a2a/message:send", `{"message":{"messageId":"`+text+`","role":"ROLE_USER","parts":[{"text":"`+text+`"}]},"configuration":{"returnImmediately":true}}`,
			"Content-Type", "application/json", "A2A-Version", "1.0")
		if err := json.Unmarshal([]byte(body), &answer); err != nil || st != 200 || answer.Task.ID == "" {
			t.Fatalf("%d %s, %v", st, body, err)
		}
		return v1 + "/team/a2a/tasks/" + answer.Task.ID
	}
	task := begin("gate")
	done := w.rows(
		row{"PUT", mine, file, 201, `"version":1`},
		row{"PUT", mine, file, 200, `"version":1`},
		row{"PUT", mine, `{"source":"agents: {root: {model: scripted/demo}} # again\n"}`, 200, `"version":2`},
		row{"PUT", mine, `{"source":"x","more":1}`, 400, "invalid"},
		row{"PUT", v1 + "/bad", "agents: 5", 400, "invalid"},
		row{"PUT", v1 + "/a%2Fb", file, 400, "invalid"},
		row{"PUT#If-None-Match=*", mine, file, 412, "stale"},
		row{"PUT", mine, bigBody, 413, "too_large"},
		row{"PATCH", mine, `{"metadata":{"author":"me"}}`, 200, `"version":3`},
		row{"PATCH", mine, `[]`, 400, "invalid"},
		row{"PATCH", mine, `{"agents":{"root":{"modle":"x"}}}`, 400, "invalid"},
		row{"PATCH", v1 + "/nobody", `{}`, 404, "not_found"},
		row{`PATCH#If-Match="x"`, mine, `{"metadata":{"author":"you"}}`, 412, "stale"},
		row{"PATCH", mine, bigBody, 413, "too_large"},
		row{"GET", v1, "", 200, `"name":"mine"`},
		row{"GET", v1 + "?limit=0", "", 400, "invalid"},
		row{"GET", mine + "@1", "", 200, `"version":1`},
		row{"GET", v1 + "/nobody", "", 404, "not_found"},
		row{"GET", mine + "@9", "", 404, "not_found"},
		row{"GET", v1 + "/a%2Fb", "", 400, "invalid"},
		row{"GET", mine + "/versions", "", 200, `"version":3`},
		row{"GET", mine + "/versions?cursor=x", "", 400, "invalid"},
		row{"GET", v1 + "/nobody/versions", "", 404, "not_found"},
		row{"GET", v1 + ".zip", "", 200, "PK"},
		row{"GET", v1 + ".zip?x=1", "", 400, "invalid"},
		row{"POST", v1 + "/check", "agents: 5", 200, `"ok":false`},
		row{"POST", v1 + "/check", file, 200, `"ok":true`},
		row{"POST", v1 + "/check", `{}`, 400, "invalid"},
		row{"POST", v1 + "/check", bigBody, 413, "too_large"},
		row{"POST", v1, `{"prompt":"plan trips"}`, 201, `"name":"made"`},
		row{"POST", v1, `{"prompt":""}`, 400, "invalid"},
		row{"POST", v1, `{"prompt":"x","name":"a/b"}`, 400, "invalid"},
		row{"POST", v1, `{"prompt":"nonsense"}`, 502, "model_failed"},
		row{"POST", v1, bigBody, 413, "too_large"},
		row{"POST", mine + "/push", `{"reference":"` + reg + `/acme/x:1"}`, 200, `"digest":"sha256:`},
		row{"POST", mine + "/push", `{"reference":"NOT A TAG"}`, 400, "invalid"},
		row{"POST", v1 + "/nobody/push", `{"reference":"` + reg + `/acme/x:1"}`, 404, "not_found"},
		row{"POST", mine + "/push", `{"reference":"127.0.0.1:1/a/b:c"}`, 502, "upstream"},
		row{"POST", mine + "/push", bigBody, 413, "too_large"},
		row{"POST", v1 + "/pull", `{"reference":"` + reg + `/acme/x:1","name":"pulled"}`, 201, `"origin":"pull `},
		row{"POST", v1 + "/pull", `{"reference":"` + reg + `/acme/x:1","name":"pulled"}`, 200, `"origin":"pull `},
		row{"POST", v1 + "/pull", `{"reference":"::"}`, 400, "invalid"},
		row{"POST", v1 + "/pull", `{"reference":"` + reg + `/acme/nobody:1"}`, 502, "upstream"},
		row{"POST", v1 + "/pull", bigBody, 413, "too_large"},

		row{"POST", mine + "/mcp", list, 200, `"name":"mine"`},
		row{"POST", mine + "/mcp", "{", 400, `"code":-32700`},
		row{"POST", v1 + "/broken/mcp", list, 400, "invalid"},
		row{"POST", v1 + "/nobody/mcp", list, 404, "not_found"},
		row{"POST", mine + "/mcp", bigBody, 413, "too_large"},
		row{"GET", mine + "/mcp", "", 405, "invalid"},
		row{"GET#Last-Event-ID=x", mine + "/mcp", "", 400, "invalid"},
		row{"GET", v1 + "/nobody/mcp", "", 404, "not_found"},
		row{"POST", mine + "/a2a", say, 200, `"state":"completed"`},
		row{"POST", mine + "/a2a", `{"jsonrpc":"2.0","id":1,"method":"message/send","params":5}`, 200, `"error":{"code":-32602,"message":"params: not those of message/send`},
		row{"POST", mine + "/a2a", `{"jsonrpc":"2.0","id":{},"method":"message/send","params":{}}`, 200, `"error":{"code":-32600`},
		row{"POST", mine + "/a2a", `{"jsonrpc":"2.0","id":1,"method":7}`, 200, `"error":{"code":-32600`},
		row{"POST", mine + "/a2a", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"id":"nobody"}}`, 200, `"code":-32001`},
		row{"POST", v1 + "/broken/a2a", say, 400, "invalid"},
		row{"POST", v1 + "/nobody/a2a", say, 404, "not_found"},
		row{"POST", mine + "/a2a", bigBody, 413, "too_large"},
		row{"GET", mine + card, "", 200, `"protocolVersion":"0.3.0"`},
		row{"GET", mine + card, "", 200, `"protocolBinding":"HTTP+JSON","protocolVersion":"1.0"`},
		row{"GET", v1 + "/broken" + card, "", 400, "invalid"},
		row{"GET", v1 + "/nobody" + card, "", 404, "not_found"},

		row{"POST", mine + "/a2a", rpc1, 200, `"error":{"code":-32601`},
		row{"POST#A2A-Version=1.0", mine + "/a2a", rpc1, 200, `"state":"TASK_STATE_COMPLETED"`},
		row{"POST", mine + "/a2a?A2A-Version=1.0.3", rpc1, 200, `"state":"TASK_STATE_COMPLETED"`},
		row{"POST#A2A-Version=2.0", mine + "/a2a", rpc1, 200, `"reason":"VERSION_NOT_SUPPORTED"`},
		row{"POST#A2A-Version=1.0", mine + "/a2a", say, 200, `"error":{"code":-32601`},
		row{send, mine + rest + "/message:send", say1, 200, `"state":"TASK_STATE_COMPLETED"`},
		row{"POST", mine + rest + "/message:send", say1, 400, `"reason":"VERSION_NOT_SUPPORTED"`},
		row{send, mine + rest + "/message:send", `{"message":5}`, 400, "invalid"},
		row{send, v1 + "/nobody" + rest + "/message:send", say1, 404, "not_found"},
		row{send, mine + rest + "/message:send", bigBody, 413, "too_large"},
		row{send, mine + rest + "/message:stream", say1, 200, `"state":"TASK_STATE_COMPLETED"`},
		row{send, mine + rest + "/message:stream", `{}`, 400, "invalid"},
		row{send, v1 + "/nobody" + rest + "/message:stream", say1, 404, "not_found"},
		row{send, mine + rest + "/message:stream", bigBody, 413, "too_large"},
		row{read, mine + rest + "/tasks", "", 200, `"nextPageToken":""`},
		row{read, mine + rest + "/tasks?pageSize=101", "", 400, "invalid"},
		row{read, v1 + "/nobody" + rest + "/tasks", "", 404, "not_found"},
		row{read, mine + rest + "/tasks/nobody?historyLength=x", "", 400, "invalid"},
		row{read, task + "?historyLength=0", "", 200, `"state":"TASK_STATE_`},
		row{send, task + ":cancel", "", 200, `"status":{"state":"TASK_STATE_`}, // as what it ends is the owner's, here a double
		row{send, task + ":cancel", "", 400, `"reason":"TASK_NOT_CANCELABLE"`},
		row{send, task + ":subscribe", "", 400, `"reason":"UNSUPPORTED_OPERATION"`},
		row{read, mine + rest + "/tasks/nobody", "", 404, `"reason":"TASK_NOT_FOUND"`},
		row{send, mine + rest + "/tasks/nobody", "", 400, "invalid"},
		row{send, mine + rest + "/tasks/nobody:cancel", "", 404, `"reason":"TASK_NOT_FOUND"`},
		row{send, mine + rest + "/tasks/nobody:subscribe", "", 404, `"reason":"TASK_NOT_FOUND"`},
		row{send, mine + rest + "/tasks/x" + push, "", 400, `"reason":"PUSH_NOTIFICATION_NOT_SUPPORTED"`},
		row{send, v1 + "/nobody" + rest + "/tasks/x" + push, "", 404, "not_found"},
		row{read, mine + rest + "/tasks/x" + push, "", 400, `"reason":"PUSH_NOTIFICATION_NOT_SUPPORTED"`},
		row{read, v1 + "/nobody" + rest + "/tasks/x" + push, "", 404, "not_found"},
		row{read, mine + rest + "/tasks/x" + push + "/y", "", 400, `"reason":"PUSH_NOTIFICATION_NOT_SUPPORTED"`},
		row{read, v1 + "/nobody" + rest + "/tasks/x" + push + "/y", "", 404, "not_found"},
		row{"DELETE#A2A-Version=1.0", mine + rest + "/tasks/x" + push + "/y", "", 400, `"reason":"PUSH_NOTIFICATION_NOT_SUPPORTED"`},
		row{"DELETE#A2A-Version=1.0", v1 + "/nobody" + rest + "/tasks/x" + push + "/y", "", 404, "not_found"},
		row{read, mine + rest + "/extendedAgentCard", "", 400, `"reason":"UNSUPPORTED_OPERATION"`},
		row{read, v1 + "/nobody" + rest + "/extendedAgentCard", "", 404, "not_found"},

		row{"DELETE", v1 + "/a%2Fb", "", 400, "invalid"},
		row{"DELETE", v1 + "/team", "", 403, "forbidden"},
		row{`DELETE#If-Match="x"`, mine, "", 412, "stale"},
		row{"DELETE", mine, "", 200, `"name":"mine"`},
		row{"DELETE", mine, "", 404, "not_found"},
	)
	done = append(done, w.rows(row{"GET#Last-Event-ID=" + w.mcpEvent("made"), v1 + "/made/mcp", "", 200, `"status":"completed"`})...)
	w.complete(v1, done)
}

// mcpEvent calls an agent in a session of MCP and returns the id of the first event
// of the answer.
func (w *world) mcpEvent(agent string) string {
	w.t.Helper()
	at := "/v1/agents/" + agent + "/mcp"
	header := []string{"Accept", "application/json, text/event-stream", "Content-Type", "application/json"}
	resp, _ := w.do("POST", at, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, header...)
	header = append(header, "Mcp-Session-Id", resp.Header.Get("Mcp-Session-Id"), "MCP-Protocol-Version", "2025-11-25")
	_, body := w.do("POST", at, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"`+agent+`","arguments":{"message":"hello"}}}`, header...)
	_, rest, _ := strings.Cut(body, "id: ")
	id, _, ok := strings.Cut(rest, "\n")
	if !ok {
		w.t.Fatalf("the call has no event with an id: %s", body)
	}
	return id
}

func TestVaultRoutes(t *testing.T) {
	w, v, _ := everything(t, withoutKeys)
	connection := connect(t, v, "default", "docs")
	done := w.rows(
		row{"PUT", "/v1/secrets/API_KEY", `{"value":"hush"}`, 204, ""},
		row{"PUT", "/v1/secrets/API_KEY", `{"value":""}`, 400, "invalid"},
		row{"PUT", "/v1/secrets/no%20name", `{"value":"x"}`, 400, "invalid"},
		row{"PUT", "/v1/secrets/API_KEY", bigBody, 413, "too_large"},
		row{"GET", "/v1/secrets", "", 200, `"name":"API_KEY"`},
		row{"GET", "/v1/secrets?x=1", "", 400, "invalid"},
		row{"DELETE", "/v1/secrets/API_KEY", "", 204, ""},
		row{"DELETE", "/v1/secrets/API_KEY", "", 404, "not_found"},
		row{"DELETE", "/v1/secrets/API_KEY?x=1", "", 400, "invalid"},
		row{"PUT", "/v1/oauth-clients/own", `{"client_id":"c","issuer":"https://login.example"}`, 204, ""},
		row{"PUT", "/v1/oauth-clients/own", `{"client_id":"c","grant":"telepathy"}`, 400, "invalid"},
		row{"PUT", "/v1/oauth-clients/own", bigBody, 413, "too_large"},
		row{"GET", "/v1/oauth-clients", "", 200, `"client_id":"c"`},
		row{"GET", "/v1/oauth-clients?x=1", "", 400, "invalid"},
		row{"DELETE", "/v1/oauth-clients/own", "", 204, ""},
		row{"DELETE", "/v1/oauth-clients/own", "", 404, "not_found"},
		row{"DELETE", "/v1/oauth-clients/own?x=1", "", 400, "invalid"},
		row{"GET", "/v1/connections", "", 200, `"toolset":"docs"`},
		row{"GET", "/v1/connections?usr=x", "", 400, "invalid"},
		row{"DELETE", "/v1/connections/" + connection, "", 204, ""},
		row{"DELETE", "/v1/connections/" + connection, "", 404, "not_found"},
		row{"DELETE", "/v1/connections/nobody?x=1", "", 400, "invalid"},
	)
	for _, under := range []string{"/v1/secrets", "/v1/oauth-clients", "/v1/connections"} {
		w.complete(under, done)
	}
}

func TestWebhookRows(t *testing.T) {
	w, _, _ := everything(t, withoutKeys)
	const v1 = "/v1/webhooks"
	w.mustCall("POST", v1, `{"id":"told","url":"https://a.example"}`, nil)
	for range 2 {
		w.mustCall("POST", "/v1/responses", `{"model":"demo","input":"hello"}`, nil)
	}
	var page httpapi.DeliveryPage
	w.until("two deliveries", func() bool {
		w.mustCall("GET", v1+"/told/deliveries?state=pending", "", &page)
		return len(page.Deliveries) == 2
	})
	// By page it is the same list.
	told := page.Deliveries[0].ID
	both := page.Deliveries
	page = httpapi.DeliveryPage{}
	w.mustCall("GET", v1+"/told/deliveries?limit=1", "", &page)
	if len(page.Deliveries) != 1 || page.Deliveries[0] != both[0] || page.Next == "" {
		t.Errorf("the first page: %+v", page)
	}
	cursor := page.Next
	page = httpapi.DeliveryPage{}
	w.mustCall("GET", v1+"/told/deliveries?limit=1&cursor="+cursor, "", &page)
	if len(page.Deliveries) != 1 || page.Deliveries[0] != both[1] || page.Next != "" {
		t.Errorf("the second page: %+v", page)
	}
	// The same request again makes no second secret.
	var first, second httpapi.WebhookDoc
	for _, doc := range []*httpapi.WebhookDoc{&first, &second} {
		_, body := w.call("POST", v1+"/told/secret", `{}`, "Idempotency-Key", "rotate")
		if err := json.Unmarshal([]byte(body), doc); err != nil {
			t.Fatal(err)
		}
	}
	if first.Secret == "" || first.Secret != second.Secret {
		t.Errorf("secrets: %q and %q", first.Secret, second.Secret)
	}
	w.complete(v1, w.rows(
		row{"POST#k", v1, `{"id":"h","url":"https://a.example"}`, 201, `"secret":"whsec_`},
		row{"POST#k", v1, `{"id":"h","url":"https://a.example"}`, 200, `"secret":"whsec_`},
		row{"POST#k", v1, `{"id":"h","url":"https://b.example"}`, 422, "key_reused"},
		row{"POST", v1, `{"id":"h","url":"https://a.example"}`, 409, "conflict"},
		row{"POST", v1, `{"url":"http://a.example"}`, 400, "invalid"},
		row{"POST", v1, `{"url":"https://a.example/` + strings.Repeat("ö", 1500) + `"}`, 400, "invalid"},
		row{"POST", v1, bigBody, 413, "too_large"},
		row{"GET", v1, "", 200, `"id":"h"`},
		row{"GET", v1 + "?x=1", "", 400, "invalid"},
		row{"GET", v1 + "/h/deliveries", "", 200, `"deliveries":[]`},
		row{"GET", v1 + "/h/deliveries?state=lost", "", 400, "invalid"},
		row{"GET", v1 + "/h/deliveries?limit=0", "", 400, "invalid"},
		row{"GET", v1 + "/h/deliveries?cursor=x", "", 400, "invalid"},
		row{"GET", v1 + "/h", "", 200, `"url":"https://a.example"`},
		row{"GET", v1 + "/h?x=1", "", 400, "invalid"},
		row{"GET", v1 + "/nobody", "", 404, "not_found"},
		row{"PATCH", v1 + "/h", `{"description":"d","events":["run.finished"],"disabled":true}`, 200, `"disabled":"by request"`},
		row{"PATCH", v1 + "/h", `{"url":"http://a.example"}`, 400, "invalid"},
		row{"PATCH", v1 + "/nobody", `{}`, 404, "not_found"},
		row{"PATCH", v1 + "/h", bigBody, 413, "too_large"},
		row{"POST", v1 + "/h/redeliver", `{}`, 409, "conflict"},
		row{"POST", v1 + "/h/deliveries/msg_x/redeliver", "", 409, "conflict"},
		row{"PATCH", v1 + "/h", `{"disabled":false}`, 200, `"events":["run.finished"]`},
		row{"POST", v1 + "/h/redeliver", `{}`, 200, `"deliveries":0`},
		row{"POST", v1 + "/h/redeliver", `{"since":"soon"}`, 400, "invalid"},
		row{"POST", v1 + "/nobody/redeliver", `{}`, 404, "not_found"},
		row{"POST", v1 + "/h/redeliver", bigBody, 413, "too_large"},
		row{"POST", v1 + "/h/deliveries/" + told + "/redeliver?x=1", "", 400, "invalid"},
		row{"POST", v1 + "/h/deliveries/msg_x/redeliver", "", 404, "not_found"},
		row{"POST", v1 + "/told/deliveries/" + told + "/redeliver", "", 200, `"state":"pending"`},
		row{"POST", v1 + "/h/secret", `{"overlap":"1h"}`, 200, `"secret":"whsec_`},
		row{"POST", v1 + "/h/secret", `{"overlap":"900h"}`, 400, "invalid"},
		row{"POST", v1 + "/nobody/secret", `{}`, 404, "not_found"},
		row{"POST", v1 + "/h/secret", bigBody, 413, "too_large"},
		row{"GET", v1 + "/h/deliveries?x=1", "", 400, "invalid"},
		row{"GET", v1 + "/nobody/deliveries", "", 404, "not_found"},
		row{"POST", v1 + "/h/enable", "", 200, `"id":"h"`},
		row{"POST", v1 + "/h/enable?x=1", "", 400, "invalid"},
		row{"POST", v1 + "/nobody/enable", "", 404, "not_found"},
		row{"DELETE", v1 + "/h?x=1", "", 400, "invalid"},
		row{"DELETE", v1 + "/h", "", 204, ""},
		row{"DELETE", v1 + "/h", "", 404, "not_found"},
	))
}

func TestUsageRoutes(t *testing.T) {
	w, _, _ := everything(t, withoutKeys)
	const v1 = "/v1/usage"
	w.complete(v1, w.rows(
		row{"GET", v1, "", 200, `"calls":0`},
		row{"GET", v1 + "?from=yesterday", "", 400, "invalid"},
		row{"GET", v1 + "?by=weather", "", 400, "invalid"},
		row{"GET", v1 + "?by=day,day", "", 400, "invalid"},
		row{"GET", v1 + "?limit=0", "", 400, "invalid"},
		row{"GET", v1 + "?by=day&cursor=x", "", 400, "invalid"},
	))
}

func TestSearchRoutes(t *testing.T) {
	w, _, _ := everything(t, withoutKeys)
	const v1 = "/v1/search"
	w.complete(v1, w.rows(
		row{"GET", v1 + "?q=hello", "", 200, `"hits":[]`},
		row{"GET", v1 + "?q=hello&session=s&role=user&by=session&limit=100", "", 200, `"hits":[]`},
		row{"GET", v1 + "?q=" + strings.Repeat("%E6%97%A5", 1000), "", 400, "invalid"}, // too many words
		row{"GET", v1 + "?q=%00", "", 400, "invalid"},
		row{"GET", v1, "", 400, "invalid"},
		row{"GET", v1 + "?q=", "", 400, "invalid"},
		row{"GET", v1 + "?q=%21%21", "", 400, `"code":"invalid"`},
		row{"GET", v1 + "?q=-hello", "", 400, "invalid"},
		row{"GET", v1 + "?q=" + strings.Repeat("x", 1001), "", 400, "invalid"},
		row{"GET", v1 + "?q=" + strings.Repeat("x+", 65), "", 400, "invalid"},
		row{"GET", v1 + "?q=" + strings.Repeat("-", 10000), "", 400, "invalid"},
		row{"GET", v1 + "?q=x&role=tool", "", 400, "invalid"},
		row{"GET", v1 + "?q=x&by=weather", "", 400, "invalid"},
		row{"GET", v1 + "?q=x&limit=101", "", 400, "invalid"},
		row{"GET", v1 + "?q=x&session=a.b", "", 400, "invalid"},
		row{"GET", v1 + "?q=x&cursor=x", "", 400, "invalid"},
		row{"GET", v1 + "?q=x&cursor=OTk5OTk5OTk5OTk5OTk5OTk5OToxOmE", "", 400, "invalid"}, // a time that no database has
		row{"GET", v1 + "?query=x", "", 400, "invalid"},
	))
}

func TestOpenAIRoutes(t *testing.T) {
	w, _, _ := everything(t, withoutKeys)
	respond := func(body string) string {
		var r struct{ ID string }
		w.mustCall("POST", "/v1/responses", body, &r)
		return r.ID
	}
	waits, done2 := respond(`{"model":"demo","input":"park"}`), respond(`{"model":"demo","input":"hello"}`)
	again := respond(`{"previous_response_id":"` + done2 + `","input":"hello"}`)
	last := respond(`{"model":"demo","input":"hello"}`)
	const (
		at   = "/v1/responses"
		chat = "/v1/chat/completions"
		conv = "/v1/conversations"
	)
	w.mustCall("POST", "/v1/sessions", `{"id":"talk"}`, nil)
	var first struct {
		Data []struct{ ID string }
	}
	w.mustCall("POST", at, `{"model":"demo","conversation":"talk","input":"hello"}`, nil)
	w.mustCall("GET", conv+"/talk/items?order=asc", "", &first)
	say := func(text string) string {
		return `{"model":"demo","messages":[{"role":"user","content":"` + text + `"}]}`
	}
	done := w.rows(
		row{"POST#k", at, `{"model":"demo","input":"hello"}`, 200, `"status":"completed"`},
		row{"POST#k", at, `{"model":"demo","input":"hello you"}`, 422, "key_reused"},
		row{"POST", at, `{}`, 400, "invalid"},
		row{"POST", at, `{"model":"demo","input":7}`, 400, "invalid"},
		row{"POST", at, `{"model":"nobody","input":"hello"}`, 404, "not_found"},
		row{"POST", at, `{"previous_response_id":"resp_x","input":"hello"}`, 404, "not_found"},
		row{"POST", at, `{"previous_response_id":"` + waits + `","input":"hello"}`, 409, "conflict"},
		row{"POST", at, bigBody, 413, "too_large"},
		row{"POST", at, `{"model":"demo","input":"hello","temperature":1}`, 400, "not_offered"},
		row{"GET", at + "/" + waits, "", 200, `"type":"mcp_approval_request"`},
		row{"GET", at + "/" + waits + "?stream=perhaps", "", 400, "invalid"},
		row{"GET", at + "/" + waits + "?starting_after=1", "", 400, "invalid"},
		row{"GET", at + "/" + waits + "?%25d=1", "", 400, `"message":"%d: want stream`},
		row{"GET", at + "/nobody", "", 404, "not_found"},
		row{"GET", at + "/" + waits + "/input_items", "", 200, `"text":"park"`},
		row{"GET", at + "/" + waits + "/input_items?limit=0", "", 400, "invalid"},
		row{"GET", at + "/nobody/input_items", "", 404, "not_found"},
		row{"POST", at + "/" + waits + "/cancel", "", 200, `"object":"response"`},
		row{"POST", at + "/%00/cancel", "", 400, "invalid"},
		row{"POST", at + "/nobody/cancel", "", 404, "not_found"},
		row{"DELETE", at + "/" + again, "", 409, "conflict"},
		row{"DELETE", at + "/" + last, "", 200, `"deleted":true`},
		row{"DELETE", at + "/" + last, "", 404, "not_found"},
		row{"DELETE", at + "/%00", "", 400, "invalid"},

		row{"POST#c", chat, say("hello"), 200, `"finish_reason":"stop"`},
		row{"POST#c", chat, say("hello you"), 422, "key_reused"},
		row{"POST", chat, say(""), 400, "invalid"},
		row{"POST", chat, strings.Replace(say("hello"), "demo", "nobody", 1), 404, "not_found"},
		row{"POST", chat, say("park"), 409, "conflict"},
		row{"POST", chat, bigBody, 413, "too_large"},
		row{"POST", chat, strings.Replace(say("hello"), "{", `{"temperature":1,`, 1), 400, "not_offered"},
		row{"POST", chat, say("fall"), 502, "model_failed"},

		row{"POST#n", conv, `{"metadata":{"a":"b"}}`, 200, `"metadata":{"a":"b"}`},
		row{"POST#n", conv, `{"metadata":{"a":"c"}}`, 422, "key_reused"},
		row{"POST", conv, `{"metadata":5}`, 400, "invalid"},
		row{"POST", conv, `{"items":[{"role":"user","content":"hello"}]}`, 400, "not_offered"},
		row{"POST", conv, bigBody, 413, "too_large"},
		row{"GET", conv + "/talk", "", 200, `"object":"conversation"`},
		row{"GET", conv + "/talk?x=1", "", 400, "invalid"},
		row{"GET", conv + "/nobody", "", 404, "not_found"},
		row{"GET", conv + "/talk/items", "", 200, `"text":"hello"`},
		row{"GET", conv + "/talk/items?limit=0", "", 400, "invalid"},
		row{"GET", conv + "/nobody/items", "", 404, "not_found"},
		row{"GET", conv + "/talk/items/" + first.Data[0].ID, "", 200, `"text":"hello"`},
		row{"GET", conv + "/talk/items/none", "", 404, "not_found"},
		row{"GET", conv + "/talk/items/none?x=1", "", 400, "invalid"},
		row{"DELETE", conv + "/talk?x=1", "", 400, "invalid"},
		row{"DELETE", conv + "/talk", "", 200, `"deleted":true`},
		row{"DELETE", conv + "/talk", "", 404, "not_found"},

		row{"GET", "/v1/models", "", 200, `"id":"demo"`},
		row{"GET", "/v1/models?x=1", "", 400, "invalid"},
		row{"GET", "/v1/models/demo", "", 200, `"id":"demo"`},
		row{"GET", "/v1/models/broken", "", 400, "invalid"},
		row{"GET", "/v1/models/nobody", "", 404, "not_found"},
	)
	for _, under := range []string{at, "/v1/chat", "/v1/models", conv} {
		w.complete(under, done)
	}
}

// A tenant has only so many imports at the same time, since each fills a file.
func TestImportsAreLimited(t *testing.T) {
	w, _, _ := everything(t)
	// The server asks for a body when it has given the import its place.
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	ends := make([]*io.PipeWriter, 2)
	answers := make(chan error, 2)
	for i := range ends {
		var body *io.PipeReader
		body, ends[i] = io.Pipe()
		underWay := make(chan struct{})
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(underWay) }})
		req, err := http.NewRequestWithContext(ctx, "POST", w.srv.URL+"/v1/sessions/import", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", acmeKey)
		req.Header.Set("Expect", "100-continue")
		go func() {
			resp, err := transport.RoundTrip(req)
			if err == nil {
				err = resp.Body.Close()
			}
			answers <- err
		}()
		select {
		case <-underWay:
		case err := <-answers:
			t.Fatalf("an import ended before it began: %v", err)
		}
	}
	resp, body := w.do("POST", "/v1/sessions/import", "x")
	wantRefused(t, "a third import", "/v1/sessions/import", resp, body, "rate_limited", 429)
	if resp, body := w.do("POST", "/v1/sessions/import", "x", "X-API-Key", boltKey); resp.StatusCode != 400 {
		t.Errorf("an import of another tenant: %d %s", resp.StatusCode, body)
	}
	for _, end := range ends {
		if _, err := end.Write([]byte("x\n")); err != nil {
			t.Error(err)
		}
		_ = end.Close()
	}
	for range ends {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if resp, body := w.do("POST", "/v1/sessions/import", "x"); resp.StatusCode != 400 {
		t.Errorf("an import when the others are done: %d %s", resp.StatusCode, body)
	}
}

// What a body may have and the log may not is refused as too large, on every route
// that has the log keep what it is sent.
func TestWhatTheLogCannotTake(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"s", "tool", "ask"} {
		w.mustCall("POST", "/v1/sessions", `{"id":"`+id+`","agent":"demo"}`, nil)
	}
	for id, typ := range map[string]string{"tool": "tool_call_confirmation", "ask": "elicitation_request"} {
		w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"messages":[{"content":"`+id+`"}]}`, nil)
		w.until(id, func() bool {
			return slices.ContainsFunc(w.stored(id), func(e events.Envelope) bool { return e.Type == typ })
		})
	}
	large := strings.Repeat("x", events.MaxPayload+100<<10)
	label := func() string { // 63 labels that take six times their size as JSON in JSON
		m := map[string]string{}
		for i := range 60 {
			m[strings.Repeat("k", i+1)] = strings.Repeat("\x01", 2600)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}()
	run := `{"agent":"demo","messages":[{"content":"` + large + `"}]}`
	legacy := `[{"role":"user","content":"` + large + `"}]`
	agui := `{"threadId":"s","runId":"r","messages":[{"id":"m","role":"user","content":"` + large + `"}]}`
	for _, c := range []struct{ path, body string }{
		{"/v1/sessions", `{"metadata":` + label + `}`},
		{"/v1/sessions/s/forks", `{"metadata":` + label + `}`},
		{"/v1/sessions/s/runs", run},
		{"/v1/sessions/s/messages", run},
		{"/v1/sessions/s/messages", strings.Replace(run, "{", `{"delay":"9h",`, 1)},
		{"/v1/sessions/tool/tool-calls/call_1/decision", `{"decision":"approve","arguments":"{\"x\":\"` + large + `\"}"}`},
		{"/v1/sessions/ask/inputs/q1", `{"action":"accept","content":{"name":"` + large + `"}}`},
		{"/v1/schedules", strings.Replace(run, "{", `{"every":"1h",`, 1)},
		{"/v1/responses", `{"model":"demo","input":"` + large + `"}`},
		{"/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"` + large + `"}]}`},
		{"/v1/agui/demo", agui},
		{"/v1/agents/demo/a2a/message:send", `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"` + large + `"}]}}`},
		{"/api/sessions/s/agent/demo", legacy},
		{"/api/sessions/s/agent/demo/root", legacy},
		{"/v2/api/sessions/s/agent/demo", legacy},
		{"/v2/api/sessions/s/agent/demo/root", legacy},
	} {
		resp, body := w.do("POST", c.path, c.body, "Content-Type", "application/json")
		wantRefused(t, "POST "+c.path+" with much", c.path, resp, body, "too_large", 413)
	}
	for path, sent := range map[string]string{
		"/v1/agents/demo/mcp": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo","arguments":{"message":"` + large + `"}}}`,
		"/v1/agents/demo/a2a": `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"kind":"message","messageId":"m","role":"user","parts":[{"kind":"text","text":"` + large + `"}]}}}`,
	} {
		resp, body := w.do("POST", path, sent, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
		if resp.StatusCode != 200 || !strings.Contains(body, "too_large: ") || insides.MatchString(body) {
			t.Errorf("%s with much: %d %.300s", path, resp.StatusCode, body)
		}
	}
}
