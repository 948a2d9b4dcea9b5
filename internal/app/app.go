package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/app/process"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/model/catalogue"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/quota"
	"github.com/holdfast-run/holdfast/internal/recorder"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
	"github.com/holdfast-run/holdfast/internal/tenant"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/webhook"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// Roles says what a process does.
type Roles struct {
	API      bool
	Worker   bool
	Recorder bool
}

// Options are what a program gives beside its configuration.
type Options struct {
	// Name is the program's, for logs and connections.
	Name    string
	Version string
	Logger  *slog.Logger
	// Meter makes the instruments; nil measures nothing.
	Meter metric.Meter
	// Tracer makes spans of runs, model calls and tool calls; nil makes none.
	Tracer trace.Tracer
	// TraceParent, if not nil, names the span that runs of a session belong to.
	TraceParent func(holdfast.SessionRef) trace.SpanContext
	// Ready, if not nil, is called once with the address that HTTP is served on
	// ("" for none) when the program does its work.
	Ready func(addr string)
	// Hosted is the default of HOLDFAST_HOSTED.
	Hosted bool
	// Agents holds agent files by name beside those of the configured folder.
	Agents map[string][]byte
	// Tools are given to every agent, beside those of its file.
	Tools []HostTool
	// NoCompaction turns automatic compaction off.
	NoCompaction bool
	// DrainGrace overrides how long a worker that stops waits for safe points.
	DrainGrace time.Duration
	// Use, if not nil, is given what runs and called while it does; the program
	// ends when it returns.
	Use func(ctx context.Context, p *Program) error
}

// Program is what runs, for those who use it in the same process.
type Program struct {
	Bus   *natsbus.Bus
	Store Store
	// Handler is the API, nil without that role.
	Handler http.Handler
}

// Store is everything that the program keeps in its database.
type Store interface {
	events.Store
	events.Maintainer
	events.TimerStore
	events.UsageStore
	webhook.Store
	schedule.Store
	quota.Store
	search.Store
	tool.MemoryStore
	vault.Store
	flow.Store
	agent.Store
	Close() error
}

// Run starts the roles, works until ctx ends or something fails that cannot be
// mended, and stops everything in reverse. A dependency that is not there yet is
// waited for, with a line in the log.
func Run(ctx context.Context, cfg config.Config, roles Roles, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = metricnoop.Meter{}
	}
	cfg = cfg.WithDefaults()
	if roles.API {
		if err := cfg.CheckAccess(); err != nil {
			return err
		}
	}
	p := &program{cfg: cfg, roles: roles, o: o, log: o.Logger, failed: make(chan error, 8)}
	defer func() {
		if serr := p.stop(); err == nil {
			err = serr
		}
	}()
	if err := p.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if o.Use != nil {
		return o.Use(ctx, &Program{Bus: p.bus, Store: p.store, Handler: p.handler()})
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

// program is a program on its way up, running, or on its way down.
type program struct {
	cfg    config.Config
	roles  Roles
	o      Options
	log    *slog.Logger
	failed chan error

	bus   *natsbus.Bus
	store Store
	api   *httpapi.API
	auth  *authorizations // nil without keys
	// publicURL is where users reach the API.
	publicURL string
	server    *process.Server // nil without a port
	hooks     *httpapi.Webhooks
	quotas    *quota.Gate
	guard     *egress.Guard

	stops []func() error // in the order of the starts
}

func (p *program) onStop(fn func() error) { p.stops = append(p.stops, fn) }

func (p *program) stop() error {
	var errs []error
	for i := len(p.stops) - 1; i >= 0; i-- {
		errs = append(errs, p.stops[i]())
	}
	return errors.Join(errs...)
}

func (p *program) handler() http.Handler {
	if p.api == nil {
		return nil
	}
	return p.api
}

func (p *program) start(ctx context.Context) error {
	// Health is answered before anything else is there: a process that waits for
	// its database is alive.
	addr, err := p.listen()
	if err != nil {
		return err
	}
	p.publicURL = strings.TrimSuffix(p.cfg.PublicURL.Reveal(), "/")
	if addr != "" && p.publicURL == "http://"+p.cfg.Listen {
		p.publicURL = "http://" + addr // the port may be a free one
	}
	if err := p.openBus(ctx); err != nil {
		return err
	}
	if err := p.openStore(ctx); err != nil {
		return err
	}
	if err := p.openQuotas(); err != nil {
		return err
	}
	if p.roles.Recorder {
		if err := p.startRecorder(); err != nil {
			return err
		}
	}
	if err := p.openAuthorizations(); err != nil {
		return err
	}
	ag, err := p.openAgents()
	if err != nil {
		return err
	}
	if p.roles.Worker {
		p.startWorker(ag)
	}
	switch {
	case p.roles.API:
		if err := p.startAPI(ag); err != nil {
			return err
		}
	default:
		p.serve(p.healthHandler(true))
	}
	p.ready(addr)
	return nil
}

func (p *program) ready(addr string) {
	if p.o.Ready != nil {
		p.o.Ready(addr)
	}
}

// listen opens the HTTP port, if there is to be one.
func (p *program) listen() (string, error) {
	if p.cfg.Listen == "-" {
		return "", nil
	}
	srv, err := process.Listen(p.cfg.Listen, p.healthHandler(false), p.log, func(err error) { p.failed <- err })
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: end what listens there, or name another address with --listen or HOLDFAST_LISTEN", err)
	}
	if err != nil {
		return "", err
	}
	p.server = srv
	p.onStop(srv.Stop)
	return srv.Addr(), nil
}

