package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/schedule"
)

var _ schedule.Store = (*Store)(nil)

const (
	scheduleColumns = `tenant, id, spec, revision, created_at, updated_at, paused, reason, next_at, last, fired`
	noSchedule      = "there is no schedule %s"
)

// querier is a transaction, or the pool of readers.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readSchedules reads rows of scheduleColumns.
func readSchedules(ctx context.Context, q querier, query string, args ...any) ([]schedule.Schedule, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []schedule.Schedule
	for rows.Next() {
		var s schedule.Schedule
		var spec, last string
		var created, updated, next int64
		if err := rows.Scan(&s.Tenant, &s.ID, &spec, &s.Revision, &created, &updated, &s.Paused, &s.Reason, &next, &last, &s.Fired); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(spec), &s.Spec); err != nil {
			return nil, fmt.Errorf("schedule %s of %s: %w", s.ID, s.Tenant, err)
		}
		if last != "" {
			if err := json.Unmarshal([]byte(last), &s.Last); err != nil {
				return nil, fmt.Errorf("schedule %s of %s: %w", s.ID, s.Tenant, err)
			}
		}
		s.CreatedAt, s.UpdatedAt, s.Next = timeOf(created), timeOf(updated), timeOf(next)
		list = append(list, s)
	}
	return list, rows.Err()
}

// PutSchedule implements [schedule.Store].
func (s *Store) PutSchedule(ctx context.Context, sch schedule.Schedule, most int) error {
	spec, err := json.Marshal(sch.Spec)
	if err != nil {
		return fmt.Errorf("encode schedule %s: %w", sch.ID, err)
	}
	return s.write(ctx, "store a schedule", func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM schedules WHERE tenant = ?`, sch.Tenant).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return holdfast.Errorf(holdfast.CodeConflict, "there are %d schedules already, as many as are possible; delete one", n)
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO schedules (tenant, id, spec, revision, created_at, updated_at, paused, reason, next_at, due)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) ON CONFLICT DO NOTHING`,
			sch.Tenant, sch.ID, string(spec), sch.Revision, micros(sch.CreatedAt), micros(sch.UpdatedAt), sch.Paused, sch.Reason, micros(sch.Next))
		return changed(res, err, holdfast.Errorf(holdfast.CodeConflict, "there is a schedule %s already", sch.ID))
	})
}

// changed returns none for a statement that changed no row.
func changed(res sql.Result, err, none error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}

// ChangeSchedule implements [schedule.Store].
func (s *Store) ChangeSchedule(ctx context.Context, sch schedule.Schedule) error {
	spec, err := json.Marshal(sch.Spec)
	if err != nil {
		return fmt.Errorf("encode schedule %s: %w", sch.ID, err)
	}
	return s.write(ctx, "change a schedule", func(tx *sql.Tx) error {
		var revision int64
		err := tx.QueryRowContext(ctx, `SELECT coalesce(max(revision), 0) FROM schedules WHERE tenant = ? AND id = ?`, sch.Tenant, sch.ID).Scan(&revision)
		switch {
		case err != nil:
			return err
		case revision == 0:
			return holdfast.Errorf(holdfast.CodeNotFound, noSchedule, sch.ID)
		case revision != sch.Revision-1:
			return holdfast.Errorf(holdfast.CodeStale, "schedule %s was changed meanwhile", sch.ID)
		}
		_, err = tx.ExecContext(ctx, `UPDATE schedules SET spec = ?3, revision = ?4, updated_at = ?5, paused = ?6, reason = ?7, next_at = ?8, due = ?8
			WHERE tenant = ?1 AND id = ?2`,
			sch.Tenant, sch.ID, string(spec), sch.Revision, micros(sch.UpdatedAt), sch.Paused, sch.Reason, micros(sch.Next))
		return err
	})
}

