package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/search"
)

var _ search.Store = (*Store)(nil)

// searchTimeout is how long a search may take.
const searchTimeout = 5 * time.Second

// mark notes the sessions of a batch that the index has to look at.
func (s *Store) mark(ctx context.Context, tx *sql.Tx, b *events.Batch) error {
	if s.noIndex {
		return nil
	}
	refs := search.Marks(b)
	if len(refs) == 0 {
		return nil
	}
	keys := make([][2]string, len(refs))
	for i, r := range refs {
		keys[i] = [2]string{r.Tenant, r.Session}
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO search_queue (tenant, session)
		SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)`, string(list)); err != nil {
		return fmt.Errorf("note what is to be indexed: %w", err)
	}
	return nil
}

// forget takes deleted sessions out of the index.
func forget(ctx context.Context, tx *sql.Tx, refs []holdfast.SessionRef) error {
	for _, ref := range refs {
		for _, query := range []string{
			`DELETE FROM search_words WHERE rowid IN (SELECT id FROM search_messages WHERE tenant = ? AND session = ?)`,
			`DELETE FROM search_messages WHERE tenant = ? AND session = ?`,
			`DELETE FROM search_sessions WHERE tenant = ? AND session = ?`,
		} {
			if _, err := tx.ExecContext(ctx, query, ref.Tenant, ref.Session); err != nil {
				return fmt.Errorf("take %s out of the index: %w", ref, err)
			}
		}
	}
	return nil
}

// LeadIndex implements [search.Store].
func (s *Store) LeadIndex(ctx context.Context, who string, now, until time.Time) (search.Lead, error) {
	var l search.Lead
	err := s.write(ctx, "take the lease of the index", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE search_state SET holder = ?1, until = ?3 WHERE holder = ?1 OR until <= ?2`, who, micros(now), micros(until))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		l.Held = n > 0
		var ended int64
		err = tx.QueryRowContext(ctx, `SELECT walk_tenant, walk_session, walk_ended FROM search_state`).Scan(&l.Walk.After.Tenant, &l.Walk.After.Session, &ended)
		l.Walk.Ended = timeOf(ended)
		return err
	})
	if err != nil {
		return search.Lead{}, err
	}
	return l, nil
}

// PutWalk implements [search.Store].
func (s *Store) PutWalk(ctx context.Context, w search.Walk) error {
	return s.write(ctx, "note the walk of the index", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE search_state SET walk_tenant = ?1, walk_session = ?2,
			walk_ended = CASE WHEN ?3 <> 0 OR ?4 THEN ?3 ELSE walk_ended END`,
			w.After.Tenant, w.After.Session, micros(w.Ended), w == search.Walk{})
		return err
	})
}

// Marked implements [search.Store].
func (s *Store) Marked(ctx context.Context, limit int) (list []search.Mark, err error) {
	const doing = "look for new messages"
	rows, err := s.r.QueryContext(ctx, `SELECT q.id, q.tenant, q.session, coalesce(iif(s.deleted, 0, s.head_seq), 0), coalesce(x.seq, 0)
		FROM (SELECT id, tenant, session FROM search_queue ORDER BY id LIMIT ?) AS q
		LEFT JOIN sessions AS s ON s.tenant = q.tenant AND s.id = q.session
		LEFT JOIN search_sessions AS x ON x.tenant = q.tenant AND x.session = q.session`, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	for rows.Next() {
		var m search.Mark
		if err := rows.Scan(&m.ID, &m.Session.Session.Tenant, &m.Session.Session.Session, &m.Session.Head, &m.Session.Through); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, m)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// Indexed implements [search.Store].
func (s *Store) Indexed(ctx context.Context, after holdfast.SessionRef, limit int) (list []search.Progress, err error) {
	const doing = "look for sessions to index"
	rows, err := s.r.QueryContext(ctx, `SELECT s.tenant, s.id, iif(s.deleted, 0, s.head_seq), coalesce(x.seq, 0)
		FROM (SELECT tenant, id, deleted, head_seq FROM sessions WHERE (tenant, id) > (?, ?) ORDER BY tenant, id LIMIT ?) AS s
		LEFT JOIN search_sessions AS x ON x.tenant = s.tenant AND x.session = s.id ORDER BY s.tenant, s.id`, after.Tenant, after.Session, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	for rows.Next() {
		var p search.Progress
		if err := rows.Scan(&p.Session.Tenant, &p.Session.Session, &p.Head, &p.Through); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, p)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

// Index implements [search.Store].
func (s *Store) Index(ctx context.Context, updates []search.Update, done []int64) error {
	words := make([][]string, len(updates)) // cut before the transaction, which others wait for
	for i := range updates {
		for _, m := range updates[i].Messages {
			words[i] = append(words[i], wordsText(m.Text))
		}
	}
	return s.write(ctx, "index messages", func(tx *sql.Tx) error {
		for i := range updates {
			if err := storeUpdate(ctx, tx, &updates[i], words[i]); err != nil {
				return fmt.Errorf("%s: %w", updates[i].Session, err)
			}
		}
		if len(done) == 0 {
			return nil
		}
		ids, err := json.Marshal(done)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM search_queue WHERE id IN (SELECT value FROM json_each(?))`, string(ids))
		return err
	})
}

