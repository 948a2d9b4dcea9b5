package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Pauses before a server that failed is started again. The first restart comes
// at once; each further failure in a row doubles the pause.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// Toolset is an MCP server. It may be used by several goroutines.
type Toolset struct {
	cfg    Config
	opts   Options
	url    *url.URL // nil for a command
	log    *slog.Logger
	stderr ring

	life  context.Context // ends with Close
	close context.CancelFunc
	// starting holds a token while somebody starts the server or lists its tools.
	starting chan struct{}
	// calls is held for reading by every call under way, so that Close can wait
	// until their servers know that they are over.
	calls sync.RWMutex

	mu           sync.Mutex
	conn         *connection
	tools        []remote
	known        bool // tools were listed at least once
	stale        bool // and have changed since
	goodUntil    time.Time
	instructions string
	failures     int // in a row: starts that failed, lives that ended by themselves
	notBefore    time.Time
	closed       bool
}

var _ tool.Toolset = (*Toolset)(nil)

// New returns the toolset of a server, which is not started yet. The error has
// the code invalid.
func New(cfg Config, opts Options) (*Toolset, error) {
	u, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	if opts.StartTimeout <= 0 {
		opts.StartTimeout = defaultStartTimeout
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = defaultCallTimeout
	}
	if opts.ListAge <= 0 {
		opts.ListAge = defaultListAge
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	t := &Toolset{cfg: cfg, opts: opts, url: u, log: opts.Logger, starting: make(chan struct{}, 1), instructions: cfg.Instruction}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.life, t.close = context.WithCancel(context.Background())
	return t, nil
}

// Name implements [tool.Toolset].
func (t *Toolset) Name() string { return t.cfg.Name }

// Instructions implements [tool.Toolset]: the configured text, else what the
// server said when it was started last.
func (t *Toolset) Instructions() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.instructions
}

// Stderr returns the last 64 KiB of what the command wrote to its standard
// error, over all its lives, and of lines on standard output that were no
// messages. It is empty for a URL.
func (t *Toolset) Stderr() string { return t.stderr.String() }

// Tools implements [tool.Toolset]. The list is kept until the server says that
// it changed, is started again, or the list is old ([Options.ListAge]).
func (t *Toolset) Tools(ctx context.Context) ([]tool.Definition, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listing the tools of %s: %w", t.cfg.Name, err)
	}
	t.mu.Lock()
	t.stale = t.stale || time.Now().After(t.goodUntil)
	t.mu.Unlock()
	tools, err := t.list(ctx)
	if err != nil {
		return nil, err
	}
	defs := make([]tool.Definition, len(tools))
	for i, r := range tools {
		defs[i] = r.def
	}
	return defs, nil
}

// Call implements [tool.Toolset]. Go errors are those of a canceled context and
// of missing authorization (*tool.AuthorizationError, or what the deployment's
// RoundTripper returned), and *tool.InputRequired.
func (t *Toolset) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if err := ctx.Err(); err != nil {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, err)
	}
	if strings.TrimSpace(c.Arguments) == "" {
		c.Arguments = "{}"
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(c.Arguments), &object); err != nil || object == nil {
		return tool.ErrorResult(fmt.Sprintf("The arguments of %s are no JSON object.", c.Name)), nil
	}
	target, ok, err := t.resolve(ctx, c.Name)
	if err != nil {
		return t.explain(ctx, err)
	}
	if !ok {
		return tool.ErrorResult(fmt.Sprintf("There is no tool %q in the toolset %q.", c.Name, t.cfg.Name)), nil
	}
	c.Arguments = withoutNulls(c.Arguments, object, target.def.Parameters)
	again, err := resume(c)
	if err != nil {
		return tool.ErrorResult("The call cannot go on: " + err.Error() + "."), nil
	}
	shed := 0
	for retry := true; ; retry = false {
		conn, err := t.connected(ctx)
		if err != nil {
			return t.explain(ctx, err)
		}
		res, err := t.callOnce(ctx, conn, target, c, again, retry)
		var later *laterError
		if errors.As(err, &later) && shed < maxShed {
			shed++
			again = later.again
			if err = sleep(ctx, shedPause); err == nil {
				continue
			}
		}
		if retry && errors.Is(err, transport.ErrSessionTerminated) {
			// The server forgot the session, so it did not run the call: the protocol
			// says to start a new session.
			conn.stale.Store(true)
			continue
		}
		if err != nil {
			return t.explain(ctx, err)
		}
		return res, nil
	}
}

// Close implements [tool.Toolset]. Calls in flight end with an error result.
func (t *Toolset) Close() error {
	t.close()
	t.calls.Lock()
	defer t.calls.Unlock()
	t.starting <- struct{}{} // whoever is starting sees that life is over and leaves
	defer func() { <-t.starting }()
	t.mu.Lock()
	conn := t.conn
	t.conn, t.closed = nil, true
	t.mu.Unlock()
	if conn != nil {
		conn.close()
	}
	return nil
}

