package app_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

type oddHandler = func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc)

const (
	atMCP      = "/mcp"
	atResource = "/.well-known/oauth-protected-resource/mcp"
	atMetadata = "/.well-known/oauth-authorization-server"
)

func fixed(status int, kind, body string) oddHandler {
	return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// edited is the usual answer, changed.
func edited(change func(map[string]any)) oddHandler {
	return func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		usual2 := httptest.NewRecorder()
		usual(usual2, r)
		var m map[string]any
		if usual2.Code >= 300 || json.Unmarshal(usual2.Body.Bytes(), &m) != nil {
			http.Error(w, "what is usual failed", http.StatusInternalServerError)
			return
		}
		change(m)
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		fixed(usual2.Code, "application/json", string(b))(w, r, nil)
	}
}

func with(name string, value any) oddHandler {
	return edited(func(m map[string]any) {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	})
}

// flood sends without end, or until the client has enough.
func flood(kind, begin string) oddHandler {
	return func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, begin)
		chunk := bytes.Repeat([]byte("x"), 256<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

func zipped(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	defer z.Close()
	for range 32 {
		if _, err := z.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// isCall reports whether a request calls a tool; its body can be read again.
func isCall(r *http.Request) bool {
	b, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return err == nil && bytes.Contains(b, []byte(`"tools/call"`))
}

// challenged refuses calls without a token by the given headers.
func challenged(p *protected, values ...string) oddHandler {
	return func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		if isCall(r) && r.Header.Get("Authorization") == "" {
			for _, v := range values {
				w.Header().Add("WWW-Authenticate", strings.ReplaceAll(v, "URL", p.URL))
			}
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		usual(w, r)
	}
}

// answering is an authorization endpoint that sends the browser back with
// parameters that were changed.
func answering(change func(q url.Values)) oddHandler {
	return func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		rec := httptest.NewRecorder()
		usual(rec, r)
		to, err := url.Parse(rec.Header().Get("Location"))
		if err != nil {
			panic(err)
		}
		q := to.Query()
		change(q)
		to.RawQuery = q.Encode()
		http.Redirect(w, r, to.String(), http.StatusFound)
	}
}

// What becomes of a run over an odd server.
const (
	paid   = "paid"   // the call was made, once
	failed = "failed" // the run ended without it, and says why
	denied = "denied" // the run ended because the user, or the server for him, said no
	waits  = "waits"  // the run still waits: what came was no answer
)

// TestOddServers is the product against servers that are odd or hostile, each with
// an agent of its own: what is legal works, what is not ends in bounded time, with
// a reason, and no code or token goes where it must not.
func TestOddServers(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	base, log, stop := startPaying(t, data, newProtected(t, false))
	var leaked atomic.Int32 // requests with a token at somebody else's
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "" || bytes.Contains(body, []byte("canary")) || strings.Contains(r.URL.RawQuery, "canary") {
			leaked.Add(1)
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(thief.Close)
	hooks := func(at string, h oddHandler) func(*protected) map[string]oddHandler {
		return func(*protected) map[string]oddHandler { return map[string]oddHandler{at: h} }
	}
	challenge := func(values ...string) func(*protected) map[string]oddHandler {
		return func(p *protected) map[string]oddHandler {
			return map[string]oddHandler{atMCP: challenged(p, values...)}
		}
	}
	const named = `resource_metadata="URL` + atResource + `"`
	for name, c := range map[string]struct {
		all    bool // listing the tools needs a token too
		odd    func(*protected) map[string]oddHandler
		want   string
		asked  int    // authorizations that the user is asked for
		tokens int    // token requests at most; -1 is not looked at
		says   string // in the events, of a failure
	}{
		// Challenges, RFC 9110 section 11.6.1.
		"challenge: none":               {odd: challenge(), want: paid, asked: 1, tokens: 1},
		"challenge: bare":               {odd: challenge("Bearer"), want: paid, asked: 1, tokens: 1},
		"challenge: token68 first":      {odd: challenge(`Negotiate YIIZ+/==, NTLM, Bearer ` + named), want: paid, asked: 1, tokens: 1},
		"challenge: quoted commas":      {odd: challenge(`Digest realm="a, Bearer scope=\"x\"", nonce=n , BEARER realm="q\"\\", ` + named), want: paid, asked: 1, tokens: 1},
		"challenge: several headers":    {odd: challenge(`Basic realm="x"`, `bearer error = "invalid_token" ,`+named), want: paid, asked: 1, tokens: 1},
		"challenge: a path":             {odd: challenge(`Bearer resource_metadata="` + atResource + `"`), want: paid, asked: 1, tokens: 1},
		"challenge: metadata elsewhere": {odd: challenge(`Bearer resource_metadata="` + thief.URL + `/x"`), want: paid, asked: 1, tokens: 1},
		"challenge: no URL":             {odd: challenge(`Bearer resource_metadata="javascript:alert(1)"`), want: paid, asked: 1, tokens: 1},

		// Metadata.
		"metadata: of another resource": {odd: hooks(atResource, with("resource", thief.URL)), want: failed, says: "another resource"},
		"metadata: of another issuer":   {odd: hooks(atMetadata, with("issuer", thief.URL)), want: failed, says: "another issuer"},
		"metadata: no PKCE":             {odd: hooks(atMetadata, with("code_challenge_methods_supported", nil)), want: failed, says: "PKCE"},
		"metadata: plain PKCE":          {odd: hooks(atMetadata, with("code_challenge_methods_supported", []string{"plain"})), want: failed, says: "PKCE"},
		"metadata: script":              {odd: hooks(atMetadata, with("authorization_endpoint", "javascript:alert(1)")), want: failed, says: "authorization_endpoint"},
		"metadata: a page":              {odd: hooks(atResource, fixed(200, "text/html", "<html>")), want: paid, asked: 1, tokens: 1}, // an old server
		"metadata: broken":              {odd: hooks(atResource, fixed(500, "text/html", "<html>")), want: failed, says: "at the moment"},
		"metadata: without end":         {odd: hooks(atMetadata, flood("application/json", `{"issuer":"`)), want: failed, says: "more than"},
		"metadata: a bomb":              {odd: hooks(atMetadata, zipped), want: failed, says: "more than"},
		"metadata: deep":                {odd: hooks(atMetadata, fixed(200, "application/json", `{"x":`+strings.Repeat("[", 200_000))), want: failed, says: "no metadata"},
		"metadata: for ever elsewhere": {odd: hooks(atMetadata, func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}), want: failed, says: "too often"},

		// Registration.
		"registration: 200": {odd: hooks("/register", func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			fixed(200, "application/json", `{"client_id":"x"}`)(w, nil, nil)
		}), want: paid, asked: 1, tokens: 1},
		"registration: strict":              {odd: hooks("/register", strictRegistration), want: paid, asked: 1, tokens: 1},
		"registration: another redirect":    {odd: hooks("/register", with("redirect_uris", []string{thief.URL})), want: failed, says: "another redirect URI"},
		"registration: other grants":        {odd: hooks("/register", with("grant_types", []string{"implicit"})), want: failed, says: "something else"},
		"registration: its own way":         {odd: hooks("/register", with("token_endpoint_auth_method", "private_key_jwt")), want: failed, says: "was not asked for"},
		"registration: refused":             {odd: hooks("/register", fixed(403, "application/json", `{"error":"access_denied"}`)), want: failed, says: "access_denied"},
		"registration: secret that ends":    {odd: hooks("/register", edited(func(m map[string]any) { m["client_secret_expires_at"] = time.Now().Add(time.Hour).Unix() })), want: paid, asked: 1, tokens: 1},
		"registration: answers with a page": {odd: hooks("/register", fixed(201, "text/html", "<html>")), want: failed, says: "no JSON"},

		// The answer in the browser.
		"answer: forged state":    {odd: hooks("/authorize", answering(func(q url.Values) { q.Set("state", "eyJzZXNzaW9uX2lkIjoicyIsInJhbmRvbSI6InIifQ") })), want: waits, asked: 1},
		"answer: truncated state": {odd: hooks("/authorize", answering(func(q url.Values) { q.Set("state", q.Get("state")[:40]) })), want: waits, asked: 1},
		"answer: no code":         {odd: hooks("/authorize", answering(func(q url.Values) { q.Del("code") })), want: waits, asked: 1},
		"answer: two codes":       {odd: hooks("/authorize", answering(func(q url.Values) { q.Add("code", "canary-x") })), want: waits, asked: 1},
		"answer: wrong iss":       {odd: hooks("/authorize", answering(func(q url.Values) { q.Set("iss", thief.URL) })), want: failed, asked: 1, says: "cannot be trusted"},
		"answer: no iss":          {odd: hooks("/authorize", answering(func(q url.Values) { q.Del("iss") })), want: failed, asked: 1, says: "cannot be trusted"},
		"answer: iss with slash":  {odd: hooks("/authorize", answering(func(q url.Values) { q.Set("iss", q.Get("iss")+"/") })), want: failed, asked: 1, says: "cannot be trusted"},
		"answer: denied":          {odd: hooks("/authorize", answering(func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") })), want: denied, asked: 1},
		"answer: an error":        {odd: hooks("/authorize", answering(func(q url.Values) { q.Del("code"); q.Set("error", "invalid_scope") })), want: failed, asked: 1, says: "invalid_scope"},
		"answer: its own error": {odd: hooks("/authorize", answering(func(q url.Values) {
			q.Del("code")
			q.Set("error", "canary-code-error")
			q.Set("error_description", "canary-code-text")
		})), want: failed, asked: 1, says: "answered with an error"},

		// Tokens.
		"tokens: a form": {odd: hooks("/token", func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			fixed(200, "application/x-www-form-urlencoded", "access_token="+canaryAccess+"form&token_type=bearer")(w, r, nil)
		}), want: paid, asked: 1, tokens: -1},
		"tokens: life as text":   {odd: hooks("/token", with("expires_in", "3600")), want: paid, asked: 1, tokens: 1},
		"tokens: life unknown":   {odd: hooks("/token", with("expires_in", nil)), want: paid, asked: 1, tokens: 1},
		"tokens: negative life":  {odd: hooks("/token", with("expires_in", -1)), want: paid, asked: 1, tokens: 1},
		"tokens: no refresh":     {odd: hooks("/token", with("refresh_token", nil)), want: paid, asked: 1, tokens: 1},
		"tokens: type MAC":       {odd: hooks("/token", with("token_type", "mac")), want: failed, asked: 1, tokens: 1, says: "not known"},
		"tokens: error with 200": {odd: hooks("/token", fixed(200, "application/json", `{"error":"invalid_grant"}`)), want: failed, asked: 1, says: "invalid_grant"},
		"tokens: page with 400":  {odd: hooks("/token", fixed(400, "text/html", "<html>canary-code-x")), want: failed, asked: 1, says: "without a known code"},
		"tokens: away":           {odd: hooks("/token", fixed(503, "text/plain", "")), want: failed, asked: 1, says: "at the moment"},
		"tokens: without end":    {odd: hooks("/token", flood("application/json", `{"access_token":"`)), want: failed, asked: 1},
		"tokens: redirect": {odd: hooks("/token", func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		}), want: failed, asked: 1, says: "redirects"},

		// The MCP server itself.
		"server: 401 for ever": {odd: hooks(atMCP, func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
			if isCall(r) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			usual(w, r)
		}), want: failed, asked: 2, tokens: -1, says: "although it was authorized"},
		"server: 403 for ever": {odd: hooks(atMCP, func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
			if isCall(r) {
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="more"`)
				w.WriteHeader(http.StatusForbidden)
				return
			}
			usual(w, r)
		}), want: failed, asked: 3, tokens: -1, says: "although it was authorized"},
		"server: 401 for ever, all":   {all: true, odd: hooks(atMCP, fixed(401, "text/html", "<html>")), want: failed, asked: 3, tokens: -1, says: "although it was authorized"},
		"server: a step up":           {odd: func(*protected) map[string]oddHandler { return map[string]oddHandler{atMCP: stepUp()} }, want: paid, asked: 2, tokens: 2},
		"server: forgets the token":   {odd: func(*protected) map[string]oddHandler { return map[string]oddHandler{atMCP: once(401)} }, want: paid, asked: 1, tokens: 2},
		"server: forgets the session": {odd: func(*protected) map[string]oddHandler { return map[string]oddHandler{atMCP: once(404)} }, want: paid, asked: 1, tokens: 1},
		"server: redirects a token": {odd: hooks(atMCP, func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
			if isCall(r) && r.Header.Get("Authorization") != "" {
				http.Redirect(w, r, thief.URL+"/mcp", http.StatusTemporaryRedirect)
				return
			}
			usual(w, r)
		}), want: failed, asked: 1, tokens: 1, says: "redirects"},
		"server: a line without end": {odd: hooks(atMCP, func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
			if isCall(r) && r.Header.Get("Authorization") != "" {
				flood("text/event-stream", "data: ")(w, r, nil)
				return
			}
			usual(w, r)
		}), want: failed, asked: 1, tokens: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProtected(t, c.all)
			p.odd = c.odd(p)
			agent := "odd_" + holdfast.NewID()
			call(t, http.MethodPut, base+"/v1/agents/"+agent, payer(p), http.StatusCreated, nil, "Content-Type", "application/yaml")
			var s document
			call(t, http.MethodPost, base+"/v1/sessions", `{"tools_approved":true,"agent":"`+agent+`"}`, http.StatusCreated, &s)
			call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"bob"}]}`, http.StatusOK, nil)
			got, asked, said := attend(t, base, s.ID)
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.calls) > 0 && got != waits && got != denied {
				got = paid
			}
			if got != c.want || asked != c.asked || len(p.calls) > 1 || !strings.Contains(said, c.says) {
				t.Errorf("the run %s, want %s; %d authorizations, want %d; effects %v; want the words %q\n%s", got, c.want, asked, c.asked, p.calls, c.says, said)
			}
			if c.tokens >= 0 && p.tokens > c.tokens {
				t.Errorf("%d token requests", p.tokens)
			}
			if strings.Contains(said, "canary") {
				t.Errorf("a secret is in the events:\n%s", said)
			}
		})
	}
	t.Cleanup(func() { // when all of them are done
		stop()
		if n := leaked.Load(); n > 0 {
			t.Errorf("%d requests with a code or a token went to another server", n)
		}
		for _, canary := range []string{canaryCode, canaryAccess, canaryRefresh} {
			if strings.Contains(log.String(), canary) {
				t.Errorf("%s is in the log", canary)
			}
		}
	})
}

