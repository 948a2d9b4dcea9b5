package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Errors of [GrantStore] and [RegistrationStore]. Compare with errors.Is.
var (
	ErrNotFound  = errors.New("oauth: there is no such entry")
	ErrConflict  = errors.New("oauth: the entry was changed by somebody else")
	ErrLeaseHeld = errors.New("oauth: somebody else holds the lease")
)

// GrantKey says whose grant it is: that of one user for one connection.
type GrantKey struct {
	Tenant string
	// User is the user on whose behalf; "" is the one of a deployment without users.
	User string
	// Connection is the name of the connection within its tenant.
	Connection string
	// ServerURL is the MCP endpoint in the form of [CanonicalURL].
	ServerURL string
}

// Grant is what a user allowed, and the tokens that came with it. It belongs to
// one issuer: no part of it is ever sent to another.
type Grant struct {
	Issuer string
	// Resource is the resource indicator (RFC 8707) of all requests for its tokens;
	// "" with servers that have no metadata of the resource.
	Resource string
	// Registration is the client that the tokens were issued to.
	Registration       Registration
	TokenEndpoint      string
	RevocationEndpoint string // "" if the server has none
	// TokenType is "Bearer" or "DPoP".
	TokenType    string
	AccessToken  Secret
	RefreshToken Secret // "" if none was issued
	// Scopes are those that the tokens have, or, if the server did not say, those
	// that were asked for.
	Scopes []string
	// Expires is when the access token ends; zero is unknown.
	Expires time.Time
	// ProofKey is the private key (PKCS #8, base64) that DPoP tokens are bound to.
	ProofKey Secret
	// Prompts counts how often the human was asked for operations that do not work
	// yet.
	Prompts map[string]Prompts
}

// Prompts counts how often the human was asked for one operation.
type Prompts struct {
	Count    int `json:"count"`
	Refusals int `json:"refusals,omitempty"` // of them, after a token that was not taken
	// Last is when the last of them was answered.
	Last time.Time `json:"last"`
}

// GrantStore keeps grants, sealed. All workers share it.
type GrantStore interface {
	// Get returns the grant and its version; ErrNotFound if there is none.
	Get(ctx context.Context, key GrantKey) (Grant, int64, error)
	// Put replaces the grant whose version is the given one, 0 for none, and
	// returns the new version, which is greater than all before, those of a deleted
	// grant of the same key included. ErrConflict if the version is another.
	Put(ctx context.Context, key GrantKey, g Grant, version int64) (int64, error)
	// Delete removes the grant whose version is the given one. ErrConflict if the
	// version is another; no error if there is none.
	Delete(ctx context.Context, key GrantKey, version int64) error
	// Lease reserves the refresh of a grant for the caller, at most for ttl by the
	// store's clock. ErrLeaseHeld if somebody else has it. release gives it back
	// and may be called late and more than once; it never frees another's lease.
	Lease(ctx context.Context, key GrantKey, ttl time.Duration) (release func(), err error)
}

// RegistrationKey says for whom a client was registered dynamically.
type RegistrationKey struct {
	Tenant      string
	Issuer      string
	RedirectURI string
}

// Values of [Registration.Source].
const (
	SourceConfigured = "configured" // registered beforehand, by a human
	SourceDocument   = "document"   // a client id metadata document
	SourceDynamic    = "dynamic"    // dynamic registration (RFC 7591)
)

// Registration is a client as one authorization server knows it.
type Registration struct {
	Issuer       string
	ClientID     string
	ClientSecret Secret
	// SecretExpires is when the secret ends; zero is never.
	SecretExpires time.Time
	// Method is the token_endpoint_auth_method: [AuthNone], [AuthBasic], [AuthPost]
	// or [AuthPrivateKeyJWT]. "" is chosen by what the server offers.
	Method string
	// PrivateKey signs assertions for [AuthPrivateKeyJWT]: PEM with PKCS #8, SEC 1
	// or PKCS #1. KeyID and Algorithm ("" is chosen by the key) go into the header.
	PrivateKey Secret
	KeyID      string
	Algorithm  string
	Source     string
	// RedirectURI is the one that was registered; "" for SourceConfigured.
	RedirectURI string
}

// Methods of client authentication at the token endpoint (RFC 7591 section 2,
// OpenID Connect Core section 9).
const (
	AuthNone          = "none"
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthPrivateKeyJWT = "private_key_jwt"
)

// RegistrationStore keeps dynamic registrations, sealed. All workers share it.
type RegistrationStore interface {
	// GetRegistration returns ErrNotFound if there is none.
	GetRegistration(ctx context.Context, key RegistrationKey) (Registration, error)
	// PutRegistration stores one if there is none, and returns what is stored then:
	// of two workers that registered at the same time, both use the first.
	PutRegistration(ctx context.Context, key RegistrationKey, r Registration) (Registration, error)
	// DeleteRegistration removes the registration of this client id, if it is still
	// the one that is stored.
	DeleteRegistration(ctx context.Context, key RegistrationKey, clientID string) error
}

