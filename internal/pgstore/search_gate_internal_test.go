package pgstore

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// Searches leave half of the pool to others.
func TestSearchesLeaveHalfOfThePool(t *testing.T) {
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
	if n, most := cap(s.searches), int(s.pool.Config().MaxConns); n < 1 || n > max(1, most/2) {
		t.Fatalf("%d searches at the same time of a pool of %d", n, most)
	}
	q, err := search.Parse("milk")
	if err != nil {
		t.Fatal(err)
	}
	look := func() error {
		_, err := s.Search(t.Context(), "acme", search.Page{Query: q, Limit: 1})
		return err
	}
	if err := look(); err != nil || len(s.searches) != 0 {
		t.Fatalf("a search: %v, with %d under way", err, len(s.searches))
	}
	for range cap(s.searches) {
		s.searches <- struct{}{}
	}
	if err := look(); holdfast.CodeOf(err) != holdfast.CodeRateLimited {
		t.Fatalf("one too many: %v", err)
	}
	<-s.searches
	if err := look(); err != nil {
		t.Fatal(err)
	}
}

// The indexes of the webhooks' deliveries are made beside a recorder that writes, and
// once more after an interruption.
func TestMigrationOfWebhooksHoldsUpNobody(t *testing.T) {
	quiet := Options{Logger: slog.New(slog.DiscardHandler)}
	dsn := testenv.Postgres(t)
	if err := Migrate(t.Context(), dsn, quiet); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	// The schema of version 7, of which a part of 8 was made: one index is invalid.
	for _, sql := range []string{
		`DELETE FROM goose_db_version WHERE version_id > 7`,
		`DROP TABLE quotas, quota_permits, quota_runs, quota_storage`,
		`ALTER TABLE webhooks DROP COLUMN before_until`,
		`DROP INDEX webhook_deliveries_failed, webhook_deliveries_pending`,
		`SELECT set_config('holdfast.tenant', '*', false)`,
		`INSERT INTO webhook_deliveries (tenant, webhook, session, seq, kind, at, run, agent, detail, due)
			SELECT 'acme', 'h', 's', 1, k, now(), '', '', '', now() FROM unnest(ARRAY ['a', 'b']) AS k`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// What is unique is not: the index that it leaves is invalid.
	if _, err := conn.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY webhook_deliveries_pending ON webhook_deliveries (tenant, webhook)`); err == nil {
		t.Fatal("the index could be made")
	}
	for range 2 {
		if err := Migrate(t.Context(), dsn, quiet); err != nil {
			t.Fatal(err)
		}
	}
	var valid, columns int
	if err := conn.QueryRow(t.Context(), `SELECT
			(SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
				WHERE c.relname IN ('webhook_deliveries_pending', 'webhook_deliveries_failed', 'webhook_deliveries_due') AND i.indisvalid AND NOT i.indisunique),
			(SELECT count(*) FROM information_schema.columns WHERE table_name = 'webhooks' AND column_name IN ('secret_before', 'before_until'))`).Scan(&valid, &columns); err != nil {
		t.Fatal(err)
	}
	if valid != 3 || columns != 2 {
		t.Errorf("%d indexes and %d columns, want 3 and 2", valid, columns)
	}
	// Nothing that waits for writers, or keeps them waiting, is in a transaction.
	text, err := migrations.ReadFile("migrations/00008_webhooks.sql")
	if err != nil || !strings.Contains(string(text), "NO TRANSACTION") || strings.Contains(string(text), "CREATE INDEX webhook") {
		t.Errorf("the migration holds up writers: %v", err)
	}
}
