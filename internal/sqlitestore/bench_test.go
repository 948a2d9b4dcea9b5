package sqlitestore_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/search/searchtest"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// BenchmarkRecord records batches of 1,000 events over 500 sessions: "store" is
// Record, "bare" a loop of inserts of the same chunks in one transaction.
func BenchmarkRecord(b *testing.B) {
	path := filepath.Join(b.TempDir(), "archive.db")
	s := open(b, path)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE bare (tenant TEXT NOT NULL, session TEXT NOT NULL, first_seq INTEGER NOT NULL,
		last_seq INTEGER NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (tenant, session, first_seq))`); err != nil {
		b.Fatal(err)
	}
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
	run("bare", func(batch events.Batch) error {
		var c eventstest.Columns
		for _, se := range batch.Sessions {
			c.AddChunks(se)
		}
		tx, err := db.BeginTx(b.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		stmt, err := tx.Prepare(`INSERT INTO bare (tenant, session, first_seq, last_seq, size, data) VALUES (?, ?, ?, ?, ?, ?)`)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for i := range c.Tenant {
			if _, err := stmt.Exec(c.Tenant[i], c.Session[i], c.First[i], c.Last[i], c.Size[i], c.Data[i]); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

// BenchmarkRead reads a session of 100,000 events as recorded, 200 a chunk, and
// compacted.
func BenchmarkRead(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "archive.db"))
	load := eventstest.NewLoad("read", 1)
	for range 500 {
		if err := s.Record(b.Context(), load.Next(200)); err != nil {
			b.Fatal(err)
		}
	}
	eventstest.BenchmarkRead(b, s, load.Ref(0), 100_000)
}

// BenchmarkRecordSearch is what the index of the search costs the recorder.
func BenchmarkRecordSearch(b *testing.B) {
	searchtest.BenchmarkRecord(b, func(b *testing.B, noIndex bool) searchtest.Archive { return openIndex(b, noIndex) })
}

func openIndex(b *testing.B, noIndex bool) *sqlitestore.Store {
	b.Helper()
	s, err := sqlitestore.Open(b.Context(), filepath.Join(b.TempDir(), "archive.db"), sqlitestore.Options{Logger: slog.New(slog.DiscardHandler), NoIndex: noIndex})
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
