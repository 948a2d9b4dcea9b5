package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Cursor implements [events.Store].
func (s *Store) Cursor(ctx context.Context, stream string) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	var pos int64
	err := s.pool.QueryRow(ctx, `SELECT position FROM cursors WHERE stream = $1`, stream).Scan(&pos)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return uint64(pos), wrap(ctx, err, "read the cursor of "+stream)
}

// Record implements [events.Store]. It takes two round trips, one more if a
// session is deleted.
func (s *Store) Record(ctx context.Context, b events.Batch) error {
	if err := b.Check(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	var plan events.Plan
	err := s.transact(ctx, "record into "+b.Stream, func(tx *transaction) error {
		have, err := begin(tx, b)
		if err != nil {
			return err
		}
		if plan, err = events.NewPlan(b, have); err != nil {
			return err
		}
		second := &pgx.Batch{}
		queuePlan(second, &plan)
		queueProjections(second, &plan)
		queuePlaces(second, &plan)
		s.queueMarks(second, &b)
		queueForget(second, plan.Deleted)
		for refs := plan.Deleted; len(refs) > 0; {
			if refs, err = purge(tx, second, refs); err != nil {
				return err
			}
			second = &pgx.Batch{}
		}
		return tx.commit(second)
	})
	if err != nil {
		return err
	}
	for _, odd := range plan.Odd {
		s.unprojected.Add(1)
		s.log.WarnContext(ctx, "archived an event that cannot be understood", "error", odd)
	}
	return nil
}

// transaction is one that begins and ends in the batches that do its work, which
// saves the round trips.
type transaction struct {
	ctx  context.Context
	conn *pgxpool.Conn
}

// begin returns the first batch of a transaction that acts for the tenant.
func (*transaction) begin(tenant string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("begin")
	queueScope(b, tenant)
	return b
}

func (t *transaction) send(b *pgx.Batch) error {
	return t.conn.SendBatch(t.ctx, b).Close()
}

// commit sends the last batch.
func (t *transaction) commit(b *pgx.Batch) error {
	b.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("the transaction ended with %s", tag)
		}
		return nil
	})
	return t.send(b)
}

// transact runs fn with a connection; what fn began and did not commit is rolled
// back.
func (s *Store) transact(ctx context.Context, doing string, fn func(*transaction) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap(ctx, err, doing)
	}
	// The pool throws a connection away that is still in a transaction.
	defer conn.Release()
	err = fn(&transaction{ctx: ctx, conn: conn})
	if err != nil && !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, rollback := conn.Exec(last, "rollback"); rollback != nil {
			err = errors.Join(err, rollback)
		}
	}
	return wrap(ctx, err, doing)
}

// begin moves the cursor, whose row lock keeps other recorders of the stream
// out until the end, and loads the rows of the batch's sessions.
func begin(tx *transaction, b events.Batch) (map[holdfast.SessionRef]events.Row, error) {
	first := tx.begin(everyone)
	moved := false
	checkMoved := func(tag pgconn.CommandTag) error {
		moved = tag.RowsAffected() == 1
		return nil
	}
	if b.From == 0 {
		first.Queue(`INSERT INTO cursors (stream, position) VALUES ($1, $2) ON CONFLICT DO NOTHING`, b.Stream, int64(b.To)).Exec(checkMoved)
	} else {
		first.Queue(`UPDATE cursors SET position = $3 WHERE stream = $1 AND position = $2`, b.Stream, int64(b.From), int64(b.To)).Exec(checkMoved)
	}
	whole, headOnly := b.Refs()
	have := make(map[holdfast.SessionRef]events.Row, len(whole)+len(headOnly))
	load := func(refs []holdfast.SessionRef, query string, scan func(pgx.Rows, *events.Row) error) {
		if len(refs) == 0 {
			return
		}
		tenants, ids := split(refs)
		first.Queue(query, tenants, ids).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var r events.Row
				if err := scan(rows, &r); err != nil {
					return err
				}
				have[r.Session] = r
			}
			return rows.Err()
		})
	}
	load(whole, loadRows, func(rows pgx.Rows, r *events.Row) error {
		return scanInfo(rows, &r.SessionInfo, &r.Loose, &r.Purged)
	})
	load(headOnly, loadHeads, func(rows pgx.Rows, r *events.Row) error {
		return rows.Scan(&r.Session.Tenant, &r.Session.Session, &r.Head.Seq, &r.Head.Epoch, &r.Worker, &r.Loose, &r.Purged)
	})
	if err := tx.send(first); err != nil {
		return nil, err
	}
	if !moved {
		return nil, fmt.Errorf("%w from %d", events.ErrCursorMoved, b.From)
	}
	return have, nil
}

