package pgstore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// TestExecModes runs the suite in the modes that a connection pooler between
// store and server may ask for in the DSN.
func TestExecModes(t *testing.T) {
	for _, mode := range []string{"cache_describe", "exec"} {
		t.Run(mode, func(t *testing.T) {
			eventstest.Store(t, func(t *testing.T) events.Store {
				return open(t, with(t, database(t), "default_query_exec_mode", mode))
			})
		})
	}
}

func TestSchemaVersion(t *testing.T) {
	dsn := testenv.Postgres(t)
	refused := func() {
		t.Helper()
		_, err := pgstore.Open(t.Context(), dsn, quiet)
		wantCode(t, err, holdfast.CodeUnavailable)
		if !strings.Contains(holdfast.PublicMessage(err), "holdfast migrate") {
			t.Fatalf("error %q does not say what to do", err)
		}
	}
	refused() // empty
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := pgstore.Migrate(t.Context(), dsn, quiet); err != nil {
				t.Errorf("Migrate: %v", err)
			}
		})
	}
	wg.Wait()
	script := eventstest.NewScript(t, 2)
	s := open(t, dsn) // migrates again
	if err := s.Record(t.Context(), script.Batch(0)); err != nil {
		t.Fatal(err)
	}
	// A newer program has migrated; this one goes on, and so does its Migrate.
	conn := connect(t, dsn)
	exec(t, conn, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	exec(t, conn, "ALTER TABLE sessions ADD COLUMN of_the_future text NOT NULL DEFAULT 'x'")
	exec(t, conn, "ALTER TABLE event_chunks ADD COLUMN of_the_future text")
	newer := open(t, dsn)
	if err := newer.Record(t.Context(), script.Batch(1)); err != nil {
		t.Fatal(err)
	}
	script.Check(t, newer, 2)
	exec(t, conn, "DELETE FROM goose_db_version WHERE version_id > 0")
	refused()
}

