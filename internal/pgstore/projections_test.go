package pgstore_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/quota/quotatest"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/schedule/scheduletest"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/webhook/webhooktest"
)

func TestTimers(t *testing.T) {
	eventstest.Timers(t, func(t *testing.T) events.Store {
		return open(t, database(t))
	})
}

func TestUsage(t *testing.T) {
	eventstest.Usage(t, func(t *testing.T) events.Store {
		return open(t, database(t))
	})
}

// fill puts a row of each of two tenants into every table that has a tenant and
// that scripts do not reach.
func fill(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
			string_agg(CASE WHEN a.attname = 'tenant' THEN '$1' ELSE CASE t.typcategory
				WHEN 'N' THEN '1' WHEN 'B' THEN 'false' WHEN 'D' THEN 'now()' WHEN 'A' THEN '''{}''' WHEN 'U' THEN '''{}''' ELSE '''x''' END
				|| '::' || a.atttypid::regtype END, ', ' ORDER BY a.attnum)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
		WHERE c.relkind = 'r' AND a.attnotnull AND NOT a.atthasdef AND c.relname NOT IN ('sessions', 'event_chunks', 'snapshots', 'memories', 'usage')
			AND EXISTS (SELECT 1 FROM pg_attribute x WHERE x.attrelid = c.oid AND x.attname = 'tenant')
		GROUP BY c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	b := &pgx.Batch{}
	b.Queue("SELECT set_config('holdfast.tenant', '*', true)")
	var table, columns, values string
	if _, err := pgx.ForEachRow(rows, []any{&table, &columns, &values}, func() error {
		for _, tenant := range []string{"tenant-0", "tenant-1"} {
			b.Queue("INSERT INTO "+table+" ("+columns+") VALUES ("+values+")", tenant)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWebhooks(t *testing.T) {
	webhooktest.Store(t, func(t *testing.T) webhooktest.Archive {
		return open(t, database(t))
	})
}

func TestSchedules(t *testing.T) {
	scheduletest.Store(t, func(t *testing.T) schedule.Store {
		return open(t, database(t))
	})
}

func TestSearch(t *testing.T) {
	searchtest.Store(t, func(t *testing.T) searchtest.Archive {
		return open(t, database(t))
	})
}

// TestSearchLeavesNothing: behind a deletion no table of the index has a row.
func TestSearchLeavesNothing(t *testing.T) {
	dsn := database(t)
	s, conn := open(t, dsn), connect(t, dsn)
	searchtest.Deleted(t, s, func(table string) (n int) {
		exec(t, conn, "SELECT set_config('holdfast.tenant', '*', false)")
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	})
}

func TestQuotas(t *testing.T) {
	quotatest.Store(t, func(t *testing.T) quotatest.Archive {
		return open(t, database(t))
	})
}
