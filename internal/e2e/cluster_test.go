package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// cluster is a deployment: servers, and processes of ours that use them. Its
// methods are for the test's goroutine.
type cluster struct {
	t    testing.TB
	bin  programs
	nats *testenv.NATSProcess
	// pg is the test's own Postgres, nil if it shares one with other tests.
	pg     *testenv.PostgresServer
	dsn    string
	agents string // folder
	env    []string

	apis, workers []*node
	started       int // nodes so far
}

// node is one process of ours and those that took its place.
type node struct {
	c       *cluster
	name    string
	bin     string
	env     []string
	address string

	// other is the same program of another version, "" for none: each start takes
	// one of them.
	other  string
	struck bool // what was done to it is not over; for the test's goroutine

	mu   sync.Mutex // guards proc and gone
	proc *testenv.Process
	gone []*testenv.Process // those before it
}

// setup says what a cluster has that is not as usual.
type setup struct {
	programs     func(testing.TB) programs // default: release
	apis         int                       // default: 1
	workers      int                       // default: 2
	ownPostgres  bool                      // one that can be stopped
	notMigrated  bool
	env          []string // of api and worker
	tools        *effects // the server of tools that workers may reach, nil for none
	files        map[string]string
	leaveStopped bool     // start no process of ours
	others       programs // of another version, for some starts of processes
}

// newCluster starts nats-server, Postgres, and the processes, and waits until
// they are ready.
func newCluster(t testing.TB, s setup) *cluster {
	t.Helper()
	if s.programs == nil {
		s.programs = release
	}
	if s.apis == 0 {
		s.apis = 1
	}
	if s.workers == 0 {
		s.workers = 2
	}
	c := &cluster{t: t, bin: s.programs(t), nats: testenv.NewNATSProcess(t), agents: t.TempDir(), env: s.env}
	if s.tools != nil {
		u, err := url.Parse(s.tools.url)
		if err != nil {
			t.Fatal(err)
		}
		c.env = append(c.env, "HOLDFAST_EGRESS_ALLOW="+u.Host) // it is on this machine
	}
	if s.ownPostgres {
		c.pg = testenv.NewPostgres(t)
		c.dsn = c.pg.DSN()
	} else {
		c.dsn = testenv.Postgres(t)
	}
	for name, text := range s.files {
		c.writeAgent(name, text)
	}
	if !s.notMigrated {
		c.migrate()
	}
	for range s.apis {
		n := c.node("api", c.bin.api)
		n.other = s.others.api
		c.apis = append(c.apis, n)
	}
	for range s.workers {
		n := c.node("worker", c.bin.worker)
		n.other = s.others.worker
		c.workers = append(c.workers, n)
	}
	if s.leaveStopped {
		return c
	}
	for _, n := range c.nodes() {
		n.launch()
	}
	for _, n := range c.nodes() {
		n.awaitReady()
	}
	return c
}

func (c *cluster) nodes() []*node { return slices.Concat(c.apis, c.workers) }

func (c *cluster) migrate() {
	c.t.Helper()
	p := testenv.Start(c.t, c.bin.holdfast, []string{"HOLDFAST_DATABASE_URL=" + c.dsn}, "migrate")
	if err := p.Wait(); err != nil {
		c.t.Fatalf("holdfast migrate: %v\n%s", err, p.Output())
	}
}

// writeAgent puts an agent file into the folder that all processes read.
func (c *cluster) writeAgent(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.agents, name), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// node makes a process that is not started yet. Its name is unique and, for a
// worker, what session_claimed events begin with.
func (c *cluster) node(kind, bin string) *node {
	c.t.Helper()
	c.started++
	n := &node{c: c, name: fmt.Sprintf("%s%d", kind, c.started), bin: bin, address: freeAddress(c.t)}
	n.env = append([]string{
		"HOLDFAST_NATS_URL=" + c.nats.URL(),
		"HOLDFAST_DATABASE_URL=" + c.dsn,
		"HOLDFAST_AGENTS=" + c.agents,
		"HOLDFAST_LISTEN=" + n.address,
		"HOLDFAST_WORKER_ID=" + n.name,
	}, c.env...)
	return n
}

// addWorker starts one more worker.
func (c *cluster) addWorker() *node {
	c.t.Helper()
	n := c.node("worker", c.bin.worker)
	c.workers = append(c.workers, n)
	n.launch()
	n.awaitReady()
	return n
}

func (n *node) launch() {
	n.c.t.Helper()
	bin := n.bin
	if n.other != "" && rand.IntN(2) == 0 {
		bin = n.other
	}
	p := testenv.Start(n.c.t, bin, n.env)
	n.mu.Lock()
	if n.proc != nil {
		n.gone = append(n.gone, n.proc)
	}
	n.proc = p
	n.mu.Unlock()
}

// output is what all processes of the node have written.
func (n *node) output() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for _, p := range append(n.gone[:len(n.gone):len(n.gone)], n.proc) {
		b.WriteString(p.Output())
	}
	return b.String()
}

func (n *node) process() *testenv.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *node) awaitReady() {
	n.c.t.Helper()
	n.process().WaitLog("msg=ready")
}

// terminate ends the process as a deploy does and returns how long that took.
func (n *node) terminate() time.Duration {
	n.c.t.Helper()
	began := time.Now()
	p := n.process()
	p.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		n.c.t.Errorf("%s did not stop cleanly on SIGTERM: %v", n.name, err)
	}
	return time.Since(began)
}

func (n *node) url() string { return "http://" + n.address }

// client returns a client of the first API process.
func (c *cluster) client(opts ...client.Option) *client.Client {
	c.t.Helper()
	return newClient(c.t, c.apis[0].url(), opts...)
}

func newClient(t testing.TB, url string, opts ...client.Option) *client.Client {
	t.Helper()
	cl, err := client.New(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// owner returns the worker that a session_claimed event names.
func (c *cluster) owner(worker string) *node {
	c.t.Helper()
	for _, n := range c.workers {
		if strings.HasPrefix(worker, n.name+"-") {
			return n
		}
	}
	c.t.Fatalf("no worker of this cluster is called %q", worker)
	return nil
}

// status returns the HTTP status that the node answers a GET with, 0 for none.
func (n *node) status(path string) int {
	resp, err := http.Get(n.url() + path)
	if err != nil {
		return 0
	}
	if err := resp.Body.Close(); err != nil {
		return 0
	}
	return resp.StatusCode
}

// await polls for what gives no signal.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	timeout := time.After(waitLimit)
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

// waitLimit is how long a test waits for anything before it gives up.
const waitLimit = 60 * time.Second
