package oauth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth"
)

type document map[string]any

// world is an MCP server (the resource), its authorization server, and one
// user's connection. Hooks make it odd or hostile.
type world struct {
	t        *testing.T
	resource *httptest.Server
	issuer   *httptest.Server
	client   *oauth.Client
	store    *oauth.MemoryStore
	conn     oauth.Connection
	logs     *bytes.Buffer

	// What the servers publish; nil is 404. They may be changed before use.
	resourceMeta document
	serverMeta   document
	challenge    func() string // of a 401
	// odd answers a request to a path of the authorization server or, with the
	// prefix "mcp:", of the resource, instead of the usual.
	odd map[string]http.HandlerFunc
	// refuse says with which status the resource answers a request with a valid
	// token; 0 is that it serves it.
	refuse func(r *http.Request) int

	mu       sync.Mutex
	asked    []string // method and path, in order
	forms    []url.Values
	headers  []http.Header // of token requests
	register []document    // registration requests
	codes    map[string]url.Values
	access   map[string]bool
	refresh  map[string]bool
	serial   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, store: &oauth.MemoryStore{}, logs: new(bytes.Buffer), odd: map[string]http.HandlerFunc{},
		codes: map[string]url.Values{}, access: map[string]bool{}, refresh: map[string]bool{},
		refuse: func(*http.Request) int { return 0 },
	}
	w.issuer = httptest.NewServer(http.HandlerFunc(w.serveIssuer))
	w.resource = httptest.NewServer(http.HandlerFunc(w.serveResource))
	t.Cleanup(func() { w.issuer.Close(); w.resource.Close() })
	w.resourceMeta = document{
		"resource": w.resource.URL + "/mcp", "authorization_servers": []string{w.issuer.URL}, "scopes_supported": []string{"read", "write"},
	}
	w.serverMeta = document{
		"issuer": w.issuer.URL, "authorization_endpoint": w.issuer.URL + "/authorize?tenant=7", "token_endpoint": w.issuer.URL + "/token",
		"registration_endpoint": w.issuer.URL + "/register", "revocation_endpoint": w.issuer.URL + "/revoke",
		"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic"},
	}
	w.challenge = func() string { return "Bearer" }
	w.use(oauth.Options{})
	w.conn = oauth.Connection{
		Tenant: "t", User: "u", Session: "s", Name: "c", ServerURL: w.resource.URL + "/mcp", Grants: w.store, Registrations: w.store,
	}
	return w
}

func (w *world) use(o oauth.Options) {
	w.t.Helper()
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	o.Transport, o.Logger = transport, slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := oauth.NewClient(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = c
}

func (w *world) note(r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r.Method+" "+r.URL.Path)
}

func (w *world) count(request string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.asked {
		if a == request {
			n++
		}
	}
	return n
}

func reply(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v)
}

