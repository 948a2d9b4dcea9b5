package conformance

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// Whoever finds one of these where it does not belong has found a leak.
const (
	canaryCode    = "canary-code-"
	canaryToken   = "canary-token-"
	canaryRefresh = "canary-refresh-"
	canarySecret  = "canary-secret-of-tenant"
	canaryClient  = "canary-secret-of-client"
	canaryModel   = "canary-key-of-model"
)

// heard collects what somebody outside gets to see.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) add(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.WriteString(s + "\n")
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// authority is an authorization server whose codes and tokens are canaries. first is
// called at its first token request, which gets no answer.
func authority(t *testing.T, mux *http.ServeMux, base string, first func()) (tokens func() int) {
	t.Helper()
	var mu sync.Mutex
	codes, asked := 0, 0
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // a client that is gone asks again
	}
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{"resource": base + "/mcp", "authorization_servers": []string{base}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "registration_endpoint": base + "/register",
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		})
	})
	mux.HandleFunc("/register", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		write(w, map[string]any{"client_id": "c1", "client_secret": canaryClient})
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		codes++
		code := fmt.Sprintf("%s%d", canaryCode, codes)
		mu.Unlock()
		q := r.URL.Query()
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"state": {q.Get("state")}, "code": {code}, "iss": {base}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		n := asked
		mu.Unlock()
		if r.FormValue("client_secret") != canaryClient || !strings.HasPrefix(r.FormValue("code"), canaryCode) {
			t.Errorf("a token request without the code or the client's secret")
		}
		if n == 1 {
			first()
			panic(http.ErrAbortHandler)
		}
		write(w, map[string]any{
			"access_token": fmt.Sprintf("%s%d", canaryToken, n), "refresh_token": fmt.Sprintf("%s%d", canaryRefresh, n), "token_type": "Bearer", "expires_in": 3600,
		})
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
}

// payingModel speaks OpenAI's protocol and calls pay once. It hears all requests.
func payingModel(t *testing.T, ear *heard) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		ear.add(string(body))
		delta, finish := `{"tool_calls":[{"index":0,"id":"call-1","type":"function","function":{"name":"pay","arguments":"{\"to\":\"Ann\"}"}}]}`, "tool_calls"
		if strings.Contains(string(body), `"role":"tool"`) || !strings.Contains(string(body), `"pay"`) {
			delta, finish = `{"content":"done"}`, "stop"
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, choice := range []string{`"delta":` + delta, `"delta":{},"finish_reason":"` + finish + `"`} {
			fmt.Fprintf(w, `data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,%s}]}`+"\n\n", choice)
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}

// collector takes what the programs export by OTLP over HTTP.
func collector(t *testing.T, ear *heard) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		in := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(in)
			if err != nil {
				t.Error(err)
				return
			}
			in = z
		}
		body, err := io.ReadAll(in)
		if err != nil {
			return // of a program that was killed
		}
		ear.add(r.URL.Path + " " + string(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// until reads the session's events from the beginning until one fits, and returns
// it. skip is how many that fit come before it.
func (d *deployment) until(session string, skip int, fits func(event) bool) event {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), longest)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api+"/v1/sessions/"+session+"/events", http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	var said []string
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		said = append(said, text)
		d.events.add(text)
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			d.t.Fatal(err)
		}
		if fits(e) {
			if skip--; skip < 0 {
				return e
			}
		}
	}
	d.t.Fatalf("the event did not come: %v\n%s", lines.Err(), strings.Join(said, "\n"))
	return event{}
}

func pending(e event) bool {
	return e.Type == "authorization_required" && e.Confirmation == "pending"
}

// killWorkers ends all workers as crashes do.
func (d *deployment) killWorkers() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, p := range d.workers {
		p.Kill()
		delete(d.workers, name)
	}
}

// answer opens the start URL in a browser and returns where the authorization server
// sends it, unopened, and the browser.
func (d *deployment) answer(at string) (path string, browser *http.Client) {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	browser = &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			path = req.URL.RequestURI()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	d.get(browser, at)
	if path == "" {
		d.t.Fatal("the browser was never sent back")
	}
	return path, browser
}

