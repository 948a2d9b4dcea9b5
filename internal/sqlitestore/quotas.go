package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
)

var _ quota.Store = (*Store)(nil)

const noQuota = "no quota is set for the tenant %s"

func (s *Store) readQuotas(ctx context.Context, doing, query string, args ...any) ([]quota.Stored, error) {
	rows, err := s.r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []quota.Stored
	for rows.Next() {
		var q quota.Stored
		var doc string
		var at int64
		if err := rows.Scan(&q.Tenant, &doc, &at); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		if err := json.Unmarshal([]byte(doc), &q.Quota); err != nil {
			return nil, fmt.Errorf("quota of %s: %w", q.Tenant, err)
		}
		q.UpdatedAt = time.UnixMicro(at).UTC()
		list = append(list, q)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// Quota implements [quota.Store].
func (s *Store) Quota(ctx context.Context, tenant string) (quota.Stored, error) {
	list, err := s.readQuotas(ctx, "read a quota", `SELECT tenant, quota, updated_at FROM quotas WHERE tenant = ?`, tenant)
	if err != nil {
		return quota.Stored{}, err
	}
	if len(list) == 0 {
		return quota.Stored{}, holdfast.Errorf(holdfast.CodeNotFound, noQuota, tenant)
	}
	return list[0], nil
}

// Quotas implements [quota.Store].
func (s *Store) Quotas(ctx context.Context, after string, limit int) ([]quota.Stored, error) {
	return s.readQuotas(ctx, "list the quotas", `SELECT tenant, quota, updated_at FROM quotas WHERE tenant > ? ORDER BY tenant LIMIT ?`, after, limit)
}

// PutQuota implements [quota.Store].
func (s *Store) PutQuota(ctx context.Context, q quota.Stored) error {
	doc, err := json.Marshal(q.Quota)
	if err != nil {
		return fmt.Errorf("encode the quota of %s: %w", q.Tenant, err)
	}
	return s.write(ctx, "store a quota", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO quotas (tenant, quota, updated_at) VALUES (?, ?, ?)
			ON CONFLICT (tenant) DO UPDATE SET quota = excluded.quota, updated_at = excluded.updated_at`, q.Tenant, string(doc), q.UpdatedAt.UnixMicro())
		return err
	})
}

// DeleteQuota implements [quota.Store].
func (s *Store) DeleteQuota(ctx context.Context, tenant string) error {
	return s.write(ctx, "delete a quota", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM quotas WHERE tenant = ?`, tenant)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = holdfast.Errorf(holdfast.CodeNotFound, noQuota, tenant)
		}
		return err
	})
}

// QuotaUse implements [quota.Store].
func (s *Store) QuotaUse(ctx context.Context, tenant string, now time.Time) (quota.Use, error) {
	var u quota.Use
	var at int64
	const doing = "look what a tenant uses"
	day := quota.Day(now).UnixMicro()
	// total counts in floating point and so never overflows; calls that said that they
	// took less than nothing took nothing.
	err := s.r.QueryRowContext(ctx, `SELECT
			CAST(min(total(CASE WHEN day >= ?1 THEN 0.0 + max(input_tokens, 0) + max(output_tokens, 0) END), 9e18) AS INTEGER), total(CASE WHEN day >= ?1 THEN max(cost, 0.0) END),
			CAST(min(total(0.0 + max(input_tokens, 0) + max(output_tokens, 0)), 9e18) AS INTEGER), total(max(cost, 0.0)),
			(SELECT count(*) FROM sessions WHERE tenant = ?3 AND deleted = 0), (SELECT count(*) FROM quota_runs WHERE tenant = ?3),
			coalesce((SELECT bytes FROM quota_storage WHERE tenant = ?3), 0), coalesce((SELECT measured_at FROM quota_storage WHERE tenant = ?3), 0)
		FROM usage WHERE tenant = ?3 AND day >= ?2`, day, quota.Month(now).UnixMicro(), tenant).
		Scan(&u.Day.Tokens, &u.Day.Cost, &u.Month.Tokens, &u.Month.Cost, &u.Sessions, &u.Runs, &u.Storage, &at)
	if at != 0 {
		u.StorageAt = time.UnixMicro(at).UTC()
	}
	return u, s.wrap(ctx, err, doing)
}

