package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/callback"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

// authorizations joins vault, OAuth client and flows to what the runtime, the API
// and the toolsets ask for. Nil where no keys are configured.
type authorizations struct {
	vault  *vault.Vault
	ring   *state.Ring
	client *oauth.Client
	flows  *flow.Flows
	log    *slog.Logger
}

var (
	_ runtime.Authorizer     = (*authorizations)(nil)
	_ httpapi.Authorizations = (*authorizations)(nil)
)

// oauthKeys reads the keys of the vault and of states. Where the database is a
// file in the data folder they are made there; nil says that there are none.
func (p *program) oauthKeys() (*vault.LocalKeys, *state.Ring, error) {
	read := func(name, text, file string) ([]vault.NamedKey, error) {
		switch {
		case text != "":
			keys, err := vault.ParseKeys(config.List(text))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return keys, nil
		case p.cfg.DatabaseURL == "":
			return vault.KeyFile(filepath.Join(p.cfg.Data, file))
		}
		return nil, nil
	}
	vaultKeys, err := read("HOLDFAST_VAULT_KEYS", p.cfg.VaultKeys.Reveal(), "vault.keys")
	if err != nil {
		return nil, nil, err
	}
	stateKeys, err := read("HOLDFAST_OAUTH_STATE_KEYS", p.cfg.StateKeys.Reveal(), "state.keys")
	if err != nil {
		return nil, nil, err
	}
	var local *vault.LocalKeys
	var ring *state.Ring
	if len(vaultKeys) > 0 {
		if local, err = vault.NewLocalKeys(vaultKeys...); err != nil {
			return nil, nil, fmt.Errorf("HOLDFAST_VAULT_KEYS: %w", err)
		}
	}
	if len(stateKeys) > 0 {
		keys := make([]state.Key, len(stateKeys))
		for i, k := range stateKeys {
			keys[i] = state.Key{ID: k.ID, Secret: k.Secret}
		}
		if ring, err = state.NewRing(keys...); err != nil {
			return nil, nil, fmt.Errorf("HOLDFAST_OAUTH_STATE_KEYS: %w", err)
		}
	}
	return local, ring, nil
}

// callbackURL is where authorization servers send browsers.
func (p *program) callbackURL() string {
	if p.cfg.CallbackURL != "" {
		return p.cfg.CallbackURL.Reveal()
	}
	return p.publicURL
}

// documentURL is where a connection's client id metadata document is; servers take
// only https.
func (p *program) documentURL(connection string) string {
	if base := p.callbackURL(); strings.HasPrefix(base, "https://") {
		return callback.DocumentURL(base, connection)
	}
	return ""
}

func (p *program) openGuard() *egress.Guard {
	hosted := p.cfg.Hosted.Or(p.o.Hosted)
	g := egress.New(egress.Policy{AllowHosts: p.cfg.EgressAllow, AllowLoopback: !hosted})
	p.onStop(func() error { g.Close(); return nil })
	return g
}

// openAuthorizations makes the OAuth client, if there are keys.
func (p *program) openAuthorizations() error {
	local, ring, err := p.oauthKeys()
	if err != nil {
		return err
	}
	if local == nil || ring == nil {
		if (local == nil) != (ring == nil) {
			return errors.New("HOLDFAST_VAULT_KEYS and HOLDFAST_OAUTH_STATE_KEYS belong together: set both or none")
		}
		p.log.Info("no keys for the vault: OAuth connections and secrets of tenants are not offered")
		return nil
	}
	client, err := oauth.NewClient(oauth.Options{Transport: p.openGuard(), Logger: p.log})
	if err != nil {
		return err
	}
	v := vault.New(p.store, local)
	p.auth = &authorizations{vault: v, ring: ring, client: client, log: p.log, flows: flow.New(flow.Config{
		Store: p.store, Sealer: v, Ring: ring, Grants: v.Grants(), Client: client,
		CallbackURL: p.callbackURL(), StartURL: p.publicURL, DocumentURL: p.documentURL,
		Confirm: func(tenantID string) bool { return p.cfg.ReturnURL(tenantID) != "" },
	})}
	return nil
}

