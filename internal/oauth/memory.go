package oauth

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryStore is a [GrantStore] and a [RegistrationStore] for one process: for
// tests and for a run without a server. The zero value works.
type MemoryStore struct {
	mu            sync.Mutex
	grants        map[GrantKey]memoryGrant
	leases        map[GrantKey]*time.Time // the pointer tells leases apart
	registrations map[RegistrationKey]Registration
	version       int64
}

type memoryGrant struct {
	grant   Grant
	version int64
}

var (
	_ GrantStore        = (*MemoryStore)(nil)
	_ RegistrationStore = (*MemoryStore)(nil)
)

// clone returns a copy that shares nothing.
func (g Grant) clone() Grant {
	g.Scopes, g.Prompts = slices.Clone(g.Scopes), maps.Clone(g.Prompts)
	return g
}

// Get implements [GrantStore].
func (m *MemoryStore) Get(ctx context.Context, key GrantKey) (Grant, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, ok := m.grants[key]
	if !ok {
		return Grant{}, 0, ErrNotFound
	}
	return have.grant.clone(), have.version, ctx.Err()
}

// Put implements [GrantStore].
func (m *MemoryStore) Put(ctx context.Context, key GrantKey, g Grant, version int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if m.grants[key].version != version {
		return 0, ErrConflict
	}
	if m.grants == nil {
		m.grants = make(map[GrantKey]memoryGrant)
	}
	m.version++
	m.grants[key] = memoryGrant{grant: g.clone(), version: m.version}
	return m.version, nil
}

// Delete implements [GrantStore].
func (m *MemoryStore) Delete(ctx context.Context, key GrantKey, version int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	have, ok := m.grants[key]
	if !ok {
		return nil
	}
	if have.version != version {
		return ErrConflict
	}
	delete(m.grants, key)
	return nil
}

// Lease implements [GrantStore].
func (m *MemoryStore) Lease(ctx context.Context, key GrantKey, ttl time.Duration) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := time.Now()
	if until := m.leases[key]; until != nil && until.After(now) {
		return nil, ErrLeaseHeld
	}
	if m.leases == nil {
		m.leases = make(map[GrantKey]*time.Time)
	}
	mine := new(time.Time)
	*mine = now.Add(ttl)
	m.leases[key] = mine
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.leases[key] == mine {
			delete(m.leases, key)
		}
	}, nil
}

// GetRegistration implements [RegistrationStore].
func (m *MemoryStore) GetRegistration(ctx context.Context, key RegistrationKey) (Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.registrations[key]
	if !ok {
		return Registration{}, ErrNotFound
	}
	return r, ctx.Err()
}

// PutRegistration implements [RegistrationStore].
func (m *MemoryStore) PutRegistration(ctx context.Context, key RegistrationKey, r Registration) (Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Registration{}, err
	}
	if have, ok := m.registrations[key]; ok {
		return have, nil
	}
	if m.registrations == nil {
		m.registrations = make(map[RegistrationKey]Registration)
	}
	m.registrations[key] = r
	return r, nil
}

// DeleteRegistration implements [RegistrationStore].
func (m *MemoryStore) DeleteRegistration(ctx context.Context, key RegistrationKey, clientID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.registrations[key].ClientID == clientID {
		delete(m.registrations, key)
	}
	return ctx.Err()
}
