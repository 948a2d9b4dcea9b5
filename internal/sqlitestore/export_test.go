package sqlitestore

import (
	"context"
	"fmt"
)

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
