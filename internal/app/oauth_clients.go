package app

import (
	"context"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// connection is a user's connection to the MCP server of a toolset.
func (a *authorizations) connection(ctx context.Context, s holdfast.SessionRef, user, toolset, serverURL string) (oauth.Connection, error) {
	conn := oauth.Connection{
		Tenant: s.Tenant, User: user, Session: s.Session, Name: toolset, ServerURL: serverURL,
		Grants: a.vault.Grants(), Registrations: a.vault.Grants(),
	}
	canonical, err := oauth.CanonicalURL(serverURL)
	if err != nil {
		return oauth.Connection{}, holdfast.WrapError(holdfast.CodeInvalid, err, "the address of the MCP server "+toolset+" cannot be used")
	}
	clients, err := a.vault.ClientsFor(ctx, s.Tenant, canonical)
	if err != nil {
		return oauth.Connection{}, err
	}
	for _, c := range clients {
		if c.Machine != nil {
			conn.Machine = a.machine(s.Tenant, user, c)
			return conn, nil
		}
		conn.Clients = append(conn.Clients, c.Registration)
	}
	return conn, nil
}

// machine gets tokens in the way that the tenant chose for the server.
func (a *authorizations) machine(tenantID, user string, c vault.Client) oauth.Machine {
	m := c.Machine
	secret := func(ctx context.Context, name string) (oauth.Secret, error) {
		name, err := vault.SecretOfUser(name, user)
		if err != nil {
			return "", err
		}
		value, ok, err := a.vault.Secret(ctx, tenantID, name)
		if err == nil && !ok {
			err = holdfast.Errorf(holdfast.CodeUnauthorized, "the secret %s, which client %s needs, is not stored", name, c.Name)
		}
		return oauth.Secret(value), err
	}
	switch m.Grant {
	case vault.GrantWorkloadIdentity:
		return oauth.WorkloadIdentity{Client: c.Registration, Assertion: func(ctx context.Context, _ string) (oauth.Secret, error) {
			return secret(ctx, m.Assertion)
		}}
	case vault.GrantEnterpriseManaged:
		return oauth.EnterpriseManaged{
			Client: c.Registration, IDPClient: oauth.Registration{ClientID: m.IDPClientID}, IDPTokenEndpoint: m.IDPTokenEndpoint, IDPIssuer: m.IDPIssuer,
			IDPSecret: func(ctx context.Context) (oauth.Secret, error) {
				if m.IDPSecret == "" {
					return "", nil
				}
				return secret(ctx, m.IDPSecret)
			},
			Subject: func(ctx context.Context) (oauth.Secret, error) { return secret(ctx, m.Assertion) },
		}
	}
	return oauth.ClientCredentials{Client: c.Registration}
}

// PutClient implements [httpapi.Authorizations].
func (a *authorizations) PutClient(ctx context.Context, tenantID, name string, c httpapi.OAuthClient) error {
	if c.ServerURL != "" {
		canonical, err := oauth.CanonicalURL(c.ServerURL)
		if err != nil {
			return holdfast.WrapError(holdfast.CodeInvalid, err, "server_url: this is no address of an MCP server")
		}
		c.ServerURL = canonical
	}
	info := vault.ClientInfo{Name: name, ServerURL: c.ServerURL, Issuer: c.Issuer}
	switch c.Grant {
	case "", "authorization_code":
		if c.Assertion != "" || c.IDP != nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "assertion_secret and identity_provider are for grants without a human")
		}
	default:
		info.Machine = &vault.MachineInfo{Grant: c.Grant, Assertion: c.Assertion}
		if (c.Assertion == "") != (c.Grant == vault.GrantClientCredentials) {
			return holdfast.Errorf(holdfast.CodeInvalid, "assertion_secret: workload_identity and enterprise_managed need it, client_credentials does not")
		}
		if (c.IDP != nil) != (c.Grant == vault.GrantEnterpriseManaged) {
			return holdfast.Errorf(holdfast.CodeInvalid, "identity_provider: enterprise_managed needs it, and no other grant")
		}
		if p := c.IDP; p != nil {
			if p.Issuer == "" && p.TokenEndpoint == "" {
				return holdfast.Errorf(holdfast.CodeInvalid, "identity_provider: it needs its issuer or its token_endpoint")
			}
			info.Machine.IDPIssuer, info.Machine.IDPTokenEndpoint = p.Issuer, p.TokenEndpoint
			info.Machine.IDPClientID, info.Machine.IDPSecret = p.ClientID, p.ClientSecret
		}
	}
	return a.vault.PutClient(ctx, tenantID, info, oauth.Registration{
		ClientID: c.ClientID, ClientSecret: oauth.Secret(c.ClientSecret), Method: c.Method, PrivateKey: oauth.Secret(c.PrivateKey),
		KeyID: c.KeyID, Algorithm: c.Algorithm,
	})
}

// ListClients implements [httpapi.Authorizations].
func (a *authorizations) ListClients(ctx context.Context, tenantID string) ([]httpapi.OAuthClientDocument, error) {
	list, err := a.vault.Clients(ctx, tenantID)
	out := make([]httpapi.OAuthClientDocument, len(list))
	for i, c := range list {
		out[i] = httpapi.OAuthClientDocument{Name: c.Name, Issuer: c.Issuer, ServerURL: c.ServerURL, ClientID: c.ClientID, Grant: "authorization_code"}
		if c.Machine != nil {
			out[i].Grant = c.Machine.Grant
		}
	}
	return out, err
}