func (w *world) serveResource(rw http.ResponseWriter, r *http.Request) {
	w.note(r)
	if h := w.odd["mcp:"+r.URL.Path]; h != nil {
		h(rw, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		if r.URL.Path == "/.well-known/oauth-protected-resource/mcp" && w.resourceMeta != nil {
			reply(rw, 200, w.resourceMeta)
			return
		}
		if r.URL.Path == "/.well-known/oauth-authorization-server" && w.resourceMeta == nil && w.serverMeta != nil {
			reply(rw, 200, w.serverMeta)
			return
		}
		http.NotFound(rw, r)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.mu.Lock()
	ok = ok && w.access[token]
	w.mu.Unlock()
	switch status := w.refuse(r); {
	case !ok || status == 401:
		rw.Header().Set("WWW-Authenticate", w.challenge())
		rw.WriteHeader(401)
	case status == 403:
		rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="admin"`)
		rw.WriteHeader(403)
	default:
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(rw, "served %s", b)
	}
}

func (w *world) serveIssuer(rw http.ResponseWriter, r *http.Request) {
	w.note(r)
	if h := w.odd[r.URL.Path]; h != nil {
		h(rw, r)
		return
	}
	_ = r.ParseForm()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		if w.serverMeta != nil {
			reply(rw, 200, w.serverMeta)
			return
		}
		http.NotFound(rw, r)
	case "/register":
		var d document
		_ = json.NewDecoder(r.Body).Decode(&d)
		w.register = append(w.register, d)
		reply(rw, 201, document{"client_id": fmt.Sprintf("client-%d", len(w.register)), "client_secret": "canary-client-secret"})
	case "/authorize":
		w.serial++
		code := fmt.Sprintf("canary-code-%d", w.serial)
		w.codes[code] = r.Form
		http.Redirect(rw, r, r.Form.Get("redirect_uri")+"?"+url.Values{
			"code": {code}, "state": {r.Form.Get("state")}, "iss": {w.issuer.URL},
		}.Encode(), http.StatusFound)
	case "/token":
		w.forms, w.headers = append(w.forms, r.PostForm), append(w.headers, r.Header)
		w.serveToken(rw, r.PostForm)
	case "/revoke":
		w.forms = append(w.forms, r.PostForm)
		delete(w.access, r.PostForm.Get("token"))
	default:
		http.NotFound(rw, r)
	}
}

// serveToken rotates refresh tokens, and takes each once.
func (w *world) serveToken(rw http.ResponseWriter, form url.Values) {
	scope := "read"
	switch form.Get("grant_type") {
	case "authorization_code":
		asked, ok := w.codes[form.Get("code")]
		delete(w.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("redirect_uri") != form.Get("redirect_uri") {
			reply(rw, 400, document{"error": "invalid_grant"})
			return
		}
		scope = asked.Get("scope")
	case "refresh_token":
		if !w.refresh[form.Get("refresh_token")] {
			reply(rw, 400, document{"error": "invalid_grant", "error_description": "no such token: " + form.Get("refresh_token")})
			return
		}
		delete(w.refresh, form.Get("refresh_token"))
	}
	w.serial++
	access, refresh := fmt.Sprintf("canary-access-%d", w.serial), fmt.Sprintf("canary-refresh-%d", w.serial)
	w.access[access], w.refresh[refresh] = true, true
	reply(rw, 200, document{"access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": 3600, "scope": scope})
}

func (w *world) start(d oauth.Demand) (oauth.Flow, string, error) {
	return w.client.Start(w.t.Context(), oauth.StartRequest{Connection: w.conn, Demand: d, RedirectURI: redirectURI, State: "a state"})
}

// authorized gets a grant as a user would.
func (w *world) authorized() {
	w.t.Helper()
	if err := authorize(w.t.Context(), w.client, w.conn, oauth.Demand{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) grant() (oauth.Grant, int64) {
	w.t.Helper()
	key, err := w.conn.Key()
	if err != nil {
		w.t.Fatal(err)
	}
	g, v, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return g, v
}

// change rewrites the stored grant.
func (w *world) change(f func(*oauth.Grant)) {
	w.t.Helper()
	g, v := w.grant()
	f(&g)
	key, _ := w.conn.Key()
	if _, err := w.store.Put(w.t.Context(), key, g, v); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) transport() http.RoundTripper {
	w.t.Helper()
	rt, err := w.client.RoundTripper(w.conn)
	if err != nil {
		w.t.Fatal(err)
	}
	return rt
}

// call sends a tool call to a URL of the resource.
func call(ctx context.Context, rt http.RoundTripper, at, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		return 0, "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

const toolCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`

func (w *world) call(rt http.RoundTripper) (string, error) {
	_, body, err := call(w.t.Context(), rt, w.resource.URL+"/mcp", toolCall)
	return body, err
}

func demanded(t *testing.T, err error) oauth.Demand {
	t.Helper()
	var required *oauth.OAuthAuthorizationRequiredError
	if !errors.As(err, &required) {
		t.Fatalf("error %v, want one that asks for authorization", err)
	}
	return required.Demand
}

// leaks are secrets in text that people may read.
func leaks(s string) (found []string) {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return !strings.ContainsRune("-abcdefghijklmnopqrstuvwxyz0123456789", r) }) {
		if strings.HasPrefix(word, "canary") {
			found = append(found, word)
		}
	}
	return slices.Compact(found)
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
		return
	}
	if l := leaks(err.Error()); l != nil {
		t.Errorf("the error has secrets in it: %v", l)
	}
}

func text(status int, kind, body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", kind)
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, body)
	}
}

func endless(rw http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(rw, `{"a":"`)
	for r.Context().Err() == nil {
		if _, err := rw.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
			return
		}
	}
}

// bomb is small on the wire and 2 MiB when it is unpacked, much more than is read.
func bomb(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(rw)
	defer z.Close()
	_, _ = io.WriteString(z, `{"a":"`)
	for range 32 {
		if _, err := z.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// drip never stops sending, and never sends much.
func drip(rw http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(rw, " "); err != nil {
			return
		}
		rw.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func redirect(to string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, to, http.StatusTemporaryRedirect) }
}

// short is a time-out for a server that says nothing, after which requests before
// that one have long been answered, also on a busy machine.
var short = oauth.Options{Timeout: 2 * time.Second}
