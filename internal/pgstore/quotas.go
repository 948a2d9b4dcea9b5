package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
)

var _ quota.Store = (*Store)(nil)

const noQuota = "no quota is set for the tenant %s"

func collectQuotas(into *[]quota.Stored) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		*into = nil
		for rows.Next() {
			var q quota.Stored
			var doc string
			if err := rows.Scan(&q.Tenant, &doc, &q.UpdatedAt); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(doc), &q.Quota); err != nil {
				return fmt.Errorf("quota of %s: %w", q.Tenant, err)
			}
			q.UpdatedAt = q.UpdatedAt.UTC()
			*into = append(*into, q)
		}
		return rows.Err()
	}
}

// Quota implements [quota.Store].
func (s *Store) Quota(ctx context.Context, tenant string) (quota.Stored, error) {
	var list []quota.Stored
	err := s.send(ctx, ofTenant(tenant), "read a quota", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, quota, updated_at FROM quotas WHERE tenant = $1`, tenant).Query(collectQuotas(&list))
	})
	if err != nil {
		return quota.Stored{}, err
	}
	if len(list) == 0 {
		return quota.Stored{}, holdfast.Errorf(holdfast.CodeNotFound, noQuota, tenant)
	}
	return list[0], nil
}

// Quotas implements [quota.Store].
func (s *Store) Quotas(ctx context.Context, after string, limit int) (list []quota.Stored, err error) {
	err = s.send(ctx, everyone, "list the quotas", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, quota, updated_at FROM quotas WHERE tenant > $1 ORDER BY tenant LIMIT $2`, after, limit).Query(collectQuotas(&list))
	})
	return list, err
}

// PutQuota implements [quota.Store].
func (s *Store) PutQuota(ctx context.Context, q quota.Stored) error {
	doc, err := json.Marshal(q.Quota)
	if err != nil {
		return fmt.Errorf("encode the quota of %s: %w", q.Tenant, err)
	}
	return s.send(ctx, ofTenant(q.Tenant), "store a quota", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO quotas (tenant, quota, updated_at) VALUES ($1, $2, $3)
			ON CONFLICT (tenant) DO UPDATE SET quota = excluded.quota, updated_at = excluded.updated_at`, q.Tenant, string(doc), q.UpdatedAt)
	})
}

// DeleteQuota implements [quota.Store].
func (s *Store) DeleteQuota(ctx context.Context, tenant string) error {
	return s.send(ctx, ofTenant(tenant), "delete a quota", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM quotas WHERE tenant = $1`, tenant).Exec(changes(holdfast.CodeNotFound, noQuota, tenant))
	})
}

// QuotaUse implements [quota.Store].
func (s *Store) QuotaUse(ctx context.Context, tenant string, now time.Time) (u quota.Use, err error) {
	err = s.send(ctx, ofTenant(tenant), "look what a tenant uses", func(b *pgx.Batch) {
		u = quota.Use{}
		// A sum of bigint is numeric. Calls that said that they took less than nothing
		// took nothing.
		const tokens = `least(coalesce(sum(greatest(input_tokens, 0) + greatest(output_tokens, 0)::numeric) %[1]s, 0), 9e18)::bigint, coalesce(sum(greatest(cost, 0)) %[1]s, 0)`
		b.Queue(`SELECT `+fmt.Sprintf(tokens, `FILTER (WHERE day >= $2)`)+`, `+fmt.Sprintf(tokens, ``)+` FROM usage WHERE tenant = $1 AND day >= $3`,
			tenant, quota.Day(now), quota.Month(now)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&u.Day.Tokens, &u.Day.Cost, &u.Month.Tokens, &u.Month.Cost) })
		b.Queue(`SELECT (SELECT count(*) FROM sessions WHERE tenant = $1 AND NOT deleted), (SELECT count(*) FROM quota_runs WHERE tenant = $1)`, tenant).
			QueryRow(func(row pgx.Row) error { return row.Scan(&u.Sessions, &u.Runs) })
		b.Queue(`SELECT bytes, measured_at FROM quota_storage WHERE tenant = $1`, tenant).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var at *time.Time
				if err := rows.Scan(&u.Storage, &at); err != nil {
					return err
				}
				u.StorageAt = orZero(at)
			}
			return rows.Err()
		})
	})
	return u, err
}

