package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// cancelTimeout bounds how long a server may take to be told that a request is
// not wanted any more.
const cancelTimeout = 5 * time.Second

// capture collects what mcp-go's client would lose of one exchange. It travels
// in the context of the request.
type capture struct {
	result   json.RawMessage                // as it came
	rpcError *mcp.JSONRPCErrorDetails       // of the server
	broken   atomic.Pointer[captureFailure] // why the answer could not be read
	// asker puts questions of the server to the user, nil if nobody can be asked;
	// resume goes with the request.
	asker  *asker
	resume *resumption
}

type captureFailure struct{ err error }

type captureKey struct{}

func withCapture(ctx context.Context) (context.Context, *capture) {
	c := new(capture)
	return context.WithValue(ctx, captureKey{}, c), c
}

// captureOf never returns nil: what nobody collects is dropped.
func captureOf(ctx context.Context) *capture {
	if c, ok := ctx.Value(captureKey{}).(*capture); ok {
		return c
	}
	return new(capture)
}

func (c *capture) setBroken(err error) { c.broken.CompareAndSwap(nil, &captureFailure{err}) }

// failure returns why the answer could not be read, nil if that is not known.
func (c *capture) failure() error {
	if f := c.broken.Load(); f != nil {
		return f.err
	}
	return nil
}

// errNoRevisions is of a probe that was answered with something else. The transport by
// streams takes every answer for that of a server of the newest protocol, and may open
// no stream for what belongs to no call: a new one has to be told.
var errNoRevisions = errors.New("the server does not name the revisions that it speaks")

// tap is between mcp-go's client and a transport. It keeps results as they came,
// because the client's types lose parts of them (of a tool's schema, for
// example) and refuse what they do not know; it tells servers what is not wanted
// any more; and it ends requests when the connection ends.
type tap struct {
	inner transport.Interface
	// life ends with the connection; its cause is the reason.
	life context.Context
	// byStream says that ending a request's HTTP stream is its cancellation in
	// the newest protocol.
	byStream bool
	version  atomic.Value // string
	// canceling are the notifications under way that say what is not wanted any more.
	canceling slots
	// refused is why the older handshake must not follow the probe for the newest protocol
	// on this connection: errNoRevisions, or the want of authorization. In that case the
	// client would try the older handshake, which says nothing new: some servers answer it
	// to anybody, or not at all. It belongs to whoever shakes hands.
	refused error
}

// Being a transport.HTTPConnection (it has SetProtocolVersion) makes the client
// leave the cancelling to us for every transport.
var _ transport.HTTPConnection = (*tap)(nil)

func (t *tap) Start(ctx context.Context) error { return t.inner.Start(ctx) }
func (t *tap) Close() error                    { return t.inner.Close() }
func (t *tap) GetSessionId() string            { return t.inner.GetSessionId() }
func (t *tap) SetNotificationHandler(h func(mcp.JSONRPCNotification)) {
	t.inner.SetNotificationHandler(h)
}

// SendNotification implements transport.Interface.
func (t *tap) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	return t.inner.SendNotification(ctx, n)
}

// SetProtocolVersion implements transport.HTTPConnection.
func (t *tap) SetProtocolVersion(version string) {
	t.version.Store(version)
	if c, ok := t.inner.(transport.HTTPConnection); ok {
		c.SetProtocolVersion(version)
	}
}

func (t *tap) protocolVersion() string {
	v, _ := t.version.Load().(string)
	return v
}

// SendRequest implements transport.Interface.
func (t *tap) SendRequest(ctx context.Context, req transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	c := captureOf(ctx)
	if t.refused != nil && mcp.MCPMethod(req.Method) == mcp.MethodInitialize {
		return nil, t.refused
	}
	if c.resume != nil { // a capture with one is of a single request
		var err error
		if req.Params, err = c.resume.into(req.Params); err != nil {
			return nil, err
		}
	}
	// The transports must not see the deadline: one of them ends a little before
	// it by itself, and nobody could tell why.
	requestCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stopCaller := context.AfterFunc(ctx, cancel)
	stopLife := context.AfterFunc(t.life, cancel)
	resp, err := t.inner.SendRequest(requestCtx, req)
	if err == nil && mcp.MCPMethod(req.Method) == mcp.MethodServerDiscover {
		resp, err = t.discovered(requestCtx, req, resp)
	}
	stopCaller()
	stopLife()
	cancel()
	if err != nil {
		if cause := context.Cause(t.life); cause != nil {
			return nil, cause
		}
		if ctx.Err() != nil {
			t.cancelRequest(ctx, req)
		}
		if mcp.MCPMethod(req.Method) == mcp.MethodServerDiscover && isAuthorization(err) {
			t.refused = err
		}
		return nil, err
	}
	if resp.Error != nil {
		c.rpcError = resp.Error
		return resp, nil
	}
	c.result = resp.Result
	seen := *resp
	switch mcp.MCPMethod(req.Method) {
	case mcp.MethodToolsList:
		seen.Result = readableTools(resp.Result)
	case mcp.MethodToolsCall:
		// A result that asks for input too: the client would ask by itself.
		seen.Result = json.RawMessage(`{"content":[]}`)
	default:
		if empty := emptyResult(mcp.MCPMethod(req.Method)); empty != nil {
			seen.Result = empty
		}
	}
	return &seen, nil
}

