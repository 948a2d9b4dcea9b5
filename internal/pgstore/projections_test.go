package pgstore_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/webhook/webhooktest"
)

func TestTimers(t *testing.T) {
	eventstest.Timers(t, func(t *testing.T) events.Store {
		return open(t, testenv.Postgres(t))
	})
}

// fill puts a row of each of two tenants into the tables that scripts do not reach.
func fill(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	b := &pgx.Batch{}
	b.Queue("SELECT set_config('holdfast.tenant', '*', true)")
	for _, tenant := range []string{"tenant-0", "tenant-1"} {
		b.Queue(`INSERT INTO timers (tenant, session, timer, at, due, kind) VALUES ($1, 's', 't', now(), now(), 'run')`, tenant)
		b.Queue(`INSERT INTO schedules (tenant, id, spec, created_at, last_error) VALUES ($1, 's', '{}', now(), '')`, tenant)
		b.Queue(`INSERT INTO webhooks (tenant, id, url, kinds, description, secret, created_at) VALUES ($1, 'w', '', '', '', '', now())`, tenant)
		b.Queue(`INSERT INTO webhook_deliveries (tenant, webhook, session, seq, kind, at, run, agent, detail, due) VALUES ($1, 'w', 's', 1, 'k', now(), '', '', '', now())`, tenant)
	}
	if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWebhooks(t *testing.T) {
	webhooktest.Store(t, func(t *testing.T) webhooktest.Archive {
		return open(t, testenv.Postgres(t))
	})
}
