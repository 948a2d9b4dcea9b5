package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Fail lets the next write be reported as failed, after it is committed or instead
// of that, as a disk does that fails in the middle of a sync.
func (s *Store) Fail(happened bool) {
	s.commit = func(tx *sql.Tx) error {
		s.commit = (*sql.Tx).Commit
		end := tx.Rollback
		if happened {
			end = tx.Commit
		}
		return errors.Join(holdfast.Errorf(holdfast.CodeUnavailable, "the disk fails, for the test"), end())
	}
}

// SetRoom lets the file grow by that many pages from now on, as a disk would that
// has no more room. Less than 0 is no limit.
func (s *Store) SetRoom(ctx context.Context, pages int) error {
	now, most := 0, 1<<30
	if err := s.w.QueryRowContext(ctx, "PRAGMA page_count").Scan(&now); err != nil {
		return err
	}
	if pages >= 0 {
		most = now + pages
	}
	return s.w.QueryRowContext(ctx, fmt.Sprintf("PRAGMA max_page_count=%d", most)).Scan(&most)
}

// SetSearchTimeout changes how long a search may take.
func (s *Store) SetSearchTimeout(d time.Duration) { s.searchTimeout = d }
