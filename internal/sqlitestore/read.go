package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// readChunks selects the chunks with the events from seq ?3 on, at most ?4
// events: sequence numbers have no gaps, so the range of numbers bounds the rows.
// A fork's first chunk may begin far after ?3.
const readChunks = `
	WITH start (seq) AS (SELECT coalesce(
		(SELECT first_seq FROM event_chunks WHERE tenant = ?1 AND session = ?2 AND first_seq <= ?3 ORDER BY first_seq DESC LIMIT 1),
		(SELECT min(first_seq) FROM event_chunks WHERE tenant = ?1 AND session = ?2)))
	SELECT first_seq, last_seq, size, data FROM start CROSS JOIN event_chunks
	WHERE tenant = ?1 AND session = ?2 AND first_seq >= start.seq AND first_seq < max(?3, start.seq) + ?4 AND last_seq >= ?3
	ORDER BY first_seq`

// Read implements [events.Store].
func (s *Store) Read(ctx context.Context, ref holdfast.SessionRef, after uint64, limit int) ([]events.Envelope, error) {
	if limit <= 0 {
		limit = 1000
	}
	limit = min(limit, math.MaxInt32)
	if after >= math.MaxInt64-math.MaxInt32 {
		return nil, nil
	}
	doing := "read " + ref.String()
	rows, err := s.r.QueryContext(ctx, readChunks, ref.Tenant, ref.Session, int64(after)+1, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var evs []events.Envelope
	for rows.Next() && len(evs) < limit {
		c, err := scanChunk(rows)
		if err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		if evs, err = events.AppendRead(evs, ref, c, after, limit); err != nil {
			return nil, fmt.Errorf("read from archive: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	return evs, nil
}

func scanChunk(rows *sql.Rows) (events.Chunk, error) {
	var first, last int64
	var c events.Chunk
	if err := rows.Scan(&first, &last, &c.Size, &c.Data); err != nil {
		return events.Chunk{}, err
	}
	c.First, c.Last = uint64(first), uint64(last)
	return c, nil
}

const rowColumns = `tenant, id, head_seq, head_epoch, created_at, updated_at, num_messages, input_tokens, output_tokens,
	cost, fork_seq, tools_approved, deleted, title, agent, status, waiting, worker, run, fork_of, metadata`

// scanInfo reads rowColumns and what follows them.
func scanInfo(row interface{ Scan(...any) error }, i *events.SessionInfo, more ...any) error {
	var seq, epoch, created, updated, forkSeq int64
	var metadata string
	into := append([]any{
		&i.Session.Tenant, &i.Session.Session, &seq, &epoch, &created, &updated, &i.NumMessages, &i.InputTokens,
		&i.OutputTokens, &i.Cost, &forkSeq, &i.ToolsApproved, &i.Deleted, &i.Title, &i.Agent, &i.Status, &i.Waiting,
		&i.Worker, &i.Run, &i.ForkOf, &metadata,
	}, more...)
	if err := row.Scan(into...); err != nil {
		return err
	}
	i.Head = events.Head{Seq: uint64(seq), Epoch: uint64(epoch)}
	i.CreatedAt, i.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	i.ForkSeq = uint64(forkSeq)
	var err error
	i.Metadata, err = events.DecodeMetadata(metadata)
	return err
}

// Session implements [events.Store].
func (s *Store) Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error) {
	var i events.SessionInfo
	err := scanInfo(s.r.QueryRowContext(ctx, `SELECT `+rowColumns+` FROM sessions WHERE tenant = ? AND id = ?`, ref.Tenant, ref.Session), &i)
	if errors.Is(err, sql.ErrNoRows) {
		err = events.ErrNoSession
	}
	if err != nil {
		return events.SessionInfo{}, s.wrap(ctx, err, "look up "+ref.String())
	}
	return i, nil
}

// Sessions implements [events.Store].
func (s *Store) Sessions(ctx context.Context, tenant string, p events.Page) ([]events.SessionInfo, error) {
	query := `SELECT ` + rowColumns + ` FROM sessions WHERE tenant = ? AND deleted = 0`
	args := []any{tenant}
	if !p.BeforeTime.IsZero() {
		query += ` AND (created_at, id) < (?, ?)`
		args = append(args, p.BeforeTime.UnixMicro(), p.BeforeID)
	}
	query += p.Filter.SQL(func(v any) string {
		args = append(args, v)
		return "?"
	}, "LIKE", "json_each(nullif(metadata, ''))")
	return s.infos(ctx, "list the sessions of "+tenant, query+` ORDER BY created_at DESC, id DESC LIMIT ?`, append(args, p.Rows())...)
}

// Orphans implements [events.Maintainer].
func (s *Store) Orphans(ctx context.Context, olderThan time.Duration, limit int) ([]events.SessionInfo, error) {
	return s.infos(ctx, "look for orphans", `SELECT `+rowColumns+` FROM sessions
		WHERE status IN ('queued', 'running') AND deleted = 0 AND updated_at < ? ORDER BY updated_at LIMIT ?`,
		time.Now().Add(-olderThan).UnixMicro(), limit)
}

// All implements [events.Maintainer].
func (s *Store) All(ctx context.Context, after holdfast.SessionRef, limit int) ([]events.SessionInfo, error) {
	return s.infos(ctx, "list all sessions", `SELECT `+rowColumns+` FROM sessions
		WHERE (tenant, id) > (?, ?) ORDER BY tenant, id LIMIT ?`, after.Tenant, after.Session, limit)
}

// Rowless implements [events.Maintainer].
func (s *Store) Rowless(ctx context.Context, limit int) ([]holdfast.SessionRef, error) {
	const doing = "look for events without a session"
	rows, err := s.r.QueryContext(ctx, `SELECT DISTINCT tenant, session FROM event_chunks AS c
		WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE tenant = c.tenant AND id = c.session)
		ORDER BY tenant, session LIMIT ?`, limit)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []holdfast.SessionRef
	for rows.Next() {
		var ref holdfast.SessionRef
		if err := rows.Scan(&ref.Tenant, &ref.Session); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, ref)
	}
	return list, s.wrap(ctx, rows.Err(), doing)
}

func (s *Store) infos(ctx context.Context, doing, query string, args ...any) ([]events.SessionInfo, error) {
	rows, err := s.r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	defer rows.Close()
	var list []events.SessionInfo
	for rows.Next() {
		var i events.SessionInfo
		if err := scanInfo(rows, &i); err != nil {
			return nil, s.wrap(ctx, err, doing)
		}
		list = append(list, i)
	}
	if err := rows.Err(); err != nil {
		return nil, s.wrap(ctx, err, doing)
	}
	return list, nil
}
