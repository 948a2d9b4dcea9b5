package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
)

// publisherDir makes the test binary run as a process that publishes to an
// embedded server in that folder until it is killed.
const publisherDir = "SERVER_TEST_PUBLISHER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(publisherDir); dir != "" {
		if err := publishForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// publishForever prints each sequence number once its message is acknowledged.
func publishForever(dir string) error {
	ctx := context.Background()
	s, err := server.Start(ctx, server.Config{StoreDir: dir})
	if err != nil {
		return err
	}
	js, err := jetStream(s)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, stream(1)); err != nil {
		return err
	}
	for {
		ack, err := js.Publish(ctx, "log.a", []byte("payload"))
		if err != nil {
			return err
		}
		fmt.Println(ack.Sequence)
	}
}

func stream(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "LOG", Subjects: []string{"log.>"}, Replicas: replicas}
}

func jetStream(s *server.Server) (jetstream.JetStream, error) {
	nc, err := s.Connect()
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}

func start(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *server.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func messages(t *testing.T, s *server.Server) uint64 {
	t.Helper()
	js, err := jetStream(s)
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	st, err := js.Stream(t.Context(), "LOG")
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().State.LastSeq
}

func TestInProcessOnlyKeepsItsStreamsOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "start")
	s := start(t, server.Config{StoreDir: dir})
	if url := s.URL(); url != "" {
		t.Errorf("a server without Listen has the address %q", url)
	}
	js, err := jetStream(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), stream(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "log.a", nil); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	if got := messages(t, start(t, server.Config{StoreDir: dir})); got != 1 {
		t.Errorf("last sequence after the restart is %d, want 1", got)
	}
}

func TestListensOnTheAddressItTells(t *testing.T) {
	s := start(t, server.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", MaxPayload: 2 << 20})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.MaxPayload(); got != 2<<20 {
		t.Errorf("max payload %d, want the configured 2 MiB", got)
	}
	if nc.ConnectedServerName() != server.DefaultName {
		t.Errorf("server name %q, want %q", nc.ConnectedServerName(), server.DefaultName)
	}
}

func TestFolderInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := start(t, server.Config{StoreDir: dir})
	_, err := server.Start(t.Context(), server.Config{StoreDir: dir})
	if !errors.Is(err, server.ErrInUse) {
		t.Fatalf("second server on the folder: %v, want ErrInUse", err)
	}
	if want := fmt.Sprintf("process %d", os.Getpid()); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not name the folder and %q", err, want)
	}
	stop(t, s)
	stop(t, start(t, server.Config{StoreDir: dir}))
}

func TestBadConfigIsRefusedAndLeavesTheFolderFree(t *testing.T) {
	dir := t.TempDir()
	taken := start(t, server.Config{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	for _, c := range []struct {
		cfg  server.Config
		want string
	}{
		{server.Config{}, "StoreDir is empty"},
		{server.Config{StoreDir: dir, Listen: "nowhere"}, "missing port"},
		{server.Config{StoreDir: dir, Listen: "localhost:http"}, "is not a number"},
		{server.Config{StoreDir: dir, Listen: strings.TrimPrefix(taken.URL(), "nats://")}, "address already in use"},
		{server.Config{StoreDir: dir, Name: "a", Cluster: server.Cluster{Name: "c"}}, "a cluster needs"},
		{server.Config{StoreDir: dir, Name: "with space"}, "spaces"},
	} {
		_, err := server.Start(t.Context(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %q", c.cfg, err, c.want)
		}
	}
	start(t, server.Config{StoreDir: dir})
}

func TestStartEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("changed my mind")
	cancel(cause)
	s, err := server.Start(ctx, server.Config{StoreDir: dir})
	if err == nil {
		// The server may have been quicker; then it runs and must be stopped.
		stop(t, s)
	} else if !errors.Is(err, cause) {
		t.Errorf("error %v does not carry the cause", err)
	}
	start(t, server.Config{StoreDir: dir})
}

func TestAcknowledgedMessagesSurviveSIGKILL(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), publisherDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked uint64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &acked); err != nil {
			t.Fatal(err)
		}
		if acked == 500 {
			// It is in the middle of more: kill is asynchronous and the loop above
			// reads on until the pipe closes, so acked is the last one printed.
			if _, err := server.Start(t.Context(), server.Config{StoreDir: dir}); !errors.Is(err, server.ErrInUse) {
				t.Errorf("start beside the other process: %v, want ErrInUse", err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || acked < 500 {
		t.Fatalf("the publisher ended by itself after %d: %v", acked, err)
	}
	if got := messages(t, start(t, server.Config{StoreDir: dir})); got < acked {
		t.Errorf("%d messages after SIGKILL, but %d were acknowledged", got, acked)
	}
}

func TestLogGoesToSlogAtSensibleLevels(t *testing.T) {
	var mu sync.Mutex
	levels := map[slog.Level]int{}
	h := handler(func(r slog.Record) {
		mu.Lock()
		defer mu.Unlock()
		levels[r.Level]++
	})
	stop(t, start(t, server.Config{StoreDir: t.TempDir(), Logger: slog.New(h)}))
	mu.Lock()
	defer mu.Unlock()
	if levels[slog.LevelDebug] == 0 {
		t.Error("nothing logged at level debug")
	}
	for _, l := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if levels[l] != 0 {
			t.Errorf("%d lines at level %v of an undisturbed start and stop", levels[l], l)
		}
	}
}

type handler func(slog.Record)

func (handler) Enabled(_ context.Context, l slog.Level) bool    { return l >= slog.LevelDebug }
func (h handler) Handle(_ context.Context, r slog.Record) error { h(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

func TestClusterSurvivesItsStreamLeader(t *testing.T) {
	began := time.Now()
	nodes := servertest.Cluster(t, 3)
	t.Logf("ready after %s", time.Since(began))
	js, err := jetstream.New(nodes.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), stream(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "log.a", nil); err != nil {
		t.Fatal(err)
	}
	leader := nodes.Leader("LOG")
	if leader < 0 {
		t.Fatal("the stream took a message and has no leader")
	}
	nodes.Stop(leader)
	ack, err := publishThroughElection(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	if ack.Sequence != 2 {
		t.Errorf("sequence %d after the change of leader, want 2", ack.Sequence)
	}
	nodes.Restart(leader)
}

// publishThroughElection publishes one message once: a publish to a stream that
// is electing its leader may be dropped, or done and not answered.
func publishThroughElection(ctx context.Context, js jetstream.JetStream) (ack *jetstream.PubAck, err error) {
	for range 20 {
		try, cancel := context.WithTimeout(ctx, time.Second)
		ack, err = js.Publish(try, "log.a", nil, jetstream.WithMsgID("second"), jetstream.WithRetryAttempts(20))
		cancel()
		if err == nil {
			break
		}
	}
	return ack, err
}
