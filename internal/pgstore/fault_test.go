package pgstore_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// TestLostCommit cuts the connection just before the server gets COMMIT and just
// after it carried it out: both are the same error, and the cursor tells which.
func TestLostCommit(t *testing.T) {
	dsn := database(t)
	direct := open(t, dsn)
	script := eventstest.NewScript(t, 40)
	p := newProxy(t, dsn)
	s, err := pgstore.Open(t.Context(), p.dsn, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	record := func(n uint64) error { return s.Record(t.Context(), script.Batch(n)) }
	if err := record(0); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n < uint64(script.Len()); n++ {
		switch n % 4 {
		case 1:
			p.arm(cutBefore)
			wantCode(t, record(n), holdfast.CodeUnavailable)
			script.Check(t, direct, n)
		case 3:
			p.arm(cutAfter)
			wantCode(t, record(n), holdfast.CodeUnavailable)
			script.Check(t, direct, n+1)
			// The recorder that does not look at the cursor learns it here.
			if err := record(n); !errors.Is(err, events.ErrCursorMoved) {
				t.Fatalf("error %v, want ErrCursorMoved", err)
			}
			continue
		}
		if err := record(n); err != nil {
			t.Fatal(err)
		}
	}
	script.Check(t, direct, uint64(script.Len()))
}

// TestCutConnections ends the backends of a recorder, of a compactor and of a
// reader again and again, wherever they are. They begin anew from what the store
// has.
func TestCutConnections(t *testing.T) {
	dsn := database(t)
	s := open(t, dsn)
	script := eventstest.NewScript(t, 150)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	cutter := connect(t, dsn)
	cuts, failures, attempts := 0, 0, 0
	now := make(chan struct{}, 1)
	wg.Go(func() {
		for range now {
			var n int
			if err := cutter.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'holdfast' AND datname = current_database() AND state <> 'idle'`).Scan(&n); err != nil {
				t.Errorf("cut: %v", err)
				return
			}
			cuts += n
		}
	})
	background := func(work func() error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := work(); err != nil && holdfast.CodeOf(err) != holdfast.CodeUnavailable && !errors.Is(err, events.ErrNoSession) {
					t.Errorf("a cut connection: error %v (%s), want the code %s", err, holdfast.CodeOf(err), holdfast.CodeUnavailable)
					return
				}
			}
		})
	}
	background(func() error { return s.Compact(t.Context(), script.Ref(0)) })
	background(func() error {
		_, err := s.Read(t.Context(), script.Ref(1), 0, 0)
		return err
	})
	for {
		at, err := s.Cursor(t.Context(), script.Stream())
		if err == nil {
			if at == uint64(script.Len()) {
				break
			}
			if attempts++; attempts%3 == 0 {
				select {
				case now <- struct{}{}:
				default: // still at the one before
				}
			}
			err = s.Record(t.Context(), script.Batch(at))
		}
		if err != nil {
			wantCode(t, err, holdfast.CodeUnavailable)
			failures++
		}
	}
	cancel()
	close(now)
	wg.Wait()
	if cuts == 0 || failures == 0 {
		t.Errorf("%d connections were cut and %d calls of the recorder failed", cuts, failures)
	}
	t.Logf("%d connections cut, %d calls of the recorder failed", cuts, failures)
	fresh := open(t, dsn)
	script.Check(t, fresh, uint64(script.Len()))
}

// TestKilledServer kills Postgres while batches are being recorded.
func TestKilledServer(t *testing.T) {
	server := testenv.NewPostgres(t)
	s := open(t, server.DSN())
	script := eventstest.NewScript(t, 400)
	at := uint64(0)
	for range 3 {
		recorded := make(chan uint64, script.Len())
		failed := make(chan error, 1)
		go func(at uint64) {
			for ; at < uint64(script.Len()); at++ {
				if err := s.Record(context.WithoutCancel(t.Context()), script.Batch(at)); err != nil {
					failed <- err
					return
				}
				recorded <- at + 1
			}
			failed <- nil
		}(at)
		for range 10 {
			at = <-recorded
		}
		server.Kill()
		err := <-failed
		wantCode(t, err, holdfast.CodeUnavailable)
		for len(recorded) > 0 {
			at = <-recorded
		}
		for name, call := range calls(s, script.Ref(0)) {
			if code := holdfast.CodeOf(call(t.Context())); code != holdfast.CodeUnavailable {
				t.Errorf("%s without a server: code %q, want %q", name, code, holdfast.CodeUnavailable)
			}
		}
		_, err = pgstore.Open(t.Context(), server.DSN(), quiet)
		wantCode(t, err, holdfast.CodeUnavailable)
		server.Start()
		now, err := s.Cursor(t.Context(), script.Stream())
		if err != nil {
			t.Fatal(err)
		}
		if now != at && now != at+1 {
			t.Fatalf("the cursor is %d after %d batches were recorded", now, at)
		}
		at = now
		script.Check(t, s, at)
	}
}

// TestFrozenServer: a call ends with its context although nothing answers.
func TestFrozenServer(t *testing.T) {
	server := testenv.NewPostgres(t)
	s := open(t, server.DSN())
	script := eventstest.NewScript(t, 3)
	if err := s.Record(t.Context(), script.Batch(0)); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for name, call := range calls(s, script.Ref(0)) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s on a frozen server: error %v, want %v", name, err, context.DeadlineExceeded)
		}
		cancel()
	}
	server.Resume()
	at, err := s.Cursor(t.Context(), script.Stream())
	if err != nil {
		t.Fatal(err)
	}
	script.Check(t, s, at)
}

// TestStatementTimeout: a recorder waits for the cursor no longer than allowed.
func TestStatementTimeout(t *testing.T) {
	dsn := database(t)
	s := open(t, dsn)
	hasty := open(t, with(t, dsn, "statement_timeout", "1s"))
	script := eventstest.NewScript(t, 2)
	if err := s.Record(t.Context(), script.Batch(0)); err != nil {
		t.Fatal(err)
	}
	other := connect(t, dsn)
	exec(t, other, "BEGIN")
	exec(t, other, "UPDATE cursors SET position = position WHERE stream = $1", script.Stream())
	wantCode(t, hasty.Record(t.Context(), script.Batch(1)), holdfast.CodeTimeout)
	exec(t, other, "ROLLBACK")
	script.Check(t, s, 1)
	if err := s.Record(t.Context(), script.Batch(1)); err != nil {
		t.Fatal(err)
	}
	script.Check(t, s, 2)
}

// calls are all that a store can be asked for.
func calls(s *pgstore.Store, ref holdfast.SessionRef) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Cursor": func(ctx context.Context) error { _, err := s.Cursor(ctx, "x"); return err },
		"Record": func(ctx context.Context) error {
			return s.Record(ctx, events.Batch{Stream: "x", To: 1})
		},
		"Read":        func(ctx context.Context) error { _, err := s.Read(ctx, ref, 0, 0); return err },
		"Session":     func(ctx context.Context) error { _, err := s.Session(ctx, ref); return err },
		"Sessions":    func(ctx context.Context) error { _, err := s.Sessions(ctx, ref.Tenant, events.Page{}); return err },
		"PutSnapshot": func(ctx context.Context) error { return s.PutSnapshot(ctx, ref, events.Snapshot{Seq: 1}) },
		"Snapshot":    func(ctx context.Context) error { _, err := s.Snapshot(ctx, ref, 0); return err },
		"Compact":     func(ctx context.Context) error { return s.Compact(ctx, ref) },
		"CompactIdle": func(ctx context.Context) error { _, err := s.CompactIdle(ctx, 1); return err },
		"Orphans":     func(ctx context.Context) error { _, err := s.Orphans(ctx, 0, 1); return err },
		"Memories":    func(ctx context.Context) error { _, err := s.Memories(ctx, "a", "b"); return err },
	}
}

func wantCode(t *testing.T, err error, code holdfast.Code) {
	t.Helper()
	if holdfast.CodeOf(err) != code {
		t.Fatalf("error %v (%T) with the code %q, want %q", err, err, holdfast.CodeOf(err), code)
	}
}

// with adds a parameter to a DSN.
func with(t *testing.T, dsn, name, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}
