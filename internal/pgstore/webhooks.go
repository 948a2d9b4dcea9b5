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
		// Of one with this id that was deleted something may have come in at that moment.
		b.Queue(`DELETE FROM webhook_deliveries WHERE tenant = $1 AND webhook = $2 AND NOT EXISTS (SELECT 1 FROM webhooks WHERE tenant = $1 AND id = $2)`, h.Tenant, h.ID)
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
		b.Queue(`SELECT id, url, kinds, description, secret, secret_before, before_until, created_at, failing_since, disabled
			FROM webhooks WHERE tenant = $1 ORDER BY created_at, id`, tenant).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				h := webhook.Hook{Tenant: tenant}
				var kinds string
				var failing, until *time.Time
				if err := rows.Scan(&h.ID, &h.URL, &kinds, &h.Description, &h.Nonce, &h.Before, &until, &h.CreatedAt, &failing, &h.Disabled); err != nil {
					return err
				}
				h.Kinds, h.CreatedAt, h.FailingSince, h.BeforeUntil = strings.Split(kinds, ","), h.CreatedAt.UTC(), orZero(failing), orZero(until)
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
		// In this order, so that less stays of what comes in at this moment.
		b.Queue(`DELETE FROM webhooks WHERE tenant = $1 AND id = $2`, tenant, id).Exec(changes(holdfast.CodeNotFound, noWebhook, id))
		b.Queue(`DELETE FROM webhook_deliveries WHERE tenant = $1 AND webhook = $2`, tenant, id)
	})
}

// EnableWebhook implements [webhook.Store].
func (s *Store) EnableWebhook(ctx context.Context, tenant, id string) error {
	return s.send(ctx, ofTenant(tenant), "enable a webhook", func(b *pgx.Batch) {
		b.Queue(`UPDATE webhooks SET disabled = '', failing_since = NULL WHERE tenant = $1 AND id = $2`, tenant, id).Exec(changes(holdfast.CodeNotFound, noWebhook, id))
	})
}

// ChangeWebhook implements [webhook.Store].
func (s *Store) ChangeWebhook(ctx context.Context, tenant, id string, c webhook.Change) error {
	var kinds *string
	if c.Kinds != nil {
		list := strings.Join(c.Kinds, ",")
		kinds = &list
	}
	return s.send(ctx, ofTenant(tenant), "change a webhook", func(b *pgx.Batch) {
		b.Queue(`UPDATE webhooks SET url = coalesce($3, url), kinds = coalesce($4, kinds), description = coalesce($5, description),
				disabled = coalesce($6, disabled), failing_since = CASE WHEN $6 = '' THEN NULL ELSE failing_since END
			WHERE tenant = $1 AND id = $2`, tenant, id, c.URL, kinds, c.Description, c.Disabled).Exec(changes(holdfast.CodeNotFound, noWebhook, id))
	})
}

// RotateWebhook implements [webhook.Store].
func (s *Store) RotateWebhook(ctx context.Context, h webhook.Hook, nonce []byte, until time.Time) error {
	return s.send(ctx, ofTenant(h.Tenant), "change the secret of a webhook", func(b *pgx.Batch) {
		b.Queue(`UPDATE webhooks SET secret = $4, secret_before = secret, before_until = $5 WHERE tenant = $1 AND id = $2 AND secret = $3`,
			h.Tenant, h.ID, h.Nonce, nonce, until).Exec(changes(holdfast.CodeConflict, "the secret of the webhook %s has just been changed", h.ID))
	})
}
