package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Team is an agent file that was checked.
type Team struct {
	name   string
	source []byte
	folder string // "" for a file that has none
}

// LoadTeam reads an agent file. Paths in it start in its folder.
func LoadTeam(file string) (*Team, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the agent file: %w", err)
	}
	folder, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", file, err)
	}
	t, err := ParseTeam(filepath.Base(file), source)
	if err != nil {
		return nil, err
	}
	t.folder = folder
	return t, nil
}

// ParseTeam checks an agent file of this name. What is wrong is said with line and
// column. MCP servers that it names as ref: docker:NAME are looked up in the file of
// HOLDFAST_MCP_CATALOGUE, as the programs do.
func ParseTeam(name string, source []byte) (*Team, error) {
	if !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		name += ".yaml"
	}
	if err := app.CheckAgent(name, source, false); err != nil {
		return nil, err
	}
	return &Team{name: name, source: source}, nil
}

// Name returns the file's name.
func (t *Team) Name() string { return t.name }

// Tool describes a tool that the program provides.
type Tool struct {
	Name        string
	Description string
	// Parameters is the JSON schema of the arguments. Default: none are taken.
	Parameters []byte
	// ReadOnly tools run without asking, and again after a crash.
	ReadOnly bool
	// Idempotent tools run again after a crash: a second time changes nothing more.
	Idempotent bool
	// NoApproval tools never need a human's approval although they change something.
	NoApproval bool
}

// Opt configures an [Embedded] runtime.
type Opt func(*settings)

type settings struct {
	current      string
	tracer       trace.Tracer
	noCompaction bool
	data         string
	logger       *slog.Logger
	tools        []hostTool
}

type hostTool struct {
	Tool
	handler ToolHandler
}

// WithCurrentAgent sets the agent of the team that runs begin with. Default: its
// root.
func WithCurrentAgent(name string) Opt { return func(s *settings) { s.current = name } }

// WithTracer makes spans: one for each run (holdfast.run), and in it, by
// OpenTelemetry's conventions for generative AI, one for the work on it
// (invoke_agent), each model call (chat, with its tokens) and each tool call
// (execute_tool). Nothing that was said is in them. Default: none.
func WithTracer(t trace.Tracer) Opt { return func(s *settings) { s.tracer = t } }

// WithSessionCompaction says whether a conversation that comes near the model's
// limit is summarized by itself. If not, one that does not fit fails its run;
// Summarize works all the same. Default: true.
func WithSessionCompaction(on bool) Opt { return func(s *settings) { s.noCompaction = !on } }

// WithDataFolder keeps sessions in a folder, which is made if absent; one process
// at a time may use it. Default: a new folder, removed by Close.
func WithDataFolder(dir string) Opt { return func(s *settings) { s.data = dir } }

// WithLogger gets what operators want to know. Default: nobody.
func WithLogger(l *slog.Logger) Opt { return func(s *settings) { s.logger = l } }

// WithTool gives every agent of the team a tool of the program. Where an agent's
// file has one of the same name, the file's is used.
func WithTool(t Tool, handler ToolHandler) Opt {
	return func(s *settings) { s.tools = append(s.tools, hostTool{t, handler}) }
}

// Embedded is a [Runtime] in this process. Make it with [New], end it with Close.
type Embedded struct {
	remote *client.RemoteRuntime
	client *client.Client
	tracer trace.Tracer
	stop   context.CancelFunc
	ended  chan error
	finish func() error

	mu      sync.Mutex        // guards what follows
	session *Session          // the one that runs
	span    trace.SpanContext // of its run
}

var _ Runtime = (*Embedded)(nil)