func (d *deployment) get(browser *http.Client, at string) (status int, page string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := browser.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestEveryProcessDies is one authorization through all that can happen to the
// programs: the answer comes while no worker is there; callback and API are killed
// right after it; the worker that sends the code is killed before it hears what came
// of it, so that the user is asked again; NATS is gone when he answers, and comes
// back. The call is made once, no code is sent twice, and no secret is anywhere: not
// in the events, on NATS, in the output of a process, in what is exported, in what the
// model gets, in answers of the API, nor in a dump of the database.
func TestEveryProcessDies(t *testing.T) {
	exported, prompts, traffic, said := &heard{}, &heard{}, &heard{}, &heard{}
	at := collector(t, exported)
	d := apart(t, testenv.Postgres(t, testenv.PostgresSuperuser),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+at, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_TRACES_EXPORTER=otlp", "OTEL_METRICS_EXPORTER=otlp",
		"OTEL_LOGS_EXPORTER=otlp", "HOLDFAST_LOG_LEVEL=debug")
	nc, err := nats.Connect(d.nats.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Subscribe(">", func(m *nats.Msg) { traffic.add(m.Subject + " " + string(m.Data)) }); err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	var asked func() int
	base, paid := guarded(t, func(token string, _ bool) (int, string) {
		if strings.HasPrefix(token, canaryToken) {
			return 0, ""
		}
		return http.StatusUnauthorized, "Bearer"
	}, func(mux *http.ServeMux, base string) {
		asked = authority(t, mux, base, func() {
			d.killWorkers()
			close(killed)
		})
	})
	for name, value := range map[string]string{"SOME_SECRET": canarySecret, "MODEL_KEY": canaryModel} {
		if err := d.send(t.Context(), http.MethodPut, "/v1/secrets/"+name, map[string]string{"value": value}, nil); err != nil {
			t.Fatal(err)
		}
	}
	agent, err := json.Marshal(map[string]any{
		"version": "2",
		"agents": map[string]any{"root": map[string]any{
			"model": "m", "description": "d", "instruction": "i",
			"toolsets": []map[string]any{{"type": "mcp", "name": "bank", "remote": map[string]any{"url": base + "/mcp", "headers": map[string]string{"X-Own": "${env.SOME_SECRET}"}}}},
		}},
		"models": map[string]any{"m": map[string]any{
			"provider": "openai", "model": "m", "base_url": payingModel(t, prompts), "token_key": "MODEL_KEY", "provider_opts": map[string]any{"api_type": "openai_chatcompletions"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		ID string `json:"id"`
	}
	for _, err := range []error{
		d.request(t.Context(), http.MethodPut, "/v1/agents/payer", "application/yaml", agent, nil),
		d.send(t.Context(), http.MethodPost, "/v1/sessions", map[string]any{"agent": "payer", "tools_approved": true}, &s),
		d.send(t.Context(), http.MethodPost, "/v1/sessions/"+s.ID+"/runs", map[string]any{"messages": []map[string]string{{"role": "user", "content": "pay"}}}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	need := d.until(s.ID, 0, pending)
	d.until(s.ID, 0, func(e event) bool { return e.Type == "session_parked" })

	// No worker, and then no callback and no API either.
	d.killWorkers()
	path, browser := d.answer(need.URL)
	if status, page := d.get(browser, d.callbacks[1]+path); status != http.StatusOK || !strings.Contains(page, "Access was granted") {
		t.Fatalf("without a worker: HTTP %d\n%s", status, page)
	}
	for at, role := range map[string]string{d.callbacks[1]: "oauth-callback", d.api: "api"} {
		d.front[at].Kill()
		d.startFront(role, strings.TrimPrefix(at, "http://")).WaitLog("msg=ready")
	}
	d.startWorker().WaitLog("msg=ready")
	select { // the code is sent, and whoever sent it is killed
	case <-killed:
	case <-time.After(longest):
		t.Fatal("nobody finished what the dead left")
	}
	d.startWorker().WaitLog("msg=ready")
	need = d.until(s.ID, 1, pending)

	// NATS is away when the user answers.
	path, browser = d.answer(need.URL)
	d.nats.Kill()
	if status, page := d.get(browser, d.callbacks[0]+path); status != http.StatusServiceUnavailable || !strings.Contains(page, "try again") {
		t.Errorf("without NATS: HTTP %d\n%s", status, page)
	}
	d.nats.Start()
	for until := time.Now().Add(longest); ; {
		status, page := d.get(browser, d.callbacks[0]+path)
		if status == http.StatusOK {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("with NATS again: HTTP %d\n%s", status, page)
		}
	}
	d.until(s.ID, 0, func(e event) bool { return e.Type == "run_finished" })
	if got := paid(); !slices.Equal(got, []string{"Ann"}) || asked() != 2 {
		t.Errorf("paid %q, %d token requests", got, asked())
	}

	for _, path := range []string{
		"/v1/sessions/" + s.ID, "/api/sessions/" + s.ID, "/v1/connections", "/v1/secrets", "/v1/oauth-clients", "/v1/agents/payer",
	} {
		_, body := d.get(http.DefaultClient, d.api+path)
		said.add(body)
	}
	for _, p := range d.all {
		select {
		case <-p.Done():
		default:
			p.Signal(syscall.SIGTERM) // with the last telemetry
			<-p.Done()
		}
	}
	var output strings.Builder
	for _, p := range d.all {
		output.WriteString(p.Output())
	}
	places := map[string]string{
		"answers": said.String(), "events": d.events.String(), "NATS": traffic.String(), "the output of processes": output.String(), "what is exported": exported.String(),
		"what the model gets": prompts.String(), "a dump of the database": testenv.PostgresDump(t, d.dsn), "NATS's own log": d.nats.Log(),
	}
	for where, text := range places {
		if len(text) < 100 && where != "NATS's own log" {
			t.Errorf("nothing was heard of %s: %q", where, text)
		}
		for _, canary := range []string{canaryCode, canaryToken, canaryRefresh, canarySecret, canaryClient, canaryModel} {
			if strings.Contains(text, canary) || strings.Contains(text, hex.EncodeToString([]byte(canary))) {
				t.Errorf("%s… is in %s", canary, where)
			}
		}
	}
}
