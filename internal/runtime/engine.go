package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Agents is where agent files come from and what turns them into models and
// tools.
type Agents interface {
	// Load returns the file that a reference names, with its full name. An unknown
	// reference is CodeNotFound.
	Load(ctx context.Context, tenant, ref string) (name, source string, err error)
	// Parse checks a file's source.
	Parse(name, source string) (*agent.Team, error)
	// Model builds one model of a team.
	Model(ctx context.Context, tenant string, team *agent.Team, m *agent.ModelSettings) (model.Model, ModelInfo, error)
	// Toolset builds one toolset of an agent for one session.
	Toolset(ctx context.Context, s holdfast.SessionRef, team *agent.Team, a *agent.Agent, t *agent.Toolset) (tool.Toolset, error)
}

// ModelInfo is what is known of a model beside its protocol.
type ModelInfo struct {
	// ContextLimit is the window in tokens, 0 if it is not known.
	ContextLimit int64
	// Cost returns the price of a call in US dollars; nil means that it is not known.
	Cost func(model.Usage) float64
	// PriceVersion names the price list.
	PriceVersion string
	// Images says that the model takes images in answers of tools. Those that a user
	// sends go to every model.
	Images bool
}

// Snapshots keeps folds as a cache. Every [events.Store] does.
type Snapshots interface {
	PutSnapshot(ctx context.Context, s holdfast.SessionRef, snap events.Snapshot) error
	Snapshot(ctx context.Context, s holdfast.SessionRef, max uint64) (events.Snapshot, error)
}

// Config configures an [Engine]. Reader and Agents must be set.
type Config struct {
	Reader *events.Reader
	Agents Agents
	// DefaultAgent is the agent file of runs that name none in a session that has
	// none. Default: such a run is refused.
	DefaultAgent string
	// Snapshots, if nil, means that a session is always folded from its first event.
	Snapshots Snapshots
	// Logger is for operators; nil discards.
	Logger *slog.Logger
	// TitleWait is how long a finished run waits for the session's title. Default
	// 3 s.
	TitleWait time.Duration
	// ToolTimeout ends a tool call that hangs. Default 15 min.
	ToolTimeout time.Duration
	// ApprovalTimeout is how long a tool call waits for a human whose agent says
	// nothing about it; then it is rejected. Default: for ever.
	ApprovalTimeout time.Duration
	// SnapshotEvery is how many events make a new snapshot worth while. Default 500.
	SnapshotEvery uint64
	// Authorizer gets users' authorizations of remote servers. Default: toolsets and
	// calls that need one fail.
	Authorizer Authorizer
	// NoCompaction turns automatic compaction off: a conversation that does not fit
	// the model's window fails the run. Compaction on demand works all the same.
	NoCompaction bool
	// Tracer makes spans of an owner's work on a run (invoke_agent), and in them of
	// model calls (chat) and tool calls (execute_tool), by the conventions for
	// generative AI, without anything that was said. Default: none.
	Tracer trace.Tracer
	// TraceParent, if not nil, names the span that the work on a session belongs to.
	// Default: each begins a trace.
	TraceParent func(holdfast.SessionRef) trace.SpanContext
}

// Engine drives sessions. It is safe for concurrent use.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	tracer trace.Tracer

	mu      sync.Mutex // guards what follows
	teams   map[string]*agent.Team
	cooling map[string]time.Time // models that failed, until when they are left alone

	background sync.WaitGroup // snapshots under way
}

// NewEngine returns an engine.
func NewEngine(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TitleWait == 0 {
		cfg.TitleWait = 3 * time.Second
	}
	if cfg.ToolTimeout == 0 {
		cfg.ToolTimeout = 15 * time.Minute
	}
	if cfg.SnapshotEvery == 0 {
		cfg.SnapshotEvery = 500
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noop.NewTracerProvider().Tracer("")
	}
	e := &Engine{cfg: cfg, log: cfg.Logger, tracer: cfg.Tracer, teams: map[string]*agent.Team{}, cooling: map[string]time.Time{}}
	if cfg.Authorizer != nil {
		e.cfg.Authorizer = &guardedAuthorizer{cfg.Authorizer, e}
	}
	return e
}

// Wait returns when nothing of the engine runs in the background any more.
func (e *Engine) Wait() { e.background.Wait() }

// maxTeams bounds the cache of parsed agent files.
const maxTeams = 256

