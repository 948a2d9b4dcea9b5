package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth/flow"
)

var _ flow.Store = (*Store)(nil)

// CreateFlow implements [flow.Store].
func (s *Store) CreateFlow(ctx context.Context, r flow.Record) error {
	return s.change(ctx, "store an authorization", nil, `INSERT INTO oauth_flows
		(tenant, id, owner, session, connection, name, server_url, issuer, binding, created_at, expires_at, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Tenant, r.ID, r.User, r.Session, r.Connection, r.Name, r.ServerURL, r.Issuer, r.Binding, r.Created.UnixMicro(), r.Expires.UnixMicro(), r.Sealed)
}

// Flow implements [flow.Store].
func (s *Store) Flow(ctx context.Context, tenant, id string) (flow.Record, error) {
	var r flow.Record
	var created, expires, consumed int64
	err := s.r.QueryRowContext(ctx, `SELECT tenant, id, owner, session, connection, name, server_url, issuer, binding, created_at, expires_at, sealed, answer, consumed_at
		FROM oauth_flows WHERE tenant = ? AND id = ?`, tenant, id).
		Scan(&r.Tenant, &r.ID, &r.User, &r.Session, &r.Connection, &r.Name, &r.ServerURL, &r.Issuer, &r.Binding, &created, &expires, &r.Sealed, &r.Answer, &consumed)
	if errors.Is(err, sql.ErrNoRows) {
		return flow.Record{}, flow.ErrNotFound
	}
	if err != nil {
		return flow.Record{}, s.wrap(ctx, err, "read an authorization")
	}
	r.Created, r.Expires = time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
	if consumed != 0 {
		r.Consumed = time.UnixMicro(consumed).UTC()
	}
	return r, nil
}

// AnswerFlow implements [flow.Store].
func (s *Store) AnswerFlow(ctx context.Context, tenant, id string, answer []byte, now time.Time) error {
	return s.change(ctx, "store an answer", flow.ErrSettled, `UPDATE oauth_flows SET answer = ?3 WHERE tenant = ?1 AND id = ?2 AND consumed_at = 0
		AND (answer IS NULL AND expires_at > ?4 OR answer = ?3)`, tenant, id, answer, now.UnixMicro())
}

// ConsumeFlow implements [flow.Store].
func (s *Store) ConsumeFlow(ctx context.Context, tenant, id string, now time.Time) error {
	return s.change(ctx, "consume an authorization", flow.ErrSettled,
		`UPDATE oauth_flows SET consumed_at = ?3, answer = NULL WHERE tenant = ?1 AND id = ?2 AND consumed_at = 0`, tenant, id, now.UnixMicro())
}

// DropFlow implements [flow.Store].
func (s *Store) DropFlow(ctx context.Context, tenant, id string) error {
	return s.change(ctx, "drop an authorization", nil, `DELETE FROM oauth_flows WHERE tenant = ? AND id = ?`, tenant, id)
}

// PurgeFlows implements [flow.Store].
func (s *Store) PurgeFlows(ctx context.Context, before time.Time) (n int, err error) {
	err = s.write(ctx, "purge authorizations", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM oauth_flows WHERE expires_at < ?`, before.UnixMicro())
		if err != nil {
			return err
		}
		count, err := res.RowsAffected()
		n = int(count)
		return err
	})
	return n, err
}
