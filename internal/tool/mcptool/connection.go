package mcptool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxInstructions bounds what a server may add to the system prompt.
	maxInstructions = 32 << 10
	// maxAnswering is how many requests of a server over HTTP are answered at the
	// same time; further ones wait, and with them the stream they came in.
	maxAnswering = 4
	// answerTimeout bounds the sending of one answer.
	answerTimeout = 5 * time.Second
	// maxCanceling is how many calls a server is being told to forget at the same time.
	maxCanceling = 16
	// maxHeld is how long the older transport may wait for an answer: calls end
	// earlier by themselves, but for the time that a user takes to answer.
	maxHeld = 30 * 24 * time.Hour
	// maxListen is how long after the handshake a call waits for the stream in which
	// the server may ask the user.
	maxListen = 2 * time.Second
	// closeGrace is how long Close waits until servers know what was canceled.
	closeGrace = time.Second
)

// connection is one life of a server: a process, or a session over HTTP.
type connection struct {
	name   string
	client *client.Client
	tap    *tap

	life context.Context // ends with the connection; its cause is why
	end  context.CancelCauseFunc

	instructions string
	prompts      bool        // it has some
	resources    bool        // it has some
	toolless     bool        // it declares that it has no tools
	excludes     bool        // the client's list leaves tools out that must not be used
	stale        atomic.Bool // the server does not know the session any more
	deaf         atomic.Bool // it does not tell of changed tools any more
	onChanged    func()      // the list of tools is another
	// denied is why the server does not let us listen, if that is for want of
	// authorization.
	denied atomic.Pointer[captureFailure]

	mu       sync.Mutex
	tokens   uint64
	progress map[string]*progress
	askers   []*asker // of the calls under way

	answering slots
	asking    slots // questions that the user is asked
	// listening closes listens when the stream for what belongs to no call is open, or
	// the server has none. Until then a server may lose its questions.
	listening func()
	listens   chan struct{}

	httpClient *http.Client  // nil for a command
	endpoint   func() string // where answers to the server go
	watcher    sync.WaitGroup
	unlisten   func()
	release    func()
}

// progress hands on what a server says during one call, and nothing after it.
type progress struct {
	mu   sync.Mutex
	emit func(string) // nil once the call is over
}

func newConnection(name string, onChanged func()) *connection {
	c := &connection{
		name: name, onChanged: onChanged,
		progress:  make(map[string]*progress),
		answering: make(slots, maxAnswering), asking: make(slots, maxQuestions),
	}
	c.listens = make(chan struct{})
	c.listening = sync.OnceFunc(func() { close(c.listens) })
	c.life, c.end = context.WithCancelCause(context.Background())
	return c
}

// connect starts the server and shakes hands. The context bounds that alone.
func (t *Toolset) connect(ctx context.Context) (*connection, error) {
	c, err := t.connectAs(ctx, t.cfg.Transport == TransportSSE)
	if errors.Is(err, errNoRevisions) {
		return t.connectAs(ctx, true)
	}
	return c, err
}