func (t *Toolset) markStale() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = true
}

// laterError is a server that wants the same call again in a while.
type laterError struct{ again *resumption }

func (*laterError) Error() string { return "the server is busy and asks to be called again later" }

// callOnce makes one attempt on one connection. A session that the server does
// not know is an error if the caller would retry, else a result.
func (t *Toolset) callOnce(ctx context.Context, conn *connection, target remote, c tool.Call, again *resumption, retry bool) (tool.Result, error) {
	t.calls.RLock()
	defer t.calls.RUnlock()
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(t.life, cancel)
	defer stop()
	limit := newPatience(t.opts.CallTimeout, cancel)
	defer limit.timer.Stop()
	var a *asker
	if c.Elicit != nil {
		a = &asker{ctx: callCtx, elicit: c.Elicit, patience: limit, serverURL: t.cfg.URL}
	}
	seen, err := conn.call(callCtx, target, c, a, again)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return tool.Result{}, ctx.Err()
	case seen.rpcError != nil:
		t.succeeded(conn)
		return tool.ErrorResult(tool.BoundTo(fmt.Sprintf("The server refused the call: %s (code %d).",
			seen.rpcError.Message, seen.rpcError.Code), maxErrorBody)), nil
	case len(seen.result) > 0 && asksForInput(seen.result):
		t.succeeded(conn)
		asked, later, err := questions(seen.result, t.cfg.URL)
		switch {
		case err != nil:
			return tool.ErrorResult("The call was not finished: " + err.Error() + "."), nil
		case asked != nil:
			return tool.Result{}, asked
		}
		return tool.Result{}, &laterError{later}
	case err == nil:
		t.succeeded(conn)
		if target.method != "" {
			return parseConsulted(target.method, seen.result), nil
		}
		return parseResult(seen.result), nil
	case isAuthorization(err), retry && errors.Is(err, transport.ErrSessionTerminated):
		return tool.Result{}, err
	case t.life.Err() != nil:
		return tool.ErrorResult("The server was closed during the call. Whether the call changed anything is unknown."), nil
	case callCtx.Err() != nil:
		return tool.ErrorResult(fmt.Sprintf("The server gave no answer in time and was told to stop (limit %v). "+
			"Whether the call changed anything is unknown.", t.limit(ctx))), nil
	}
	if broken := seen.failure(); broken != nil {
		err = broken
	}
	restart := ""
	if conn.life.Err() != nil {
		restart = " It is started again for the next call."
	}
	return tool.ErrorResult(fmt.Sprintf("The call failed: %s. Whether it changed anything is unknown.%s", plain(err), restart)), nil
}

// limit is what bounded the call, in words.
func (t *Toolset) limit(ctx context.Context) string {
	if ctx.Err() != nil {
		return "that of the run"
	}
	return t.opts.CallTimeout.String()
}

// explain turns an error into what Call answers with.
func (t *Toolset) explain(ctx context.Context, err error) (tool.Result, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return tool.Result{}, fmt.Errorf("calling the MCP server %s: %w", t.cfg.Name, ctx.Err())
	}
	if asked := (*tool.InputRequired)(nil); errors.As(err, &asked) {
		return tool.Result{}, asked
	}
	if later := (*laterError)(nil); errors.As(err, &later) {
		return tool.ErrorResult("The call was not finished: " + later.Error() + "."), nil
	}
	if isAuthorization(err) {
		return tool.Result{}, fmt.Errorf("calling the MCP server %s: %w", t.cfg.Name, err)
	}
	if ctx.Err() != nil {
		return tool.ErrorResult(fmt.Sprintf("The MCP server %q was not ready in time, so the call was not made.", t.cfg.Name)), nil
	}
	return tool.ErrorResult(holdfast.PublicMessage(err) + "."), nil
}

// isAuthorization reports whether an error is one that the caller must act on:
// any with the code unauthorized.
func isAuthorization(err error) bool {
	return err != nil && holdfast.CodeOf(err) == holdfast.CodeUnauthorized
}

// resolve returns the tool of that name, and whether there is one.
func (t *Toolset) resolve(ctx context.Context, name string) (remote, bool, error) {
	tools, err := t.list(ctx)
	if err != nil {
		return remote{}, false, err
	}
	i := slices.IndexFunc(tools, func(r remote) bool { return r.def.Name == name })
	if i < 0 {
		return remote{}, false, nil
	}
	return tools[i], true, nil
}

// list returns the tools, asking the server unless they are known and have not
// changed.
func (t *Toolset) list(ctx context.Context) ([]remote, error) {
	t.mu.Lock()
	tools, good := t.tools, t.known && !t.stale
	t.mu.Unlock()
	if good {
		return tools, nil
	}
	for retry := true; ; retry = false {
		conn, err := t.connected(ctx)
		if err != nil {
			return nil, err
		}
		tools, err = t.listOnce(ctx, conn)
		if errors.Is(err, transport.ErrSessionTerminated) {
			conn.stale.Store(true)
			if retry {
				continue
			}
		}
		if err != nil {
			return nil, t.startError(ctx, "does not list its tools", err)
		}
		return tools, nil
	}
}

