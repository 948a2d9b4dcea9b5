package peers

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

const (
	taskQueue = "agents"
	// temporalVersion is of Temporal's command, which has the server in it: the last
	// that can be installed as a Go module.
	temporalVersion = "v1.5.1"
)

// temporalAgent is the loop as a workflow. A model call may take ten seconds;
// heartbeats tell in two that its worker is gone. Without them it would be ten.
func temporalAgent(ctx workflow.Context, text string) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		HeartbeatTimeout:    2 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond},
	})
	conversation := []message{{Role: "user", Content: strings.TrimSuffix(text, " ask")}}
	for {
		var said message
		if err := workflow.ExecuteActivity(ctx, "Model", conversation).Get(ctx, &said); err != nil {
			return err
		}
		conversation = append(conversation, said)
		if len(said.ToolCalls) == 0 {
			return nil
		}
		for _, c := range said.ToolCalls {
			if waits(text) {
				workflow.GetSignalChannel(ctx, "approve").Receive(ctx, nil)
			}
			var result message
			if err := workflow.ExecuteActivity(ctx, "Tool", c).Get(ctx, &result); err != nil {
				return err
			}
			conversation = append(conversation, result)
		}
	}
}

// activities are what its worker does outside.
type activities struct{ service string }

func (a *activities) Model(ctx context.Context, conversation []message) (message, error) {
	defer beating(ctx)()
	return ask(ctx, a.service, conversation)
}

func (a *activities) Tool(ctx context.Context, c toolCall) (message, error) {
	defer beating(ctx)()
	return work(ctx, a.service, c)
}

// beating heartbeats until the returned function is called.
func beating(ctx context.Context) (stop func()) {
	t := time.NewTicker(500 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-t.C:
				activity.RecordHeartbeat(ctx)
			case <-done:
				return
			}
		}
	}()
	return func() { t.Stop(); close(done) }
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(m string, kv ...any) {
	if !strings.Contains(fmt.Sprint(m), "Activity error") {
		log.Println(append([]any{m}, kv...)...)
	}
}

var _ tlog.Logger = quiet{}

func temporalClient(addr string) (client.Client, error) {
	return client.Dial(client.Options{HostPort: addr, Logger: quiet{}})
}

func temporalWorker() {
	c, err := temporalClient(os.Getenv("PEERS_SERVER"))
	if err != nil {
		log.Fatal(err)
	}
	w := worker.New(c, taskQueue, worker.Options{})
	w.RegisterWorkflow(temporalAgent)
	w.RegisterActivity(&activities{os.Getenv("PEERS_SERVICE")})
	if err := w.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	<-worker.InterruptCh()
}

// temporalServer builds Temporal's command, with the versions that it names
// itself; for the first time that takes minutes.
func temporalServer(b *testing.B) (path string) {
	b.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(cache, "holdfast-peers", temporalVersion)
	path = filepath.Join(dir, "temporal")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "install", "github.com/temporalio/cli/cmd/temporal@"+temporalVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("building Temporal's server: %v\n%s", err, out)
	}
	return path
}

type temporalSystem struct {
	b       *testing.B
	client  client.Client
	server  *testenv.Process
	env     []string
	workers []*testenv.Process
}

// newTemporal is its development server with one worker. Its database is set to
// survive the death of the process without a sync for each transaction, which is
// quicker than its default and what `holdfast dev` promises of its stream.
func newTemporal(b *testing.B, s *service) system {
	b.Helper()
	bin := temporalServer(b)
	addr := freeAddr(b)
	_, port, _ := net.SplitHostPort(addr)
	t := &temporalSystem{b: b, env: []string{"PEERS_SERVER=" + addr, "PEERS_SERVICE=" + s.URL}}
	t.server = testenv.Start(b, bin, nil, "server", "start-dev", "--ip", "127.0.0.1", "--port", port, "--headless",
		"--db-filename", filepath.Join(b.TempDir(), "temporal.db"), "--log-level", "error",
		"--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
	until(b, "Temporal's server", func() (err error) {
		t.client, err = temporalClient(addr)
		return err
	})
	b.Cleanup(t.client.Close)
	t.workers = append(t.workers, role(b, "temporal", t.env...))
	return t
}

func (t *temporalSystem) start(ctx context.Context, id, text string) error {
	_, err := t.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: taskQueue}, temporalAgent, text)
	return err
}

func (t *temporalSystem) approve(ctx context.Context, id string) error {
	return t.client.SignalWorkflow(ctx, id, "", "approve", nil)
}

func (t *temporalSystem) processes() []*testenv.Process {
	return append([]*testenv.Process{t.server}, t.workers...)
}

func (t *temporalSystem) fail() {
	t.workers = append(t.workers, role(t.b, "temporal", t.env...))
	pause(2 * time.Second)
	t.workers[0].Kill()
	t.workers = t.workers[1:]
}
