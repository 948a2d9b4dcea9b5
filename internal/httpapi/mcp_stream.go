package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// mcpStream answers a call of a session with a stream of events: progress, what the
// user is asked, the result. The stream is made of the log, and the id of an event
// says how to make it again, so that a GET with Last-Event-ID goes on with what
// the client has not seen (2025-11-25, transports, resumability), in any process
// and without an end: nothing else is kept of it.
type mcpStream struct {
	a       *API
	w       http.ResponseWriter
	session mcpSession
	version string
	token   any // for progress, nil if none is wanted
	place   mcpPlace
	behind  int // messages up to this one have been sent
	resumed bool

	wire *wire
	now  *mcpCallNow
	// asked are the needs that the user was asked for. Up to the event head only
	// those that are still open are sent.
	asked, open map[string]bool
	head        uint64
	done        float64 // steps of progress
	broke       error   // the stream ends without a result
}

// mcpPlace is what the id of an event says.
type mcpPlace struct {
	ID      json.RawMessage `json:"i"` // of the call
	Client  string          `json:"c"` // the MCP session
	Token   any             `json:"t,omitempty"`
	Session string          `json:"s"`
	Run     string          `json:"r"`
	// N counts the messages before the result; End is its own id.
	N   int  `json:"n,omitempty"`
	End bool `json:"e,omitempty"`
}

type mcpStreamKey struct{}

// mcpStreamOf returns the stream of a call, nil if it has none.
func mcpStreamOf(ctx context.Context) *mcpStream {
	s, _ := ctx.Value(mcpStreamKey{}).(*mcpStream)
	return s
}

// streamMCP answers a call of a session.
func (a *API) streamMCP(w http.ResponseWriter, r *http.Request, f agent.File, s *mcpStream, body []byte) {
	ctx, stop := context.WithCancelCause(r.Context())
	defer stop(nil)
	s.place.Token = s.token
	s.now = &mcpCallNow{key: s.session.key(s.place.ID), ref: holdfast.SessionRef{Tenant: tenantOf(ctx)}, stop: stop}
	defer a.mcpLive.enter(s.now)()
	answer := a.mcpServer(f, http.NewResponseController(w)).HandleMessage(context.WithValue(ctx, mcpStreamKey{}, s), body)
	if s.broke != nil {
		a.streamed(r.Context(), s.broke)
		return
	}
	if s.wire == nil { // it did not begin
		writeJSON(w, http.StatusOK, "application/json", answer)
		return
	}
	a.streamed(r.Context(), s.end(answer))
}

// call implements the tool: it begins the run and tells of it.
func (s *mcpStream) call(ctx context.Context, f agent.File, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	key, err := mcpKey(req)
	if err != nil {
		return nil, err
	}
	if key == "" {
		key = s.now.key
	}
	if s.a.mcpLive.unwanted(s.now) {
		return nil, holdfast.Errorf(holdfast.CodeCanceled, "the call was canceled before it came")
	}
	b, err := s.a.mcpBegin(ctx, f, req, key)
	if err != nil {
		return nil, err
	}
	if s.a.mcpLive.began(s.now, b.ref, b.run) {
		// The cancellation overtook the call.
		if _, err := s.a.settle(ctx, b.ref, events.KindCancel, "", events.CancelBody{Run: b.run, Reason: "the client canceled the call before it came"}); err != nil {
			return nil, err
		}
	}
	s.place.Session, s.place.Run = b.ref.Session, b.run
	return s.follow(ctx, b.ref, b.part(), b.after)
}