func split(refs []holdfast.SessionRef) (tenants, ids []string) {
	tenants, ids = make([]string, len(refs)), make([]string, len(refs))
	for i, r := range refs {
		tenants[i], ids[i] = r.Tenant, r.Session
	}
	return tenants, ids
}

const (
	wanted    = ` FROM unnest($1::text[], $2::text[]) AS wanted (t, i) JOIN sessions ON tenant = t AND id = i`
	loadRows  = `SELECT ` + rowColumns + `, loose, purged` + wanted
	loadHeads = `SELECT tenant, id, head_seq, head_epoch, worker, loose, purged` + wanted
)

const insertChunks = `INSERT INTO event_chunks (tenant, session, first_seq, last_seq, size, data)
	SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::bytea[])`

// chunkArrays are the columns of event_chunks.
type chunkArrays struct {
	tenant, session   []string
	first, last, size []int64
	data              [][]byte
}

func (a *chunkArrays) add(ref holdfast.SessionRef, c *events.Chunk) {
	a.tenant, a.session = append(a.tenant, ref.Tenant), append(a.session, ref.Session)
	a.first, a.last, a.size = append(a.first, int64(c.First)), append(a.last, int64(c.Last)), append(a.size, int64(c.Size))
	a.data = append(a.data, c.Data)
}

func (a *chunkArrays) queue(b *pgx.Batch) {
	if len(a.tenant) > 0 {
		b.Queue(insertChunks, a.tenant, a.session, a.first, a.last, a.size, a.data)
	}
}

// column is one of the table sessions: its type and its value in a row.
type column struct {
	name, typ string
	array     func(n int) any
	set       func(array any, i int, r *events.Row)
}

func of[T any](name, typ string, value func(*events.Row) T) column {
	return column{
		name, typ,
		func(n int) any { return make([]T, n) },
		func(array any, i int, r *events.Row) { array.([]T)[i] = value(r) },
	}
}

// columns are those of sessions: the key, what every event changes (heads), and
// the rest. Nothing but purge writes the column purged.
var columns = []column{
	of("tenant", "text", func(r *events.Row) string { return r.Session.Tenant }),
	of("id", "text", func(r *events.Row) string { return r.Session.Session }),
	of("head_seq", "bigint", func(r *events.Row) int64 { return int64(r.Head.Seq) }),
	of("head_epoch", "bigint", func(r *events.Row) int64 { return int64(r.Head.Epoch) }),
	of("updated_at", "timestamptz", func(r *events.Row) time.Time { return r.UpdatedAt }),
	of("loose", "integer", func(r *events.Row) int32 { return int32(r.Loose) }),
	of("compactable", "boolean", (*events.Row).Compactable),

	of("num_messages", "bigint", func(r *events.Row) int64 { return r.NumMessages }),
	of("input_tokens", "bigint", func(r *events.Row) int64 { return r.InputTokens }),
	of("output_tokens", "bigint", func(r *events.Row) int64 { return r.OutputTokens }),
	of("cost", "double precision", func(r *events.Row) float64 { return r.Cost }),
	of("tools_approved", "boolean", func(r *events.Row) bool { return r.ToolsApproved }),
	of("deleted", "boolean", func(r *events.Row) bool { return r.Deleted }),
	of("created_at", "timestamptz", func(r *events.Row) time.Time { return r.CreatedAt }),
	of("title", "text", func(r *events.Row) string { return r.Title }),
	of("agent", "text", func(r *events.Row) string { return r.Agent }),
	of("status", "text", func(r *events.Row) string { return r.Status }),
	of("waiting", "text", func(r *events.Row) string { return r.Waiting }),
	of("worker", "text", func(r *events.Row) string { return r.Worker }),
	of("run", "text", func(r *events.Row) string { return r.Run }),
	of("fork_of", "text", func(r *events.Row) string { return r.ForkOf }),
	of("fork_seq", "bigint", func(r *events.Row) int64 { return int64(r.ForkSeq) }),
	of("metadata", "text", func(r *events.Row) string { return events.EncodeMetadata(r.Metadata) }),
}

