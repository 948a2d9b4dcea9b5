package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

const deliveryColumns = `d.tenant, d.webhook, d.session, d.seq, d.kind, d.at, d.run, d.agent, d.detail, d.due, d.attempts, d.state, d.status, d.problem, d.settled_at`

func scanDelivery(rows *sql.Rows) (d webhook.Delivery, err error) {
	var at, due, settled int64
	err = rows.Scan(
		&d.Hook.Tenant, &d.Hook.ID, &d.Notice.Session.Session, &d.Notice.Seq, &d.Notice.Kind, &at, &d.Notice.Run, &d.Notice.Agent,
		&d.Notice.Detail, &due, &d.Attempts, &d.State, &d.Status, &d.Problem, &settled,
	)
	d.Notice.Session.Tenant = d.Hook.Tenant
	d.Notice.Time, d.Due, d.SettledAt = timeOf(at), timeOf(due), timeOf(settled)
	return d, err
}

const (
	dueHooks = `SELECT w.tenant, w.id, w.url, w.secret, w.secret_before, w.before_until, w.failing_since FROM webhooks AS w
		WHERE w.disabled = '' AND w.tenant NOT IN (SELECT value FROM json_each(?2)) AND w.tenant || '/' || w.id NOT IN (SELECT value FROM json_each(?3))
			AND (?4 = '[]' OR w.tenant || '/' || w.id IN (SELECT value FROM json_each(?4)))
			AND EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.state = 'pending' AND d.tenant = w.tenant AND d.webhook = w.id AND d.due <= ?1)`

	firstOfHook = `SELECT ` + deliveryColumns + ` FROM webhook_deliveries AS d
		WHERE d.state = 'pending' AND d.tenant = ? AND d.webhook = ? AND d.due <= ? ORDER BY d.due LIMIT ?`
)

