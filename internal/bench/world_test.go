package bench

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// Sizes of the scenarios.
var (
	inProcess   = flag.Bool("inprocess", false, "run API, worker and recorder in the test process, for profiles (-cpuprofile, -memprofile)")
	repetitions = flag.Int("reps", 3, "repetitions of throughput scenarios; the median counts")
	kills       = flag.Int("kills", 20, "workers to kill, and to freeze and to drain a quarter of it each")
	parkedCount = flag.Int("parked", 10_000, "sessions to park")
)

// world is a whole installation.
type world struct {
	b       *testing.B
	nats    *testenv.NATSProcess
	dsn     string
	db      *pgxpool.Pool
	agents  string // folder of agent files
	addr    string // of the API
	http    *http.Client
	client  *client.Client
	env     []string
	workers map[string]*testenv.Process // by name
	started int
}

// newWorld starts the servers, an API process and so many worker processes. Agent
// files must be written before a run names them.
func newWorld(b *testing.B, workers int) *world {
	b.Helper()
	w := newServers(b)
	if *inProcess {
		w.addr = w.run(app.Roles{API: true, Worker: true, Recorder: true}, "all")
	} else {
		api := testenv.Start(b, testenv.Build(b, "./cmd/api"), w.env)
		w.addr = listenAddr(api)
		for range workers {
			w.addWorker()
		}
	}
	w.connect()
	return w
}

// newServers starts NATS and Postgres alone.
func newServers(b *testing.B) *world {
	b.Helper()
	w := &world{
		b: b, nats: testenv.NewNATSProcess(b), dsn: testenv.Postgres(b, testenv.PostgresDurable),
		agents: b.TempDir(), workers: map[string]*testenv.Process{},
	}
	if err := pgstore.Migrate(b.Context(), w.dsn, pgstore.Options{}); err != nil {
		b.Fatal(err)
	}
	cfg, err := pgxpool.ParseConfig(w.dsn)
	if err != nil {
		b.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["holdfast.tenant"] = "*" // row level security lets everything through
	if w.db, err = pgxpool.NewWithConfig(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(w.db.Close)
	w.env = []string{
		"HOLDFAST_NATS_URL=" + w.nats.URL(), "HOLDFAST_DATABASE_URL=" + w.dsn,
		"HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_AGENTS=" + w.agents,
	}
	return w
}

// connect makes the clients for w.addr.
func (w *world) connect() {
	w.b.Helper()
	w.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512, MaxIdleConns: 512}}
	w.b.Cleanup(w.http.CloseIdleConnections)
	var err error
	if w.client, err = client.New("http://"+w.addr, client.WithHTTPClient(w.http)); err != nil {
		w.b.Fatal(err)
	}
}

// run runs roles in this process until the benchmark ends.
func (w *world) run(roles app.Roles, name string) (addr string) {
	w.b.Helper()
	cfg, err := config.Load(append(w.env, "HOLDFAST_WORKER_ID="+name))
	if err != nil {
		w.b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.b.Context()))
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, cfg, roles, app.Options{Name: "bench", Version: "bench", Hosted: true, DrainGrace: time.Second, Ready: func(addr string) { ready <- addr }})
	}()
	w.b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.b.Error(err)
		}
	})
	select {
	case addr = <-ready:
	case err := <-done:
		done <- err
		w.b.Fatal("the program ended")
	}
	return addr
}

// addWorker starts a worker process and returns its name when it works.
func (w *world) addWorker() string {
	w.b.Helper()
	w.started++
	name := fmt.Sprintf("bench%d", w.started)
	p := testenv.Start(w.b, testenv.Build(w.b, "./cmd/worker"), append(w.env, "HOLDFAST_WORKER_ID="+name))
	p.WaitLog("msg=ready")
	w.workers[name] = p
	return name
}

// listenAddr reads the address out of a program's log.
func listenAddr(p *testenv.Process) string {
	line := p.WaitLog("msg=ready")
	_, addr, _ := strings.Cut(line, "listen=")
	addr, _, _ = strings.Cut(addr, " ")
	return addr
}

// agent writes the file of a scripted agent; turns is YAML.
func (w *world) agent(name, turns string) {
	w.b.Helper()
	w.file(name+".yaml", `version: "2"
agents:
  root:
    model: m
    description: Answers from a script, for benchmarks.
    instruction: You are a benchmark.
    toolsets:
      - type: think
      - type: memory
models:
  m:
    provider: scripted
    model: `+name+`
    provider_opts:
      script: `+name+`.script
`)
	w.file(name+".script", "title: Benchmark\nturns:\n"+turns)
}

func (w *world) file(name, text string) {
	w.b.Helper()
	if err := os.WriteFile(filepath.Join(w.agents, name), []byte(text), 0o644); err != nil {
		w.b.Fatal(err)
	}
}

// streamer is an agent that says so many words with a pause between them.
func (w *world) streamer(words int, delay time.Duration) (name string) {
	w.b.Helper()
	name = "say" + strconv.Itoa(words) + "x" + strconv.Itoa(int(delay.Microseconds()))
	w.agent(name, fmt.Sprintf("  - { say_words: %d, delay: %s }\n", words, delay))
	return name
}

// create makes sessions and returns their ids.
func (w *world) create(n int, agent string) []string {
	w.b.Helper()
	ids := make([]string, n)
	w.each(n, 32, func(i int) error {
		s, err := w.client.CreateSession(w.b.Context(), client.NewSession{Agent: agent})
		if err == nil {
			ids[i] = s.ID
		}
		return err
	})
	return ids
}

// start begins a run.
func (w *world) start(session, text string) (client.Settled, error) {
	return w.client.StartRun(w.b.Context(), session, client.NewRun{Messages: []client.Message{{Content: text}}})
}

// each calls fn for 0 to n-1, some at the same time, and fails the benchmark on
// the first error.
func (w *world) each(n, concurrently int, fn func(i int) error) {
	w.b.Helper()
	next := make(chan int)
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for range min(n, concurrently) {
		wg.Go(func() {
			for i := range next {
				if err := fn(i); err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		w.b.Fatal(err)
	default:
	}
}

// recorded is how many events of all sessions Postgres has.
func (w *world) recorded() (events uint64) {
	w.b.Helper()
	if err := w.db.QueryRow(w.b.Context(), "SELECT coalesce(sum(head_seq), 0)::bigint FROM sessions").Scan(&events); err != nil {
		w.b.Fatal(err)
	}
	return events
}

// waitRecorded returns when Postgres has so many events of all sessions.
func (w *world) waitRecorded(events uint64) {
	w.b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w.recorded() < events {
		<-tick.C
	}
}

func (w *world) dial() (net.Conn, error) { return net.Dial("tcp", w.addr) }
