package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

var _ vault.Store = (*Store)(nil)

const entryColumns = `SELECT tenant, kind, id, owner, label, version, sealed, created_at, updated_at FROM vault_entries`

// entries runs a query that begins with entryColumns.
func (s *Store) entries(ctx context.Context, doing, query string, args ...any) ([]vault.Entry, error) {
	rows, err := s.r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []vault.Entry
	for rows.Next() {
		var e vault.Entry
		var created, updated int64
		if err := rows.Scan(&e.Tenant, &e.Kind, &e.ID, &e.Owner, &e.Label, &e.Version, &e.Sealed, &created, &updated); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		e.Created, e.Updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
		list = append(list, e)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// Entry implements [vault.Store].
func (s *Store) Entry(ctx context.Context, tenant, kind, id string) (vault.Entry, error) {
	list, err := s.entries(ctx, "read an entry of the vault", entryColumns+` WHERE tenant = ? AND kind = ? AND id = ? AND sealed IS NOT NULL`, tenant, kind, id)
	if err == nil && len(list) == 0 {
		err = vault.ErrNotFound
	}
	if err != nil {
		return vault.Entry{}, err
	}
	return list[0], nil
}

// Entries implements [vault.Store].
func (s *Store) Entries(ctx context.Context, tenant, kind, owner string) ([]vault.Entry, error) {
	return s.entries(ctx, "list the vault", `SELECT tenant, kind, id, owner, label, version, NULL, created_at, updated_at FROM vault_entries
		WHERE tenant = ? AND kind = ? AND sealed IS NOT NULL AND (?3 = '' OR owner = ?3) ORDER BY id`, tenant, kind, owner)
}

// PutEntry implements [vault.Store].
func (s *Store) PutEntry(ctx context.Context, e vault.Entry, version int64) (n int64, err error) {
	now := time.Now().UnixMicro()
	err = s.write(ctx, "store an entry of the vault", func(tx *sql.Tx) error {
		var have, created int64
		var there bool
		err := tx.QueryRowContext(ctx, `SELECT version, created_at, sealed IS NOT NULL FROM vault_entries WHERE tenant = ? AND kind = ? AND id = ?`,
			e.Tenant, e.Kind, e.ID).Scan(&have, &created, &there)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		// A row without content is no entry: its version counts as 0.
		current := have
		if !there {
			current, created = 0, now
		}
		if version != vault.AnyVersion && version != current {
			return vault.ErrConflict
		}
		n = have + 1
		_, err = tx.ExecContext(ctx, `INSERT INTO vault_entries (tenant, kind, id, owner, label, version, sealed, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, kind, id) DO UPDATE SET owner = excluded.owner, label = excluded.label,
			version = excluded.version, sealed = excluded.sealed, created_at = excluded.created_at, updated_at = excluded.updated_at`,
			e.Tenant, e.Kind, e.ID, e.Owner, e.Label, n, e.Sealed, created, now)
		return err
	})
	return n, err
}

// DeleteEntry implements [vault.Store].
func (s *Store) DeleteEntry(ctx context.Context, tenant, kind, id string, version int64) error {
	return s.write(ctx, "delete an entry of the vault", func(tx *sql.Tx) error {
		var have int64
		err := tx.QueryRowContext(ctx, `SELECT version FROM vault_entries WHERE tenant = ? AND kind = ? AND id = ? AND sealed IS NOT NULL`,
			tenant, kind, id).Scan(&have)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return vault.ErrNotFound
		case err != nil:
			return err
		case version != vault.AnyVersion && version != have:
			return vault.ErrConflict
		}
		_, err = tx.ExecContext(ctx, `UPDATE vault_entries SET sealed = NULL, label = '' WHERE tenant = ? AND kind = ? AND id = ?`, tenant, kind, id)
		return err
	})
}

// change runs one statement; none is returned if it touched no row.
func (s *Store) change(ctx context.Context, doing string, none error, query string, args ...any) error {
	return s.write(ctx, doing, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, args...)
		if err != nil || none == nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = none
		}
		return err
	})
}

