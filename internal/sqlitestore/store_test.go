package sqlitestore_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/agent/agenttest"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/schedule/scheduletest"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

func open(t testing.TB, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	eventstest.Store(t, func(t *testing.T) events.Store {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestMemoryStore(t *testing.T) {
	tooltest.MemoryStore(t, func(t *testing.T) tool.MemoryStore {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestAgentStore(t *testing.T) {
	agenttest.Store(t, func(t *testing.T) agent.Store {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}

func TestScheduleStore(t *testing.T) {
	scheduletest.Store(t, func(t *testing.T) schedule.Store {
		return open(t, filepath.Join(t.TempDir(), "archive.db"))
	})
}
