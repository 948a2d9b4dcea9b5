package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

var _ agent.Store = (*Store)(nil)

// PutRevision implements [agent.Store]. Of two writers that see the same newest
// number the primary key lets one through; the other waits for it and finds its
// row taken.
func (s *Store) PutRevision(ctx context.Context, tenant string, r agent.Revision, after int64) error {
	if tenant == "" || r.Name == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "an agent file needs a tenant and a name")
	}
	return s.send(ctx, ofTenant(tenant), "store an agent file", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO agent_revisions (tenant, name, number, created_at, deleted, digest, origin, source)
			SELECT $1, $2, $3::bigint + 1, $4, $5, $6, $7, $8
			WHERE (SELECT coalesce(max(number), 0) FROM agent_revisions WHERE tenant = $1 AND name = $2) = $3
			ON CONFLICT DO NOTHING`,
			tenant, r.Name, after, r.CreatedAt, r.Deleted, r.Digest, r.Origin, append([]byte{}, r.Source...)).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				return holdfast.Errorf(holdfast.CodeConflict, "agent file %s has changed meanwhile: its newest version is not %d", r.Name, after)
			}
			return nil
		})
	})
}

// Revision implements [agent.Store].
func (s *Store) Revision(ctx context.Context, tenant, name string, number int64) (agent.Revision, error) {
	list, err := s.revisions(ctx, tenant, "read an agent file", `SELECT name, number, created_at, deleted, digest, origin, source FROM agent_revisions
		WHERE tenant = $1 AND name = $2 AND ($3::bigint = 0 OR number = $3) ORDER BY number DESC LIMIT 1`, tenant, name, number)
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
	return s.revisions(ctx, tenant, "list agent files", `SELECT name, number, created_at, deleted, digest, origin, NULL::bytea FROM agent_revisions AS a
		WHERE tenant = $1 AND NOT deleted AND number = (SELECT max(number) FROM agent_revisions AS b WHERE b.tenant = $1 AND b.name = a.name)
		ORDER BY name`, tenant)
}

// Revisions implements [agent.Store].
func (s *Store) Revisions(ctx context.Context, tenant, name string, before int64, limit int) ([]agent.Revision, error) {
	return s.revisions(ctx, tenant, "list versions of an agent file", `SELECT name, number, created_at, deleted, digest, origin, NULL::bytea FROM agent_revisions
		WHERE tenant = $1 AND name = $2 AND ($3::bigint = 0 OR number < $3) ORDER BY number DESC LIMIT $4`, tenant, name, before, limit)
}

func (s *Store) revisions(ctx context.Context, tenant, doing, query string, args ...any) ([]agent.Revision, error) {
	var list []agent.Revision
	err := s.send(ctx, ofTenant(tenant), doing, func(b *pgx.Batch) {
		b.Queue(query, args...).Query(func(rows pgx.Rows) error {
			var err error
			list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (agent.Revision, error) {
				var r agent.Revision
				err := row.Scan(&r.Name, &r.Number, &r.CreatedAt, &r.Deleted, &r.Digest, &r.Origin, &r.Source)
				r.CreatedAt = r.CreatedAt.UTC()
				return r, err
			})
			return err
		})
	})
	return list, err
}
