package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// appRole owns the databases that tests get. Like the role of a production
	// database it is no superuser, since one passes over row level security; it
	// may make roles, because tests of that security need some.
	appRole   = "holdfast"
	adminRole = "postgres"

	postgresTimeout = 60 * time.Second
)

// postgresSettings keep a test server small. Statistics and parallel workers
// would take the machine's few cores from the tests.
var postgresSettings = []string{
	"listen_addresses=127.0.0.1",
	"unix_socket_directories=",
	"max_connections=300",
	"shared_buffers=64MB",
	"max_parallel_workers_per_gather=0",
	"autovacuum_naptime=1h",
	"log_min_messages=warning",
	"log_line_prefix=%m [%p] %d ",
}

// volatileSettings give up what only a power failure can take; a server that is
// killed keeps what was committed.
var volatileSettings = []string{"fsync=off", "full_page_writes=off"}

// PostgresOption changes the server of [Postgres] or [NewPostgres].
type PostgresOption func(*postgresConfig)

type postgresConfig struct {
	durable   bool
	superuser bool
	template  string
	prepare   func(dsn string) error
}

// PostgresDurable leaves fsync on, for benchmarks: by default a test server
// does not wait for the disk.
func PostgresDurable(c *postgresConfig) { c.durable = true }

// PostgresSuperuser makes the DSN one of a superuser. By default it is one of
// the database's owner, who has no other privilege than to make roles.
func PostgresSuperuser(c *postgresConfig) { c.superuser = true }

// PostgresCopiedFrom makes the database a copy of one that prepare has filled:
// once for each name in a test binary, since a migration takes ten times as long
// as a copy. prepare must leave no connection open.
func PostgresCopiedFrom(name string, prepare func(dsn string) error) PostgresOption {
	return func(c *postgresConfig) { c.template, c.prepare = name, prepare }
}

// Postgres makes an empty database and returns its DSN, a postgres:// URL. The
// database goes when the test ends; connections that are then still open are
// cut.
func Postgres(t testing.TB, opts ...PostgresOption) (dsn string) {
	t.Helper()
	cfg := apply(opts)
	shared := sharedVolatile
	if cfg.durable {
		shared = sharedDurable
	}
	c, err := shared()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return c.newDatabase(t, cfg)
}

var (
	sharedVolatile = sync.OnceValues(func() (*cluster, error) { return startCluster(binary{}, false) })
	sharedDurable  = sync.OnceValues(func() (*cluster, error) { return startCluster(binary{}, true) })
)

// binary stands in for a test where a process belongs to the whole test binary.
// Only Errorf and Helper are ever called on it.
type binary struct{ testing.TB }

func (binary) Helper() {}

func (binary) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (b binary) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func apply(opts []PostgresOption) postgresConfig {
	var cfg postgresConfig
	for _, o := range opts {
		o(&cfg)
	}
	return cfg
}

// PostgresServer is a server of one test's own. Kill, Stop, Pause and Resume
// may be called from any goroutine.
type PostgresServer struct {
	t   testing.TB
	c   *cluster
	dsn string
}

// NewPostgres starts a server for this test alone, with an empty database. It
// ends with the test.
func NewPostgres(t testing.TB, opts ...PostgresOption) *PostgresServer {
	t.Helper()
	cfg := apply(opts)
	c, err := startCluster(t, cfg.durable)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(func() {
		c.quit()
		if t.Failed() {
			t.Logf("log of the test's PostgreSQL:\n%s", c.proc().out.tail(shownOutput))
		}
		if err := os.RemoveAll(c.data); err != nil {
			t.Errorf("testenv: remove the test's PostgreSQL: %v", err)
		}
	})
	dsn, err := c.createDatabase(t.Context(), cfg)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return &PostgresServer{t: t, c: c, dsn: dsn}
}

// DSN is the address of the server's database; it stays the same over restarts.
func (s *PostgresServer) DSN() string { return s.dsn }

// Stop shuts the server down in an orderly way, cutting its connections, and
// waits until it is gone.
func (s *PostgresServer) Stop() {
	s.t.Helper()
	s.c.proc().Signal(syscall.SIGINT) // fast shutdown
	s.c.proc().awaitExit()
}

// Kill ends the server and its backends as a crash does and waits until they
// are gone. What was committed is there after Start.
func (s *PostgresServer) Kill() {
	s.t.Helper()
	p := s.c.proc()
	// The backends too: if the parent alone dies they finish what they are at.
	p.Pause()
	if err := p.killPaused(); err != nil {
		s.t.Errorf("testenv: kill PostgreSQL: %v", err)
	}
	p.awaitExit()
}

// Start starts a stopped or killed server on the same files and port and waits
// until it answers.
func (s *PostgresServer) Start() {
	s.t.Helper()
	if err := s.c.start(); err != nil {
		s.t.Fatalf("testenv: %v", err)
	}
}

// Pause freezes the server: connections stay open and nothing answers.
func (s *PostgresServer) Pause() { s.t.Helper(); s.c.proc().Pause() }

// Resume lets a paused server go on.
func (s *PostgresServer) Resume() { s.t.Helper(); s.c.proc().Resume() }

// Log is what the server has written since its last start.
func (s *PostgresServer) Log() string { return s.c.proc().Output() }

// cluster is a data folder and the server on it.
type cluster struct {
	t        testing.TB
	bin      string
	data     string
	port     int
	settings []string
	process  atomic.Pointer[Process]
	count    atomic.Int64

	templates sync.Mutex      // held while a template is prepared
	prepared  map[string]bool // guarded by templates
}

