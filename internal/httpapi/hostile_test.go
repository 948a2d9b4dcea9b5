package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/search"
)

// rightBody is a right request for each route that reads a body. Those of the
// original contract are without their mount.
var rightBody = map[string]string{
	"PUT /v1/quotas/{tenant}":                            `{"runs":1000}`,
	"POST /v1/sessions":                                  `{"agent":"acmes","metadata":{"a":"b"}}`,
	"POST /v1/sessions/import":                           "{file}",
	"POST /v1/sessions/{id}/forks":                       `{"title":"t"}`,
	"POST /v1/sessions/{id}/runs":                        `{"agent":"acmes","messages":[{"content":"hello"}]}`,
	"POST /v1/sessions/{id}/messages":                    `{"agent":"acmes","messages":[{"content":"hello"}],"delay":"9h"}`,
	"POST /v1/sessions/{id}/runs/{run}/continue":         `{"iterations":3}`,
	"POST /v1/sessions/{id}/inputs/{input}":              `{"action":"decline"}`,
	"POST /v1/sessions/{id}/tool-calls/{call}/decision":  `{"decision":"approve"}`,
	"POST /v1/sessions/{id}/authorizations/{flow}":       `{"decision":"start"}`,
	"POST /v1/sessions/{id}/authorizations/{flow}/vouch": `{"random":"r","connection":"c","verifier":"v","user":"ann"}`,
	"POST /v1/schedules":                                 `{"every":"36h","agent":"acmes","messages":[{"content":"hello"}]}`,
	"PUT /v1/schedules/{schedule}":                       `{"every":"36h","agent":"acmes","messages":[{"content":"hello"}]}`,
	"POST /v1/webhooks":                                  `{"url":"https://a.example","events":["run.finished"]}`,
	"PATCH /v1/webhooks/{webhook}":                       `{"description":"d"}`,
	"POST /v1/webhooks/{webhook}/secret":                 `{"overlap":"1h"}`,
	"POST /v1/webhooks/{webhook}/redeliver":              `{"since":"2026-01-01T00:00:00Z"}`,
	"POST /v1/agents":                                    `{"prompt":"plan trips"}`,
	"PUT /v1/agents/{name}":                              "{agent}",
	"PATCH /v1/agents/{name}":                            `{"metadata":{"author":"me"}}`,
	"POST /v1/agents/check":                              "{agent}",
	"POST /v1/agents/pull":                               `{"reference":"{reg}/acme/x:1"}`,
	"POST /v1/agents/{name}/push":                        `{"reference":"{reg}/acme/x:1"}`,
	"PUT /v1/secrets/{name}":                             `{"value":"hush"}`,
	"PUT /v1/oauth-clients/{name}":                       `{"client_id":"c","issuer":"https://login.example"}`,
	"POST /v1/responses":                                 `{"model":"acmes","input":"hello"}`,
	"POST /v1/conversations":                             `{"metadata":{"a":"b"}}`,
	"POST /v1/chat/completions":                          `{"model":"acmes","messages":[{"role":"user","content":"hello"}]}`,
	"POST /v1/agents/{name}/mcp":                         `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
	"POST /v1/agents/{name}/a2a":                         `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"kind":"message","messageId":"m","role":"user","parts":[{"kind":"text","text":"hello"}]}}}`,
	"POST /v1/agents/{name}/a2a/message:send":            `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hello"}]}}`,
	"POST /v1/agents/{name}/a2a/message:stream":          `{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hello"}]}}`,
	"POST /v1/agui/{name}":                               `{"threadId":"t","runId":"r","messages":[{"id":"m","role":"user","content":"hello"}]}`,
	"PUT /agents/config":                                 `{"filename":"acmes","agent_config":{"metadata":{"author":"me"}}}`,
	"POST /agents":                                       `{"prompt":"plan trips"}`,
	"POST /agents/config":                                `{"filename":"acmes","model":"scripted/demo","description":"d","instruction":"i"}`,
	"POST /agents/import":                                `{"file_path":"x.yaml","content":"agents: {root: {model: scripted/demo}}"}`,
	"POST /agents/pull":                                  `{"name":"{reg}/acme/x:1"}`,
	"POST /agents/push":                                  `{"filepath":"acmes","tag":"{reg}/acme/x:1"}`,
	"DELETE /agents":                                     `{"file_path":"acmes.yaml"}`,
	"POST /sessions":                                     `{"tools_approved":false}`,
	"POST /sessions/{id}/resume":                         `{"confirmation":"approve"}`,
	"POST /sessions/{id}/agent/{agent}":                  `[{"role":"user","content":"hello"}]`,
	"POST /sessions/{id}/agent/{agent}/{agent_name}":     `[{"role":"user","content":"hello"}]`,
	"POST /sessions/{id}/elicitation":                    `{"action":"decline"}`,
	"POST /sessions/{id}/steer":                          `{"messages":[{"content":"hello"}]}`,
	"POST /sessions/{id}/followup":                       `{"messages":[{"content":"hello"}]}`,
	"POST /sessions/batch/delete":                        `{"session_ids":["acmes"]}`,
	"POST /{id}/resumeStartOauth":                        `{"confirmation":true}`,
	"POST /resumeCodeReceivedOauth":                      `{"code":"c","state":"s"}`,
}

