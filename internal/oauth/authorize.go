package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Key is under which the grant of the connection is kept.
func (conn *Connection) Key() (GrantKey, error) {
	u, err := CanonicalURL(conn.ServerURL)
	if err != nil {
		return GrantKey{}, err
	}
	return GrantKey{Tenant: conn.Tenant, User: conn.User, Connection: conn.Name, ServerURL: u}, nil
}

// issuers are those that the connection has clients for.
func (conn *Connection) issuers() (out []string) {
	for _, r := range conn.Clients {
		if r.Issuer != "" {
			out = append(out, r.Issuer)
		}
	}
	return out
}

// Start prepares an authorization: it finds the authorization server, gets a
// client registered there if there is none, and returns the flow to store and
// the URL for the human. The URL must not go out before the flow is stored. An
// error with the code unavailable may pass by itself; others need a change of
// the connection or of the server.
func (c *Client) Start(ctx context.Context, r StartRequest) (Flow, string, error) {
	conn := &r.Connection
	d, err := c.Discover(ctx, conn.ServerURL, r.Demand.ResourceMetadata, conn.issuers()...)
	if err != nil {
		return Flow{}, "", err
	}
	server, err := url.Parse(d.ServerURL)
	if err != nil {
		return Flow{}, "", fmt.Errorf("reading the URL of the MCP server: %w", err)
	}
	if err := checkCodeFlow(d); err != nil {
		return Flow{}, "", c.refused(server, err)
	}
	if r.RedirectURI == "" || r.State == "" {
		return Flow{}, "", errors.New("oauth: an authorization needs a redirect URI and a state")
	}
	if r.DocumentURL != "" {
		if err := checkDocumentURL(r.DocumentURL); err != nil {
			return Flow{}, "", fmt.Errorf("oauth: %w", err)
		}
	}
	key, err := proofKeyFor(d, r.Demand.DPoP)
	if err != nil {
		return Flow{}, "", c.refused(server, err)
	}
	if r.RegisterAnew {
		if err := forgetRegistration(ctx, conn, d.Server.Issuer, r.RedirectURI); err != nil {
			return Flow{}, "", err
		}
	}
	reg, err := c.register(ctx, conn, d, r.RedirectURI, r.DocumentURL)
	if err != nil {
		return Flow{}, "", c.refused(server, err)
	}
	explicit := slices.Contains(conn.issuers(), d.Server.Issuer)
	if err := checkMixUp(d, explicit); err != nil {
		return Flow{}, "", c.refused(server, err)
	}
	f := Flow{
		ServerURL: d.ServerURL, Operation: r.Demand.Operation, Attempt: r.Demand.Attempt, Refusals: r.Demand.Refusals,
		Issuer: d.Server.Issuer, IssuerInResponse: d.Server.IssuerInResponse,
		TokenEndpoint: d.Server.TokenEndpoint, RevocationEndpoint: d.Server.RevocationEndpoint,
		Resource: d.resourceID(), Registration: reg, RedirectURI: r.RedirectURI, State: r.State,
		Scopes: wantedScopes(conn, d, &r.Demand), Verifier: Secret(randomText()),
		ProofKey: key,
	}
	at, err := authorizationURL(d, &f, s256(f.Verifier.Reveal()))
	if err != nil {
		return Flow{}, "", c.refused(server, err)
	}
	c.opts.Logger.InfoContext(ctx, "authorization begins", "tenant", conn.Tenant, "session", conn.Session, "connection", conn.Name,
		"server", origin(server), "issuer", f.Issuer, "scopes", f.Scopes, "client", reg.Source)
	return f, at, nil
}

// checkCodeFlow checks that the server can do what is asked of it in a browser.
func checkCodeFlow(d *Discovery) error {
	m := &d.Server
	switch {
	case m.AuthorizationEndpoint == "":
		return fmt.Errorf("the authorization server %s has no authorization endpoint", m.Issuer)
	case !slices.Contains(m.CodeChallengeMethodsSupported, "S256"):
		return fmt.Errorf("the authorization server %s does not say that it supports PKCE with S256, without which a code could be stolen", m.Issuer)
	case len(m.ResponseTypesSupported) > 0 && !slices.Contains(m.ResponseTypesSupported, "code"):
		return fmt.Errorf("the authorization server %s gives no authorization codes", m.Issuer)
	case len(m.GrantTypesSupported) > 0 && !slices.Contains(m.GrantTypesSupported, "authorization_code"):
		return fmt.Errorf("the authorization server %s takes no authorization codes", m.Issuer)
	}
	return nil
}

// checkMixUp refuses metadata that send the user to somebody else's authorization
// endpoint and the code to their own token endpoint (RFC 9700 section 4.4). A
// server that names itself in the response cannot do that unseen; of others the
// authorization endpoint must be at the issuer's site. Whoever configured a client
// for the issuer vouches for it.
func checkMixUp(d *Discovery, vouched bool) error {
	if d.Server.IssuerInResponse || vouched {
		return nil
	}
	issuer, errI := url.Parse(d.Server.Issuer)
	endpoint, errE := url.Parse(d.Server.AuthorizationEndpoint)
	if errI != nil || errE != nil || !sameSite(issuer, endpoint) {
		return fmt.Errorf("the authorization server %s sends users to another site, %s, and does not promise to name itself in the response (RFC 9207)",
			d.Server.Issuer, printable(d.Server.AuthorizationEndpoint))
	}
	return nil
}

