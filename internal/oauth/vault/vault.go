// Package vault keeps what must not be read by those who get to see the
// database: grants of users, clients that were registered, secrets of tenants.
//
// Every entry is sealed with AES-256-GCM under the data key of its tenant, with
// the entry's identity (tenant, kind, id) as associated data: a row that is moved
// to another user or tenant does not open. Data keys are in the database too,
// wrapped by a [KeyEncryption] whose keys are not. So a dump of the database says
// which entries there are and when they changed, and nothing of what is in them.
//
// Rotation: [Vault.Rotate] wraps all data keys with the newest key-encryption key,
// after which the old one may go; with new data keys it also seals every entry
// again. Both may run while the vault is used. Erasure: [Vault.Erase] deletes a
// tenant's data keys; what is in backups of its entries is then noise.
//
// Unwrapped data keys stay in memory for a minute. The vault itself starts
// nothing and is safe for concurrent use.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Kinds of entries. The names are stored and never change.
const (
	KindSecret       = "secret"       // a tenant's named value
	KindGrant        = "grant"        // tokens of a user for a server
	KindRegistration = "registration" // a client at an authorization server
	KindFlow         = "flow"         // what a flow keeps until its answer; the row is elsewhere
)

// Errors of a [Store]. Compare with errors.Is.
var (
	ErrNotFound  = errors.New("vault: there is no such entry")
	ErrConflict  = errors.New("vault: the entry was changed by somebody else")
	ErrLeaseHeld = errors.New("vault: somebody else holds the lease")
)

// Entry is a row of the vault.
type Entry struct {
	Tenant string
	Kind   string
	ID     string
	// Owner is the user that the entry belongs to, "" for the tenant itself.
	Owner string
	// Label is readable by everybody who reads the database: what lists show.
	Label   string
	Version int64
	Sealed  []byte
	Created time.Time
	Updated time.Time
}

// DataKey is a tenant's data key, wrapped.
type DataKey struct {
	Tenant  string
	Version int64 // 1, 2, 3 …; the highest seals
	KeyID   string
	Wrapped []byte
	Created time.Time
}

// AnyVersion makes Put and Delete unconditional.
const AnyVersion = -1

// Store is where sealed entries are. Everything is apart by tenant. What a method
// has returned without an error is committed.
type Store interface {
	// Entry returns ErrNotFound if there is none.
	Entry(ctx context.Context, tenant, kind, id string) (Entry, error)
	// Entries lists without Sealed, by id. owner "" lists those of all owners.
	Entries(ctx context.Context, tenant, kind, owner string) ([]Entry, error)
	// PutEntry stores the entry if its version in the store is the given one, 0 for
	// none. It returns the new version, which is greater than all before, those of
	// a deleted entry of the same id included. Else ErrConflict.
	PutEntry(ctx context.Context, e Entry, version int64) (int64, error)
	// DeleteEntry removes the entry if its version is the given one: ErrConflict if
	// it is another, ErrNotFound if there is none.
	DeleteEntry(ctx context.Context, tenant, kind, id string, version int64) error
	// LeaseEntry reserves an id, of an entry or none, for the holder until ttl from
	// now by the store's clock. ErrLeaseHeld if another holder has it.
	LeaseEntry(ctx context.Context, tenant, kind, id, holder string, ttl time.Duration) error
	// ReleaseEntry gives the holder's lease back; another's stays.
	ReleaseEntry(ctx context.Context, tenant, kind, id, holder string) error
	KeyStore
}

// KeyStore is the part of a [Store] for data keys and for rotation.
type KeyStore interface {
	// DataKeys returns the tenant's keys, newest first.
	DataKeys(ctx context.Context, tenant string) ([]DataKey, error)
	// AddDataKey stores a key if the tenant has none of that version.
	AddDataKey(ctx context.Context, k DataKey) error
	// RewrapDataKey replaces KeyID and Wrapped of a key that is wrapped by oldKeyID.
	RewrapDataKey(ctx context.Context, k DataKey, oldKeyID string) error
	// DeleteDataKey removes one version.
	DeleteDataKey(ctx context.Context, tenant string, version int64) error
	// KeyTenants returns the tenants that have data keys, after the given one.
	KeyTenants(ctx context.Context, after string, limit int) ([]string, error)
	// SealedEntries returns entries with Sealed, of all kinds, in an order by which
	// (kind, id) of the last one continues.
	SealedEntries(ctx context.Context, tenant, afterKind, afterID string, limit int) ([]Entry, error)
	// ResealEntry replaces Sealed if it is still the old one. The version stays: who
	// holds it has not lost anything.
	ResealEntry(ctx context.Context, e Entry, sealed []byte) error
	// EraseTenant removes data keys, entries and flows of the tenant at once.
	EraseTenant(ctx context.Context, tenant string) error
}

