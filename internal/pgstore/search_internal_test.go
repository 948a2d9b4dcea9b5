package pgstore

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

func searchStore(t *testing.T) (*Store, *pgx.Conn) {
	t.Helper()
	dsn, o := testenv.Postgres(t), Options{Logger: slog.New(slog.DiscardHandler)}
	if err := Migrate(t.Context(), dsn, o); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return s, conn
}

func page(t *testing.T, query string) search.Page {
	t.Helper()
	q, err := search.Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	return search.Page{Query: q, Limit: 10}
}

// A search that takes too long says so. It waits here for a lock that nobody gives
// back.
func TestSearchIsCutOff(t *testing.T) {
	s, conn := searchStore(t)
	// The first one prepares its statements, for which it would wait, too.
	if _, err := s.Search(t.Context(), "acme", page(t, "x")); err != nil {
		t.Fatal(err)
	}
	s.searchTimeout = "20ms"
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE search_words IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	_, err = s.Search(t.Context(), "acme", page(t, "x"))
	if holdfast.CodeOf(err) != holdfast.CodeTimeout || !strings.Contains(holdfast.PublicMessage(err), "rarer words") {
		t.Errorf("%v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.searchTimeout = "1min"
	// It ends the search alone: the connection goes on with the time that others have.
	if _, err := s.Search(t.Context(), "acme", page(t, "x")); err != nil {
		t.Error(err)
	}
}

// The index of words serves searches under row level security, and the one of times
// finds the newest messages.
func TestSearchUsesItsIndexes(t *testing.T) {
	_, conn := searchStore(t)
	b := &pgx.Batch{}
	queueScope(b, everyone)
	b.Queue(`INSERT INTO search_messages (tenant, session, seq, at, role, run, agent, said)
		SELECT CASE WHEN n % 100 = 0 THEN 'acme' ELSE 'bolt' END, 's' || n % 1000, n, now() - n * interval '1 second', 'user', '', '', 'said' FROM generate_series(1, 20000) AS n`)
	b.Queue(`INSERT INTO search_words (id, words)
		SELECT id, (CASE WHEN tenant = 'acme' THEN $1::text ELSE $2::text END || ' a:1 b:2 n' || seq || ':3')::tsvector FROM search_messages`,
		"'"+tenantWord("acme")+"'", "'"+tenantWord("bolt")+"'")
	if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"search_messages", "search_words"} {
		if _, err := conn.Exec(t.Context(), "VACUUM ANALYZE "+table); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []string{"acme", "bolt"} {
		for _, recent := range []bool{false, tenant == "bolt"} { // few messages may as well be sorted
			for _, by := range []bool{false, true} {
				p := page(t, `"a b" -c n700`)
				p.BySession, p.Before = by, search.Place{At: time.Now(), Session: "s", Seq: 1}
				query, args := searchSQL(tenant, p, recent)
				b := &pgx.Batch{}
				queueScope(b, tenant)
				var plan string
				b.Queue("EXPLAIN "+query, args...).Query(func(rows pgx.Rows) error {
					lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
					plan = strings.Join(lines, "\n")
					return err
				})
				if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
					t.Fatal(err)
				}
				want := "search_words_words"
				if recent {
					want = "search_messages_newest"
				}
				if !strings.Contains(plan, want) {
					t.Errorf("%s, recent %v, by session %v: %s is not used:\n%s", tenant, recent, by, want, plan)
				}
			}
		}
	}
}
