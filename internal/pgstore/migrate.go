package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	holdfast "github.com/holdfast-run/holdfast"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema of the database up to date. It may run in several
// processes at once, of which one does the work, and beside programs of the
// version before. Its role must be allowed to create tables.
func Migrate(ctx context.Context, dsn string, o Options) (err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return holdfast.WrapError(holdfast.CodeInvalid, err, "the address of the database cannot be understood")
	}
	// Building an index of a large table takes as long as it takes.
	setDefaults(cfg, "0")
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	results, err := p.Up(ctx)
	if err != nil {
		return wrap(ctx, err, "migrate the database")
	}
	if o.Logger != nil {
		for _, r := range results {
			o.Logger.InfoContext(ctx, "migrated the database", "version", r.Source.Version, "duration", r.Duration)
		}
	}
	return nil
}

// checkVersion returns an error if the database lacks a migration.
func (s *Store) checkVersion(ctx context.Context) error {
	want, err := newestMigration()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	var have int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42P01" { // no such table
		err = nil
	}
	if err != nil {
		return wrap(ctx, err, "look at the version of the database's schema")
	}
	if have < want {
		return holdfast.Errorf(holdfast.CodeUnavailable,
			"the database's schema has version %d and this program needs %d: run `holdfast migrate`", have, want)
	}
	return nil
}

// newestMigration is the version of the schema that this program knows.
func newestMigration() (int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		v, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		newest = max(newest, v)
	}
	return newest, nil
}
