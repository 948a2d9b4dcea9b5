package httpapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/quota"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/search"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

// Commands makes a command durable and waits for what becomes of it.
type Commands interface {
	// Request sends the command and waits until its owner has stored its acceptance
	// or its refusal. When ctx ends after the command is durable and before an owner
	// answered, the error (or the answer) has CodeTimeout: the outcome is not yet
	// known, and the log will tell. Any other error means that the command may not
	// have been stored.
	Request(ctx context.Context, c events.Command) (events.Answer, error)
}

// Registry carries agent files to and from OCI registries.
type Registry interface {
	// Pull returns the file that a reference names and the reference with the digest
	// of what it named. Errors: CodeInvalid, CodeUpstream, CodeTimeout.
	Pull(ctx context.Context, reference string, login Login) (source []byte, pinned string, err error)
	// Push stores a file under a tag and returns the digest of its manifest.
	Push(ctx context.Context, reference, name string, source []byte, login Login) (digest string, err error)
}

// Login is who asks a registry, for one request; zero for nobody in particular.
type Login struct {
	Username string
	Password string
}

// Check is something that must be reachable for the API to work.
type Check struct {
	// Name is shown by /readyz.
	Name string
	// Check returns an error if it is not.
	Check func(ctx context.Context) error
}

// Config configures an [API]. Bus, Store, Commands and Agents must be set.
type Config struct {
	Bus      events.Bus
	Store    events.Store
	Commands Commands
	Agents   *agent.Library
	// Keys says which API key belongs to which tenant. Default: none, everybody is
	// the default tenant.
	Keys *tenant.Keyring
	// MakeAgent has a model write an agent file for a tenant. Default: not offered.
	MakeAgent func(ctx context.Context, tenantID, prompt string) (agent.Composed, error)
	// Registry is how agents are pulled and pushed. Default: not offered.
	Registry Registry
	// HostFiles lets POST /agents/import read files of this machine. Default: a
	// request brings the file's content.
	HostFiles bool
	// Fresh, if not nil, waits until the store has everything that was in the log when
	// it was called, or until ctx ends. Lists call it, for at most 100 ms, so that
	// who has seen a run end also sees it in the list. Default: lists show what the
	// store has.
	Fresh func(ctx context.Context)
	// Usage answers what model calls took. Default: not offered.
	Usage events.UsageStore
	// Search finds messages by their words. Default: not offered.
	Search search.Store
	// Schedules keeps what is said again and again. Default: not offered.
	Schedules schedule.Store
	// Quotas admits what tenants ask for. Commands must then be those that it admits
	// (quota.Commands). Default: there are no quotas.
	Quotas *quota.Gate
	// Webhooks, if nil, means that webhooks are not offered.
	Webhooks *Webhooks
	// Conn returns the connection of the request whose context it is, nil if that is
	// not known. Streams are written to it past the HTTP server where that is possible.
	// Default: that of a server that [NewServer] made.
	Conn func(ctx context.Context) net.Conn
	// Checks are what /readyz asks, all at once, for at most two seconds.
	Checks []Check
	// Authorizations holds OAuth connections and secrets. Default: none are offered.
	Authorizations Authorizations
	// Logger gets failures, and at debug level every request. Default: none.
	Logger *slog.Logger
	// Version is shown in the OpenAPI document. Default "dev".
	Version string

	// PublicURL is the address of the API in the OpenAPI document. Default: "/",
	// where the document itself is.
	PublicURL string

	// AgentAliases maps names of agents that do not exist to those that are meant:
	// "run --remote" of older clients asks for "pirate.yaml", whatever the user
	// wanted. Names are compared without .yaml. Default: none.
	AgentAliases map[string]string
	// CORSOrigins are the origins whose pages may call the API from a browser, each
	// scheme://host or scheme://host:port in lower case. Default: none.
	CORSOrigins []string
	// MaxBody is the most bytes of a request's body. Default 1 MiB: about what one
	// command may have on its way through NATS.
	MaxBody int64
	// MaxImport is the most bytes of an imported session, which is kept in a file
	// while it is checked, not in memory. Default 4 GiB.
	MaxImport int64
	// BodyTime is how long the body of a request may take, and how long that of an
	// import may be slower than it should be. Default 1 min.
	BodyTime time.Duration
	// AnswerWait is how long a request waits for the owner of its session before it
	// says that the outcome is not yet known. Default 5 s.
	AnswerWait time.Duration
	// Heartbeat is the pause after which an idle stream gets a comment. Default 8 s;
	// existing clients and proxies expect one at least every 10 s.
	Heartbeat time.Duration
	// WriteTimeout cuts a client of a stream that does not take what it is sent for
	// that long. Default 30 s.
	WriteTimeout time.Duration
	// FeedLinger is how long a session's live feed stays after its last reader, for
	// those that come back. Default 5 s.
	FeedLinger time.Duration
	// FeedCheck is the silence after which a feed asks the bus whether it missed the
	// newest frame. Default 3 s: the longest that a lost message delays an event.
	FeedCheck time.Duration
	// FeedBuffer is how many bytes of recent events a feed keeps for its readers.
	// Default 256 KiB. Who is further behind reads from the log.
	FeedBuffer int
}

