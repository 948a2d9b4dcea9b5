package bench

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// BenchmarkCallback measures the time from the redirect's request at the callback
// service until the call that waited for it, with its new token, is at the MCP
// server: API, callback and two workers as processes, sessions that are all
// parked before, each of a user of its own. The peer is what nobody can leave
// out: the request of the redirect to a page of the callback service, the
// exchange of the code and the opening of an MCP session.
func BenchmarkCallback(b *testing.B) {
	const flows = 200
	if *inProcess {
		b.Fatal("the callback is a process of its own")
	}
	w := newServers(b)
	p := newProtectedServer(b)
	api, callback := freeAddress(b), freeAddress(b)
	key := func(s string) string { return "k1:" + strings.Repeat(s, 43) }
	w.env = append(w.env,
		"HOLDFAST_VAULT_KEYS="+key("A"), "HOLDFAST_OAUTH_STATE_KEYS="+key("Q"), "HOLDFAST_EGRESS_ALLOW="+p.Listener.Addr().String(),
		"HOLDFAST_PUBLIC_URL=http://"+api, "HOLDFAST_OAUTH_CALLBACK_URL=http://"+callback)
	w.addr = listenAddr(testenv.Start(b, testenv.Build(b, "./cmd/api"), append(w.env[:len(w.env):len(w.env)], "HOLDFAST_LISTEN="+api)))
	testenv.Start(b, testenv.Build(b, "./cmd/oauth-callback"), append(w.env[:len(w.env):len(w.env)], "HOLDFAST_LISTEN="+callback)).WaitLog("msg=ready")
	w.addWorker()
	w.addWorker()
	w.connect()
	w.file("payer.yaml", fmt.Sprintf(`version: "2"
agents:
  root:
    model: m
    description: Pays.
    instruction: Pay.
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
            say: Paid.
          - call: [{name: pay, arguments: {to: "{{.User}}"}}]
`, p.URL+"/mcp"))

	type waiting struct {
		session, answer string
		client          *http.Client
	}
	all := make([]waiting, flows)
	w.each(flows, 8, func(i int) error {
		session, start, err := w.untilAuthorization(b, i)
		if err != nil {
			return err
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		f := waiting{session: session, client: &http.Client{Jar: jar, Transport: w.http.Transport}}
		f.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
			if req.URL.Host == callback {
				f.answer = req.URL.String()
				return http.ErrUseLastResponse
			}
			return nil
		}
		if err := open(f.client, start); err != nil {
			return err
		}
		if f.answer == "" {
			return fmt.Errorf("session %s: no redirect to the callback", session)
		}
		all[i] = f
		return nil
	})
	b.Run("peer=bare-requests", func(b *testing.B) {
		var took []time.Duration
		for range flows {
			begin := time.Now()
			for _, u := range []string{"http://" + callback + "/oauth/", p.URL + "/bare", p.URL + "/bare", p.URL + "/bare", p.URL + "/bare"} {
				if err := open(w.http, u); err != nil {
					b.Fatal(err)
				}
			}
			took = append(took, time.Since(begin))
		}
		reportLatency(b, "", took)
	})
	b.Run("holdfast", func(b *testing.B) {
		var onward, page []time.Duration
		before := used(b)
		for _, f := range all {
			called := p.expect(f.session)
			begin := time.Now()
			done := make(chan error, 1)
			go func() {
				err := open(f.client, f.answer)
				page = append(page, time.Since(begin))
				done <- err
			}()
			select {
			case at := <-called:
				onward = append(onward, at.Sub(begin))
			case <-time.After(time.Minute):
				b.Fatalf("session %s: the call does not go on", f.session)
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		before.report(b, flows, "flow")
		reportLatency(b, "", onward)
		reportLatency(b, "page", page)
	})
}

// untilAuthorization starts a run of a user of its own that needs an
// authorization, and returns the session and where the user begins when the
// session is parked.
func (w *world) untilAuthorization(b *testing.B, user int) (session, start string, err error) {
	post := func(path, body string) (doc struct{ ID string }, err error) {
		resp, err := w.http.Post("http://"+w.addr+path, "application/json", strings.NewReader(body))
		if err != nil {
			return doc, err
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			return doc, fmt.Errorf("POST %s: %s", path, resp.Status)
		}
		return doc, json.NewDecoder(resp.Body).Decode(&doc)
	}
	doc, err := post("/v1/sessions", fmt.Sprintf(`{"agent":"payer","tools_approved":true,"user":"u%d"}`, user))
	if err != nil {
		return "", "", err
	}
	// What is said comes back as the argument of the call: it tells the sessions apart.
	if _, err := post("/v1/sessions/"+doc.ID+"/runs", fmt.Sprintf(`{"messages":[{"role":"user","content":%q}]}`, doc.ID)); err != nil {
		return "", "", err
	}
	err = w.stream(b.Context(), doc.ID, 0, func(e *entry) bool {
		if e.is("authorization_required") {
			start = strings.ReplaceAll(e.member("authorization_url"), `\u0026`, "&")
		}
		return !e.is("session_parked") && !e.is("run_finished")
	})
	if err == nil && start == "" {
		err = fmt.Errorf("session %s: no authorization was asked for", doc.ID)
	}
	return doc.ID, start, err
}

// open reads a page.
func open(c *http.Client, at string) error {
	resp, err := c.Get(at)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusTooManyRequests {
		err = fmt.Errorf("%s: %s", at, resp.Status)
	}
	return err
}

// freeAddress is an address that was free a moment ago.
func freeAddress(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// protectedServer is an MCP server whose calls need a token, and the
// authorization server in front of it. Neither takes any time.
type protectedServer struct {
	*httptest.Server

	mu         sync.Mutex // guards what follows
	challenges map[string]string
	awaited    map[string]chan time.Time // by the argument of the call
}

// expect returns where the time of the next call with that argument comes.
func (p *protectedServer) expect(argument string) <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := make(chan time.Time, 1)
	p.awaited[argument] = ch
	return ch
}

func newProtectedServer(b *testing.B) *protectedServer {
	b.Helper()
	p := &protectedServer{challenges: map[string]string{}, awaited: map[string]chan time.Time{}}
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			b.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/bare", func(w http.ResponseWriter, _ *http.Request) { write(w, map[string]any{}) })
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) { p.mcp(w, r, write) })
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{"resource": p.URL + "/mcp", "authorization_servers": []string{p.URL}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
			"registration_endpoint": p.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
			"response_types_supported": []string{"code"}, "token_endpoint_auth_methods_supported": []string{"none"}, "authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("/register", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			b.Error(err)
		}
		in["client_id"] = "bench"
		w.WriteHeader(http.StatusCreated)
		write(w, in)
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		p.mu.Lock()
		code := fmt.Sprintf("code-%d", len(p.challenges))
		p.challenges[code] = q.Get("code_challenge")
		p.mu.Unlock()
		out := url.Values{"state": {q.Get("state")}, "iss": {p.URL}, "code": {code}}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+out.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		p.mu.Lock()
		challenge := p.challenges[r.FormValue("code")]
		p.mu.Unlock()
		if challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			b.Errorf("the verifier does not fit the challenge of %s", r.FormValue("code"))
		}
		write(w, map[string]any{"access_token": "token-" + r.FormValue("code"), "token_type": "Bearer", "expires_in": 3600})
	})
	p.Server = httptest.NewServer(mux)
	b.Cleanup(p.Close)
	return p
}

