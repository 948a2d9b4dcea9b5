package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, sql string) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestPostgresGivesEachCallAnEmptyDatabase(t *testing.T) {
	first := connect(t, testenv.Postgres(t))
	mustExec(t, first, "CREATE TABLE t (x int)")
	began := time.Now()
	second := connect(t, testenv.Postgres(t))
	t.Logf("second database after %s", time.Since(began))
	mustExec(t, second, "CREATE TABLE t (x int)")
	if super := query[bool](t, second, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"); super {
		t.Error("the role is a superuser: row level security is not tested")
	}
	if got := query[string](t, second, "SHOW fsync"); got != "off" {
		t.Errorf("fsync is %s", got)
	}
}

func TestPostgresInParallel(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			mustExec(t, connect(t, testenv.Postgres(t)), "CREATE TABLE t (x int)")
		})
	}
}

func TestPostgresOptions(t *testing.T) {
	conn := connect(t, testenv.Postgres(t, testenv.PostgresDurable, testenv.PostgresSuperuser))
	if got := query[string](t, conn, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	if !query[bool](t, conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") {
		t.Error("the role is no superuser")
	}
}

func TestPostgresOutages(t *testing.T) {
	server := testenv.NewPostgres(t)
	conn := connect(t, server.DSN())
	mustExec(t, conn, "CREATE TABLE t (x int)")
	mustExec(t, conn, "INSERT INTO t VALUES (1)")

	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server answers: %v", err)
	}
	server.Resume()

	for name, down := range map[string]func(){"killed": server.Kill, "stopped": server.Stop} {
		down()
		if _, err := pgx.Connect(t.Context(), server.DSN()); err == nil {
			t.Errorf("a %s server takes connections", name)
		}
		server.Start()
		if got := query[int](t, connect(t, server.DSN()), "SELECT count(*) FROM t"); got != 1 {
			t.Errorf("%d rows after the server was %s, want 1", got, name)
		}
	}
}

func natsStream(t *testing.T, url string) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	return js, st
}

func TestNATSEmbedded(t *testing.T) {
	js, _ := natsStream(t, testenv.NATS(t).URL())
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
}

func TestNATSProcessOutages(t *testing.T) {
	server := testenv.NewNATSProcess(t, testenv.NATSConfig("max_payload: 2MB"))
	js, _ := natsStream(t, server.URL())
	if got := js.Conn().MaxPayload(); got != 2<<20 {
		t.Errorf("max payload %d: the added configuration is not in force", got)
	}
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := js.Publish(ctx, "s", nil); err == nil {
		t.Error("a paused server acknowledges")
	}
	server.Resume()
	for name, down := range map[string]func(){"killed": server.Kill, "stopped": server.Stop} {
		_, before := natsStream(t, server.URL())
		down()
		if nc, err := nats.Connect(server.URL()); err == nil {
			nc.Close()
			t.Errorf("a %s server takes connections", name)
		}
		server.Start()
		_, after := natsStream(t, server.URL())
		if got, want := after.CachedInfo().State.Msgs, before.CachedInfo().State.Msgs; got < want {
			t.Errorf("%d messages after the server was %s, before %d", got, name, want)
		}
	}
}

func TestProcess(t *testing.T) {
	t.Setenv("HOLDFAST_OF_THE_DEVELOPER", "leaks")
	p := testenv.Start(t, "/bin/sh", []string{"GREETING=hello"}, "-c",
		`trap 'echo bye >&2; exit 3' TERM; echo "$GREETING${HOLDFAST_OF_THE_DEVELOPER:-, }world"; while :; do sleep 0.05; done`)
	if line := p.WaitLog("world"); line != "hello, world" {
		t.Errorf("first line %q", line)
	}
	p.Signal(syscall.SIGTERM)
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want exit code 3", err)
	}
	if got := p.Output(); got != "hello, world\nbye\n" {
		t.Errorf("output %q", got)
	}
}

func TestProcessIsKilledWhilePaused(t *testing.T) {
	p := testenv.Start(t, "/bin/sh", nil, "-c", `sleep 1000 & echo up; wait`)
	p.WaitLog("up")
	p.Pause()
	p.Kill()
	select {
	case <-p.Done():
	default:
		t.Error("Kill returned before the process was gone")
	}
}

func TestBuild(t *testing.T) {
	bin := testenv.Build(t, "./internal/testenv/testdata/hello")
	if again := testenv.Build(t, "./internal/testenv/testdata/hello"); again != bin {
		t.Errorf("built twice: %s and %s", bin, again)
	}
	p := testenv.Start(t, bin, nil)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if p.Output() != "hello\n" {
		t.Errorf("output %q", p.Output())
	}
}

func TestLeakOptionsPassOverTheSharedServer(t *testing.T) {
	testenv.Postgres(t)
	if err := leaktest.Find(testenv.LeakOptions()...); err != nil {
		t.Error(err)
	}
}

// victim makes TestVictim start everything and then wait to be killed.
const victim = "TESTENV_VICTIM"

func TestVictim(t *testing.T) {
	if os.Getenv(victim) == "" {
		return
	}
	conn := connect(t, testenv.Postgres(t))
	own := testenv.NewPostgres(t)
	p := testenv.Start(t, "/bin/sleep", nil, "1000")
	natsd := testenv.NewNATSProcess(t)
	fmt.Printf("pid %d\n", p.PID())
	fmt.Printf("pid %d\n", query[int](t, conn, "SELECT pg_backend_pid()"))
	fmt.Printf("pid %d\n", query[int](t, connect(t, own.DSN()), "SELECT pg_backend_pid()"))
	fmt.Printf("dir %s\n", filepath.Dir(query[string](t, connect(t, testenv.Postgres(t, testenv.PostgresSuperuser)), "SHOW data_directory")))
	own.Pause()
	natsd.Pause()
	fmt.Println("ready")
	<-t.Context().Done()
}

// TestNothingOutlivesAKilledTestBinary kills another test binary with SIGKILL
// and looks whether its processes and files go.
func TestNothingOutlivesAKilledTestBinary(t *testing.T) {
	p := testenv.Start(t, os.Args[0], []string{victim + "=yes", "TMPDIR=" + t.TempDir()}, "-test.run=^TestVictim$")
	p.WaitLog("ready")
	var pids []int
	var dir string
	for line := range strings.Lines(p.Output()) {
		var pid int
		if n, _ := fmt.Sscanf(line, "pid %d", &pid); n == 1 {
			pids = append(pids, pid)
		}
		if rest, ok := strings.CutPrefix(line, "dir "); ok {
			dir = strings.TrimSpace(rest)
		}
	}
	if len(pids) != 3 || dir == "" {
		t.Fatalf("output of the other test binary:\n%s", p.Output())
	}
	p.Kill()
	await(t, "its files are removed", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
	for _, pid := range pids {
		await(t, fmt.Sprintf("process %d ends", pid), func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}

// await polls: the end of somebody else's process gives no signal.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
