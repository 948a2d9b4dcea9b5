package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{workers: 1, files: map[string]string{
		"good.yaml": talker(3, time.Millisecond),
		"typo.yaml": strings.Replace(talker(3, time.Millisecond), "instruction:", "instrucion:", 1),
	}})
	cl, url := c.client(), c.apis[0].url()
	rec := newSession(t, cl, client.NewSession{})
	v1, legacy := url+"/v1/sessions/"+rec.session+"/runs", url+"/api/sessions/"+rec.session+"/agent/good"
	big := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		name, method, url, body string
		status                  int
		code                    holdfast.Code
		says                    string
	}{
		{"malformed JSON", "POST", v1, `{"agent":"good","messages":[{`, 400, holdfast.CodeInvalid, ""},
		{"malformed JSON, original API", "POST", legacy, `[{"role":"user"`, 400, holdfast.CodeInvalid, ""},
		{"wrong type", "POST", v1, `{"agent":"good","messages":"hello"}`, 0, holdfast.CodeInvalid, "messages"},
		{"no message", "POST", v1, `{"agent":"good","messages":[]}`, 0, holdfast.CodeInvalid, "messages"},
		{"unknown agent", "POST", v1, `{"agent":"nobody","messages":[{"content":"x"}]}`, 404, holdfast.CodeNotFound, "nobody"},
		{"unknown agent, original API", "POST", url + "/api/sessions/" + rec.session + "/agent/nobody", `[{"role":"user","content":"x"}]`, 404, holdfast.CodeNotFound, "nobody"},
		{"unknown session", "POST", url + "/v1/sessions/no-such-session/runs", `{"agent":"good","messages":[{"content":"x"}]}`, 404, holdfast.CodeNotFound, "no-such-session"},
		{"unknown session, its events", "GET", url + "/v1/sessions/no-such-session/events", ``, 404, holdfast.CodeNotFound, "no-such-session"},
		{"unknown session, original API", "GET", url + "/api/sessions/no-such-session", ``, 404, holdfast.CodeNotFound, "no-such-session"},
		{"cursor beyond the end", "GET", url + "/v1/sessions/" + rec.session + "/events?after=1000", ``, 410, holdfast.CodeGone, "1000"},
		{"10 MB prompt", "POST", v1, `{"agent":"good","messages":[{"content":"` + big + `"}]}`, 413, holdfast.CodeTooLarge, "8"},
		{"10 MB prompt, original API", "POST", legacy, `[{"role":"user","content":"` + big + `"}]`, 413, holdfast.CodeTooLarge, "8"},
		{"2 MB prompt", "POST", v1, `{"agent":"good","messages":[{"content":"` + big[:2<<20] + `"}]}`, 413, holdfast.CodeTooLarge, "bytes"},
		{"invalid UTF-8", "POST", v1, "{\"agent\":\"good\",\"messages\":[{\"content\":\"a\xff\xfeb\"}]}", 400, holdfast.CodeInvalid, "UTF-8"},
		{"invalid UTF-8, original API", "POST", legacy, "[{\"role\":\"user\",\"content\":\"a\xff\xfeb\"}]", 400, holdfast.CodeInvalid, "UTF-8"},
		{"agent file with a typo", "POST", v1, `{"agent":"typo","messages":[{"content":"x"}]}`, 0, holdfast.CodeInvalid, "instrucion"},
		{"agent file with a typo, original API", "POST", url + "/api/sessions/" + rec.session + "/agent/typo", `[{"role":"user","content":"x"}]`, 0, holdfast.CodeInvalid, "instrucion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := request(t, c.method, c.url, c.body)
			if a.status < 400 || a.status > 499 || c.status != 0 && a.status != c.status {
				t.Errorf("status %d, want %d: %.500s", a.status, c.status, a.body)
			}
			if a.code != c.code {
				t.Errorf("code %q, want %q: %.500s", a.code, c.code, a.body)
			}
			if !strings.Contains(a.body, c.says) {
				t.Errorf("the error does not say %q: %.500s", c.says, a.body)
			}
		})
	}

	agents, err := cl.GetAgents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, a := range agents {
		listed[a.Name] = a.Problem
	}
	if p, ok := listed["good"]; !ok || p != "" {
		t.Errorf("good.yaml: listed %v, problem %q", ok, p)
	}
	if p := listed["typo"]; !strings.Contains(p, "instrucion") {
		t.Errorf("typo.yaml: problem %q", p)
	}

	// Nothing of that is in the session, and it takes a run.
	run := say(t, cl, rec.session, "good", "count")
	if _, reason := rec.awaitRun(run); reason != "stop" || text(rec.entries(), run) != numbered(3) {
		t.Errorf("the run ended with %q: %q", reason, text(rec.entries(), run))
	}
	for _, e := range rec.entries() {
		if u, ok := e.Event.(*holdfast.UserMessageEvent); ok && u.Message != "count" {
			t.Errorf("refused input is in the session: %.100q", u.Message)
		}
	}
}

