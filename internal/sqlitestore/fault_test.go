package sqlitestore_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// TestFiles looks at what is on the disk: names as they were given, for nobody
// else to read, and everything there when it is opened again.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "a b?c#d%20&_pragma=x")
	path := filepath.Join(dir, "ärchive?.db")
	script := eventstest.NewScript(t, 6)
	for n := range uint64(script.Len()) {
		s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		script.Check(t, s, n)
		if err := s.Record(t.Context(), script.Batch(n)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o, want 600", info.Name(), info.Mode().Perm())
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("files after Close: %v, %v", files, err)
	}
	script.Check(t, open(t, path), uint64(script.Len()))
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, t.TempDir(), filepath.Join(path, "below")} {
		if s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{}); err == nil || s != nil {
			t.Errorf("Open(%s): %v, %v, want an error", path, s, err)
		}
	}
}

// TestNewerSchema: what a newer program has migrated is used as it is.
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	script := eventstest.NewScript(t, 2)
	if err := open(t, path).Record(t.Context(), script.Batch(0)); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	for _, stmt := range []string{
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)",
		"ALTER TABLE sessions ADD COLUMN of_the_future TEXT NOT NULL DEFAULT 'x'",
		"ALTER TABLE event_chunks ADD COLUMN of_the_future TEXT",
	} {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path)
	if err := s.Record(t.Context(), script.Batch(1)); err != nil {
		t.Fatal(err)
	}
	script.Check(t, s, 2)
}

// TestTwoProcesses opens the file twice, as two processes would, and lets both
// record: one writer at a time, nothing lost, nothing twice.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	script := eventstest.NewScript(t, 60)
	var wg sync.WaitGroup
	for range 2 {
		s := open(t, path)
		wg.Go(func() {
			for {
				at, err := s.Cursor(t.Context(), script.Stream())
				if err == nil && at == uint64(script.Len()) {
					return
				}
				if err == nil {
					err = s.Record(t.Context(), script.Batch(at))
				}
				if err != nil && !errors.Is(err, events.ErrCursorMoved) {
					t.Errorf("record: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	script.Check(t, open(t, path), uint64(script.Len()))
}

// TestBusy: a writer that does not get the file says that it is not available.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	s := open(t, path)
	script := eventstest.NewScript(t, 2)
	db := raw(t, path)
	for _, stmt := range []string{"PRAGMA busy_timeout = 0", "BEGIN IMMEDIATE"} {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Record(t.Context(), script.Batch(0)) // waits for five seconds
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("error %v with the code %q, want %q", err, holdfast.CodeOf(err), holdfast.CodeUnavailable)
	}
	script.Check(t, s, 0) // readers do not wait
	if _, err := db.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(t.Context(), script.Batch(0)); err != nil {
		t.Fatal(err)
	}
	script.Check(t, s, 1)
}

// TestCanceledRecord cancels while batches are recorded: each is there whole or
// not at all, and the cursor tells.
func TestCanceledRecord(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "archive.db"))
	script := eventstest.NewScript(t, 50)
	failures := 0
	for n := range uint64(script.Len()) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			// Later and later within Record.
			for range n {
				if _, err := s.Cursor(t.Context(), script.Stream()); err != nil {
					t.Errorf("Cursor: %v", err)
				}
			}
			cancel()
		})
		err := s.Record(ctx, script.Batch(n))
		wg.Wait()
		if err != nil {
			failures++
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
		}
		at, err := s.Cursor(t.Context(), script.Stream())
		if err != nil {
			t.Fatal(err)
		}
		script.Check(t, s, at)
		if at == n {
			if err := s.Record(t.Context(), script.Batch(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	script.Check(t, s, uint64(script.Len()))
	t.Logf("%d calls were canceled", failures)
	if failures == 0 {
		t.Error("no call was canceled")
	}
}

// TestKilledProcess kills a process that records, again and again. What it said
// was recorded is there, and nothing is there by half.
func TestKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	script := eventstest.NewScript(t, scriptLength)
	said := uint64(0)
	for round := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.count=1")
		child.Env = append(os.Environ(), childPath+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); {
			at, ok := strings.CutPrefix(lines.Text(), "recorded ")
			if !ok {
				continue
			}
			if said, err = strconv.ParseUint(at, 10, 64); err != nil {
				t.Fatal(err)
			}
			if n++; n == 7+round {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended before it was killed")
		}
		s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		at, err := s.Cursor(t.Context(), script.Stream())
		if err != nil {
			t.Fatal(err)
		}
		if at != said && at != said+1 {
			t.Fatalf("the cursor is %d after the child recorded %d batches", at, said)
		}
		script.Check(t, s, at)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	childPath    = "SQLITESTORE_TEST_CHILD"
	scriptLength = 300
)

// TestChild is the process that [TestKilledProcess] kills; on its own it does
// nothing.
func TestChild(t *testing.T) {
	path := os.Getenv(childPath)
	if path == "" {
		return
	}
	script := eventstest.NewScript(t, scriptLength)
	s := open(t, path)
	at, err := s.Cursor(t.Context(), script.Stream())
	if err != nil {
		t.Fatal(err)
	}
	for ; at < uint64(script.Len()); at++ {
		if err := s.Record(t.Context(), script.Batch(at)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("recorded %d\n", at+1)
	}
}

// TestCorrupt damages chunks. What is read says where; nothing else is lost.
func TestCorrupt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	s := open(t, path)
	script := eventstest.NewScript(t, 10)
	for n := range uint64(script.Len()) {
		if err := s.Record(t.Context(), script.Batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	ref := script.Ref(0)
	third := script.Batch(2).Sessions[0].Events[0].Seq
	if _, err := raw(t, path).ExecContext(t.Context(), `UPDATE event_chunks SET data = substr(data, 1, length(data) - 1)
		WHERE tenant = ? AND session = ? AND first_seq = ?`, ref.Tenant, ref.Session, int64(third)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Read(t.Context(), ref, 0, 0)
	for _, err := range []error{err, s.Compact(t.Context(), ref)} {
		if !errors.Is(err, events.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("%s at seq %d", ref, third)) {
			t.Errorf("error %v, want %v with %s at seq %d", err, events.ErrCorrupt, ref, third)
		}
	}
	if evs, err := s.Read(t.Context(), ref, 0, int(third)-1); err != nil || len(evs) != int(third)-1 {
		t.Errorf("%d events before the damage, %v", len(evs), err)
	}
	if _, err := s.Read(t.Context(), script.Ref(1), 0, 0); err != nil {
		t.Errorf("another session: %v", err)
	}
}

// TestOddEventsAreCounted: the log says what was archived without being
// understood.
func TestOddEventsAreCounted(t *testing.T) {
	var text strings.Builder
	s, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), sqlitestore.Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := events.Batch{Stream: "s", To: 1, Sessions: []events.SessionEvents{{
		Session: holdfast.SessionRef{Tenant: "t", Session: "odd"},
		Events:  []events.Envelope{{Seq: 1, V: 1, Type: holdfast.TypeSessionTitle, Payload: []byte("{")}},
	}}}
	if err := s.Record(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if s.Unprojected() != 1 || !strings.Contains(text.String(), "t/odd") || !strings.Contains(text.String(), "event 1") {
		t.Errorf("%d odd events, logged as %q", s.Unprojected(), text.String())
	}
}

// raw opens the file beside the store, on one connection.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}