// API answers requests. Make it with [New], serve it with [NewServer], end it
// with Close.
type API struct {
	cfg     Config
	logger  *slog.Logger
	reader  *events.Reader
	hub     *hub
	recent  *recent
	views   *viewCache
	mcpLive mcpCalls
	retries retries
	imports gate
	// searches are the searches that run.
	searches turns
	handler  http.Handler
	// patterns are the routes that are mounted, as METHOD /path.
	patterns []string
	spec     func() ([]byte, error)
}

// New returns an API that is ready to serve. It starts nothing until the first
// stream is read.
func New(cfg Config) (*API, error) {
	if cfg.Bus == nil || cfg.Store == nil || cfg.Commands == nil || cfg.Agents == nil {
		return nil, errors.New("httpapi: bus, store, commands and agents must be configured")
	}
	cfg.Version = cmp.Or(cfg.Version, "dev")
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 1<<20)
	cfg.MaxImport = cmp.Or(cfg.MaxImport, 4<<30)
	cfg.BodyTime = cmp.Or(cfg.BodyTime, time.Minute)
	cfg.AnswerWait = cmp.Or(cfg.AnswerWait, 5*time.Second)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 8*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 30*time.Second)
	cfg.FeedLinger = cmp.Or(cfg.FeedLinger, 5*time.Second)
	cfg.FeedCheck = cmp.Or(cfg.FeedCheck, 3*time.Second)
	cfg.FeedBuffer = cmp.Or(cfg.FeedBuffer, 256<<10)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	reader := &events.Reader{Bus: cfg.Bus, Store: cfg.Store}
	a := &API{
		cfg:    cfg,
		logger: cfg.Logger,
		reader: reader,
		hub:    newHub(cfg.Bus, reader, cfg.Logger, cfg.FeedLinger, cfg.FeedCheck, cfg.FeedBuffer),
		recent: newRecent(),
		views:  newViewCache(),
	}
	a.handler = a.routes()
	return a, nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// OpenAPI returns the description of the routes under /v1, as YAML.
func (a *API) OpenAPI() ([]byte, error) { return a.spec() }

// Close ends all streams and waits until the feeds are gone. Clients of /v1 come
// back to another process and go on where they were.
func (a *API) Close() { a.hub.close() }

// NewServer returns an HTTP server for the API with the time limits that suit
// it. Streams lift them for themselves; Shutdown ends the streams first.
func NewServer(a *API) *http.Server {
	s := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(a.hub.stop)
	return s
}

// routes builds the handler of all mounts.
func (a *API) routes() http.Handler {
	mux := newRouter()
	a.health(mux)
	a.legacy(mux, "/api", false)
	a.legacy(mux, "/v2/api", true)
	a.v1(mux)
	fallback := a.fallback(mux)
	mux.ServeMux.HandleFunc("/", fallback)
	a.patterns = mux.patterns
	return a.wrap(compress(mux))
}
