package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/search"
)

var _ search.Store = (*Store)(nil)

// searchTimeout is how long each statement of a search may take.
const searchTimeout = "5s"

// searchWait is how long a search waits for others to end.
const searchWait = time.Second

// queueMarks notes the sessions of a batch that the index has to look at.
func (s *Store) queueMarks(b *pgx.Batch, batch *events.Batch) {
	if s.noIndex {
		return
	}
	if refs := search.Marks(batch); len(refs) > 0 {
		tenants, ids := split(refs)
		b.Queue(`INSERT INTO search_queue (tenant, session) SELECT * FROM unnest($1::text[], $2::text[])`, tenants, ids)
	}
}

const dropMessages = `WITH gone AS (
		DELETE FROM search_messages USING unnest($1::text[], $2::text[]) AS d (t, i) WHERE tenant = t AND session = i RETURNING id)
	DELETE FROM search_words USING gone WHERE search_words.id = gone.id`

// queueForget takes deleted sessions out of the index. The locks wait for an
// indexer that is at one of them, and keep others away, which look whether the
// session is there: nothing of it is left, whoever comes first.
func queueForget(b *pgx.Batch, refs []holdfast.SessionRef) {
	if len(refs) == 0 {
		return
	}
	tenants, ids := split(refs)
	b.Queue(`SELECT 1 FROM sessions JOIN unnest($1::text[], $2::text[]) AS d (t, i) ON tenant = t AND id = i
		ORDER BY tenant, id FOR UPDATE OF sessions`, tenants, ids)
	b.Queue(dropMessages, tenants, ids)
	b.Queue(`DELETE FROM search_sessions USING unnest($1::text[], $2::text[]) AS d (t, i) WHERE tenant = t AND session = i`, tenants, ids)
}

// LeadIndex implements [search.Store].
func (s *Store) LeadIndex(ctx context.Context, who string, now, until time.Time) (search.Lead, error) {
	var l search.Lead
	err := s.send(ctx, everyone, "take the lease of the index", func(b *pgx.Batch) {
		b.Queue(`UPDATE search_state SET holder = $1, until = $3 WHERE holder = $1 OR until <= $2`, who, now, until).
			Exec(func(tag pgconn.CommandTag) error { l.Held = tag.RowsAffected() > 0; return nil })
		b.Queue(`SELECT walk_tenant, walk_session, walk_ended FROM search_state`).QueryRow(func(row pgx.Row) error {
			var ended *time.Time
			err := row.Scan(&l.Walk.After.Tenant, &l.Walk.After.Session, &ended)
			l.Walk.Ended = orZero(ended)
			return err
		})
	})
	if err != nil {
		return search.Lead{}, err
	}
	return l, nil
}

// PutWalk implements [search.Store].
func (s *Store) PutWalk(ctx context.Context, w search.Walk) error {
	return s.send(ctx, everyone, "note the walk of the index", func(b *pgx.Batch) {
		b.Queue(`UPDATE search_state SET walk_tenant = $1, walk_session = $2, walk_ended = coalesce($3, walk_ended)`, w.After.Tenant, w.After.Session, orNull(w.Ended))
		if w == (search.Walk{}) {
			b.Queue(`UPDATE search_state SET walk_ended = NULL`)
		}
	})
}

const progressColumns = `s.tenant, s.id, CASE WHEN s.deleted THEN 0 ELSE s.head_seq END, coalesce(x.seq, 0)`

func progressInto(p *search.Progress) []any {
	return []any{&p.Session.Tenant, &p.Session.Session, &p.Head, &p.Through}
}