// plainSecret lets encoding/json see what Secret hides.
type plainSecret string

type storedRegistration struct {
	Issuer        string      `json:"issuer"`
	ClientID      string      `json:"client_id"`
	ClientSecret  plainSecret `json:"client_secret,omitempty"`
	SecretExpires time.Time   `json:"secret_expires,omitzero"`
	Method        string      `json:"method,omitempty"`
	PrivateKey    plainSecret `json:"private_key,omitempty"`
	KeyID         string      `json:"key_id,omitempty"`
	Algorithm     string      `json:"algorithm,omitempty"`
	Source        string      `json:"source,omitempty"`
	RedirectURI   string      `json:"redirect_uri,omitempty"`
}

func (r *Registration) stored() storedRegistration {
	return storedRegistration{
		Issuer: r.Issuer, ClientID: r.ClientID, ClientSecret: plainSecret(r.ClientSecret), SecretExpires: r.SecretExpires,
		Method: r.Method, PrivateKey: plainSecret(r.PrivateKey), KeyID: r.KeyID, Algorithm: r.Algorithm, Source: r.Source,
		RedirectURI: r.RedirectURI,
	}
}

func (s *storedRegistration) registration() Registration {
	return Registration{
		Issuer: s.Issuer, ClientID: s.ClientID, ClientSecret: Secret(s.ClientSecret), SecretExpires: s.SecretExpires,
		Method: s.Method, PrivateKey: Secret(s.PrivateKey), KeyID: s.KeyID, Algorithm: s.Algorithm, Source: s.Source,
		RedirectURI: s.RedirectURI,
	}
}

// MarshalSecret returns the registration with its secrets in clear: to be sealed,
// never to be stored or sent as it is.
func (r *Registration) MarshalSecret() ([]byte, error) { return json.Marshal(r.stored()) }

// UnmarshalSecret reads what MarshalSecret wrote.
func (r *Registration) UnmarshalSecret(b []byte) error {
	var s storedRegistration
	if err := unmarshalStored(b, &s); err != nil {
		return fmt.Errorf("reading a stored registration: %w", err)
	}
	*r = s.registration()
	return nil
}

type storedGrant struct {
	Issuer             string             `json:"issuer"`
	Resource           string             `json:"resource,omitempty"`
	Registration       storedRegistration `json:"registration"`
	TokenEndpoint      string             `json:"token_endpoint"`
	RevocationEndpoint string             `json:"revocation_endpoint,omitempty"`
	TokenType          string             `json:"token_type"`
	AccessToken        plainSecret        `json:"access_token"`
	RefreshToken       plainSecret        `json:"refresh_token,omitempty"`
	Scopes             []string           `json:"scopes,omitempty"`
	Expires            time.Time          `json:"expires,omitzero"`
	ProofKey           plainSecret        `json:"proof_key,omitempty"`
	Prompts            map[string]Prompts `json:"prompts,omitempty"`
}

// MarshalSecret returns the grant with its secrets in clear: to be sealed, never
// to be stored or sent as it is.
func (g *Grant) MarshalSecret() ([]byte, error) {
	return json.Marshal(storedGrant{
		Issuer: g.Issuer, Resource: g.Resource, Registration: g.Registration.stored(), TokenEndpoint: g.TokenEndpoint,
		RevocationEndpoint: g.RevocationEndpoint, TokenType: g.TokenType, AccessToken: plainSecret(g.AccessToken),
		RefreshToken: plainSecret(g.RefreshToken), Scopes: g.Scopes, Expires: g.Expires, ProofKey: plainSecret(g.ProofKey),
		Prompts: g.Prompts,
	})
}

// UnmarshalSecret reads what MarshalSecret wrote.
func (g *Grant) UnmarshalSecret(b []byte) error {
	var s storedGrant
	if err := unmarshalStored(b, &s); err != nil {
		return fmt.Errorf("reading a stored grant: %w", err)
	}
	*g = Grant{
		Issuer: s.Issuer, Resource: s.Resource, Registration: s.Registration.registration(), TokenEndpoint: s.TokenEndpoint,
		RevocationEndpoint: s.RevocationEndpoint, TokenType: s.TokenType, AccessToken: Secret(s.AccessToken),
		RefreshToken: Secret(s.RefreshToken), Scopes: s.Scopes, Expires: s.Expires, ProofKey: Secret(s.ProofKey), Prompts: s.Prompts,
	}
	return nil
}

// unmarshalStored hides from errors what it could not read: it is a secret.
func unmarshalStored(b []byte, into any) error {
	if json.Unmarshal(b, into) != nil {
		return errors.New("it is not what was written")
	}
	return nil
}