// follow tells of a run until it has ended, or waits for what the user cannot be
// asked.
func (s *mcpStream) follow(ctx context.Context, ref holdfast.SessionRef, p *part, after uint64) (*mcp.CallToolResult, error) {
	// What is in the log already may have asked for what is no longer needed.
	past := &partSink{part: newPart(p.run, 0), session: ref.Session}
	past.part.command, past.part.reopens = p.command, true
	if err := s.a.readPart(ctx, ref, after, past); err != nil {
		return nil, err
	}
	s.head, s.asked, s.open = past.seq, map[string]bool{}, map[string]bool{}
	for _, n := range past.part.needs {
		s.open[n.Kind+":"+n.ID] = true
	}
	_, release, err := s.a.hub.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer release()
	if s.wire, err = s.a.startWire(s.w, typeSSE, beatSSE); err != nil {
		s.broke = err
		return nil, err
	}
	if s.version >= mcp.ProtocolVersion20251125 && !s.resumed {
		// An event without data from which on the stream can be resumed. Clients of
		// earlier versions take it for a message.
		if err := s.event(nil); err != nil {
			s.broke = err
			return nil, err
		}
	}
	p.reopens = true
	out := newAnswerFold(p, ref.Session)
	out.progress(func(message string) error {
		s.done++
		return s.progress(s.done, message)
	})
	out.sink.wire = s.wire
	out.sink.tell = func(t told, it *item) error {
		if err := out.tell(t, it); err != nil {
			return err
		}
		return s.ask(p, it, ref)
	}
	err = s.a.hub.stream(ctx, ref, after, &mcpSink{out.sink, s})
	switch off := putOffOf(ctx); {
	case off != nil && off.err != nil:
		return nil, off.err
	case off != nil && p.ended:
	case err != nil && holdfast.CodeOf(err) == holdfast.CodeNotFound:
		return nil, err
	case err != nil:
		s.broke = err
		return nil, err
	case !p.ended || !p.finished && p.reopens:
		s.broke = errClosing
		return nil, errClosing
	}
	return s.a.mcpAnswered(ref, out)
}

// ask puts what a run waits for to the user.
func (s *mcpStream) ask(p *part, it *item, ref holdfast.SessionRef) error {
	if !p.ended || p.finished {
		return nil
	}
	for _, n := range p.needs {
		if n.URL != "" && !s.session.url || n.URL == "" && !s.session.form {
			p.reopens = false // the result says what is needed
			return nil
		}
	}
	for _, n := range p.needs {
		need := n.Kind + ":" + n.ID
		name := need
		if n.Kind == needIterations {
			name = fmt.Sprintf("%s:%d", need, it.seq) // it may be needed again
		}
		if s.asked[name] {
			continue
		}
		s.asked[name] = true
		id, err := opaque(mcpQuestionID{Session: ref.Session, Run: p.run, Kind: n.Kind, ID: n.ID, Seq: it.seq})
		if err != nil {
			return err
		}
		q := s.a.mcpQuestion(n)
		if s.version < mcp.ProtocolVersion20251125 {
			q.Mode = ""
		}
		s.place.N++
		if it.seq <= s.head && !s.open[need] {
			continue
		}
		if err := s.message(map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "id": mcpQuestionPrefix + id, "method": mcp.MethodElicitationCreate, "params": q}); err != nil {
			return err
		}
	}
	return nil
}

// progress tells of a step.
func (s *mcpStream) progress(done float64, message string) error {
	if s.token == nil {
		return nil
	}
	s.place.N++
	return s.message(progressOf(s.token, done, message))
}

// progressOf is a notification of progress; message may be "".
func progressOf(token any, done float64, message string) any {
	params := map[string]any{"progressToken": token, "progress": done}
	if message != "" {
		params["message"] = message
	}
	return map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "method": "notifications/progress", "params": params}
}

// message sends the message that place counts last, unless the client has it.
func (s *mcpStream) message(v any) error {
	if s.place.N <= s.behind {
		return nil
	}
	return s.event(v)
}

// event sends an event; v nil is one without data.
func (s *mcpStream) event(v any) error {
	id, err := opaque(s.place)
	if err != nil {
		return err
	}
	var data []byte
	if v != nil {
		if data, err = json.Marshal(v); err != nil {
			return err
		}
		if err := s.wire.write([]byte("event: message\n")); err != nil {
			return err
		}
	}
	return errors.Join(s.wire.write([]byte("id: "+id+"\ndata: "+string(data)+"\n\n")), s.wire.flush())
}

// end sends the result.
func (s *mcpStream) end(answer any) error {
	s.place.End = true
	return s.event(answer)
}

// mcpSink is the sink of a stream.
type mcpSink struct {
	*partSink
	s *mcpStream
}

// beat implements sink. A client that wants progress counts the time since the last
// of it: while a model thinks there is a little. It has no id, as it is not made
// of the log.
func (k *mcpSink) beat() error {
	p := k.part
	if k.s.token == nil || p.created.IsZero() {
		return k.partSink.beat()
	}
	little := min(time.Since(p.created).Seconds()/1e6, 0.9)
	data, err := json.Marshal(progressOf(k.s.token, k.s.done+little, ""))
	if err != nil {
		return err
	}
	return errors.Join(k.wire.write([]byte("event: message\ndata: "+string(data)+"\n\n")), k.wire.flush())
}

