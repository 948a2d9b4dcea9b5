package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/httpapi"
)

func TestQuotaRoutes(t *testing.T) {
	w, _, _ := everything(t)
	const (
		own   = "/v1/quota"
		all   = "/v1/quotas"
		acmes = all + "/acme"
		key   = "#X-API-Key=" + operatorKey
	)
	done := w.rows(
		row{"GET#X-API-Key=" + acmeKey, own, "", 200, `"limits":{},"own":false`},
		row{"GET#X-API-Key=" + acmeKey, own + "?tenant=bolt", "", 400, "invalid"},
		row{"PUT" + key, acmes, `{"runs":5,"requests_per_second":1000.5,"tokens_per_month":9007199254740991}`, 200, `"limits":{"requests_per_second":1000.5,"runs":5,"tokens_per_month":9007199254740991}`},
		row{"PUT" + key, acmes, `{"runs":-1}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"runs":1.5}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"runs":9007199254740992}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"burst":5}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"requests_per_second":0}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"cost_per_day":-0.1}`, 400, "invalid"},
		row{"PUT" + key, acmes, `{"cost_per_day":1e400}`, 400, "invalid"},
		row{"PUT" + key, all + "/a.b", `{}`, 400, "invalid"},
		row{"PUT" + key, acmes, bigBody, 413, "too_large"},
		row{"GET#X-API-Key=" + acmeKey, own, "", 200, `"runs":5`},
		row{"GET" + key, acmes, "", 200, `"own":true`},
		row{"GET" + key, all + "/a.b", "", 400, "invalid"},
		row{"PUT" + key, all + "/bolt", `{}`, 200, `"limits":{}`},
		row{"GET" + key, all + "?limit=1", "", 200, `"next":`},
		row{"GET" + key, all, "", 200, `"default":{}`},
		row{"GET" + key, all + "?limit=0", "", 400, "invalid"},
		row{"GET" + key, all + "?cursor=acme", "", 400, "invalid"},
		row{"DELETE" + key, acmes, "", 204, ""},
		row{"DELETE" + key, acmes, "", 404, "not_found"},
		row{"DELETE" + key, all + "/a.b", "", 400, "invalid"},
		row{"GET#X-API-Key=" + acmeKey, own, "", 200, `"limits":{},"own":false`},
	)
	w.complete(own, done)
	w.complete(all, done)
	var first, second httpapi.QuotaPage
	w.mustDo("PUT", all+"/acme", `{}`, &struct{}{})
	w.mustDo("GET", all+"?limit=1", "", &first)
	w.mustDo("GET", all+"?limit=1&cursor="+first.Next, "", &second)
	if len(first.Quotas) != 1 || first.Quotas[0].Tenant != "acme" || len(second.Quotas) != 1 || second.Quotas[0].Tenant != "bolt" {
		t.Errorf("pages: %+v, %+v", first, second)
	}
}

// mustDo is do for what must succeed.
func (w *world) mustDo(method, path, body string, out any, header ...string) {
	w.t.Helper()
	resp, answer := w.do(method, path, body, append([]string{"Content-Type", "application/json"}, header...)...)
	if resp.StatusCode > 299 {
		w.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		w.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
	}
}

// No tenant reads or changes another's quota, none changes its own, and the operator's
// key opens nothing else.
func TestQuotasAreForTheirReaders(t *testing.T) {
	w, all := hostileWorld(t)
	w.mustDo("PUT", "/v1/quotas/acme", `{"runs":77}`, &struct{}{})
	for _, r := range all {
		operators := strings.HasPrefix(r.pattern, "/v1/quotas")
		if public.MatchString(r.route) {
			continue
		}
		for _, key := range []string{acmeKey, boltKey, operatorKey} {
			if (key == operatorKey) == operators || !operators && key != operatorKey {
				continue
			}
			resp, body := w.do(r.method, r.path, r.body, "X-API-Key", key, "Content-Type", contentType(r.body))
			wantRefused(t, r.route+" with the key of somebody else", r.path, resp, body, "forbidden", 403)
			if strings.Contains(body, `"runs":77`) {
				t.Errorf("%s: %s", r.route, body)
			}
		}
	}
	if _, body := w.do("GET", "/v1/quota", "", "X-API-Key", boltKey); strings.Contains(body, `"runs":77`) || !strings.Contains(body, `"tenant":"bolt"`) {
		t.Errorf("bolt's own: %s", body)
	}
	if _, body := w.do("GET", "/v1/quotas/acme", ""); !strings.Contains(body, `"runs":77`) {
		t.Errorf("acme's: %s", body)
	}
}

