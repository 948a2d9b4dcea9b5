package oauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
)

func jsonOf(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func TestFromDemandToCall(t *testing.T) {
	w := newWorld(t)
	w.challenge = func() string { return `Bearer scope="read"` }
	rt := w.transport()
	_, err := w.call(rt)
	if holdfast.CodeOf(err) != holdfast.CodeUnauthorized {
		t.Errorf("code %s", holdfast.CodeOf(err))
	}
	d := demanded(t, err)
	if d.ServerURL != w.conn.ServerURL || d.Status != 401 || strings.Join(d.Scopes, " ") != "read" {
		t.Errorf("demand %+v", d)
	}
	// The demand is stored with the parked call, and read by another process.
	b, _ := json.Marshal(d)
	var again oauth.Demand
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if err := authorize(t.Context(), w.client, w.conn, again); err != nil {
		t.Fatal(err)
	}
	if body, err := w.call(rt); err != nil || body != "served "+toolCall {
		t.Errorf("%q, %v", body, err)
	}
	if g, _ := w.grant(); len(g.Prompts) != 0 {
		t.Errorf("prompts of what works are kept: %v", g.Prompts)
	}
	info, ok := rt.(oauth.ServerInfoProvider)
	if !ok {
		t.Fatal("the transport does not say whom it speaks to")
	}
	if u, kind := info.GetServerInfo(); u != w.conn.ServerURL || kind != "remote" {
		t.Errorf("%s %s", u, kind)
	}
}

// M14: who gets to see the token.
func TestTokenGoesToTheResourceOnly(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.authorized()
	seen := make(chan string, 1)
	look := func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Get("Authorization") }
	for _, path := range []string{"/mcp/sub", "/mcpx", "/", "/other", "/mcp/../other", "/mcp/%2e%2e/other", "/mcp/x/..%2fother"} {
		w.odd["mcp:"+path] = look
	}
	w.odd["mcp:/mcp/x/../other"], other.odd["mcp:/mcp"] = look, look
	for at, want := range map[string]bool{
		w.resource.URL + "/mcp/sub": true, w.resource.URL + "/mcpx": false, w.resource.URL + "/": false, w.resource.URL + "/other": false,
		w.resource.URL + "/mcp/../other": false, w.resource.URL + "/mcp/%2e%2e/other": false, other.resource.URL + "/mcp": false,
	} {
		if _, _, err := call(t.Context(), w.transport(), at, "{}"); err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		if got := <-seen; (got != "") != want {
			t.Errorf("%s saw %q", at, got)
		}
	}
	w.conn.WholeOrigin = true
	if _, _, err := call(t.Context(), w.transport(), w.resource.URL+"/other", "{}"); err != nil || <-seen == "" {
		t.Errorf("the whole origin: %v", err)
	}
	if _, _, err := call(t.Context(), w.transport(), other.resource.URL+"/mcp", "{}"); err != nil || <-seen != "" {
		t.Errorf("another origin: %v", err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.resource.URL+"/mcp", strings.NewReader("{}"))
	req.Header.Set("Authorization", "Basic own")
	w.odd["mcp:/mcp"] = look
	resp, err := w.transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := <-seen; got != "Basic own" {
		t.Errorf("a header of the request's own became %q", got)
	}
	w.odd["mcp:/mcp"] = redirect(other.resource.URL + "/mcp")
	_, err = w.call(w.transport())
	wantError(t, err, "redirects")
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	before, _ := w.grant()
	revoke := func() { w.mu.Lock(); clear(w.access); w.mu.Unlock() }
	rt := w.transport()
	revoke()
	if body, err := w.call(rt); err != nil || body != "served "+toolCall {
		t.Fatalf("M15 after a 401: %q, %v", body, err)
	}
	after, _ := w.grant()
	if after.AccessToken == before.AccessToken || after.RefreshToken == before.RefreshToken {
		t.Error("the tokens were not replaced")
	}
	if form := w.forms[len(w.forms)-1]; form.Get("resource") != w.resource.URL+"/mcp" || form.Get("grant_type") != "refresh_token" {
		t.Errorf("M9: the form %v", form)
	}
	w.change(func(g *oauth.Grant) { g.Expires = time.Now().Add(time.Second) })
	asked := w.count("POST /mcp")
	if _, err := w.call(rt); err != nil || w.count("POST /mcp") != asked+1 || w.count("POST /token") != 3 {
		t.Errorf("a token that ends soon: %v, %q", err, w.asked)
	}

	// A server that is away is no reason to ask the human.
	revoke()
	w.odd["/token"] = text(503, "text/plain", "")
	_, err := w.call(rt)
	wantError(t, err, "cannot be used")
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("code %s", holdfast.CodeOf(err))
	}
	// One that took the grant back is.
	w.odd["/token"] = nil
	w.mu.Lock()
	clear(w.refresh)
	w.mu.Unlock()
	tokens := w.count("POST /token")
	for range 2 {
		_, err := w.call(rt)
		if d := demanded(t, err); d.Attempt != 1 || d.Refusals != 1 || strings.Join(d.Held, " ") != "read" {
			t.Errorf("demand %+v", d)
		}
	}
	if n := w.count("POST /token") - tokens; n != 1 {
		t.Errorf("%d requests with a refresh token that has ended", n)
	}
	if l := leaks(w.logs.String()); l != nil {
		t.Errorf("secrets in the log: %v", l)
	}
}