// openAI is a model provider that misbehaves as a test wants.
type openAI struct {
	*httptest.Server
	mode  atomic.Value // string
	calls atomic.Int64
	keys  atomic.Value // string: of the last request
}

func newOpenAI(t testing.TB) *openAI {
	o := &openAI{}
	o.mode.Store("")
	o.Server = httptest.NewServer(http.HandlerFunc(o.serve))
	t.Cleanup(o.Close)
	return o
}

func (o *openAI) serve(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	o.keys.Store(r.Header.Get("Authorization"))
	send := func(format string, args ...any) {
		fmt.Fprintf(w, "data: "+format+"\n\n", args...)
		w.(http.Flusher).Flush()
	}
	delta := func(content string) {
		send(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":%q}}]}`, content)
	}
	fail := func(status int) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":"the provider says %d","type":"test"}}`, status)
	}
	switch o.mode.Load() {
	case "401":
		fail(401)
	case "429":
		w.Header().Set("Retry-After-Ms", "10")
		fail(429)
	case "500":
		fail(500)
	case "garbage":
		w.Header().Set("Content-Type", "text/event-stream")
		send("<html>\x00\x01 not JSON")
	case "half":
		w.Header().Set("Content-Type", "text/event-stream")
		delta("Half a ")
		delta("sentence")
		panic(http.ErrAbortHandler)
	default:
		w.Header().Set("Content-Type", "text/event-stream")
		delta("All is ")
		delta("well.")
		send(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)
		send(`{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`)
		send("[DONE]")
	}
}

// TestBadModel: a run whose model fails says so, ends, and leaves a session that
// takes the next run.
func TestBadModel(t *testing.T) {
	t.Parallel()
	provider := newOpenAI(t)
	file := func(key string) string {
		return fmt.Sprintf(`version: "2"
agents:
  root: {model: far, description: Asks a provider., instruction: Answer.}
models:
  far: {provider: openai, model: m, base_url: %q, token_key: %s}
`, provider.URL+"/v1", key)
	}
	c := newCluster(t, setup{
		workers: 1,
		env:     []string{"HOLDFAST_MODEL_KEYS_FROM_ENV=true", "SOME_KEY=canary-of-the-key", "HOLDFAST_EGRESS_ALLOW=" + provider.Listener.Addr().String()},
		files:   map[string]string{"far.yaml": file("SOME_KEY"), "keyless.yaml": file("MISSING_KEY")},
	})
	cl := c.client()
	for _, tc := range []struct {
		mode, agent string
		code        holdfast.Code
		text        string
	}{
		{"401", "far", holdfast.CodeModelAuth, ""},
		{"429", "far", holdfast.CodeModelRate, ""},
		{"500", "far", holdfast.CodeModelFailed, ""},
		{"garbage", "far", holdfast.CodeModelFailed, ""},
		{"half", "far", holdfast.CodeModelFailed, "Half a sentence"},
		{"no key", "keyless", holdfast.CodeModelAuth, ""},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			provider.mode.Store(tc.mode)
			rec := newSession(t, cl, client.NewSession{Title: "t"})
			run := say(t, cl, rec.session, tc.agent, "hello")
			_, reason := rec.awaitRun(run)
			if reason != "error" {
				t.Errorf("the run ended with %q", reason)
			}
			var failure *holdfast.ErrorEvent
			for _, e := range rec.entries() {
				if ev, ok := e.Event.(*holdfast.ErrorEvent); ok {
					failure = ev
				}
			}
			if failure == nil || failure.Code != tc.code || failure.Error == "" {
				t.Errorf("the error is %+v, want code %s:\n%s", failure, tc.code, outline(rec.entries()))
			}
			if failure != nil {
				t.Log(failure.Error)
			}
			if got := text(rec.entries(), run); got != tc.text {
				t.Errorf("the text is %q, want %q", got, tc.text)
			}
			for _, e := range rec.entries() {
				if b, err := holdfast.MarshalEvent(e.Event); err != nil || strings.Contains(string(b), "canary") {
					t.Errorf("event %d has the key in it, or: %v", e.Seq, err)
				}
			}

			provider.mode.Store("")
			run = say(t, cl, rec.session, "far", "and now?")
			if _, reason := rec.awaitRun(run); reason != "stop" || text(rec.entries(), run) != "All is well." {
				t.Errorf("the run after it ended with %q:\n%s", reason, outline(rec.entries()))
			}
			if got := provider.keys.Load(); got != "Bearer canary-of-the-key" {
				t.Errorf("the provider got %q", got)
			}
		})
	}
}