// resumeMCP answers GET /v1/agents/{name}/mcp: what follows in the stream of a call
// behind Last-Event-ID. Streams that belong to no call are not offered.
func (a *API) resumeMCP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	f, err := a.usableAgent(ctx, r.PathValue("name"))
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	var at mcpPlace
	last, version := r.Header.Get(mcp.HeaderLastEventID), r.Header.Get(mcp.HeaderProtocolVersion)
	if mcp.IsModernProtocol(version) {
		last = "" // in which it means nothing
	}
	if last != "" && (fromOpaque(last, &at) != nil || at.Run == "") {
		a.writeProblem(w, r, holdfast.Errorf(holdfast.CodeInvalid, "Last-Event-ID: not one that this server gave out"))
		return
	}
	if last == "" || at.End {
		// To clients of MCP this status says that there is no stream, and is no failure.
		w.Header().Set("Allow", http.MethodPost)
		writeJSON(w, http.StatusMethodNotAllowed, "application/problem+json", &Problem{
			Title: http.StatusText(http.StatusMethodNotAllowed), Status: http.StatusMethodNotAllowed, Code: holdfast.CodeInvalid, RequestID: requestID(ctx),
			Detail: "GET resumes the stream of a call, behind Last-Event-ID, for clients of protocol versions before 2026-07-28; other streams are not offered",
		})
		return
	}
	session, err := parseMCPSession(at.Client)
	if id := r.Header.Get(server.HeaderKeySessionID); err == nil && id != "" && id != at.Client {
		err = holdfast.Errorf(holdfast.CodeNotFound, "Last-Event-ID: the event is of another session than Mcp-Session-Id")
	}
	var v *View
	if err == nil {
		v, err = a.view(ctx, holdfast.SessionRef{Tenant: tenantOf(ctx), Session: at.Session}, 0)
	}
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	run := v.run(at.Run)
	if run == nil || plainName(v.Info.Agent) != plainName(f.Name) && plainName(run.Agent) != plainName(f.Name) {
		a.writeProblem(w, r, holdfast.Errorf(holdfast.CodeNotFound, "Last-Event-ID: there is no such call"))
		return
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &mcpStream{a: a, w: w, session: session, version: version, token: at.Token, behind: at.N, resumed: true, place: at}
	s.place.N = 0
	s.now = &mcpCallNow{key: session.key(at.ID), ref: v.Info.Session, run: run.Run, stop: stop}
	defer a.mcpLive.enter(s.now)()
	res, err := s.follow(ctx, v.Info.Session, newPart(run.Run, 0), run.FirstSeq-1)
	if s.broke != nil {
		a.streamed(r.Context(), s.broke)
		return
	}
	if s.wire == nil {
		a.writeProblem(w, r, err)
		return
	}
	if err != nil {
		res = a.mcpFailure(ctx, err)
	}
	var id mcp.RequestId
	if err := json.Unmarshal(at.ID, &id); err != nil {
		a.streamed(r.Context(), err)
		return
	}
	a.streamed(r.Context(), s.end(mcp.NewJSONRPCResultResponse(id, res)))
}

// mcpFailure is the result of a call that failed.
func (a *API) mcpFailure(ctx context.Context, err error) *mcp.CallToolResult {
	a.logError(ctx, "a call over MCP failed", err)
	return mcp.NewToolResultError(string(holdfast.CodeOf(err)) + ": " + holdfast.PublicMessage(err))
}

// describeMCPResume describes the route that resumes streams.
func (a *API) describeMCPResume(api huma.API) {
	op := a.operation("mcp-resume", http.MethodGet, "/v1/agents/{name}/mcp", "mcp", "Resume the stream of an MCP call",
		"Goes on with the answer to a tools/call of a session (protocol versions before 2026-07-28) behind the event that Last-Event-ID names, at any time and from any process. Streams that belong to no call are not offered: 405.",
		http.StatusNotFound, http.StatusMethodNotAllowed)
	str := &huma.Schema{Type: "string"}
	op.Parameters = []*huma.Param{
		{Name: "name", In: "path", Required: true, Description: "Name of the agent.", Schema: str},
		{Name: mcp.HeaderLastEventID, In: "header", Description: "Id of the last event that was received.", Schema: str},
		{Name: server.HeaderKeySessionID, In: "header", Description: "The session that initialize began.", Schema: str},
	}
	describe(api, op, map[string]*huma.MediaType{typeSSE: {Schema: str}})
}