func (p *program) serve(h http.Handler) {
	if p.server != nil {
		p.server.Serve(h)
	}
}

// openBus connects to NATS, the embedded server or another one.
func (p *program) openBus(ctx context.Context) error {
	var nc *nats.Conn
	var err error
	cfg := natsbus.Config{Shards: p.cfg.EventStreams, Replicas: p.cfg.Replicas, Logger: p.log}
	if p.cfg.NATSURL == "" {
		srv, serr := server.Start(ctx, server.Config{StoreDir: filepath.Join(p.cfg.Data, "nats"), Logger: p.log})
		switch {
		case errors.Is(serr, server.ErrInUse):
			return fmt.Errorf("%w: end that process, or name another folder with --data or HOLDFAST_DATA", serr)
		case errors.As(serr, new(*fs.PathError)):
			return fmt.Errorf("%w: name a folder that can be written with --data or HOLDFAST_DATA", serr)
		case serr != nil:
			return serr
		}
		p.onStop(func() error {
			sctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return srv.Stop(sctx)
		})
		cfg.MaxBytes = 1 << 30
		nc, err = srv.Connect(natsbus.Options(p.o.Name, p.log)...)
	} else {
		nc, err = natsbus.Connect(p.cfg.NATSURL.Reveal(), p.o.Name, p.log)
	}
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	p.onStop(func() error { nc.Close(); return nil })
	if p.bus, err = natsbus.Open(ctx, nc, cfg); err != nil {
		return err
	}
	p.onStop(p.bus.Close)
	return nil
}

