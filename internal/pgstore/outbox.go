package pgstore

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

const deliveryColumns = `d.tenant, d.webhook, d.session, d.seq, d.kind, d.at, d.run, d.agent, d.detail, d.due, d.attempts, d.state, d.status, d.problem, d.settled_at`

func scanDelivery(rows pgx.Rows, more ...any) (d webhook.Delivery, err error) {
	var settled *time.Time
	err = rows.Scan(append([]any{
		&d.Hook.Tenant, &d.Hook.ID, &d.Notice.Session.Session, &d.Notice.Seq, &d.Notice.Kind, &d.Notice.Time, &d.Notice.Run, &d.Notice.Agent,
		&d.Notice.Detail, &d.Due, &d.Attempts, &d.State, &d.Status, &d.Problem, &settled,
	}, more...)...)
	d.Notice.Session.Tenant = d.Hook.Tenant
	d.Notice.Time, d.Due, d.SettledAt = d.Notice.Time.UTC(), d.Due.UTC(), orZero(settled)
	return d, err
}

const (
	// waitingHooks finds the webhooks that have something pending: in the index it
	// goes from each to the next one, however much each has.
	waitingHooks = `WITH RECURSIVE waiting (tenant, webhook) AS (
			(SELECT d.tenant, d.webhook FROM webhook_deliveries AS d WHERE d.state = 'pending' ORDER BY d.tenant, d.webhook LIMIT 1)
			UNION ALL
			SELECT n.tenant, n.webhook FROM waiting AS p CROSS JOIN LATERAL (
				SELECT d.tenant, d.webhook FROM webhook_deliveries AS d
				WHERE d.state = 'pending' AND (d.tenant, d.webhook) > (p.tenant, p.webhook) ORDER BY d.tenant, d.webhook LIMIT 1) AS n)`

	// namedHooks are those that the parameter $names names.
	namedHooks = `WITH waiting (tenant, webhook) AS (SELECT split_part(n, '/', 1), split_part(n, '/', 2) FROM unnest($names::text[]) AS n)`

	// dueDeliveries follows one of them: the first that are due of each webhook.
	dueDeliveries = `
			FROM waiting AS h JOIN webhooks AS w ON w.tenant = h.tenant AND w.id = h.webhook AND w.disabled = ''
			CROSS JOIN LATERAL (
				SELECT x.tenant, x.webhook, x.session, x.seq, x.kind, x.due FROM webhook_deliveries AS x
				WHERE x.state = 'pending' AND x.tenant = h.tenant AND x.webhook = h.webhook AND x.due <= $1 ORDER BY x.due LIMIT $4) AS d
			WHERE h.tenant <> ALL ($2::text[]) AND h.tenant || '/' || h.webhook <> ALL ($3::text[])`

	// takeDeliveries takes the share. The oldest of each webhook come first, and of
	// each tenant, then their second ones.
	takeDeliveries = `, nths AS (
			SELECT d.*, w.url, w.secret, w.secret_before, w.before_until, w.failing_since,
				row_number() OVER (PARTITION BY d.tenant, d.webhook ORDER BY d.due) AS nth` + dueDeliveries + `),
		turns AS (
			SELECT n.*, row_number() OVER (PARTITION BY n.tenant ORDER BY n.nth, n.due) AS turn FROM nths AS n),
		due AS (
			SELECT t.* FROM webhook_deliveries AS d
			JOIN (SELECT * FROM turns WHERE turn <= $5 ORDER BY turn, due LIMIT $6) AS t
				ON d.tenant = t.tenant AND d.webhook = t.webhook AND d.session = t.session AND d.seq = t.seq AND d.kind = t.kind
			WHERE d.state = 'pending' AND d.due <= $1 FOR UPDATE OF d SKIP LOCKED)
		UPDATE webhook_deliveries AS d SET attempts = d.attempts + 1, due = $7 FROM due AS w
		WHERE d.tenant = w.tenant AND d.webhook = w.webhook AND d.session = w.session AND d.seq = w.seq AND d.kind = w.kind
		RETURNING ` + deliveryColumns + `, w.url, w.secret, w.secret_before, w.before_until, w.failing_since`
)

