package runtime_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// world is a real nats-server and a real store, and workers that can be killed.
type world struct {
	t      *testing.T
	srv    *server.Server
	bus    *natsbus.Bus // the client's
	store  *sqlitestore.Store
	reader *events.Reader
	log    *slog.Logger
	agents *testAgents
	prefix string
	frames atomic.Int64 // that workers have appended
	// repeats counts the calls with an unknown outcome that the user had repeated.
	repeats atomic.Int64
	// authorizer is that of workers, nil for none.
	authorizer runtime.Authorizer
	// pending, if not nil, is called when a worker looks for commands.
	pending func()
}

func newWorld(t *testing.T, agentFile string) *world {
	t.Helper()
	w := &world{t: t, log: slog.New(slog.DiscardHandler), prefix: "hf"}
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	dir := t.TempDir()
	var err error
	if w.srv, err = server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: filepath.Join(dir, "nats")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := w.srv.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if w.store, err = sqlitestore.Open(t.Context(), filepath.Join(dir, "log.db"), sqlitestore.Options{Logger: w.log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.populate(agentFile)
	return w
}

func (w *world) populate(agentFile string) {
	_, w.bus = w.connect("client")
	w.reader = &events.Reader{Bus: w.bus, Store: w.store}
	w.agents = newTestAgents(agentFile)
}

func newTestAgents(file string) *testAgents {
	return &testAgents{
		file: file, memory: tooltest.NewMemoryMap(),
		tools: &effects{runs: map[string]int{}, reached: make(chan struct{}, 8), open: make(chan struct{})},
	}
}

// branch returns a world of its own on the same servers. Its streams are there for
// good and cost the server something for ever, so a test of many plays has few.
func (w *world) branch(prefix string) *world {
	w.t.Helper()
	b := &world{t: w.t, log: w.log, srv: w.srv, store: w.store, prefix: prefix}
	b.populate("")
	return b
}

// again returns a world on the same streams, for sessions of other names. Who uses
// it ends its workers before the next one does.
func (w *world) again(t *testing.T, agentFile string) *world {
	return &world{
		t: t, log: w.log, srv: w.srv, store: w.store, prefix: w.prefix, bus: w.bus, reader: w.reader, agents: newTestAgents(agentFile),
	}
}

func (w *world) connect(name string) (*nats.Conn, *natsbus.Bus) {
	w.t.Helper()
	nc, err := w.srv.Connect(natsbus.Options(name, w.log)...)
	if err != nil {
		w.t.Fatal(err)
	}
	bus, err := natsbus.Open(w.t.Context(), nc, natsbus.Config{Prefix: w.prefix, MaxBytes: 8 << 20, Logger: w.log, AckWait: 250 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { bus.Close(); nc.Close() })
	return nc, bus
}

// mortalBus is a worker's bus that dies with the worker: after a number of frames
// its connection is closed, before or after the last one is stored.
type mortalBus struct {
	*natsbus.Bus
	w      *world
	left   atomic.Int64 // frames until death; negative: never dies
	before bool         // the last frame is not stored
	die    func()
	once   sync.Once
	dead   chan struct{}
}

var errDead = errors.New("the worker is dead")

func (b *mortalBus) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	b.w.frames.Add(1)
	if b.left.Load() < 0 {
		return b.Bus.Append(ctx, s, prev, frame)
	}
	n := b.left.Add(-1)
	if n > 0 {
		return b.Bus.Append(ctx, s, prev, frame)
	}
	var err error
	if n == 0 && !b.before {
		_, err = b.Bus.Append(ctx, s, prev, frame)
	}
	b.once.Do(func() { b.die(); close(b.dead) })
	b.left.Store(0)
	return 0, errors.Join(errDead, events.ErrBusClosed, err)
}

func (b *mortalBus) Commands(ctx context.Context, s holdfast.SessionRef, after uint64) ([]worker.Queued, error) {
	if b.w.pending != nil {
		b.w.pending()
	}
	return b.Bus.Commands(ctx, s, after)
}

// start runs a worker; frames ≥ 0 says after how many it dies, before storing
// the last one or after. dead is closed then.
func (w *world) start(frames int, before bool) (dead <-chan struct{}, stop func()) {
	w.t.Helper()
	nc, bus := w.connect("worker")
	ctx, cancel := context.WithCancel(context.Background())
	m := &mortalBus{Bus: bus, w: w, before: before, dead: make(chan struct{}), die: func() { nc.Close(); cancel() }}
	m.left.Store(int64(frames))
	engine := runtime.NewEngine(runtime.Config{
		Reader: &events.Reader{Bus: m, Store: w.store}, Agents: w.agents, Snapshots: w.store, Logger: w.log, SnapshotEvery: 10, Authorizer: w.authorizer,
	})
	wk := worker.New(m, m, w.store, engine, worker.Config{Logger: w.log, DrainGrace: 100 * time.Millisecond})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := wk.Run(ctx); err != nil && ctx.Err() == nil {
			w.t.Error(err)
		}
		engine.Wait()
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return m.dead, stop
}

func (w *world) create(ref holdfast.SessionRef, ev *holdfast.SessionCreatedEvent) {
	w.t.Helper()
	if _, err := events.Create(w.t.Context(), w.bus, w.store, ref, ev); err != nil {
		w.t.Fatal(err)
	}
}

// send makes a command durable and waits for its answer, sending it again as a
// client would whose answer got lost.
func (w *world) send(ref holdfast.SessionRef, kind string, body any) events.Answer {
	w.t.Helper()
	c, err := events.NewCommand(ref, kind, "", body)
	if err != nil {
		w.t.Fatal(err)
	}
	for range 30 { // a minute, as wait
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
		a, err := w.bus.Request(ctx, c)
		cancel()
		if err == nil && a.Code != holdfast.CodeTimeout {
			return a
		}
	}
	for _, e := range w.events(ref) {
		w.t.Logf("%d/%d %s %s %s", e.Seq, e.Epoch, e.Type, e.Agent, e.Payload)
	}
	w.t.Fatalf("%s: no answer", kind)
	return events.Answer{}
}

// log returns everything that the session's log has now.
func (w *world) events(ref holdfast.SessionRef) []events.Envelope {
	w.t.Helper()
	var out []events.Envelope
	if _, err := w.reader.Read(w.t.Context(), ref, 0, func(e events.Envelope) error {
		out = append(out, e)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// wait waits until the newest event satisfies ok.
func (w *world) wait(ref holdfast.SessionRef, what string, ok func(events.Envelope) bool) {
	w.t.Helper()
	woken := make(chan struct{}, 1)
	stop, err := w.bus.Follow(w.t.Context(), ref, func(events.Stored) {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer stop()
	deadline := time.After(60 * time.Second)
	for {
		evs := w.events(ref)
		if len(evs) > 0 && ok(evs[len(evs)-1]) {
			return
		}
		select {
		case <-woken:
		case <-deadline:
			for _, e := range evs {
				w.t.Logf("%d/%d %s %s %s", e.Seq, e.Epoch, e.Type, e.Agent, e.Payload)
			}
			w.t.Fatalf("waited a minute for: %s", what)
		}
	}
}

func (w *world) waitParked(ref holdfast.SessionRef, waiting string) {
	w.t.Helper()
	for {
		var now string
		w.wait(ref, "parked: "+waiting, func(e events.Envelope) bool {
			if e.Type != holdfast.TypeSessionParked {
				return false
			}
			var p holdfast.SessionParkedEvent
			if err := json.Unmarshal(e.Payload, &p); err != nil {
				w.t.Fatal(err)
			}
			now = p.Waiting
			return now == waiting || w.askedUnknown(ref)
		})
		if !w.askedUnknown(ref) {
			return
		}
		// A worker died in a call that cannot be repeated in silence: the user says
		// that it is to be repeated.
		w.repeats.Add(1)
		if err := w.send(ref, events.KindDecide, events.DecideBody{Decision: runtime.DecisionApprove}).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// askedUnknown reports whether the session waits because an outcome is unknown.
func (w *world) askedUnknown(ref holdfast.SessionRef) bool {
	s := w.state(ref)
	if s.Run == nil {
		return false
	}
	for _, t := range s.Run.Threads {
		for _, c := range t.Calls {
			if c.Status == runtime.CallWaiting && c.AskedUnknown {
				return true
			}
		}
	}
	return false
}

// state folds the log from its first event.
func (w *world) state(ref holdfast.SessionRef) *runtime.State {
	w.t.Helper()
	s := runtime.NewState(ref)
	for _, e := range w.events(ref) {
		if err := s.Fold(&e); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// testAgents serves one agent file with scripted models, the builtin tools, and
// the toolset effects for every MCP server.
type testAgents struct {
	file   string
	edited atomic.Pointer[string] // instead of file, from a moment on
	away   atomic.Bool            // where agent files are kept does not answer
	tools  *effects
	memory *tooltest.MemoryMap
	heard  heard
	// provider is who answers for models of openai, nil if there are none.
	provider *upstream
	limit    int64 // of the models' windows, in tokens; 0 is 1000
	// trap, if not nil, is called with the name of each thing that is asked of the
	// agents, and may panic.
	trap func(what string)
	// looks counts how often something of the name "away" was asked for: the first two
	// times that it is not there, of instructions, models and toolsets each. lost says
	// that it never is.
	looks [3]atomic.Int64
	lost  atomic.Bool
}

// absent is the error of what is away.
func (a *testAgents) absent(of int, named bool) error {
	if named && (a.looks[of].Add(1) <= 2 || a.lost.Load()) {
		return holdfast.WrapError(holdfast.CodeUnavailable, errors.New("dial vault"), "the vault does not answer")
	}
	return nil
}

// ExpandPrompt knows one value.
func (a *testAgents) ExpandPrompt(_ context.Context, _, text string, _ bool) (string, error) {
	a.at("expand")
	if err := a.absent(0, strings.Contains(text, "${env.AWAY}")); err != nil {
		return "", err
	}
	return agent.ExpandPrompt(text, func(name string) (string, error) {
		if name == "PLACE" {
			return "the harbour", nil
		}
		return "", holdfast.Errorf(holdfast.CodeModelAuth, "no %s", name)
	})
}

// RunHook runs the command of a hook.
func (a *testAgents) RunHook(ctx context.Context, _ holdfast.SessionRef, _ *agent.Agent, h *agent.Hook, in runtime.HookInput) (tool.HookOutput, error) {
	a.at("hook " + in.HookEventName)
	raw, err := json.Marshal(in)
	if err != nil {
		return tool.HookOutput{}, err
	}
	a.tools.mu.Lock()
	a.tools.hooked = append(a.tools.hooked, in)
	a.tools.mu.Unlock()
	return builtin.RunHook(ctx, builtin.ShellOptions{}, builtin.HookCommand{Line: h.Command, Input: raw, Timeout: time.Minute})
}

func (a *testAgents) at(what string) {
	if a.trap != nil {
		a.trap(what)
	}
}

func (a *testAgents) Load(_ context.Context, _, ref string) (string, string, error) {
	a.at("load")
	if a.away.Load() {
		return "", "", holdfast.Errorf(holdfast.CodeUnavailable, "the database is not available")
	}
	if ref != "agent" {
		return "", "", holdfast.Errorf(holdfast.CodeNotFound, "no agent %q; there is: agent", ref)
	}
	if text := a.edited.Load(); text != nil {
		return "agent.yaml", *text, nil
	}
	return "agent.yaml", a.file, nil
}

func (a *testAgents) Parse(name, source string) (*agent.Team, error) {
	return agent.Parse(name, []byte(source), agent.Options{})
}

func (a *testAgents) Model(_ context.Context, _ string, _ *agent.Team, m *agent.ModelSettings) (model.Model, runtime.ModelInfo, error) {
	a.at("model")
	if err := a.absent(1, m.Name == "away"); err != nil {
		return nil, runtime.ModelInfo{}, err
	}
	built, err := a.build(m)
	info := runtime.ModelInfo{ContextLimit: cmp.Or(a.limit, 1000), Images: m.Name != "blind"}
	if err != nil || a.trap == nil {
		return built, info, err
	}
	info.Cost = func(model.Usage) float64 {
		a.at("cost")
		return 0
	}
	return &trappedModel{built, a}, info, nil
}

func (a *testAgents) Toolset(_ context.Context, _ holdfast.SessionRef, _ *agent.Team, ag *agent.Agent, t *agent.Toolset) (tool.Toolset, error) {
	a.at("toolset")
	if err := a.absent(2, t.Name == "away"); err != nil {
		return nil, err
	}
	switch t.Type {
	case "think":
		return builtin.NewThink(), nil
	case "user_prompt":
		return builtin.NewUserPrompt(), nil
	case "todo":
		return builtin.NewTodo("todo"), nil
	case "memory":
		return builtin.NewMemory(a.memory, ag.Name), nil
	case "mcp":
		if a.trap != nil {
			return &trappedTools{a.tools, a}, nil
		}
		if t.Name == "foreign" {
			return foreign{a.tools}, nil
		}
		return a.tools, nil
	}
	return nil, fmt.Errorf("no toolset %s in this test", t.Type)
}

// foreign is effects with tools of names that are the loop's, one that shows what it
// sees, and one that counts for another.
type foreign struct{ *effects }

func (f foreign) Tools(context.Context) ([]tool.Definition, error) {
	schema := json.RawMessage(`{"type":"object"}`)
	return []tool.Definition{
		{Name: "handoff", Description: "no handover", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "transfer_task", Description: "no transfer", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "put_later", Description: "as pay", Parameters: schema, Effect: tool.EffectIdempotent, NoApproval: true, RuledAs: "pay"},
		{Name: "photo", Description: "shows", Parameters: schema, Effect: tool.EffectReadOnly},
	}, nil
}

func (f foreign) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if c.Name != "photo" {
		return f.effects.Call(ctx, c)
	}
	var shown bytes.Buffer
	if err := png.Encode(&shown, image.NewGray(image.Rect(0, 0, 8, 8))); err != nil {
		return tool.Result{}, err
	}
	var large struct{ Bytes, Control int }
	if err := json.Unmarshal([]byte(c.Arguments), &large); err != nil {
		return tool.Result{}, err
	}
	shown.Write(make([]byte, large.Bytes))
	res := tool.Result{Output: "[image]" + strings.Repeat("\x00", large.Control)}
	if !res.AddImage(shown.Bytes()) {
		return tool.Result{}, errors.New("no image")
	}
	return res, nil
}

type trappedModel struct {
	model.Model
	a *testAgents
}

func (m *trappedModel) Stream(ctx context.Context, req model.Request, yield func(model.Chunk) error) error {
	m.a.at("stream " + string(req.Purpose))
	return m.Model.Stream(ctx, req, func(c model.Chunk) error {
		err := yield(c)
		m.a.at("chunk")
		return err
	})
}

type trappedTools struct {
	*effects
	a *testAgents
}

func (t *trappedTools) Tools(ctx context.Context) ([]tool.Definition, error) {
	t.a.at("tools")
	return t.effects.Tools(ctx)
}

func (t *trappedTools) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	t.a.at("call")
	return t.effects.Call(ctx, c)
}

func (t *trappedTools) Instructions() string {
	t.a.at("instructions")
	return ""
}

func (t *trappedTools) Close() error {
	t.a.at("close")
	return nil
}

// effects is the outside world: it counts what was really done, by key.
type effects struct {
	mu   sync.Mutex
	runs map[string]int // name and arguments
	keys map[string]string
	// hooked is what hooks were told, in the order in which they were run.
	hooked []runtime.HookInput
	// reached receives when the tool gate is called; it returns when open does.
	reached, open chan struct{}
	// locked, if not nil, is the error of put_holding.
	locked error
}

func (e *effects) Name() string         { return "effects" }
func (e *effects) Instructions() string { return "" }
func (e *effects) Close() error         { return nil }

func (e *effects) Tools(context.Context) ([]tool.Definition, error) {
	schema := json.RawMessage(`{"type":"object"}`)
	return []tool.Definition{
		{Name: "look", Description: "reads", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "put", Remote: "server-put", Description: "writes, keyed", Parameters: schema, Effect: tool.EffectIdempotent, NoApproval: true},
		{Name: "pay", Description: "writes, unkeyed", Parameters: schema},
		{Name: "pay_tell", Description: "writes, unkeyed", Parameters: schema, NoApproval: true, OnUnknown: "tell"},
		{Name: "pay_ask", Description: "writes, unkeyed", Parameters: schema, NoApproval: true},
		{Name: "pay_fail", Description: "writes, unkeyed", Parameters: schema, NoApproval: true, OnUnknown: "fail"},
		{Name: "flood", Description: "says a lot", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "pay_asking", Description: "asks twice, then writes, unkeyed", Parameters: schema, NoApproval: true},
		{Name: "put_holding", Description: "asks while it goes on, then writes, keyed", Parameters: schema, Effect: tool.EffectIdempotent, NoApproval: true},
		{Name: "panic", Description: "fails badly", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "gate", Description: "waits to be opened", Parameters: schema, Effect: tool.EffectReadOnly},
		{Name: "hang", Description: "waits for ever", Parameters: schema, Effect: tool.EffectReadOnly},
	}, nil
}

func (e *effects) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	switch c.Name {
	case "panic":
		panic("the tool is broken")
	case "gate":
		e.reached <- struct{}{}
		select {
		case <-e.open:
			return tool.Result{Output: "open"}, nil
		case <-ctx.Done():
			return tool.Result{}, context.Cause(ctx)
		}
	case "hang":
		<-ctx.Done()
		return tool.Result{}, context.Cause(ctx)
	case "flood":
		if strings.Contains(c.Arguments, "page") { // a little more than a conversation holds
			return tool.Result{Output: strings.Repeat("a line of sixteen\n", 8<<10)}, nil
		}
		if strings.Contains(c.Arguments, "nul") { // which takes much room in JSON
			return tool.Result{Output: strings.Repeat("\x00", 120<<10)}, nil
		}
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 'a' + byte(i%26)
		}
		return tool.Result{Output: string(b)}, nil
	}
	asked := ""
	switch c.Name {
	case "pay_asking":
		schema := json.RawMessage(`{"type":"object","properties":{"amount":{"type":"integer","minimum":1}},"required":["amount"]}`)
		switch string(c.Continuation) {
		case "":
			return tool.Result{}, &tool.InputRequired{Continuation: json.RawMessage(`{"step":1}`), Requests: []tool.InputRequest{
				{Key: "how much", Message: "How much?", Schema: schema}, {Key: "sure", Message: "Sure?"},
			}}
		case `{"step":1}`:
			if c.Input["sure"].Action != tool.InputAccept {
				return tool.Result{Output: "not paid"}, nil
			}
			return tool.Result{}, &tool.InputRequired{
				Continuation: json.RawMessage(`{"step":2,"amount":` + string(c.Input["how much"].Content) + `}`),
				Requests:     []tool.InputRequest{{Key: "really", Message: "Really?", ServerURL: "http://effects.test/"}},
			}
		}
		asked = string(c.Continuation) + c.Input["really"].Action
	case "put_holding":
		if e.locked != nil {
			return tool.Result{}, e.locked
		}
		answer, err := c.Elicit(ctx, tool.InputRequest{Message: "May I?", Schema: json.RawMessage(`{"type":"object"}`)})
		if err != nil {
			return tool.Result{}, err
		}
		asked = answer.Action + string(answer.Content)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keys == nil {
		e.keys = map[string]string{}
	}
	what := c.Name + c.Arguments + asked
	if strings.HasPrefix(c.Name, "put") {
		if _, done := e.keys[c.IdempotencyKey]; done {
			return tool.Result{Output: "done " + what}, nil
		}
		e.keys[c.IdempotencyKey] = what
	}
	e.runs[what]++
	return tool.Result{Output: "done " + what}, nil
}