// doors are all requests that let an agent work.
func doors(session string) map[string]string {
	say := `{"agent":"demo","messages":[{"content":"hello"}]}`
	rpc := `{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}`
	return map[string]string{
		"/v1/sessions/" + session + "/runs":                say,
		"/v1/sessions/" + session + "/messages":            say,
		"/v1/responses":                                    `{"model":"demo","input":"hello"}`,
		"/v1/chat/completions":                             `{"model":"demo","messages":[{"role":"user","content":"hello"}]}`,
		"/v1/agui/demo":                                    `{"threadId":"` + session + `","runId":"r","messages":[{"id":"m","role":"user","content":"hello"}]}`,
		"/api/sessions/" + session + "/agent/demo":         `[{"role":"user","content":"hello"}]`,
		"/api/sessions/" + session + "/agent/demo/root":    `[{"role":"user","content":"hello"}]`,
		"/v2/api/sessions/" + session + "/agent/demo":      `[{"role":"user","content":"hello"}]`,
		"/v2/api/sessions/" + session + "/agent/demo/root": `[{"role":"user","content":"hello"}]`,
		"/v1/agents/demo/mcp":                              fmt.Sprintf(rpc, "tools/call", `{"name":"demo","arguments":{"message":"hello"}}`),
		"/v1/agents/demo/a2a":                              fmt.Sprintf(rpc, "message/send", `{"message":{"kind":"message","messageId":"m","role":"user","parts":[{"kind":"text","text":"hello"}]}}`),
	}
}

