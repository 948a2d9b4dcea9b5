package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// readChunks selects the chunks with the events from seq $3 on, at most $4
// events: sequence numbers have no gaps, so the range of numbers bounds the rows.
// A fork's first chunk may begin far after $3.
const readChunks = `
	WITH start (seq) AS MATERIALIZED (SELECT coalesce(
		(SELECT first_seq FROM event_chunks WHERE tenant = $1 AND session = $2 AND first_seq <= $3 ORDER BY first_seq DESC LIMIT 1),
		(SELECT first_seq FROM event_chunks WHERE tenant = $1 AND session = $2 ORDER BY first_seq LIMIT 1)))
	SELECT first_seq, last_seq, size, data FROM event_chunks
	WHERE tenant = $1 AND session = $2 AND first_seq >= (SELECT seq FROM start)
		AND first_seq < greatest($3, (SELECT seq FROM start)) + $4 AND last_seq >= $3
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
	var evs []events.Envelope
	err := s.send(ctx, ofTenant(ref.Tenant), "read "+ref.String(), func(b *pgx.Batch) {
		b.Queue(readChunks, ref.Tenant, ref.Session, int64(after)+1, int64(limit)).Query(func(rows pgx.Rows) error {
			for rows.Next() && len(evs) < limit {
				c, err := scanChunk(rows)
				if err != nil {
					return err
				}
				if evs, err = events.AppendRead(evs, ref, c, after, limit); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	return evs, nil
}

func scanChunk(rows pgx.Rows) (events.Chunk, error) {
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
func scanInfo(row pgx.Row, i *events.SessionInfo, more ...any) error {
	var seq, epoch, forkSeq int64
	var metadata string
	into := append([]any{
		&i.Session.Tenant, &i.Session.Session, &seq, &epoch, &i.CreatedAt, &i.UpdatedAt, &i.NumMessages, &i.InputTokens,
		&i.OutputTokens, &i.Cost, &forkSeq, &i.ToolsApproved, &i.Deleted, &i.Title, &i.Agent, &i.Status, &i.Waiting,
		&i.Worker, &i.Run, &i.ForkOf, &metadata,
	}, more...)
	if err := row.Scan(into...); err != nil {
		return err
	}
	i.Head = events.Head{Seq: uint64(seq), Epoch: uint64(epoch)}
	i.CreatedAt, i.UpdatedAt = i.CreatedAt.UTC(), i.UpdatedAt.UTC()
	i.ForkSeq = uint64(forkSeq)
	var err error
	i.Metadata, err = events.DecodeMetadata(metadata)
	return err
}

// Session implements [events.Store]. Lookups that come at the same time share
// their round trips: see [gather].
func (s *Store) Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error) {
	i, found, err := s.rows.get(ctx, ref)
	if err != nil {
		return events.SessionInfo{}, wrap(ctx, err, "look up "+ref.String())
	}
	if !found {
		return events.SessionInfo{}, fmt.Errorf("look up %s: %w", ref, events.ErrNoSession)
	}
	// Whoever asked for the same row must not share what can be changed.
	i.Metadata = maps.Clone(i.Metadata)
	return i, nil
}

// row looks one session up.
func (s *Store) row(ctx context.Context, ref holdfast.SessionRef) (i events.SessionInfo, found bool, err error) {
	err = s.send(ctx, ofTenant(ref.Tenant), "read a row", func(b *pgx.Batch) {
		b.Queue(`SELECT `+rowColumns+` FROM sessions WHERE tenant = $1 AND id = $2`, ref.Tenant, ref.Session).QueryRow(func(row pgx.Row) error {
			err := scanInfo(row, &i)
			if found = err == nil; errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		})
	})
	return i, found && err == nil, err
}

// selectRows looks each id up in the index by itself. The planner, which does not
// know how many there are, would rather read the whole table for a list of them.
const selectRows = `SELECT found.* FROM unnest($2::text[]) AS wanted (i)
	CROSS JOIN LATERAL (SELECT ` + rowColumns + ` FROM sessions WHERE tenant = $1 AND id = wanted.i LIMIT 1) AS found`

// rowsOf looks sessions up, those of each tenant in its scope.
func (s *Store) rowsOf(ctx context.Context, refs []holdfast.SessionRef) (map[holdfast.SessionRef]events.SessionInfo, error) {
	ids := map[string][]string{}
	for _, r := range refs {
		ids[r.Tenant] = append(ids[r.Tenant], r.Session)
	}
	found := make(map[holdfast.SessionRef]events.SessionInfo, len(refs))
	err := s.sendScoped(ctx, "read rows", func(b *pgx.Batch) {
		for tenant, ids := range ids {
			queueScope(b, ofTenant(tenant))
			b.Queue(selectRows, tenant, ids).Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var i events.SessionInfo
					if err := scanInfo(rows, &i); err != nil {
						return err
					}
					found[i.Session] = i
				}
				return rows.Err()
			})
		}
	})
	return found, err
}

// Sessions implements [events.Store].
func (s *Store) Sessions(ctx context.Context, tenant string, p events.Page) ([]events.SessionInfo, error) {
	query := `SELECT ` + rowColumns + ` FROM sessions WHERE tenant = $1 AND NOT deleted`
	args := []any{tenant, p.Rows()}
	if !p.BeforeTime.IsZero() {
		query += ` AND (created_at, id) < ($3, $4)`
		args = append(args, p.BeforeTime, p.BeforeID)
	}
	query += p.Filter.SQL(func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}, "ILIKE", "json_each_text(nullif(metadata, '')::json)")
	return s.infos(ctx, ofTenant(tenant), "list the sessions of "+tenant, query+` ORDER BY created_at DESC, id DESC LIMIT $2`, args...)
}

// Orphans implements [events.Maintainer].
func (s *Store) Orphans(ctx context.Context, olderThan time.Duration, limit int) ([]events.SessionInfo, error) {
	return s.infos(ctx, everyone, "look for orphans", `SELECT `+rowColumns+` FROM sessions
		WHERE status IN ('queued', 'running') AND NOT deleted AND updated_at < $1 ORDER BY updated_at LIMIT $2`,
		time.Now().Add(-olderThan), limit)
}

// All implements [events.Maintainer].
func (s *Store) All(ctx context.Context, after holdfast.SessionRef, limit int) ([]events.SessionInfo, error) {
	return s.infos(ctx, everyone, "list all sessions", `SELECT `+rowColumns+` FROM sessions
		WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3`, after.Tenant, after.Session, limit)
}

// Rowless implements [events.Maintainer].
func (s *Store) Rowless(ctx context.Context, limit int) ([]holdfast.SessionRef, error) {
	var list []holdfast.SessionRef
	err := s.send(ctx, everyone, "look for events without a session", func(b *pgx.Batch) {
		b.Queue(`SELECT DISTINCT tenant, session FROM event_chunks AS c
			WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE tenant = c.tenant AND id = c.session)
			ORDER BY tenant, session LIMIT $1`, limit).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var ref holdfast.SessionRef
				if err := rows.Scan(&ref.Tenant, &ref.Session); err != nil {
					return err
				}
				list = append(list, ref)
			}
			return rows.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (s *Store) infos(ctx context.Context, tenant, doing, query string, args ...any) ([]events.SessionInfo, error) {
	var list []events.SessionInfo
	err := s.send(ctx, tenant, doing, func(b *pgx.Batch) {
		b.Queue(query, args...).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var i events.SessionInfo
				if err := scanInfo(rows, &i); err != nil {
					return err
				}
				list = append(list, i)
			}
			return rows.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}
