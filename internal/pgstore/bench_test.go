package pgstore_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// BenchmarkRecord records batches of 1,000 events over 500 sessions, as the
// recorder does under load: "store" is Record, "store, no row security" the same
// without the policies, "bare" a plain multi-row insert of the same chunks, one
// transaction each, and "bare, row per event" of the same events uncompressed.
func BenchmarkRecord(b *testing.B) {
	dsn := testenv.Postgres(b, testenv.PostgresDurable)
	s := open(b, dsn)
	conn := connect(b, dsn)
	run := func(name string, record func(batch events.Batch) error) {
		b.Run(name, func(b *testing.B) {
			load := eventstest.NewLoad(name, 500)
			if err := record(load.Next(500)); err != nil { // the sessions begin
				b.Fatal(err)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if err := record(load.Next(1000)); err != nil {
					b.Fatal(err)
				}
				n += 1000
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
	run("store", func(batch events.Batch) error { return s.Record(b.Context(), batch) })

	security := func(how string) {
		for _, table := range []string{"sessions", "event_chunks"} {
			exec(b, conn, fmt.Sprintf("ALTER TABLE %s %s ROW LEVEL SECURITY", table, how))
		}
	}
	security("DISABLE")
	run("store without row security", func(batch events.Batch) error { return s.Record(b.Context(), batch) })
	security("ENABLE")

	exec(b, conn, `CREATE TABLE bare (LIKE event_chunks INCLUDING ALL)`)
	run("bare", func(batch events.Batch) error {
		var c eventstest.Columns
		for _, se := range batch.Sessions {
			c.AddChunks(se)
		}
		_, err := conn.Exec(b.Context(), `INSERT INTO bare (tenant, session, first_seq, last_seq, size, data)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::bytea[])`,
			c.Tenant, c.Session, c.First, c.Last, c.Size, c.Data)
		return err
	})
	exec(b, conn, `CREATE TABLE bare_events (LIKE event_chunks INCLUDING ALL)`)
	run("bare with a row per event", func(batch events.Batch) error {
		var c eventstest.Columns
		for _, se := range batch.Sessions {
			c.AddEvents(se)
		}
		_, err := conn.Exec(b.Context(), `INSERT INTO bare_events (tenant, session, first_seq, last_seq, size, data)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::bytea[])`,
			c.Tenant, c.Session, c.First, c.Last, c.Size, c.Data)
		return err
	})
}

// BenchmarkRead reads a session of 100,000 events as recorded, 200 a chunk, and
// compacted.
func BenchmarkRead(b *testing.B) {
	s := open(b, testenv.Postgres(b, testenv.PostgresDurable))
	load := eventstest.NewLoad("read", 1)
	for range 500 {
		if err := s.Record(b.Context(), load.Next(200)); err != nil {
			b.Fatal(err)
		}
	}
	eventstest.BenchmarkRead(b, s, load.Ref(0), 100_000)
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// BenchmarkRecordSearch is what the index of the search costs the recorder.
func BenchmarkRecordSearch(b *testing.B) {
	searchtest.BenchmarkRecord(b, func(b *testing.B, noIndex bool) searchtest.Archive {
		return openIndex(b, noIndex)
	})
}

func openIndex(b *testing.B, noIndex bool) *pgstore.Store {
	b.Helper()
	dsn := testenv.Postgres(b, testenv.PostgresDurable)
	if err := pgstore.Migrate(b.Context(), dsn, quiet); err != nil {
		b.Fatal(err)
	}
	s, err := pgstore.Open(b.Context(), dsn, pgstore.Options{Logger: quiet.Logger, NoIndex: noIndex})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkSearch searches 10,000 messages of 5,000 sessions.
func BenchmarkSearch(b *testing.B) { searchtest.BenchmarkSearch(b, openIndex(b, false), 5_000) }

// BenchmarkIndex is how fast the index catches up.
func BenchmarkIndex(b *testing.B) { searchtest.BenchmarkIndex(b, openIndex(b, false)) }
