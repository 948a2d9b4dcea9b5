package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
)

// NATS starts an embedded server with JetStream on a free loopback port and a
// folder of the test's own, and stops it when the test ends.
func NATS(t testing.TB) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{
		SyncInterval: servertest.SyncInterval,
		Name:         "test",
		StoreDir:     filepath.Join(t.TempDir(), "nats"),
		Listen:       "127.0.0.1:0",
	})
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	return s
}

// NATSProcess is the nats-server program, running as a process with JetStream.
// All methods but Start may be called from any goroutine.
type NATSProcess struct {
	t       testing.TB
	bin     string
	config  string
	url     string
	process atomic.Pointer[Process]
}

// NATSOption changes the server of [NewNATSProcess].
type NATSOption func(*strings.Builder)

// NATSConfig adds lines to the server's configuration file, such as
// "max_payload: 8MB".
func NATSConfig(lines string) NATSOption {
	return func(b *strings.Builder) { b.WriteString(lines + "\n") }
}

// NewNATSProcess builds nats-server, in the version that this module requires,
// unless that was done before, and starts it on a folder and port of the test's
// own. It ends with the test.
func NewNATSProcess(t testing.TB, opts ...NATSOption) *NATSProcess {
	t.Helper()
	bin, err := natsServer()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	dir := t.TempDir()
	port, err := freePort()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	var config strings.Builder
	fmt.Fprintf(&config, "server_name: test\nlisten: \"127.0.0.1:%d\"\n", port)
	fmt.Fprintf(&config, "jetstream { store_dir: %q, sync_interval: \"1s\" }\n", filepath.Join(dir, "store"))
	for _, o := range opts {
		o(&config)
	}
	s := &NATSProcess{
		t:      t,
		bin:    bin,
		config: filepath.Join(dir, "nats.conf"),
		url:    fmt.Sprintf("nats://127.0.0.1:%d", port),
	}
	if err := os.WriteFile(s.config, []byte(config.String()), 0o600); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	s.Start()
	return s
}

// URL is the server's address; it stays the same over restarts.
func (s *NATSProcess) URL() string { return s.url }

// Start starts a stopped or killed server on the same folder and port and waits
// until its streams are recovered and it takes connections.
func (s *NATSProcess) Start() {
	s.t.Helper()
	p := Start(s.t, s.bin, nil, "-c", s.config)
	s.process.Store(p)
	p.WaitLog("Server is ready")
}

// Stop shuts the server down in an orderly way and waits until it is gone.
func (s *NATSProcess) Stop() {
	s.t.Helper()
	s.process.Load().Signal(syscall.SIGTERM)
	s.process.Load().awaitExit()
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (s *NATSProcess) Kill() { s.t.Helper(); s.process.Load().Kill() }

// Pause freezes the server: connections stay open and nothing answers.
func (s *NATSProcess) Pause() { s.t.Helper(); s.process.Load().Pause() }

// Resume lets a paused server go on.
func (s *NATSProcess) Resume() { s.t.Helper(); s.process.Load().Resume() }

// Log is what the server has written since its last start.
func (s *NATSProcess) Log() string { return s.process.Load().Output() }