// outboxQueries are the statements for a share: whether anything is due, and the one
// that takes it.
func outboxQueries(now time.Time, lease time.Duration, share webhook.Share) (look, take string, lookArgs, takeArgs []any) {
	// An absent list would be null, of which nothing is true.
	tenants, hooks := append([]string{}, share.WithoutTenants...), append([]string{}, share.WithoutHooks...)
	from := waitingHooks
	lookArgs = []any{now, tenants, hooks, 1}
	takeArgs = []any{now, tenants, hooks, share.OfHook, share.OfTenant, share.Limit, now.Add(lease)}
	if len(share.Only) > 0 {
		from = namedHooks
		lookArgs, takeArgs = append(lookArgs, share.Only), append(takeArgs, share.Only)
	}
	named := func(param string) string { return strings.ReplaceAll(from, "$names", param) }
	return named("$5") + ` SELECT EXISTS (SELECT 1` + dueDeliveries + `)`, named("$8") + takeDeliveries, lookArgs, takeArgs
}

// TakeDeliveries implements [webhook.Outbox].
func (s *Store) TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, share webhook.Share) (list []webhook.Delivery, err error) {
	look, take, lookArgs, takeArgs := outboxQueries(now, lease, share)
	// A look costs no write: nearly always nothing is due.
	found := false
	err = s.send(ctx, everyone, "look for deliveries of webhooks", func(b *pgx.Batch) {
		b.Queue(look, lookArgs...).QueryRow(func(row pgx.Row) error { return row.Scan(&found) })
	})
	if err != nil || !found {
		return nil, err
	}
	err = s.send(ctx, everyone, "take deliveries of webhooks", func(b *pgx.Batch) {
		b.Queue(take, takeArgs...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var h webhook.Hook
				var until, failing *time.Time
				d, err := scanDelivery(rows, &h.URL, &h.Nonce, &h.Before, &until, &failing)
				if err != nil {
					return err
				}
				h.Tenant, h.ID, h.BeforeUntil, h.FailingSince = d.Hook.Tenant, d.Hook.ID, orZero(until), orZero(failing)
				d.Hook = h
				list = append(list, d)
			}
			return rows.Err()
		})
	})
	return list, err
}

// SettleDelivery implements [webhook.Outbox].
func (s *Store) SettleDelivery(ctx context.Context, d webhook.Delivery, o webhook.Outcome) error {
	var settled, failing *time.Time
	if o.State != webhook.Pending {
		settled = &o.At
	}
	if o.State != webhook.Delivered {
		failing = &o.At
	}
	return s.send(ctx, ofTenant(d.Hook.Tenant), "note the outcome of a webhook", func(b *pgx.Batch) {
		// Another sender may have settled it meanwhile, after the lease.
		b.Queue(`WITH settled AS (
				UPDATE webhook_deliveries SET state = $6, status = $7, problem = $8, settled_at = $9, due = coalesce($10, due)
				WHERE tenant = $1 AND webhook = $2 AND session = $3 AND seq = $4 AND kind = $5 AND state = 'pending' RETURNING 1)
			UPDATE webhooks SET disabled = CASE WHEN $12::text = '' THEN disabled ELSE $12::text END,
				failing_since = CASE WHEN $11::timestamptz IS NULL THEN NULL ELSE coalesce(failing_since, $11::timestamptz) END
			WHERE tenant = $1 AND id = $2 AND EXISTS (SELECT 1 FROM settled)`,
			d.Hook.Tenant, d.Hook.ID, d.Notice.Session.Session, int64(d.Notice.Seq), d.Notice.Kind, o.State, o.Status, o.Problem, settled, orNull(o.Due), failing, o.Disable)
	})
}

