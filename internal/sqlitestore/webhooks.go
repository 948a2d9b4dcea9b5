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
		_, err := tx.ExecContext(ctx, `INSERT INTO webhooks (tenant, id, url, kinds, description, secret, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			h.Tenant, h.ID, h.URL, strings.Join(h.Kinds, ","), h.Description, h.Nonce, micros(h.CreatedAt))
		return err
	})
}

// Webhooks implements [webhook.Store].
func (s *Store) Webhooks(ctx context.Context, tenant string) ([]webhook.Hook, error) {
	const doing = "list the webhooks"
	rows, err := s.r.QueryContext(ctx, `SELECT id, url, kinds, description, secret, created_at, failing_since, disabled
		FROM webhooks WHERE tenant = ? ORDER BY created_at, id`, tenant)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []webhook.Hook
	for rows.Next() {
		h := webhook.Hook{Tenant: tenant}
		var kinds string
		var created, failing int64
		if err := rows.Scan(&h.ID, &h.URL, &kinds, &h.Description, &h.Nonce, &created, &failing, &h.Disabled); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		h.Kinds, h.CreatedAt, h.FailingSince = strings.Split(kinds, ","), timeOf(created), timeOf(failing)
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

const deliveryColumns = `d.tenant, d.webhook, d.session, d.seq, d.kind, d.at, d.run, d.agent, d.detail, d.due, d.attempts, d.state, d.status, d.problem, d.settled_at`

func scanDelivery(rows *sql.Rows, more ...any) (d webhook.Delivery, err error) {
	var at, due, settled int64
	err = rows.Scan(append([]any{
		&d.Hook.Tenant, &d.Hook.ID, &d.Notice.Session.Session, &d.Notice.Seq, &d.Notice.Kind, &at, &d.Notice.Run, &d.Notice.Agent,
		&d.Notice.Detail, &due, &d.Attempts, &d.State, &d.Status, &d.Problem, &settled,
	}, more...)...)
	d.Notice.Session.Tenant = d.Hook.Tenant
	d.Notice.Time, d.Due, d.SettledAt = timeOf(at), timeOf(due), timeOf(settled)
	return d, err
}

// TakeDeliveries implements [webhook.Store].
func (s *Store) TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, share webhook.Share) (list []webhook.Delivery, err error) {
	const wanted = ` FROM webhook_deliveries AS d JOIN webhooks AS w ON w.tenant = d.tenant AND w.id = d.webhook AND w.disabled = ''
		WHERE d.state = 'pending' AND d.due <= ?1 AND d.tenant NOT IN (SELECT value FROM json_each(?2)) AND d.tenant || '/' || d.webhook NOT IN (SELECT value FROM json_each(?3))`
	// The oldest of each webhook come first, and of each tenant, then their second ones.
	const query = `SELECT ` + deliveryColumns + `, d.url, d.nonce, d.failing FROM (
			SELECT d.*, row_number() OVER (PARTITION BY d.tenant ORDER BY d.nth, d.due) AS turn FROM (
				SELECT d.*, w.url AS url, w.secret AS nonce, w.failing_since AS failing, row_number() OVER (PARTITION BY d.tenant, d.webhook ORDER BY d.due) AS nth` + wanted + `) AS d
			WHERE d.nth <= ?4) AS d
		WHERE d.turn <= ?5 ORDER BY d.turn, d.due LIMIT ?6`
	args := []any{micros(now), nameList(share.WithoutTenants), nameList(share.WithoutHooks)}
	// A look costs no write: nearly always nothing is due.
	var found bool
	if err := s.r.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1`+wanted+`)`, args...).Scan(&found); err != nil || !found {
		return nil, s.wrap(ctx, err, "look for deliveries of webhooks")
	}
	err = s.write(ctx, "take deliveries of webhooks", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, append(args, share.OfHook, share.OfTenant, share.Limit)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var url string
			var nonce []byte
			var failing int64
			d, err := scanDelivery(rows, &url, &nonce, &failing)
			if err != nil {
				return err
			}
			d.Hook.URL, d.Hook.Nonce, d.Hook.FailingSince = url, nonce, timeOf(failing)
			d.Attempts++
			list = append(list, d)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for i := range list {
			if _, err := updateDelivery(ctx, tx, &list[i], `attempts = attempts + 1, due = ?6`, micros(now.Add(lease))); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// nameList is a list of names as JSON, which is how a statement takes a list.
func nameList(names []string) string {
	if len(names) == 0 {
		return "[]"
	}
	return `["` + strings.Join(names, `","`) + `"]` // ids have nothing that JSON escapes
}

// updateDelivery changes a delivery that is pending and reports whether there is
// one; the parameters of set begin at ?6.
func updateDelivery(ctx context.Context, tx *sql.Tx, d *webhook.Delivery, set string, args ...any) (bool, error) {
	res, err := tx.ExecContext(ctx, `UPDATE webhook_deliveries SET `+set+` WHERE tenant = ?1 AND webhook = ?2 AND session = ?3 AND seq = ?4 AND kind = ?5 AND state = 'pending'`,
		append([]any{d.Hook.Tenant, d.Hook.ID, d.Notice.Session.Session, int64(d.Notice.Seq), d.Notice.Kind}, args...)...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// SettleDelivery implements [webhook.Store].
func (s *Store) SettleDelivery(ctx context.Context, d webhook.Delivery, o webhook.Outcome) error {
	return s.write(ctx, "note the outcome of a webhook", func(tx *sql.Tx) error {
		settled, failing := micros(o.At), int64(0)
		if o.State == webhook.Pending {
			settled = 0
		}
		if o.State != webhook.Delivered {
			failing = micros(o.At)
		}
		// Another sender may have settled it meanwhile, after the lease.
		still, err := updateDelivery(ctx, tx, &d, `state = ?6, status = ?7, problem = ?8, settled_at = ?9, due = CASE WHEN ?6 = 'pending' THEN ?10 ELSE due END`,
			o.State, o.Status, o.Problem, settled, micros(o.Due))
		if err != nil || !still {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE webhooks SET disabled = CASE WHEN ?4 = '' THEN disabled ELSE ?4 END,
			failing_since = CASE WHEN ?3 = 0 THEN 0 WHEN failing_since = 0 THEN ?3 ELSE failing_since END
			WHERE tenant = ?1 AND id = ?2`, d.Hook.Tenant, d.Hook.ID, failing, o.Disable)
		return err
	})
}

// Deliveries implements [webhook.Store].
func (s *Store) Deliveries(ctx context.Context, tenant, id string, limit int) ([]webhook.Delivery, error) {
	const doing = "list the deliveries of a webhook"
	rows, err := s.r.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM webhook_deliveries AS d WHERE d.tenant = ? AND d.webhook = ? ORDER BY d.at DESC, d.session, d.seq DESC LIMIT ?`, tenant, id, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []webhook.Delivery
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, d)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// ForgetDeliveries implements [webhook.Store].
func (s *Store) ForgetDeliveries(ctx context.Context, before time.Time) error {
	return s.write(ctx, "forget old deliveries of webhooks", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM webhook_deliveries WHERE state <> 'pending' AND settled_at < ?`, micros(before))
		return err
	})
}
