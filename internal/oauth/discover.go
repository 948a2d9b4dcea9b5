package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
)

// OAuthProtectedResource is the metadata of a resource (RFC 9728 section 2), as
// far as it is used.
type OAuthProtectedResource struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	ResourceName         string   `json:"resource_name,omitempty"`
	// DPoPRequired and DPoPAlgorithms say that tokens are bound to a key.
	DPoPRequired   bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	DPoPAlgorithms []string `json:"dpop_signing_alg_values_supported,omitempty"`
}

// AuthServerMetadata is the metadata of an authorization server (RFC 8414
// section 2, OpenID Connect Discovery section 3), as far as it is used.
type AuthServerMetadata struct {
	Issuer                            string   `json:"issuer"`
	AuthorizationEndpoint             string   `json:"authorization_endpoint,omitempty"`
	TokenEndpoint                     string   `json:"token_endpoint,omitempty"`
	RegistrationEndpoint              string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint                string   `json:"revocation_endpoint,omitempty"`
	ScopesSupported                   []string `json:"scopes_supported,omitempty"`
	ResponseTypesSupported            []string `json:"response_types_supported,omitempty"`
	GrantTypesSupported               []string `json:"grant_types_supported,omitempty"`
	TokenEndpointAuthMethodsSupported []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	CodeChallengeMethodsSupported     []string `json:"code_challenge_methods_supported,omitempty"`
	DPoPAlgorithms                    []string `json:"dpop_signing_alg_values_supported,omitempty"`
	// IssuerInResponse is RFC 9207 section 3.
	IssuerInResponse bool `json:"authorization_response_iss_parameter_supported,omitempty"`
	// ClientIDMetadataDocument is draft-ietf-oauth-client-id-metadata-document.
	ClientIDMetadataDocument bool `json:"client_id_metadata_document_supported,omitempty"`
}

// Discovery is what is known of a server that asks for authorization.
type Discovery struct {
	ServerURL string
	// Resource is nil for servers that have no metadata of the resource.
	Resource *OAuthProtectedResource
	Server   AuthServerMetadata
	// Assumed says that no metadata was found at all, and the endpoints are those
	// that MCP 2025-03-26 assumes.
	Assumed bool
	// local says that endpoints on this machine may be http.
	local bool
}

// resourceID is the resource indicator for requests.
func (d *Discovery) resourceID() string {
	if d.Resource == nil {
		return ""
	}
	return d.Resource.Resource
}