// readsNothing says which routes with a method of change read no body, so that
// none can be too large, malformed or of a wrong type.
var readsNothing = []string{
	"POST /v1/sessions/{id}/cancel", "POST /v1/sessions/{id}/compact", "POST /v1/sessions/{id}/runs/{run}/cancel",
	"POST /v1/schedules/{schedule}/pause", "POST /v1/schedules/{schedule}/resume", "POST /v1/webhooks/{webhook}/enable", "POST /v1/webhooks/{webhook}/deliveries/{delivery}/redeliver",
	"POST /v1/responses/{id}/cancel", "POST /agents/export",
	"POST /sessions/{id}/compact",
	"POST /v1/agents/{name}/a2a/tasks/{task}", "POST /v1/agents/{name}/a2a/tasks/{task}/pushNotificationConfigs",
}

// anyType says of routes that read a body why they take one of any Content-Type.
var anyType = map[string]string{
	"POST /v1/sessions/import": "the file says by its first line what it is",
	"PUT /v1/agents/{name}":    "what is not said to be JSON is the file itself, as an upload sends it",
	"POST /v1/agents/check":    "as PUT",
	"PATCH /v1/agents/{name}":  "a merge patch is JSON under several names",
	"/api":                     "existing clients say nothing, or what they like",
}

// lenient says of routes that read JSON why a name that is given twice, or a
// member that is not known, is not refused.
var lenient = map[string]string{
	"POST /v1/agents/{name}/mcp": "the body is the protocol's, which lets messages grow",
	"POST /v1/agents/{name}/a2a": "the body is the protocol's, which lets messages grow",

	"POST /v1/agents/{name}/a2a/message:send":   "the body is the protocol's, which lets messages grow",
	"POST /v1/agents/{name}/a2a/message:stream": "the body is the protocol's, which lets messages grow",
	"/api": "the original read bodies so, and clients of several versions send members that ours does not know",
}

// mountOf cuts the mount of the original contract from a route.
func mountOf(route string) (mount, plain string) {
	method, path, _ := strings.Cut(route, " ")
	for _, m := range []string{"/v2/api", "/api"} {
		if p, ok := strings.CutPrefix(path, m+"/"); ok {
			return m, method + " /" + p
		}
	}
	return "", route
}

func excusedBy(table map[string]string, route string) bool {
	mount, plain := mountOf(route)
	return table[plain] != "" || mount != "" && table["/api"] != ""
}

// routeUnderTest is one that the mux has, with a request that is right.
type routeUnderTest struct {
	route, method, pattern string
	path, body             string
}

// query is the path up to the name of one more parameter.
func (r routeUnderTest) query() string {
	if strings.Contains(r.path, "?") {
		return r.path + "&"
	}
	return r.path + "?"
}

// insides are words of the inside that no answer may have.
var insides = regexp.MustCompile(`(?i)sqlite|postgres|pgx|jetstream|nats:|goroutine|\.go:\d|strconv|go value|go struct|runtime error|huma|context deadline|context canceled|down for the test|database is|spool|/tmp/`)

