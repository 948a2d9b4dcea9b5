package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// ClientMetadata describes a client to an authorization server (RFC 7591 section
// 2): the request of a dynamic registration, and with ClientID a client id
// metadata document.
type ClientMetadata struct {
	ClientID        string   `json:"client_id,omitempty"`
	ClientName      string   `json:"client_name"`
	ClientURI       string   `json:"client_uri,omitempty"`
	RedirectURIs    []string `json:"redirect_uris"`
	GrantTypes      []string `json:"grant_types"`
	ResponseTypes   []string `json:"response_types"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	ApplicationType string   `json:"application_type"`
}

// Document returns the client id metadata document to serve at an https URL as
// application/json (draft-ietf-oauth-client-id-metadata-document).
func (c *Client) Document(documentURL string, redirectURIs ...string) ClientMetadata {
	m := c.metadata(redirectURIs, []string{"authorization_code", "refresh_token"}, AuthNone)
	m.ClientID = documentURL
	return m
}

func (c *Client) metadata(redirectURIs, grants []string, method string) ClientMetadata {
	kind := "web"
	for _, r := range redirectURIs {
		// OpenID Connect Registration section 2: http is for native clients alone,
		// and for them on the user's own machine.
		if u, err := url.Parse(r); err == nil && u.Scheme == "http" {
			kind = "native"
		}
	}
	return ClientMetadata{
		ClientName: c.opts.ClientName, ClientURI: c.opts.ClientURI, RedirectURIs: redirectURIs, GrantTypes: grants,
		ResponseTypes: []string{"code"}, AuthMethod: method, ApplicationType: kind,
	}
}

// checkDocumentURL checks a URL that is to be a client id.
func checkDocumentURL(raw string) error {
	u, err := checkEndpoint("URL of the client id metadata document", raw, false)
	if err != nil {
		return err
	}
	if u.Path == "" || u.Path == "/" {
		return errors.New("the URL of the client id metadata document has no path")
	}
	return nil
}

// register finds the client to use with an issuer: one that was registered
// beforehand, the client id metadata document, one that was or is registered
// dynamically.
func (c *Client) register(ctx context.Context, conn *Connection, d *Discovery, redirectURI, documentURL string) (Registration, error) {
	configured, err := conn.configured(ctx, d.Server.Issuer)
	if err != nil {
		return Registration{}, err
	}
	if configured != nil {
		chooseMethod(configured, d.Server.TokenEndpointAuthMethodsSupported)
		return *configured, nil
	}
	methods := d.Server.TokenEndpointAuthMethodsSupported
	if documentURL != "" && d.Server.ClientIDMetadataDocument && (len(methods) == 0 || slices.Contains(methods, AuthNone)) {
		return Registration{
			Issuer: d.Server.Issuer, ClientID: documentURL, Method: AuthNone, Source: SourceDocument, RedirectURI: redirectURI,
		}, nil
	}
	if d.Server.RegistrationEndpoint == "" {
		return Registration{}, holdfast.Errorf(holdfast.CodeNotOffered,
			"the authorization server %s registers no clients by itself: register one there and add its client id to the connection", d.Server.Issuer)
	}
	key := RegistrationKey{Tenant: conn.Tenant, Issuer: d.Server.Issuer, RedirectURI: redirectURI}
	r, err := conn.Registrations.GetRegistration(ctx, key)
	switch {
	case err == nil && (r.SecretExpires.IsZero() || r.SecretExpires.After(c.opts.Now().Add(time.Minute))):
		return r, nil
	case err == nil:
		if err := conn.Registrations.DeleteRegistration(ctx, key, r.ClientID); err != nil {
			return Registration{}, fmt.Errorf("forgetting a registration that has ended: %w", err)
		}
	case !errors.Is(err, ErrNotFound):
		return Registration{}, fmt.Errorf("looking for a registration: %w", err)
	}
	if r, err = c.registerDynamically(ctx, d, redirectURI); err != nil {
		return Registration{}, err
	}
	if r, err = conn.Registrations.PutRegistration(ctx, key, r); err != nil {
		return Registration{}, fmt.Errorf("storing a registration: %w", err)
	}
	return r, nil
}

// configured returns a copy of the client that was registered beforehand with an
// issuer, nil if there is none. One without issuer belongs to the first that it is
// used with: its secret must not follow a server to another one.
func (conn *Connection) configured(ctx context.Context, issuer string) (*Registration, error) {
	for _, r := range conn.Clients {
		if r.Issuer == issuer {
			r.Source = SourceConfigured
			return &r, nil
		}
	}
	for _, r := range conn.Clients {
		if r.Issuer != "" {
			continue
		}
		key := RegistrationKey{Tenant: conn.Tenant, RedirectURI: "configured:" + conn.Name + ":" + r.ClientID}
		bound, err := conn.Registrations.PutRegistration(ctx, key, Registration{Issuer: issuer, ClientID: r.ClientID, Source: SourceConfigured})
		if err != nil {
			return nil, fmt.Errorf("binding the client to its issuer: %w", err)
		}
		if bound.Issuer == issuer {
			r.Issuer, r.Source = issuer, SourceConfigured
			return &r, nil
		}
	}
	return nil, nil
}

// registerDynamically is RFC 7591. The request has only members that the RFC
// knows, and none that is empty: real servers refuse others.
func (c *Client) registerDynamically(ctx context.Context, d *Discovery, redirectURI string) (Registration, error) {
	u, err := checkEndpoint("registration endpoint", d.Server.RegistrationEndpoint, d.local)
	if err != nil {
		return Registration{}, err
	}
	method := AuthBasic // RFC 8414 section 2: the default of a server that lists nothing
	if offered := d.Server.TokenEndpointAuthMethodsSupported; len(offered) > 0 {
		i := slices.IndexFunc([]string{AuthBasic, AuthPost, AuthNone}, func(m string) bool { return slices.Contains(offered, m) })
		if i < 0 {
			return Registration{}, holdfast.Errorf(holdfast.CodeNotOffered,
				"the authorization server %s offers no way of client authentication that a dynamic registration can use", d.Server.Issuer)
		}
		method = []string{AuthBasic, AuthPost, AuthNone}[i]
	}
	grants := []string{"authorization_code"}
	if s := d.Server.GrantTypesSupported; len(s) == 0 || slices.Contains(s, "refresh_token") {
		grants = append(grants, "refresh_token")
	}
	body, err := json.Marshal(c.metadata([]string{redirectURI}, grants, method))
	if err != nil {
		return Registration{}, fmt.Errorf("encoding a registration: %w", err)
	}
	req, err := http.NewRequest(http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Registration{}, fmt.Errorf("the registration endpoint at %s cannot be asked", origin(u))
	}
	req.Header.Set("Content-Type", "application/json")
	a, err := c.do(ctx, req, false, d.local)
	if err != nil {
		return Registration{}, err
	}
	return c.parseRegistration(u, a, d.Server.Issuer, redirectURI, method)
}

func (c *Client) parseRegistration(u *url.URL, a *answer, issuer, redirectURI, method string) (Registration, error) {
	refuse := func(code, reason string) (Registration, error) {
		if code != "" {
			reason = code
		}
		return Registration{}, holdfast.Errorf(holdfast.CodeForbidden,
			"the authorization server %s does not register the client: %s (HTTP %d); one that was registered there by hand can be stored for the connection",
			issuer, reason, a.status)
	}
	o, err := parseObject(a.body)
	if a.status != http.StatusCreated && a.status != http.StatusOK {
		if isBusy(a.status) {
			return Registration{}, busy(u, a)
		}
		code := ""
		if err == nil {
			_ = o.get("error", &code) // one of a wrong type is none
		}
		if !slices.Contains(knownCodes, code) {
			code = ""
		}
		return refuse(code, "no reason that is known")
	}
	if err != nil {
		return refuse("", "the answer is no JSON object")
	}
	var id, secret, got string
	var redirects, grants, responses []string
	if err := errors.Join(o.get("client_id", &id), o.get("client_secret", &secret), o.get("token_endpoint_auth_method", &got),
		o.list("redirect_uris", &redirects), o.list("grant_types", &grants), o.list("response_types", &responses)); err != nil {
		return refuse("", err.Error())
	}
	r := Registration{Issuer: issuer, ClientID: id, ClientSecret: Secret(secret), Method: method, Source: SourceDynamic, RedirectURI: redirectURI}
	if got != "" {
		r.Method = got
	} else if secret == "" {
		r.Method = AuthNone
	} else if method == AuthNone {
		r.Method = AuthBasic
	}
	// Seconds since 1970; 0 is never. One that cannot be read does no harm: the
	// server refuses the client when its secret has ended.
	var expires float64
	if o.get("client_secret_expires_at", &expires) == nil && expires > 0 && expires < 1<<40 {
		r.SecretExpires = time.Unix(int64(expires), 0)
	}
	switch {
	case id == "" || !isPrintable(id) || !isPrintable(secret):
		return refuse("", "the answer has no client id that can be used")
	case !slices.Contains([]string{AuthNone, AuthBasic, AuthPost}, r.Method):
		return refuse("", "it demands a way of client authentication that was not asked for")
	case r.Method != AuthNone && secret == "":
		return refuse("", "the answer has no client secret")
	case len(redirects) > 0 && !slices.Contains(redirects, redirectURI):
		return refuse("", "it registered another redirect URI")
	case len(grants) > 0 && !slices.Contains(grants, "authorization_code"), len(responses) > 0 && !slices.Contains(responses, "code"):
		return refuse("", "it registered the client for something else than authorization codes")
	}
	return r, nil
}
