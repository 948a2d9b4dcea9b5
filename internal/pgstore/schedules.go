package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

var _ schedule.Store = (*Store)(nil)

const (
	scheduleColumns = `s.tenant, s.id, s.spec, s.revision, s.created_at, s.updated_at, s.paused, s.reason, s.next_at, s.last, s.fired`
	noSchedule      = "there is no schedule %s"
)

// collectSchedules reads rows of scheduleColumns.
func collectSchedules(into *[]schedule.Schedule) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var s schedule.Schedule
			var spec, last string
			var next *time.Time
			if err := rows.Scan(&s.Tenant, &s.ID, &spec, &s.Revision, &s.CreatedAt, &s.UpdatedAt, &s.Paused, &s.Reason, &next, &last, &s.Fired); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
				return fmt.Errorf("schedule %s of %s: %w", s.ID, s.Tenant, err)
			}
			if last != "" {
				if err := json.Unmarshal([]byte(last), &s.Last); err != nil {
					return fmt.Errorf("schedule %s of %s: %w", s.ID, s.Tenant, err)
				}
			}
			s.CreatedAt, s.UpdatedAt, s.Next = s.CreatedAt.UTC(), s.UpdatedAt.UTC(), orZero(next)
			*into = append(*into, s)
		}
		return rows.Err()
	}
}

// PutSchedule implements [schedule.Store].
func (s *Store) PutSchedule(ctx context.Context, sch schedule.Schedule, most int) error {
	spec, err := json.Marshal(sch.Spec)
	if err != nil {
		return fmt.Errorf("encode schedule %s: %w", sch.ID, err)
	}
	return s.send(ctx, ofTenant(sch.Tenant), "store a schedule", func(b *pgx.Batch) {
		// One creation of a tenant at a time: the limit is a limit.
		b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('schedules of ' || $1, 0))`, sch.Tenant)
		taken := false
		b.Queue(`SELECT EXISTS (SELECT 1 FROM schedules WHERE tenant = $1 AND id = $2)`, sch.Tenant, sch.ID).
			QueryRow(func(row pgx.Row) error { return row.Scan(&taken) })
		b.Queue(`INSERT INTO schedules (tenant, id, spec, revision, created_at, updated_at, paused, reason, next_at, due)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz, $9::timestamptz WHERE (SELECT count(*) FROM schedules WHERE tenant = $1) < $10
			ON CONFLICT DO NOTHING`,
			sch.Tenant, sch.ID, string(spec), sch.Revision, sch.CreatedAt, sch.UpdatedAt, sch.Paused, sch.Reason, orNull(sch.Next), most).
			Exec(func(tag pgconn.CommandTag) error {
				switch {
				case tag.RowsAffected() > 0:
					return nil
				case taken:
					return holdfast.Errorf(holdfast.CodeConflict, "there is a schedule %s already", sch.ID)
				}
				return holdfast.Errorf(holdfast.CodeConflict, "there are %d schedules already, as many as are possible; delete one", most)
			})
	})
}

// ChangeSchedule implements [schedule.Store].
func (s *Store) ChangeSchedule(ctx context.Context, sch schedule.Schedule) error {
	spec, err := json.Marshal(sch.Spec)
	if err != nil {
		return fmt.Errorf("encode schedule %s: %w", sch.ID, err)
	}
	var changed int64
	there := false
	err = s.send(ctx, ofTenant(sch.Tenant), "change a schedule", func(b *pgx.Batch) {
		b.Queue(`UPDATE schedules SET spec = $3, revision = $4, updated_at = $5, paused = $6, reason = $7, next_at = $8, due = $8
			WHERE tenant = $1 AND id = $2 AND revision = $4 - 1`,
			sch.Tenant, sch.ID, string(spec), sch.Revision, sch.UpdatedAt, sch.Paused, sch.Reason, orNull(sch.Next)).
			Exec(func(tag pgconn.CommandTag) error { changed = tag.RowsAffected(); return nil })
		b.Queue(`SELECT EXISTS (SELECT 1 FROM schedules WHERE tenant = $1 AND id = $2)`, sch.Tenant, sch.ID).
			QueryRow(func(row pgx.Row) error { return row.Scan(&there) })
	})
	switch {
	case err != nil || changed > 0:
		return err
	case there:
		return holdfast.Errorf(holdfast.CodeStale, "schedule %s was changed meanwhile", sch.ID)
	}
	return holdfast.Errorf(holdfast.CodeNotFound, noSchedule, sch.ID)
}

// Schedule implements [schedule.Store].
func (s *Store) Schedule(ctx context.Context, tenant, id string) (schedule.Schedule, error) {
	var list []schedule.Schedule
	err := s.send(ctx, ofTenant(tenant), "read a schedule", func(b *pgx.Batch) {
		b.Queue(`SELECT `+scheduleColumns+` FROM schedules AS s WHERE s.tenant = $1 AND s.id = $2`, tenant, id).Query(collectSchedules(&list))
	})
	if err != nil {
		return schedule.Schedule{}, err
	}
	if len(list) == 0 {
		return schedule.Schedule{}, holdfast.Errorf(holdfast.CodeNotFound, noSchedule, id)
	}
	return list[0], nil
}

// Schedules implements [schedule.Store].
func (s *Store) Schedules(ctx context.Context, tenant string, p schedule.Page) (list []schedule.Schedule, err error) {
	err = s.send(ctx, ofTenant(tenant), "list the schedules", func(b *pgx.Batch) {
		b.Queue(`SELECT `+scheduleColumns+` FROM schedules AS s WHERE s.tenant = $1 AND ($2::timestamptz IS NULL OR (s.created_at, s.id) < ($2, $3))
			ORDER BY s.created_at DESC, s.id DESC LIMIT $4`, tenant, orNull(p.BeforeTime), p.BeforeID, p.Limit).Query(collectSchedules(&list))
	})
	return list, err
}

// DeleteSchedule implements [schedule.Store].
func (s *Store) DeleteSchedule(ctx context.Context, tenant, id string) error {
	return s.send(ctx, ofTenant(tenant), "delete a schedule", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM schedules WHERE tenant = $1 AND id = $2`, tenant, id).Exec(changes(holdfast.CodeNotFound, noSchedule, id))
	})
}