// Marked implements [search.Store].
func (s *Store) Marked(ctx context.Context, limit int) (list []search.Mark, err error) {
	err = s.send(ctx, everyone, "look for new messages", func(b *pgx.Batch) {
		b.Queue(`SELECT q.id, q.tenant, q.session, coalesce(CASE WHEN s.deleted THEN 0 ELSE s.head_seq END, 0), coalesce(x.seq, 0)
			FROM (SELECT id, tenant, session FROM search_queue LIMIT $1) AS q
			LEFT JOIN sessions AS s ON s.tenant = q.tenant AND s.id = q.session
			LEFT JOIN search_sessions AS x ON x.tenant = q.tenant AND x.session = q.session`, limit).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var m search.Mark
				if err := rows.Scan(append([]any{&m.ID}, progressInto(&m.Session)...)...); err != nil {
					return err
				}
				list = append(list, m)
			}
			return rows.Err()
		})
	})
	return list, err
}

// Indexed implements [search.Store].
func (s *Store) Indexed(ctx context.Context, after holdfast.SessionRef, limit int) (list []search.Progress, err error) {
	err = s.send(ctx, everyone, "look for sessions to index", func(b *pgx.Batch) {
		b.Queue(`SELECT `+progressColumns+` FROM (
				SELECT tenant, id, deleted, head_seq FROM sessions WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3) AS s
			LEFT JOIN search_sessions AS x ON x.tenant = s.tenant AND x.session = s.id ORDER BY s.tenant, s.id`,
			after.Tenant, after.Session, limit).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var p search.Progress
				if err := rows.Scan(progressInto(&p)...); err != nil {
					return err
				}
				list = append(list, p)
			}
			return rows.Err()
		})
	})
	return list, err
}

// Index implements [search.Store]. It takes two round trips.
func (s *Store) Index(ctx context.Context, updates []search.Update, done []int64) error {
	return s.transact(ctx, "index messages", func(tx *transaction) error {
		refs := make([]holdfast.SessionRef, len(updates))
		for i := range updates {
			refs[i] = updates[i].Session
		}
		tenants, ids := split(refs)
		there := make(map[holdfast.SessionRef]bool, len(refs))
		moved := make([]bool, len(updates))
		first := tx.begin(everyone)
		// The weakest lock there is: the recorder's updates of the row pass it, a
		// deletion waits (queueForget).
		first.Queue(`SELECT s.tenant, s.id FROM sessions AS s WHERE NOT s.deleted AND (s.tenant, s.id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
			ORDER BY s.tenant, s.id FOR KEY SHARE`, tenants, ids).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var r holdfast.SessionRef
				if err := rows.Scan(&r.Tenant, &r.Session); err != nil {
					return err
				}
				there[r] = true
			}
			return rows.Err()
		})
		for i := range updates {
			queueProgress(first, &updates[i], &moved[i])
		}
		if err := tx.send(first); err != nil {
			return err
		}
		second := &pgx.Batch{}
		for i := range updates {
			u := &updates[i]
			switch {
			case !there[u.Session]:
			case !moved[i]:
				return fmt.Errorf("%w: %s at %d", search.ErrMoved, u.Session, u.From)
			default:
				queueMessages(second, u)
			}
		}
		if len(done) > 0 {
			second.Queue(`DELETE FROM search_queue WHERE id = ANY ($1::bigint[])`, done)
		}
		return tx.commit(second)
	})
}

// queueProgress moves a session's progress on, if it is what the update says, and
// the session is there.
func queueProgress(b *pgx.Batch, u *search.Update, moved *bool) {
	query := `UPDATE search_sessions SET seq = $4 WHERE tenant = $1 AND session = $2 AND seq = $3`
	if u.From == 0 {
		query = `INSERT INTO search_sessions AS x (tenant, session, seq)
			SELECT $1, $2, $4 WHERE $3 = 0::bigint AND EXISTS (SELECT 1 FROM sessions WHERE tenant = $1 AND id = $2 AND NOT deleted)
			ON CONFLICT (tenant, session) DO UPDATE SET seq = excluded.seq WHERE x.seq = 0`
	}
	b.Queue(query, u.Session.Tenant, u.Session.Session, int64(u.From), int64(u.To)).Exec(func(tag pgconn.CommandTag) error {
		*moved = tag.RowsAffected() > 0
		return nil
	})
}

