package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
)

// Authorizations is what the API needs of the OAuth client and the vault.
type Authorizations interface {
	// Ring checks states and verifiers.
	Ring() *state.Ring
	// Secrets of a tenant; values go in and never come out.
	PutSecret(ctx context.Context, tenant, name, value string) error
	ListSecrets(ctx context.Context, tenant string) ([]SecretDocument, error)
	DeleteSecret(ctx context.Context, tenant, name string) error
	// Clients that a tenant registered at authorization servers by hand.
	PutClient(ctx context.Context, tenant, name string, c OAuthClient) error
	ListClients(ctx context.Context, tenant string) ([]OAuthClientDocument, error)
	DeleteClient(ctx context.Context, tenant, name string) error
	// Connections are grants. Disconnect revokes at the server and deletes; an
	// unknown one is CodeNotFound.
	Connections(ctx context.Context, tenant, user string) ([]ConnectionDocument, error)
	Disconnect(ctx context.Context, tenant, id string) error
}

// SecretDocument is a secret without its value.
type SecretDocument struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// OAuthClient is a client that was registered by hand.
type OAuthClient struct {
	Issuer       string `json:"issuer,omitempty" maxLength:"2000" doc:"The authorization server. Default: the one that is met first."`
	ServerURL    string `json:"server_url,omitempty" maxLength:"2000" doc:"The MCP server that it is for. Default: all of the issuer."`
	Grant        string `json:"grant,omitempty" enum:"authorization_code,client_credentials,workload_identity,enterprise_managed" doc:"How tokens are got. authorization_code, the default: a user agrees. The others need no human, and server_url."`
	ClientID     string `json:"client_id,omitempty" maxLength:"2000" doc:"Required, but for workload_identity. It may be the https URL of a client id metadata document that you publish."`
	ClientSecret string `json:"client_secret,omitempty" maxLength:"10000" doc:"Never given back."`
	Method       string `json:"token_endpoint_auth_method,omitempty" enum:"none,client_secret_basic,client_secret_post,private_key_jwt" doc:"Default: chosen by what the server offers."`
	PrivateKey   string `json:"private_key,omitempty" maxLength:"20000" doc:"PEM, for private_key_jwt. Never given back."`
	KeyID        string `json:"key_id,omitempty" maxLength:"200"`
	Algorithm    string `json:"algorithm,omitempty" maxLength:"20"`
	Assertion    string `json:"assertion_secret,omitempty" maxLength:"128" doc:"Name of the secret that holds the assertion: the JWT of the workload (workload_identity), or the user's identity token (enterprise_managed). {user} stands for the session's user. It is read for each token, so it may be replaced at any time."`

	IDP *IdentityProvider `json:"identity_provider,omitempty" doc:"Where the user's identity is exchanged, for enterprise_managed."`
}

// IdentityProvider is where a user's identity is exchanged for a grant.
type IdentityProvider struct {
	Issuer        string `json:"issuer,omitempty" maxLength:"2000" doc:"It is asked for its token endpoint, if that is not given."`
	TokenEndpoint string `json:"token_endpoint,omitempty" maxLength:"2000"`
	ClientID      string `json:"client_id" minLength:"1" maxLength:"2000"`
	ClientSecret  string `json:"client_secret_name,omitempty" maxLength:"128" doc:"Name of the secret that holds the client's secret there."`
}

// OAuthClientDocument is a client without its secrets.
type OAuthClientDocument struct {
	Name      string `json:"name"`
	Issuer    string `json:"issuer,omitempty"`
	ServerURL string `json:"server_url,omitempty"`
	ClientID  string `json:"client_id"`
	Grant     string `json:"grant"`
}

