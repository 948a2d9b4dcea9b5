package httpapi_test

import (
	"context"
	"io"
	stdlog "log"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
	"github.com/holdfast-run/holdfast/internal/quota"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/tenant"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// vaulted is the vault as the API wants it.
type vaulted struct {
	*vault.Vault
	ring *state.Ring
}

func newVault(t testing.TB, store vault.Store) vaulted {
	t.Helper()
	keys, err := vault.NewLocalKeys(vault.NamedKey{ID: "k", Secret: []byte(strings.Repeat("v", 32))})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := state.NewRing(state.Key{ID: "k", Secret: []byte(strings.Repeat("k", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return vaulted{vault.New(store, keys), ring}
}

func (v vaulted) Ring() *state.Ring { return v.ring }

func (v vaulted) ListSecrets(ctx context.Context, tenantID string) ([]httpapi.SecretDocument, error) {
	list, err := v.Secrets(ctx, tenantID)
	out := make([]httpapi.SecretDocument, len(list))
	for i, s := range list {
		out[i] = httpapi.SecretDocument{Name: s.Name, CreatedAt: s.Created, UpdatedAt: s.Updated}
	}
	return out, err
}

func (v vaulted) PutClient(ctx context.Context, tenantID, name string, c httpapi.OAuthClient) error {
	return v.Vault.PutClient(ctx, tenantID, vault.ClientInfo{Name: name, Issuer: c.Issuer}, oauth.Registration{ClientID: c.ClientID, ClientSecret: oauth.Secret(c.ClientSecret)})
}

func (v vaulted) ListClients(ctx context.Context, tenantID string) ([]httpapi.OAuthClientDocument, error) {
	list, err := v.Clients(ctx, tenantID)
	out := make([]httpapi.OAuthClientDocument, len(list))
	for i, c := range list {
		out[i] = httpapi.OAuthClientDocument{Name: c.Name, ClientID: c.ClientID, Grant: "authorization_code"}
	}
	return out, err
}

func (v vaulted) Connections(ctx context.Context, tenantID, user string) ([]httpapi.ConnectionDocument, error) {
	list, err := v.Grants().List(ctx, tenantID, user)
	out := make([]httpapi.ConnectionDocument, len(list))
	for i, g := range list {
		out[i] = httpapi.ConnectionDocument{ID: g.ID, User: g.Key.User, Toolset: g.Key.Connection, ServerURL: g.Key.ServerURL, Issuer: g.Issuer, Scopes: g.Scopes}
	}
	return out, err
}

func (v vaulted) Disconnect(ctx context.Context, tenantID, id string) error {
	list, err := v.Grants().List(ctx, tenantID, "")
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.ID == id {
			grant, version, err := v.Grants().Get(ctx, g.Key)
			if err != nil {
				return err
			}
			return v.Grants().Retire(ctx, g.Key, grant, version)
		}
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "there is no connection %s", id)
}

// everything is an API that offers all that there is, for the tenants acme and
// bolt, and the address of a registry.
func everything(t *testing.T, change ...func(*httpapi.Config)) (w *world, v vaulted, reg string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	srv := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	ring, err := tenant.ParseKeys([]string{"acme:" + acmeKey, "bolt:" + boltKey})
	if err == nil {
		ring, err = ring.WithOperators([]string{operatorKey})
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := webhook.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, append([]func(*httpapi.Config){func(c *httpapi.Config) {
		store := c.Store.(storeFaults).f.Store
		v = newVault(t, store.(vault.Store))
		c.FeedLinger = time.Nanosecond // what was read a moment ago is not kept over an outage
		c.Keys, c.MaxBody, c.MaxImport, c.HostFiles, c.Authorizations = ring, contractMaxBody, contractMaxBody, true, v
		c.Usage, c.Schedules, c.Search = store.(events.UsageStore), store.(schedule.Store), store.(search.Store)
		gate, err := quota.New(quota.Config{Store: store.(quota.Store)})
		if err != nil {
			t.Fatal(err)
		}
		c.Quotas, c.Commands = gate, quota.Commands{Gate: gate, Next: c.Commands}
		c.Registry = registryOf{ociregistry.New(ociregistry.Options{})}
		c.MakeAgent = answers("```yaml\n# name: made\nversion: \"2\"\nagents:\n  root:\n    model: scripted/demo\n```\n")
		c.Webhooks = &httpapi.Webhooks{Store: store.(webhook.Store), Signer: signer, Check: func(u *url.URL) error {
			if u.Scheme != "https" {
				return holdfast.Errorf(holdfast.CodeInvalid, "the URL must begin with https")
			}
			return nil
		}}
	}}, change...)...)
	return w, v, strings.TrimPrefix(srv.URL, "http://")
}

// connect gives a tenant a connection and returns its id.
func connect(t *testing.T, v vaulted, tenantID, name string) string {
	t.Helper()
	key := oauth.GrantKey{Tenant: tenantID, Connection: name, ServerURL: "https://mcp.example/mcp"}
	if _, err := v.Grants().Put(t.Context(), key, oauth.Grant{Issuer: "https://login.example"}, 0); err != nil {
		t.Fatal(err)
	}
	list, err := v.Grants().List(t.Context(), tenantID, "")
	if err != nil || len(list) == 0 {
		t.Fatalf("connections: %v, %v", list, err)
	}
	return list[len(list)-1].ID
}
