package pgstore

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

var _ events.TimerStore = (*Store)(nil)

const (
	setTimer = `INSERT INTO timers (tenant, session, timer, at, due, kind) VALUES ($1, $2, $3, $4, $4, $5)
		ON CONFLICT (tenant, session, timer) DO UPDATE SET at = excluded.at, due = excluded.due, sent = 0, kind = excluded.kind`

	dropTimer = `DELETE FROM timers WHERE tenant = $1 AND session = $2 AND timer = $3`

	dropTimers = `DELETE FROM timers USING unnest($1::text[], $2::text[]) AS d (t, i) WHERE tenant = t AND session = i`

	// A webhook hears of what is recorded since it was made, and clocks decide nothing
	// but what is history. What the clock of a worker has in the future is due now.
	insertDeliveries = `INSERT INTO webhook_deliveries (tenant, webhook, session, seq, kind, at, run, agent, detail, due)
		SELECT n.tenant, w.id, n.session, n.seq, n.kind, n.at, n.run, n.agent, n.detail, least(n.at, now())
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[])
			AS n (tenant, session, seq, kind, at, run, agent, detail)
		JOIN webhooks AS w ON w.tenant = n.tenant AND w.disabled = '' AND w.created_at <= n.at + $9::interval AND n.kind = ANY (string_to_array(w.kinds, ','))
		ON CONFLICT DO NOTHING`

	addUsage = `INSERT INTO usage AS u (tenant, day, session, agent, agent_name, model, calls, input_tokens, output_tokens, cached_tokens, reasoning, cost)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (tenant, day, session, agent, agent_name, model) DO UPDATE SET calls = u.calls + excluded.calls,
			input_tokens = u.input_tokens + excluded.input_tokens, output_tokens = u.output_tokens + excluded.output_tokens,
			cached_tokens = u.cached_tokens + excluded.cached_tokens, reasoning = u.reasoning + excluded.reasoning, cost = u.cost + excluded.cost`
)

// queueProjections writes what a batch changes beside rows and chunks.
func queueProjections(b *pgx.Batch, p *events.Plan) {
	for _, c := range p.Timers {
		if c.Gone {
			b.Queue(dropTimer, c.Session.Tenant, c.Session.Session, c.ID)
		} else {
			b.Queue(setTimer, c.Session.Tenant, c.Session.Session, c.ID, c.At, c.Kind)
		}
	}
	if len(p.Deleted) > 0 {
		tenants, ids := split(p.Deleted)
		b.Queue(dropTimers, tenants, ids)
	}
	if n := len(p.Notices); n > 0 {
		tenants, sessions, seqs, kinds := make([]string, n), make([]string, n), make([]int64, n), make([]string, n)
		times, runs, agents, details := make([]time.Time, n), make([]string, n), make([]string, n), make([]string, n)
		for i := range p.Notices {
			x := &p.Notices[i]
			tenants[i], sessions[i], seqs[i], kinds[i] = x.Session.Tenant, x.Session.Session, int64(x.Seq), x.Kind
			times[i], runs[i], agents[i], details[i] = x.Time, x.Run, x.Agent, x.Detail
		}
		b.Queue(insertDeliveries, tenants, sessions, seqs, kinds, times, runs, agents, details, webhook.History)
	}
	for k, u := range p.Usage {
		b.Queue(addUsage, k.Session.Tenant, k.Day, k.Session.Session, k.Agent, k.AgentName, k.Model,
			u.Calls, u.InputTokens, u.OutputTokens, u.CachedInputTokens, u.ReasoningTokens, u.Cost)
	}
}

// TakeTimers implements [events.TimerStore]. Several processes share the timers
// out among them.
func (s *Store) TakeTimers(ctx context.Context, now time.Time, limit int) (due []events.Timer, next time.Time, err error) {
	const doing = "take the timers that are due"
	look := func() error {
		return s.send(ctx, everyone, doing, func(b *pgx.Batch) {
			b.Queue(`SELECT min(due) FROM timers`).QueryRow(func(row pgx.Row) error {
				var at *time.Time
				if err := row.Scan(&at); err != nil {
					return err
				}
				next = time.Time{}
				if at != nil {
					next = at.UTC()
				}
				return nil
			})
		})
	}
	// A look costs no write: nearly always nothing is due.
	if err := look(); err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = s.send(ctx, everyone, doing, func(b *pgx.Batch) {
		// The pause is events.TimerRetry, in SQL.
		b.Queue(`UPDATE timers AS t SET sent = t.sent + 1,
				due = $1 + least(interval '5 seconds' * (1 << least(t.sent, 6)), interval '5 minutes')
			FROM (SELECT tenant, session, timer FROM timers WHERE due <= $1 ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED) AS d
			WHERE t.tenant = d.tenant AND t.session = d.session AND t.timer = d.timer
			RETURNING t.tenant, t.session, t.timer, t.at, t.kind`, now, limit).Query(collectTimers(&due))
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	slices.SortFunc(due, func(a, b events.Timer) int { return a.At.Compare(b.At) })
	return due, next, look()
}

func collectTimers(into *[]events.Timer) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			var t events.Timer
			if err := rows.Scan(&t.Session.Tenant, &t.Session.Session, &t.ID, &t.At, &t.Kind); err != nil {
				return err
			}
			t.At = t.At.UTC()
			*into = append(*into, t)
		}
		return rows.Err()
	}
}

// PendingTimers implements [events.TimerStore].
func (s *Store) PendingTimers(ctx context.Context, tenant string, limit int) ([]events.Timer, error) {
	var list []events.Timer
	err := s.send(ctx, ofTenant(tenant), "list the timers", func(b *pgx.Batch) {
		b.Queue(`SELECT tenant, session, timer, at, kind FROM timers WHERE tenant = $1 ORDER BY at, session, timer LIMIT $2`, tenant, limit).Query(collectTimers(&list))
	})
	return list, err
}