// Schedule implements [schedule.Store].
func (s *Store) Schedule(ctx context.Context, tenant, id string) (schedule.Schedule, error) {
	list, err := readSchedules(ctx, s.r, `SELECT `+scheduleColumns+` FROM schedules WHERE tenant = ? AND id = ?`, tenant, id)
	if err != nil {
		return schedule.Schedule{}, s.wrap(ctx, err, "read a schedule")
	}
	if len(list) == 0 {
		return schedule.Schedule{}, holdfast.Errorf(holdfast.CodeNotFound, noSchedule, id)
	}
	return list[0], nil
}

// Schedules implements [schedule.Store].
func (s *Store) Schedules(ctx context.Context, tenant string, p schedule.Page) ([]schedule.Schedule, error) {
	list, err := readSchedules(ctx, s.r, `SELECT `+scheduleColumns+` FROM schedules
		WHERE tenant = ?1 AND (?2 = 0 OR created_at < ?2 OR created_at = ?2 AND id < ?3) ORDER BY created_at DESC, id DESC LIMIT ?4`,
		tenant, micros(p.BeforeTime), p.BeforeID, p.Limit)
	return list, s.wrap(ctx, err, "list the schedules")
}

// DeleteSchedule implements [schedule.Store].
func (s *Store) DeleteSchedule(ctx context.Context, tenant, id string) error {
	return s.write(ctx, "delete a schedule", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM schedules WHERE tenant = ? AND id = ?`, tenant, id)
		return changed(res, err, holdfast.Errorf(holdfast.CodeNotFound, noSchedule, id))
	})
}

// TakeSchedules implements [schedule.Store].
func (s *Store) TakeSchedules(ctx context.Context, now time.Time, lease time.Duration, limit int) (due []schedule.Schedule, next time.Time, err error) {
	look := func() (time.Time, error) {
		var at int64
		err := s.r.QueryRowContext(ctx, `SELECT coalesce(min(due), 0) FROM schedules WHERE due <> 0`).Scan(&at)
		return timeOf(at), s.wrap(ctx, err, "look for the next schedule")
	}
	// A look costs no write: nearly always nothing is due.
	if next, err = look(); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = s.write(ctx, "take the schedules that are due", func(tx *sql.Tx) error {
		var err error
		due, err = readSchedules(ctx, tx, `SELECT `+scheduleColumns+` FROM schedules WHERE due <> 0 AND due <= ? ORDER BY due, next_at LIMIT ?`, micros(now), limit)
		for _, d := range due {
			if err != nil {
				break
			}
			_, err = tx.ExecContext(ctx, `UPDATE schedules SET due = ? WHERE tenant = ? AND id = ?`, micros(now.Add(lease)), d.Tenant, d.ID)
		}
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	next, err = look()
	return due, next, err
}

// SettleFiring implements [schedule.Store].
func (s *Store) SettleFiring(ctx context.Context, tenant, id string, o schedule.Settled) error {
	last, err := json.Marshal(o.Firing)
	if err != nil {
		return fmt.Errorf("encode a firing of %s: %w", id, err)
	}
	next, started := o.Next, 0
	if o.Pause != "" {
		next = time.Time{}
	}
	if o.Firing.Outcome == schedule.Started {
		started = 1
	}
	return s.write(ctx, "note the firing of a schedule", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE schedules SET last_at = CASE WHEN last_at < ?3 THEN ?3 ELSE last_at END, last = CASE WHEN last_at < ?3 THEN ?4 ELSE last END,
				fired = fired + CASE WHEN last_at < ?3 THEN ?5 ELSE 0 END,
				paused = paused OR (next_at = ?6 AND ?8 <> ''),
				reason = CASE WHEN next_at = ?6 THEN ?8 ELSE reason END,
				due = CASE WHEN next_at = ?6 THEN ?7 ELSE due END,
				next_at = CASE WHEN next_at = ?6 THEN ?7 ELSE next_at END
			WHERE tenant = ?1 AND id = ?2 AND created_at <= ?3`,
			tenant, id, micros(o.Firing.At), string(last), started, micros(o.Taken), micros(next), o.Pause)
		return err
	})
}