// LeaseEntry implements [vault.Store].
func (s *Store) LeaseEntry(ctx context.Context, tenant, kind, id, holder string, ttl time.Duration) error {
	now := time.Now()
	return s.change(ctx, "lease an entry of the vault", vault.ErrLeaseHeld, `INSERT INTO vault_entries (tenant, kind, id, lease, lease_until)
		VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant, kind, id) DO UPDATE SET lease = ?4, lease_until = ?5
		WHERE lease IN ('', ?4) OR lease_until <= ?6`, tenant, kind, id, holder, now.Add(ttl).UnixMicro(), now.UnixMicro())
}

// ReleaseEntry implements [vault.Store].
func (s *Store) ReleaseEntry(ctx context.Context, tenant, kind, id, holder string) error {
	return s.change(ctx, "release an entry of the vault", nil,
		`UPDATE vault_entries SET lease = '' WHERE tenant = ? AND kind = ? AND id = ? AND lease = ?`, tenant, kind, id, holder)
}

// DataKeys implements [vault.KeyStore].
func (s *Store) DataKeys(ctx context.Context, tenant string) ([]vault.DataKey, error) {
	const doing = "read data keys"
	rows, err := s.r.QueryContext(ctx, `SELECT tenant, version, key_id, wrapped, created_at FROM data_keys WHERE tenant = ? ORDER BY version DESC`, tenant)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []vault.DataKey
	for rows.Next() {
		var k vault.DataKey
		var created int64
		if err := rows.Scan(&k.Tenant, &k.Version, &k.KeyID, &k.Wrapped, &created); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		k.Created = time.UnixMicro(created).UTC()
		list = append(list, k)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// AddDataKey implements [vault.KeyStore].
func (s *Store) AddDataKey(ctx context.Context, k vault.DataKey) error {
	return s.change(ctx, "store a data key", nil,
		`INSERT INTO data_keys (tenant, version, key_id, wrapped, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		k.Tenant, k.Version, k.KeyID, k.Wrapped, k.Created.UnixMicro())
}

// RewrapDataKey implements [vault.KeyStore].
func (s *Store) RewrapDataKey(ctx context.Context, k vault.DataKey, oldKeyID string) error {
	return s.change(ctx, "wrap a data key anew", nil,
		`UPDATE data_keys SET key_id = ?3, wrapped = ?4 WHERE tenant = ?1 AND version = ?2 AND key_id = ?5`,
		k.Tenant, k.Version, k.KeyID, k.Wrapped, oldKeyID)
}

// DeleteDataKey implements [vault.KeyStore].
func (s *Store) DeleteDataKey(ctx context.Context, tenant string, version int64) error {
	return s.change(ctx, "delete a data key", nil, `DELETE FROM data_keys WHERE tenant = ? AND version = ?`, tenant, version)
}

// KeyTenants implements [vault.KeyStore].
func (s *Store) KeyTenants(ctx context.Context, after string, limit int) ([]string, error) {
	const doing = "list tenants with data keys"
	rows, err := s.r.QueryContext(ctx, `SELECT DISTINCT tenant FROM data_keys WHERE tenant > ? ORDER BY tenant LIMIT ?`, after, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, t)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// SealedEntries implements [vault.KeyStore].
func (s *Store) SealedEntries(ctx context.Context, tenant, afterKind, afterID string, limit int) ([]vault.Entry, error) {
	return s.entries(ctx, "read the vault", entryColumns+` WHERE tenant = ? AND sealed IS NOT NULL AND (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?`,
		tenant, afterKind, afterID, limit)
}

// ResealEntry implements [vault.KeyStore].
func (s *Store) ResealEntry(ctx context.Context, e vault.Entry, sealed []byte) error {
	return s.change(ctx, "seal an entry of the vault anew", vault.ErrConflict,
		`UPDATE vault_entries SET sealed = ?4 WHERE tenant = ?1 AND kind = ?2 AND id = ?3 AND sealed = ?5`, e.Tenant, e.Kind, e.ID, sealed, e.Sealed)
}

// EraseTenant implements [vault.KeyStore].
func (s *Store) EraseTenant(ctx context.Context, tenant string) error {
	return s.write(ctx, "erase a tenant's vault", func(tx *sql.Tx) error {
		for _, table := range []string{"data_keys", "vault_entries", "oauth_flows"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE tenant = ?`, tenant); err != nil {
				return err
			}
		}
		return nil
	})
}