// a2aREST are the paths of A2A over HTTP+JSON.
var a2aREST = regexp.MustCompile(`^/v1/agents/.*/a2a/(message:|tasks|extendedAgentCard)`)

// wantRefused checks the form of a refusal: that of its mount or dialect, with a
// stable code and a text that says something, and nothing of the inside.
func wantRefused(t *testing.T, what, path string, resp *http.Response, body string, code string, statuses ...int) {
	t.Helper()
	if !slices.Contains(statuses, resp.StatusCode) {
		t.Errorf("%s: %d %.300s; want %v", what, resp.StatusCode, body, statuses)
		return
	}
	var p struct {
		Title, Detail, Code, Message string
		Status                       int
		Error                        json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("%s: %d %.200s: %v", what, resp.StatusCode, body, err)
		return
	}
	media := resp.Header.Get("Content-Type")
	said := p.Detail
	switch {
	case strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/v2/"):
		var text string
		if err := json.Unmarshal(p.Error, &text); err != nil || text != p.Message || media != "application/json" {
			t.Errorf("%s: %s %s; want error and message", what, media, body)
		}
		said = text
	case strings.HasPrefix(path, "/v1/responses") || strings.HasPrefix(path, "/v1/chat") || strings.HasPrefix(path, "/v1/models") || strings.HasPrefix(path, "/v1/conversations"):
		var e struct{ Message, Type, Code string }
		if err := json.Unmarshal(p.Error, &e); err != nil || e.Type == "" || media != "application/json" {
			t.Errorf("%s: %s %s; want an error of OpenAI's form", what, media, body)
		}
		said, p.Code = e.Message, e.Code
	case a2aREST.MatchString(path):
		var e struct {
			Code            int
			Status, Message string
			Details         []struct {
				Type     string `json:"@type"`
				Reason   string
				Domain   string
				Metadata struct{ Code string }
			}
		}
		if err := json.Unmarshal(p.Error, &e); err != nil || e.Code != resp.StatusCode || e.Status == "" || len(e.Details) != 1 || e.Details[0].Reason == "" || e.Details[0].Domain != "a2a-protocol.org" || media != "application/json" {
			t.Errorf("%s: %s %s; want google.rpc.Status (%v)", what, media, body, err)
			return
		}
		said, p.Code = e.Message, e.Details[0].Metadata.Code
	default:
		if p.Title == "" || p.Status != resp.StatusCode || media != "application/problem+json" {
			t.Errorf("%s: %s %s; want a problem", what, media, body)
		}
	}
	if len(said) < 10 || p.Code == "" || code != "" && p.Code != code {
		t.Errorf("%s: %s; want code %s and a text", what, body, code)
	}
	if found := insides.FindString(body); found != "" {
		t.Errorf("%s: the answer shows %q of the inside: %s", what, found, body)
	}
	if retry := resp.StatusCode == 503 || resp.StatusCode == 429; retry != (resp.Header.Get("Retry-After") != "") {
		t.Errorf("%s: %d with Retry-After %q", what, resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// do makes a request and reads its answer, as acme unless the header has a key.
func (w *world) do(method, path, body string, header ...string) (*http.Response, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if a2aREST.MatchString(path) {
		header = append([]string{"A2A-Version", "1.0"}, header...)
	}
	key := acmeKey
	if strings.HasPrefix(path, "/v1/quotas") {
		key = operatorKey
	}
	resp := w.open(ctx, method, path, body, append([]string{"X-API-Key", key}, header...)...)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(b)
}

// hostileWorld has something of acme's for each kind of id, and a right request for
// every route.
func hostileWorld(t *testing.T) (w *world, all []routeUnderTest) {
	w, v, reg := everything(t)
	ok := func(method, path, body string) string {
		t.Helper()
		resp, answer := w.do(method, path, body)
		if resp.StatusCode > 299 {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
		}
		return answer
	}
	const file = "agents: {root: {model: scripted/demo}} # acmes\n"
	ok("PUT", "/v1/agents/acmes", file)
	ok("POST", "/v1/agents/acmes/push", `{"reference":"`+reg+`/acme/x:1"}`)
	ok("POST", "/v1/sessions", `{"id":"acmes","title":"acmes"}`)
	var run struct{ Run string }
	if err := json.Unmarshal([]byte(ok("POST", "/v1/sessions/acmes/runs", `{"agent":"acmes","messages":[{"content":"hello"}]}`)), &run); err != nil {
		t.Fatal(err)
	}
	ok("GET", "/v1/sessions/acmes/events?until="+run.Run, "")
	var response struct{ ID string }
	if err := json.Unmarshal([]byte(ok("POST", "/v1/responses", `{"model":"acmes","input":"hello"}`)), &response); err != nil {
		t.Fatal(err)
	}
	ok("POST", "/v1/schedules", `{"id":"acmes","every":"36h","agent":"acmes","messages":[{"content":"hello"}]}`)
	ok("POST", "/v1/webhooks", `{"id":"acmes","url":"https://a.example/acmes"}`)
	ok("PUT", "/v1/secrets/acmes", `{"value":"hush"}`)
	ok("PUT", "/v1/oauth-clients/acmes", `{"client_id":"c","issuer":"https://login.example"}`)
	connection := connect(t, v, "acme", "acmes")
	var list struct{ Sessions []struct{ ID string } }
	if err := json.Unmarshal([]byte(ok("GET", "/v1/sessions", "")), &list); err != nil || len(list.Sessions) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, s := range list.Sessions {
		log := ok("GET", "/v1/sessions/"+s.ID+"/events?until=idle", "")
		seqs := regexp.MustCompile(`(?m)^id: (\d+)$`).FindAllStringSubmatch(log, -1)
		newest := regexp.MustCompile(`"id":"` + s.ID + `"[^{]*"seq":` + seqs[len(seqs)-1][1] + `,"status":"idle"`)
		w.until("the archive to have all", func() bool { return newest.MatchString(ok("GET", "/v1/sessions", "")) })
	}
	export := ok("GET", "/v1/sessions/acmes/export", "")
	index := search.New(search.Config{Index: w.store.(search.Store), Log: w.store})
	for range 2 { // the notes, then the walk
		if r, err := index.Round(t.Context()); err != nil || !r.Led {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if hits := ok("GET", "/v1/search?q=hello", ""); !strings.Contains(hits, "acmes") {
		t.Fatal(hits)
	}

	values := map[string]string{
		"run": run.Run, "seq": "1", "call": "call_1", "input": "q1", "flow": "f1", "file": "agents-20261122T100000Z.zip", "agent_name": "root", "connection": connection,
	}
	wildcard := regexp.MustCompile(`\{(\w+)\}`)
	known := map[string]bool{}
	for _, route := range w.api.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		mount, plain := mountOf(route)
		if mount != "" && httpapi.RefusedByName()[plain] {
			continue
		}
		body, reads := rightBody[plain]
		known[plain] = true
		if bodyless := slices.Contains(readsNothing, plain) || method == "GET" || method == "DELETE" && plain != "DELETE /agents"; reads == bodyless {
			t.Errorf("%s: say in rightBody what is sent to it, or in readsNothing that nothing is read", route)
		}
		path := wildcard.ReplaceAllStringFunc(pattern, func(name string) string {
			name = strings.Trim(name, "{}")
			if name == "id" && strings.HasPrefix(pattern, "/v1/responses/") {
				return response.ID
			}
			if v := values[name]; v != "" {
				return v
			}
			return "acmes"
		})
		if pattern == "/v1/search" { // the one that needs a parameter
			path += "?q=hello"
		}
		body = strings.NewReplacer("{file}", export, "{agent}", file, "{reg}", reg).Replace(body)
		all = append(all, routeUnderTest{route, method, pattern, path, body})
	}
	for _, table := range []map[string]string{rightBody, anyType, lenient} {
		for plain := range table {
			if plain != "/api" && !known[plain] {
				t.Errorf("%s is no route any more", plain)
			}
		}
	}
	return w, all
}

// public are the routes that answer everybody, and depend on nothing.
var public = regexp.MustCompile(`^GET (/(v1/)?(openapi\.(json|yaml)|docs)|/(v2/)?((api/)?ping|health|ready)|/(healthz|readyz))$`)

// Every route that is mounted, against what nobody should send.
func TestEveryRouteIsHardToBreak(t *testing.T) {
	w, all := hostileWorld(t)
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Responses  map[string]any
		}
	}
	resp, body := w.do("GET", "/openapi.json", "")
	if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 {
		t.Fatal(err)
	}
	// takes reports whether a route takes a parameter by its description.
	takes := func(r routeUnderTest, in, name string) bool {
		for _, p := range doc.Paths[r.pattern][strings.ToLower(r.method)].Parameters {
			if p.In == in && p.Name == name {
				return true
			}
		}
		return false
	}
	before := w.footprint()
	big := `{"x":"` + strings.Repeat("x", contractMaxBody) + `"}`
	for _, r := range all {
		mount, plain := mountOf(r.route)
		json := []string{"Content-Type", "application/json"}
		refuse := func(what, path, body, code string, statuses []int, header ...string) {
			t.Helper()
			resp, answer := w.do(r.method, path, body, header...)
			wantRefused(t, r.route+", "+what, path, resp, answer, code, statuses...)
		}
		rpc := strings.HasSuffix(r.route, "/mcp") || strings.HasSuffix(r.route, "/a2a")

		if !public.MatchString(r.route) {
			for _, key := range []string{"", "not a key of anybody"} {
				resp, answer := w.do(r.method, r.path, r.body, "X-API-Key", key)
				wantRefused(t, r.route+" without a key", r.path, resp, answer, "unauthorized", 401)
				if resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: 401 without WWW-Authenticate", r.route)
				}
			}
		}
		resp, answer := w.do(r.method, r.path, r.body, "X-Junk", strings.Repeat("x", 80<<10))
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || insides.MatchString(answer) {
			t.Errorf("%s with a header of 80 KiB: %d %.100s", r.route, resp.StatusCode, answer)
		}
		for _, bad := range []string{"%00", "a%2Fb", "%ff", strings.Repeat("a", 300)} {
			if strings.Contains(r.pattern, "{") {
				path := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(r.pattern, bad)
				statuses := []int{400, 404}
				if strings.HasSuffix(r.pattern, "/vouch") {
					statuses = append(statuses, 403) // no verifier is that of such an authorization
				}
				refuse("id "+bad, path, r.body, "", statuses)
			}
		}
		if r.body != "" {
			refuse("a body over the limit", r.path, big, "too_large", []int{413}, json...)
			if !excusedBy(anyType, r.route) {
				refuse("a body that is said to be text", r.path, r.body, "invalid", []int{415}, "Content-Type", "text/plain")
				refuse("a form", r.path, r.body, "invalid", []int{415}, "Content-Type", "application/x-www-form-urlencoded")
			}
			for what, bad := range map[string]string{
				"deep JSON": strings.Repeat(`{"x":[`, 15_000), "deep JSON that ends": strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
				"no JSON": `{"x":`, "not UTF-8": "{\"x\":\"\xff\"}", "a number that is none": `{"x":1e999999}`, "a text": `"x"`, "a NUL": "\x00",
			} {
				if rpc {
					w.wantRPCError(t, r.route+", "+what, r.path, bad)
					continue
				}
				if what == "a number that is none" && mount != "" {
					continue // members that are not known are passed over
				}
				refuse(what, r.path, bad, "", []int{400, 501}, json...)
			}
			if strings.HasPrefix(r.body, "{") && !excusedBy(lenient, r.route) && plain != "POST /v1/sessions/import" {
				refuse("a name that is there twice", r.path, strings.Replace(r.body, "{", `{"zz":1,"zz":2,`, 1), "invalid", []int{400}, json...)
				if plain != "PATCH /v1/agents/{name}" { // its body is a part of a file; what that may have is checked as such
					refuse("a member that is not known", r.path, strings.Replace(r.body, "{", `{"zz":1,`, 1), "", []int{400, 501}, json...)
				}
			}
		}
		if takes(r, "header", "Idempotency-Key") || mount != "" && r.method != "GET" && strings.Contains(r.pattern, "session") {
			refuse("a key that is too long", r.path, r.body, "invalid", []int{400}, append(json, "Idempotency-Key", strings.Repeat("k", 256))...)
		}
		if takes(r, "query", "limit") || plain == "GET /sessions" {
			for _, bad := range []string{"-1", "0", "100001", "99999999999999999999", "1.5", "many"} {
				refuse("limit="+bad, r.query()+"limit="+bad, "", "invalid", []int{400})
			}
		}
		if takes(r, "query", "cursor") || plain == "GET /sessions" {
			for _, bad := range []string{"x", "AAAA", "LTE6eA", "%F0%9F%98%80", strings.Repeat("A", 3000)} {
				refuse("cursor="+bad, r.query()+"cursor="+bad, "", "invalid", []int{400})
			}
		}
		if strings.HasPrefix(r.pattern, "/v1/") && !public.MatchString(r.route) {
			refuse("a query with a NUL", r.query()+"x=%00", r.body, "invalid", []int{400}, json...)
			refuse("a query that is no UTF-8", r.query()+"x=%ff", r.body, "invalid", []int{400}, json...)
			refuse("a malformed query", r.query()+"x=%zz", r.body, "invalid", []int{400}, json...)
			if !rpc && !strings.HasPrefix(r.route, "POST /v1/responses") && !strings.HasPrefix(r.route, "POST /v1/chat") && !strings.HasPrefix(r.route, "POST /v1/agui") && !strings.HasPrefix(r.route, "DELETE /v1/responses") {
				refuse("a parameter that is not known", r.query()+"zz=1", r.body, "invalid", []int{400})
			}
		}
	}
	if after := w.footprint(); after != before {
		t.Errorf("what was refused left something:\n%s", firstDiff(before, after))
	}
}

// contentType is that of a body.
func contentType(body string) string {
	if body != "" && strings.Contains(`{["`, body[:1]) {
		return "application/json"
	}
	return "application/yaml"
}

// footprint is what a tenant's lists say.
func (w *world) footprint() string {
	w.t.Helper()
	var all strings.Builder
	for _, path := range []string{"/v1/sessions", "/v1/agents", "/v1/schedules", "/v1/webhooks", "/v1/secrets", "/v1/oauth-clients", "/v1/connections", "/v1/sessions/acmes", "/v1/agents/acmes/versions"} {
		resp, body := w.do("GET", path, "")
		if resp.StatusCode != 200 {
			w.t.Fatalf("GET %s: %d %s", path, resp.StatusCode, body)
		}
		all.WriteString(body)
	}
	return all.String()
}

// wantRPCError checks that a protocol's own error answers what its messages cannot
// be.
func (w *world) wantRPCError(t *testing.T, what, path, body string) {
	t.Helper()
	resp, answer := w.do("POST", path, body, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
	var e struct {
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Error.Code > -32000 || e.Error.Message == "" || resp.StatusCode != 200 && resp.StatusCode != 400 || insides.MatchString(answer) {
		t.Errorf("%s: %d %.300s; want an error of JSON-RPC (%v)", what, resp.StatusCode, answer, err)
	}
}

// Every path answers a method that it does not have with 405 and those that it has.
func TestEveryRouteSaysItsMethods(t *testing.T) {
	w, all := hostileWorld(t)
	wildcard := regexp.MustCompile(`\\\{\w+\\\}`)
	like := make([]*regexp.Regexp, len(all))
	for i, o := range all {
		like[i] = regexp.MustCompile("^" + wildcard.ReplaceAllString(regexp.QuoteMeta(o.pattern), `[^/]+`) + "$")
	}
	tried := map[string]bool{}
	for _, r := range all {
		r.path, _, _ = strings.Cut(r.path, "?")
		if tried[r.path] {
			continue
		}
		tried[r.path] = true
		var has []string
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			for i, o := range all {
				if o.method == m && like[i].MatchString(r.path) {
					has = append(has, m)
					break
				}
			}
		}
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
			if slices.Contains(has, m) {
				continue
			}
			resp, body := w.do(m, r.path, "")
			wantRefused(t, m+" "+r.path, r.path, resp, body, "invalid", 405)
			if allow := resp.Header.Get("Allow"); allow != strings.Join(has, ", ") {
				t.Errorf("%s %s: Allow %q, want %v", m, r.path, allow, has)
			}
		}
	}
	for _, path := range []string{"/v1/nothing", "/api/nothing", "/v2/api/a/b/c", "/nothing", "/v1/responses/a/b/c"} {
		resp, body := w.do("GET", path, "")
		wantRefused(t, path, path, resp, body, "not_found", 404)
	}
}

// notSomebodysOwn says of routes why another tenant's right request is not answered
// with 404.
var notSomebodysOwn = map[string]string{
	"POST /v1/sessions/import":                           "makes a session of the tenant's own of a file that it has",
	"POST /v1/agents":                                    "names nothing",
	"PUT /v1/agents/{name}":                              "makes a file of the tenant's own",
	"POST /v1/agents/check":                              "stores and reads nothing",
	"POST /v1/agents/pull":                               "names what a registry has",
	"PUT /v1/secrets/{name}":                             "makes a secret of the tenant's own",
	"PUT /v1/oauth-clients/{name}":                       "makes a client of the tenant's own",
	"POST /v1/webhooks":                                  "names nothing",
	"POST /v1/conversations":                             "names nothing",
	"GET /v1/quotas":                                     "the operator's alone: TestQuotasAreForTheirReaders",
	"GET /v1/quotas/{tenant}":                            "the operator's alone: TestQuotasAreForTheirReaders",
	"PUT /v1/quotas/{tenant}":                            "the operator's alone: TestQuotasAreForTheirReaders",
	"DELETE /v1/quotas/{tenant}":                         "the operator's alone: TestQuotasAreForTheirReaders",
	"POST /v1/sessions/{id}/authorizations/{flow}/vouch": "the verifier is that of no authorization: 403 for everybody",
	"POST /agents":                                       "names nothing",
	"POST /agents/config":                                "makes a file of the tenant's own",
	"POST /agents/import":                                "makes a file of the tenant's own",
	"POST /agents/pull":                                  "names what a registry has",
	"POST /agents/export":                                "is of the tenant's own files",
	"GET /agents/export/{file}":                          "is of the tenant's own files",
	"POST /sessions":                                     "names nothing",
	"GET /ready":                                         "names nothing",
	"POST /sessions/batch/delete":                        "says in its answer what is not there: see below",
}

// What belongs to one tenant is not there for another one.
func TestEveryRouteKnowsItsTenant(t *testing.T) {
	w, all := hostileWorld(t)
	before := w.footprint()
	for _, r := range all {
		_, plain := mountOf(r.route)
		if public.MatchString(r.route) || notSomebodysOwn[plain] != "" {
			continue
		}
		resp, body := w.do(r.method, r.path, r.body, "X-API-Key", boltKey, "Content-Type", "application/json")
		if !strings.Contains(r.pattern, "{") && r.method == "GET" {
			if resp.StatusCode != 200 || strings.Contains(body, "acmes") {
				t.Errorf("%s of another tenant: %d %s", r.route, resp.StatusCode, body)
			}
			continue
		}
		wantRefused(t, r.route+" of another tenant", r.path, resp, body, "not_found", 404)
	}
	// Ids that are in a body or a header.
	var response string
	for _, r := range all {
		if r.route == "GET /v1/responses/{id}" {
			response = strings.TrimPrefix(r.path, "/v1/responses/")
		}
	}
	connectAgent := "agents: {root: {model: scripted/demo}}"
	if resp, body := w.do("PUT", "/v1/agents/bolts", connectAgent, "X-API-Key", boltKey); resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for path, bodies := range map[string][]string{
		"/v1/responses": {`{"previous_response_id":"` + response + `","input":"hello"}`, `{"model":"bolts","conversation":"acmes","input":"hello"}`},
		"/v1/schedules": {`{"every":"1h","session":"acmes","agent":"bolts","messages":[{"content":"x"}]}`},
	} {
		for _, sent := range bodies {
			resp, body := w.do("POST", path, sent, "X-API-Key", boltKey, "Content-Type", "application/json")
			wantRefused(t, "POST "+path+" "+sent, path, resp, body, "not_found", 404)
		}
	}
	for _, mount := range []string{"/api", "/v2/api"} {
		resp, body := w.do("POST", mount+"/sessions/batch/delete", `{"session_ids":["acmes"]}`, "X-API-Key", boltKey)
		if resp.StatusCode != 200 || !strings.Contains(body, `"deleted_count":0,"failed_count":1,"failed_ids":["acmes"]`) {
			t.Errorf("a batch of another tenant: %d %s", resp.StatusCode, body)
		}
	}
	for path, sent := range map[string]string{
		"/v1/agents/bolts/mcp": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bolts","arguments":{"message":"hello","session":"acmes"}}}`,
		"/v1/agents/bolts/a2a": `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"kind":"message","messageId":"m","contextId":"acmes","role":"user","parts":[{"kind":"text","text":"hello"}]}}}`,
	} {
		resp, body := w.do("POST", path, sent, "X-API-Key", boltKey, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
		if resp.StatusCode != 200 || !strings.Contains(body, "not_found: there is no session acmes") || insides.MatchString(body) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if after := w.footprint(); after != before {
		t.Errorf("another tenant changed something:\n%s", firstDiff(before, after))
	}
}

// dependsOnNothing says of routes why they answer when everything that the API
// needs is away.
var dependsOnNothing = map[string]string{
	"POST /v1/agents/check":                              "reads what it is sent",
	"POST /agents/export":                                "says where the archive will be",
	"GET /desktop/token":                                 "always the same",
	"GET /ready":                                         "always the same",
	"POST /sessions/batch/delete":                        "says which could not be deleted",
	"POST /v1/agents":                                    "the model is asked first, and refuses here",
	"POST /resumeCodeReceivedOauth":                      "the state of the example is none",
	"POST /v1/sessions/{id}/authorizations/{flow}/vouch": "the verifier of the example is none",
}

// When bus and archive are away every route says so, and that it can be tried again.
func TestEveryRouteBearsAnOutage(t *testing.T) {
	w, all := hostileWorld(t)
	w.faults.hold()
	w.faults.set(func() { w.faults.busDown, w.faults.storeDown = true, true })
	if err := w.store.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		_, plain := mountOf(r.route)
		if public.MatchString(r.route) || dependsOnNothing[plain] != "" {
			continue
		}
		resp, body := w.do(r.method, r.path, r.body, "Accept", "application/json, text/event-stream", "Content-Type", contentType(r.body))
		wantRefused(t, r.route+" in an outage", r.path, resp, body, "unavailable", 503)
	}
}

// What is not offered says so by its name, for every route that can be left out.
func TestWhatIsNotOffered(t *testing.T) {
	_, all := hostileWorld(t)
	w := newWorld(t, func(c *httpapi.Config) { c.Agents, c.Schedules = testLibrary(nil), nil })
	spec := w.operations("")
	tried := 0
	for _, r := range all {
		says := spec[r.route]
		if !slices.Contains(says, "501") || strings.Contains(r.route, "agui") || strings.Contains(r.route, "responses") || strings.Contains(r.route, "chat") {
			continue // 501 is for a parameter there
		}
		tried++
		if r.pattern == "/v1/agents/{name}/push" {
			r.path = "/v1/agents/demo/push"
		}
		resp, body := w.do(r.method, r.path, r.body, "Content-Type", contentType(r.body))
		wantRefused(t, r.route, r.path, resp, body, "not_offered", 501)
	}
	if tried < 15 {
		t.Errorf("only %d routes", tried)
	}
}

// A command whose outcome is not known yet is answered with 202, and the same
// request with the same key asks again.
func TestEveryCommandCanBePending(t *testing.T) {
	w, all := hostileWorld(t)
	spec := w.operations("")
	w.faults.set(func() { w.faults.mute = true })
	n := 0
	for _, r := range all {
		if !slices.Contains(spec[r.route], "202") {
			continue
		}
		if r.pattern == "/v1/sessions/{id}" || strings.HasSuffix(r.pattern, "/vouch") || strings.HasSuffix(r.pattern, "/scheduled/{run}") {
			continue // see the rows of TestV1Contract: what comes before it in the test must be
		}
		resp, body := w.do(r.method, r.path, r.body, "Content-Type", "application/json", "Idempotency-Key", "pending")
		if resp.StatusCode != 202 || !strings.Contains(body, `"status":"pending"`) {
			t.Errorf("%s: %d %s", r.route, resp.StatusCode, body)
		}
		n++
	}
	if n < 9 {
		t.Errorf("only %d routes", n)
	}
}
