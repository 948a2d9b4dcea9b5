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
		have, err := loadRows(ctx, tx, b.Refs())
		if err != nil {
			return err
		}
		if plan, err = events.NewPlan(b, have); err != nil {
			return err
		}
		if err := storePlan(ctx, tx, &plan); err != nil {
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

// loadRows returns the rows that there are of the sessions, with one statement.
func loadRows(ctx context.Context, tx *sql.Tx, refs []holdfast.SessionRef) (map[holdfast.SessionRef]events.Row, error) {
	keys := make([][2]string, len(refs))
	for i, r := range refs {
		keys[i] = [2]string{r.Tenant, r.Session}
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `
		WITH wanted (t, i) AS (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
		SELECT `+rowColumns+`, loose, purged FROM wanted CROSS JOIN sessions WHERE tenant = t AND id = i`, string(list))
	if err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	defer rows.Close()
	have := make(map[holdfast.SessionRef]events.Row, len(refs))
	for rows.Next() {
		var r events.Row
		if err := scanInfo(rows, &r.SessionInfo, &r.Loose, &r.Purged); err != nil {
			return nil, fmt.Errorf("load sessions: %w", err)
		}
		have[r.Session] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	return have, nil
}

const (
	insertChunk = `INSERT INTO event_chunks (tenant, session, first_seq, last_seq, size, data) VALUES (?, ?, ?, ?, ?, ?)`

	insertRow = `INSERT INTO sessions (tenant, id, head_seq, head_epoch, created_at, updated_at, num_messages,
			input_tokens, output_tokens, cost, fork_seq, loose, tools_approved, deleted, purged, compactable,
			title, agent, status, waiting, worker, run, fork_of, metadata)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	updateRow = `UPDATE sessions SET head_seq = ?3, head_epoch = ?4, created_at = ?5, updated_at = ?6, num_messages = ?7,
			input_tokens = ?8, output_tokens = ?9, cost = ?10, fork_seq = ?11, loose = ?12, tools_approved = ?13,
			deleted = ?14, purged = ?15, compactable = ?16, title = ?17, agent = ?18, status = ?19, waiting = ?20,
			worker = ?21, run = ?22, fork_of = ?23, metadata = ?24
		WHERE tenant = ?1 AND id = ?2`
)

func storePlan(ctx context.Context, tx *sql.Tx, p *events.Plan) error {
	if len(p.Rows) == 0 {
		return nil
	}
	chunk, err := tx.PrepareContext(ctx, insertChunk)
	if err != nil {
		return fmt.Errorf("store events: %w", err)
	}
	defer chunk.Close()
	insert, err := tx.PrepareContext(ctx, insertRow)
	if err != nil {
		return fmt.Errorf("store sessions: %w", err)
	}
	defer insert.Close()
	update, err := tx.PrepareContext(ctx, updateRow)
	if err != nil {
		return fmt.Errorf("store sessions: %w", err)
	}
	defer update.Close()
	for i := range p.Rows {
		r := &p.Rows[i]
		for _, c := range p.Chunks[i] {
			if _, err := chunk.ExecContext(ctx, r.Session.Tenant, r.Session.Session, int64(c.First), int64(c.Last), c.Size, c.Data); err != nil {
				return fmt.Errorf("store events of %s: %w", r.Session, err)
			}
		}
		stmt := update
		if p.New[i] {
			stmt = insert
		}
		if _, err := stmt.ExecContext(ctx, r.Session.Tenant, r.Session.Session, int64(r.Head.Seq), int64(r.Head.Epoch),
			r.CreatedAt.UnixMicro(), r.UpdatedAt.UnixMicro(), r.NumMessages, r.InputTokens, r.OutputTokens, r.Cost,
			int64(r.ForkSeq), r.Loose, r.ToolsApproved, r.Deleted, r.Purged, r.Compactable(), r.Title, r.Agent, r.Status,
			r.Waiting, r.Worker, r.Run, r.ForkOf, events.EncodeMetadata(r.Metadata)); err != nil {
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