// New starts a runtime for a team.
func New(team *Team, opts ...Opt) (*Embedded, error) {
	s := settings{tracer: noop.NewTracerProvider().Tracer(""), logger: slog.New(slog.DiscardHandler)}
	for _, o := range opts {
		o(&s)
	}
	if team == nil || s.tracer == nil || s.logger == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a runtime needs a team, and neither its tracer nor its logger may be nil")
	}
	e := &Embedded{tracer: s.tracer, ended: make(chan error, 1)}
	o := app.Options{
		Name: "holdfast-embedded", Version: "embedded", Logger: s.logger, DrainGrace: time.Second, NoCompaction: s.noCompaction,
		Tracer: s.tracer, TraceParent: func(holdfast.SessionRef) trace.SpanContext {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.span
		},
	}
	for _, t := range s.tools {
		h, err := e.hostTool(t)
		if err != nil {
			return nil, err
		}
		o.Tools = append(o.Tools, h)
	}
	temporary := ""
	if s.data == "" {
		dir, err := os.MkdirTemp("", "holdfast-embedded-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the data: %w", err)
		}
		s.data, temporary = dir, dir
	}
	// No port is opened, so nobody from outside needs to be kept out by keys.
	cfg := config.Config{Data: s.data, Listen: "-", PublicURL: "http://localhost", InsecureNoKey: true, MCPCatalogue: os.Getenv("HOLDFAST_MCP_CATALOGUE")}.WithDefaults()
	if team.folder != "" {
		cfg.Agents = team.folder
	} else {
		o.Agents = map[string][]byte{team.name: team.source}
	}
	if err := e.start(cfg, o); err != nil {
		if temporary != "" {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
		return nil, err
	}
	e.finish = sync.OnceValue(func() error {
		e.stop()
		err := <-e.ended
		if temporary != "" {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
		return err
	})
	var err error
	if e.remote, err = client.NewRemoteRuntime(e.client, client.WithRemoteAgentFilename(team.name), client.WithRemoteCurrentAgent(s.current)); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if s.current != "" && !e.has(team.name, s.current) {
		return nil, errors.Join(holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q in %s", s.current, team.name), e.Close())
	}
	return e, nil
}

// has reports whether the file has an agent of that name.
func (e *Embedded) has(file, name string) bool {
	a, err := client.NewRemoteRuntime(e.client, client.WithRemoteAgentFilename(file), client.WithRemoteCurrentAgent(name))
	if err != nil {
		return false
	}
	// An agent that the file does not have is known by its name alone.
	c := a.CurrentAgent()
	return c.Model() != "" || c.Description() != "" || c.Instruction() != ""
}

// start brings everything up and makes a client of it.
func (e *Embedded) start(cfg config.Config, o app.Options) error {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	up := make(chan http.Handler, 1)
	o.Use = func(ctx context.Context, p *app.Program) error {
		l := newPipeListener()
		srv := &http.Server{Handler: p.Handler, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug), ReadHeaderTimeout: 10 * time.Second}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(l) // it ends when the listener does
		}()
		h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}}
		c, err := client.New("http://embedded", client.WithHTTPClient(h))
		if err != nil {
			return err
		}
		e.client = c
		up <- p.Handler
		<-ctx.Done()
		h.CloseIdleConnections()
		_ = srv.Close() // whoever still reads a stream is cut
		<-served
		return nil
	}
	go func() {
		e.ended <- app.Run(ctx, cfg, app.Roles{API: true, Worker: true, Recorder: true}, o)
	}()
	select {
	case <-up:
		return nil
	case err := <-e.ended:
		cancel()
		return fmt.Errorf("start the runtime: %w", err)
	}
}

// Close stops what runs at a safe point and ends everything. It may be called
// twice.
func (e *Embedded) Close() error { return e.finish() }

// Client returns a client of everything that the runtime can do.
func (e *Embedded) Client() *client.Client { return e.client }

// CurrentAgent implements [Runtime].
func (e *Embedded) CurrentAgent() *Agent { return e.remote.CurrentAgent() }

// begin begins the span of a run.
func (e *Embedded) begin(ctx context.Context, s *Session) (context.Context, trace.Span) {
	ctx, span := e.tracer.Start(ctx, "holdfast.run", trace.WithAttributes(attribute.String("holdfast.agent", e.remote.CurrentAgent().Name())))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session, e.span = s, span.SpanContext()
	return ctx, span
}

