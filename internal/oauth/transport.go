package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// maxPrompts is how often the human is asked for one operation until it works.
	maxPrompts = 3
	// maxRefusals is how many of them may be because of a token that the server
	// does not take, rather than one that may too little.
	maxRefusals = 1
	// expirySlack is how long before its end a token is refreshed.
	expirySlack = 10 * time.Second
	// maxReplay is the most bytes of a request that are kept to send it again.
	maxReplay = 16 << 20
	// drainBody is how much of a refused answer is read to keep its connection.
	drainBody = 4 << 10
	// drainTime is how long that may take.
	drainTime = 500 * time.Millisecond
)

// RoundTripper returns the transport for requests to the MCP server of a
// connection. It is safe for concurrent use. What it returns when a human has to
// decide is an *[OAuthAuthorizationRequiredError]; requests that carry an
// Authorization header of their own pass through unchanged.
func (c *Client) RoundTripper(conn Connection) (http.RoundTripper, error) {
	if conn.Grants == nil || conn.Registrations == nil {
		return nil, errors.New("oauth: a connection needs a store for grants and one for registrations")
	}
	key, err := conn.Key()
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(key.ServerURL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of the MCP server: %w", err)
	}
	if conn.Transport == nil {
		conn.Transport = c.opts.Transport
	}
	return &roundTripper{client: c, conn: conn, key: key, server: server}, nil
}

type roundTripper struct {
	client *Client
	conn   Connection
	key    GrantKey
	server *url.URL

	mu    sync.Mutex
	nonce string // the last of the server's for proofs (RFC 9449 section 9), guarded by mu
}

var _ ServerInfoProvider = (*roundTripper)(nil)

// GetServerInfo implements [ServerInfoProvider].
func (rt *roundTripper) GetServerInfo() (serverURL, serverType string) {
	return rt.key.ServerURL, ServerTypeRemote
}

// RoundTrip implements http.RoundTripper.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") != "" || origin(req.URL) != origin(rt.server) {
		return rt.conn.Transport.RoundTrip(req)
	}
	t := &trip{rt: rt, req: req}
	if err := t.keepBody(); err != nil {
		return nil, err
	}
	resp, err := t.run(req.Context())
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		discard(resp)
		return nil, holdfast.Errorf(holdfast.CodeForbidden, "the MCP server %s redirects (HTTP %d), which is refused; if that is the right place, use it as the URL",
			origin(rt.server), resp.StatusCode)
	}
	return resp, nil
}

// trip is one request with all its attempts.
type trip struct {
	rt      *roundTripper
	req     *http.Request
	body    func() (io.ReadCloser, error)
	grant   Grant
	version int64
	// What was tried already; each is tried once.
	reloaded, refreshed, obtained bool
}

// keepBody makes sure that the request can be sent again.
func (t *trip) keepBody() error {
	switch {
	case t.req.Body == nil || t.req.Body == http.NoBody:
	case t.req.GetBody != nil:
		t.body = t.req.GetBody
		_ = t.req.Body.Close() // nobody read it; each attempt gets its own
	default:
		b, err := io.ReadAll(io.LimitReader(t.req.Body, maxReplay+1))
		_ = t.req.Body.Close() // read to the end or given up
		if err != nil {
			return fmt.Errorf("reading the request: %w", err)
		}
		if len(b) > maxReplay {
			return fmt.Errorf("the request has more than %d bytes", maxReplay)
		}
		t.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	return nil
}

func (t *trip) run(ctx context.Context) (*http.Response, error) {
	rt := t.rt
	var err error
	if t.grant, t.version, err = load(ctx, rt.conn.Grants, rt.key); err != nil {
		return nil, err
	}
	if g := &t.grant; g.RefreshToken != "" && !g.Expires.IsZero() && rt.client.opts.Now().Add(expirySlack).After(g.Expires) {
		if _, err := t.refresh(ctx); err != nil {
			return nil, err
		}
	}
	for {
		resp, err := t.send()
		if err != nil {
			return nil, err
		}
		var again bool
		switch {
		case resp.StatusCode == http.StatusUnauthorized:
			again, err = t.unauthorized(ctx, resp)
		case resp.StatusCode == http.StatusForbidden && insufficientScope(resp.Header):
			again, err = t.forbidden(ctx, resp)
		default:
			t.accepted(ctx, resp)
			return resp, nil
		}
		discard(resp)
		if err != nil {
			return nil, err
		}
		if !again {
			return nil, errors.New("oauth: a refused request has no next step")
		}
	}
}

func discard(resp *http.Response) {
	// A server that promises a body and sends none must not hold the request.
	stop := time.AfterFunc(drainTime, func() { _ = resp.Body.Close() })
	defer stop.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, drainBody) // for the connection's sake; what it says does not matter
	_ = resp.Body.Close()
}