// startCluster copies the template, which takes a tenth of what initdb takes,
// and starts a server on the copy.
func startCluster(t testing.TB, durable bool) (*cluster, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	template, err := templateCluster()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(filepath.Dir(template), "pg-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	// cp keeps owner and mode, about which Postgres is strict.
	if out, err := exec.Command("cp", "-a", template+"/.", data).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the PostgreSQL template: %w: %s", err, out)
	}
	c := &cluster{t: t, bin: bin, data: data, settings: postgresSettings}
	if !durable {
		c.settings = append(c.settings[:len(c.settings):len(c.settings)], volatileSettings...)
	}
	for range 5 {
		if c.port, err = freePort(); err != nil {
			return nil, err
		}
		// Somebody may take the port before the server does; then another will do.
		if err = c.start(); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
	defer cancel()
	err = c.admin(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE ROLE "+appRole+" LOGIN CREATEROLE")
		return err
	})
	if err != nil {
		c.quit()
		return nil, fmt.Errorf("create the owner of test databases: %w", err)
	}
	return c, nil
}

// quit ends the server at once, paused or not. Asked by a signal it gives its
// shared memory back, which a killed one leaves to the system for ever.
func (c *cluster) quit() {
	p := c.proc()
	if err := p.resume(); err != nil {
		p.t.Errorf("testenv: resume PostgreSQL: %v", err)
	}
	// The error is that the process is gone, which is what is wanted.
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	p.awaitExit()
}

// templateCluster is the data folder that clusters are copied from.
var templateCluster = sync.OnceValues(func() (string, error) {
	bin, err := postgresBin()
	if err != nil {
		return "", err
	}
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	cred, err := postgresUser()
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "pg-template")
	if err := os.Mkdir(data, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for PostgreSQL: %w", err)
	}
	if cred != nil {
		if err := os.Chown(data, int(cred.Uid), int(cred.Gid)); err != nil {
			return "", fmt.Errorf("make a folder for PostgreSQL: %w", err)
		}
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", adminRole,
		"-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync")
	cmd.Dir = data
	cmd.Env = postgresEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return data, nil
})

// postgresEnv is the test's environment without libpq's and the server's own
// variables, which would change what is started, and without its language.
func postgresEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C")
}

func (c *cluster) proc() *Process { return c.process.Load() }

func (c *cluster) start() error {
	cred, err := postgresUser()
	if err != nil {
		return err
	}
	args := []string{"-D", c.data, "-p", strconv.Itoa(c.port)}
	for _, s := range c.settings {
		args = append(args, "-c", s)
	}
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), args...)
	cmd.Dir = c.data
	cmd.Env = postgresEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	// SIGQUIT: the server ends its backends at once and gives its shared memory
	// back, which SIGKILL would not.
	p, err := startProcess(c.t, "postgres", cmd, syscall.SIGQUIT)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.process.Store(p)
	if err := c.awaitReady(p); err != nil {
		c.quit()
		return fmt.Errorf("start PostgreSQL: %w\n%s", err, p.out.tail(shownOutput))
	}
	return nil
}

// awaitReady polls until the server takes connections; its log is no signal,
// since the message comes in the server's language and level.
func (c *cluster) awaitReady(p *Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.dsn(adminRole, "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer after %s: %w", postgresTimeout, err)
		case <-tick.C:
		}
	}
}

func (c *cluster) dsn(role, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", role, c.port, database)
}

func (c *cluster) admin(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, c.dsn(adminRole, "postgres"))
	if err != nil {
		return fmt.Errorf("connect to the test's PostgreSQL: %w", err)
	}
	return errors.Join(do(conn), conn.Close(ctx))
}

func (c *cluster) createDatabase(ctx context.Context, cfg postgresConfig) (dsn string, err error) {
	template := "template0"
	if cfg.prepare != nil {
		if template, err = c.preparedTemplate(ctx, cfg); err != nil {
			return "", err
		}
	}
	name := fmt.Sprintf("test_%d", c.count.Add(1))
	err = c.admin(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+appRole+" TEMPLATE "+template); err != nil {
			return fmt.Errorf("create database: %w", err)
		}
		return nil
	})
	role := appRole
	if cfg.superuser {
		role = adminRole
	}
	return c.dsn(role, name), err
}

// preparedTemplate returns the name of the database that
// [PostgresCopiedFrom] copies, which it fills when it is asked for first.
func (c *cluster) preparedTemplate(ctx context.Context, cfg postgresConfig) (string, error) {
	c.templates.Lock()
	defer c.templates.Unlock()
	name := "template_" + cfg.template
	if c.prepared[name] {
		return name, nil
	}
	err := c.admin(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+appRole+" TEMPLATE template0")
		return err
	})
	if err == nil {
		err = cfg.prepare(c.dsn(appRole, name))
	}
	if err != nil {
		return "", fmt.Errorf("prepare database %s: %w", name, err)
	}
	if c.prepared == nil {
		c.prepared = map[string]bool{}
	}
	c.prepared[name] = true
	return name, nil
}

func (c *cluster) newDatabase(t testing.TB, cfg postgresConfig) (dsn string) {
	t.Helper()
	dsn, err := c.createDatabase(t.Context(), cfg)
	if err != nil {
		t.Fatalf("testenv: %v\n%s", err, c.proc().out.tail(shownOutput))
	}
	name := strings.TrimSuffix(filepath.Base(dsn), "?sslmode=disable")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
		defer cancel()
		err := c.admin(ctx, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
			return err
		})
		if err != nil {
			t.Errorf("testenv: drop the test's database: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the test binary's PostgreSQL:\n%s", c.proc().out.tail(shownOutput))
		}
	})
	return dsn
}