// strictRegistration refuses what a strict server refuses (RFC 7591, OpenID Connect
// Registration).
func strictRegistration(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	known := map[string]bool{
		"client_name": true, "client_uri": true, "redirect_uris": true, "grant_types": true, "response_types": true,
		"token_endpoint_auth_method": true, "application_type": true,
	}
	var in map[string]any
	problem := ""
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		problem = err.Error()
	}
	for name, v := range in {
		if list, isList := v.([]any); !known[name] || v == "" || v == nil || isList && len(list) == 0 {
			problem = name
		}
	}
	// http on this machine is for native applications alone.
	if in["application_type"] != "native" || r.Header.Get("Content-Type") != "application/json" {
		problem = "application_type"
	}
	if problem != "" {
		fixed(400, "application/json", `{"error":"invalid_client_metadata"}`)(w, r, nil)
		return
	}
	in["client_id"], in["client_id_issued_at"], in["registration_access_token"] = "strict", time.Now().Unix(), "canary-access-registration"
	b, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	fixed(201, "application/json", string(b))(w, r, nil)
}

// stepUp refuses the first call with a token for want of scope.
func stepUp() oddHandler {
	var refused atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		if isCall(r) && r.Header.Get("Authorization") != "" && refused.CompareAndSwap(false, true) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x", Bearer scope="pay", error="insufficient_scope"`)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		usual(w, r)
	}
}