// storeUpdate stores what the index learns of one session, unless it was deleted.
func storeUpdate(ctx context.Context, tx *sql.Tx, u *search.Update, words []string) error {
	tenant, session := u.Session.Tenant, u.Session.Session
	var there bool
	var through int64
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sessions WHERE tenant = ?1 AND id = ?2 AND deleted = 0),
		coalesce((SELECT seq FROM search_sessions WHERE tenant = ?1 AND session = ?2), 0)`, tenant, session).Scan(&there, &through); err != nil {
		return err
	}
	if !there {
		return nil
	}
	if uint64(through) != u.From {
		return fmt.Errorf("%w: at %d, not at %d", search.ErrMoved, through, u.From)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO search_sessions (tenant, session, seq) VALUES (?, ?, ?)
		ON CONFLICT (tenant, session) DO UPDATE SET seq = excluded.seq`, tenant, session, int64(u.To)); err != nil {
		return err
	}
	for _, run := range u.Void {
		for _, query := range []string{
			`DELETE FROM search_words WHERE rowid IN (SELECT id FROM search_messages WHERE tenant = ? AND session = ? AND run = ?)`,
			`DELETE FROM search_messages WHERE tenant = ? AND session = ? AND run = ?`,
		} {
			if _, err := tx.ExecContext(ctx, query, tenant, session, run); err != nil {
				return err
			}
		}
	}
	for i := range u.Messages {
		m := &u.Messages[i]
		var id int64
		err := tx.QueryRowContext(ctx, `INSERT INTO search_messages (tenant, session, seq, at, role, run, agent, said) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING RETURNING id`, tenant, session, int64(m.Seq), m.At.UnixMicro(), string(m.Role), m.Run, m.Agent, m.Text).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			continue // it is there
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO search_words (rowid, words) VALUES (?, ?)`, id, words[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unindexed stands in the place of a word that is not indexed. It is a character
// of words to the tokenizer, and to package search it is none.
const unindexed = "¤"

// wordsText is a message as the tokenizer reads it.
func wordsText(text string) string {
	words := search.Words(text)
	for i, w := range words {
		if w == "" {
			words[i] = unindexed
		}
	}
	return strings.Join(words, " ")
}

// wordsQuery is a query as FTS5 reads it.
func wordsQuery(q search.Query) string {
	var b strings.Builder
	terms := func(list []search.Term, between string) {
		b.WriteByte('(')
		for i, t := range list {
			if i > 0 {
				b.WriteString(between)
			}
			b.WriteString(`"` + strings.Join(t.Words, " ") + `"`)
			if t.Prefix {
				b.WriteString(" *")
			}
		}
		b.WriteByte(')')
	}
	for i, c := range q.Any {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteByte('(')
		terms(c.All, " AND ")
		if len(c.None) > 0 {
			b.WriteString(" NOT ")
			terms(c.None, " OR ")
		}
		b.WriteByte(')')
	}
	return b.String()
}

// Search implements [search.Store].
func (s *Store) Search(ctx context.Context, tenant string, p search.Page) (search.Found, error) {
	const doing = "search messages"
	var found search.Found
	limited, cancel := context.WithTimeoutCause(ctx, s.searchTimeout, errSlow)
	defer cancel()
	fail := func(err error) error {
		if errors.Is(context.Cause(limited), errSlow) {
			return holdfast.WrapError(holdfast.CodeTimeout, fmt.Errorf("%s: %w", doing, err), "the search took too long: give more or rarer words, or a session")
		}
		return s.wrap(ctx, err, doing)
	}
	if err := s.r.QueryRowContext(limited, `SELECT walk_ended = 0 FROM search_state`).Scan(&found.Indexing); err != nil {
		return search.Found{}, fail(err)
	}
	args := []any{wordsQuery(p.Query), tenant}
	where, before := "", ""
	if p.Session != "" {
		where += " AND m.session = ?"
		args = append(args, p.Session)
	}
	if p.Role != "" {
		where += " AND m.role = ?"
		args = append(args, string(p.Role))
	}
	if p.Before != (search.Place{}) {
		before = " AND (m.at, m.session, m.seq) < (?, ?, ?)"
		args = append(args, p.Before.At.UnixMicro(), p.Before.Session, int64(p.Before.Seq))
	}
	const columns = `m.session, m.seq, m.at, m.role, m.run, m.agent, m.said`
	from := ` FROM search_words AS w CROSS JOIN search_messages AS m ON m.id = w.rowid
		CROSS JOIN sessions AS s ON s.tenant = m.tenant AND s.id = m.session AND s.deleted = 0
		WHERE search_words MATCH ? AND m.tenant = ?` + where
	query := `SELECT ` + columns + `, s.title` + from + before
	if p.BySession {
		query = `SELECT ` + columns + `, m.title FROM (
				SELECT ` + columns + `, s.title, row_number() OVER (PARTITION BY m.session ORDER BY m.at DESC, m.seq DESC) AS nth` + from + `) AS m
			WHERE m.nth = 1` + before
	}
	rows, err := s.r.QueryContext(limited, query+` ORDER BY m.at DESC, m.session DESC, m.seq DESC LIMIT ?`, append(args, p.Limit)...)
	if err != nil {
		return search.Found{}, fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		var h search.Hit
		var at int64
		var role string
		if err := rows.Scan(&h.Session, &h.Seq, &at, &role, &h.Run, &h.Agent, &h.Text, &h.Title); err != nil {
			return search.Found{}, fail(err)
		}
		h.At, h.Role = time.UnixMicro(at).UTC(), holdfast.Role(role)
		found.Hits = append(found.Hits, h)
	}
	if err := rows.Err(); err != nil {
		return search.Found{}, fail(err)
	}
	return found, nil
}

var errSlow = errors.New("the search took too long")
