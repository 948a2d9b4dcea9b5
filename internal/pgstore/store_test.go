package pgstore_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/agent/agenttest"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

var quiet = pgstore.Options{Logger: slog.New(slog.DiscardHandler)}

// database makes a database that is migrated already.
func database(t testing.TB) (dsn string) {
	t.Helper()
	return testenv.Postgres(t, testenv.PostgresCopiedFrom("pgstore", func(dsn string) error {
		return pgstore.Migrate(context.Background(), dsn, quiet)
	}))
}

// open migrates the database, if it is not, and opens it.
func open(t testing.TB, dsn string) *pgstore.Store {
	t.Helper()
	if err := pgstore.Migrate(t.Context(), dsn, quiet); err != nil {
		t.Fatal(err)
	}
	s, err := pgstore.Open(t.Context(), dsn, quiet)
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
		return open(t, database(t))
	})
}

func TestMemoryStore(t *testing.T) {
	tooltest.MemoryStore(t, func(t *testing.T) tool.MemoryStore {
		return open(t, database(t))
	})
}

func TestAgentStore(t *testing.T) {
	agenttest.Store(t, func(t *testing.T) agent.Store {
		return open(t, database(t))
	})
}
