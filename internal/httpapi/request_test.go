package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

const (
	acmeKey = "a-key-of-acme-0001"
	boltKey = "b-key-of-bolt-0001"

	operatorKey = "o-key-of-nobody-else"
)

func TestCredentials(t *testing.T) {
	ring, err := tenant.ParseKeys([]string{"acme:" + acmeKey, "bolt:" + boltKey})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *httpapi.Config) { c.Keys = ring })
	for _, path := range []string{"/api/sessions", "/v1/sessions", "/v2/api/sessions", "/v1/sessions/x/events"} {
		for name, header := range map[string][]string{
			"none":  nil,
			"wrong": {"Authorization", "Bearer not-the-key-of-acme"},
		} {
			resp := w.open(t.Context(), "GET", path, "", header...)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" || !strings.Contains(string(body), `"code":"unauthorized"`) {
				t.Errorf("GET %s, %s: %d %s", path, name, resp.StatusCode, body)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/ping", "/api/ping", "/v1/openapi.json"} {
		if st, body := w.call("GET", path, ""); st != 200 {
			t.Errorf("GET %s without a key: %d %s", path, st, body)
		}
	}
	// The key says whose sessions they are, whichever way it comes.
	if st, body := w.call("POST", "/v1/sessions", `{"id":"s","title":"of acme"}`, "Authorization", "Bearer "+acmeKey); st != 201 {
		t.Fatalf("create: %d %s", st, body)
	}
	if st, body := w.call("POST", "/v1/sessions", `{"id":"s","title":"of bolt"}`, "X-API-Key", boltKey); st != 201 {
		t.Fatalf("create: %d %s", st, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", strings.Replace(w.srv.URL, "http://", "http://anybody:"+acmeKey+"@", 1)+"/api/sessions", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !strings.Contains(string(body), "of acme") || strings.Contains(string(body), "of bolt") {
		t.Errorf("the sessions of acme: %d %s", resp.StatusCode, body)
	}
	if _, body := w.call("GET", "/v1/sessions/s", "", "X-API-Key", boltKey); !strings.Contains(body, "of bolt") {
		t.Errorf("the session of bolt: %s", body)
	}
}

// A page of another origin cannot act in a user's name; clients that are no
// browsers are not asked.
func TestCrossOrigin(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/sessions", "/v1/sessions"} {
		if st, body := w.call("POST", path, "null", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); st != 403 || !strings.Contains(body, `"code":"forbidden"`) {
			t.Errorf("POST %s from elsewhere: %d %s", path, st, body)
		}
	}
	if st, body := w.call("POST", "/api/sessions", "null", "Sec-Fetch-Site", "same-origin"); st != 200 {
		t.Errorf("POST from the same origin: %d %s", st, body)
	}
	if st, _ := w.call("GET", "/api/sessions", "", "Sec-Fetch-Site", "cross-site"); st != 200 {
		t.Errorf("GET from elsewhere: %d", st)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	resp := w.open(t.Context(), "GET", "/api/ping", "", "X-Request-Id", "my-request_1")
	resp.Body.Close()
	for name, want := range map[string]string{
		"X-Request-Id": "my-request_1", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	resp = w.open(t.Context(), "GET", "/api/ping", "", "X-Request-Id", "not an id")
	resp.Body.Close()
	if got := resp.Header.Get("X-Request-Id"); holdfast.ValidateID("id", got) != nil {
		t.Errorf("X-Request-Id: %q", got)
	}
}

func TestBodies(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.MaxBody = 64 << 10 })
	id := w.newSession()
	big := `[{"role":"user","content":"` + strings.Repeat("x", 64<<10) + `"}]`
	bigV1 := `{"agent":"demo","messages":` + big + `}`
	for _, c := range []struct {
		path, body string
		status     int
		text       string
	}{
		{"/api/sessions/" + id + "/agent/demo", big, 413, `"code":"too_large"`},
		{"/v1/sessions/" + id + "/runs", bigV1, 413, `"code":"too_large"`},
		{"/api/sessions/" + id + "/agent/demo", "[{\"role\":\"user\",\"content\":\"a\xff\"}]", 400, "not valid UTF-8 at line 1, column 29"},
		{"/v1/sessions/" + id + "/runs", "{\"agent\":\"demo\",\"messages\":[{\"content\":\"\xc3\"}]}", 400, "not valid UTF-8"},
		{"/api/sessions/" + id + "/agent/demo", `[{"role":"user","content":"x"}] []`, 400, "malformed JSON at line 1, column 33"},
		{"/api/sessions/" + id + "/agent/demo", `"hello"`, 400, "a JSON string does not fit"},
		{"/api/sessions/" + id + "/agent/demo", `null`, 400, "messages: missing"},
		{"/api/sessions/" + id + "/agent/demo", `[{"role":"user","content":"","multi_content":[{"type":"audio"}]}]`, 400, "multi_content[0]"},
		{"/api/sessions/" + id + "/agent/demo", ``, 400, "the body is empty"},
		{"/api/sessions/no.id/agent/demo", `[{"content":"x"}]`, 400, "only letters"},
		{"/v1/sessions", `{"metadata":{"a":"` + strings.Repeat("x", 5000) + `"}}`, 400, "metadata: a member is longer"},
	} {
		st, body := w.call("POST", c.path, c.body)
		if st != c.status || !strings.Contains(body, c.text) {
			t.Errorf("POST %s %.60q: %d %s; want %d and %s", c.path, c.body, st, body, c.status, c.text)
		}
	}
	if log := w.stored(id); len(log) != 1 {
		t.Errorf("a request that was refused left %d events", len(log)-1)
	}
	st, body := w.call("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, "Idempotency-Key", strings.Repeat("k", 256))
	if st != 400 {
		t.Errorf("a key of 256 characters: %d %s", st, body)
	}
}

// An image goes into the log as it came.
func TestParts(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	st, body := w.call("POST", "/api/sessions/"+id+"/agent/demo", `[{"role":"user","content":"hello","multi_content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]`)
	if st != 200 || !strings.Contains(body, `"multi_content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]`) {
		t.Errorf("%d %s", st, body)
	}
}

// panicking is a source of agents with a bug.
type panicking struct{ agent.Source }

func (panicking) List(context.Context) ([]agent.Summary, error) {
	panic("secret of the inside")
}

func TestPanic(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, func(c *httpapi.Config) {
		c.Agents = agent.NewLibrary(nil, panicking{}, agent.Options{})
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	for _, path := range []string{"/api/agents", "/v1/agents"} {
		st, body := w.call("GET", path, "")
		if st != 500 || strings.Contains(body, "secret") || !strings.Contains(body, `"code":"internal"`) {
			t.Errorf("GET %s: %d %s", path, st, body)
		}
	}
	if !strings.Contains(log.String(), "secret of the inside") || !strings.Contains(log.String(), "stack=") {
		t.Errorf("the log has no word of it: %s", log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The trace of a request travels with its command.
func TestTrace(t *testing.T) {
	got := make(chan string, 1)
	w := newWorld(t, func(c *httpapi.Config) { c.Commands = traced{c.Commands, got} })
	id := w.newSession()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w.call("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, "Traceparent", parent)
	if tr := <-got; tr != parent {
		t.Errorf("trace %q", tr)
	}
}

type traced struct {
	httpapi.Commands
	got chan string
}

func (c traced) Request(ctx context.Context, cmd events.Command) (events.Answer, error) {
	c.got <- cmd.Trace
	return c.Commands.Request(ctx, cmd)
}

// Every code has its status: the table is the only place that knows.
func TestEveryCodeHasAStatus(t *testing.T) {
	for _, c := range []holdfast.Code{
		holdfast.CodeInvalid, holdfast.CodeUnauthorized, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeConflict,
		holdfast.CodeKeyReused, holdfast.CodeGone, holdfast.CodeTooLarge, holdfast.CodeRateLimited, holdfast.CodeNotOffered,
		holdfast.CodeUnavailable, holdfast.CodeTimeout, holdfast.CodeCanceled, holdfast.CodeInternal, holdfast.CodeModelAuth,
		holdfast.CodeModelRate, holdfast.CodeModelContext, holdfast.CodeModelFilter, holdfast.CodeModelFailed, holdfast.CodeMaxTurns, holdfast.CodeInvalidInput, holdfast.CodeQuota,
	} {
		if httpapi.StatusOf[c] == 0 {
			t.Errorf("code %s has no status", c)
		}
	}
}

// docs/openapi.yaml is what the server serves.
func TestOpenAPI(t *testing.T) {
	const file = "../../docs/openapi.yaml"
	a, err := httpapi.New(httpapi.Config{Bus: &faults{}, Store: storeFaults{}, Commands: &faults{}, Agents: testLibrary(nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got, err := a.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the server serves; go test ./internal/httpapi -run OpenAPI -%s rewrites it. First difference:\n%s", file, flag.Lookup("update").Name, firstDiff(string(want), string(got)))
	}
	w := newWorld(t)
	_, body := w.call("GET", "/v1/openapi.json", "")
	var doc struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) < 10 {
		t.Errorf("/v1/openapi.json: %v, version %q, %d paths", err, doc.OpenAPI, len(doc.Paths))
	}
}
