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

var _ webhook.Store = (*Store)(nil)

// orNull is a time as a column has it, null for none.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// changes makes an error of a statement that changes no row.
func changes(code holdfast.Code, format, id string) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() == 0 {
			return holdfast.Errorf(code, format, id)
		}
		return nil
	}
}

// PutWebhook implements [webhook.Store].
func (s *Store) PutWebhook(ctx context.Context, h webhook.Hook, most int) error {
	return s.send(ctx, ofTenant(h.Tenant), "store a webhook", func(b *pgx.Batch) {
		// One creation of a tenant at a time: the limit is a limit.
		b.Queue(`SELECT pg_advisory_xact_lock(hashtextextended('webhooks of ' || $1, 0))`, h.Tenant)
		taken := false
		b.Queue(`SELECT EXISTS (SELECT 1 FROM webhooks WHERE tenant = $1 AND id = $2)`, h.Tenant, h.ID).
			QueryRow(func(row pgx.Row) error { return row.Scan(&taken) })
		b.Queue(`INSERT INTO webhooks (tenant, id, url, kinds, description, secret, created_at)
			SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM webhooks WHERE tenant = $1) < $8 ON CONFLICT DO NOTHING`,
			h.Tenant, h.ID, h.URL, strings.Join(h.Kinds, ","), h.Description, h.Nonce, h.CreatedAt, most).
			Exec(func(tag pgconn.CommandTag) error {
				switch {
				case tag.RowsAffected() > 0:
					return nil
				case taken:
					return holdfast.Errorf(holdfast.CodeConflict, "there is a webhook %s already", h.ID)
				}
				return holdfast.Errorf(holdfast.CodeConflict, "there are %d webhooks already, as many as are possible; delete one", most)
			})
	})
}

// Webhooks implements [webhook.Store].
func (s *Store) Webhooks(ctx context.Context, tenant string) (list []webhook.Hook, err error) {
	err = s.send(ctx, ofTenant(tenant), "list the webhooks", func(b *pgx.Batch) {
		b.Queue(`SELECT id, url, kinds, description, secret, created_at, failing_since, disabled
			FROM webhooks WHERE tenant = $1 ORDER BY created_at, id`, tenant).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				h := webhook.Hook{Tenant: tenant}
				var kinds string
				var failing *time.Time
				if err := rows.Scan(&h.ID, &h.URL, &kinds, &h.Description, &h.Nonce, &h.CreatedAt, &failing, &h.Disabled); err != nil {
					return err
				}
				h.Kinds, h.CreatedAt, h.FailingSince = strings.Split(kinds, ","), h.CreatedAt.UTC(), orZero(failing)
				list = append(list, h)
			}
			return rows.Err()
		})
	})
	return list, err
}

const noWebhook = "there is no webhook %s"