func (t *Toolset) listOnce(ctx context.Context, conn *connection) ([]remote, error) {
	// Changes that are told from here on make the new list stale. A server that
	// does not tell any more has to be asked each time.
	t.mu.Lock()
	t.stale = conn.deaf.Load()
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
	defer cancel()
	asked := time.Now()
	all, age, err := conn.list(ctx, t.opts.ListAge)
	if err != nil {
		t.markStale()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", t.opts.CallTimeout)
		}
		return nil, err
	}
	tools := define(all, t.cfg.Prefix, t.cfg.Tools)
	tools = append(tools, catalogueTools(t.cfg.Name, conn.prompts, conn.resources, tools, t.cfg.Tools)...)
	t.mu.Lock()
	t.tools, t.known, t.goodUntil = tools, true, asked.Add(age)
	t.mu.Unlock()
	return tools, nil
}

// connected returns a connection that can be used, starting the server if there
// is none.
func (t *Toolset) connected(ctx context.Context) (*connection, error) {
	if conn, err := t.current(); conn != nil || err != nil {
		return conn, err
	}
	select {
	case t.starting <- struct{}{}:
		defer func() { <-t.starting }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the MCP server %s: %w", t.cfg.Name, ctx.Err())
	case <-t.life.Done():
		return nil, t.errClosed()
	}
	if conn, err := t.current(); conn != nil || err != nil {
		return conn, err // somebody else was quicker
	}
	t.mu.Lock()
	old := t.conn
	t.conn = nil
	if old != nil && !old.stale.Load() {
		t.failed()
	}
	wait := time.Until(t.notBefore)
	t.mu.Unlock()
	if old != nil {
		t.log.Info("MCP server is started again", "toolset", t.cfg.Name, "reason", context.Cause(old.life))
		old.close()
	}

	startCtx, cancel := context.WithTimeout(ctx, t.opts.StartTimeout)
	defer cancel()
	stop := context.AfterFunc(t.life, cancel)
	defer stop()
	if err := sleep(startCtx, wait); err != nil {
		return nil, t.startError(ctx, "failed before and is not started again yet", err)
	}
	conn, err := t.connect(startCtx)
	if err != nil {
		if t.life.Err() != nil {
			return nil, t.errClosed()
		}
		if errors.Is(startCtx.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			err = fmt.Errorf("no answer within %v", t.opts.StartTimeout)
		}
		if !isAuthorization(err) && !errors.Is(ctx.Err(), context.Canceled) {
			t.mu.Lock()
			t.failed()
			t.mu.Unlock()
		}
		return nil, t.startError(ctx, "does not start", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn, t.stale = conn, true
	if t.cfg.Instruction == "" {
		t.instructions = conn.instructions
	}
	return conn, nil
}

// current returns the connection if it can be used, nil if there is none. The
// error is that of a closed toolset, or the want of authorization that showed
// beside the calls.
func (t *Toolset) current() (*connection, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.life.Err() != nil {
		return nil, t.errClosed()
	}
	if t.conn == nil || !t.conn.usable() {
		return nil, nil
	}
	if err := t.conn.denied.Load(); err != nil {
		// Said once: whoever has been authorized since then gets a new connection.
		t.conn.stale.Store(true)
		return nil, fmt.Errorf("listening to the MCP server %s: %w", t.cfg.Name, err.err)
	}
	return t.conn, nil
}

func (t *Toolset) errClosed() error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "the MCP server %q is closed", t.cfg.Name)
}

// failed notes a failure, for the pause before the next start. t.mu is held.
func (t *Toolset) failed() {
	t.failures++
	if t.failures > 1 {
		t.notBefore = time.Now().Add(min(maxBackoff, minBackoff<<min(t.failures-2, 10)))
	}
}

// succeeded forgets failures: the server works.
func (t *Toolset) succeeded(conn *connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == conn {
		t.failures, t.notBefore = 0, time.Time{}
	}
}

// stderrTail is how much of the standard error goes into an error.
const stderrTail = 512

// startError says what a user needs to know about a server that does not work.
func (t *Toolset) startError(ctx context.Context, what string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("MCP server %s: %w", t.cfg.Name, ctx.Err())
	}
	if isAuthorization(err) {
		return fmt.Errorf("MCP server %s: %w", t.cfg.Name, err)
	}
	message := fmt.Sprintf("the MCP server %q %s: %s", t.cfg.Name, what, plain(err))
	if t.url == nil {
		if tail := t.stderr.tail(stderrTail); tail != "" {
			message += "; its last words: " + tail
		}
	}
	return holdfast.WrapError(holdfast.CodeUnavailable, err, tool.BoundTo(message, maxErrorBody))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