// covered reports whether the token may go to the URL of the request.
func (t *trip) covered() bool {
	if t.rt.conn.WholeOrigin || t.grant.Resource == "" {
		return true // the origin was checked
	}
	if own, err := CanonicalURL(t.req.URL.String()); err == nil && own == t.rt.key.ServerURL {
		return true
	}
	resource, err := url.Parse(t.grant.Resource)
	return err == nil && covers(resource, t.req.URL)
}

// send makes one attempt; one more if the server wants a nonce in the proof.
func (t *trip) send() (*http.Response, error) {
	for withNonce := false; ; withNonce = true {
		req := t.req.Clone(t.req.Context())
		if t.body != nil {
			b, err := t.body()
			if err != nil {
				return nil, fmt.Errorf("reading the request again: %w", err)
			}
			req.Body = b
		}
		if t.grant.AccessToken != "" && t.covered() {
			if err := t.authorize(req); err != nil {
				return nil, err
			}
		}
		resp, err := t.rt.conn.Transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		next := resp.Header.Get("DPoP-Nonce")
		if t.grant.ProofKey == "" || next == "" || len(next) > maxURL {
			return resp, nil
		}
		t.rt.mu.Lock()
		t.rt.nonce = next
		t.rt.mu.Unlock()
		if withNonce || resp.StatusCode != http.StatusUnauthorized || !wantsNonce(resp.Header) {
			return resp, nil
		}
		discard(resp)
	}
}

func wantsNonce(h http.Header) bool {
	return slices.ContainsFunc(ParseChallenges(h.Values("WWW-Authenticate")), func(c Challenge) bool {
		return c.Scheme == "dpop" && c.Params["error"] == errUseNonce
	})
}

func (t *trip) authorize(req *http.Request) error {
	req.Header.Set("Authorization", t.grant.TokenType+" "+t.grant.AccessToken.Reveal())
	if t.grant.TokenType != "DPoP" {
		return nil
	}
	t.rt.mu.Lock()
	nonce := t.rt.nonce
	t.rt.mu.Unlock()
	p, err := t.rt.client.proof(t.grant.ProofKey, req.Method, req.URL, t.grant.AccessToken, nonce)
	if err != nil {
		return err
	}
	req.Header.Set("DPoP", p)
	return nil
}

// refresh gets new tokens, or those that another worker got. False is that the
// grant has ended.
func (t *trip) refresh(ctx context.Context) (bool, error) {
	rt := t.rt
	t.refreshed = true
	g, v, err := rt.client.renew(ctx, rt.conn.Grants, rt.key, t.version, rt.client.refresh(&rt.conn))
	var dead *deadGrantError
	switch {
	case err == nil:
		changed := g.AccessToken != "" && g.AccessToken != t.grant.AccessToken
		t.grant, t.version = g, v
		return changed, nil
	case errors.As(err, &dead):
		rt.client.opts.Logger.InfoContext(ctx, "grant has ended", "tenant", rt.conn.Tenant, "session", rt.conn.Session,
			"connection", rt.conn.Name, "issuer", t.grant.Issuer, "err", dead.cause)
		t.grant, t.version = g, v
		return false, nil
	}
	return false, err
}

// newer takes a grant that somebody stored since this request began.
func (t *trip) newer(ctx context.Context) (bool, error) {
	if t.reloaded {
		return false, nil
	}
	t.reloaded = true
	g, v, err := load(ctx, t.rt.conn.Grants, t.rt.key)
	if err != nil || v == t.version || g.AccessToken == "" || g.AccessToken == t.grant.AccessToken {
		return false, err
	}
	t.grant, t.version = g, v
	return true, nil
}

// unauthorized decides what follows a 401: another token that is there already,
// one refresh, one token without a human, or the human.
func (t *trip) unauthorized(ctx context.Context, resp *http.Response) (again bool, err error) {
	had := t.grant.AccessToken != ""
	if had && !t.refreshed {
		if again, err := t.newer(ctx); again || err != nil {
			return again, err
		}
		if t.grant.RefreshToken != "" {
			if again, err := t.refresh(ctx); again || err != nil {
				return again, err
			}
		}
	}
	challenge, bound := tokenChallenge(resp.Header)
	d := Demand{
		ServerURL: t.rt.key.ServerURL, Status: http.StatusUnauthorized, ResourceMetadata: t.metadataURL(challenge),
		Scopes: parseScopes(challenge.Params["scope"]), DPoP: bound,
		Held: slices.Clone(t.grant.Scopes), Issuer: t.grant.Issuer,
	}
	if t.rt.conn.Machine != nil {
		return t.machine(ctx, d)
	}
	if err := t.count(&d, had); err != nil {
		return false, err
	}
	return false, required(d)
}

