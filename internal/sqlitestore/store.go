// Package sqlitestore keeps the log in one SQLite file: the archive of the
// embedded mode. It promises what [events.Store], [events.Maintainer] and
// [tool.MemoryStore] promise.
//
// What a method has returned without an error survives a crash of the process
// and of the machine (WAL, synchronous=FULL: one sync per batch). One connection
// writes, a few read beside it; a reader never waits for the writer. The file is
// meant for one process; others may open it too and then wait up to five seconds
// for a lock.
package sqlitestore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is how many statements may read at once. Each connection keeps a cache
// of its own, and the embedded mode has to stay small.
const readers = 3

// Options are the settings of a [Store].
type Options struct {
	// Logger gets what was stored although it could not be understood. Default:
	// slog.Default().
	Logger *slog.Logger
	// NoIndex says that the search has no index: nothing is noted for it.
	NoIndex bool
}

// Store is the archive in a SQLite file. Make one with [Open].
type Store struct {
	path string
	log  *slog.Logger
	w    *sql.DB // one connection, so that writers queue here and not in the file
	r    *sql.DB
	// commit ends the transactions of write; tests let it fail.
	commit func(*sql.Tx) error

	noIndex bool
	// searchTimeout ends a search.
	searchTimeout time.Duration

	unprojected atomic.Int64
}

var (
	_ events.Store      = (*Store)(nil)
	_ events.Maintainer = (*Store)(nil)
)

// Open opens the file, creates it with mode 0600 (and its folder with 0700) if
// it is not there, and brings its schema up to date.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open archive %s: %w", path, err)
	}
	s := &Store{path: abs, log: o.Logger, noIndex: o.NoIndex, searchTimeout: searchTimeout, commit: (*sql.Tx).Commit}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	// SQLite gives the files beside it, -wal and -shm, the mode of this one.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if s.w, err = sql.Open("sqlite", s.dsn("immediate")); err != nil {
		return nil, fmt.Errorf("open archive %s: %w", abs, err)
	}
	s.w.SetMaxOpenConns(1)
	if s.r, err = sql.Open("sqlite", s.dsn("deferred", "query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open archive %s: %w", abs, err), s.w.Close())
	}
	s.r.SetMaxOpenConns(readers)
	s.r.SetMaxIdleConns(readers)
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(s.wrap(ctx, err, "open archive "+abs), s.Close())
	}
	return s, nil
}

func (s *Store) dsn(txlock string, pragmas ...string) string {
	q := url.Values{"_txlock": {txlock}, "_pragma": append([]string{
		"busy_timeout(5000)",
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"cache_size(-2048)", // KiB
		"mmap_size(0)",      // mapped pages count as resident
		"temp_store(MEMORY)",
		"journal_size_limit(16777216)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: s.path, RawQuery: q.Encode()}).String()
}

func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.w, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	// A file that a newer program wrote stays as it is: schemas only grow.
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Close waits for statements that run and closes the file.
func (s *Store) Close() error {
	if err := errors.Join(s.r.Close(), s.w.Close()); err != nil {
		return fmt.Errorf("close archive %s: %w", s.path, err)
	}
	return nil
}

// Unprojected returns how many events this process archived without being able
// to project them into their session's row.
func (s *Store) Unprojected() int64 { return s.unprojected.Load() }

// wrap says what was being done and gives failures of the file, which may pass,
// the code CodeUnavailable.
func (s *Store) wrap(ctx context.Context, err error, doing string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// An interrupted statement fails in many ways; this is the one cause.
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return holdfast.WrapError(holdfast.CodeUnavailable, fmt.Errorf("%s: %w", doing, err), "the archive has no room left on its disk")
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM:
			return holdfast.WrapError(holdfast.CodeUnavailable, fmt.Errorf("%s: %w", doing, err), "the archive is not available")
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// write runs fn in a transaction and commits it if fn returns nil.
func (s *Store) write(ctx context.Context, doing string, fn func(tx *sql.Tx) error) error {
	tx, err := s.w.BeginTx(ctx, nil)
	if err != nil {
		return s.wrap(ctx, err, doing)
	}
	if err := fn(tx); err != nil {
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
		return s.wrap(ctx, err, doing)
	}
	return s.wrap(ctx, s.commit(tx), doing)
}
