package simtest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/recorder"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

const (
	// retention of frames in the simulation: less than publishes may be late and
	// processes may be frozen.
	retention = 3 * time.Second
	// startTimeout bounds, in the bubble's time, what has to work without faults.
	startTimeout = time.Minute
)

// World is everything that one seed simulates.
type World struct {
	t    testing.TB
	Seed uint64
	// Duration is how long faults go on, in the bubble's time.
	Duration time.Duration

	dir   string
	mu    sync.Mutex // guards what follows
	ns    *natsserver.Server
	rng   *rand.Rand
	acked map[holdfast.SessionRef]map[string]string // content → worker
	tried map[holdfast.SessionRef]map[string]bool
	count int
	stats Stats

	store    *sqlitestore.Store
	sessions []holdfast.SessionRef
}

// Stats say what a simulation came to, so that one can see that it did not
// idle.
type Stats struct {
	Events    int // in the logs at the end
	Acked     int // events that a worker heard to be stored
	Claims    int
	Conflicts int // claims that another worker won
	Lost      int // sessions that were taken from a writer
	Aged      int // claims of a session of which the bus had nothing any more
	Crashes   int // of workers in the middle of writing
	Recorders int // lives of recorders
	Restarts  int // of the server
	Frozen    int // workers that were stopped for a while
}

// Add sums up.
func (s *Stats) Add(o Stats) {
	s.Events += o.Events
	s.Acked += o.Acked
	s.Claims += o.Claims
	s.Conflicts += o.Conflicts
	s.Lost += o.Lost
	s.Aged += o.Aged
	s.Crashes += o.Crashes
	s.Recorders += o.Recorders
	s.Restarts += o.Restarts
	s.Frozen += o.Frozen
}

// Stats returns what has happened so far.
func (w *World) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *World) note(fn func(*Stats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(&w.stats)
}

// NewWorld makes a world in dir, which must be empty. Call it inside the bubble.
func NewWorld(t testing.TB, dir string, seed uint64) *World {
	w := &World{
		t: t, Seed: seed, dir: dir,
		rng:   rand.New(rand.NewPCG(seed, 1)),
		acked: map[holdfast.SessionRef]map[string]string{},
		tried: map[holdfast.SessionRef]map[string]bool{},
	}
	w.Duration = time.Duration(3+w.rng.IntN(12)) * time.Second
	for range 1 + w.rng.IntN(3) {
		ref := holdfast.SessionRef{Tenant: "acme", Session: fmt.Sprintf("s%d", len(w.sessions)+1)}
		w.sessions = append(w.sessions, ref)
		w.acked[ref], w.tried[ref] = map[string]string{}, map[string]bool{}
	}
	return w
}

// dice returns a generator for one actor, so that what one does moves nobody else's.
func (w *World) dice() *rand.Rand {
	w.mu.Lock()
	defer w.mu.Unlock()
	return rand.New(rand.NewPCG(w.Seed, w.rng.Uint64()))
}

func (w *World) startServer() {
	ns, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "sim", DontListen: true, JetStream: true, StoreDir: filepath.Join(w.dir, "nats"),
		NoSigs: true, NoLog: true, SyncInterval: time.Hour,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(startTimeout) {
		w.t.Fatal("the server does not start")
	}
	w.mu.Lock()
	w.ns = ns
	w.mu.Unlock()
}

func (w *World) stopServer() {
	w.mu.Lock()
	ns := w.ns
	w.ns = nil
	w.mu.Unlock()
	// First everybody is cut off, then what was asked is done, then the server
	// stops: it sleeps under a lock while it stops, for which others would wait in a
	// way that does not let a bubble's time pass.
	conns, err := ns.Connz(&natsserver.ConnzOptions{Limit: 1 << 16})
	if err != nil {
		w.t.Errorf("list the connections: %v", err)
	} else {
		for _, c := range conns.Conns {
			// Who has left by itself is an error that does not matter.
			_ = ns.DisconnectClientByID(c.Cid)
		}
	}
	time.Sleep(10 * time.Millisecond)
	ns.Shutdown()
	ns.WaitForShutdown()
}

// InProcessConn connects to the server that runs at the moment.
func (w *World) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ns == nil {
		return nil, nats.ErrNoServers
	}
	return w.ns.InProcessConn()
}

// process is a connection and a bus of one simulated process.
type process struct {
	nc  *nats.Conn
	bus *natsbus.Bus
}

func (w *World) newProcess(ctx context.Context, name string) (*process, error) {
	return w.newProcessThrough(ctx, name, w)
}