// discovered looks at the answer to the probe for the newest protocol. A server that
// refuses our revision and names it among those that it supports is asked once more
// (SEP-2575). One that answers whatever it does not know with an empty result has
// not understood: a result names the revisions, or it is none.
func (t *tap) discovered(ctx context.Context, req transport.JSONRPCRequest, resp *transport.JSONRPCResponse) (*transport.JSONRPCResponse, error) {
	if resp.Error != nil && resp.Error.Code == mcp.UNSUPPORTED_PROTOCOL_VERSION {
		var refused mcp.UnsupportedProtocolVersionError
		if errors.As(resp.Error.AsError(), &refused) && slices.Contains(refused.Supported, t.protocolVersion()) {
			req.ID = mcp.NewRequestId("again-" + req.ID.String())
			var err error
			if resp, err = t.inner.SendRequest(ctx, req); err != nil {
				return nil, err
			}
		}
	}
	var result struct {
		Versions []string `json:"supportedVersions"`
	}
	if resp.Error == nil && (json.Unmarshal(resp.Result, &result) != nil || len(result.Versions) == 0) {
		if t.byStream {
			t.refused = errNoRevisions
		}
		none := *resp
		none.Result, none.Error = nil, &mcp.JSONRPCErrorDetails{Code: mcp.METHOD_NOT_FOUND, Message: "the server does not know " + req.Method}
		return &none, nil
	}
	return resp, nil
}

// cancelRequest tells the server that nobody waits for the answer any more
// (MCP, utilities, cancellation). The handshake must not be canceled.
func (t *tap) cancelRequest(ctx context.Context, req transport.JSONRPCRequest) {
	switch mcp.MCPMethod(req.Method) {
	case mcp.MethodInitialize, mcp.MethodServerDiscover:
		return
	}
	if t.byStream && mcp.IsModernProtocol(t.protocolVersion()) {
		return
	}
	n := mcp.JSONRPCNotification{JSONRPC: mcp.JSONRPC_VERSION}
	n.Method = string(mcp.MethodNotificationCancelled)
	n.Params.AdditionalFields = map[string]any{"requestId": req.ID, "reason": ctx.Err().Error()}
	// Full slots mean that the server does not read: then it cannot be told.
	t.canceling.try(func() {
		ctx, cancel := context.WithTimeout(t.life, cancelTimeout)
		defer cancel()
		// A server that cannot be told is found out by the next request.
		_ = t.inner.SendNotification(ctx, n)
	})
}

// slots bounds how many goroutines run at the same time: its capacity.
type slots chan struct{}

// try runs f beside the caller if there is a slot, and reports whether it does.
func (s slots) try(f func()) bool {
	select {
	case s <- struct{}{}:
		s.run(f)
		return true
	default:
		return false
	}
}

// run runs f beside the caller in a slot that the caller holds.
func (s slots) run(f func()) {
	go func() {
		defer func() { <-s }()
		f()
	}()
}

// drain takes all slots for ever, and so returns when nothing runs in them and
// nothing ever will. It gives up, with the slots that it got, when ctx ends; it
// may then be called once more with what it returned.
func (s slots) drain(ctx context.Context, got int) int {
	for ; got < cap(s); got++ {
		select {
		case s <- struct{}{}:
		case <-ctx.Done():
			return got
		}
	}
	return got
}

// asksForInput reports whether a result is the newest protocol's question to
// the client instead of an answer.
func asksForInput(raw json.RawMessage) bool {
	var r struct {
		ResultType mcp.ResultType `json:"resultType"`
	}
	return json.Unmarshal(raw, &r) == nil && r.ResultType == mcp.ResultTypeInputRequired
}

// readableTools makes of a tools/list result one that mcp-go can read: what it
// cannot keeps only the name. We take the definitions from the result as it came.
func readableTools(raw json.RawMessage) json.RawMessage {
	if json.Unmarshal(raw, new(mcp.ListToolsResult)) == nil {
		return raw
	}
	var page struct {
		Tools      []json.RawMessage `json:"tools"`
		NextCursor string            `json:"nextCursor,omitempty"`
	}
	if json.Unmarshal(raw, &page) != nil {
		return raw // it is no list at all; the client says so
	}
	for i, one := range page.Tools {
		if json.Unmarshal(one, new(mcp.Tool)) == nil {
			continue
		}
		var named struct {
			Name string `json:"name"`
		}
		// Without a name there is nothing to keep, and an empty one is dropped later.
		_ = json.Unmarshal(one, &named)
		plain, err := json.Marshal(map[string]any{"name": named.Name, "inputSchema": map[string]string{"type": "object"}})
		if err != nil {
			return raw
		}
		page.Tools[i] = plain
	}
	out, err := json.Marshal(page)
	if err != nil {
		return raw
	}
	return out
}