const offlineAccess = "offline_access"

// wantedScopes are the scopes to ask for: those of the challenge, else the
// connection's own, else all of the resource; and those that the user gave the
// same issuer before, so that a step up takes nothing away. offline_access goes along if the
// authorization server lists it, and only then; it is never alone, because that
// would narrow what a request without scopes gets.
func wantedScopes(conn *Connection, d *Discovery, demand *Demand) []string {
	scopes := cleanScopes(demand.Scopes)
	if len(scopes) == 0 {
		scopes = cleanScopes(conn.Scopes)
	}
	if len(scopes) == 0 && d.Resource != nil {
		scopes = cleanScopes(d.Resource.ScopesSupported)
	}
	if demand.Issuer == d.Server.Issuer {
		scopes = union(demand.Held, scopes)
	}
	scopes = slices.DeleteFunc(scopes, func(s string) bool { return s == offlineAccess })
	if len(scopes) > 0 && slices.Contains(d.Server.ScopesSupported, offlineAccess) {
		scopes = append(scopes, offlineAccess)
	}
	return scopes
}

// proofKeyFor makes a key if the resource wants tokens bound to one and the
// authorization server can bind them.
func proofKeyFor(d *Discovery, challenged bool) (Secret, error) {
	required := challenged || d.Resource != nil && d.Resource.DPoPRequired
	offered := d.Resource != nil && slices.Contains(d.Resource.DPoPAlgorithms, proofAlgorithm)
	can := slices.Contains(d.Server.DPoPAlgorithms, proofAlgorithm)
	switch {
	case required && !can:
		return "", fmt.Errorf("the server wants tokens that are bound to a key, and the authorization server %s does not bind them with %s", d.Server.Issuer, proofAlgorithm)
	case required, offered && can:
		return newProofKey()
	}
	return "", nil
}

func authorizationURL(d *Discovery, f *Flow, challenge string) (string, error) {
	endpoint, err := checkEndpoint("authorization endpoint", d.Server.AuthorizationEndpoint, d.local)
	if err != nil {
		return "", err
	}
	params := url.Values{
		"response_type": {"code"}, "client_id": {f.Registration.ClientID}, "redirect_uri": {f.RedirectURI}, "state": {f.State},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	if f.Resource != "" {
		params.Set("resource", f.Resource)
	}
	if len(f.Scopes) > 0 {
		params.Set("scope", strings.Join(f.Scopes, " "))
	}
	if slices.Contains(f.Scopes, offlineAccess) {
		params.Set("prompt", "consent") // OpenID Connect Core section 11
	}
	if f.ProofKey != "" {
		jkt, err := thumbprint(f.ProofKey)
		if err != nil {
			return "", err
		}
		params.Set("dpop_jkt", jkt)
	}
	return addQuery(endpoint, params)
}

// ResponseError is a response that is not acted on: nothing of it may be shown.
type ResponseError struct{ Reason string }

func (e *ResponseError) Error() string { return "the authorization response is refused: " + e.Reason }

// Unwrap gives the error its code.
func (e *ResponseError) Unwrap() error {
	return holdfast.Errorf(holdfast.CodeForbidden, "the response to the authorization cannot be trusted and was not used")
}

// DeniedError is the authorization server's answer that there is no code.
type DeniedError struct {
	Issuer string
	// Code is an error code of RFC 6749 section 4.1.2.1 or OpenID Connect,
	// "access_denied" if the user declined, "" if the server used one of its own.
	Code string
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s did not authorize: %s", e.Issuer, e.Code)
}

// Unwrap gives the error its code and the text that a tenant may read.
func (e *DeniedError) Unwrap() error {
	if e.Code == "access_denied" {
		return holdfast.Errorf(holdfast.CodeForbidden, "the authorization was declined")
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "the authorization server answered with an error: %s", e.Code)
}

// Check says whether a response belongs to the flow and comes from its issuer
// (RFC 6749 section 10.12, RFC 9207 section 2.4). It is a *[ResponseError] if not,
// and a *[DeniedError] if the server answered with an error.
func (f *Flow) Check(r Response) error {
	switch {
	case f.State == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(r.State)) != 1:
		return &ResponseError{"the state is not that of the flow"}
	case r.Issuer == nil && f.IssuerInResponse:
		return &ResponseError{"it does not name its issuer, which the server promised"}
	case r.Issuer != nil && *r.Issuer != f.Issuer:
		return &ResponseError{"it names another issuer"}
	case r.Error != "":
		code := r.Error
		if !slices.Contains(knownCodes, code) {
			code = ""
		}
		return &DeniedError{Issuer: f.Issuer, Code: code}
	case r.Code == "" || !isPrintable(r.Code.Reveal()):
		return &ResponseError{"it has no code"}
	}
	return nil
}

