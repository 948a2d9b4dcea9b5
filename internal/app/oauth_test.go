package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

// The canaries: whoever finds one of them where it does not belong has found a leak.
const (
	canaryCode    = "canary-code-"
	canaryAccess  = "canary-access-"
	canaryRefresh = "canary-refresh-"
	canarySecret  = "canary-secret-value"
)

// protected is an MCP server and the authorization server in front of it.
type protected struct {
	*httptest.Server
	// all says that listing the tools needs a token too.
	all bool
	// deny makes the authorization server say no.
	deny bool
	// odd answers requests for a path instead of the usual. It is set before use.
	odd map[string]func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc)
	// silent says that the authorization server does not name itself in its answers.
	silent bool

	mu       sync.Mutex
	tokens   int // requests at the token endpoint
	calls    []string
	verifier map[string]string // code: challenge
	secrets  []string          // verifiers that were sent
	revoked  []string
	// refreshed are the refresh tokens that were used: each may be, once.
	refreshed map[string]bool
	// revocation is the status of the revocation endpoint; 0 is 200.
	revocation int
}

func newProtected(t *testing.T, all bool) *protected {
	t.Helper()
	p := &protected{all: all, verifier: map[string]string{}, refreshed: map[string]bool{}}
	s := server.NewMCPServer("protected", "1")
	s.AddTool(mcp.NewTool("pay", mcp.WithString("to")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, r.GetString("to", ""))
		return mcp.NewToolResultText("paid " + r.GetString("to", "")), nil
	})
	handler := server.NewStreamableHTTPServer(s)
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if (p.all || bytes.Contains(body, []byte(`"tools/call"`))) && !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+canaryAccess) {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+p.URL+`/.well-known/oauth-protected-resource/mcp"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{"resource": p.URL + "/mcp", "authorization_servers": []string{p.URL}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
			"registration_endpoint": p.URL + "/register", "revocation_endpoint": p.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"},
			"response_types_supported": []string{"code"}, "token_endpoint_auth_methods_supported": []string{"none"}, "authorization_response_iss_parameter_supported": !p.silent,
		})
	})
	mux.HandleFunc("/revoke", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.revocation != 0 {
			w.WriteHeader(p.revocation)
			return
		}
		p.revoked = append(p.revoked, r.FormValue("token"))
	})
	mux.HandleFunc("/register", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		in["client_id"] = "client-1"
		w.WriteHeader(http.StatusCreated)
		write(w, in)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		p.mu.Lock()
		code := fmt.Sprintf("%s%d", canaryCode, len(p.verifier))
		p.verifier[code] = q.Get("code_challenge")
		deny := p.deny
		p.mu.Unlock()
		out := url.Values{"state": {q.Get("state")}}
		if !p.silent {
			out.Set("iss", p.URL)
		}
		if deny {
			out.Set("error", "access_denied")
		} else {
			out.Set("code", code)
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+out.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tokens++
		if r.FormValue("grant_type") == "refresh_token" {
			if used := r.FormValue("refresh_token"); p.refreshed[used] {
				t.Errorf("%s was used twice", used)
			} else {
				p.refreshed[used] = true
			}
		} else {
			verifier := r.FormValue("code_verifier")
			p.secrets = append(p.secrets, verifier)
			sum := sha256.Sum256([]byte(verifier))
			if p.verifier[r.FormValue("code")] != base64.RawURLEncoding.EncodeToString(sum[:]) {
				t.Errorf("the verifier does not fit the challenge of %s", r.FormValue("code"))
			}
		}
		write(w, map[string]any{
			"access_token": fmt.Sprintf("%s%d", canaryAccess, p.tokens), "refresh_token": fmt.Sprintf("%s%d", canaryRefresh, p.tokens),
			"token_type": "Bearer", "expires_in": 3600,
		})
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := p.odd[r.URL.Path]; h != nil {
			h(w, r, mux.ServeHTTP)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// logged collects the log of the program.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// payer is an agent that pays over the protected server.
func payer(p *protected) string {
	return fmt.Sprintf(`version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    toolsets: [{type: mcp, remote: {url: %q}}]
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: Payments
        turns:
          - when: {after_tool: pay}
            say: "It says: {{.Tool}}"
          - say: "I pay."
            call: [{name: pay, arguments: {to: "{{.User}}"}}]
`, p.URL+"/mcp")
}

// begin opens a start URL and stops before the callback; it returns its address.
func begin(t *testing.T, c *http.Client, at string) (answer string) {
	t.Helper()
	c.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			answer = req.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return answer
}

// startPaying runs the program with an agent that pays over the protected server.
func startPaying(t *testing.T, data string, p *protected, env ...string) (base string, log *logged, stop func()) {
	t.Helper()
	cfg, err := config.Load(append([]string{"HOLDFAST_DATA=" + data, "HOLDFAST_LISTEN=127.0.0.1:0"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	log = &logged{}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "test", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), DrainGrace: time.Second,
			Agents: map[string][]byte{"payer.yaml": []byte(payer(p))},
			Ready:  func(addr string) { ready <- addr },
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case addr := <-ready:
		t.Cleanup(stop)
		return "http://" + addr, log, stop
	case err := <-done:
		t.Fatal(err)
	}
	return "", nil, nil
}

type event struct {
	Type string `json:"type"`
	Seq  uint64 `json:"seq"`
	raw  string
}

// follow reads the session's events until one of the type comes, and returns all.
func follow(t *testing.T, base, session string, after uint64, until string, header ...string) []event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/v1/sessions/%s/events?after=%d&position=false", base, session, after), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []event
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		e := event{raw: text}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, e)
		if e.Type == until {
			return all
		}
	}
	for _, e := range all {
		t.Log(e.raw)
	}
	t.Fatalf("the stream ended before %s: %v", until, lines.Err())
	return nil
}

func find(t *testing.T, all []event, typ string, into any) {
	t.Helper()
	for _, e := range all {
		if e.Type == typ {
			if err := json.Unmarshal([]byte(e.raw), into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	for _, e := range all {
		t.Log(e.raw)
	}
	t.Fatalf("no %s", typ)
}

type required struct {
	Seq     uint64 `json:"seq"`
	Confirm string `json:"confirmation"`
	Server  string `json:"server_url"`
	URL     string `json:"authorization_url"`
	Flow    string `json:"flow_id"`
}

func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// browse opens a URL and returns the page at the end, the status and the answer
// that the authorization server gave on the way.
func browse(t *testing.T, c *http.Client, at string) (page string, status int, answer string) {
	t.Helper()
	c.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			answer = req.URL.String()
		}
		return nil
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), resp.StatusCode, answer
}

// pay starts a run that pays bob and returns the session when it waits.
func pay(t *testing.T, base string) (session string, need required, all []event) {
	t.Helper()
	var s document
	call(t, http.MethodPost, base+"/v1/sessions", `{"tools_approved":true,"agent":"payer"}`, http.StatusCreated, &s)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"bob"}]}`, http.StatusOK, nil)
	all = follow(t, base, s.ID, 0, "session_parked")
	find(t, all, "authorization_required", &need)
	return s.ID, need, all
}

