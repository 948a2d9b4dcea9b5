package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
)

// Grants keeps the grants and registrations of package oauth in the vault.
type Grants struct{ v *Vault }

var (
	_ oauth.GrantStore        = Grants{}
	_ oauth.RegistrationStore = Grants{}
)

// Grants returns the vault as a store of grants.
func (v *Vault) Grants() Grants { return Grants{v} }

// grantID names the grant of a key; the user is part of it, so that a row that is
// given to another user does not open.
func grantID(k oauth.GrantKey) string {
	sum := sha256.Sum256(bound(k.User, k.Connection, k.ServerURL))
	return hex.EncodeToString(sum[:16])
}

// grantLabel is what lists show of a grant.
type grantLabel struct {
	Connection string    `json:"connection"`
	ServerURL  string    `json:"server_url"`
	Issuer     string    `json:"issuer"`
	Scopes     []string  `json:"scopes,omitempty"`
	Expires    time.Time `json:"expires,omitzero"`
}

// Get implements [oauth.GrantStore].
func (s Grants) Get(ctx context.Context, key oauth.GrantKey) (oauth.Grant, int64, error) {
	var g oauth.Grant
	e, err := s.v.store.Entry(ctx, key.Tenant, KindGrant, grantID(key))
	if err != nil {
		return g, 0, translate(err, "read a grant")
	}
	plain, err := s.v.Open(ctx, key.Tenant, KindGrant, e.ID, e.Sealed)
	if err != nil {
		return g, 0, err
	}
	if err := g.UnmarshalSecret(plain); err != nil {
		return g, 0, err
	}
	return g, e.Version, nil
}

// Put implements [oauth.GrantStore].
func (s Grants) Put(ctx context.Context, key oauth.GrantKey, g oauth.Grant, version int64) (int64, error) {
	plain, err := g.MarshalSecret()
	if err != nil {
		return 0, fmt.Errorf("encode a grant: %w", err)
	}
	id := grantID(key)
	sealed, err := s.v.Seal(ctx, key.Tenant, KindGrant, id, plain)
	if err != nil {
		return 0, err
	}
	label, err := json.Marshal(grantLabel{Connection: key.Connection, ServerURL: key.ServerURL, Issuer: g.Issuer, Scopes: g.Scopes, Expires: g.Expires})
	if err != nil {
		return 0, fmt.Errorf("encode a grant: %w", err)
	}
	n, err := s.v.store.PutEntry(ctx, Entry{Tenant: key.Tenant, Kind: KindGrant, ID: id, Owner: key.User, Label: string(label), Sealed: sealed}, version)
	return n, translate(err, "store a grant")
}

// Delete implements [oauth.GrantStore].
func (s Grants) Delete(ctx context.Context, key oauth.GrantKey, version int64) error {
	err := s.v.store.DeleteEntry(ctx, key.Tenant, KindGrant, grantID(key), version)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return translate(err, "delete a grant")
}

// releaseTimeout bounds how long giving back a lease may take; it ends by itself.
const releaseTimeout = 5 * time.Second

// Lease implements [oauth.GrantStore].
func (s Grants) Lease(ctx context.Context, key oauth.GrantKey, ttl time.Duration) (func(), error) {
	id, holder := grantID(key), rand.Text()
	release := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		// A lease that cannot be given back ends by itself.
		_ = s.v.store.ReleaseEntry(ctx, key.Tenant, KindGrant, id, holder)
	})
	err := s.v.store.LeaseEntry(ctx, key.Tenant, KindGrant, id, holder, ttl)
	if err == nil {
		return release, nil
	}
	if !errors.Is(err, ErrLeaseHeld) {
		// It may be given, and only the answer lost: nobody could refresh until its end.
		release()
	}
	return nil, translate(err, "lease a grant")
}

