package peers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// agentFile is the agent; its tool changes something, so it needs an approval
// unless the session gives it beforehand.
const agentFile = `version: "3"
agents:
  root:
    model: outside
    description: An agent to be measured.
    toolsets:
      - type: api
        api_config:
          name: work
          instruction: Works.
          method: POST
          endpoint: %[1]s/tool
          args:
            run: { type: string }
            step: { type: string }
          required: [run, step]
models:
  outside:
    provider: ollama
    model: peer
    base_url: %[1]s/v1
`

type holdfastSystem struct {
	b        *testing.B
	client   *client.Client
	programs []*testenv.Process
	workers  []*testenv.Process // the hosted installation's
	env      []string

	mu       sync.Mutex
	sessions map[string]string // by run
}

func holdfastAgents(b *testing.B, s *service) (dir string) {
	b.Helper()
	dir = b.TempDir()
	text := fmt.Sprintf(agentFile, s.URL)
	if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return dir
}

func (h *holdfastSystem) connect(addr string) {
	h.b.Helper()
	transport := &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}
	h.b.Cleanup(transport.CloseIdleConnections)
	var err error
	if h.client, err = client.New("http://"+addr, client.WithHTTPClient(&http.Client{Transport: transport})); err != nil {
		h.b.Fatal(err)
	}
}

// newHoldfast is `holdfast dev`: one process, NATS and SQLite embedded.
func newHoldfast(b *testing.B, s *service) system {
	b.Helper()
	h := &holdfastSystem{b: b, sessions: map[string]string{}}
	p := testenv.Start(b, testenv.Build(b, "./cmd/holdfast"), nil, "dev",
		"--listen", "127.0.0.1:0", "--data", filepath.Join(b.TempDir(), "data"), "--agents", holdfastAgents(b, s))
	_, addr, _ := strings.Cut(p.WaitLog("http://"), "http://")
	h.programs = append(h.programs, p)
	h.connect(strings.TrimSpace(addr))
	return h
}

// newHosted is an API process, a worker, nats-server and Postgres.
func newHosted(b *testing.B, s *service) system {
	b.Helper()
	host, err := url.Parse(s.URL)
	if err != nil {
		b.Fatal(err)
	}
	h := &holdfastSystem{b: b, sessions: map[string]string{}}
	h.env = []string{
		"HOLDFAST_NATS_URL=" + testenv.NewNATSProcess(b).URL(), "HOLDFAST_DATABASE_URL=" + testenv.Postgres(b, testenv.PostgresDurable),
		"HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_AGENTS=" + holdfastAgents(b, s), "HOLDFAST_EGRESS_ALLOW=" + host.Host,
	}
	migrate := testenv.Start(b, testenv.Build(b, "./cmd/holdfast"), h.env, "migrate")
	if err := migrate.Wait(); err != nil {
		b.Fatalf("holdfast migrate: %v\n%s", err, migrate.Output())
	}
	api := testenv.Start(b, testenv.Build(b, "./cmd/api"), h.env)
	_, addr, _ := strings.Cut(api.WaitLog("msg=ready"), "listen=")
	addr, _, _ = strings.Cut(addr, " ")
	h.programs = append(h.programs, api)
	h.addWorker()
	h.connect(strings.TrimSpace(addr))
	return h
}

func (h *holdfastSystem) addWorker() {
	p := testenv.Start(h.b, testenv.Build(h.b, "./cmd/worker"), h.env)
	p.WaitLog("msg=ready")
	h.workers = append(h.workers, p)
}

func (h *holdfastSystem) start(ctx context.Context, id, text string) error {
	s, err := h.client.CreateSession(ctx, client.NewSession{Agent: "agent", ToolsApproved: !waits(text)})
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.sessions[id] = s.ID
	h.mu.Unlock()
	_, err = h.client.StartRun(ctx, s.ID, client.NewRun{Messages: []client.Message{{Content: strings.TrimSuffix(text, " ask")}}})
	return err
}

func (h *holdfastSystem) approve(ctx context.Context, id string) error {
	h.mu.Lock()
	session := h.sessions[id]
	h.mu.Unlock()
	doc, err := h.client.GetSession(ctx, session)
	if err != nil {
		return err
	}
	if len(doc.Pending) != 1 {
		return fmt.Errorf("%s waits for %d decisions", id, len(doc.Pending))
	}
	_, err = h.client.Decide(ctx, session, doc.Pending[0].ToolCall.ID, client.Decision{Decision: client.ResumeTypeApprove})
	return err
}

func (h *holdfastSystem) processes() []*testenv.Process { return append(h.programs, h.workers...) }

func (h *holdfastSystem) fail() {
	h.addWorker()
	pause(2 * time.Second)
	h.workers[0].Kill()
	h.workers = h.workers[1:]
}