// metadataURL is where the challenge says that the resource's metadata are. RFC
// 9728 section 5.1 wants a URL; a path alone, which some servers send, is one of
// the server's own.
func (t *trip) metadataURL(c Challenge) string {
	named := c.Params["resource_metadata"]
	if strings.HasPrefix(named, "/") {
		if u, err := t.rt.server.Parse(named); err == nil && origin(u) == origin(t.rt.server) {
			return u.String()
		}
	}
	return named
}

// forbidden decides what follows a 403 for too small a scope: all scopes that
// the grant has and those that are missing, from a human or a machine.
func (t *trip) forbidden(ctx context.Context, resp *http.Response) (again bool, err error) {
	if again, err := t.newer(ctx); again || err != nil {
		return again, err
	}
	challenge, _ := tokenChallenge(resp.Header)
	d := Demand{
		ServerURL: t.rt.key.ServerURL, Status: http.StatusForbidden, ResourceMetadata: t.metadataURL(challenge),
		Scopes: parseScopes(challenge.Params["scope"]), DPoP: t.grant.ProofKey != "",
		Held: slices.Clone(t.grant.Scopes), Issuer: t.grant.Issuer,
	}
	if t.rt.conn.Machine != nil {
		return t.machine(ctx, d)
	}
	if err := t.count(&d, false); err != nil {
		return false, err
	}
	return false, required(d)
}

// count numbers a prompt. The error is that the human was asked often enough: it
// has no code that means authorization, so nobody asks again.
func (t *trip) count(d *Demand, refused bool) error {
	d.Operation = t.operation()
	p := t.grant.Prompts[d.Operation]
	if t.rt.client.opts.Now().Sub(p.Last) > promptMemory {
		p = Prompts{}
	}
	if p.Count >= maxPrompts || refused && p.Refusals >= maxRefusals {
		return holdfast.Errorf(holdfast.CodeForbidden, "%s refuses the request (HTTP %d) although it was authorized %d times for it",
			origin(t.rt.server), d.Status, p.Count)
	}
	d.Attempt, d.Refusals = p.Count+1, p.Refusals
	if refused {
		d.Refusals++
	}
	return nil
}

// required is the error that makes a run wait for its human.
func required(d Demand) error {
	return &OAuthAuthorizationRequiredError{
		Err:       holdfast.Errorf(holdfast.CodeUnauthorized, "%s asks for authorization (HTTP %d)", d.ServerURL, d.Status),
		ServerURL: d.ServerURL, ServerType: ServerTypeRemote, Demand: d,
	}
}

func insufficientScope(h http.Header) bool {
	return slices.ContainsFunc(ParseChallenges(h.Values("WWW-Authenticate")), func(c Challenge) bool {
		return (c.Scheme == "bearer" || c.Scheme == "dpop") && c.Params["error"] == "insufficient_scope"
	})
}

// accepted forgets what was counted for an operation that now works.
func (t *trip) accepted(ctx context.Context, resp *http.Response) {
	if len(t.grant.Prompts) == 0 || resp.StatusCode >= 400 {
		return
	}
	op := t.operation()
	if _, counted := t.grant.Prompts[op]; !counted {
		return
	}
	g := t.grant.clone()
	delete(g.Prompts, op)
	if _, err := t.rt.conn.Grants.Put(ctx, t.rt.key, g, t.version); err != nil && !errors.Is(err, ErrConflict) {
		t.rt.client.opts.Logger.WarnContext(ctx, "could not note that a grant works", "connection", t.rt.conn.Name, "err", err)
	}
}

// operation names what the request does: the MCP method and what it is about.
func (t *trip) operation() string {
	if t.req.Method != http.MethodPost || t.body == nil {
		return t.req.Method
	}
	b, err := t.body()
	if err != nil {
		return t.req.Method
	}
	defer func() { _ = b.Close() }()
	var m struct {
		Method string
		Params struct{ Name, URI string }
	}
	if err := json.NewDecoder(io.LimitReader(b, maxReplay)).Decode(&m); err != nil {
		return t.req.Method
	}
	op := m.Method
	for _, s := range []string{m.Params.Name, m.Params.URI} {
		if s != "" {
			op += " " + s
		}
	}
	if len(op) > 128 {
		op = op[:64] + s256(op)
	}
	return op
}