// MeasureStorage implements [quota.Store]. It reads the rows of the tenant's chunks,
// not what is in them.
func (s *Store) MeasureStorage(ctx context.Context, tenant string, now time.Time, age time.Duration) error {
	mine := false
	err := s.send(ctx, ofTenant(tenant), "begin to measure storage", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO quota_storage AS q (tenant, bytes, begun_at) VALUES ($1, 0, $2)
			ON CONFLICT (tenant) DO UPDATE SET begun_at = excluded.begun_at WHERE q.begun_at <= $3 OR q.begun_at > excluded.begun_at`, tenant, now, now.Add(-age)).
			Exec(func(tag pgconn.CommandTag) error { mine = tag.RowsAffected() > 0; return nil })
	})
	if err != nil || !mine {
		return err
	}
	return s.send(ctx, ofTenant(tenant), "measure storage", func(b *pgx.Batch) {
		b.Queue(`UPDATE quota_storage SET measured_at = $2, bytes =
				(SELECT coalesce(sum(octet_length(data)), 0) FROM event_chunks WHERE tenant = $1)
				+ (SELECT coalesce(sum(octet_length(source)), 0) FROM agent_revisions WHERE tenant = $1)
			WHERE tenant = $1`, tenant, now)
	})
}

// TakePermits implements [quota.Store], with the clock of the database: those of
// processes differ.
func (s *Store) TakePermits(ctx context.Context, tenant string, r quota.Rate, _ time.Time, want int64) (p quota.Permits, err error) {
	err = s.send(ctx, ofTenant(tenant), "take permits for requests", func(b *pgx.Batch) {
		// quota.Rate.Take, in SQL.
		const have = `least($3::float8, greatest(q.left_at, 0) + $2::float8 * greatest(extract(epoch FROM now() - q.at), 0)::float8)`
		const given = `greatest(0, least($4::float8, floor(` + have + `)))`
		b.Queue(`INSERT INTO quota_permits AS q (tenant, left_at, granted, at) VALUES ($1, $3::float8 - least($4::float8, $3::float8), least($4::float8, $3::float8)::bigint, now())
			ON CONFLICT (tenant) DO UPDATE SET left_at = `+have+` - `+given+`, granted = (`+given+`)::bigint, at = greatest(q.at, now())
			RETURNING granted, left_at`, tenant, r.PerSecond, float64(r.Burst), float64(want)).
			QueryRow(func(row pgx.Row) error { return row.Scan(&p.Granted, &p.Left) })
	})
	return p, err
}

// TakePlace implements [quota.Store].
func (s *Store) TakePlace(ctx context.Context, run quota.Run, limit int64, beside bool, now time.Time) (bool, error) {
	tenant := run.Session.Tenant
	try := func(sweep bool) (taken bool, err error) {
		err = s.send(ctx, ofTenant(tenant), "take a place for a run", func(b *pgx.Batch) {
			// One at a time of a tenant: the last place is one place.
			b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('runs of ' || $1, 0))`, tenant)
			if sweep {
				b.Queue(`DELETE FROM quota_runs AS q WHERE q.tenant = $1 AND q.taken_at < $2 AND NOT EXISTS (
					SELECT 1 FROM sessions AS s WHERE s.tenant = q.tenant AND s.id = q.session AND NOT s.deleted
						AND (s.status <> $4 OR s.updated_at > $3))`, tenant, now.Add(-quota.UnusedAfter), now.Add(-quota.IdleAfter), events.StatusIdle)
			}
			b.Queue(`INSERT INTO quota_runs (tenant, session, run, taken_at) SELECT $1, $2, $3, $6::timestamptz
				WHERE (SELECT count(*) FROM quota_runs WHERE tenant = $1) < $4
					OR $5 AND EXISTS (SELECT 1 FROM quota_runs WHERE tenant = $1 AND session = $2)
				ON CONFLICT DO NOTHING`, tenant, run.Session.Session, run.ID, limit, beside, now)
			b.Queue(`SELECT EXISTS (SELECT 1 FROM quota_runs WHERE tenant = $1 AND session = $2 AND run = $3)`, tenant, run.Session.Session, run.ID).
				QueryRow(func(row pgx.Row) error { return row.Scan(&taken) })
		})
		return taken, err
	}
	taken, err := try(false)
	if err == nil && !taken {
		taken, err = try(true)
	}
	return taken, err
}

// DropPlace implements [quota.Store].
func (s *Store) DropPlace(ctx context.Context, run quota.Run) error {
	return s.send(ctx, ofTenant(run.Session.Tenant), "give back the place of a run", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM quota_runs WHERE tenant = $1 AND session = $2 AND run = $3`, run.Session.Tenant, run.Session.Session, run.ID)
	})
}

// queuePlaces gives back the places of runs that are over.
func queuePlaces(b *pgx.Batch, p *events.Plan) {
	var tenants, sessions, runs []string
	for i := range p.Notices {
		if n := &p.Notices[i]; n.Kind == events.NoticeRunFinished {
			tenants, sessions, runs = append(tenants, n.Session.Tenant), append(sessions, n.Session.Session), append(runs, n.Run)
		}
	}
	if len(runs) > 0 {
		b.Queue(`DELETE FROM quota_runs USING unnest($1::text[], $2::text[], $3::text[]) AS d (t, i, r) WHERE tenant = t AND session = i AND run = r`, tenants, sessions, runs)
	}
	if len(p.Deleted) > 0 {
		tenants, ids := split(p.Deleted)
		b.Queue(`DELETE FROM quota_runs USING unnest($1::text[], $2::text[]) AS d (t, i) WHERE tenant = t AND session = i`, tenants, ids)
	}
}
