package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// Machine gets tokens without a human: [ClientCredentials], [EnterpriseManaged]
// or [WorkloadIdentity]. None of them is tried a second time for the same request,
// and none falls back to another.
type Machine interface {
	// client is the registration at the authorization server of the MCP server.
	client() Registration
	// request fills the form of the token request.
	request(ctx context.Context, c *Client, d *Discovery, form url.Values) error
}

// ClientCredentials gets tokens for the client itself (RFC 6749 section 4.4), who
// proves itself by its secret or by its private key.
type ClientCredentials struct{ Client Registration }

func (m ClientCredentials) client() Registration { return m.Client }

func (m ClientCredentials) request(_ context.Context, _ *Client, _ *Discovery, form url.Values) error {
	form.Set("grant_type", "client_credentials")
	return nil
}

const (
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 section 2.1
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 section 2.1
	tokenTypeIDJAG     = "urn:ietf:params:oauth:token-type:id-jag"
	// TokenTypeID is the type of OpenID Connect id tokens (RFC 8693 section 3).
	TokenTypeID = "urn:ietf:params:oauth:token-type:id_token"
)

// WorkloadIdentity gets tokens for an assertion that the platform issued to this
// workload (RFC 7523 section 2.1).
type WorkloadIdentity struct {
	// Client may be without id: the assertion says who asks.
	Client Registration
	// Assertion returns a JWT whose audience is the issuer.
	Assertion func(ctx context.Context, issuer string) (Secret, error)
}

func (m WorkloadIdentity) client() Registration { return m.Client }

func (m WorkloadIdentity) request(ctx context.Context, _ *Client, d *Discovery, form url.Values) error {
	a, err := m.Assertion(ctx, d.Server.Issuer)
	if err != nil {
		return fmt.Errorf("getting the workload's assertion: %w", err)
	}
	form.Set("grant_type", grantJWTBearer)
	form.Set("assertion", a.Reveal())
	return nil
}

// EnterpriseManaged gets tokens by what the user's identity provider says
// (Identity Assertion Authorization Grant): the user's identity is exchanged
// there for a grant to the MCP server's authorization server, and that for a
// token here.
type EnterpriseManaged struct {
	// Client is known to the MCP server's authorization server, IDPClient to the
	// identity provider; its Issuer, if set, is that of the provider.
	Client    Registration
	IDPClient Registration
	// IDPTokenEndpoint is where the identity provider exchanges; IDPIssuer, if it is
	// empty, is asked for it.
	IDPTokenEndpoint string
	IDPIssuer        string
	// IDPSecret, if not nil, returns the secret of IDPClient.
	IDPSecret func(ctx context.Context) (Secret, error)
	// Subject returns the user's identity token, SubjectType says what it is; "" is
	// TokenTypeID.
	Subject     func(ctx context.Context) (Secret, error)
	SubjectType string
}

func (m EnterpriseManaged) client() Registration { return m.Client }

func (m EnterpriseManaged) request(ctx context.Context, c *Client, d *Discovery, form url.Values) error {
	endpoint, methods := m.IDPTokenEndpoint, []string(nil)
	if endpoint == "" {
		meta, err := c.serverMetadata(ctx, m.IDPIssuer, d.local)
		if err != nil {
			return fmt.Errorf("asking the identity provider for its metadata: %w", err)
		}
		endpoint, methods = meta.TokenEndpoint, meta.TokenEndpointAuthMethodsSupported
	}
	subject, err := m.Subject(ctx)
	if err != nil {
		return fmt.Errorf("getting the user's identity: %w", err)
	}
	kind := m.SubjectType
	if kind == "" {
		kind = TokenTypeID
	}
	exchange := url.Values{
		"grant_type": {grantTokenExchange}, "requested_token_type": {tokenTypeIDJAG}, "audience": {d.Server.Issuer},
		"subject_token": {subject.Reveal()}, "subject_token_type": {kind},
	}
	for _, name := range []string{"resource", "scope"} {
		if form.Has(name) {
			exchange.Set(name, form.Get(name))
		}
	}
	client := m.IDPClient
	if m.IDPSecret != nil {
		if client.ClientSecret, err = m.IDPSecret(ctx); err != nil {
			return fmt.Errorf("getting the client's secret at the identity provider: %w", err)
		}
	}
	chooseMethod(&client, methods)
	issuer := m.IDPIssuer
	if issuer == "" {
		issuer = client.Issuer
	}
	if client.Method == AuthPrivateKeyJWT && issuer == "" {
		issuer = endpoint
	}
	client.Issuer = issuer
	t, err := c.token(ctx, tokenRequest{endpoint: endpoint, client: &client, issuer: issuer, form: exchange, local: d.local})
	if err != nil {
		return fmt.Errorf("asking the identity provider: %w", err)
	}
	if t.issuedKind != tokenTypeIDJAG {
		return errors.New("the identity provider issued something else than an authorization grant")
	}
	form.Set("grant_type", grantJWTBearer)
	form.Set("assertion", t.access.Reveal())
	return nil
}