// Whatever door a run comes through, the same quota stands there, and the answer says
// so in the door's own manner.
func TestQuotasAtEveryDoor(t *testing.T) {
	w, _, _ := everything(t)
	w.mustDo("POST", "/v1/sessions", `{"id":"s","agent":"demo"}`, &struct{}{})
	for _, c := range []struct {
		quota, code, limit string
		status             int
	}{
		{`{"runs":0}`, "rate_limited", "runs", 429},
		{`{"tokens_per_month":0}`, "quota", "tokens_per_month", 403},
		{`{"tokens_per_day":0,"runs":10}`, "quota", "tokens_per_day", 403},
		{`{"cost_per_month":0}`, "quota", "cost_per_month", 403},
		{`{"cost_per_day":0}`, "quota", "cost_per_day", 403},
		{`{"storage_bytes":0}`, "quota", "storage_bytes", 403},
	} {
		w.mustDo("PUT", "/v1/quotas/acme", c.quota, &struct{}{})
		seq := func() uint64 {
			var d struct{ Seq uint64 }
			w.mustDo("GET", "/v1/sessions/s", "", &d)
			return d.Seq
		}
		before := seq()
		for path, body := range doors("s") {
			resp, answer := w.do("POST", path, body, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
			name := path + " with " + c.quota
			if strings.HasSuffix(path, "/mcp") || strings.HasSuffix(path, "/a2a") {
				if resp.StatusCode != 200 || !strings.Contains(answer, c.limit) {
					t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
				}
				continue
			}
			if resp.StatusCode == 200 && strings.Contains(path, "agui") { // the stream says it
				if !strings.Contains(answer, "RUN_ERROR") || !strings.Contains(answer, c.limit) {
					t.Errorf("%s: %s", name, answer)
				}
				continue
			}
			if resp.StatusCode != c.status || !strings.Contains(answer, `"code":"`+c.code+`"`) || !strings.Contains(answer, c.limit) {
				t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
			}
			if after := resp.Header.Get("Retry-After"); (after != "") != (c.status == 429) {
				t.Errorf("%s: Retry-After %q", name, after)
			}
		}
		if after := seq(); after != before {
			t.Errorf("%s: what was refused is in the log: event %d, then %d", c.quota, before, after)
		}
		if strings.Contains(c.quota, "_per_") { // what makes the model work, beside runs
			for path, body := range map[string]string{
				"/v1/sessions/s/compact": "", "/v1/sessions/s/runs/r/continue": `{}`,
				"/v1/sessions/s/messages": `{"delay":"1h","agent":"demo","messages":[{"content":"x"}]}`,
			} {
				resp, answer := w.do("POST", path, body, "Content-Type", "application/json")
				wantRefused(t, path+" with "+c.quota, path, resp, answer, "quota", 403)
				var p httpapi.Problem
				if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Quota == nil || p.Quota.Limit != c.limit || p.Quota.ResetsAt == nil || !p.Quota.ResetsAt.After(time.Now()) {
					t.Errorf("%s: %s, %v", path, answer, err)
				}
			}
		}
	}
	// The other tenant does not notice, and nor does acme when there is no quota.
	for _, key := range []string{boltKey, acmeKey} {
		if key == acmeKey {
			if resp, body := w.do("DELETE", "/v1/quotas/acme", ""); resp.StatusCode != 204 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
		}
		resp, body := w.do("POST", "/v1/responses", `{"model":"demo","input":"hello"}`, "X-API-Key", key, "Content-Type", "application/json")
		if resp.StatusCode != 200 || !strings.Contains(body, `"status":"completed"`) {
			t.Errorf("%s: %d %s", key, resp.StatusCode, body)
		}
	}
}

// What makes a session or a file is counted, wherever it comes from, and a request that
// is repeated is answered as before.
func TestQuotaOfSessions(t *testing.T) {
	w, _, _ := everything(t)
	w.mustDo("POST", "/v1/sessions", `{"id":"s","agent":"demo"}`, &struct{}{})
	_, file := w.do("GET", "/v1/sessions/s/export", "")
	w.mustDo("PUT", "/v1/quotas/acme", `{"sessions":2}`, &struct{}{})
	w.mustDo("POST", "/v1/sessions", `{}`, &struct{}{}, "Idempotency-Key", "k")
	w.mustDo("POST", "/v1/sessions", `{}`, &struct{}{}, "Idempotency-Key", "k") // the same
	limit := "sessions"
	refused := func(door, path, body string) {
		t.Helper()
		resp, answer := w.do("POST", path, body, "Content-Type", contentType(body))
		if resp.StatusCode != 403 || !strings.Contains(answer, `"code":"quota"`) || !strings.Contains(answer, limit) {
			t.Errorf("%s: %d %s", door, resp.StatusCode, answer)
		}
	}
	refused("create", "/v1/sessions", `{}`)
	refused("fork", "/v1/sessions/s/forks", `{}`)
	refused("import", "/v1/sessions/import?id=t", file)
	refused("older clients", "/api/sessions", `{}`)
	refused("a run of an id that an older client made up", "/api/sessions/new/agent/demo", `[{"role":"user","content":"x"}]`)
	refused("responses", "/v1/responses", `{"model":"demo","input":"hello"}`)
	if resp, answer := w.do("POST", "/v1/sessions", `{"id":"s"}`, "Content-Type", "application/json"); resp.StatusCode != 409 {
		t.Errorf("an id that is taken: %d %s", resp.StatusCode, answer)
	}
	if resp, answer := w.do("POST", "/v1/sessions/import", file); resp.StatusCode != 200 {
		t.Errorf("an import that is there: %d %s", resp.StatusCode, answer)
	}
	// In a session that is there runs go on, and one that is deleted makes room.
	w.mustDo("POST", "/v1/sessions/s/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, &struct{}{})
	if resp, answer := w.do("DELETE", "/v1/sessions/s", ""); resp.StatusCode > 299 {
		t.Fatalf("delete: %d %s", resp.StatusCode, answer)
	}
	w.until("the deleted session not to count", func() bool {
		resp, _ := w.do("POST", "/v1/sessions", `{"id":"u"}`, "Content-Type", "application/json")
		return resp.StatusCode == 201
	})
	// Storage that is used up lets no file in, and what is there can still be deleted.
	w.mustDo("PUT", "/v1/agents/mine", "agents: {root: {model: scripted/demo}}", &struct{}{}, "Content-Type", "application/yaml")
	w.mustDo("PUT", "/v1/quotas/acme", `{"storage_bytes":0}`, &struct{}{})
	limit = "storage_bytes"
	refused("create", "/v1/sessions", `{}`)
	refused("import", "/v1/sessions/import?id=t", file)
	if resp, answer := w.do("DELETE", "/v1/agents/mine", ""); resp.StatusCode != 200 {
		t.Errorf("delete a file: %d %s", resp.StatusCode, answer)
	}
}

// The limit of runs at once is exact: places come back when runs end, are refused or
// are canceled, and a request that is repeated has its own.
func TestQuotaOfRuns(t *testing.T) {
	w, _, _ := everything(t)
	for i := range 9 {
		w.mustDo("POST", "/v1/sessions", fmt.Sprintf(`{"id":"s%d","agent":"demo"}`, i), &struct{}{})
	}
	w.mustDo("PUT", "/v1/quotas/acme", `{"runs":3}`, &struct{}{})
	const waits = `{"messages":[{"content":"park"}]}`
	var accepted, refused atomic.Int64
	open := make([]string, 9)
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			resp, body := w.do("POST", fmt.Sprintf("/v1/sessions/s%d/runs", i), waits, "Content-Type", "application/json", "Idempotency-Key", "k")
			switch resp.StatusCode {
			case 200:
				accepted.Add(1)
				var s httpapi.Settled
				if err := json.Unmarshal([]byte(body), &s); err != nil {
					t.Error(err)
				}
				open[i] = s.Run
			case 429:
				refused.Add(1)
			default:
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 3 || refused.Load() != 6 {
		t.Fatalf("%d runs of 3, %d refused", accepted.Load(), refused.Load())
	}
	at := slices.IndexFunc(open, func(s string) bool { return s != "" })
	other := slices.Index(open, "")
	session := fmt.Sprintf("/v1/sessions/s%d", at)
	count := func() int64 {
		var q httpapi.QuotaDocument
		w.mustDo("GET", "/v1/quota", "", &q)
		return q.Use.Runs
	}
	if n := count(); n != 3 {
		t.Errorf("%d runs are open", n)
	}
	// The same request again, at the limit.
	var again httpapi.Settled
	w.mustDo("POST", session+"/runs", waits, &again, "Idempotency-Key", "k")
	if again.Run != open[at] {
		t.Errorf("%+v, want run %s", again, open[at])
	}
	// What joins the open run of a session needs no place; what waits behind it does.
	resp, body := w.do("POST", session+"/runs", `{"messages":[{"content":"more"}]}`, "Content-Type", "application/json")
	wantRefused(t, "a second run", session, resp, body, "rate_limited", 429)
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After: %v", resp.Header)
	}
	// One that is canceled makes room for one.
	w.mustDo("POST", session+"/cancel", "", &struct{}{})
	w.until("the place of the canceled run", func() bool { return count() == 2 })
	// A run that was over long ago is still the answer to its request.
	w.mustDo("PUT", "/v1/quotas/acme", `{"runs":2}`, &struct{}{})
	again = httpapi.Settled{}
	w.mustDo("POST", session+"/runs", waits, &again, "Idempotency-Key", "k")
	if again.Run != open[at] {
		t.Errorf("%+v, want run %s", again, open[at])
	}
	w.mustDo("PUT", "/v1/quotas/acme", `{"runs":3}`, &struct{}{})
	// A refusal by the owner gives the place back.
	full := fmt.Sprintf("/v1/sessions/s%d/runs", slices.IndexFunc(open, func(s string) bool { return s != "" && s != open[at] }))
	for range 3 {
		resp, body := w.do("POST", full, `{"mode":"reject","messages":[{"content":"hello"}]}`, "Content-Type", "application/json")
		wantRefused(t, "a run that is not to wait", full, resp, body, "conflict", 409)
	}
	w.mustDo("POST", fmt.Sprintf("/v1/sessions/s%d/runs", other), `{"messages":[{"content":"hello"}]}`, &struct{}{})
	w.until("the run to end", func() bool { return count() == 2 })
}

// A tenant that is too quick is told when to come again; the others are not slowed.
func TestQuotaOfRequests(t *testing.T) {
	w, _, _ := everything(t)
	w.mustDo("PUT", "/v1/quotas/acme", `{"requests_per_second":0.01,"burst":5}`, &struct{}{})
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	var last atomic.Pointer[http.Response]
	for range 20 {
		wg.Go(func() {
			resp, body := w.do("GET", "/v1/sessions", "")
			switch resp.StatusCode {
			case 200:
				ok.Add(1)
				if h := resp.Header.Get("RateLimit-Policy"); h != `"requests";q=5;w=500` {
					t.Errorf("RateLimit-Policy: %s", h)
				}
			case 429:
				refused.Add(1)
				last.Store(resp)
				if !strings.Contains(body, `"code":"rate_limited"`) || !strings.Contains(body, `"limit":"requests_per_second"`) {
					t.Errorf("%s", body)
				}
			}
		})
	}
	wg.Wait()
	if ok.Load() != 5 || refused.Load() != 15 {
		t.Fatalf("%d requests of 5, %d refused", ok.Load(), refused.Load())
	}
	h := last.Load().Header
	if n, err := strconv.Atoi(h.Get("Retry-After")); err != nil || n < 1 || n > 100 || h.Get("RateLimit") != `"requests";r=0;t=100` {
		t.Errorf("%v", h)
	}
	for path := range map[string]bool{"/api/sessions": true, "/v1/responses/x": true, "/v2/api/agents": true} {
		resp, body := w.do("GET", path, "")
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	for path, key := range map[string]string{"/v1/sessions": boltKey, "/v1/quotas/acme": operatorKey, "/healthz": ""} {
		if resp, body := w.do("GET", path, "", "X-API-Key", key); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	// The operator gives more, at once.
	w.mustDo("PUT", "/v1/quotas/acme", `{"requests_per_second":1000000,"burst":100}`, &struct{}{})
	w.until("the bucket to fill", func() bool {
		resp, _ := w.do("GET", "/v1/sessions", "")
		return resp.StatusCode == 200
	})
}

// What was spent counts from the moment that the archive has it.
func TestQuotaOfTokens(t *testing.T) {
	w, _, _ := everything(t)
	w.mustDo("PUT", "/v1/quotas/acme", `{"tokens_per_day":1}`, &struct{}{})
	var s httpapi.Settled
	w.mustDo("POST", "/v1/sessions", `{"id":"s","agent":"demo"}`, &struct{}{})
	w.mustDo("POST", "/v1/sessions/s/runs", `{"messages":[{"content":"hello"}]}`, &s)
	w.until("the run to be counted", func() bool {
		var q httpapi.QuotaDocument
		w.mustDo("GET", "/v1/quota", "", &q)
		return q.Use.TokensDay > 0 && q.Use.TokensMonth == q.Use.TokensDay
	})
	w.until("the next one to be refused", func() bool {
		resp, body := w.do("POST", "/v1/sessions/s/runs", `{"messages":[{"content":"hello"}]}`, "Content-Type", "application/json")
		return resp.StatusCode == 403 && strings.Contains(body, `"code":"quota"`)
	})
	// Reading, answering and deleting go on.
	for _, c := range []struct{ method, path string }{{"GET", "/v1/sessions/s"}, {"GET", "/v1/usage"}, {"DELETE", "/v1/sessions/s"}} {
		if resp, body := w.do(c.method, c.path, ""); resp.StatusCode > 299 {
			t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, body)
		}
	}
}