// DeleteWebhook implements [webhook.Store].
func (s *Store) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return s.send(ctx, ofTenant(tenant), "delete a webhook", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM webhook_deliveries WHERE tenant = $1 AND webhook = $2`, tenant, id)
		b.Queue(`DELETE FROM webhooks WHERE tenant = $1 AND id = $2`, tenant, id).Exec(changes(holdfast.CodeNotFound, noWebhook, id))
	})
}

// EnableWebhook implements [webhook.Store].
func (s *Store) EnableWebhook(ctx context.Context, tenant, id string) error {
	return s.send(ctx, ofTenant(tenant), "enable a webhook", func(b *pgx.Batch) {
		b.Queue(`UPDATE webhooks SET disabled = '', failing_since = NULL WHERE tenant = $1 AND id = $2`, tenant, id).Exec(changes(holdfast.CodeNotFound, noWebhook, id))
	})
}

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

// TakeDeliveries implements [webhook.Store].
func (s *Store) TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, share webhook.Share) (list []webhook.Delivery, err error) {
	const wanted = ` FROM webhook_deliveries AS d JOIN webhooks AS w ON w.tenant = d.tenant AND w.id = d.webhook AND w.disabled = ''
		WHERE d.state = 'pending' AND d.due <= $1 AND d.tenant <> ALL ($2::text[]) AND d.tenant || '/' || d.webhook <> ALL ($3::text[])`
	// An absent list would be null, of which nothing is true.
	tenants, hooks := append([]string{}, share.WithoutTenants...), append([]string{}, share.WithoutHooks...)
	// A look costs no write: nearly always nothing is due.
	found := false
	err = s.send(ctx, everyone, "look for deliveries of webhooks", func(b *pgx.Batch) {
		b.Queue(`SELECT EXISTS (SELECT 1`+wanted+`)`, now, tenants, hooks).QueryRow(func(row pgx.Row) error { return row.Scan(&found) })
	})
	if err != nil || !found {
		return nil, err
	}
	err = s.send(ctx, everyone, "take deliveries of webhooks", func(b *pgx.Batch) {
		// The oldest of each webhook come first, and of each tenant, then their second ones.
		b.Queue(`WITH nths AS (
				SELECT d.tenant, d.webhook, d.session, d.seq, d.kind, d.due, w.url, w.secret, w.failing_since,
					row_number() OVER (PARTITION BY d.tenant, d.webhook ORDER BY d.due) AS nth`+wanted+`),
			turns AS (
				SELECT n.*, row_number() OVER (PARTITION BY n.tenant ORDER BY n.nth, n.due) AS turn FROM nths AS n WHERE n.nth <= $4),
			due AS (
				SELECT t.* FROM webhook_deliveries AS d
				JOIN (SELECT * FROM turns WHERE turn <= $5 ORDER BY turn, due LIMIT $6) AS t
					ON d.tenant = t.tenant AND d.webhook = t.webhook AND d.session = t.session AND d.seq = t.seq AND d.kind = t.kind
				WHERE d.state = 'pending' AND d.due <= $1 FOR UPDATE OF d SKIP LOCKED)
			UPDATE webhook_deliveries AS d SET attempts = d.attempts + 1, due = $7 FROM due AS w
			WHERE d.tenant = w.tenant AND d.webhook = w.webhook AND d.session = w.session AND d.seq = w.seq AND d.kind = w.kind
			RETURNING `+deliveryColumns+`, w.url, w.secret, w.failing_since`, now, tenants, hooks, share.OfHook, share.OfTenant, share.Limit, now.Add(lease)).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var url string
				var nonce []byte
				var failing *time.Time
				d, err := scanDelivery(rows, &url, &nonce, &failing)
				if err != nil {
					return err
				}
				d.Hook.URL, d.Hook.Nonce, d.Hook.FailingSince = url, nonce, orZero(failing)
				list = append(list, d)
			}
			return rows.Err()
		})
	})
	return list, err
}

// SettleDelivery implements [webhook.Store].
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

// Deliveries implements [webhook.Store].
func (s *Store) Deliveries(ctx context.Context, tenant, id string, limit int) (list []webhook.Delivery, err error) {
	err = s.send(ctx, ofTenant(tenant), "list the deliveries of a webhook", func(b *pgx.Batch) {
		b.Queue(`SELECT `+deliveryColumns+` FROM webhook_deliveries AS d WHERE d.tenant = $1 AND d.webhook = $2
			ORDER BY d.at DESC, d.session, d.seq DESC LIMIT $3`, tenant, id, limit).Query(func(rows pgx.Rows) error {
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

// ForgetDeliveries implements [webhook.Store].
func (s *Store) ForgetDeliveries(ctx context.Context, before time.Time) error {
	return s.send(ctx, everyone, "forget old deliveries of webhooks", func(b *pgx.Batch) {
		b.Queue(`DELETE FROM webhook_deliveries WHERE state <> 'pending' AND settled_at < $1`, before)
	})
}
