package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Sessions of MCP's streamable HTTP transport, which clients of the protocol
// versions before 2026-07-28 have. Nothing is kept of one: its id says what the
// client can do, and makes the ids of its requests unique, so that each may come
// to any process. With it
//
//   - a call that comes twice is one run: the id of a request is used once in a
//     session (2025-11-25, basic, requests), which makes it an Idempotency-Key;
//   - notifications/cancelled finds the run of the call that it names;
//   - a call is answered with a stream that can be resumed (mcp_stream.go).

// mcpSession is what the id of a session says.
type mcpSession struct {
	id string
	// form and url say in which modes the client's user can be asked.
	form, url bool
}

// newMCPSession returns a new session for a client that has sent initialize.
func newMCPSession(capabilities mcp.ClientCapabilities) mcpSession {
	var s mcpSession
	if e := capabilities.Elicitation; e != nil {
		// Until 2025-11-25 there was one mode, which had no name.
		s.form, s.url = e.Form != nil || e.URL == nil, e.URL != nil
	}
	flags := "n"
	switch {
	case s.form && s.url:
		flags = "fu"
	case s.form:
		flags = "f"
	case s.url:
		flags = "u"
	}
	s.id = flags + "." + uuid.NewString()
	return s
}

// parseMCPSession reads the id of a session. CodeNotFound, which has the client
// begin a new one.
func parseMCPSession(id string) (mcpSession, error) {
	flags, random, _ := strings.Cut(id, ".")
	_, err := uuid.Parse(random)
	if err != nil || len(random) != runIDLen || !strings.Contains(" n f u fu ", " "+flags+" ") {
		return mcpSession{}, holdfast.Errorf(holdfast.CodeNotFound, "Mcp-Session-Id: there is no such session; send initialize to begin one")
	}
	return mcpSession{id: id, form: strings.Contains(flags, "f"), url: strings.Contains(flags, "u")}, nil
}

// key is the Idempotency-Key of a request of the session.
func (s mcpSession) key(requestID json.RawMessage) string {
	return "mcp-call:" + holdfast.DeriveID(s.id, string(requestID))
}

// mcpMessage is a message of JSON-RPC, as far as it matters which it is.
type mcpMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Params struct {
		Meta struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
			Token   any    `json:"progressToken"`
		} `json:"_meta"`
		Capabilities mcp.ClientCapabilities `json:"capabilities"`
		RequestID    json.RawMessage        `json:"requestId"`
		Reason       json.RawMessage        `json:"reason"` // a text, or what takes its place
	} `json:"params"`
}

// serveMCPSession answers a message that belongs to a session, or begins one, and
// reports whether that was all.
func (a *API) serveMCPSession(w http.ResponseWriter, r *http.Request, f agent.File, body []byte) (done bool) {
	var m mcpMessage
	version := r.Header.Get(mcp.HeaderProtocolVersion)
	if json.Unmarshal(body, &m) != nil || mcp.IsModernProtocol(version) || mcp.IsModernProtocol(m.Params.Meta.Version) {
		return false
	}
	if m.Method == string(mcp.MethodInitialize) {
		w.Header().Set(server.HeaderKeySessionID, newMCPSession(m.Params.Capabilities).id)
		return false
	}
	id := r.Header.Get(server.HeaderKeySessionID)
	if id == "" {
		return false
	}
	session, err := parseMCPSession(id)
	if err != nil {
		a.writeProblem(w, r, err)
		return true
	}
	var plain bytes.Buffer
	if len(m.ID) > 0 && json.Compact(&plain, m.ID) == nil {
		m.ID = plain.Bytes()
	}
	switch {
	case m.Method == "" && (m.Result != nil || m.Error != nil) && string(m.Result) != "{}":
		if err := a.mcpElicited(r.Context(), m); err != nil {
			a.writeProblem(w, r, err)
			return true
		}
		w.WriteHeader(http.StatusAccepted)
	case m.Method == "notifications/cancelled":
		a.mcpCanceled(r.Context(), session, m.Params.RequestID, textOf(m.Params.Reason))
		w.WriteHeader(http.StatusAccepted)
	case m.Method == string(mcp.MethodToolsCall) && len(m.ID) > 0 && mcp.IsValidProtocolVersion(cmp.Or(version, mcp.ProtocolVersion20250326)) && strings.Contains(r.Header.Get("Accept"), typeSSE):
		a.streamMCP(w, r, f, &mcpStream{
			a: a, w: w, session: session, version: version, token: m.Params.Meta.Token,
			place: mcpPlace{ID: m.ID, Client: session.id},
		}, body)
	default:
		return false
	}
	return true
}

// mcpQuestionID names what a run needs; it is the id of the request that asks for
// it. Its answer may come to another process.
type mcpQuestionID struct {
	Session string `json:"s"`
	Run     string `json:"r"`
	Kind    string `json:"k"`
	ID      string `json:"i,omitempty"`
	// Seq is where the run waited: the same kind may be needed again.
	Seq uint64 `json:"q"`
}

// mcpQuestionPrefix begins the ids of requests that ask for what a run needs.
const mcpQuestionPrefix = "holdfast:"

// opaque and fromOpaque make a text of what is to come back, which clients do not read.
func opaque(v any) (string, error) {
	data, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(data), err
}