// Server implements [runtime.Authorizer].
func (*authorizations) Server(err error) (string, string, bool) {
	var need *oauth.OAuthAuthorizationRequiredError
	if !errors.As(err, &need) {
		return "", "", false
	}
	return need.ServerURL, need.ServerType, true
}

// Begin implements [runtime.Authorizer].
func (a *authorizations) Begin(ctx context.Context, r runtime.AuthorizationRequest) (runtime.AuthorizationBegun, error) {
	var need *oauth.OAuthAuthorizationRequiredError
	if !errors.As(r.Err, &need) {
		return runtime.AuthorizationBegun{}, r.Err
	}
	c, err := a.connection(ctx, r.Session, r.User, r.Toolset, need.ServerURL)
	if err != nil {
		return runtime.AuthorizationBegun{}, err
	}
	b, err := a.flows.Begin(ctx, r.Session.Session, c, need.Demand, r.Anew)
	return runtime.AuthorizationBegun{Flow: b.ID, URL: b.URL, Expires: b.Expires, Binding: b.Binding}, err
}

// Deliver implements [runtime.Authorizer].
func (a *authorizations) Deliver(ctx context.Context, s holdfast.SessionRef, id string, sealed []byte) error {
	err := a.flows.Deliver(ctx, s, id, sealed)
	if errors.Is(err, flow.ErrNotFound) || errors.Is(err, flow.ErrSettled) {
		return holdfast.WrapError(holdfast.CodeConflict, err, "no such authorization is pending")
	}
	return err
}

// Finish implements [runtime.Authorizer].
func (a *authorizations) Finish(ctx context.Context, s holdfast.SessionRef, user, id string) (runtime.AuthorizationResult, error) {
	r, err := a.flows.Finish(ctx, s, user, id)
	return runtime.AuthorizationResult{Outcome: r.Outcome, Issuer: r.Issuer, Scopes: r.Scopes, Reason: r.Reason}, err
}

// Ring implements [httpapi.Authorizations].
func (a *authorizations) Ring() *state.Ring { return a.ring }

// PutSecret implements [httpapi.Authorizations].
func (a *authorizations) PutSecret(ctx context.Context, tenantID, name, value string) error {
	return a.vault.PutSecret(ctx, tenantID, name, value)
}

// ListSecrets implements [httpapi.Authorizations].
func (a *authorizations) ListSecrets(ctx context.Context, tenantID string) ([]httpapi.SecretDocument, error) {
	list, err := a.vault.Secrets(ctx, tenantID)
	out := make([]httpapi.SecretDocument, len(list))
	for i, s := range list {
		out[i] = httpapi.SecretDocument{Name: s.Name, CreatedAt: s.Created, UpdatedAt: s.Updated}
	}
	return out, err
}

// DeleteSecret implements [httpapi.Authorizations].
func (a *authorizations) DeleteSecret(ctx context.Context, tenantID, name string) error {
	return a.vault.DeleteSecret(ctx, tenantID, name)
}

// DeleteClient implements [httpapi.Authorizations].
func (a *authorizations) DeleteClient(ctx context.Context, tenantID, name string) error {
	return a.vault.DeleteClient(ctx, tenantID, name)
}

// Connections implements [httpapi.Authorizations].
func (a *authorizations) Connections(ctx context.Context, tenantID, user string) ([]httpapi.ConnectionDocument, error) {
	list, err := a.vault.Grants().List(ctx, tenantID, user)
	out := make([]httpapi.ConnectionDocument, len(list))
	for i, g := range list {
		out[i] = httpapi.ConnectionDocument{
			ID: g.ID, User: g.Key.User, Toolset: g.Key.Connection, ServerURL: g.Key.ServerURL, Issuer: g.Issuer,
			Scopes: append([]string{}, g.Scopes...), ExpiresAt: g.Expires, CreatedAt: g.Created, UpdatedAt: g.Updated,
		}
	}
	return out, err
}

