package pgstore

import (
	"bytes"
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

// revisionKey names a revision of a tenant's agent file; number 0 is the newest.
type revisionKey struct {
	tenant, name string
	number       int64
}

// Revision implements [agent.Store]. Lookups that come at the same time share
// their round trips: see [gather].
func (s *Store) Revision(ctx context.Context, tenant, name string, number int64) (agent.Revision, error) {
	r, found, err := s.revisions.get(ctx, revisionKey{tenant, name, number})
	if err != nil {
		return agent.Revision{}, wrap(ctx, err, "read an agent file")
	}
	if !found {
		return agent.Revision{}, holdfast.Errorf(holdfast.CodeNotFound, "there is no agent file %s of that version", name)
	}
	// Whoever asked for the same file must not share what can be changed.
	r.Source = bytes.Clone(r.Source)
	return r, nil
}

// revision looks one revision up.
func (s *Store) revision(ctx context.Context, key revisionKey) (agent.Revision, bool, error) {
	found, err := s.revisionsOf(ctx, []revisionKey{key})
	r, ok := found[key]
	return r, ok, err
}

// revisionsOf looks revisions up, each in the scope of its tenant.
func (s *Store) revisionsOf(ctx context.Context, keys []revisionKey) (map[revisionKey]agent.Revision, error) {
	found := make(map[revisionKey]agent.Revision, len(keys))
	err := s.sendScoped(ctx, "read agent files", func(b *pgx.Batch) {
		for _, key := range keys {
			queueScope(b, ofTenant(key.tenant))
			b.Queue(`SELECT name, number, created_at, deleted, digest, origin, source FROM agent_revisions
				WHERE tenant = $1 AND name = $2 AND ($3::bigint = 0 OR number = $3) ORDER BY number DESC LIMIT 1`,
				key.tenant, key.name, key.number).Query(func(rows pgx.Rows) error {
				list, err := pgx.CollectRows(rows, scanRevision)
				if len(list) > 0 {
					found[key] = list[0]
				}
				return err
			})
		}
	})
	return found, err
}

// Newest implements [agent.Store].
func (s *Store) Newest(ctx context.Context, tenant string) ([]agent.Revision, error) {
	return s.listRevisions(ctx, tenant, "list agent files", `SELECT name, number, created_at, deleted, digest, origin, NULL::bytea FROM agent_revisions AS a
		WHERE tenant = $1 AND NOT deleted AND number = (SELECT max(number) FROM agent_revisions AS b WHERE b.tenant = $1 AND b.name = a.name)
		ORDER BY name`, tenant)
}

// Revisions implements [agent.Store].
func (s *Store) Revisions(ctx context.Context, tenant, name string, before int64, limit int) ([]agent.Revision, error) {
	return s.listRevisions(ctx, tenant, "list versions of an agent file", `SELECT name, number, created_at, deleted, digest, origin, NULL::bytea FROM agent_revisions
		WHERE tenant = $1 AND name = $2 AND ($3::bigint = 0 OR number < $3) ORDER BY number DESC LIMIT $4`, tenant, name, before, limit)
}

func (s *Store) listRevisions(ctx context.Context, tenant, doing, query string, args ...any) ([]agent.Revision, error) {
	var list []agent.Revision
	err := s.send(ctx, ofTenant(tenant), doing, func(b *pgx.Batch) {
		b.Queue(query, args...).Query(func(rows pgx.Rows) error {
			var err error
			list, err = pgx.CollectRows(rows, scanRevision)
			return err
		})
	})
	return list, err
}

func scanRevision(row pgx.CollectableRow) (agent.Revision, error) {
	var r agent.Revision
	err := row.Scan(&r.Name, &r.Number, &r.CreatedAt, &r.Deleted, &r.Digest, &r.Origin, &r.Source)
	r.CreatedAt = r.CreatedAt.UTC()
	return r, err
}