func (w *World) newProcessThrough(ctx context.Context, name string, dial nats.InProcessConnProvider) (*process, error) {
	nc, err := nats.Connect("", append(natsbus.Options(name, nil), nats.InProcessServer(dial))...)
	if err != nil {
		return nil, err
	}
	bus, err := natsbus.Open(ctx, nc, natsbus.Config{Shards: 1 + int(w.Seed%2), MaxBytes: 256 << 20})
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &process{nc, bus}, nil
}

// crash ends a process without a word: its connection is cut.
func (p *process) crash() {
	p.nc.Close()
	p.bus.Close()
}

func (w *World) openStore() {
	var err error
	w.store, err = sqlitestore.Open(context.Background(), filepath.Join(w.dir, "log.db"), sqlitestore.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Run simulates writers, readers and recorders, and checks.
func (w *World) Run() {
	w.startServer()
	w.openStore()
	defer w.store.Close()
	defer w.stopServer()

	ctx, cancel := context.WithTimeout(context.Background(), w.Duration)
	var wg sync.WaitGroup
	rng := w.dice()
	for i := range 2 + rng.IntN(4) {
		wg.Go(func() { w.worker(ctx, i) })
	}
	for range 1 + rng.IntN(2) {
		wg.Go(func() { w.reader(ctx) })
	}
	if rng.IntN(4) == 0 {
		wg.Go(func() { w.restarts(ctx) })
	}
	var recorders sync.WaitGroup
	calm, end := context.WithCancel(context.Background())
	for i := range 1 + rng.IntN(2) {
		recorders.Go(func() { w.recorders(ctx, calm, i) })
	}
	wg.Wait()
	cancel()
	if !w.t.Failed() {
		w.check()
	}
	end()
	recorders.Wait()
}

// restarts stops the server now and then and starts it again.
func (w *World) restarts(ctx context.Context) {
	rng := w.dice()
	for sleep(ctx, upTo(rng, 10*time.Second)) {
		w.note(func(s *Stats) { s.Restarts++ })
		w.stopServer()
		time.Sleep(upTo(rng, 2*time.Second))
		w.startServer()
	}
}

// recorders runs recorders one after the other, each until it crashes; after
// the faults one goes on until calm ends.
func (w *World) recorders(ctx, calm context.Context, i int) {
	rng := w.dice()
	for n := 0; calm.Err() == nil; n++ {
		life := calm
		faults := eventstest.Faults{}
		if ctx.Err() == nil {
			var cancel context.CancelFunc
			life, cancel = context.WithTimeout(ctx, upTo(rng, 8*time.Second))
			defer cancel()
			faults = eventstest.Faults{Lost: rng.IntN(200), Done: rng.IntN(200), Slow: rng.IntN(200), MaxDelay: time.Second}
		}
		p, err := w.newProcess(life, fmt.Sprintf("recorder-%d-%d", i, n))
		if err != nil {
			if life.Err() == nil {
				w.t.Errorf("open a recorder's bus: %v", err)
				return
			}
			continue
		}
		w.note(func(s *Stats) { s.Recorders++ })
		store := eventstest.NewFaultyStore(w.store, rng.Uint64(), faults)
		r, err := recorder.New(p.bus, store, recorder.Config{
			MaxBatch: 1 + rng.IntN(50), MaxWait: 5 * time.Millisecond, Retention: retention, Standby: 300 * time.Millisecond,
		}, nil, nil)
		if err != nil {
			w.t.Error(err)
		} else {
			_ = r.Run(life) // it ends with its life
		}
		p.crash()
	}
}

// reader follows a session as an API process does, again and again, and checks
// what it sees.
func (w *World) reader(ctx context.Context) {
	rng := w.dice()
	p, err := w.newProcess(ctx, "reader")
	if err != nil {
		return // only the end of the simulation can be the reason
	}
	defer p.crash()
	for ctx.Err() == nil {
		ref := w.sessions[rng.IntN(len(w.sessions))]
		life, cancel := context.WithTimeout(ctx, upTo(rng, 10*time.Second))
		w.readAlong(life, p, ref)
		cancel()
		sleep(ctx, upTo(rng, time.Second))
	}
}

func (w *World) readAlong(ctx context.Context, p *process, ref holdfast.SessionRef) {
	wake := make(chan struct{}, 1)
	stop, err := p.bus.Follow(ctx, ref, func(events.Stored) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return // a restart of the server
	}
	defer stop()
	r := events.Reader{Bus: p.bus, Store: w.store}
	check := eventstest.NewCheck()
	for ctx.Err() == nil {
		_, err := r.Read(ctx, ref, check.Seq(), func(e events.Envelope) error {
			if err := check.Event(e); err != nil {
				w.t.Errorf("a reader of %s sees: %v", ref, err)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			w.forgivable("read "+ref.String(), err)
		}
		select {
		case <-wake:
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(1 + rng.Int64N(int64(d)))
}

// sleep reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
