package sqlitestore_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/quota/quotatest"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/webhook/webhooktest"
)

func TestTimers(t *testing.T) {
	eventstest.Timers(t, func(t *testing.T) events.Store {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestUsage(t *testing.T) {
	eventstest.Usage(t, func(t *testing.T) events.Store {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestWebhooks(t *testing.T) {
	webhooktest.Store(t, func(t *testing.T) webhooktest.Archive {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestSearch(t *testing.T) {
	searchtest.Store(t, func(t *testing.T) searchtest.Archive {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

// TestSearchLeavesNothing: behind a deletion no table of the index has a row.
func TestSearchLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	s := open(t, path)
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	searchtest.Deleted(t, s, func(table string) (n int) {
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	})
}

// TestSearchIsCutOff: a search that takes too long says so.
func TestSearchIsCutOff(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "archive.db"))
	s.SetSearchTimeout(time.Nanosecond)
	q, err := search.Parse("x")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Search(t.Context(), "acme", search.Page{Query: q, Limit: 1})
	if holdfast.CodeOf(err) != holdfast.CodeTimeout || !strings.Contains(holdfast.PublicMessage(err), "rarer words") {
		t.Errorf("%v", err)
	}
}

func TestQuotas(t *testing.T) {
	quotatest.Store(t, func(t *testing.T) quotatest.Archive {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}