// Every way in which a server can refuse for ever comes to an end.
func TestLoopsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		status, prompts int
	}{
		"401": {401, 2}, // the first, and one new
		"403": {403, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.refuse = func(r *http.Request) int { return c.status }
			rt := w.transport()
			prompts := 0
			var err error
			for range 10 {
				_, err = w.call(rt)
				var required *oauth.OAuthAuthorizationRequiredError
				if !errors.As(err, &required) {
					break
				}
				prompts++
				if err := authorize(t.Context(), w.client, w.conn, required.Demand); err != nil {
					t.Fatal(err)
				}
			}
			wantError(t, err, "although it was authorized")
			if holdfast.CodeOf(err) != holdfast.CodeForbidden || prompts != c.prompts {
				t.Errorf("%d prompts, want %d; %v", prompts, c.prompts, err)
			}
			if n := w.count("POST /mcp"); n > 8 {
				t.Errorf("%d requests", n)
			}
			// What is refused is one operation. Others are not.
			w.refuse = func(*http.Request) int { return 0 }
			if _, _, err := call(t.Context(), rt, w.conn.ServerURL, `{"method":"tools/list"}`); err != nil {
				t.Error(err)
			}
			if c.status == 403 {
				if g, _ := w.grant(); strings.Join(g.Scopes, " ") != "read write admin" {
					t.Errorf("M15: the scopes are no union: %q", g.Scopes)
				}
			}
		})
	}
}

// slowStore makes the moments longer in which workers meet.
type slowStore struct {
	*oauth.MemoryStore
	fail atomic.Int32 // so many Puts fail and do not happen
	lost atomic.Int32 // so many Puts happen and fail
	// leased runs before a lease is given.
	leased func()
}

func (s *slowStore) Lease(ctx context.Context, k oauth.GrantKey, ttl time.Duration) (func(), error) {
	if s.leased != nil {
		s.leased()
	}
	return s.MemoryStore.Lease(ctx, k, ttl)
}

var errStore = errors.New("the database is away")

func (s *slowStore) Put(ctx context.Context, k oauth.GrantKey, g oauth.Grant, v int64) (int64, error) {
	if s.fail.Add(-1) >= 0 {
		return 0, errStore
	}
	n, err := s.MemoryStore.Put(ctx, k, g, v)
	if s.lost.Add(-1) >= 0 {
		return 0, errStore
	}
	return n, err
}

