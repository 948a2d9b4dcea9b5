package sqlitestore

import (
	"context"
	"database/sql"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

var _ webhook.Store = (*Store)(nil)

// micros is the stored form of a time, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// PutWebhook implements [webhook.Store].
func (s *Store) PutWebhook(ctx context.Context, h webhook.Hook, most int) error {
	return s.write(ctx, "store a webhook", func(tx *sql.Tx) error {
		var n int
		var taken bool
		if err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(max(id = ?2), 0) FROM webhooks WHERE tenant = ?1`, h.Tenant, h.ID).Scan(&n, &taken); err != nil {
			return err
		}
		switch {
		case taken:
			return holdfast.Errorf(holdfast.CodeConflict, "there is a webhook %s already", h.ID)
		case n >= most:
			return holdfast.Errorf(holdfast.CodeConflict, "there are %d webhooks already, as many as are possible; delete one", n)
		}
		// Of one with this id that was deleted nothing is said.
		if _, err := tx.ExecContext(ctx, `DELETE FROM webhook_deliveries WHERE tenant = ? AND webhook = ?`, h.Tenant, h.ID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO webhooks (tenant, id, url, kinds, description, secret, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			h.Tenant, h.ID, h.URL, strings.Join(h.Kinds, ","), h.Description, h.Nonce, micros(h.CreatedAt))
		return err
	})
}

// Webhooks implements [webhook.Store].
func (s *Store) Webhooks(ctx context.Context, tenant string) ([]webhook.Hook, error) {
	const doing = "list the webhooks"
	rows, err := s.r.QueryContext(ctx, `SELECT id, url, kinds, description, secret, secret_before, before_until, created_at, failing_since, disabled
		FROM webhooks WHERE tenant = ? ORDER BY created_at, id`, tenant)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []webhook.Hook
	for rows.Next() {
		h := webhook.Hook{Tenant: tenant}
		var kinds string
		var created, failing, until int64
		if err := rows.Scan(&h.ID, &h.URL, &kinds, &h.Description, &h.Nonce, &h.Before, &until, &created, &failing, &h.Disabled); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		h.Kinds, h.CreatedAt, h.FailingSince, h.BeforeUntil = strings.Split(kinds, ","), timeOf(created), timeOf(failing), timeOf(until)
		list = append(list, h)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// changeWebhook runs statements whose parameters are tenant and id; the first one
// must change a row.
func (s *Store) changeWebhook(ctx context.Context, tenant, id, doing string, statements ...string) error {
	return s.write(ctx, doing, func(tx *sql.Tx) error {
		for i, st := range statements {
			res, err := tx.ExecContext(ctx, st, tenant, id)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if i == 0 && n == 0 {
				return holdfast.Errorf(holdfast.CodeNotFound, "there is no webhook %s", id)
			}
		}
		return nil
	})
}

// DeleteWebhook implements [webhook.Store].
func (s *Store) DeleteWebhook(ctx context.Context, tenant, id string) error {
	return s.changeWebhook(ctx, tenant, id, "delete a webhook",
		`DELETE FROM webhooks WHERE tenant = ? AND id = ?`, `DELETE FROM webhook_deliveries WHERE tenant = ? AND webhook = ?`)
}

// EnableWebhook implements [webhook.Store].
func (s *Store) EnableWebhook(ctx context.Context, tenant, id string) error {
	return s.changeWebhook(ctx, tenant, id, "enable a webhook", `UPDATE webhooks SET disabled = '', failing_since = 0 WHERE tenant = ? AND id = ?`)
}

// ChangeWebhook implements [webhook.Store].
func (s *Store) ChangeWebhook(ctx context.Context, tenant, id string, c webhook.Change) error {
	return s.write(ctx, "change a webhook", func(tx *sql.Tx) error {
		var kinds *string
		if c.Kinds != nil {
			list := strings.Join(c.Kinds, ",")
			kinds = &list
		}
		res, err := tx.ExecContext(ctx, `UPDATE webhooks SET url = coalesce(?3, url), kinds = coalesce(?4, kinds), description = coalesce(?5, description),
			disabled = coalesce(?6, disabled), failing_since = CASE WHEN ?6 = '' THEN 0 ELSE failing_since END
			WHERE tenant = ?1 AND id = ?2`, tenant, id, c.URL, kinds, c.Description, c.Disabled)
		return changed(res, err, holdfast.Errorf(holdfast.CodeNotFound, "there is no webhook %s", id))
	})
}

// RotateWebhook implements [webhook.Store].
func (s *Store) RotateWebhook(ctx context.Context, h webhook.Hook, nonce []byte, until time.Time) error {
	return s.write(ctx, "change the secret of a webhook", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE webhooks SET secret = ?4, secret_before = secret, before_until = ?5 WHERE tenant = ?1 AND id = ?2 AND secret = ?3`,
			h.Tenant, h.ID, h.Nonce, nonce, micros(until))
		return changed(res, err, holdfast.Errorf(holdfast.CodeConflict, "the secret of the webhook %s has just been changed", h.ID))
	})
}
