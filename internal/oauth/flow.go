package oauth

import (
	"encoding/json"
	"fmt"
)

// Demand is what a server asks of the human. It is plain data without secrets:
// it may be stored with a parked call.
type Demand struct {
	// ServerURL is the MCP endpoint, as [CanonicalURL] writes it.
	ServerURL string `json:"server_url"`
	// Status is the HTTP status: 401, or 403 for a token whose scope is too small.
	Status int `json:"status"`
	// ResourceMetadata is the URL that the challenge named (RFC 9728 section 5.1).
	ResourceMetadata string `json:"resource_metadata,omitempty"`
	// Scopes are those that the challenge named; empty leaves it to the metadata.
	Scopes []string `json:"scopes,omitempty"`
	// Held are the scopes of the grant that was not enough, and Issuer is where it
	// came from. They are asked for again, if it is the same issuer.
	Held   []string `json:"held,omitempty"`
	Issuer string   `json:"issuer,omitempty"`
	// Operation is what was asked of the server. Attempt says which prompt for it
	// this is, from 1 on, and Refusals how many of them followed a token that the
	// server did not take. The flow carries them into the grant.
	Operation string `json:"operation,omitempty"`
	Attempt   int    `json:"attempt,omitempty"`
	Refusals  int    `json:"refusals,omitempty"`
	// DPoP says that the server wants tokens that are bound to a key (RFC 9449).
	DPoP bool `json:"dpop,omitempty"`
}

// OAuthAuthorizationRequiredError says that a server wants a human to authorize.
// Nothing was executed. It names the server that refused.
type OAuthAuthorizationRequiredError struct {
	Err        error
	ServerURL  string
	ServerType string // "remote"
	// Demand is what [Client.Start] needs.
	Demand Demand
}

func (e *OAuthAuthorizationRequiredError) Error() string {
	return fmt.Sprintf("authorization required for %s server %s: %v", e.ServerType, e.ServerURL, e.Err)
}

// Unwrap returns Err, which has the code unauthorized.
func (e *OAuthAuthorizationRequiredError) Unwrap() error { return e.Err }

// ServerInfoProvider is what can say which server it speaks to.
type ServerInfoProvider interface {
	// GetServerInfo returns the URL of the server and its type, "remote".
	GetServerInfo() (serverURL, serverType string)
}

// ServerTypeRemote is the type of servers that are reached by URL.
const ServerTypeRemote = "remote"

// StartRequest is what [Client.Start] is asked for.
type StartRequest struct {
	// Connection is the one whose RoundTripper returned the demand.
	Connection Connection
	Demand     Demand
	// RedirectURI is that of the callback for this connection, on its own path.
	RedirectURI string
	// DocumentURL is the https URL at which the deployment serves the client id
	// metadata document of this redirect URI ([Client.Document]); "" is that it
	// serves none.
	DocumentURL string
	// State goes into the URL as it is.
	State string
	// RegisterAnew forgets a dynamic registration that there is. For a flow whose
	// predecessor ended without any response, or with [ClientUnknown]: a server that
	// lost its registrations shows the human an error page and redirects nowhere.
	RegisterAnew bool
}

// Flow is what has to be kept, sealed, from the start of an authorization to its
// response. It names each endpoint, so that nothing is looked up again in between.
type Flow struct {
	// ServerURL, Operation, Attempt and Refusals are those of the demand.
	ServerURL string
	Operation string
	Attempt   int
	Refusals  int

	Issuer string
	// IssuerInResponse says that the server promised to name itself in the response
	// (RFC 9207): one that does not is refused.
	IssuerInResponse   bool
	TokenEndpoint      string
	RevocationEndpoint string
	Resource           string
	Registration       Registration
	RedirectURI        string
	State              string
	Scopes             []string
	// Verifier is the PKCE code verifier (RFC 7636).
	Verifier Secret
	// ProofKey is set if the tokens will be bound to a key (RFC 9449).
	ProofKey Secret
}

// Response is what came to the redirect URI. Nothing in it is trusted.
type Response struct {
	State string
	Code  Secret
	// Issuer is the parameter iss, nil if there was none.
	Issuer *string
	// Error and ErrorDescription are shown to nobody before [Flow.Check].
	Error            string
	ErrorDescription string
}

type storedFlow struct {
	ServerURL          string             `json:"server_url"`
	Operation          string             `json:"operation,omitempty"`
	Attempt            int                `json:"attempt,omitempty"`
	Refusals           int                `json:"refusals,omitempty"`
	Issuer             string             `json:"issuer"`
	IssuerInResponse   bool               `json:"issuer_in_response,omitempty"`
	TokenEndpoint      string             `json:"token_endpoint"`
	RevocationEndpoint string             `json:"revocation_endpoint,omitempty"`
	Resource           string             `json:"resource,omitempty"`
	Registration       storedRegistration `json:"registration"`
	RedirectURI        string             `json:"redirect_uri"`
	State              string             `json:"state"`
	Scopes             []string           `json:"scopes,omitempty"`
	Verifier           plainSecret        `json:"verifier"`
	ProofKey           plainSecret        `json:"proof_key,omitempty"`
}

// MarshalSecret returns the flow with its secrets in clear: to be sealed, never
// to be stored or sent as it is.
func (f *Flow) MarshalSecret() ([]byte, error) {
	return json.Marshal(storedFlow{
		ServerURL: f.ServerURL, Operation: f.Operation, Attempt: f.Attempt, Refusals: f.Refusals, Issuer: f.Issuer, IssuerInResponse: f.IssuerInResponse,
		TokenEndpoint: f.TokenEndpoint, RevocationEndpoint: f.RevocationEndpoint, Resource: f.Resource,
		Registration: f.Registration.stored(), RedirectURI: f.RedirectURI, State: f.State, Scopes: f.Scopes,
		Verifier: plainSecret(f.Verifier), ProofKey: plainSecret(f.ProofKey),
	})
}

// UnmarshalSecret reads what MarshalSecret wrote.
func (f *Flow) UnmarshalSecret(b []byte) error {
	var s storedFlow
	if err := unmarshalStored(b, &s); err != nil {
		return fmt.Errorf("reading a stored flow: %w", err)
	}
	*f = Flow{
		ServerURL: s.ServerURL, Operation: s.Operation, Attempt: s.Attempt, Refusals: s.Refusals, Issuer: s.Issuer, IssuerInResponse: s.IssuerInResponse,
		TokenEndpoint: s.TokenEndpoint, RevocationEndpoint: s.RevocationEndpoint, Resource: s.Resource,
		Registration: s.Registration.registration(), RedirectURI: s.RedirectURI, State: s.State, Scopes: s.Scopes,
		Verifier: Secret(s.Verifier), ProofKey: Secret(s.ProofKey),
	}
	return nil
}