// TestAuthorization: a server asks for authorization, when its tools are listed or
// when one is called; the run waits, the program is stopped and started again, the
// user authorizes, and the same call goes on. No secret is anywhere.
func TestAuthorization(t *testing.T) {
	for name, all := range map[string]bool{"list": true, "call": false} {
		t.Run(name, func(t *testing.T) {
			p := newProtected(t, all)
			data := filepath.Join(t.TempDir(), "data")
			base, log, stop := startPaying(t, data, p)
			call(t, http.MethodPut, base+"/v1/secrets/SOME_KEY", `{"value":"`+canarySecret+`"}`, http.StatusNoContent, nil)
			session, need, before := pay(t, base)
			if need.Confirm != "pending" || need.Server != p.URL+"/mcp" || !strings.HasPrefix(need.URL, base+"/oauth/start/") {
				t.Fatalf("authorization_required: %+v", need)
			}
			// Everything restarts; the port must stay, since the URL names it.
			stop()
			addr := strings.TrimPrefix(base, "http://")
			base, second, stop := startPaying(t, data, p, "HOLDFAST_LISTEN="+addr)
			page, status, answer := browse(t, browser(t), need.URL)
			if status != http.StatusOK || !strings.Contains(page, "Access was granted") {
				t.Fatalf("the page at the end: %d\n%s", status, page)
			}
			after := follow(t, base, session, before[len(before)-1].Seq, "run_finished")
			var confirmed required
			find(t, after, "authorization_required", &confirmed)
			if confirmed.Confirm != "confirmed" || confirmed.Flow != need.Flow {
				t.Errorf("after the answer: %+v", confirmed)
			}
			everything := follow(t, base, session, 0, "run_finished")
			intents := 0
			for _, e := range everything {
				if e.Type == "tool_call" {
					intents++
				}
			}
			if intents != 1 || len(p.calls) != 1 || p.calls[0] != "bob" {
				t.Errorf("%d tool_call events, effects %v; want the same call once", intents, p.calls)
			}
			// The redirect again, in the same browser and in another one.
			for _, c := range []*http.Client{browser(t), browser(t)} {
				if page, _, _ := browse(t, c, answer); !strings.Contains(page, "no longer valid") {
					t.Errorf("a used answer gives\n%s", page)
				}
			}
			if page, _, _ := browse(t, browser(t), need.URL); !strings.Contains(page, "no longer valid") {
				t.Errorf("a used start URL gives\n%s", page)
			}
			if p.tokens != 1 {
				t.Errorf("%d token requests", p.tokens)
			}
			connections := call(t, http.MethodGet, base+"/v1/connections", "", http.StatusOK, nil)
			if !strings.Contains(connections, p.URL+"/mcp") {
				t.Errorf("connections: %s", connections)
			}
			answers := connections + call(t, http.MethodGet, base+"/v1/secrets", "", http.StatusOK, nil) + call(t, http.MethodGet, base+"/v1/sessions/"+session, "", http.StatusOK, nil)
			stop()
			var texts strings.Builder
			for _, e := range everything {
				texts.WriteString(e.raw)
			}
			searched := map[string]string{"events": texts.String(), "log": log.String() + second.String(), "API answers": answers}
			if err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				searched[path] = string(b)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for where, text := range searched {
				for _, canary := range append([]string{canaryCode, canaryAccess, canaryRefresh, canarySecret}, p.secrets...) {
					if strings.Contains(text, canary) {
						t.Errorf("%s is in %s", canary, where)
					}
				}
			}
			info, err := os.Stat(filepath.Join(data, "vault.keys"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("vault.keys: %v, %v", info, err)
			}
		})
	}
}

// TestAuthorizationInAnotherBrowser: an answer that a browser brings which did not
// open the start URL is not used; the one that did may still finish.
func TestAuthorizationInAnotherBrowser(t *testing.T) {
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	session, need, before := pay(t, base)
	attacker := browser(t)
	var answer string
	attacker.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			answer = req.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, need.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := attacker.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	attacks := map[string]string{
		"a stranger's browser": answer,
		"another connection":   strings.Replace(answer, "/oauth/callback/", "/oauth/callback/x", 1),
		"two states":           answer + "&state=x",
		"two codes":            answer + "&code=x",
		"code and error":       answer + "&error=access_denied",
		"no state":             strings.Replace(answer, "state=", "stat=", 1),
		"a megabyte":           answer + "&pad=" + strings.Repeat("a", 60<<10),
	}
	for name, at := range attacks {
		c := browser(t)
		if name != "a stranger's browser" {
			c = &http.Client{Jar: attacker.Jar}
		}
		if page, status, _ := browse(t, c, at); !strings.Contains(page, "no longer valid") && status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %d\n%s", name, status, page)
		}
	}
	head, err := http.NewRequestWithContext(t.Context(), http.MethodHead, answer, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	prefetch, err := http.NewRequestWithContext(t.Context(), http.MethodGet, answer, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	prefetch.Header.Set("Sec-Purpose", "prefetch;prerender")
	for _, req := range []*http.Request{head, prefetch} {
		resp, err := (&http.Client{Jar: attacker.Jar}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if p.tokens != 0 {
		t.Fatalf("%d token requests", p.tokens)
	}
	if page, _, _ := browse(t, &http.Client{Jar: attacker.Jar}, answer); !strings.Contains(page, "Access was granted") {
		t.Errorf("the right browser is refused:\n%s", page)
	}
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	if p.tokens != 1 {
		t.Errorf("%d token requests", p.tokens)
	}
}

// TestAuthorizationDeclined: the user says no, to us or to the authorization
// server; the run ends, nothing is left open, and the next run asks again.
func TestAuthorizationDeclined(t *testing.T) {
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	session, need, before := pay(t, base)
	call(t, http.MethodPost, base+"/api/"+session+"/resumeStartOauth", `{"confirmation":true}`, http.StatusOK, nil)
	call(t, http.MethodPost, base+"/api/"+session+"/resumeStartOauth", `{}`, http.StatusBadRequest, nil)
	call(t, http.MethodPost, base+"/v1/sessions/"+session+"/authorizations/unknown", `{"decision":"decline"}`, http.StatusConflict, nil)
	call(t, http.MethodPost, base+"/api/"+session+"/resumeStartOauth", `{"confirmation":false}`, http.StatusOK, nil)
	after := follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	var denied required
	find(t, after, "authorization_required", &denied)
	var stopped, finished struct{ Reason string }
	find(t, after, "stream_stopped", &stopped)
	find(t, after, "run_finished", &finished)
	if denied.Confirm != "denied" || denied.Flow != need.Flow || stopped.Reason != "rejected" || finished.Reason != "rejected" {
		t.Errorf("declined: %+v, stopped %+v, finished %+v", denied, stopped, finished)
	}
	call(t, http.MethodPost, base+"/api/"+session+"/resumeStartOauth", `{"confirmation":true}`, http.StatusConflict, nil)

	p.deny = true
	session, need, before = pay(t, base)
	if page, _, _ := browse(t, browser(t), need.URL); !strings.Contains(page, "was not granted") {
		t.Errorf("the page of one who said no:\n%s", page)
	}
	after = follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	find(t, after, "authorization_required", &denied)
	if denied.Confirm != "denied" || p.tokens != 0 || len(p.calls) != 0 {
		t.Errorf("denied: %+v, %d token requests, effects %v", denied, p.tokens, p.calls)
	}
}

// TestAuthorizationDeliveredOften: 50 deliveries at once give one token request.
func TestAuthorizationDeliveredOften(t *testing.T) {
	p := newProtected(t, false)
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), p)
	session, need, before := pay(t, base)
	c := browser(t)
	var answer string
	c.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.Path, "/oauth/callback/") {
			answer = req.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, need.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var mu sync.Mutex
	ends := map[string]int{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, answer, http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			ends[resp.Header.Get("Location")]++
		})
	}
	all.Wait()
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	if p.tokens != 1 || len(p.calls) != 1 {
		t.Errorf("%d token requests, effects %v; answers %v", p.tokens, p.calls, ends)
	}
}