// machine answers a refused request by a token that needs no human: once for each
// request, by one worker of all.
func (t *trip) machine(ctx context.Context, d Demand) (again bool, err error) {
	rt := t.rt
	if t.obtained {
		return false, holdfast.Errorf(holdfast.CodeForbidden, "%s refuses the token (HTTP %d) that it got for this request", origin(rt.server), d.Status)
	}
	t.obtained = true
	old := t.grant.AccessToken
	g, v, err := rt.client.renew(ctx, rt.conn.Grants, rt.key, t.version, func(ctx context.Context, _ Grant) (Grant, error) {
		return rt.client.obtain(ctx, &rt.conn, d)
	})
	if err != nil {
		return false, err
	}
	t.grant, t.version = g, v
	if g.AccessToken == "" || g.AccessToken == old {
		return false, holdfast.Errorf(holdfast.CodeForbidden, "%s refuses the token (HTTP %d), and there is no other", origin(rt.server), d.Status)
	}
	return true, nil
}

// obtain gets a grant for a machine.
func (c *Client) obtain(ctx context.Context, conn *Connection, demand Demand) (Grant, error) {
	m := conn.Machine
	reg := m.client()
	prefer := conn.issuers()
	if reg.Issuer != "" {
		prefer = []string{reg.Issuer}
	}
	d, err := c.Discover(ctx, conn.ServerURL, demand.ResourceMetadata, prefer...)
	if err != nil {
		return Grant{}, err
	}
	server, err := url.Parse(d.ServerURL)
	if err != nil {
		return Grant{}, fmt.Errorf("reading the URL of the MCP server: %w", err)
	}
	g, err := c.obtainFrom(ctx, conn, d, reg, demand)
	if err != nil {
		return Grant{}, c.refused(server, err)
	}
	c.opts.Logger.InfoContext(ctx, "token obtained", "tenant", conn.Tenant, "session", conn.Session, "connection", conn.Name,
		"server", origin(server), "issuer", g.Issuer, "scopes", g.Scopes)
	return g, nil
}

func (c *Client) obtainFrom(ctx context.Context, conn *Connection, d *Discovery, reg Registration, demand Demand) (Grant, error) {
	bound := Connection{Tenant: conn.Tenant, Name: conn.Name, Clients: []Registration{reg}, Registrations: conn.Registrations}
	own, err := bound.configured(ctx, d.Server.Issuer)
	if err != nil {
		return Grant{}, err
	}
	if own == nil {
		return Grant{}, fmt.Errorf("the server trusts the authorization server %s, and the client belongs to another", d.Server.Issuer)
	}
	chooseMethod(own, d.Server.TokenEndpointAuthMethodsSupported)
	if own.ClientID == "" && own.Method == AuthNone {
		own.Method = authAnonymous
	}
	g := Grant{
		Issuer: d.Server.Issuer, Resource: d.resourceID(), Registration: *own, TokenEndpoint: d.Server.TokenEndpoint,
		RevocationEndpoint: d.Server.RevocationEndpoint, Scopes: machineScopes(conn, d, &demand),
	}
	if g.ProofKey, err = proofKeyFor(d, demand.DPoP); err != nil {
		return Grant{}, err
	}
	form := url.Values{}
	if g.Resource != "" {
		form.Set("resource", g.Resource)
	}
	if len(g.Scopes) > 0 {
		form.Set("scope", strings.Join(g.Scopes, " "))
	}
	if err := conn.Machine.request(ctx, c, d, form); err != nil {
		return Grant{}, err
	}
	t, err := c.token(ctx, tokenRequest{
		endpoint: g.TokenEndpoint, client: own, issuer: g.Issuer, form: form, proofKey: g.ProofKey, local: d.local,
	})
	if err != nil {
		return Grant{}, err
	}
	return g, g.take(t)
}

// machineScopes are as for a human, but never offline_access: a machine can
// always ask again.
func machineScopes(conn *Connection, d *Discovery, demand *Demand) []string {
	return slices.DeleteFunc(wantedScopes(conn, d, demand), func(s string) bool { return s == offlineAccess })
}

// authAnonymous sends nothing about the client (RFC 7521 section 4.1).
const authAnonymous = "anonymous"