// ConnectionDocument is a grant without its tokens.
type ConnectionDocument struct {
	ID        string    `json:"id"`
	User      string    `json:"user,omitempty"`
	Toolset   string    `json:"toolset"`
	ServerURL string    `json:"server_url"`
	Issuer    string    `json:"issuer"`
	Scopes    []string  `json:"scopes"`
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"When the access token ends; it is renewed by itself if the server allows."`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// StartDecision is the body of a decision on an authorization.
type StartDecision struct {
	Decision string `json:"decision" enum:"start,decline" doc:"start: the user is about to authorize; a flow that has expired is replaced by a new one. decline: the run ends."`
}

// Vouch is the body of an application's word for its user.
type Vouch struct {
	User       string `json:"user,omitempty" maxLength:"128" doc:"Who is logged in at the application: must be the session's user."`
	Random     string `json:"random" maxLength:"128" doc:"As the browser brought it."`
	Connection string `json:"connection" maxLength:"128" doc:"As the browser brought it."`
	Verifier   string `json:"verifier" maxLength:"128" doc:"As the browser brought it."`
}

// vaultAway is unavailable for the vault.
func vaultAway(err error) error {
	var e *holdfast.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return holdfast.WrapError(holdfast.CodeUnavailable, err, "the vault cannot be reached now; try again")
}

func (a *API) noAuthorizations() error {
	if a.cfg.Authorizations == nil {
		return holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: OAuth connections and secrets need HOLDFAST_VAULT_KEYS")
	}
	return nil
}

func (a *API) authorizationRoutes(api huma.API) {
	const tag = "authorizations"
	huma.Register(api, a.operation("decide-authorization", http.MethodPost, "/v1/sessions/{id}/authorizations/{flow}", tag, "Begin or decline an authorization",
		"A run that waits for a user's authorization says so with the event authorization_required. Its authorization_url works without this request, until expires_at; after that this request makes a new one.",
		http.StatusNotFound, http.StatusConflict), a.decideAuthorization)
	huma.Register(api, a.operation("vouch-authorization", http.MethodPost, "/v1/sessions/{id}/authorizations/{flow}/vouch", tag, "Vouch for the user who authorized",
		"Where the tenant has a return address, browsers come to it when the user has answered, with session_id, flow_id, random, connection and verifier in the query. The application says with this request that the user who is logged in there is the session's; only then is the answer used.",
		http.StatusNotFound, http.StatusConflict, http.StatusForbidden), a.vouch)
	huma.Register(api, a.operation("list-connections", http.MethodGet, "/v1/connections", tag, "List connections",
		"What users have granted, without tokens.", http.StatusNotImplemented), a.listConnections)
	huma.Register(api, a.operation("disconnect", http.MethodDelete, "/v1/connections/{connection}", tag, "Disconnect",
		"Revokes the tokens at the authorization server, if it can, and deletes them. One that is being renewed at the same moment is a conflict; try again.", http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented), a.disconnect)
	huma.Register(api, a.operation("put-oauth-client", http.MethodPut, "/v1/oauth-clients/{name}", tag, "Store a client",
		"A client that was registered at an authorization server by hand.", http.StatusNotImplemented), a.putClient)
	huma.Register(api, a.operation("list-oauth-clients", http.MethodGet, "/v1/oauth-clients", tag, "List clients", "", http.StatusNotImplemented), a.listClients)
	huma.Register(api, a.operation("delete-oauth-client", http.MethodDelete, "/v1/oauth-clients/{name}", tag, "Delete a client", "", http.StatusNotFound, http.StatusNotImplemented), a.deleteClient)
	const secrets = "secrets"
	huma.Register(api, a.operation("put-secret", http.MethodPut, "/v1/secrets/{name}", secrets, "Store a secret",
		"Agent files name it in ${env.NAME} and token_key. No request gives the value back.", http.StatusNotImplemented), a.putSecret)
	huma.Register(api, a.operation("list-secrets", http.MethodGet, "/v1/secrets", secrets, "List secrets", "Names and times, without values.", http.StatusNotImplemented), a.listSecrets)
	huma.Register(api, a.operation("delete-secret", http.MethodDelete, "/v1/secrets/{name}", secrets, "Delete a secret", "", http.StatusNotFound, http.StatusNotImplemented), a.deleteSecret)
}

// FlowPath is the part of inputs that names an authorization.
type FlowPath struct {
	Flow string `path:"flow" maxLength:"128" doc:"flow_id of the event authorization_required."`
}

func (a *API) decideAuthorization(ctx context.Context, in *struct {
	SessionPath
	FlowPath
	KeyHeader
	Body StartDecision
},
) (*settledOut, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return a.simple(ctx, in.ref(ctx), events.KindAuthorize, in.Key, events.AuthorizeBody{Flow: in.Flow, Confirm: in.Body.Decision == "start"})
}

func (a *API) vouch(ctx context.Context, in *struct {
	SessionPath
	FlowPath
	KeyHeader
	Body Vouch
},
) (*settledOut, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	ref := in.ref(ctx)
	data := state.Data{Tenant: ref.Tenant, SessionID: ref.Session, Connection: in.Body.Connection, Flow: in.Flow, Random: in.Body.Random}
	if !a.cfg.Authorizations.Ring().IsVerifier(data, in.Body.Verifier) {
		return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeForbidden, "the verifier is not that of this authorization"))
	}
	return a.simple(ctx, ref, events.KindVouch, in.Key, events.VouchBody{Flow: in.Flow, User: in.Body.User})
}

func (a *API) listConnections(ctx context.Context, in *struct {
	User string `query:"user" maxLength:"128" doc:"Only those of this user."`
},
) (*struct {
	Body struct {
		Connections []ConnectionDocument `json:"connections"`
	}
}, error,
) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &struct {
		Body struct {
			Connections []ConnectionDocument `json:"connections"`
		}
	}{}
	var err error
	out.Body.Connections, err = a.cfg.Authorizations.Connections(ctx, tenantOf(ctx), in.User)
	return out, a.respond(ctx, vaultAway(err))
}

func (a *API) disconnect(ctx context.Context, in *struct {
	Connection string `path:"connection" maxLength:"128" doc:"Id of the connection."`
},
) (*struct{}, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return nil, a.respond(ctx, vaultAway(a.cfg.Authorizations.Disconnect(ctx, tenantOf(ctx), in.Connection)))
}

func (a *API) putClient(ctx context.Context, in *struct {
	Name string `path:"name" maxLength:"128" doc:"Its name."`
	Body OAuthClient
},
) (*struct{}, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return nil, a.respond(ctx, vaultAway(a.cfg.Authorizations.PutClient(ctx, tenantOf(ctx), in.Name, in.Body)))
}

func (a *API) listClients(ctx context.Context, _ *struct{}) (*struct {
	Body struct {
		Clients []OAuthClientDocument `json:"clients"`
	}
}, error,
) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &struct {
		Body struct {
			Clients []OAuthClientDocument `json:"clients"`
		}
	}{}
	var err error
	out.Body.Clients, err = a.cfg.Authorizations.ListClients(ctx, tenantOf(ctx))
	return out, a.respond(ctx, vaultAway(err))
}

func (a *API) deleteClient(ctx context.Context, in *struct {
	Name string `path:"name" maxLength:"128" doc:"Its name."`
},
) (*struct{}, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return nil, a.respond(ctx, vaultAway(a.cfg.Authorizations.DeleteClient(ctx, tenantOf(ctx), in.Name)))
}

// SecretValue is the body of a secret.
type SecretValue struct {
	Value string `json:"value" minLength:"1" maxLength:"65536"`
}

func (a *API) putSecret(ctx context.Context, in *struct {
	Name string `path:"name" maxLength:"255" doc:"Its name."`
	Body SecretValue
},
) (*struct{}, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return nil, a.respond(ctx, vaultAway(a.cfg.Authorizations.PutSecret(ctx, tenantOf(ctx), in.Name, in.Body.Value)))
}

func (a *API) listSecrets(ctx context.Context, _ *struct{}) (*struct {
	Body struct {
		Secrets []SecretDocument `json:"secrets"`
	}
}, error,
) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &struct {
		Body struct {
			Secrets []SecretDocument `json:"secrets"`
		}
	}{}
	var err error
	out.Body.Secrets, err = a.cfg.Authorizations.ListSecrets(ctx, tenantOf(ctx))
	return out, a.respond(ctx, vaultAway(err))
}

func (a *API) deleteSecret(ctx context.Context, in *struct {
	Name string `path:"name" maxLength:"255" doc:"Its name."`
},
) (*struct{}, error) {
	if err := a.noAuthorizations(); err != nil {
		return nil, a.respond(ctx, err)
	}
	return nil, a.respond(ctx, vaultAway(a.cfg.Authorizations.DeleteSecret(ctx, tenantOf(ctx), in.Name)))
}

// startOAuth is POST /{id}/resumeStartOauth of the contract.
func (l legacyAPI) startOAuth(w http.ResponseWriter, r *http.Request) error {
	if err := l.noAuthorizations(); err != nil {
		return err
	}
	body, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	var in struct {
		Confirmation *bool `json:"confirmation"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return err
	}
	if in.Confirmation == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "confirmation: missing; want true or false")
	}
	return l.command(w, r, l.ref(r), events.KindAuthorize, r.Header.Get("Idempotency-Key"), events.AuthorizeBody{Confirm: *in.Confirmation}, "Oauth started")
}