// MeasureStorage implements [quota.Store].
func (s *Store) MeasureStorage(ctx context.Context, tenant string, now time.Time, age time.Duration) error {
	mine := false
	err := s.write(ctx, "begin to measure storage", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO quota_storage (tenant, bytes, measured_at, begun_at) VALUES (?1, 0, 0, ?2)
			ON CONFLICT (tenant) DO UPDATE SET begun_at = excluded.begun_at WHERE begun_at <= ?3 OR begun_at > excluded.begun_at`,
			tenant, now.UnixMicro(), now.Add(-age).UnixMicro())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		mine = n > 0
		return err
	})
	if err != nil || !mine {
		return err
	}
	// Nothing is written while it is counted.
	var bytes int64
	err = s.r.QueryRowContext(ctx, `SELECT (SELECT coalesce(sum(length(data)), 0) FROM event_chunks WHERE tenant = ?1)
		+ (SELECT coalesce(sum(length(CAST(source AS BLOB))), 0) FROM agent_revisions WHERE tenant = ?1)`, tenant).Scan(&bytes)
	if err != nil {
		return s.wrap(ctx, err, "measure storage")
	}
	return s.write(ctx, "store how much there is", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE quota_storage SET bytes = ?, measured_at = ? WHERE tenant = ?`, bytes, now.UnixMicro(), tenant)
		return err
	})
}

// TakePermits implements [quota.Store].
func (s *Store) TakePermits(ctx context.Context, tenant string, r quota.Rate, now time.Time, want int64) (p quota.Permits, err error) {
	err = s.write(ctx, "take permits for requests", func(tx *sql.Tx) error {
		left, at := float64(r.Burst), now.UnixMicro()
		err := tx.QueryRowContext(ctx, `SELECT left_at, at FROM quota_permits WHERE tenant = ?`, tenant).Scan(&left, &at)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		p = r.Take(left, now.Sub(time.UnixMicro(at)), want)
		_, err = tx.ExecContext(ctx, `INSERT INTO quota_permits (tenant, left_at, at) VALUES (?, ?, ?)
			ON CONFLICT (tenant) DO UPDATE SET left_at = excluded.left_at, at = excluded.at`, tenant, p.Left, now.UnixMicro())
		return err
	})
	return p, err
}

// TakePlace implements [quota.Store]. Transactions that write come one after the
// other.
func (s *Store) TakePlace(ctx context.Context, run quota.Run, limit int64, beside bool, now time.Time) (taken bool, err error) {
	tenant, session := run.Session.Tenant, run.Session.Session
	err = s.write(ctx, "take a place for a run", func(tx *sql.Tx) error {
		try := func() error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO quota_runs (tenant, session, run, taken_at) SELECT ?1, ?2, ?3, ?4
				WHERE (SELECT count(*) FROM quota_runs WHERE tenant = ?1) < ?5
					OR ?6 AND EXISTS (SELECT 1 FROM quota_runs WHERE tenant = ?1 AND session = ?2)
				ON CONFLICT DO NOTHING`, tenant, session, run.ID, now.UnixMicro(), limit, beside); err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM quota_runs WHERE tenant = ? AND session = ? AND run = ?)`, tenant, session, run.ID).Scan(&taken)
		}
		if err := try(); err != nil || taken {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM quota_runs AS q WHERE q.tenant = ? AND q.taken_at < ? AND NOT EXISTS (
			SELECT 1 FROM sessions AS s WHERE s.tenant = q.tenant AND s.id = q.session AND s.deleted = 0 AND (s.status <> ? OR s.updated_at > ?))`,
			tenant, now.Add(-quota.UnusedAfter).UnixMicro(), events.StatusIdle, now.Add(-quota.IdleAfter).UnixMicro()); err != nil {
			return err
		}
		return try()
	})
	return taken && err == nil, err
}

// DropPlace implements [quota.Store].
func (s *Store) DropPlace(ctx context.Context, run quota.Run) error {
	return s.write(ctx, "give back the place of a run", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM quota_runs WHERE tenant = ? AND session = ? AND run = ?`, run.Session.Tenant, run.Session.Session, run.ID)
		return err
	})
}

// dropPlaces gives back the places of runs that are over.
func dropPlaces(ctx context.Context, tx *sql.Tx, p *events.Plan) error {
	for i := range p.Notices {
		n := &p.Notices[i]
		if n.Kind != events.NoticeRunFinished {
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM quota_runs WHERE tenant = ? AND session = ? AND run = ?`, n.Session.Tenant, n.Session.Session, n.Run); err != nil {
			return fmt.Errorf("give back the place of a run of %s: %w", n.Session, err)
		}
	}
	for _, ref := range p.Deleted {
		if _, err := tx.ExecContext(ctx, `DELETE FROM quota_runs WHERE tenant = ? AND session = ?`, ref.Tenant, ref.Session); err != nil {
			return fmt.Errorf("give back the places of %s: %w", ref, err)
		}
	}
	return nil
}
