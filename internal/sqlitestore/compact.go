package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// compactStep is how many groups of chunks one transaction merges, so that a
// long session does not keep the recorder waiting.
const compactStep = 8

// Compact implements [events.Maintainer].
func (s *Store) Compact(ctx context.Context, ref holdfast.SessionRef) error {
	for {
		more := false
		err := s.write(ctx, "compact "+ref.String(), func(tx *sql.Tx) error {
			var err error
			more, err = compact(ctx, tx, ref)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// compact merges some groups and reports whether there are more.
func compact(ctx context.Context, tx *sql.Tx, ref holdfast.SessionRef) (more bool, err error) {
	var purged bool
	err = tx.QueryRowContext(ctx, `SELECT purged FROM sessions WHERE tenant = ? AND id = ?`, ref.Tenant, ref.Session).Scan(&purged)
	if errors.Is(err, sql.ErrNoRows) {
		return false, events.ErrNoSession
	}
	if err != nil || purged {
		return false, err
	}
	chunks, err := selectChunks(ctx, tx, `SELECT first_seq, last_seq, size, NULL FROM event_chunks
		WHERE tenant = ? AND session = ? ORDER BY first_seq`, ref.Tenant, ref.Session)
	if err != nil {
		return false, err
	}
	groups := events.Merge(chunks)
	for _, g := range groups[:min(len(groups), compactStep)] {
		first, last := chunks[g[0]].First, chunks[g[1]-1].First
		small, err := selectChunks(ctx, tx, `SELECT first_seq, last_seq, size, data FROM event_chunks
			WHERE tenant = ? AND session = ? AND first_seq BETWEEN ? AND ? ORDER BY first_seq`,
			ref.Tenant, ref.Session, int64(first), int64(last))
		if err != nil {
			return false, err
		}
		merged, err := events.MergeChunks(ref, small)
		if err != nil {
			return false, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM event_chunks WHERE tenant = ? AND session = ? AND first_seq BETWEEN ? AND ?`,
			ref.Tenant, ref.Session, int64(first), int64(last)); err != nil {
			return false, err
		}
		for _, c := range merged {
			if _, err := tx.ExecContext(ctx, insertChunk, ref.Tenant, ref.Session, int64(c.First), int64(c.Last), c.Size, c.Data); err != nil {
				return false, err
			}
		}
	}
	if len(groups) > compactStep {
		return true, nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE sessions SET loose = 0, compactable = 0 WHERE tenant = ? AND id = ?`, ref.Tenant, ref.Session)
	return false, err
}

func selectChunks(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]events.Chunk, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var chunks []events.Chunk
	for rows.Next() {
		c, err := scanChunk(rows)
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, c)
	}
	return chunks, rows.Err()
}

// CompactIdle implements [events.Maintainer].
func (s *Store) CompactIdle(ctx context.Context, limit int) (int, error) {
	rows, err := s.infos(ctx, "look for sessions to compact", `SELECT `+rowColumns+` FROM sessions WHERE compactable = 1 LIMIT ?`, limit)
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