// keyLife is how long an unwrapped data key is believed to be the newest one.
const keyLife = time.Minute

// Vault seals and opens.
type Vault struct {
	keys  KeyEncryption
	store Store
	now   func() time.Time

	mu    sync.Mutex // guards cache
	cache map[string]cached
}

type cached struct {
	newest int64
	keys   map[int64][]byte
	until  time.Time
}

// maxCached bounds the cache of data keys.
const maxCached = 10_000

// New returns a vault over a store.
func New(store Store, keys KeyEncryption) *Vault {
	return &Vault{keys: keys, store: store, now: time.Now, cache: map[string]cached{}}
}

// Store returns where the vault keeps its entries.
func (v *Vault) Store() Store { return v.store }

const format = 1

// Seal encrypts for a tenant. kind and id are bound to the result: Open needs the
// same ones.
func (v *Vault) Seal(ctx context.Context, tenant, kind, id string, plain []byte) ([]byte, error) {
	c, err := v.dataKeys(ctx, tenant, 0)
	if err != nil {
		return nil, fmt.Errorf("seal a %s of tenant %s: %w", kind, tenant, err)
	}
	aead, err := newAEAD(c.keys[c.newest])
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte{format}, uint32(c.newest))
	return seal(aead, head, plain, bound(tenant, kind, id)), nil
}

const headLength = 5

// Open decrypts what Seal made for the same tenant, kind and id.
func (v *Vault) Open(ctx context.Context, tenant, kind, id string, sealed []byte) ([]byte, error) {
	if len(sealed) < headLength || sealed[0] != format {
		return nil, fmt.Errorf("open a %s of tenant %s: %w", kind, tenant, errSealed)
	}
	version := keyVersion(sealed)
	c, err := v.dataKeys(ctx, tenant, version)
	if err != nil {
		return nil, fmt.Errorf("open a %s of tenant %s: %w", kind, tenant, err)
	}
	key, ok := c.keys[version]
	if !ok {
		return nil, fmt.Errorf("open a %s of tenant %s: its data key was erased", kind, tenant)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := open(aead, sealed[headLength:], bound(tenant, kind, id))
	if err != nil {
		return nil, fmt.Errorf("open a %s of tenant %s: %w", kind, tenant, err)
	}
	return plain, nil
}

// keyVersion is the data key that sealed an entry.
func keyVersion(sealed []byte) int64 { return int64(binary.BigEndian.Uint32(sealed[1:])) }

// dataKeys returns the tenant's data keys, unwrapped. want is a version that must
// be among them if it exists at all; 0 wants the newest, and makes one.
func (v *Vault) dataKeys(ctx context.Context, tenant string, want int64) (cached, error) {
	if err := holdfast.ValidateID("tenant", tenant); err != nil {
		return cached{}, err
	}
	v.mu.Lock()
	c, ok := v.cache[tenant]
	v.mu.Unlock()
	if ok && v.now().Before(c.until) && (want == 0 || c.keys[want] != nil) {
		return c, nil
	}
	list, err := v.store.DataKeys(ctx, tenant)
	if err != nil {
		return cached{}, err
	}
	if len(list) == 0 && want == 0 {
		if err := v.addDataKey(ctx, tenant, 1); err != nil {
			return cached{}, err
		}
		if list, err = v.store.DataKeys(ctx, tenant); err != nil {
			return cached{}, err
		}
	}
	c = cached{keys: map[int64][]byte{}, until: v.now().Add(keyLife)}
	for _, k := range list {
		plain, err := v.keys.Unwrap(ctx, tenant, k.KeyID, k.Wrapped)
		if err != nil {
			return cached{}, err
		}
		c.keys[k.Version], c.newest = plain, max(c.newest, k.Version)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cache) >= maxCached {
		clear(v.cache)
	}
	v.cache[tenant] = c
	return c, nil
}

func (v *Vault) addDataKey(ctx context.Context, tenant string, version int64) error {
	plain := make([]byte, KeyLength)
	rand.Read(plain) // never fails
	id, wrapped, err := v.keys.Wrap(ctx, tenant, plain)
	if err != nil {
		return fmt.Errorf("wrap a data key: %w", err)
	}
	return v.store.AddDataKey(ctx, DataKey{Tenant: tenant, Version: version, KeyID: id, Wrapped: wrapped, Created: v.now().UTC()})
}

func (v *Vault) forget(tenant string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.cache, tenant)
}

// Erase removes a tenant's data keys and entries. What other processes have in
// memory ends within a minute.
func (v *Vault) Erase(ctx context.Context, tenant string) error {
	if err := v.store.EraseTenant(ctx, tenant); err != nil {
		return fmt.Errorf("erase the vault of tenant %s: %w", tenant, err)
	}
	v.forget(tenant)
	return nil
}
