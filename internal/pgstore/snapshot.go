package pgstore

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// PutSnapshot implements [events.Store]. The two newest snapshots are kept;
// those of deleted sessions are not.
func (s *Store) PutSnapshot(ctx context.Context, ref holdfast.SessionRef, snap events.Snapshot) error {
	data := snap.Data
	if data == nil {
		data = []byte{} // nil would be SQL's NULL
	}
	return s.send(ctx, ofTenant(ref.Tenant), "store a snapshot of "+ref.String(), func(b *pgx.Batch) {
		// The lock keeps a deletion from passing between this look and the insert.
		b.Queue(`SELECT 1 FROM sessions WHERE tenant = $1 AND id = $2 FOR SHARE`, ref.Tenant, ref.Session)
		b.Queue(`INSERT INTO snapshots (tenant, session, seq, format, data)
			SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE tenant = $1 AND id = $2 AND deleted)
			ON CONFLICT (tenant, session, seq) DO UPDATE SET format = excluded.format, data = excluded.data`,
			ref.Tenant, ref.Session, int64(snap.Seq), snap.Format, data)
		b.Queue(`DELETE FROM snapshots WHERE tenant = $1 AND session = $2 AND seq < (
			SELECT min(seq) FROM (SELECT seq FROM snapshots WHERE tenant = $1 AND session = $2 ORDER BY seq DESC LIMIT 2) AS newest)`,
			ref.Tenant, ref.Session)
	})
}

// Snapshot implements [events.Store].
func (s *Store) Snapshot(ctx context.Context, ref holdfast.SessionRef, max uint64) (events.Snapshot, error) {
	if max == 0 || max > math.MaxInt64 {
		max = math.MaxInt64
	}
	var snap events.Snapshot
	err := s.send(ctx, ofTenant(ref.Tenant), "read the snapshot of "+ref.String(), func(b *pgx.Batch) {
		b.Queue(`SELECT seq, format, data FROM snapshots
			WHERE tenant = $1 AND session = $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1`,
			ref.Tenant, ref.Session, int64(max)).QueryRow(func(row pgx.Row) error {
			var seq int64
			err := row.Scan(&seq, &snap.Format, &snap.Data)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			snap.Seq = uint64(seq)
			return err
		})
	})
	if err != nil {
		return events.Snapshot{}, err
	}
	return snap, nil
}
