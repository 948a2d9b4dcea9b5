package conformance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// deal runs a session whose model calls the tools, with a user who authorizes
// whatever is asked, and returns the session's messages.
func (p *product) deal(t *testing.T, at string, list ...toolCall) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	name := fmt.Sprintf("counterpart_%d", p.agents.Add(1))
	turns := []map[string]any{}
	for i, c := range list { // each in a turn of its own
		turns = append(turns, map[string]any{"when": map[string]any{"turn": i}, "call": []toolCall{c}})
	}
	turns = append(turns, map[string]any{"when": map[string]any{"turn": len(list)}, "say": "done"})
	agent, err := json.Marshal(map[string]any{
		"version": "2",
		"agents": map[string]any{"root": map[string]any{
			"model": "m", "description": "d", "instruction": "i",
			"toolsets": []map[string]any{{"type": "mcp", "name": name, "remote": map[string]any{"url": at}}},
		}},
		"models": map[string]any{"m": map[string]any{
			"provider": "scripted", "model": name, "provider_opts": map[string]any{"script": map[string]any{"title": name, "turns": turns}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		ID       string          `json:"id"`
		Messages json.RawMessage `json:"messages"`
	}
	run := map[string]any{"messages": []map[string]string{{"role": "user", "content": "go"}}}
	for _, step := range []func() error{
		func() error {
			return p.request(ctx, http.MethodPut, "/v1/agents/"+name, "application/yaml", agent, nil)
		},
		func() error {
			return p.send(ctx, http.MethodPost, "/v1/sessions", map[string]any{"agent": name, "tools_approved": true}, &s)
		},
		func() error { return p.send(ctx, http.MethodPost, "/v1/sessions/"+s.ID+"/runs", run, nil) },
		func() error { return p.attend(ctx, s.ID) },
		func() error { return p.request(ctx, http.MethodGet, "/api/sessions/"+s.ID, "", nil, &s) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return string(s.Messages)
}

func arguments(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// TestSDKDemoServer is the product with the official TypeScript SDK's example server
// and its example authorization server, lenient and strict about resources.
func TestSDKDemoServer(t *testing.T) {
	p := together(t)
	for i, strict := range []bool{false, true} {
		at := oauthtest.Demo(t, strict)
		said := p.deal(t, at, toolCall{"greet", arguments(map[string]string{"name": "Ann"})}, toolCall{"greet", arguments(map[string]string{"name": "Bob"})})
		for _, want := range []string{"Hello, Ann!", "Hello, Bob!"} {
			if !strings.Contains(said, want) {
				t.Errorf("strict %t: no %q in %s", strict, want, said)
			}
		}
		if n := p.flows.Load(); n != int64(i+1) {
			t.Errorf("strict %t: %d authorizations so far", strict, n)
		}
	}
}

// guarded is an MCP server with the tool pay. worth says with which status a request
// is refused by its token, 0 for none, and the challenge.
func guarded(t *testing.T, worth func(token string, call bool) (int, string), more func(mux *http.ServeMux, base string)) (base string, payments func() []string) {
	t.Helper()
	var mu sync.Mutex
	var paid []string
	s := server.NewMCPServer("guarded", "1")
	s.AddTool(mcp.NewTool("pay", mcp.WithString("to")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		mu.Lock()
		defer mu.Unlock()
		paid = append(paid, r.GetString("to", ""))
		return mcp.NewToolResultText("paid " + r.GetString("to", "")), nil
	})
	handler := server.NewStreamableHTTPServer(s)
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if status, challenge := worth(token, r.Header.Get("Mcp-Session-Id") != "" && r.Method == http.MethodPost); status != 0 {
			if challenge != "" {
				w.Header().Set("WWW-Authenticate", challenge)
			}
			w.WriteHeader(status)
			return
		}
		handler.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	if more != nil {
		more(mux, srv.URL)
	}
	return srv.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(paid)
	}
}

// TestOIDCProvider is the product with a certified authorization server: dynamic
// registration, PKCE, resource indicators, iss, tokens of 30 s that the resource
// forgets before, rotation, step-up.
func TestOIDCProvider(t *testing.T) {
	issuer := oauthtest.Provider(t)
	p := together(t)
	var mu sync.Mutex
	var tokens []string
	base := ""
	worth := func(token string, _ bool) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		var claims struct {
			Issuer   string `json:"iss"`
			Audience string `json:"aud"`
			Scope    string `json:"scope"`
		}
		if parts := strings.Split(token, "."); len(parts) == 3 {
			if b, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(b, &claims) != nil {
				return http.StatusUnauthorized, "Bearer"
			}
		}
		if claims.Issuer != issuer || claims.Audience != base+"/mcp" {
			return http.StatusUnauthorized, `Bearer scope="read"`
		}
		if !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
		switch {
		case token == tokens[0] && len(tokens) == 1: // taken for the first request, and then forgotten
			tokens = append(tokens, "")
			return 0, ""
		case token == tokens[0]:
			return http.StatusUnauthorized, `Bearer error="invalid_token"`
		case !slices.Contains(strings.Fields(claims.Scope), "write"):
			return http.StatusForbidden, `Bearer error="insufficient_scope", scope="write"`
		}
		return 0, ""
	}
	base, paid := guarded(t, worth, func(mux *http.ServeMux, base string) {
		mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"resource": base + "/mcp", "authorization_servers": []string{issuer}, "scopes_supported": []string{"read"}})
		})
	})
	said := p.deal(t, base+"/mcp", toolCall{"pay", arguments(map[string]string{"to": "Ann"})}, toolCall{"pay", arguments(map[string]string{"to": "Bob"})})
	if got := paid(); !slices.Equal(got, []string{"Ann", "Bob"}) {
		t.Errorf("paid %q; %s", got, said)
	}
	if n := p.flows.Load(); n != 2 {
		t.Errorf("%d authorizations, want the first and the step up", n)
	}
	if len(tokens) != 4 { // the first, its end, that of the refresh, that of the step up
		t.Errorf("%d tokens", len(tokens)-1)
	}
}