func fromOpaque(text string, v any) error {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// mcpElicited takes the answer of a client's user to an elicitation. One who does
// not want to decide, and a client that cannot ask, end the call: its result says
// where it is decided.
func (a *API) mcpElicited(ctx context.Context, m mcpMessage) error {
	var name string
	var q mcpQuestionID
	if json.Unmarshal(m.ID, &name) != nil || !strings.HasPrefix(name, mcpQuestionPrefix) || fromOpaque(strings.TrimPrefix(name, mcpQuestionPrefix), &q) != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "id: no request of this server has it")
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: q.Session}
	if err := ref.Validate(); err != nil {
		return err
	}
	var res mcp.ElicitationResult
	if m.Error != nil || json.Unmarshal(m.Result, &res) != nil {
		res.Action = mcp.ElicitationResponseActionCancel
	}
	if res.Action == mcp.ElicitationResponseActionCancel && q.Kind != needInput {
		a.mcpLive.putOff(ref, q.Run, nil)
		return nil
	}
	state, err := opaque(q)
	if err != nil {
		return err
	}
	if _, err := a.mcpAnswer(ctx, ref, q.Run, q.Kind, q.ID, holdfast.DeriveID(state), &res); err != nil {
		// What was decided elsewhere meanwhile, or cannot be said now, does not end the call.
		if code := holdfast.CodeOf(err); code != holdfast.CodeConflict && code != holdfast.CodeNotFound && !code.Retryable() {
			a.mcpLive.putOff(ref, q.Run, err)
		}
		return err
	}
	return nil
}

// textOf is a JSON string's text, "" for anything else.
func textOf(data json.RawMessage) (text string) {
	if json.Unmarshal(data, &text) != nil {
		return ""
	}
	return text
}

// mcpCanceled cancels the run of a call. A notification has no answer: what it
// names may be over, or never have been.
func (a *API) mcpCanceled(ctx context.Context, session mcpSession, requestID json.RawMessage, reason string) {
	var plain bytes.Buffer
	if json.Compact(&plain, requestID) != nil {
		return
	}
	tenant, key := tenantOf(ctx), session.key(plain.Bytes())
	ref, run, found := a.mcpLive.cancel(tenant, key)
	if !found {
		// Another process serves the call; of a session that the call has named it
		// alone knows.
		ref = holdfast.SessionRef{Tenant: tenant, Session: holdfast.DeriveID(tenant, "session", key)}
		run = holdfast.DeriveID(tenant, ref.Session, "run-id", key)
	}
	if run == "" { // it has not begun: the call sees it when it does
		return
	}
	_, err := a.settle(ctx, ref, events.KindCancel, "", events.CancelBody{Run: run, Reason: cutReason(reason)})
	if code := holdfast.CodeOf(err); err != nil && code != holdfast.CodeNotFound && code != holdfast.CodeConflict {
		a.logError(ctx, "a call over MCP was not canceled", err)
	}
}

// mcpCalls are the calls with a stream in this process.
type mcpCalls struct {
	mu   sync.Mutex // guards what follows and what is in it
	live map[*mcpCallNow]struct{}
	// early are cancellations that have come before their calls, which travel on other
	// connections, with the time when they came.
	early map[[2]string]time.Time
}

// A call comes at most earlyFor after its cancellation; of so many cancellations
// that name nothing at most maxEarly are remembered.
const (
	earlyFor = time.Minute
	maxEarly = 1000
)

// mcpCallNow is one of them.
type mcpCallNow struct {
	key string
	ref holdfast.SessionRef
	run string // "" until it has begun
	// canceled says that the client wants no answer.
	canceled bool
	stop     context.CancelCauseFunc
}

// errPutOff ends a call whose user does not decide now.
type errPutOff struct{ err error }

func (e *errPutOff) Error() string { return "the user does not decide now" }
func (e *errPutOff) Unwrap() error { return e.err }

// enter adds a call, and returns what removes it.
func (c *mcpCalls) enter(n *mcpCallNow) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		c.live = map[*mcpCallNow]struct{}{}
	}
	c.live[n] = struct{}{}
	early := [2]string{n.ref.Tenant, n.key}
	if at, there := c.early[early]; there {
		n.canceled = time.Since(at) < earlyFor
		delete(c.early, early)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.live, n)
	}
}

// began says which run a call is, and reports whether it has been canceled.
func (c *mcpCalls) began(n *mcpCallNow, ref holdfast.SessionRef, run string) (canceled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.ref, n.run = ref, run
	return n.canceled
}

// unwanted reports whether a call has been canceled.
func (c *mcpCalls) unwanted(n *mcpCallNow) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n.canceled
}

// cancel returns the run of a call.
func (c *mcpCalls) cancel(tenant, key string) (ref holdfast.SessionRef, run string, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.live {
		if n.key == key && n.ref.Tenant == tenant {
			n.canceled = true
			ref, run, found = n.ref, n.run, true
		}
	}
	if found {
		return ref, run, true
	}
	if len(c.early) >= maxEarly {
		maps.DeleteFunc(c.early, func(_ [2]string, at time.Time) bool { return time.Since(at) >= earlyFor })
	}
	if len(c.early) < maxEarly {
		if c.early == nil {
			c.early = map[[2]string]time.Time{}
		}
		c.early[[2]string{tenant, key}] = time.Now()
	}
	return ref, "", false
}

// putOff ends the calls that wait for a run.
func (c *mcpCalls) putOff(ref holdfast.SessionRef, run string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.live {
		if n.ref == ref && n.run == run {
			n.stop(&errPutOff{err})
		}
	}
}

// putOffOf returns what has ended a call, nil if it was not its user.
func putOffOf(ctx context.Context) *errPutOff {
	var off *errPutOff
	errors.As(context.Cause(ctx), &off)
	return off
}
