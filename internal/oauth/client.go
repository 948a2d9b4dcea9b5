package oauth

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
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

	// Machine gets tokens without a human; nil asks the human.
	Machine Machine
	// WholeOrigin sends the token to all paths of the server's origin, not only to
	// those below the resource. For the older transport with SSE, whose messages go
	// to a path that the server chooses.
	WholeOrigin bool
	// Transport carries the requests to the MCP server; nil is that of the client.
	Transport http.RoundTripper

	// Grants and Registrations are required.
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