// queueMessages stores the messages of a session and takes away those that are none
// any more.
func queueMessages(b *pgx.Batch, u *search.Update) {
	if len(u.Void) > 0 {
		b.Queue(`WITH gone AS (
				DELETE FROM search_messages WHERE tenant = $1 AND session = $2 AND run = ANY ($3::text[]) RETURNING id)
			DELETE FROM search_words USING gone WHERE search_words.id = gone.id`, u.Session.Tenant, u.Session.Session, u.Void)
	}
	n := len(u.Messages)
	if n == 0 {
		return
	}
	seqs, times, roles := make([]int64, n), make([]time.Time, n), make([]string, n)
	runs, agents, said, words := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i := range u.Messages {
		m := &u.Messages[i]
		seqs[i], times[i], roles[i], runs[i], agents[i], said[i] = int64(m.Seq), m.At, string(m.Role), m.Run, m.Agent, m.Text
		words[i] = wordsVector(u.Session.Tenant, m.Text)
	}
	b.Queue(`WITH new AS (
			INSERT INTO search_messages (tenant, session, seq, at, role, run, agent, said)
			SELECT $1, $2, * FROM unnest($3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[])
			ON CONFLICT DO NOTHING RETURNING id, seq)
		INSERT INTO search_words (id, words)
		SELECT new.id, w.words::tsvector FROM new JOIN unnest($3::bigint[], $9::text[]) AS w (seq, words) USING (seq)`,
		u.Session.Tenant, u.Session.Session, seqs, times, roles, runs, agents, said, words)
}

// tenantWord is the word that stands for a tenant: none of a message has a dot.
func tenantWord(tenant string) string {
	sum := sha256.Sum256([]byte(tenant))
	return "." + hex.EncodeToString(sum[:8])
}

// wordsVector is a message as a tsvector is written. The words have no sign in
// them that means something there.
func wordsVector(tenant, text string) string {
	places := map[string][]byte{}
	var order []string
	for i, w := range search.Words(text) {
		if w == "" {
			continue
		}
		at, known := places[w]
		if !known {
			order = append(order, w)
		} else {
			at = append(at, ',')
		}
		places[w] = strconv.AppendInt(at, int64(i+1), 10)
	}
	var b strings.Builder
	b.Grow(2 * len(text))
	b.WriteString("'" + tenantWord(tenant) + "'")
	for _, w := range order {
		b.WriteString(" '")
		b.WriteString(w)
		b.WriteString("':")
		b.Write(places[w])
	}
	return b.String()
}

// wordsQuery is a query as a tsquery is written.
func wordsQuery(tenant string, q search.Query) string {
	var b strings.Builder
	b.WriteString("'" + tenantWord(tenant) + "' & (")
	term := func(t search.Term) {
		b.WriteByte('(')
		for i, w := range t.Words {
			if i > 0 {
				b.WriteString(" <-> ")
			}
			b.WriteString("'" + w + "'")
			if t.Prefix && i == len(t.Words)-1 {
				b.WriteString(":*")
			}
		}
		b.WriteByte(')')
	}
	for i, c := range q.Any {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteByte('(')
		for i, t := range c.All {
			if i > 0 {
				b.WriteString(" & ")
			}
			term(t)
		}
		for _, t := range c.None {
			b.WriteString(" & !")
			term(t)
		}
		b.WriteByte(')')
	}
	b.WriteByte(')')
	return b.String()
}

// newest is how many of a tenant's messages are looked through, the newest first,
// before the index is asked.
const newest = 1000

