// Package pgstore keeps the log in Postgres 15 to 18. It promises what
// [events.Store], [events.Maintainer] and [tool.MemoryStore] promise.
//
// What a method has returned without an error is committed, as durable as the
// server's synchronous_commit says. Nothing is retried in silence: a lost
// connection, a full pool, a server that shuts down are errors with
// CodeUnavailable, and the caller knows best whether to come again. No statement
// runs for longer than 30 s, unless the DSN has a statement_timeout of its own,
// and no transaction for longer than 40 s.
//
// Each transaction names the tenant for which it acts, and row level security,
// forced for the owner of the tables too, keeps it there. Superusers pass by it:
// connect as a role that is none.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	connectTimeout   = 5 * time.Second
	statementTimeout = "30s"
	// idleTimeout ends a transaction whose process froze, so that it does not keep
	// other recorders from the cursor.
	idleTimeout = "10s"
	// callTimeout is when a transaction is given up, also on a server that does not
	// even answer that a statement timed out.
	callTimeout = 40 * time.Second
	// diskFull is the SQLSTATE of a write for which there is no room.
	diskFull = "53100"
	// everyone is the tenant of a transaction that acts for all of them.
	everyone = "*"
)

// Options are the settings of a [Store]. Limits of the pool and time-outs are
// parameters of the DSN: pool_max_conns (default: the number of CPUs, at least
// 4), connect_timeout (5 s), statement_timeout (30 s).
type Options struct {
	// Logger gets what was stored although it could not be understood. Default:
	// slog.Default().
	Logger *slog.Logger
	// NoIndex says that the search has no index: nothing is noted for it.
	NoIndex bool
}

// Store is the archive in a Postgres database. Make one with [Open].
type Store struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	rows      gather[holdfast.SessionRef, events.SessionInfo]
	revisions gather[revisionKey, agent.Revision]

	noIndex bool
	// searchTimeout ends the statements of a search.
	searchTimeout string
	// searches has a value for each search that runs: they leave half of the pool to
	// everything else, the recorder above all.
	searches chan struct{}

	unprojected atomic.Int64
}

var (
	_ events.Store      = (*Store)(nil)
	_ events.Maintainer = (*Store)(nil)
)

// Open connects to the database and checks its schema. A schema older than this
// program is an error that says to run `holdfast migrate`; a newer one is fine,
// since schemas only grow.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// The error has the DSN in it, without its password.
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the address of the database cannot be understood")
	}
	setDefaults(cfg.ConnConfig, statementTimeout)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, wrap(ctx, err, "connect to the database")
	}
	s := &Store{
		pool: pool, log: o.Logger, noIndex: o.NoIndex, searchTimeout: searchTimeout,
		searches: make(chan struct{}, max(1, pool.Config().MaxConns/2)),
	}
	s.rows.one, s.rows.many = s.row, s.rowsOf
	s.revisions.one, s.revisions.many = s.revision, s.revisionsOf
	if err := s.checkVersion(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// setDefaults fills in what the DSN leaves open.
func setDefaults(cfg *pgx.ConnConfig, timeout string) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	for name, value := range map[string]string{
		"application_name":                    "holdfast",
		"statement_timeout":                   timeout,
		"idle_in_transaction_session_timeout": idleTimeout,
	} {
		if _, ok := cfg.RuntimeParams[name]; !ok {
			cfg.RuntimeParams[name] = value
		}
	}
}

// Close waits for calls that run and closes all connections.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// Unprojected returns how many events this process archived without being able
// to project them into their session's row.
func (s *Store) Unprojected() int64 { return s.unprojected.Load() }

// send runs the statements that queue adds in one round trip, as one transaction
// that acts for the tenant. The name of everyone comes from this package alone:
// [ofTenant] keeps it out.
func (s *Store) send(ctx context.Context, tenant, doing string, queue func(b *pgx.Batch)) error {
	return s.sendScoped(ctx, doing, func(b *pgx.Batch) {
		queueScope(b, tenant)
		queue(b)
	})
}

// sendScoped is send for statements that act for several tenants: queue names the
// tenant of those that follow, with [queueScope].
func (s *Store) sendScoped(ctx context.Context, doing string, queue func(b *pgx.Batch)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer cancel()
	b := &pgx.Batch{}
	queue(b)
	return wrap(ctx, s.pool.SendBatch(ctx, b).Close(), doing)
}

// ofTenant returns the scope of a tenant. What is no valid identifier is the
// scope of nobody, above all a tenant that calls itself everyone.
func ofTenant(tenant string) string {
	if holdfast.ValidateID("tenant", tenant) != nil {
		return ""
	}
	return tenant
}

// queueScope makes the transaction of a batch act for a tenant, or for everyone,
// until its end. The queries of one tenant name it as well: either suffices.
func queueScope(b *pgx.Batch, tenant string) {
	b.Queue(`SELECT set_config('holdfast.tenant', $1, true)`, tenant)
}

var errNoAnswer = errors.New("the database does not answer")

// wrap says what was being done and classifies the failure.
func wrap(ctx context.Context, err error, doing string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, errNoAnswer) {
			// A call that is cut off fails in many ways; this is the one cause.
			return fmt.Errorf("%s: %w", doing, cause)
		}
	}
	full := fmt.Errorf("%s: %w", doing, err)
	if holdfast.CodeOf(err) != holdfast.CodeInternal {
		return full
	}
	// A server that refuses a connection is one that is not there.
	if isConnectionError(err) || errors.Is(context.Cause(ctx), errNoAnswer) {
		return unavailable(full)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		if pg.Code == diskFull {
			return holdfast.WrapError(holdfast.CodeUnavailable, full, "the database has no room left on its disk")
		}
		switch pg.Code[:min(2, len(pg.Code))] {
		case "08", "53", "40", "55": // connection, resources, rollback by a conflict, locks
			return unavailable(full)
		}
		switch pg.Code {
		case "57P01", "57P02", "57P03", "57P05", "25P03", "25006": // shut down, starting up, idle too long, a standby
			return unavailable(full)
		case "57014":
			return holdfast.WrapError(holdfast.CodeTimeout, full, "the database took too long")
		}
	}
	return full
}

// isConnectionError reports whether there was no connection, or none any more.
func isConnectionError(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) {
		return true
	}
	for _, kind := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, pgconn.ErrConnClosed} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func unavailable(err error) error {
	return holdfast.WrapError(holdfast.CodeUnavailable, err, "the database is not available")
}