// TestFosite is the product with a server as they were in 2025-03-26: no metadata at
// all, and an authorization server at the root of its own origin, made of Ory Fosite.
// It runs with -all, for Fosite takes long to build.
func TestFosite(t *testing.T) {
	if !*everything {
		return
	}
	behind, err := url.Parse(oauthtest.Fosite(t))
	if err != nil {
		t.Fatal(err)
	}
	p := together(t)
	var mu sync.Mutex
	seen := map[string]int{}
	worth := func(token string, _ bool) (int, string) {
		if token == "" {
			return http.StatusUnauthorized, ""
		}
		resp, err := http.Get(behind.String() + "/introspect?token=" + url.QueryEscape(token)) //nolint:noctx // a test
		if err != nil {
			t.Error(err)
			return http.StatusUnauthorized, ""
		}
		_ = resp.Body.Close()
		mu.Lock()
		defer mu.Unlock()
		seen[token]++
		// The first token is good for one request: then it has to be refreshed.
		if resp.StatusCode != http.StatusOK || len(seen) == 1 && seen[token] > 1 {
			return http.StatusUnauthorized, `Bearer error="invalid_token"`
		}
		return 0, ""
	}
	base, paid := guarded(t, worth, func(mux *http.ServeMux, _ string) {
		proxy := httputil.NewSingleHostReverseProxy(behind)
		for _, path := range []string{"/authorize", "/token", "/register"} {
			mux.Handle(path, proxy)
		}
	})
	said := p.deal(t, base+"/mcp", toolCall{"pay", arguments(map[string]string{"to": "Ann"})}, toolCall{"pay", arguments(map[string]string{"to": "Bob"})})
	if got := paid(); !slices.Equal(got, []string{"Ann", "Bob"}) {
		t.Errorf("paid %q; %s", got, said)
	}
	if n := p.flows.Load(); n != 1 || len(seen) != 2 {
		t.Errorf("%d authorizations, %d tokens; want one, and one refresh", n, len(seen))
	}
}