// translate gives errors of the store the identity that package oauth knows.
func translate(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return oauth.ErrNotFound
	case errors.Is(err, ErrConflict):
		return oauth.ErrConflict
	case errors.Is(err, ErrLeaseHeld):
		return oauth.ErrLeaseHeld
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func registrationID(k oauth.RegistrationKey) string {
	sum := sha256.Sum256(bound(k.Issuer, k.RedirectURI))
	return hex.EncodeToString(sum[:16])
}

// GetRegistration implements [oauth.RegistrationStore].
func (s Grants) GetRegistration(ctx context.Context, key oauth.RegistrationKey) (oauth.Registration, error) {
	var r oauth.Registration
	e, err := s.v.store.Entry(ctx, key.Tenant, KindRegistration, registrationID(key))
	if err != nil {
		return r, translate(err, "read a registration")
	}
	plain, err := s.v.Open(ctx, key.Tenant, KindRegistration, e.ID, e.Sealed)
	if err != nil {
		return r, err
	}
	return r, r.UnmarshalSecret(plain)
}

// PutRegistration implements [oauth.RegistrationStore].
func (s Grants) PutRegistration(ctx context.Context, key oauth.RegistrationKey, r oauth.Registration) (oauth.Registration, error) {
	plain, err := r.MarshalSecret()
	if err != nil {
		return r, fmt.Errorf("encode a registration: %w", err)
	}
	id := registrationID(key)
	sealed, err := s.v.Seal(ctx, key.Tenant, KindRegistration, id, plain)
	if err != nil {
		return r, err
	}
	_, err = s.v.store.PutEntry(ctx, Entry{Tenant: key.Tenant, Kind: KindRegistration, ID: id, Label: key.Issuer, Sealed: sealed}, 0)
	if errors.Is(err, ErrConflict) {
		return s.GetRegistration(ctx, key)
	}
	return r, translate(err, "store a registration")
}

// DeleteRegistration implements [oauth.RegistrationStore].
func (s Grants) DeleteRegistration(ctx context.Context, key oauth.RegistrationKey, clientID string) error {
	e, err := s.v.store.Entry(ctx, key.Tenant, KindRegistration, registrationID(key))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return translate(err, "read a registration")
	}
	var r oauth.Registration
	plain, err := s.v.Open(ctx, key.Tenant, KindRegistration, e.ID, e.Sealed)
	if err == nil {
		err = r.UnmarshalSecret(plain)
	}
	if err != nil {
		return err
	}
	if r.ClientID != clientID {
		return nil
	}
	err = s.v.store.DeleteEntry(ctx, key.Tenant, KindRegistration, e.ID, e.Version)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return nil // it is another one by now
	}
	return translate(err, "delete a registration")
}

// GrantInfo is a grant without its tokens.
type GrantInfo struct {
	// ID names the grant within its tenant.
	ID      string
	Key     oauth.GrantKey
	Issuer  string
	Scopes  []string
	Expires time.Time // of the access token, zero if it is not known
	Created time.Time
	Updated time.Time
}

// List returns the grants of a tenant, those of one user if user is not "".
func (s Grants) List(ctx context.Context, tenant, user string) ([]GrantInfo, error) {
	list, err := s.v.store.Entries(ctx, tenant, KindGrant, user)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	out := make([]GrantInfo, 0, len(list))
	for _, e := range list {
		var l grantLabel
		if err := json.Unmarshal([]byte(e.Label), &l); err != nil {
			return nil, fmt.Errorf("list grants: the label of %s cannot be read", e.ID)
		}
		out = append(out, GrantInfo{
			ID: e.ID, Key: oauth.GrantKey{Tenant: tenant, User: e.Owner, Connection: l.Connection, ServerURL: l.ServerURL},
			Issuer: l.Issuer, Scopes: l.Scopes, Expires: l.Expires, Created: e.Created, Updated: e.Updated,
		})
	}
	return out, nil
}