// searchSQL is the statement of a search. There are two ways: among the tenant's
// newest messages, which finds what is said often, of which the index would give out
// all and which would then have to be sorted; and by the index, which finds what is
// said rarely. The planner, which would have to choose, cannot tell them apart: below
// row level security it guesses.
func searchSQL(tenant string, p search.Page, recent bool) (query string, args []any) {
	args = []any{wordsQuery(tenant, p.Query), tenant}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	where := "m.tenant = $2"
	if p.Session != "" {
		where += " AND m.session = " + arg(p.Session)
	}
	if p.Role != "" {
		where += " AND m.role = " + arg(string(p.Role))
	}
	before := ""
	if p.Before != (search.Place{}) {
		before = " AND (m.at, m.session, m.seq) < (" + arg(p.Before.At) + "::timestamptz, " + arg(p.Before.Session) + "::text, " + arg(int64(p.Before.Seq)) + "::bigint)"
	}
	const (
		columns = `m.session, m.seq, m.at, m.role, m.run, m.agent, m.said`
		order   = ` ORDER BY m.at DESC, m.session DESC, m.seq DESC LIMIT `
	)
	var with, from string
	if recent {
		with = `WITH f AS MATERIALIZED (SELECT m.* FROM search_messages AS m WHERE ` + where + before + order + strconv.Itoa(newest) + `) `
		from = ` FROM f AS m JOIN search_words AS w ON w.id = m.id AND w.words @@ $1::text::tsquery`
	} else {
		with = `WITH f AS MATERIALIZED (SELECT id FROM search_words WHERE words @@ $1::text::tsquery) `
		from = ` FROM f JOIN search_messages AS m ON m.id = f.id AND ` + where
	}
	from += ` JOIN sessions AS s ON s.tenant = $2 AND s.id = m.session AND NOT s.deleted`
	query = with + `SELECT ` + columns + `, s.title` + from + ` WHERE true` + before
	if p.BySession {
		query = with + `SELECT ` + columns + `, m.title FROM (
				SELECT ` + columns + `, s.title, row_number() OVER (PARTITION BY m.session ORDER BY m.at DESC, m.seq DESC) AS nth` + from + `) AS m
			WHERE m.nth = 1` + before
	}
	return query + order + arg(p.Limit), args
}

// Search implements [search.Store]. Half of the pool's connections may search at the
// same time; CodeRateLimited says that they do.
func (s *Store) Search(ctx context.Context, tenant string, p search.Page) (found search.Found, err error) {
	wait := time.NewTimer(searchWait)
	defer wait.Stop()
	select {
	case s.searches <- struct{}{}:
		defer func() { <-s.searches }()
	case <-wait.C:
		return found, holdfast.Errorf(holdfast.CodeRateLimited, "%d searches at the same time are possible; try again when one is done", cap(s.searches))
	case <-ctx.Done():
		return found, wrap(ctx, ctx.Err(), "search messages")
	}
	look := func(recent bool) error {
		found = search.Found{}
		query, args := searchSQL(tenant, p, recent)
		return s.send(ctx, ofTenant(tenant), "search messages", func(b *pgx.Batch) {
			// How many rows a query finds depends on its words: a plan is made for each.
			b.Queue(`SELECT set_config('statement_timeout', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true)`, s.searchTimeout)
			b.Queue(`SELECT walk_ended IS NULL FROM search_state`).QueryRow(func(row pgx.Row) error { return row.Scan(&found.Indexing) })
			b.Queue(query, args...).Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var h search.Hit
					var role string
					if err := rows.Scan(&h.Session, &h.Seq, &h.At, &role, &h.Run, &h.Agent, &h.Text, &h.Title); err != nil {
						return err
					}
					h.At, h.Role = h.At.UTC(), holdfast.Role(role)
					found.Hits = append(found.Hits, h)
				}
				return rows.Err()
			})
		})
	}
	// Which hit is the newest of its session is not seen from behind a cursor.
	recent := !p.BySession || p.Before == search.Place{}
	if recent {
		err = look(true)
	}
	if !recent || err == nil && len(found.Hits) < p.Limit {
		err = look(false)
	}
	if err != nil {
		if holdfast.CodeOf(err) == holdfast.CodeTimeout {
			err = holdfast.WrapError(holdfast.CodeTimeout, err, "the search took too long: give more or rarer words, or a session")
		}
		return search.Found{}, err
	}
	return found, nil
}