// Discover finds out where a server wants its tokens from: metadata of the
// resource, then of its authorization server. resourceMetadata is the URL that a
// challenge named, "" for none. prefer are issuers to take if the resource trusts
// several.
func (c *Client) Discover(ctx context.Context, serverURL, resourceMetadata string, prefer ...string) (*Discovery, error) {
	canonical, err := CanonicalURL(serverURL)
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(canonical)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of the MCP server: %w", err)
	}
	d := &Discovery{ServerURL: canonical, local: isLoopback(server.Hostname())}
	if d.Resource, err = c.resource(ctx, server, resourceMetadata, d.local); err != nil {
		return nil, c.refused(server, err)
	}
	if d.Resource == nil || len(d.Resource.AuthorizationServers) == 0 {
		if c.opts.RequireMetadata {
			return nil, c.refused(server, errors.New("it does not say which authorization server it trusts"))
		}
		return d, c.refused(server, c.assume(ctx, server, d))
	}
	issuers := d.Resource.AuthorizationServers
	if len(issuers) > maxIssuers {
		issuers = issuers[:maxIssuers]
	}
	issuers = slices.Clone(issuers)
	slices.SortStableFunc(issuers, func(a, b string) int {
		rank := func(s string) int {
			if slices.Contains(prefer, s) {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	var first error
	for _, issuer := range issuers {
		meta, err := c.serverMetadata(ctx, issuer, d.local)
		if err == nil {
			d.Server = *meta
			return d, nil
		}
		if errors.Is(err, errAbsent) {
			err = fmt.Errorf("the authorization server %s has no metadata", printable(issuer))
		}
		if first == nil {
			first = err
		}
	}
	return nil, c.refused(server, first)
}

const maxIssuers = 4

// refused makes an error that a tenant may read: all that it says is public, and
// whoever connects the server needs the reason.
func (c *Client) refused(server *url.URL, err error) error {
	if err == nil {
		return nil
	}
	var e *holdfast.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "authorization for %s is not possible: %s", origin(server), err)
}

// printable bounds text from outside for an error.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// resource finds the metadata of the resource; nil is that there is none.
func (c *Client) resource(ctx context.Context, server *url.URL, named string, local bool) (*OAuthProtectedResource, error) {
	var at []string
	if named != "" {
		at = append(at, named)
	}
	for _, u := range resourceMetadataURLs(server) {
		if u != named {
			at = append(at, u)
		}
	}
	var failed error
	for i, u := range at {
		o, err := c.document(ctx, u, local)
		if err != nil {
			var busy *UnavailableError
			switch {
			case errors.Is(err, errAbsent):
			case errors.As(err, &busy) && busy.answered, i == 0 && named != "" && busy == nil:
				// One place is broken, or the server pointed to something that must not be
				// asked. Another place may do; if none does, this was the reason.
				if failed == nil {
					failed = err
				}
			default:
				return nil, err
			}
			continue
		}
		m, err := parseResource(o)
		if err != nil {
			return nil, fmt.Errorf("the metadata of the resource: %w", err)
		}
		id, err := url.Parse(m.Resource)
		if err != nil || m.Resource == "" || !covers(id, server) {
			// Not even another document is looked for: this is what an attacker's
			// server says to get tokens of somebody else's.
			return nil, fmt.Errorf("its metadata are those of another resource, %s", printable(m.Resource))
		}
		return m, nil
	}
	return nil, failed
}

func parseResource(o object) (*OAuthProtectedResource, error) {
	var m OAuthProtectedResource
	err := errors.Join(
		o.get("resource", &m.Resource), o.list("authorization_servers", &m.AuthorizationServers),
		o.list("scopes_supported", &m.ScopesSupported), o.get("resource_name", &m.ResourceName),
		o.get("dpop_bound_access_tokens_required", &m.DPoPRequired), o.list("dpop_signing_alg_values_supported", &m.DPoPAlgorithms))
	m.ScopesSupported = cleanScopes(m.ScopesSupported)
	return &m, err
}

// serverMetadata gets the metadata of an issuer. errAbsent is that there are none.
func (c *Client) serverMetadata(ctx context.Context, issuer string, local bool) (*AuthServerMetadata, error) {
	u, err := checkEndpoint("issuer "+printable(issuer), issuer, local)
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, fmt.Errorf("the issuer %s has a query", printable(issuer))
	}
	failed := errAbsent
	for _, at := range serverMetadataURLs(u) {
		o, err := c.document(ctx, at, local)
		if err == nil {
			m, parseErr := parseServer(o, issuer, local)
			if parseErr == nil {
				return m, nil
			}
			err = fmt.Errorf("the metadata of the authorization server %s: %w", printable(issuer), parseErr)
		}
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		if errors.Is(failed, errAbsent) {
			failed = err
		}
	}
	return nil, failed
}

// parseServer reads the metadata of an issuer and checks them (RFC 8414 section
// 3.3). An endpoint of another host is the issuer's to choose; one that is not
// https is refused.
func parseServer(o object, issuer string, local bool) (*AuthServerMetadata, error) {
	var m AuthServerMetadata
	if err := errors.Join(
		o.get("issuer", &m.Issuer), o.get("authorization_endpoint", &m.AuthorizationEndpoint), o.get("token_endpoint", &m.TokenEndpoint),
		o.get("registration_endpoint", &m.RegistrationEndpoint), o.get("revocation_endpoint", &m.RevocationEndpoint),
		o.list("scopes_supported", &m.ScopesSupported), o.list("response_types_supported", &m.ResponseTypesSupported),
		o.list("grant_types_supported", &m.GrantTypesSupported),
		o.list("token_endpoint_auth_methods_supported", &m.TokenEndpointAuthMethodsSupported),
		o.list("code_challenge_methods_supported", &m.CodeChallengeMethodsSupported),
		o.list("dpop_signing_alg_values_supported", &m.DPoPAlgorithms),
		o.get("authorization_response_iss_parameter_supported", &m.IssuerInResponse),
		o.get("client_id_metadata_document_supported", &m.ClientIDMetadataDocument),
	); err != nil {
		return nil, err
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("they name another issuer, %s", printable(m.Issuer))
	}
	for _, e := range []struct {
		name, url string
		required  bool
	}{
		{"token_endpoint", m.TokenEndpoint, true},
		{"authorization_endpoint", m.AuthorizationEndpoint, false},
		{"registration_endpoint", m.RegistrationEndpoint, false},
		{"revocation_endpoint", m.RevocationEndpoint, false},
	} {
		if e.url == "" && !e.required {
			continue
		}
		if _, err := checkEndpoint(e.name, e.url, local); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// assume is how servers of MCP 2025-03-26 are met: the server's own origin is the
// authorization server, with metadata or with endpoints at fixed paths.
func (c *Client) assume(ctx context.Context, server *url.URL, d *Discovery) error {
	base := origin(server)
	if _, err := checkEndpoint("origin of the MCP server", base, d.local); err != nil {
		return err
	}
	meta, err := c.serverMetadata(ctx, base, d.local)
	switch {
	case err == nil:
		d.Server = *meta
	case errors.Is(err, errAbsent):
		d.Assumed = true
		d.Server = AuthServerMetadata{
			Issuer: base, AuthorizationEndpoint: base + "/authorize", TokenEndpoint: base + "/token",
			RegistrationEndpoint: base + "/register", CodeChallengeMethodsSupported: []string{"S256"},
		}
	default:
		return err
	}
	return nil
}
