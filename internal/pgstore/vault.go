package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

var _ vault.Store = (*Store)(nil)

const entryColumns = `SELECT tenant, kind, id, owner, label, version, sealed, created_at, updated_at FROM vault_entries`

func scanEntry(row pgx.Row) (vault.Entry, error) {
	var e vault.Entry
	err := row.Scan(&e.Tenant, &e.Kind, &e.ID, &e.Owner, &e.Label, &e.Version, &e.Sealed, &e.Created, &e.Updated)
	e.Created, e.Updated = e.Created.UTC(), e.Updated.UTC()
	return e, err
}

func collectEntries(into *[]vault.Entry) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (vault.Entry, error) { return scanEntry(row) })
		return err
	}
}

// Entry implements [vault.Store].
func (s *Store) Entry(ctx context.Context, tenant, kind, id string) (vault.Entry, error) {
	var list []vault.Entry
	err := s.send(ctx, ofTenant(tenant), "read an entry of the vault", func(b *pgx.Batch) {
		b.Queue(entryColumns+` WHERE tenant = $1 AND kind = $2 AND id = $3 AND sealed IS NOT NULL`, tenant, kind, id).Query(collectEntries(&list))
	})
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
	var list []vault.Entry
	err := s.send(ctx, ofTenant(tenant), "list the vault", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, kind, id, owner, label, version, NULL::bytea, created_at, updated_at FROM vault_entries
			WHERE tenant = $1 AND kind = $2 AND sealed IS NOT NULL AND ($3 = '' OR owner = $3) ORDER BY id`, tenant, kind, owner).Query(collectEntries(&list))
	})
	return list, err
}

// PutEntry implements [vault.Store].
func (s *Store) PutEntry(ctx context.Context, e vault.Entry, version int64) (n int64, err error) {
	// A row without content is no entry: its version counts as 0.
	err = s.send(ctx, ofTenant(e.Tenant), "store an entry of the vault", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO vault_entries AS v (tenant, kind, id, owner, label, version, sealed, created_at, updated_at)
			SELECT $1, $2, $3, $4, $5, 1, $6, now(), now() WHERE $7::bigint IN (0, -1) OR EXISTS
				(SELECT 1 FROM vault_entries WHERE tenant = $1 AND kind = $2 AND id = $3)
			ON CONFLICT (tenant, kind, id) DO UPDATE SET owner = $4, label = $5, version = v.version + 1, sealed = $6,
				created_at = CASE WHEN v.sealed IS NULL THEN now() ELSE v.created_at END, updated_at = now()
			WHERE $7::bigint = -1 OR $7::bigint = CASE WHEN v.sealed IS NULL THEN 0 ELSE v.version END
			RETURNING version`, e.Tenant, e.Kind, e.ID, e.Owner, e.Label, e.Sealed, version).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					if err := rows.Scan(&n); err != nil {
						return err
					}
				}
				return rows.Err()
			})
	})
	if err == nil && n == 0 {
		err = vault.ErrConflict
	}
	return n, err
}

// DeleteEntry implements [vault.Store].
func (s *Store) DeleteEntry(ctx context.Context, tenant, kind, id string, version int64) error {
	var there, gone bool
	err := s.send(ctx, ofTenant(tenant), "delete an entry of the vault", func(b *pgx.Batch) {
		b.Queue(`SELECT 1 FROM vault_entries WHERE tenant = $1 AND kind = $2 AND id = $3 AND sealed IS NOT NULL FOR UPDATE`, tenant, kind, id).
			Exec(affected(&there))
		b.Queue(`UPDATE vault_entries SET sealed = NULL, label = '' WHERE tenant = $1 AND kind = $2 AND id = $3
			AND sealed IS NOT NULL AND $4::bigint IN (-1, version)`, tenant, kind, id, version).Exec(affected(&gone))
	})
	switch {
	case err != nil || gone:
		return err
	case there:
		return vault.ErrConflict
	}
	return vault.ErrNotFound
}

// affected notes whether a statement touched a row.
func affected(into *bool) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*into = tag.RowsAffected() > 0
		return nil
	}
}

// LeaseEntry implements [vault.Store].
func (s *Store) LeaseEntry(ctx context.Context, tenant, kind, id, holder string, ttl time.Duration) error {
	var got bool
	err := s.send(ctx, ofTenant(tenant), "lease an entry of the vault", func(b *pgx.Batch) {
		// The clock of the statement, not of the transaction: it may have waited.
		b.Queue(`INSERT INTO vault_entries AS v (tenant, kind, id, lease, lease_until)
			VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 microsecond')
			ON CONFLICT (tenant, kind, id) DO UPDATE SET lease = $4, lease_until = clock_timestamp() + $5 * interval '1 microsecond'
			WHERE v.lease IN ('', $4) OR v.lease_until <= clock_timestamp()`, tenant, kind, id, holder, ttl.Microseconds()).Exec(affected(&got))
	})
	if err == nil && !got {
		err = vault.ErrLeaseHeld
	}
	return err
}