func TestAddress(t *testing.T) {
	for dsn, want := range map[string]holdfast.Code{
		"postgres://holdfast:s3cret@127.0.0.1:1/x":           holdfast.CodeUnavailable, // nobody listens
		"postgres://holdfast:s3cret@127.0.0.1:99999999/x":    holdfast.CodeInvalid,
		"postgres://holdfast:s3cret@localhost/x?sslmode=odd": holdfast.CodeInvalid,
	} {
		_, err := pgstore.Open(t.Context(), dsn, quiet)
		if holdfast.CodeOf(err) != want {
			t.Errorf("Open(%s): error %v, code %q, want %q", dsn, err, holdfast.CodeOf(err), want)
		}
		if migrate := pgstore.Migrate(t.Context(), dsn, quiet); holdfast.CodeOf(migrate) != want {
			t.Errorf("Migrate(%s): error %v, want the code %q", dsn, migrate, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error has the password in it: %v", err)
		}
	}
}

// TestRowSecurity looks at the tables as the role that owns them, without the
// conditions that this package's queries have themselves.
func TestRowSecurity(t *testing.T) {
	dsn := testenv.Postgres(t)
	s := open(t, dsn)
	script := eventstest.NewScript(t, 20)
	for n := range uint64(script.Len()) {
		if err := s.Record(t.Context(), script.Batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []string{"tenant-0", "tenant-1"} {
		if err := s.AddMemory(t.Context(), tenant, "a", tool.Memory{ID: "m", CreatedAt: script.Batch(0).Sessions[0].Events[0].Time, Content: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		if err := s.PutSnapshot(t.Context(), script.Ref(i), events.Snapshot{Seq: 1, Format: "f"}); err != nil {
			t.Fatal(err)
		}
	}
	conn := connect(t, dsn)
	fill(t, conn)

	// Every table with a tenant is protected, and the tenant begins its key.
	rows, err := conn.Query(t.Context(), `SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
			coalesce((SELECT i.indkey[0] = a.attnum FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), false)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' WHERE c.relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	type table struct {
		Name      string
		Protected bool
		Keyed     bool
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) < 4 {
		t.Fatalf("tables with a tenant: %v", tables)
	}
	count := func(tx pgx.Tx, table, where string) (n int) {
		t.Helper()
		if err := tx.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", table, where)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	as := func(tenant string, fn func(pgx.Tx)) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if tenant != "" {
			if _, err := tx.Exec(t.Context(), "SELECT set_config('holdfast.tenant', $1, true)", tenant); err != nil {
				t.Fatal(err)
			}
		}
		fn(tx)
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range tables {
		if !table.Protected || !table.Keyed {
			t.Errorf("table %s: row security %v, primary key begins with the tenant %v", table.Name, table.Protected, table.Keyed)
		}
		for _, nobody := range []string{"", "tenant", "tenant-00", "%"} {
			as(nobody, func(tx pgx.Tx) {
				if n := count(tx, table.Name, "true"); n != 0 {
					t.Errorf("%q sees %d rows of %s", nobody, n, table.Name)
				}
			})
		}
		as("tenant-0", func(tx pgx.Tx) {
			mine, others := count(tx, table.Name, "tenant = 'tenant-0'"), count(tx, table.Name, "tenant <> 'tenant-0'")
			if mine == 0 || others != 0 {
				t.Errorf("tenant-0 sees %d rows of its own and %d of others in %s", mine, others, table.Name)
			}
			tag, err := tx.Exec(t.Context(), "DELETE FROM "+table.Name+" WHERE tenant = 'tenant-1'")
			if err != nil || tag.RowsAffected() != 0 {
				t.Errorf("tenant-0 deletes %d rows of tenant-1 from %s: %v", tag.RowsAffected(), table.Name, err)
			}
			_, err = tx.Exec(t.Context(), "UPDATE "+table.Name+" SET tenant = 'tenant-1'")
			if pg := (*pgconn.PgError)(nil); !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("tenant-0 gives its rows of %s to tenant-1: %v", table.Name, err)
			}
		})
		as("*", func(tx pgx.Tx) {
			if n := count(tx, table.Name, "tenant = 'tenant-0'"); n == 0 || n == count(tx, table.Name, "true") {
				t.Errorf("everyone sees %d rows of tenant-0 in %s, and no others", n, table.Name)
			}
		})
	}
	// The setting ends with its transaction.
	as("", func(tx pgx.Tx) {
		if n := count(tx, "sessions", "true"); n != 0 {
			t.Errorf("%d sessions are seen after a transaction of everyone", n)
		}
	})
	// A tenant cannot be everyone by name.
	if list, err := s.Sessions(t.Context(), "*", events.Page{}); err != nil || len(list) != 0 {
		t.Errorf("Sessions of *: %d, %v", len(list), err)
	}
}

// TestCorrupt damages chunks. What is read says where; nothing else is lost.
func TestCorrupt(t *testing.T) {
	dsn := testenv.Postgres(t)
	s := open(t, dsn)
	conn := connect(t, dsn)
	script := eventstest.NewScript(t, 10)
	for n := range uint64(script.Len()) {
		if err := s.Record(t.Context(), script.Batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	ref := script.Ref(0)
	third := script.Batch(2).Sessions[0].Events[0].Seq
	for damage, sql := range map[string]string{
		"a byte of the data":    "UPDATE event_chunks SET data = set_byte(data, octet_length(data) - 1, get_byte(data, octet_length(data) - 1) # 1) || 'x'",
		"an empty chunk":        "UPDATE event_chunks SET data = ''",
		"another chunk's data":  "UPDATE event_chunks AS c SET data = (SELECT data FROM event_chunks WHERE tenant = c.tenant AND session = c.session AND first_seq = 1)",
		"a chunk that is gone":  "DELETE FROM event_chunks",
		"a range that is wrong": "UPDATE event_chunks SET last_seq = last_seq + 1",
	} {
		t.Run(damage, func(t *testing.T) {
			tx := func(sql string, args ...any) {
				t.Helper()
				b := &pgx.Batch{}
				b.Queue("SELECT set_config('holdfast.tenant', '*', true)")
				b.Queue(sql, args...)
				if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			tx("CREATE TABLE saved AS SELECT * FROM event_chunks")
			tx(sql+" WHERE tenant = $1 AND session = $2 AND first_seq = $3", ref.Tenant, ref.Session, int64(third))
			wantCorrupt := func(err error) {
				t.Helper()
				if !errors.Is(err, events.ErrCorrupt) || !strings.Contains(err.Error(), ref.String()) {
					t.Errorf("error %v, want %v with %s", err, events.ErrCorrupt, ref)
				}
			}
			_, err := s.Read(t.Context(), ref, 0, 0)
			wantCorrupt(err)
			if err != nil && damage != "a chunk that is gone" && !strings.Contains(err.Error(), fmt.Sprintf("at seq %d", third)) {
				t.Errorf("error %v does not name seq %d", err, third)
			}
			if evs, err := s.Read(t.Context(), ref, 0, int(third)-1); err != nil || len(evs) != int(third)-1 {
				t.Errorf("%d events before the damage, %v", len(evs), err)
			}
			if _, err := s.Read(t.Context(), script.Ref(1), 0, 0); err != nil {
				t.Errorf("another session: %v", err)
			}
			if damage != "a chunk that is gone" {
				wantCorrupt(s.Compact(t.Context(), ref))
			}
			tx("DELETE FROM event_chunks")
			tx("INSERT INTO event_chunks SELECT * FROM saved")
			tx("DROP TABLE saved")
			script.Check(t, s, uint64(script.Len()))
		})
	}
}