// TakeDeliveries implements [webhook.Outbox].
func (s *Store) TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, share webhook.Share) (list []webhook.Delivery, err error) {
	// A look costs no write: nearly always nothing is due.
	hooks, err := s.dueHooks(ctx, now, share)
	if err != nil || len(hooks) == 0 {
		return nil, s.wrap(ctx, err, "look for deliveries of webhooks")
	}
	err = s.write(ctx, "take deliveries of webhooks", func(tx *sql.Tx) error {
		list = nil
		for i := range hooks {
			first, err := queryDeliveries(ctx, tx, firstOfHook, hooks[i].Tenant, hooks[i].ID, micros(now), share.OfHook)
			if err != nil {
				return err
			}
			for nth := range first {
				first[nth].Hook, first[nth].Attempts = hooks[i], first[nth].Attempts+1
			}
			list = append(list, first...)
		}
		list = inTurns(list, share)
		for i := range list {
			if _, err := updateDelivery(ctx, tx, &list[i], `attempts = attempts + 1, due = ?6`, micros(now.Add(lease))); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// inTurns chooses the share: the oldest of each webhook come first, and of each
// tenant, then their second ones. The list has those of each webhook in order.
func inTurns(list []webhook.Delivery, share webhook.Share) []webhook.Delivery {
	type place struct{ nth, turn int }
	places, index := make([]place, len(list)), make([]int, len(list))
	seen := map[string]int{}
	for i := range list {
		index[i] = i
		places[i].nth = seen[list[i].Hook.Name()]
		seen[list[i].Hook.Name()]++
	}
	by := func(of func(place) int) func(a, b int) int {
		return func(a, b int) int {
			return cmp.Or(cmp.Compare(of(places[a]), of(places[b])), list[a].Due.Compare(list[b].Due))
		}
	}
	slices.SortStableFunc(index, by(func(p place) int { return p.nth }))
	clear(seen)
	for _, i := range index {
		places[i].turn = seen[list[i].Hook.Tenant]
		seen[list[i].Hook.Tenant]++
	}
	slices.SortStableFunc(index, by(func(p place) int { return p.turn }))
	var chosen []webhook.Delivery
	for _, i := range index {
		if len(chosen) < share.Limit && places[i].turn < share.OfTenant {
			chosen = append(chosen, list[i])
		}
	}
	return chosen
}

// dueHooks returns the webhooks that are not disabled and have something due.
func (s *Store) dueHooks(ctx context.Context, now time.Time, share webhook.Share) (list []webhook.Hook, err error) {
	rows, err := s.r.QueryContext(ctx, dueHooks, micros(now), nameList(share.WithoutTenants), nameList(share.WithoutHooks), nameList(share.Only))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h webhook.Hook
		var until, failing int64
		if err := rows.Scan(&h.Tenant, &h.ID, &h.URL, &h.Nonce, &h.Before, &until, &failing); err != nil {
			return nil, err
		}
		h.BeforeUntil, h.FailingSince = timeOf(until), timeOf(failing)
		list = append(list, h)
	}
	return list, rows.Err()
}

// queryDeliveries reads the rows of a query that has deliveryColumns.
func queryDeliveries(ctx context.Context, q interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string, args ...any,
) (list []webhook.Delivery, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDelivery(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
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

// SettleDelivery implements [webhook.Outbox].
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

// Deliveries implements [webhook.Outbox].
func (s *Store) Deliveries(ctx context.Context, tenant, id string, q webhook.Query) ([]webhook.Delivery, error) {
	query, args := `SELECT `+deliveryColumns+` FROM webhook_deliveries AS d WHERE d.tenant = ?1 AND d.webhook = ?2`, []any{tenant, id, q.Limit}
	switch q.State { // the words themselves, for the partial indexes
	case "":
	case webhook.Pending, webhook.Delivered, webhook.Failed:
		query += ` AND d.state = '` + q.State + `'`
	default:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "state: %q is none", q.State)
	}
	if n := q.Before; n != nil {
		query += ` AND d.at <= ?4 AND (d.at, d.session, d.seq, d.kind) < (?4, ?5, ?6, ?7)`
		args = append(args, micros(n.Time), n.Session.Session, int64(n.Seq), n.Kind)
	}
	list, err := queryDeliveries(ctx, s.r, query+` ORDER BY d.at DESC, d.session DESC, d.seq DESC, d.kind DESC LIMIT ?3`, args...)
	return list, s.wrap(ctx, err, "list the deliveries of a webhook")
}

const noDelivery = "there is no delivery %s of the webhook"

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

// again makes deliveries due once more; the parameter ?3 is when.
const again = `UPDATE webhook_deliveries SET state = 'pending', due = ?3, settled_at = 0,
	attempts = CASE WHEN state = 'pending' THEN attempts ELSE 0 END WHERE tenant = ?1 AND webhook = ?2 AND `

// Redeliver implements [webhook.Outbox].
func (s *Store) Redeliver(ctx context.Context, d webhook.Delivery, now time.Time) error {
	return s.write(ctx, "deliver to a webhook again", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, again+`session = ?4 AND seq = ?5 AND kind = ?6`, d.Hook.Tenant, d.Hook.ID, micros(now), d.Notice.Session.Session, int64(d.Notice.Seq), d.Notice.Kind)
		return changed(res, err, holdfast.Errorf(holdfast.CodeNotFound, noDelivery, d.ID()))
	})
}

// RedeliverFailed implements [webhook.Outbox].
func (s *Store) RedeliverFailed(ctx context.Context, tenant, id string, since, now time.Time) (n int, err error) {
	err = s.write(ctx, "deliver to a webhook again", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, again+`state = 'failed' AND at >= ?4`, tenant, id, micros(now), micros(since))
		if err != nil {
			return err
		}
		many, err := res.RowsAffected()
		n = int(many)
		return err
	})
	return n, err
}

// ForgetDeliveries implements [webhook.Outbox].
func (s *Store) ForgetDeliveries(ctx context.Context, now time.Time) error {
	return s.write(ctx, "forget old deliveries of webhooks", func(tx *sql.Tx) error {
		before := micros(now.Add(-webhook.Keep))
		_, err := tx.ExecContext(ctx, `DELETE FROM webhook_deliveries WHERE state <> 'pending' AND settled_at < ?`, before)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, `DELETE FROM webhook_deliveries AS d WHERE d.state = 'pending'
			AND NOT EXISTS (SELECT 1 FROM webhooks AS w WHERE w.tenant = d.tenant AND w.id = d.webhook)`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE webhook_deliveries SET state = 'failed', settled_at = ?2, problem = ?3 WHERE state = 'pending' AND at < ?1
			AND EXISTS (SELECT 1 FROM webhooks AS w WHERE w.tenant = webhook_deliveries.tenant AND w.id = webhook_deliveries.webhook AND w.disabled <> '')`,
			before, micros(now), webhook.GivenUp)
		return err
	})
}