// forgetRegistration removes a dynamic registration, whatever it is.
func forgetRegistration(ctx context.Context, conn *Connection, issuer, redirectURI string) error {
	key := RegistrationKey{Tenant: conn.Tenant, Issuer: issuer, RedirectURI: redirectURI}
	r, err := conn.Registrations.GetRegistration(ctx, key)
	if err == nil {
		err = conn.Registrations.DeleteRegistration(ctx, key, r.ClientID)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("forgetting a registration: %w", err)
	}
	return nil
}

// ClientUnknown reports whether an error of [Client.Finish] means that the
// authorization server does not know the client: the next start should register
// anew ([StartRequest.RegisterAnew]).
func ClientUnknown(err error) bool {
	return isTokenError(err, errInvalidClient) || isTokenError(err, "unauthorized_client")
}

// Finish checks the response and exchanges its code for tokens, at the endpoint
// that the flow recorded. A code works once: the caller makes sure that a flow is
// finished once. After an error the code may be lost.
func (c *Client) Finish(ctx context.Context, f Flow, r Response) (Grant, error) {
	if err := f.Check(r); err != nil {
		return Grant{}, err
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {r.Code.Reveal()}, "redirect_uri": {f.RedirectURI},
		"code_verifier": {f.Verifier.Reveal()},
	}
	if f.Resource != "" {
		form.Set("resource", f.Resource)
	}
	t, err := c.token(ctx, tokenRequest{
		endpoint: f.TokenEndpoint, client: &f.Registration, issuer: f.Issuer, form: form, proofKey: f.ProofKey,
		local: localEndpoint(f.TokenEndpoint),
	})
	if err != nil {
		return Grant{}, fmt.Errorf("exchanging the code: %w", err)
	}
	g := Grant{
		Issuer: f.Issuer, Resource: f.Resource, Registration: f.Registration, TokenEndpoint: f.TokenEndpoint,
		RevocationEndpoint: f.RevocationEndpoint, Scopes: f.Scopes, ProofKey: f.ProofKey,
	}
	if err := g.take(t); err != nil {
		return Grant{}, fmt.Errorf("exchanging the code: %w", err)
	}
	if f.Operation != "" {
		g.Prompts = map[string]Prompts{f.Operation: {Count: f.Attempt, Refusals: f.Refusals, Last: c.opts.Now()}}
	}
	return g, nil
}

// take puts new tokens into the grant.
func (g *Grant) take(t *tokens) error {
	if t.kind == "DPoP" && g.ProofKey == "" || t.kind == "N_A" {
		return errors.New("the token is of a type that cannot be used")
	}
	g.TokenType, g.AccessToken, g.Expires = t.kind, t.access, t.expires
	if t.refresh != "" {
		g.RefreshToken = t.refresh
	}
	if t.scoped {
		g.Scopes = t.scopes
	}
	return nil
}

// promptMemory is how long after the last prompt for an operation its count is
// kept. A loop comes back at once.
const promptMemory = 10 * time.Minute

// StoreGrant puts a grant in the place of whatever is there, and keeps what is
// known there of prompts.
func StoreGrant(ctx context.Context, store GrantStore, key GrantKey, g Grant) error {
	mine := g.Prompts
	for {
		old, version, err := store.Get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("reading the grant: %w", err)
		}
		g.Prompts = map[string]Prompts{}
		for op, p := range old.Prompts {
			if time.Since(p.Last) < promptMemory {
				g.Prompts[op] = p
			}
		}
		maps.Copy(g.Prompts, mine)
		_, err = store.Put(ctx, key, g, version)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("storing the grant: %w", err)
		}
	}
}

// Revoke tells the authorization server that the tokens of a grant are not used
// any more (RFC 7009). It does nothing if the server has no place for that.
func (c *Client) Revoke(ctx context.Context, g Grant) error {
	if g.RevocationEndpoint == "" {
		return nil
	}
	local := localEndpoint(g.RevocationEndpoint)
	u, err := checkEndpoint("revocation endpoint", g.RevocationEndpoint, local)
	if err != nil {
		return err
	}
	var failed error
	for _, t := range []struct {
		hint  string
		token Secret
	}{{"refresh_token", g.RefreshToken}, {"access_token", g.AccessToken}} {
		if t.token == "" {
			continue
		}
		a, err := c.post(ctx, u, tokenRequest{
			endpoint: g.RevocationEndpoint, client: &g.Registration, issuer: g.Issuer, local: local, proofKey: g.ProofKey,
			form: url.Values{"token": {t.token.Reveal()}, "token_type_hint": {t.hint}},
		}, "")
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
		case isBusy(a.status):
			failed = errors.Join(failed, busy(u, a))
		case errorCode(a) == errUnsupportedTokenType:
			// A token that contains what it is worth ends by itself (RFC 7009 section 2.2.1).
		case a.status != http.StatusOK && a.status != http.StatusNoContent:
			failed = errors.Join(failed, &TokenError{Origin: origin(u), Status: a.status, Reason: "the " + t.hint + " was not revoked"})
		}
	}
	return failed
}
