package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"math"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// PutSnapshot implements [events.Store]. The two newest snapshots are kept;
// those of deleted sessions are not.
func (s *Store) PutSnapshot(ctx context.Context, ref holdfast.SessionRef, snap events.Snapshot) error {
	return s.write(ctx, "store a snapshot of "+ref.String(), func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO snapshots (tenant, session, seq, format, data)
			SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE tenant = ?1 AND id = ?2 AND deleted = 1)
			ON CONFLICT (tenant, session, seq) DO UPDATE SET format = excluded.format, data = excluded.data`,
			ref.Tenant, ref.Session, int64(snap.Seq), snap.Format, nonNil(snap.Data)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM snapshots WHERE tenant = ?1 AND session = ?2 AND seq < (
			SELECT min(seq) FROM (SELECT seq FROM snapshots WHERE tenant = ?1 AND session = ?2 ORDER BY seq DESC LIMIT 2))`,
			ref.Tenant, ref.Session)
		return err
	})
}

// Snapshot implements [events.Store].
func (s *Store) Snapshot(ctx context.Context, ref holdfast.SessionRef, max uint64) (events.Snapshot, error) {
	if max == 0 || max > math.MaxInt64 {
		max = math.MaxInt64
	}
	var seq int64
	var snap events.Snapshot
	err := s.r.QueryRowContext(ctx, `SELECT seq, format, data FROM snapshots
		WHERE tenant = ? AND session = ? AND seq <= ? ORDER BY seq DESC LIMIT 1`,
		ref.Tenant, ref.Session, int64(max)).Scan(&seq, &snap.Format, &snap.Data)
	if errors.Is(err, sql.ErrNoRows) {
		return events.Snapshot{}, nil
	}
	if err != nil {
		return events.Snapshot{}, s.wrap(ctx, err, "read the snapshot of "+ref.String())
	}
	snap.Seq = uint64(seq)
	return snap, nil
}

// nonNil keeps an empty value apart from SQL's NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
