package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
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