// connectAs connects, with a server of an older protocol (legacy) without the probe for
// the newest.
func (t *Toolset) connectAs(ctx context.Context, legacy bool) (_ *connection, err error) {
	c := newConnection(t.cfg.Name, t.markStale)
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	inner, err := t.dial(c)
	if err != nil {
		return nil, err
	}
	c.tap = &tap{
		inner: inner, life: c.life, canceling: make(slots, maxCanceling),
		byStream: t.url != nil && t.cfg.Transport != TransportSSE,
	}
	options := []client.ClientOption{client.WithClientCapabilities(mcp.ClientCapabilities{
		Elicitation: &mcp.ElicitationCapability{Form: &struct{}{}, URL: &struct{}{}},
	})}
	if legacy {
		// HTTP with SSE belongs to a protocol older than the probe.
		options = append(options, client.WithProtocolVersion(mcp.LATEST_LEGACY_PROTOCOL_VERSION))
	}
	c.client = client.NewClient(c.tap, options...)
	c.client.OnNotification(c.notified)

	// The streams that the start opens live as long as the connection, so the
	// caller's context may only end them while the start is under way.
	stop := context.AfterFunc(ctx, func() { c.end(ctx.Err()) })
	defer stop()
	if err := c.client.Start(c.life); err != nil {
		if cause := context.Cause(c.life); cause != nil && ctx.Err() == nil {
			return nil, cause
		}
		return nil, err
	}
	var hello mcp.InitializeRequest
	hello.Params.ClientInfo = mcp.Implementation{Name: "holdfast", Version: t.opts.Version}
	helloCtx, seen := withCapture(ctx)
	info, err := c.client.Initialize(helloCtx, hello)
	if err != nil {
		if cause := context.Cause(c.life); cause != nil && ctx.Err() == nil {
			return nil, cause
		}
		if broken := seen.failure(); broken != nil {
			return nil, broken
		}
		return nil, err
	}
	c.instructions = tool.BoundTo(info.Instructions, maxInstructions)
	c.prompts, c.resources = info.Capabilities.Prompts != nil, info.Capabilities.Resources != nil
	// Who declares nothing at all is asked: some old servers have tools all the same.
	c.toolless = info.Capabilities.Tools == nil && (c.prompts || c.resources)
	modern := mcp.IsModernProtocol(c.client.ProtocolVersion())
	if modern || !c.tap.byStream {
		c.listening()
	} else {
		// A server may hold back the header of that stream until it has something to say.
		time.AfterFunc(maxListen, c.listening)
	}
	c.excludes = modern && c.tap.byStream
	if modern && info.Capabilities.Tools != nil && info.Capabilities.Tools.ListChanged {
		// In the newest protocol changes have to be asked for.
		c.listen(t.log)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return c, nil
}

// listen keeps a stream open on which the server tells of changed tools. When
// the stream ends the list counts as changed, and is asked for each time.
func (c *connection) listen(log *slog.Logger) {
	ctx, cancel := context.WithCancel(c.life)
	c.unlisten = cancel
	c.watcher.Go(func() {
		defer cancel()
		err := c.client.Listen(ctx, mcp.SubscriptionFilter{ToolsListChanged: true})
		if ctx.Err() == nil {
			c.deny(err)
			log.Debug("MCP server does not tell of changed tools any more", "toolset", c.name, "err", err)
			c.deaf.Store(true)
			c.onChanged()
		}
	})
}

// deny notes that the server wants an authorization for what goes on beside the
// calls, so that the next use of the toolset asks for it.
func (c *connection) deny(err error) {
	if isAuthorization(err) && c.denied.CompareAndSwap(nil, &captureFailure{err}) {
		c.onChanged()
	}
}

// dial makes the transport: for a command that means to start it.
func (t *Toolset) dial(c *connection) (transport.Interface, error) {
	if t.url == nil {
		s, err := startStdio(&t.cfg, t.opts.InheritEnv, &t.stderr, c.end, c.ask)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	base := t.opts.RoundTripper
	if base == nil {
		own := tool.NewTransport()
		base, c.release = own, own.CloseIdleConnections
	}
	httpClient := &http.Client{Transport: &guard{
		base: base, name: t.cfg.Name, origin: t.url, headers: t.cfg.Headers, agent: "holdfast/" + t.opts.Version,
		onRequest: c.answer,
		onStale:   func() { c.stale.Store(true) },
		onListen:  t.markStale,
		onGet:     c.listening,
		onDenied:  c.deny,
		denied: func() error {
			if f := c.denied.Load(); f != nil {
				return f.err
			}
			return nil
		},
	}}
	// The transports log what they also return, or what a server without an
	// optional feature does.
	quiet := slog.New(slog.DiscardHandler)
	if t.cfg.Transport == TransportSSE {
		s, err := transport.NewSSE(t.cfg.URL, transport.WithHTTPClient(httpClient), transport.WithSSELogger(quiet),
			transport.WithEndpointTimeout(t.opts.StartTimeout), transport.WithResponseTimeout(maxHeld))
		if err != nil {
			return nil, fmt.Errorf("preparing the connection: %w", err)
		}
		s.SetConnectionLostHandler(func(err error) { c.end(fmt.Errorf("the server closed the event stream: %w", err)) })
		c.httpClient = httpClient
		c.endpoint = func() string {
			if u := s.GetEndpoint(); u != nil {
				return u.String()
			}
			return t.cfg.URL
		}
		return s, nil
	}
	//lint:ignore SA1019 this is how servers of the older revisions tell of changes, and those are spoken too
	listening := transport.WithContinuousListening()
	s, err := transport.NewStreamableHTTP(t.cfg.URL, transport.WithHTTPBasicClient(httpClient), transport.WithHTTPLogger(quiet), listening)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	c.httpClient = httpClient
	c.endpoint = func() string { return t.cfg.URL }
	return s, nil
}

// close ends the connection and waits until nothing of it is left.
func (c *connection) close() {
	if c.unlisten != nil {
		c.unlisten()
	}
	got := 0
	if c.tap != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		got = c.tap.canceling.drain(ctx, 0)
		cancel()
	}
	c.end(errClosed)
	if c.tap != nil {
		_ = c.tap.Close() // a server that does not say goodbye is gone all the same
		c.tap.canceling.drain(context.Background(), got)
	}
	c.answering.drain(context.Background(), 0)
	c.asking.drain(context.Background(), 0)
	c.watcher.Wait()
	if c.release != nil {
		c.release()
	}
}

// usable reports whether the next call may use this connection.
func (c *connection) usable() bool { return c.life.Err() == nil && !c.stale.Load() }

// heeded reports whether a notification is one that notified acts on; others
// need not be read.
func heeded(method string) bool {
	switch method {
	case mcp.MethodNotificationToolsListChanged, mcp.MethodNotificationSubscriptionsAcknowledged, string(mcp.MethodNotificationProgress):
		return true
	}
	return false
}

func (c *connection) notified(n mcp.JSONRPCNotification) {
	switch n.Method {
	case mcp.MethodNotificationToolsListChanged, mcp.MethodNotificationSubscriptionsAcknowledged:
		// Only from the acknowledgement on are changes told, so the list from before
		// may miss one.
		c.onChanged()
	case string(mcp.MethodNotificationProgress):
		token, ok := n.Params.AdditionalFields["progressToken"].(string)
		if !ok {
			return
		}
		c.mu.Lock()
		p := c.progress[token]
		c.mu.Unlock()
		if p == nil {
			return
		}
		text := progressText(n.Params.AdditionalFields)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.emit != nil {
			p.emit(text)
		}
	}
}

const maxProgressText = 4 << 10

func progressText(fields map[string]any) string {
	done, total := fields["progress"], fields["total"]
	text := fmt.Sprint(done)
	if total != nil {
		text = fmt.Sprintf("%v of %v", done, total)
	}
	if message, ok := fields["message"].(string); ok && message != "" {
		text = message + " (" + text + ")"
	}
	return tool.BoundTo(text, maxProgressText)
}

// watch registers a call for progress. The function that it returns ends that;
// after it, emit is not called any more.
func (c *connection) watch(emit func(string)) (token string, end func()) {
	p := &progress{emit: emit}
	c.mu.Lock()
	c.tokens++
	token = fmt.Sprintf("holdfast-%d", c.tokens)
	c.progress[token] = p
	c.mu.Unlock()
	return token, func() {
		c.mu.Lock()
		delete(c.progress, token)
		c.mu.Unlock()
		p.mu.Lock()
		p.emit = nil
		p.mu.Unlock()
	}
}

// list asks for all tools, page by page, and returns how long they are good: for
// maxAge, or what the server says if that is less (MCP 2026-07-28, ttlMs) and it
// does not tell of changes by itself.
func (c *connection) list(ctx context.Context, maxAge time.Duration) (all []listed, age time.Duration, _ error) {
	age = maxAge
	if c.toolless {
		return nil, age, nil
	}
	var req mcp.ListToolsRequest
	for range maxPages {
		pageCtx, seen := withCapture(ctx)
		page, err := c.client.ListToolsByPage(pageCtx, req)
		if err != nil {
			if broken := seen.failure(); broken != nil {
				return nil, 0, broken
			}
			return nil, 0, err
		}
		tools, err := parseTools(seen.result)
		if err != nil {
			return nil, 0, err
		}
		if ms, ok := page.TTL(); ok && ms >= 0 && c.unlisten == nil && ms < age.Milliseconds() {
			age = time.Duration(ms) * time.Millisecond
		}
		for _, l := range tools {
			if !c.excludes || containsTool(page.Tools, l.Name) {
				all = append(all, l)
			}
		}
		if len(all) > maxTools {
			return nil, 0, fmt.Errorf("the server has more than %d tools", maxTools)
		}
		if page.NextCursor == "" {
			return all, age, nil
		}
		if page.NextCursor == req.Params.Cursor {
			return nil, 0, errors.New("the list of tools does not end: a page points to itself")
		}
		req.Params.Cursor = page.NextCursor
	}
	return nil, 0, fmt.Errorf("the list of tools has more than %d pages", maxPages)
}

func containsTool(tools []mcp.Tool, name string) bool {
	for i := range tools {
		if tools[i].Name == name {
			return true
		}
	}
	return false
}

// call runs a tool. What the server answered is in the capture, also when the
// error is not nil.
func (c *connection) call(ctx context.Context, r remote, call tool.Call, a *asker, again *resumption) (*capture, error) {
	if r.method != "" {
		return c.consult(ctx, r.method, call, a, again)
	}
	emit := call.Progress
	if emit == nil {
		emit = func(string) {}
	}
	token, end := c.watch(emit)
	defer end()
	var req mcp.CallToolRequest
	req.Params.Name = r.name
	req.Params.Arguments = json.RawMessage(call.Arguments)
	req.Params.Meta = &mcp.Meta{ProgressToken: token, AdditionalFields: map[string]any{}}
	if call.IdempotencyKey != "" {
		req.Params.Meta.AdditionalFields[KeyMeta] = call.IdempotencyKey
	}
	if a != nil {
		select {
		case <-c.listens:
		case <-ctx.Done(): // the call says so
		}
	}
	defer c.offer(a)()
	ctx, seen := withCapture(ctx)
	seen.asker, seen.resume = a, again
	_, err := c.client.CallTool(ctx, req)
	return seen, err
}

// answer replies to a request that came within an HTTP stream, by a POST of its
// own. It blocks while too many replies are under way.
func (c *connection) answer(ctx context.Context, raw []byte) error {
	send := func(r *reply) {
		if body, err := json.Marshal(r); err == nil { // of what came as JSON and is JSON
			c.post(body)
		}
	}
	if c.ask(ctx, raw, send) {
		return nil
	}
	r := answerServer(raw)
	if r == nil {
		return nil
	}
	select {
	case c.answering <- struct{}{}:
		c.answering.run(func() { send(r) })
		return nil
	case <-c.life.Done():
		return context.Cause(c.life)
	}
}

// post sends an answer. A server that does not take it has itself to blame: it
// waits for what it asked until it gives up.
func (c *connection) post(body []byte) {
	ctx, cancel := context.WithTimeout(c.life, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint(), bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if id := c.tap.GetSessionId(); id != "" {
		req.Header.Set(transport.HeaderKeySessionID, id)
	}
	if v := c.tap.protocolVersion(); v != "" {
		req.Header.Set(transport.HeaderKeyProtocolVersion, v)
	}
	if resp, err := c.httpClient.Do(req); err == nil {
		_ = resp.Body.Close() // the answer to an answer says nothing
	}
}
