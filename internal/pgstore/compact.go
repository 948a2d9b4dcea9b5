package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// compactStep is how many groups of chunks one transaction merges, so that a
// long session does not keep the recorder waiting for its row.
const compactStep = 8

// Compact implements [events.Maintainer].
func (s *Store) Compact(ctx context.Context, ref holdfast.SessionRef) error {
	for {
		more := false
		err := s.transact(ctx, "compact "+ref.String(), func(tx *transaction) error {
			var err error
			more, err = compact(tx, ref)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// compact merges some groups and reports whether there are more. The lock on the
// session's row keeps a deletion from passing between reading and writing.
func compact(tx *transaction, ref holdfast.SessionRef) (more bool, err error) {
	first := tx.begin(ofTenant(ref.Tenant))
	purged := false
	first.Queue(`SELECT purged FROM sessions WHERE tenant = $1 AND id = $2 FOR NO KEY UPDATE`, ref.Tenant, ref.Session).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&purged)
		if errors.Is(err, pgx.ErrNoRows) {
			return events.ErrNoSession
		}
		return err
	})
	var chunks []events.Chunk
	queueChunks(first, &chunks, `SELECT first_seq, last_seq, size, NULL::bytea FROM event_chunks
		WHERE tenant = $1 AND session = $2 ORDER BY first_seq`, ref.Tenant, ref.Session)
	if err := tx.send(first); err != nil {
		return false, err
	}
	last := &pgx.Batch{}
	if purged {
		return false, tx.commit(last)
	}
	groups := events.Merge(chunks)
	todo := groups[:min(len(groups), compactStep)]
	small := make([][]events.Chunk, len(todo))
	if len(todo) > 0 {
		middle := &pgx.Batch{}
		for i, g := range todo {
			queueChunks(middle, &small[i], `SELECT first_seq, last_seq, size, data FROM event_chunks
				WHERE tenant = $1 AND session = $2 AND first_seq BETWEEN $3 AND $4 ORDER BY first_seq`,
				ref.Tenant, ref.Session, int64(chunks[g[0]].First), int64(chunks[g[1]-1].First))
		}
		if err := tx.send(middle); err != nil {
			return false, err
		}
	}
	var merged chunkArrays
	for i, g := range todo {
		big, err := events.MergeChunks(ref, small[i])
		if err != nil {
			return false, err
		}
		for c := range big {
			merged.add(ref, &big[c])
		}
		last.Queue(`DELETE FROM event_chunks WHERE tenant = $1 AND session = $2 AND first_seq BETWEEN $3 AND $4`,
			ref.Tenant, ref.Session, int64(chunks[g[0]].First), int64(chunks[g[1]-1].First))
	}
	merged.queue(last)
	if len(groups) == len(todo) {
		last.Queue(`UPDATE sessions SET loose = 0, compactable = false WHERE tenant = $1 AND id = $2`, ref.Tenant, ref.Session)
	}
	return len(groups) > len(todo), tx.commit(last)
}

func queueChunks(b *pgx.Batch, into *[]events.Chunk, query string, args ...any) {
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			c, err := scanChunk(rows)
			if err != nil {
				return err
			}
			*into = append(*into, c)
		}
		return rows.Err()
	})
}

// CompactIdle implements [events.Maintainer].
func (s *Store) CompactIdle(ctx context.Context, limit int) (int, error) {
	rows, err := s.infos(ctx, everyone, "look for sessions to compact", `SELECT `+rowColumns+` FROM sessions WHERE compactable LIMIT $1`, limit)
	if err != nil {
		return 0, err
	}
	done := 0
	var failed []error
	for i := range rows {
		if err := s.Compact(ctx, rows[i].Session); err != nil {
			if ctx.Err() != nil {
				return done, err
			}
			failed = append(failed, fmt.Errorf("compact idle sessions: %w", err))
			continue
		}
		done++
	}
	return done, errors.Join(failed...)
}