// once refuses the first call with a token.
func once(status int) oddHandler {
	var refused atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, usual http.HandlerFunc) {
		if isCall(r) && r.Header.Get("Authorization") != "" && refused.CompareAndSwap(false, true) {
			w.WriteHeader(status)
			return
		}
		if r.URL.Path == "/token" {
			return
		}
		usual(w, r)
	}
}

// attend is the user of a session: opens what is to be authorized until the run has
// ended, or waits although he did.
func attend(t *testing.T, base, session string) (became string, asked int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/sessions/"+session+"/events?position=false", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	var all strings.Builder
	var need required
	became = failed
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		all.WriteString(text + "\n")
		var e struct {
			required
			Type   string `json:"type"`
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		switch e.Type {
		case "authorization_required":
			need = required{}
			switch e.Confirm {
			case "pending":
				need = e.required
				asked++
			case "denied":
				became = denied
			}
		case "session_parked":
			if need.URL == "" {
				continue
			}
			page, status, _ := browse(t, browser(t), need.URL)
			if strings.Contains(page, "no longer valid") {
				return waits, asked, fmt.Sprintf("%sthe page: HTTP %d", all.String(), status)
			}
			need = required{}
		case "run_finished":
			return became, asked, all.String()
		}
	}
	t.Fatalf("the run did not end: %v\n%s", lines.Err(), all.String())
	return "", 0, ""
}