func TestFortyWorkersRefreshOnce(t *testing.T) {
	w := newWorld(t)
	store := &slowStore{MemoryStore: w.store}
	w.conn.Grants = store
	w.authorized()
	w.mu.Lock()
	clear(w.access)
	w.mu.Unlock()
	store.fail.Store(2)
	store.lost.Store(1)
	var done sync.WaitGroup
	for range 40 {
		rt := w.transport() // each worker has its own
		done.Go(func() {
			if body, err := w.call(rt); err != nil || body != "served "+toolCall {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	done.Wait()
	if n := w.count("POST /token"); n != 2 {
		t.Errorf("%d token requests, want that of the code and one refresh", n)
	}
}

// Another worker was done right before this one got the lease.
func TestRefreshLooksAgain(t *testing.T) {
	w := newWorld(t)
	store := &slowStore{MemoryStore: w.store}
	w.conn.Grants = store
	w.authorized()
	w.mu.Lock()
	clear(w.access)
	w.access["canary-fresh"] = true
	w.mu.Unlock()
	store.leased = sync.OnceFunc(func() { w.change(func(g *oauth.Grant) { g.AccessToken = "canary-fresh" }) })
	if _, err := w.call(w.transport()); err != nil || w.count("POST /token") != 1 {
		t.Errorf("%v, %q", err, w.asked)
	}
}

// Whoever asked gives up while the server already rotated: the new token is kept.
func TestRefreshOutlivesItsRequest(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	before, _ := w.grant()
	w.mu.Lock()
	clear(w.access)
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	w.odd["/token"] = func(rw http.ResponseWriter, r *http.Request) {
		cancel()
		_ = r.ParseForm()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.serveToken(rw, r.PostForm)
	}
	if _, _, err := call(ctx, w.transport(), w.conn.ServerURL, toolCall); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.odd["/token"] = nil
	if after, _ := w.grant(); after.RefreshToken == before.RefreshToken {
		t.Error("the new refresh token is lost")
	}
	if _, err := w.call(w.transport()); err != nil {
		t.Error(err)
	}
}

func TestServerForgotTheClient(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	w.mu.Lock()
	clear(w.access)
	w.mu.Unlock()
	w.odd["/token"] = text(401, "application/json", `{"error":"invalid_client"}`)
	_, err := w.call(w.transport())
	d := demanded(t, err)
	w.odd["/token"] = nil
	f, _, err := w.start(d)
	if err != nil || f.Registration.ClientID != "client-2" {
		t.Errorf("%+v, %v", f.Registration, err)
	}
	w.odd["/token"] = text(401, "application/json", `{"error":"invalid_client"}`)
	if _, err := w.client.Finish(t.Context(), f, oauth.Response{State: "a state", Code: "c", Issuer: &f.Issuer}); !oauth.ClientUnknown(err) {
		t.Errorf("error %v", err)
	}
}

func TestUsersAndConnectionsAreApart(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	for name, change := range map[string]func(*oauth.Connection){
		"user":       func(c *oauth.Connection) { c.User = "v" },
		"tenant":     func(c *oauth.Connection) { c.Tenant = "other" },
		"connection": func(c *oauth.Connection) { c.Name = "other" },
		"server":     func(c *oauth.Connection) { c.ServerURL += "/sub" },
	} {
		conn := w.conn
		change(&conn)
		rt, err := w.client.RoundTripper(conn)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = call(t.Context(), rt, conn.ServerURL, toolCall)
		var required *oauth.OAuthAuthorizationRequiredError
		if !errors.As(err, &required) {
			t.Errorf("another %s uses the grant: %v", name, err)
		}
	}
}

// A machine's token is got by one of all workers, kept, and not asked for again
// when it is refused.
func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	w.conn.Machine = oauth.ClientCredentials{Client: oauth.Registration{Issuer: w.issuer.URL, ClientID: "m", ClientSecret: "canary-m"}}
	var done sync.WaitGroup
	for range 10 {
		rt := w.transport()
		done.Go(func() {
			if _, err := w.call(rt); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if n := w.count("POST /token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
	w.refuse = func(*http.Request) int { return 403 }
	_, err := w.call(w.transport())
	wantError(t, err, "refuses the token")
	if holdfast.CodeOf(err) != holdfast.CodeForbidden {
		t.Errorf("code %s: a human cannot help here", holdfast.CodeOf(err))
	}
	w.refuse = func(*http.Request) int { return 0 }

	w.mu.Lock()
	clear(w.access)
	clear(w.refresh)
	w.mu.Unlock()
	w.odd["/token"] = text(400, "application/json", `{"error":"unauthorized_client"}`)
	before := w.count("POST /token")
	_, err = w.call(w.transport())
	wantError(t, err, "unauthorized_client")
	if n := w.count("POST /token") - before; n > 2 {
		t.Errorf("%d requests, want one refresh and one for a new token", n)
	}
	w.conn.Machine = oauth.ClientCredentials{Client: oauth.Registration{Issuer: "https://other.example", ClientID: "m", ClientSecret: "canary-m"}}
	_, err = w.call(w.transport())
	wantError(t, err, "belongs to another")
}

func TestBodiesAreSentAgain(t *testing.T) {
	w := newWorld(t)
	w.authorized()
	w.mu.Lock()
	clear(w.access)
	w.mu.Unlock()
	big := strings.Repeat("x", 1<<20)
	if _, body, err := call(t.Context(), w.transport(), w.conn.ServerURL, big); err != nil || body != "served "+big {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	_, _, err := call(t.Context(), w.transport(), w.conn.ServerURL, strings.Repeat("x", 17<<20))
	wantError(t, err, "more than")
	broken := io.NopCloser(io.MultiReader(strings.NewReader("{"), errReader{}))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.conn.ServerURL, broken)
	if _, err := w.transport().RoundTrip(req); !errors.Is(err, errStore) {
		t.Errorf("error %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errStore }