// Deliveries implements [webhook.Outbox].
func (s *Store) Deliveries(ctx context.Context, tenant, id string, q webhook.Query) (list []webhook.Delivery, err error) {
	query, args := `SELECT `+deliveryColumns+` FROM webhook_deliveries AS d WHERE d.tenant = $1 AND d.webhook = $2`, []any{tenant, id, q.Limit}
	switch q.State { // the words themselves, for the partial indexes
	case "":
	case webhook.Pending, webhook.Delivered, webhook.Failed:
		query += ` AND d.state = '` + q.State + `'`
	default:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "state: %q is none", q.State)
	}
	if n := q.Before; n != nil {
		query += ` AND d.at <= $4 AND (d.at, d.session, d.seq, d.kind) < ($4, $5, $6, $7)`
		args = append(args, n.Time, n.Session.Session, int64(n.Seq), n.Kind)
	}
	err = s.send(ctx, ofTenant(tenant), "list the deliveries of a webhook", func(b *pgx.Batch) {
		b.Queue(query+` ORDER BY d.at DESC, d.session DESC, d.seq DESC, d.kind DESC LIMIT $3`, args...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				d, err := scanDelivery(rows)
				if err != nil {
					return err
				}
				list = append(list, d)
			}
			return rows.Err()
		})
	})
	return list, err
}

// FindDelivery implements [webhook.Outbox]. Ids are not stored: it reads what the
// webhook has in pages, the newest first, until it is met.
func (s *Store) FindDelivery(ctx context.Context, tenant, id, delivery string) (webhook.Delivery, error) {
	q := webhook.Query{Limit: findPage}
	for {
		list, err := s.Deliveries(ctx, tenant, id, q)
		if err != nil {
			return webhook.Delivery{}, err
		}
		for i := range list {
			if list[i].ID() == delivery {
				return list[i], nil
			}
		}
		if len(list) < findPage {
			return webhook.Delivery{}, holdfast.Errorf(holdfast.CodeNotFound, noDelivery, delivery)
		}
		q.Before = &list[len(list)-1].Notice
	}
}

// findPage is how many deliveries FindDelivery reads at a time.
const findPage = 1000

const noDelivery = "there is no delivery %s of the webhook"

// again makes deliveries due once more; the parameter $3 is when.
const again = `UPDATE webhook_deliveries SET state = 'pending', due = $3, settled_at = NULL,
	attempts = CASE WHEN state = 'pending' THEN attempts ELSE 0 END WHERE tenant = $1 AND webhook = $2 AND `

// Redeliver implements [webhook.Outbox].
func (s *Store) Redeliver(ctx context.Context, d webhook.Delivery, now time.Time) error {
	return s.send(ctx, ofTenant(d.Hook.Tenant), "deliver to a webhook again", func(b *pgx.Batch) {
		b.Queue(again+`session = $4 AND seq = $5 AND kind = $6`, d.Hook.Tenant, d.Hook.ID, now, d.Notice.Session.Session, int64(d.Notice.Seq), d.Notice.Kind).
			Exec(changes(holdfast.CodeNotFound, noDelivery, d.ID()))
	})
}

// RedeliverFailed implements [webhook.Outbox].
func (s *Store) RedeliverFailed(ctx context.Context, tenant, id string, since, now time.Time) (n int, err error) {
	err = s.send(ctx, ofTenant(tenant), "deliver to a webhook again", func(b *pgx.Batch) {
		b.Queue(again+`state = 'failed' AND at >= $4`, tenant, id, now, since).Exec(func(tag pgconn.CommandTag) error { n = int(tag.RowsAffected()); return nil })
	})
	return n, err
}

// ForgetDeliveries implements [webhook.Outbox].
func (s *Store) ForgetDeliveries(ctx context.Context, now time.Time) error {
	return s.send(ctx, everyone, "forget old deliveries of webhooks", func(b *pgx.Batch) {
		before := now.Add(-webhook.Keep)
		b.Queue(`DELETE FROM webhook_deliveries WHERE state <> 'pending' AND settled_at < $1`, before)
		b.Queue(`DELETE FROM webhook_deliveries AS d WHERE d.state = 'pending' AND NOT EXISTS (SELECT 1 FROM webhooks AS w WHERE w.tenant = d.tenant AND w.id = d.webhook)`)
		b.Queue(`UPDATE webhook_deliveries AS d SET state = 'failed', settled_at = $2, problem = $3 FROM webhooks AS w
			WHERE w.tenant = d.tenant AND w.id = d.webhook AND w.disabled <> '' AND d.state = 'pending' AND d.at < $1`, before, now, webhook.GivenUp)
	})
}