const (
	keyColumns  = 2
	headColumns = 7
)

// rowStatement writes some columns of many rows at once.
type rowStatement struct {
	sql     string
	columns []column
}

var (
	insertRows  = statement(columns, false)
	updateRows  = statement(columns, true)
	updateHeads = statement(columns[:headColumns], true)
)

func statement(columns []column, update bool) rowStatement {
	var names, params, set []string
	for i, c := range columns {
		names = append(names, c.name)
		params = append(params, fmt.Sprintf("$%d::%s[]", i+1, c.typ))
		if i >= keyColumns {
			set = append(set, c.name+" = new."+c.name)
		}
	}
	list, unnest := strings.Join(names, ", "), "unnest("+strings.Join(params, ", ")+")"
	if update {
		return rowStatement{"UPDATE sessions AS s SET " + strings.Join(set, ", ") + " FROM " + unnest +
			" AS new (" + list + ") WHERE s.tenant = new.tenant AND s.id = new.id", columns}
	}
	return rowStatement{"INSERT INTO sessions (" + list + ") SELECT * FROM " + unnest, columns}
}

func (st *rowStatement) queue(b *pgx.Batch, rows []*events.Row) {
	if len(rows) == 0 {
		return
	}
	args := make([]any, len(st.columns))
	for c := range st.columns {
		args[c] = st.columns[c].array(len(rows))
		for i, r := range rows {
			st.columns[c].set(args[c], i, r)
		}
	}
	b.Queue(st.sql, args...)
}

func queuePlan(b *pgx.Batch, p *events.Plan) {
	var inserted, updated, moved []*events.Row
	var chunks chunkArrays
	for i := range p.Rows {
		switch {
		case p.New[i]:
			inserted = append(inserted, &p.Rows[i])
		case p.HeadOnly[i]:
			moved = append(moved, &p.Rows[i])
		default:
			updated = append(updated, &p.Rows[i])
		}
		for c := range p.Chunks[i] {
			chunks.add(p.Rows[i].Session, &p.Chunks[i][c])
		}
	}
	insertRows.queue(b, inserted)
	updateRows.queue(b, updated)
	updateHeads.queue(b, moved)
	chunks.queue(b)
}

// purge sends the batch and removes the events and snapshots of deleted sessions
// that no fork needs any more. It returns the sessions that these were forks of:
// they may have waited for that.
func purge(tx *transaction, b *pgx.Batch, refs []holdfast.SessionRef) (parents []holdfast.SessionRef, err error) {
	tenants, ids := split(refs)
	var gone []holdfast.SessionRef
	b.Queue(`UPDATE sessions AS s SET purged = true, compactable = false, loose = 0
		FROM unnest($1::text[], $2::text[]) AS d (t, i)
		WHERE s.tenant = t AND s.id = i AND deleted AND NOT purged AND NOT EXISTS (
			SELECT 1 FROM sessions AS f WHERE f.tenant = s.tenant AND f.fork_of = s.id AND f.fork_of <> '' AND NOT f.purged)
		RETURNING s.tenant, s.id, s.fork_of`, tenants, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var r holdfast.SessionRef
			var parent string
			if err := rows.Scan(&r.Tenant, &r.Session, &parent); err != nil {
				return err
			}
			gone = append(gone, r)
			if parent != "" {
				parents = append(parents, holdfast.SessionRef{Tenant: r.Tenant, Session: parent})
			}
		}
		return rows.Err()
	})
	if err := tx.send(b); err != nil || len(gone) == 0 {
		return nil, err
	}
	tenants, ids = split(gone)
	last := &pgx.Batch{}
	for _, table := range []string{"event_chunks", "snapshots"} {
		last.Queue(`DELETE FROM `+table+` USING unnest($1::text[], $2::text[]) AS d (t, i) WHERE tenant = t AND session = i`, tenants, ids)
	}
	return parents, tx.send(last)
}
