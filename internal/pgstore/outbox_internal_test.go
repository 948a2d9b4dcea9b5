package pgstore

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// TestOutboxBacklog: what a look costs does not grow with the backlog, be it due, put
// off or passed over. The plan says how many rows were touched.
func TestOutboxBacklog(t *testing.T) {
	quiet := Options{Logger: slog.New(slog.DiscardHandler)}
	dsn := testenv.Postgres(t)
	if err := Migrate(t.Context(), dsn, quiet); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dsn, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const hooks, backlog = 20, 100_000
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range hooks {
		if err := s.PutWebhook(t.Context(), webhook.Hook{
			Tenant: fmt.Sprint("t", i%10), ID: fmt.Sprint("h", i), URL: "https://a.example", Kinds: events.NoticeKinds, Nonce: []byte{1}, CreatedAt: now,
		}, 50); err != nil {
			t.Fatal(err)
		}
	}
	// Half of it is due; h0 has most of it.
	err = s.send(t.Context(), everyone, "fill", func(b *pgx.Batch) {
		b.Queue(`INSERT INTO webhook_deliveries (tenant, webhook, session, seq, kind, at, run, agent, detail, due)
			SELECT 't' || h % 10, 'h' || h, 's', n, 'run.finished', $1, '', '', '', $1::timestamptz + interval '1 hour' * (n % 2) - interval '1 second' * n
			FROM (SELECT n, CASE WHEN n % 3 = 0 THEN n % $2 ELSE 0 END AS h FROM generate_series(1, $3) AS n) AS x`, now, hooks, backlog)
		b.Queue(`ANALYZE webhook_deliveries`)
	})
	if err != nil {
		t.Fatal(err)
	}
	var most []string
	for i := range hooks {
		most = append(most, fmt.Sprintf("t%d/h%d", i%10, i))
	}
	for name, c := range map[string]struct {
		share webhook.Share
		taken int
	}{
		"all":          {webhook.Share{Limit: 64, OfTenant: 8, OfHook: 4}, 64},
		"without most": {webhook.Share{Limit: 64, OfTenant: 8, OfHook: 4, WithoutHooks: most[:hooks-1]}, 4},
		"without all":  {webhook.Share{Limit: 64, OfTenant: 8, OfHook: 4, WithoutHooks: most}, 0},
		"only one":     {webhook.Share{Limit: 64, OfTenant: 8, OfHook: 4, Only: most[:1]}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			at := now.Add(time.Minute)
			look, take, lookArgs, takeArgs := outboxQueries(at, time.Minute, c.share)
			for what, q := range map[string]struct {
				query string
				args  []any
			}{"look": {look, lookArgs}, "take": {take, takeArgs}} {
				if n, plan := touched(t, s, q.query, q.args); n > 1500 {
					t.Errorf("a %s touches %d rows:\n%s", what, n, plan)
				}
			}
			start := time.Now()
			list, err := s.TakeDeliveries(t.Context(), at, time.Minute, c.share)
			if err != nil || len(list) != c.taken {
				t.Errorf("%d were taken, %v; want %d", len(list), err, c.taken)
			}
			t.Logf("%d taken of a backlog of %d in %v", len(list), backlog, time.Since(start))
		})
	}
}

// touched explains a statement, and undoes it, and counts the rows that its scans
// read.
func touched(t *testing.T, s *Store, query string, args []any) (rows int, text string) {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := tx.Exec(t.Context(), `SELECT set_config('holdfast.tenant', '*', true)`); err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRow(t.Context(), `EXPLAIN (ANALYZE, FORMAT JSON) `+query, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	type node struct {
		Type    string  `json:"Node Type"`
		Rows    float64 `json:"Actual Rows"`
		Removed float64 `json:"Rows Removed by Filter"`
		Loops   float64 `json:"Actual Loops"`
		Plans   []node
	}
	var doc []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(n node)
	walk = func(n node) {
		rows += int((n.Rows + n.Removed) * n.Loops)
		for _, p := range n.Plans {
			walk(p)
		}
	}
	walk(doc[0].Plan)
	return rows, text
}