// ReleaseEntry implements [vault.Store].
func (s *Store) ReleaseEntry(ctx context.Context, tenant, kind, id, holder string) error {
	return s.send(ctx, ofTenant(tenant), "release an entry of the vault", func(b *pgx.Batch) {
		b.Queue(`UPDATE vault_entries SET lease = '' WHERE tenant = $1 AND kind = $2 AND id = $3 AND lease = $4`, tenant, kind, id, holder)
	})
}

// DataKeys implements [vault.KeyStore].
func (s *Store) DataKeys(ctx context.Context, tenant string) ([]vault.DataKey, error) {
	var list []vault.DataKey
	err := s.send(ctx, ofTenant(tenant), "read data keys", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, version, key_id, wrapped, created_at FROM data_keys WHERE tenant = $1 ORDER BY version DESC`, tenant).
			Query(func(rows pgx.Rows) (err error) {
				list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (vault.DataKey, error) {
					var k vault.DataKey
					err := row.Scan(&k.Tenant, &k.Version, &k.KeyID, &k.Wrapped, &k.Created)
					return k, err
				})
				return err
			})
	})
	return list, err
}

// AddDataKey implements [vault.KeyStore].
func (s *Store) AddDataKey(ctx context.Context, k vault.DataKey) error {
	return s.send(ctx, ofTenant(k.Tenant), "store a data key", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO data_keys (tenant, version, key_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			k.Tenant, k.Version, k.KeyID, k.Wrapped, k.Created)
	})
}

// RewrapDataKey implements [vault.KeyStore].
func (s *Store) RewrapDataKey(ctx context.Context, k vault.DataKey, oldKeyID string) error {
	return s.send(ctx, ofTenant(k.Tenant), "wrap a data key anew", func(b *pgx.Batch) {
		b.Queue(`UPDATE data_keys SET key_id = $3, wrapped = $4 WHERE tenant = $1 AND version = $2 AND key_id = $5`,
			k.Tenant, k.Version, k.KeyID, k.Wrapped, oldKeyID)
	})
}

// DeleteDataKey implements [vault.KeyStore].
func (s *Store) DeleteDataKey(ctx context.Context, tenant string, version int64) error {
	return s.send(ctx, ofTenant(tenant), "delete a data key", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM data_keys WHERE tenant = $1 AND version = $2`, tenant, version)
	})
}

// KeyTenants implements [vault.KeyStore].
func (s *Store) KeyTenants(ctx context.Context, after string, limit int) ([]string, error) {
	var list []string
	err := s.send(ctx, everyone, "list tenants with data keys", func(b *pgx.Batch) {
		b.Queue(`SELECT DISTINCT tenant FROM data_keys WHERE tenant > $1 ORDER BY tenant LIMIT $2`, after, limit).
			Query(func(rows pgx.Rows) (err error) {
				list, err = pgx.CollectRows(rows, pgx.RowTo[string])
				return err
			})
	})
	return list, err
}

// SealedEntries implements [vault.KeyStore].
func (s *Store) SealedEntries(ctx context.Context, tenant, afterKind, afterID string, limit int) ([]vault.Entry, error) {
	var list []vault.Entry
	err := s.send(ctx, ofTenant(tenant), "read the vault", func(b *pgx.Batch) {
		b.Queue(entryColumns+` WHERE tenant = $1 AND sealed IS NOT NULL AND (kind, id) > ($2, $3) ORDER BY kind, id LIMIT $4`,
			tenant, afterKind, afterID, limit).Query(collectEntries(&list))
	})
	return list, err
}

// ResealEntry implements [vault.KeyStore].
func (s *Store) ResealEntry(ctx context.Context, e vault.Entry, sealed []byte) error {
	var done bool
	err := s.send(ctx, ofTenant(e.Tenant), "seal an entry of the vault anew", func(b *pgx.Batch) {
		b.Queue(`UPDATE vault_entries SET sealed = $4 WHERE tenant = $1 AND kind = $2 AND id = $3 AND sealed = $5`,
			e.Tenant, e.Kind, e.ID, sealed, e.Sealed).Exec(affected(&done))
	})
	if err == nil && !done {
		err = vault.ErrConflict
	}
	return err
}

// EraseTenant implements [vault.KeyStore].
func (s *Store) EraseTenant(ctx context.Context, tenant string) error {
	return s.send(ctx, ofTenant(tenant), "erase a tenant's vault", func(b *pgx.Batch) {
		for _, table := range []string{"data_keys", "vault_entries", "oauth_flows"} {
			b.Queue(`DELETE FROM `+table+` WHERE tenant = $1`, tenant)
		}
	})
}
