package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

var _ events.TimerStore = (*Store)(nil)

// storeProjections writes what a batch changes beside rows and chunks.
func storeProjections(ctx context.Context, tx *sql.Tx, p *events.Plan) error {
	for _, c := range p.Timers {
		var err error
		if c.Gone {
			_, err = tx.ExecContext(ctx, `DELETE FROM timers WHERE tenant = ? AND session = ? AND timer = ?`, c.Session.Tenant, c.Session.Session, c.ID)
		} else {
			_, err = tx.ExecContext(ctx, `INSERT INTO timers (tenant, session, timer, at, due, kind) VALUES (?1, ?2, ?3, ?4, ?4, ?5)
				ON CONFLICT (tenant, session, timer) DO UPDATE SET at = excluded.at, due = excluded.due, sent = 0, kind = excluded.kind`,
				c.Session.Tenant, c.Session.Session, c.ID, c.At.UnixMicro(), c.Kind)
		}
		if err != nil {
			return fmt.Errorf("store timer %s of %s: %w", c.ID, c.Session, err)
		}
	}
	for _, ref := range p.Deleted {
		if _, err := tx.ExecContext(ctx, `DELETE FROM timers WHERE tenant = ? AND session = ?`, ref.Tenant, ref.Session); err != nil {
			return fmt.Errorf("delete the timers of %s: %w", ref, err)
		}
	}
	for i := range p.Notices {
		n := &p.Notices[i]
		if _, err := tx.ExecContext(ctx, insertDeliveries, n.Session.Tenant, n.Session.Session, int64(n.Seq), n.Kind,
			n.Time.UnixMicro(), n.Run, n.Agent, n.Detail, time.Now().UnixMicro(), webhook.History.Microseconds()); err != nil {
			return fmt.Errorf("note what %s is to be told: %w", n.Session.Tenant, err)
		}
	}
	for k, u := range p.Usage {
		if _, err := tx.ExecContext(ctx, addUsage, k.Session.Tenant, k.Day.UnixMicro(), k.Session.Session, k.Agent, k.AgentName, k.Model,
			u.Calls, u.InputTokens, u.OutputTokens, u.CachedInputTokens, u.ReasoningTokens, u.Cost); err != nil {
			return fmt.Errorf("account for the usage of %s: %w", k.Session, err)
		}
	}
	return nil
}

const (
	// A webhook hears of what is recorded since it was made, and clocks decide nothing
	// but what is history. What the clock of a worker has in the future is due now.
	insertDeliveries = `INSERT INTO webhook_deliveries (tenant, webhook, session, seq, kind, at, run, agent, detail, due)
		SELECT ?1, id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, min(?5, ?9) FROM webhooks
		WHERE tenant = ?1 AND disabled = '' AND created_at <= ?5 + ?10 AND instr(',' || kinds || ',', ',' || ?4 || ',') > 0
		ON CONFLICT DO NOTHING`

	addUsage = `INSERT INTO usage (tenant, day, session, agent, agent_name, model, calls, input_tokens, output_tokens, cached_tokens, reasoning, cost)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, day, session, agent, agent_name, model) DO UPDATE SET calls = calls + excluded.calls,
			input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
			cached_tokens = cached_tokens + excluded.cached_tokens, reasoning = reasoning + excluded.reasoning, cost = cost + excluded.cost`
)

// TakeTimers implements [events.TimerStore].
func (s *Store) TakeTimers(ctx context.Context, now time.Time, limit int) (due []events.Timer, next time.Time, err error) {
	// A look costs no write: nearly always nothing is due.
	if next, err = s.nextTimer(ctx); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = s.write(ctx, "take the timers that are due", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT tenant, session, timer, at, kind, sent FROM timers WHERE due <= ? ORDER BY due LIMIT ?`, now.UnixMicro(), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		var sent []int
		for rows.Next() {
			var t events.Timer
			var at int64
			var n int
			if err := rows.Scan(&t.Session.Tenant, &t.Session.Session, &t.ID, &at, &t.Kind, &n); err != nil {
				return err
			}
			t.At = time.UnixMicro(at).UTC()
			due, sent = append(due, t), append(sent, n)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for i, t := range due {
			if _, err := tx.ExecContext(ctx, `UPDATE timers SET due = ?, sent = sent + 1 WHERE tenant = ? AND session = ? AND timer = ?`,
				now.Add(events.TimerRetry(sent[i])).UnixMicro(), t.Session.Tenant, t.Session.Session, t.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	next, err = s.nextTimer(ctx)
	return due, next, err
}

func (s *Store) nextTimer(ctx context.Context) (time.Time, error) {
	var at sql.NullInt64
	if err := s.r.QueryRowContext(ctx, `SELECT min(due) FROM timers`).Scan(&at); err != nil {
		return time.Time{}, s.wrap(ctx, err, "look for the next timer")
	}
	if !at.Valid {
		return time.Time{}, nil
	}
	return time.UnixMicro(at.Int64).UTC(), nil
}

// PendingTimers implements [events.TimerStore].
func (s *Store) PendingTimers(ctx context.Context, tenant string, limit int) ([]events.Timer, error) {
	const doing = "list the timers"
	rows, err := s.r.QueryContext(ctx, `SELECT session, timer, at, kind FROM timers WHERE tenant = ? ORDER BY at, session, timer LIMIT ?`, tenant, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []events.Timer
	for rows.Next() {
		var t events.Timer
		var at int64
		if err := rows.Scan(&t.Session.Session, &t.ID, &at, &t.Kind); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		t.Session.Tenant, t.At = tenant, time.UnixMicro(at).UTC()
		list = append(list, t)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}
