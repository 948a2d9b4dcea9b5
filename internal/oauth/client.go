package oauth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Options are the deployment's.
type Options struct {
	// Transport carries all requests to authorization servers, and those for
	// metadata. It is the place of the guard for outgoing connections. Required.
	Transport http.RoundTripper
	// Logger gets what an operator may want to know, never a secret; nil discards.
	Logger *slog.Logger
	// Timeout bounds each request to an authorization server. 0 means 15 seconds.
	Timeout time.Duration
	// ClientName is what consent pages show; "" is "Holdfast".
	ClientName string
	// ClientURI is shown beside it; "" leaves it out.
	ClientURI string
	// DocumentURL is the https URL at which this deployment serves its client id
	// metadata document; "" is that it serves none.
	DocumentURL string
	// RequireMetadata refuses servers of MCP 2025-03-26 that publish no metadata
	// of the resource. False asks their own origin, as that revision says.
	RequireMetadata bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Connection is one user's connection to one MCP server.
type Connection struct {
	Tenant  string
	User    string
	Session string // only for the log
	Name    string // of the connection within its tenant
	// ServerURL is the MCP endpoint.
	ServerURL string

	// Clients are registered beforehand, one per issuer. An entry without issuer is
	// for the server that is met first, and bound to it in the grant.
	Clients []Registration
	// Scopes are asked for instead of those that the resource's metadata lists.
	Scopes []string

	Grants        GrantStore
	Registrations RegistrationStore
}

// Client speaks to authorization servers. It is for all tenants and safe for
// concurrent use.
type Client struct {
	opts Options
}

// NewClient checks the options and sets their defaults.
func NewClient(o Options) (*Client, error) {
	if o.Transport == nil {
		return nil, errors.New("oauth: there is no transport for requests to authorization servers")
	}
	if o.DocumentURL != "" {
		if u, err := url.Parse(o.DocumentURL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path == "" || u.Path == "/" || u.User != nil || u.Fragment != "" {
			return nil, fmt.Errorf("oauth: %q cannot be a client id: it must be an https URL with a path", o.DocumentURL)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	o.ClientName = cmp.Or(o.ClientName, "Holdfast")
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Client{opts: o}, nil
}