// ClientInfo is a client that the tenant registered at an authorization server by
// hand, without its secrets.
type ClientInfo struct {
	// Name is the tenant's name for it.
	Name string `json:"name"`
	// ServerURL is the MCP endpoint that it is for, "" for all of the issuer.
	ServerURL string `json:"server_url,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	ClientID  string `json:"client_id"`
	// Machine is how tokens are got without a human, nil if one has to agree.
	Machine *MachineInfo `json:"machine,omitempty"`
}

// Values of [MachineInfo.Grant].
const (
	GrantClientCredentials = "client_credentials"
	GrantWorkloadIdentity  = "workload_identity"
	GrantEnterpriseManaged = "enterprise_managed"
)

// MachineInfo says how tokens are got without a human. What is secret in it stands
// in secrets of the tenant, which it names.
type MachineInfo struct {
	Grant string `json:"grant"`
	// Assertion names the secret that holds the workload's assertion, or the user's
	// identity token. {user} in it stands for the session's user.
	Assertion string `json:"assertion,omitempty"`
	// The identity provider, for GrantEnterpriseManaged.
	IDPIssuer        string `json:"idp_issuer,omitempty"`
	IDPTokenEndpoint string `json:"idp_token_endpoint,omitempty"`
	IDPClientID      string `json:"idp_client_id,omitempty"`
	// IDPSecret names the secret of the client at the identity provider.
	IDPSecret string `json:"idp_secret,omitempty"`
}

// KindClient is the kind of clients that a tenant registered by hand, MaxClients
// how many of them a tenant may have.
const (
	KindClient = "client"
	MaxClients = 1000
)

// PutClient stores a client under a name.
func (v *Vault) PutClient(ctx context.Context, tenant string, info ClientInfo, r oauth.Registration) error {
	if err := holdfast.ValidateID("the client's name", info.Name); err != nil {
		return err
	}
	if r.ClientID == "" && (info.Machine == nil || info.Machine.Grant != GrantWorkloadIdentity) {
		return holdfast.Errorf(holdfast.CodeInvalid, "a client needs its client_id")
	}
	if info.Machine != nil && info.ServerURL == "" {
		// Otherwise any server of an agent file could have a token in its name.
		return holdfast.Errorf(holdfast.CodeInvalid, "a client that gets tokens without a human needs the server_url that it is for")
	}
	if info.Machine != nil {
		for _, name := range []string{info.Machine.Assertion, info.Machine.IDPSecret} {
			if name == "" {
				continue
			}
			if err := CheckSecretName(name); err != nil {
				return err
			}
		}
	}
	if err := v.roomFor(ctx, tenant, KindClient, info.Name, MaxClients); err != nil {
		return err
	}
	r.Issuer, r.Source = info.Issuer, oauth.SourceConfigured
	info.ClientID = r.ClientID
	plain, err := r.MarshalSecret()
	if err != nil {
		return fmt.Errorf("encode a client: %w", err)
	}
	label, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode a client: %w", err)
	}
	sealed, err := v.Seal(ctx, tenant, KindClient, info.Name, plain)
	if err != nil {
		return err
	}
	if _, err := v.store.PutEntry(ctx, Entry{Tenant: tenant, Kind: KindClient, ID: info.Name, Label: string(label), Sealed: sealed}, AnyVersion); err != nil {
		return fmt.Errorf("store client %s: %w", info.Name, err)
	}
	return nil
}

// Clients lists the clients that a tenant registered by hand.
func (v *Vault) Clients(ctx context.Context, tenant string) ([]ClientInfo, error) {
	list, err := v.store.Entries(ctx, tenant, KindClient, "")
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	out := make([]ClientInfo, len(list))
	for i, e := range list {
		if err := json.Unmarshal([]byte(e.Label), &out[i]); err != nil {
			return nil, fmt.Errorf("list clients: the label of %s cannot be read", e.ID)
		}
	}
	return out, nil
}

// ClientsFor returns the clients that may be used with an MCP endpoint, with
// their secrets; those that were made for it come first.
func (v *Vault) ClientsFor(ctx context.Context, tenant, serverURL string) ([]Client, error) {
	list, err := v.Clients(ctx, tenant)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(c ClientInfo) bool { return c.ServerURL != "" && c.ServerURL != serverURL })
	slices.SortStableFunc(list, func(a, b ClientInfo) int { return strings.Compare(b.ServerURL, a.ServerURL) })
	var out []Client
	for _, c := range list {
		e, err := v.store.Entry(ctx, tenant, KindClient, c.Name)
		if errors.Is(err, ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read client %s: %w", c.Name, err)
		}
		plain, err := v.Open(ctx, tenant, KindClient, c.Name, e.Sealed)
		if err != nil {
			return nil, err
		}
		var r oauth.Registration
		if err := r.UnmarshalSecret(plain); err != nil {
			return nil, err
		}
		out = append(out, Client{c, r})
	}
	return out, nil
}

// Client is a client with its secrets.
type Client struct {
	ClientInfo
	Registration oauth.Registration
}

// DeleteClient removes a client. Unknown: an error with CodeNotFound.
func (v *Vault) DeleteClient(ctx context.Context, tenant, name string) error {
	err := v.store.DeleteEntry(ctx, tenant, KindClient, name, AnyVersion)
	if errors.Is(err, ErrNotFound) {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no client %q", name)
	}
	if err != nil {
		return fmt.Errorf("delete client %s: %w", name, err)
	}
	return nil
}