// RunStream implements [Runtime].
func (e *Embedded) RunStream(ctx context.Context, s *Session) <-chan Event {
	ctx, span := e.begin(ctx, s)
	events := e.remote.RunStream(ctx, s)
	out := make(chan Event)
	go func() {
		defer close(out)
		defer span.End()
		for ev := range events {
			if ev, ok := ev.(*holdfast.ErrorEvent); ok {
				span.SetStatus(codes.Error, string(ev.Code))
			}
			select {
			case out <- ev:
			case <-ctx.Done():
			}
		}
		span.SetAttributes(attribute.String("holdfast.session", e.remote.SessionID()))
	}()
	return out
}

// Run implements [Runtime].
func (e *Embedded) Run(ctx context.Context, s *Session) ([]Message, error) {
	ctx, span := e.begin(ctx, s)
	defer span.End()
	messages, err := e.remote.Run(ctx, s)
	if err != nil {
		span.SetStatus(codes.Error, string(holdfast.CodeOf(err)))
	}
	return messages, err
}

// Resume implements [Runtime].
func (e *Embedded) Resume(ctx context.Context, confirmation ResumeType) {
	e.remote.Resume(ctx, confirmation)
}

// Summarize implements [Runtime].
func (e *Embedded) Summarize(ctx context.Context, s *Session, events chan Event) {
	e.remote.Summarize(ctx, s, events)
}

// ResumeStartAuthorizationFlow implements [Runtime].
func (e *Embedded) ResumeStartAuthorizationFlow(ctx context.Context, confirmation bool) {
	e.remote.ResumeStartAuthorizationFlow(ctx, confirmation)
}

// ResumeCodeReceived implements [Runtime].
func (e *Embedded) ResumeCodeReceived(ctx context.Context, code string) error {
	return e.remote.ResumeCodeReceived(ctx, code)
}

// hostTool makes a tool of the loop of one of the program.
func (e *Embedded) hostTool(t hostTool) (app.HostTool, error) {
	if t.Name == "" || t.handler == nil {
		return app.HostTool{}, holdfast.Errorf(holdfast.CodeInvalid, "a tool needs a name and a handler")
	}
	def := tool.Definition{
		Name: t.Name, Description: t.Description, Parameters: t.Parameters, NoApproval: t.NoApproval,
	}
	switch {
	case t.ReadOnly:
		def.Effect = tool.EffectReadOnly
	case t.Idempotent:
		def.Effect = tool.EffectIdempotent
	}
	if len(def.Parameters) == 0 {
		def.Parameters = []byte(`{"type":"object","properties":{},"additionalProperties":false}`)
	}
	return app.HostTool{Definition: def, Call: func(ctx context.Context, c tool.Call) (tool.Result, error) {
		e.mu.Lock()
		s := e.session
		e.mu.Unlock()
		own := s != nil && e.remote.SessionID() == c.Session.Session
		if !own {
			// A run that the client began, or a process before this one.
			s = &Session{ID: c.Session.Session}
		}
		r, err := e.handle(ctx, t.handler, s, holdfast.NewToolCall(c.ID, c.Name, c.Arguments), own)
		if err != nil {
			return tool.Result{}, err
		}
		if r == nil {
			return tool.Result{}, nil
		}
		return tool.Result{Output: r.Output, IsError: r.IsError}, nil
	}}, nil
}

// handle calls a tool of the program. What it puts into its channel goes into the
// stream under way if the call is of that stream's session, else nowhere.
func (e *Embedded) handle(ctx context.Context, handler ToolHandler, s *Session, call holdfast.ToolCall, own bool) (*ToolCallResult, error) {
	events, passed := make(chan Event), make(chan struct{})
	go func() {
		defer close(passed)
		for ev := range events {
			if own {
				e.remote.Emit(ev)
			}
		}
	}()
	defer func() { // also when the handler panics
		close(events)
		<-passed
	}()
	return handler(ctx, s, call, events)
}