// command sends a command to a session that exists and answers like the contract.
func (l legacyAPI) command(w http.ResponseWriter, r *http.Request, ref holdfast.SessionRef, kind, key string, body any, done string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := l.exists(r.Context(), ref); err != nil {
		return err
	}
	c, err := events.NewCommand(ref, kind, commandID(ref, kind, key), body)
	if err != nil {
		return err
	}
	_, err = l.request(r.Context(), c)
	return l.settled(w, err, done)
}

// codeReceived is POST /resumeCodeReceivedOauth of the contract: an application
// brings the answer itself. It vouches for its user by its key.
func (l legacyAPI) codeReceived(w http.ResponseWriter, r *http.Request) error {
	if err := l.noAuthorizations(); err != nil {
		return err
	}
	body, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	var in struct {
		Code  string  `json:"code"`
		State string  `json:"state"`
		Iss   *string `json:"iss"`
	}
	if err := decodeJSON(body, &in); err != nil {
		return err
	}
	if in.Code == "" || in.State == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "code and state: both are needed")
	}
	ring := l.cfg.Authorizations.Ring()
	data, err := ring.Decode(in.State, time.Now())
	if err != nil || data.Tenant != tenantOf(r.Context()) {
		return holdfast.Errorf(holdfast.CodeNotFound, "no authorization waits for this state")
	}
	sealed, err := ring.Seal(data, state.Answer{State: in.State, Code: in.Code, Issuer: in.Iss})
	if err != nil {
		return err
	}
	ref := data.Ref()
	if err := l.exists(r.Context(), ref); err != nil {
		return err
	}
	c, err := events.NewCommand(ref, events.KindAnswer, holdfast.DeriveID(ref.Tenant, ref.Session, "oauth answer", data.Flow),
		events.AnswerBody{Flow: data.Flow, Sealed: sealed, Vouched: true})
	if err != nil {
		return err
	}
	_, err = l.request(r.Context(), c)
	if holdfast.CodeOf(err) == holdfast.CodeKeyReused {
		err = holdfast.Errorf(holdfast.CodeConflict, "the authorization has its answer already")
	}
	return l.settled(w, err, "OAuth code received")
}