// Disconnect implements [httpapi.Authorizations]. The connection ends here first:
// a server that does not answer must not keep it. What could not be told to the
// server is kept, sealed, for the same request to be made again.
func (a *authorizations) Disconnect(ctx context.Context, tenantID, id string) error {
	grants := a.vault.Grants()
	list, err := grants.List(ctx, tenantID, "")
	if err != nil {
		return err
	}
	for _, info := range list {
		if info.ID != id {
			continue
		}
		g, version, err := grants.Get(ctx, info.Key)
		if errors.Is(err, oauth.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if err := grants.Retire(ctx, info.Key, g, version); errors.Is(err, oauth.ErrConflict) {
			return holdfast.WrapError(holdfast.CodeConflict, err, "the connection is being renewed; try again")
		} else if err != nil {
			return err
		}
	}
	retired, err := grants.Retired(ctx, tenantID, id)
	if err != nil {
		return err
	}
	if len(retired) == 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no connection %s", id)
	}
	var untold error
	for _, r := range retired {
		var away *oauth.UnavailableError
		var refused *oauth.TokenError
		switch err := a.client.Revoke(ctx, r.Grant); {
		case err == nil:
		case errors.As(err, &refused) && !errors.As(err, &away):
			// It was told, and knows neither the token nor the client: no other answer
			// will come.
			a.log.InfoContext(ctx, "a server did not revoke a token", "tenant", tenantID, "issuer", r.Grant.Issuer, "error", err)
		default:
			untold = err
			continue
		}
		if err := grants.Forget(ctx, tenantID, r.ID); err != nil {
			return err
		}
	}
	if untold != nil {
		return holdfast.WrapError(holdfast.CodeUnavailable, untold,
			"the connection has ended here, and its server could not be told; repeat the request to tell it")
	}
	return nil
}

// newCallback makes the handler of the callback routes.
func (p *program) newCallback(ring *state.Ring) (*callback.Handler, error) {
	cfg := callback.Config{
		Ring: ring, Commands: p.bus, CallbackURL: p.callbackURL(), ReturnURL: p.cfg.ReturnURL, Logger: p.log, Meter: p.o.Meter,
	}
	if client, err := oauth.NewClient(oauth.Options{Transport: http.DefaultTransport}); err == nil {
		cfg.Document = client.Document // composes a document and asks nobody
	}
	return callback.New(cfg)
}

// withOAuth puts the routes for browsers beside those of the API.
func (p *program) withOAuth(api http.Handler, keys *tenant.Keyring) (http.Handler, error) {
	if p.auth == nil {
		return api, nil
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle(flow.StartPath+"/{tenant}/{flow}", &callback.Starter{
		Open: p.auth.flows.Open, Ring: p.auth.ring, Keys: keys, Secure: strings.HasPrefix(p.publicURL, "https://"), Logger: p.log,
	})
	if p.cfg.CallbackURL == "" {
		h, err := p.newCallback(p.auth.ring)
		if err != nil {
			return nil, err
		}
		mux.Handle("/oauth/", h)
	} else if err := p.sameHost(); err != nil {
		p.log.Warn("authorizations will not end for tenants without an address in HOLDFAST_OAUTH_RETURN_URLS", "reason", err)
	}
	return mux, nil
}

// sameHost checks that the callback gets to see the cookies of the API.
func (p *program) sameHost() error {
	a, err := url.Parse(p.publicURL)
	if err != nil {
		return err
	}
	b, err := url.Parse(p.callbackURL())
	if err != nil {
		return err
	}
	if a.Hostname() != b.Hostname() {
		return fmt.Errorf("HOLDFAST_OAUTH_CALLBACK_URL has the host %s and HOLDFAST_PUBLIC_URL %s: browsers do not bring the cookie of one to the other", b.Hostname(), a.Hostname())
	}
	return nil
}

// purgeEvery is how often flows that came to nothing are removed, purgeAfter how
// long after their end.
const (
	purgeEvery = 10 * time.Minute
	purgeAfter = time.Hour
)

// purgeFlows removes flows that nobody can finish any more.
func (p *program) purgeFlows(ctx context.Context) error {
	t := time.NewTicker(purgeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if _, err := p.store.PurgeFlows(ctx, time.Now().Add(-purgeAfter)); err != nil && ctx.Err() == nil {
			p.log.Warn("purge authorizations", "error", err)
		}
	}
}
