package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-run/holdfast/internal/oauth/flow"
)

var _ flow.Store = (*Store)(nil)

// CreateFlow implements [flow.Store].
func (s *Store) CreateFlow(ctx context.Context, r flow.Record) error {
	return s.send(ctx, ofTenant(r.Tenant), "store an authorization", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO oauth_flows (tenant, id, owner, session, connection, name, server_url, issuer, binding, created_at, expires_at, sealed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			r.Tenant, r.ID, r.User, r.Session, r.Connection, r.Name, r.ServerURL, r.Issuer, r.Binding, r.Created, r.Expires, r.Sealed)
	})
}

// Flow implements [flow.Store].
func (s *Store) Flow(ctx context.Context, tenant, id string) (flow.Record, error) {
	var list []flow.Record
	err := s.send(ctx, ofTenant(tenant), "read an authorization", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, id, owner, session, connection, name, server_url, issuer, binding, created_at, expires_at, sealed, answer, consumed_at
			FROM oauth_flows WHERE tenant = $1 AND id = $2`, tenant, id).Query(func(rows pgx.Rows) (err error) {
			list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (flow.Record, error) {
				var r flow.Record
				var consumed *time.Time
				err := row.Scan(&r.Tenant, &r.ID, &r.User, &r.Session, &r.Connection, &r.Name, &r.ServerURL, &r.Issuer, &r.Binding,
					&r.Created, &r.Expires, &r.Sealed, &r.Answer, &consumed)
				r.Created, r.Expires = r.Created.UTC(), r.Expires.UTC()
				if consumed != nil {
					r.Consumed = consumed.UTC()
				}
				return r, err
			})
			return err
		})
	})
	if err == nil && len(list) == 0 {
		err = flow.ErrNotFound
	}
	if err != nil {
		return flow.Record{}, err
	}
	return list[0], nil
}

// AnswerFlow implements [flow.Store].
func (s *Store) AnswerFlow(ctx context.Context, tenant, id string, answer []byte, now time.Time) error {
	var done bool
	err := s.send(ctx, ofTenant(tenant), "store an answer", func(b *pgx.Batch) {
		b.Queue(`UPDATE oauth_flows SET answer = $3 WHERE tenant = $1 AND id = $2 AND consumed_at IS NULL
			AND (answer IS NULL AND expires_at > $4 OR answer = $3)`, tenant, id, answer, now).Exec(affected(&done))
	})
	if err == nil && !done {
		err = flow.ErrSettled
	}
	return err
}

// ConsumeFlow implements [flow.Store].
func (s *Store) ConsumeFlow(ctx context.Context, tenant, id string, now time.Time) error {
	var done bool
	err := s.send(ctx, ofTenant(tenant), "consume an authorization", func(b *pgx.Batch) {
		b.Queue(`UPDATE oauth_flows SET consumed_at = $3, answer = NULL WHERE tenant = $1 AND id = $2 AND consumed_at IS NULL`,
			tenant, id, now).Exec(affected(&done))
	})
	if err == nil && !done {
		err = flow.ErrSettled
	}
	return err
}

// DropFlow implements [flow.Store].
func (s *Store) DropFlow(ctx context.Context, tenant, id string) error {
	return s.send(ctx, ofTenant(tenant), "drop an authorization", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM oauth_flows WHERE tenant = $1 AND id = $2`, tenant, id)
	})
}

// PurgeFlows implements [flow.Store].
func (s *Store) PurgeFlows(ctx context.Context, before time.Time) (n int, err error) {
	err = s.send(ctx, everyone, "purge authorizations", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM oauth_flows WHERE expires_at < $1`, before).Exec(func(tag pgconn.CommandTag) error {
			n = int(tag.RowsAffected())
			return nil
		})
	})
	return n, err
}