// mcp answers the requests of one MCP session (streamable HTTP).
func (p *protectedServer) mcp(w http.ResponseWriter, r *http.Request, write func(http.ResponseWriter, any)) {
	at := time.Now()
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var in struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Version   string `json:"protocolVersion"`
			Arguments struct {
				To string `json:"to"`
			} `json:"arguments"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer := func(result any) { write(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "result": result}) }
	switch in.Method {
	case "initialize":
		answer(map[string]any{
			"protocolVersion": in.Params.Version, "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "bench", "version": "1"},
		})
	case "tools/list":
		answer(map[string]any{"tools": []any{map[string]any{
			"name": "pay", "inputSchema": map[string]any{"type": "object", "properties": map[string]any{"to": map[string]any{"type": "string"}}},
		}}})
	case "tools/call":
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+p.URL+`/.well-known/oauth-protected-resource/mcp"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.mu.Lock()
		ch := p.awaited[in.Params.Arguments.To]
		delete(p.awaited, in.Params.Arguments.To)
		p.mu.Unlock()
		if ch != nil {
			ch <- at
		}
		answer(map[string]any{"content": []any{map[string]any{"type": "text", "text": "paid"}}})
	default:
		if in.ID == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		write(w, map[string]any{"jsonrpc": "2.0", "id": in.ID, "error": map[string]any{"code": -32601, "message": "no such method"}})
	}
}