// team returns the parsed form of a pinned file.
func (e *Engine) team(name string, p Pinned) (*agent.Team, error) {
	key := name + "\x00" + p.SHA256
	e.mu.Lock()
	t := e.teams[key]
	e.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := e.parse(name, p.Source)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.teams) >= maxTeams {
		clear(e.teams)
	}
	e.teams[key] = t
	return t, nil
}

// resolve loads the agent file that a run command names.
func (e *Engine) resolve(ctx context.Context, s *State, b events.RunBody) source {
	ref := b.Agent
	if ref == "" {
		ref = s.DefaultAgent
	}
	if ref == "" {
		ref = e.cfg.DefaultAgent
	}
	if ref == "" {
		return source{err: holdfast.Errorf(holdfast.CodeInvalid, "the run names no agent and the session has no default")}
	}
	name, text, err := e.load(ctx, s.Ref.Tenant, ref)
	if holdfast.CodeOf(err) == holdfast.CodeUnavailable {
		// Where the files are kept is away; the log has the one that ran last.
		for _, n := range []string{ref, ref + ".yaml"} {
			if p, ok := s.Pinned[n]; ok {
				name, text, err = n, p.Source, nil
				break
			}
		}
	}
	if err != nil {
		return source{err: err}
	}
	sum := sha256.Sum256([]byte(text))
	src := source{name: name, text: text, sha256: hex.EncodeToString(sum[:])}
	team, err := e.team(name, Pinned{SHA256: src.sha256, Source: text})
	switch {
	case err != nil:
		src.err = err
	case b.AgentInFile == "":
		src.start = team.Root().Name
	case team.Agent(b.AgentInFile) == nil:
		src.err = holdfast.Errorf(holdfast.CodeNotFound, "agent file %s has no agent %q", name, b.AgentInFile)
	default:
		src.start = b.AgentInFile
	}
	return src
}

// LoadState folds a session up to the end of its log, or up to seq through if
// that is not 0. It starts from a snapshot where there is one.
func (e *Engine) LoadState(ctx context.Context, ref holdfast.SessionRef, through uint64, worthSnapshot bool) (*State, uint64, error) {
	s := NewState(ref)
	var from uint64
	if e.cfg.Snapshots != nil && worthSnapshot {
		snap, err := e.cfg.Snapshots.Snapshot(ctx, ref, through)
		switch {
		case err != nil:
			e.log.Warn("no snapshot; folding the whole log", "session", ref.String(), "error", err)
		case snap.Seq > 0 && snap.Format == StateFormat:
			data, err := events.Unpack(snap.Data)
			if err == nil {
				err = json.Unmarshal(data, s)
			}
			if err != nil {
				e.log.Warn("snapshot cannot be read; folding the whole log", "session", ref.String(), "error", err)
				s = NewState(ref)
			} else {
				from = snap.Seq
			}
		}
	}
	if from > 0 {
		same, err := e.beside(ctx, s)
		if err != nil {
			return nil, 0, err
		}
		if !same {
			e.log.Warn("the log has another event where its snapshot was made; folding the whole log", "session", ref.String(), "seq", s.Seq)
			s, from = NewState(ref), 0
		}
	}
	_, err := e.cfg.Reader.Read(ctx, ref, s.Seq, func(env events.Envelope) error {
		if through != 0 && env.Seq > through {
			return errEnough
		}
		return s.Fold(&env)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, 0, err
	}
	return s, from, nil
}

var errEnough = errors.New("enough")

// Drive drives the session that w owns until it is parked (nil), handed over
// (events.ErrHandedOver), lost (events.ErrLost), or cannot go on.
func (e *Engine) Drive(ctx context.Context, w *events.Writer, in events.Inbox) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked("drive "+w.Ref().String(), r)
		}
	}()
	s, since, err := e.LoadState(ctx, w.Ref(), 0, w.Stored() > e.cfg.SnapshotEvery)
	if err != nil {
		return fmt.Errorf("load %s: %w", w.Ref(), err)
	}
	switch {
	case s.Seq > w.Stored():
		return events.ErrLost // another worker has claimed the session since
	case s.Seq < w.Stored():
		return fmt.Errorf("load %s: the log ends at %d, the claim is %d", w.Ref(), s.Seq, w.Stored())
	}
	d := &drive{e: e, w: w, in: in, s: s, since: since, boxes: map[string]*toolbox{}, delivered: make(chan struct{}, 1)}
	defer d.close()
	return d.run(ctx)
}
