package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Cursor implements [events.Store].
func (s *Store) Cursor(ctx context.Context, stream string) (uint64, error) {
	var pos int64
	err := s.r.QueryRowContext(ctx, `SELECT position FROM cursors WHERE stream = ?`, stream).Scan(&pos)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return uint64(pos), s.wrap(ctx, err, "read the cursor of "+stream)
}

// Record implements [events.Store].
func (s *Store) Record(ctx context.Context, b events.Batch) error {
	if err := b.Check(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	var plan events.Plan
	err := s.write(ctx, "record into "+b.Stream, func(tx *sql.Tx) error {
		if err := moveCursor(ctx, tx, b); err != nil {
			return err
		}
		have, err := loadRows(ctx, tx, b)
		if err != nil {
			return err
		}
		if plan, err = events.NewPlan(b, have); err != nil {
			return err
		}
		if err := storePlan(ctx, tx, &plan); err != nil {
			return err
		}
		if err := storeProjections(ctx, tx, &plan); err != nil {
			return err
		}
		if err := dropPlaces(ctx, tx, &plan); err != nil {
			return err
		}
		if err := s.mark(ctx, tx, &b); err != nil {
			return err
		}
		if err := forget(ctx, tx, plan.Deleted); err != nil {
			return err
		}
		return purge(ctx, tx, plan.Deleted)
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

func moveCursor(ctx context.Context, tx *sql.Tx, b events.Batch) error {
	var res sql.Result
	var err error
	if b.From == 0 {
		res, err = tx.ExecContext(ctx, `INSERT INTO cursors (stream, position) VALUES (?, ?) ON CONFLICT DO NOTHING`, b.Stream, int64(b.To))
	} else {
		res, err = tx.ExecContext(ctx, `UPDATE cursors SET position = ? WHERE stream = ? AND position = ?`, int64(b.To), b.Stream, int64(b.From))
	}
	if err != nil {
		return fmt.Errorf("move the cursor: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("move the cursor: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("%w from %d", events.ErrCursorMoved, b.From)
	}
	return nil
}

// wanted joins the sessions that a parameter lists, as JSON, to their rows.
const wanted = ` FROM (SELECT json_extract(value, '$[0]') AS t, json_extract(value, '$[1]') AS i FROM json_each(?))
	CROSS JOIN sessions WHERE tenant = t AND id = i`

// loadRows returns the rows that there are of the batch's sessions.
func loadRows(ctx context.Context, tx *sql.Tx, b events.Batch) (map[holdfast.SessionRef]events.Row, error) {
	whole, headOnly := b.Refs()
	have := make(map[holdfast.SessionRef]events.Row, len(whole)+len(headOnly))
	load := func(refs []holdfast.SessionRef, columns string, scan func(*sql.Rows, *events.Row) error) error {
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
		rows, err := tx.QueryContext(ctx, `SELECT `+columns+wanted, string(list))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r events.Row
			if err := scan(rows, &r); err != nil {
				return err
			}
			have[r.Session] = r
		}
		return rows.Err()
	}
	err := load(whole, rowColumns+`, loose, purged`, func(rows *sql.Rows, r *events.Row) error {
		return scanInfo(rows, &r.SessionInfo, &r.Loose, &r.Purged)
	})
	if err == nil {
		err = load(headOnly, `tenant, id, head_seq, head_epoch, worker, loose, purged`, func(rows *sql.Rows, r *events.Row) error {
			return rows.Scan(&r.Session.Tenant, &r.Session.Session, &r.Head.Seq, &r.Head.Epoch, &r.Worker, &r.Loose, &r.Purged)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	return have, nil
}

const (
	insertChunk = `INSERT INTO event_chunks (tenant, session, first_seq, last_seq, size, data) VALUES (?, ?, ?, ?, ?, ?)`

	insertRow = `INSERT INTO sessions (tenant, id, head_seq, head_epoch, created_at, updated_at, num_messages,
			input_tokens, output_tokens, cost, fork_seq, loose, tools_approved, deleted, compactable,
			title, agent, status, waiting, worker, run, fork_of, metadata)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	updateRow = `UPDATE sessions SET head_seq = ?3, head_epoch = ?4, created_at = ?5, updated_at = ?6, num_messages = ?7,
			input_tokens = ?8, output_tokens = ?9, cost = ?10, fork_seq = ?11, loose = ?12, tools_approved = ?13,
			deleted = ?14, compactable = ?15, title = ?16, agent = ?17, status = ?18, waiting = ?19,
			worker = ?20, run = ?21, fork_of = ?22, metadata = ?23
		WHERE tenant = ?1 AND id = ?2`

	updateHead = `UPDATE sessions SET head_seq = ?3, head_epoch = ?4, updated_at = ?5, loose = ?6, compactable = ?7
		WHERE tenant = ?1 AND id = ?2`
)

func storePlan(ctx context.Context, tx *sql.Tx, p *events.Plan) error {
	var prepared []*sql.Stmt
	defer func() {
		for _, stmt := range prepared {
			stmt.Close()
		}
	}()
	for _, query := range []string{insertChunk, insertRow, updateRow, updateHead} {
		stmt, err := tx.PrepareContext(ctx, query)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		prepared = append(prepared, stmt)
	}
	chunk, insert, update, head := prepared[0], prepared[1], prepared[2], prepared[3]
	for i := range p.Rows {
		r := &p.Rows[i]
		for _, c := range p.Chunks[i] {
			if _, err := chunk.ExecContext(ctx, r.Session.Tenant, r.Session.Session, int64(c.First), int64(c.Last), c.Size, c.Data); err != nil {
				return fmt.Errorf("store events of %s: %w", r.Session, err)
			}
		}
		stmt, args := update, []any{r.Session.Tenant, r.Session.Session, int64(r.Head.Seq), int64(r.Head.Epoch)}
		if p.HeadOnly[i] {
			stmt = head
			args = append(args, r.UpdatedAt.UnixMicro(), r.Loose, r.Compactable())
		} else {
			args = append(args, r.CreatedAt.UnixMicro(), r.UpdatedAt.UnixMicro(), r.NumMessages, r.InputTokens, r.OutputTokens,
				r.Cost, int64(r.ForkSeq), r.Loose, r.ToolsApproved, r.Deleted, r.Compactable(), r.Title, r.Agent, r.Status,
				r.Waiting, r.Worker, r.Run, r.ForkOf, events.EncodeMetadata(r.Metadata))
		}
		if p.New[i] {
			stmt = insert
		}
		if _, err := stmt.ExecContext(ctx, args...); err != nil {
			return fmt.Errorf("store session %s: %w", r.Session, err)
		}
	}
	return nil
}

// purge removes the events and snapshots of deleted sessions that no fork needs
// any more; when that was itself a fork of a deleted session, that one's too.
func purge(ctx context.Context, tx *sql.Tx, refs []holdfast.SessionRef) error {
	for len(refs) > 0 {
		ref := refs[0]
		refs = refs[1:]
		var parent string
		err := tx.QueryRowContext(ctx, `UPDATE sessions AS s SET purged = 1, compactable = 0, loose = 0
			WHERE tenant = ? AND id = ? AND deleted = 1 AND purged = 0 AND NOT EXISTS (
				SELECT 1 FROM sessions AS f WHERE f.tenant = s.tenant AND f.fork_of = s.id AND f.fork_of <> '' AND f.purged = 0)
			RETURNING fork_of`, ref.Tenant, ref.Session).Scan(&parent)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("delete %s: %w", ref, err)
		}
		for _, table := range []string{"event_chunks", "snapshots"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE tenant = ? AND session = ?`, ref.Tenant, ref.Session); err != nil {
				return fmt.Errorf("delete %s from %s: %w", ref, table, err)
			}
		}
		if parent != "" {
			refs = append(refs, holdfast.SessionRef{Tenant: ref.Tenant, Session: parent})
		}
	}
	return nil
}