// TakeSchedules implements [schedule.Store].
func (s *Store) TakeSchedules(ctx context.Context, now time.Time, lease time.Duration, limit int) (due []schedule.Schedule, next time.Time, err error) {
	look := func() error {
		return s.send(ctx, everyone, "look for the next schedule", func(b *pgx.Batch) {
			b.Queue(`SELECT min(due) FROM schedules WHERE due IS NOT NULL`).QueryRow(func(row pgx.Row) error {
				var at *time.Time
				err := row.Scan(&at)
				next = orZero(at)
				return err
			})
		})
	}
	// A look costs no write: nearly always nothing is due.
	if err := look(); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = s.send(ctx, everyone, "take the schedules that are due", func(b *pgx.Batch) {
		b.Queue(`UPDATE schedules AS s SET due = $2
			FROM (SELECT tenant, id FROM schedules WHERE due <= $1 ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED) AS d
			WHERE s.tenant = d.tenant AND s.id = d.id
			RETURNING `+scheduleColumns, now, now.Add(lease), limit).Query(collectSchedules(&due))
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	slices.SortFunc(due, func(a, b schedule.Schedule) int { return a.Next.Compare(b.Next) })
	return due, next, look()
}

// SettleFiring implements [schedule.Store].
func (s *Store) SettleFiring(ctx context.Context, tenant, id string, o schedule.Settled) error {
	last, err := json.Marshal(o.Firing)
	if err != nil {
		return fmt.Errorf("encode a firing of %s: %w", id, err)
	}
	next := o.Next
	if o.Pause != "" {
		next = time.Time{}
	}
	return s.send(ctx, ofTenant(tenant), "note the firing of a schedule", func(b *pgx.Batch) {
		b.Queue(`UPDATE schedules SET last_at = CASE WHEN coalesce(last_at < $3, true) THEN $3::timestamptz ELSE last_at END, last = CASE WHEN coalesce(last_at < $3, true) THEN $4::text ELSE last END,
				fired = fired + CASE WHEN coalesce(last_at < $3, true) THEN $5::bigint ELSE 0 END,
				paused = paused OR (next_at = $6 AND $8::text <> ''),
				reason = CASE WHEN next_at = $6 THEN $8::text ELSE reason END,
				due = CASE WHEN next_at = $6 THEN $7::timestamptz ELSE due END,
				next_at = CASE WHEN next_at = $6 THEN $7::timestamptz ELSE next_at END
			WHERE tenant = $1 AND id = $2 AND created_at <= $3`,
			tenant, id, o.Firing.At, string(last), started(o), o.Taken, orNull(next), o.Pause)
	})
}

// started is 1 for a firing that started a run.
func started(o schedule.Settled) int {
	if o.Firing.Outcome == schedule.Started {
		return 1
	}
	return 0
}