// openStore opens the database, waiting for one that is not there yet.
func (p *program) openStore(ctx context.Context) error {
	if p.cfg.DatabaseURL == "" {
		st, err := sqlitestore.Open(ctx, filepath.Join(p.cfg.Data, "holdfast.db"), sqlitestore.Options{Logger: p.log, NoIndex: !indexed(p.cfg)})
		if err != nil {
			return err
		}
		p.store = st
		p.onStop(st.Close)
		return nil
	}
	wait := 250 * time.Millisecond
	for {
		st, err := pgstore.Open(ctx, p.cfg.DatabaseURL.Reveal(), pgstore.Options{Logger: p.log, NoIndex: !indexed(p.cfg)})
		if err == nil {
			p.store = st
			p.onStop(st.Close)
			return nil
		}
		if ctx.Err() != nil || !retryable(err) {
			return err
		}
		p.log.Warn("the database is not there yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func (p *program) openAgents() (*agents, error) {
	hosted := p.cfg.Hosted.Or(p.o.Hosted)
	servers, err := readMCPCatalogue(p.cfg.MCPCatalogue)
	if err != nil {
		return nil, err
	}
	opt := agent.Options{Hosted: hosted, NotOffered: notOffered, MCPCatalog: servers != nil, Sandbox: p.cfg.Sandbox != ""}
	files := map[string][]byte{"demo.yaml": demoFile}
	for name, src := range p.o.Agents {
		files[name] = src
	}
	source := agent.Builtin(files, opt)
	dir := ""
	if p.cfg.Agents != "" {
		if dir, err = filepath.Abs(p.cfg.Agents); err != nil {
			return nil, fmt.Errorf("folder of agents: %w", err)
		}
		d, err := agent.OpenDir(dir, opt)
		if err != nil {
			return nil, err
		}
		p.onStop(d.Close)
		source = agent.Sources(d, source)
	}
	prices, err := catalogue.OpenFile(p.cfg.ModelCatalogue, p.log)
	if err != nil {
		return nil, err
	}
	outgoing := newOutgoing(p.cfg, hosted)
	p.onStop(func() error {
		outgoing.Close()
		return nil
	})
	client := http.DefaultClient
	if hosted {
		// base_url is the tenant's choice.
		client = &http.Client{Transport: outgoing}
	}
	// With a server of its own this is the only worker: every session comes back to it.
	jobs := builtin.NewJobs(!hosted && p.cfg.NATSURL == "")
	p.onStop(func() error {
		jobs.Close()
		return nil
	})
	var boxes *sandboxes
	if p.roles.Worker {
		if boxes, err = openSandboxes(p.cfg.Sandbox, p.cfg.Workspaces, p.log); err != nil {
			return nil, err
		}
		if boxes != nil {
			p.background("workspaces", boxes.run(p.store), nil)
		}
	}
	return &agents{
		sandboxes: boxes,
		library:   agent.NewLibrary(limitedAgents{p.store, p.quotas}, source, opt), writer: p.cfg.AgentWriter, base: source, opt: opt, dir: dir, keys: p.cfg.ModelKeysFromEnv.Or(!hosted), hosted: hosted,
		memory: p.store, auth: p.auth, log: p.log, version: p.o.Version, client: client, outgoing: outgoing, allow: p.cfg.EgressAllow, servers: servers, prices: prices, jobs: jobs,
		models: map[modelOf]builtModel{},
	}, nil
}

func (p *program) startAPI(ag *agents) error {
	var keys *tenant.Keyring
	if len(p.cfg.APIKeys) > 0 {
		var err error
		if keys, err = tenant.ParseKeys(p.cfg.APIKeys.Reveal()); err != nil {
			return err
		}
	}
	aliases := map[string]string{}
	if d := p.cfg.DefaultAgent; d != "" {
		aliases["pirate"] = strings.TrimSuffix(d, ".yaml") // what older clients ask for, whatever was meant
	}
	all, err := keys.WithOperators(p.cfg.OperatorKeyList())
	if err != nil {
		return err
	}
	var auth httpapi.Authorizations
	if p.auth != nil {
		auth = p.auth
	}
	hooks, err := p.webhooks()
	if err != nil {
		return err
	}
	api, err := httpapi.New(httpapi.Config{
		Authorizations: auth, Webhooks: hooks, Usage: p.store, Search: p.searchOf(), Schedules: p.store,
		Bus: p.bus, Store: p.store, Commands: p.commands(), Quotas: p.quotas, Agents: ag.library, Keys: all,
		MakeAgent: limitedMaker(ag.maker(), p.quotas), Registry: registry{ociregistry.New(ociregistry.Options{Hosted: ag.hosted, Version: p.o.Version})}, HostFiles: !ag.hosted,
		Fresh: (&barrier{bus: p.bus, store: p.store}).wait, Checks: p.checks(), Logger: p.log, Version: p.o.Version, PublicURL: p.publicURL, MaxBody: int64(p.cfg.MaxBody), CORSOrigins: p.cfg.CORSOrigins,
		AgentAliases: aliases, Conn: process.Conn,
	})
	if err != nil {
		return err
	}
	p.api = api
	p.onStop(func() error { api.Close(); return nil })
	front, err := p.withOAuth(api, keys)
	if err != nil {
		return err
	}
	p.serve(front)
	return nil
}

func (p *program) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "nats", Check: p.bus.Ready},
		{Name: "database", Check: func(ctx context.Context) error {
			_, err := p.store.Cursor(ctx, p.bus.Streams()[0])
			return err
		}},
	}
}

