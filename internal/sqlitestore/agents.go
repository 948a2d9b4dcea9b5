package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

var _ agent.Store = (*Store)(nil)

// PutRevision implements [agent.Store].
func (s *Store) PutRevision(ctx context.Context, tenant string, r agent.Revision, after int64) error {
	if tenant == "" || r.Name == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "an agent file needs a tenant and a name")
	}
	return s.write(ctx, "store an agent file", func(tx *sql.Tx) error {
		// The transaction is the only writer, so nothing comes between the two.
		var newest int64
		err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) FROM agent_revisions WHERE tenant = ? AND name = ?`, tenant, r.Name).Scan(&newest)
		if err != nil {
			return err
		}
		if newest != after {
			return holdfast.Errorf(holdfast.CodeConflict, "agent file %s has changed meanwhile: its newest version is %d, not %d", r.Name, newest, after)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO agent_revisions (tenant, name, number, created_at, deleted, digest, origin, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			tenant, r.Name, after+1, r.CreatedAt.UnixMicro(), r.Deleted, r.Digest, r.Origin, append([]byte{}, r.Source...))
		return err
	})
}

// Revision implements [agent.Store].
func (s *Store) Revision(ctx context.Context, tenant, name string, number int64) (agent.Revision, error) {
	list, err := s.revisions(ctx, "read an agent file", `SELECT name, number, created_at, deleted, digest, origin, source FROM agent_revisions
		WHERE tenant = ?1 AND name = ?2 AND (?3 = 0 OR number = ?3) ORDER BY number DESC LIMIT 1`, tenant, name, number)
	if err == nil && len(list) == 0 {
		err = holdfast.Errorf(holdfast.CodeNotFound, "there is no agent file %s of that version", name)
	}
	if err != nil {
		return agent.Revision{}, err
	}
	return list[0], nil
}

// Newest implements [agent.Store].
func (s *Store) Newest(ctx context.Context, tenant string) ([]agent.Revision, error) {
	return s.revisions(ctx, "list agent files", `SELECT name, number, created_at, deleted, digest, origin, NULL FROM agent_revisions AS a
		WHERE tenant = ?1 AND NOT deleted AND number = (SELECT max(number) FROM agent_revisions AS b WHERE b.tenant = ?1 AND b.name = a.name)
		ORDER BY name`, tenant)
}

// Revisions implements [agent.Store].
func (s *Store) Revisions(ctx context.Context, tenant, name string, before int64, limit int) ([]agent.Revision, error) {
	return s.revisions(ctx, "list versions of an agent file", `SELECT name, number, created_at, deleted, digest, origin, NULL FROM agent_revisions
		WHERE tenant = ?1 AND name = ?2 AND (?3 = 0 OR number < ?3) ORDER BY number DESC LIMIT ?4`, tenant, name, before, limit)
}

func (s *Store) revisions(ctx context.Context, doing, query string, args ...any) ([]agent.Revision, error) {
	rows, err := s.r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []agent.Revision
	for rows.Next() {
		var r agent.Revision
		var at int64
		if err := rows.Scan(&r.Name, &r.Number, &at, &r.Deleted, &r.Digest, &r.Origin, &r.Source); err != nil {
			return nil, s.wrap(ctx, fmt.Errorf("scan: %w", err), doing)
		}
		r.CreatedAt = time.UnixMicro(at).UTC()
		list = append(list, r)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}