func (p *program) startWorker(ag *agents) {
	var source runtime.Agents = ag
	if len(p.o.Tools) > 0 {
		source = hostAgents{ag, p.o.Tools}
	}
	var authorizer runtime.Authorizer
	if p.auth != nil {
		authorizer = p.auth
	}
	engine := runtime.NewEngine(runtime.Config{
		Authorizer:   authorizer,
		NoCompaction: p.o.NoCompaction,
		Reader:       &events.Reader{Bus: p.bus, Store: p.store}, Agents: source, Snapshots: p.store, DefaultAgent: p.cfg.DefaultAgent, Logger: p.log,
		ApprovalTimeout: p.cfg.ApprovalTimeout, Tracer: p.o.Tracer, TraceParent: p.o.TraceParent,
	})
	grace := p.o.DrainGrace
	if grace == 0 {
		grace = max(p.cfg.DrainTimeout-5*time.Second, p.cfg.DrainTimeout/2)
	}
	w := worker.New(p.bus, p.bus, p.store, engine, worker.Config{
		ID: p.cfg.WorkerID + "-" + processSuffix(), MaxSessions: p.cfg.WorkerSessions, DrainGrace: grace,
		Orphans: p.store.Orphans, Logger: p.log,
	})
	p.background("worker", w.Run, engine.Wait)
}

func (p *program) startRecorder() error {
	r, err := recorder.New(p.bus, p.store, recorder.Config{Retention: p.cfg.EventRetention}, p.log, p.o.Meter)
	if err != nil {
		return err
	}
	p.background("recorder", r.Run, nil)
	p.background("compaction", p.compact, nil)
	p.background("purge", p.purgeFlows, nil)
	p.startKeeper()
	p.startStarter()
	p.startIndexer()
	if err := p.startWebhooks(); err != nil {
		return err
	}
	return nil
}

// compactEvery is how often parked sessions are looked through for small chunks
// to merge, compactMost how many are merged then.
const (
	compactEvery = 30 * time.Second
	compactMost  = 200
)

// compact merges what the recorder stored in many small pieces.
func (p *program) compact(ctx context.Context) error {
	t := time.NewTicker(compactEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		var n int
		err := events.Guard(p.log, "compact the archive", func() (err error) { n, err = p.store.CompactIdle(ctx, compactMost); return err })
		if err != nil && ctx.Err() == nil {
			p.log.Warn("compact the archive", "error", err)
		} else if n > 0 {
			p.log.Debug("compacted sessions", "sessions", n)
		}
	}
}

// background runs something until the program stops.
func (p *program) background(name string, run func(context.Context) error, after func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			p.failed <- fmt.Errorf("%s: %w", name, err)
		}
		if after != nil {
			after()
		}
	})
	p.onStop(func() error {
		cancel()
		done.Wait()
		return nil
	})
}
