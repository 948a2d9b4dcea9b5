package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// An agent as an MCP server (streamable HTTP) that has one tool: to ask the
// agent. The server keeps nothing between requests, so that each may come to
// another process. What a run needs of a human is asked of the client with
// multi round-trip requests (SEP-2322, protocol version 2026-07-28) or, in the
// sessions of earlier versions, with requests on the stream of the call
// (mcp_stream.go); a client that cannot ask its user gets a result that says
// what is needed and where it is answered.

// mcpResult is the structured content of the tool's result.
type mcpResult struct {
	Session string `json:"session"`
	Run     string `json:"run"`
	// Status is "completed" or "waiting".
	Status string   `json:"status"`
	Needs  []wanted `json:"needs,omitempty"`
}

// mcpRoutes mounts the MCP server of every agent.
func (a *API) mcpRoutes(mux *router, api huma.API) {
	mux.HandleFunc("POST /v1/agents/{name}/mcp", a.serveMCP)
	mux.HandleFunc("GET /v1/agents/{name}/mcp", a.resumeMCP)
	a.describeRPC(api, "mcp", "/v1/agents/{name}/mcp", "An agent as an MCP server",
		"One message of MCP's streamable HTTP transport. The server has one tool, which asks the agent, and keeps nothing between requests. What a run needs of a human is asked of the client with multi round-trip requests (protocol version 2026-07-28) or elicitations on the stream of the call (earlier versions); a client that cannot ask its user gets a result that says what is needed and where it is answered.")
	a.describeMCPResume(api)
}

// describeRPC describes a route that takes the JSON-RPC messages of a protocol.
func (a *API) describeRPC(api huma.API, id, path, summary, doc string, statuses ...int) {
	op := a.operation(id, http.MethodPost, path, id, summary, doc, append(statuses, http.StatusNotFound)...)
	rpc := &huma.Schema{Type: "object", AdditionalProperties: true, Description: "A JSON-RPC 2.0 message."}
	if id == "agui" {
		rpc.Description = "A RunAgentInput."
	}
	op.Parameters = []*huma.Param{{Name: "name", In: "path", Required: true, Description: "Name of the agent.", Schema: &huma.Schema{Type: "string"}}}
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: rpc}}}
	describe(api, op, map[string]*huma.MediaType{"application/json": {Schema: rpc}, typeSSE: {Schema: &huma.Schema{Type: "string"}}})
}

// serveMCP answers one message of an MCP client.
func (a *API) serveMCP(w http.ResponseWriter, r *http.Request) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	if err := wantJSON(r); err != nil {
		a.writeProblem(w, r, err)
		return
	}
	// A run takes its time; the client's patience is its own.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Now().Add(time.Minute)), rc.SetWriteDeadline(time.Time{})); err != nil {
		a.writeProblem(w, r, fmt.Errorf("lift the time limits of an answer: %w", err))
		return
	}
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	if a.serveMCPSession(w, r, f, body) {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// The middleware knows who calls from a browser: Host says nothing more.
	server.NewStreamableHTTPServer(a.mcpServer(f, rc), server.WithStateLess(true), server.WithDisableLocalhostProtection(true), server.WithStreamableHTTPLogger(a.logger)).
		ServeHTTP(flusher{w, rc, a.cfg.WriteTimeout}, r)
}

// mcpServer is the server for one message to an agent.
func (a *API) mcpServer(f agent.File, rc *http.ResponseController) *server.MCPServer {
	s := server.NewMCPServer("holdfast/"+plainName(f.Name), a.cfg.Version, server.WithToolCapabilities(false), server.WithLogger(a.logger))
	s.AddTool(a.mcpTool(f), func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if err := rc.SetReadDeadline(time.Time{}); err != nil {
			return nil, fmt.Errorf("lift the time limits of an answer: %w", err)
		}
		var res *mcp.CallToolResult
		var err error
		if stream := mcpStreamOf(ctx); stream != nil {
			res, err = stream.call(ctx, f, req)
		} else {
			res, err = a.mcpCall(ctx, s, f, req)
		}
		if err != nil {
			return a.mcpFailure(ctx, err), nil
		}
		return res, nil
	})
	return s
}

// flusher is an answer that is sent piece by piece, each with a deadline of its
// own: a client that does not take it is cut.
type flusher struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

// Write implements io.Writer.
func (f flusher) Write(p []byte) (int, error) {
	if err := f.rc.SetWriteDeadline(time.Now().Add(f.timeout)); err != nil {
		return 0, fmt.Errorf("limit the time of a write: %w", err)
	}
	return f.ResponseWriter.Write(p)
}

// Flush implements http.Flusher. A failure is the client's; it has gone.
func (f flusher) Flush() { _ = f.rc.Flush() }

// Unwrap is for http.ResponseController.
func (f flusher) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// mcpTool describes the tool that asks an agent.
func (a *API) mcpTool(f agent.File) mcp.Tool {
	return mcp.NewTool(mcpToolName(f.Name),
		mcp.WithDescription(cmp.Or(f.Description, "Asks the agent "+plainName(f.Name)+".")+" Answers with the agent's last message."),
		mcp.WithString("message", mcp.Required(), mcp.Description("What to say to the agent.")),
		mcp.WithString("session", mcp.Description("To go on in a conversation: session of an earlier result. Without it, a new one.")),
		mcp.WithOutputSchema[mcpResult](),
	)
}

// mcpToolName is the agent's name with what a tool's name may have.
func mcpToolName(file string) string {
	return strings.Map(func(r rune) rune {
		if r == '@' {
			return '_'
		}
		return r
	}, plainName(file))
}

// mcpCall asks the agent, or carries on with answers to what a run needed.
func (a *API) mcpCall(ctx context.Context, s *server.MCPServer, f agent.File, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: req.GetString("session", "")}
	var out *answerFold
	var after uint64
	if req.Params.RequestState != "" {
		var err error
		if out, after, err = a.mcpGoOn(ctx, req.Params.RequestState, req.Params.InputResponses); err != nil {
			return nil, err
		}
		ref.Session = out.sink.session
	} else {
		key, err := mcpKey(req)
		if err != nil {
			return nil, err
		}
		b, err := a.mcpBegin(ctx, f, req, key)
		if err != nil {
			return nil, err
		}
		ref, out, after = b.ref, newAnswerFold(b.part(), b.ref.Session), b.after
		if info := server.RequestProtocolInfoFromContext(ctx); info != nil && info.Modern && key == "" {
			// To hang up is how a client of this version cancels; its streams cannot be
			// resumed, and without a key nothing can come back to this run.
			defer func() {
				if ctx.Err() != nil && a.hub.ctx.Err() == nil {
					a.mcpHungUp(ctx, ref, out.sink.part)
				}
			}()
		}
	}
	if req.Params.Meta != nil && req.Params.Meta.ProgressToken != nil {
		done := 0.0
		out.progress(func(message string) error {
			done++
			// Nobody waits for progress: one that is not taken is lost.
			_ = s.SendNotificationToClient(ctx, "notifications/progress", map[string]any{
				"progressToken": req.Params.Meta.ProgressToken, "progress": done, "message": message,
			})
			return nil
		})
	}
	if err := a.follow(ctx, ref, after, out.sink); err != nil {
		return nil, err
	}
	if p := out.sink.part; !p.finished && a.mcpCanAsk(ctx, p.needs) {
		ask := server.NewInputRequestBuilder(strings.Join([]string{ref.Session, p.run, strconv.FormatUint(p.last, 10)}, ":"))
		for _, n := range p.needs {
			ask.Elicit(n.Kind+":"+n.ID, a.mcpQuestion(n))
		}
		return ask.ToolResult(), nil
	}
	return a.mcpAnswered(ref, out)
}

// mcpAnswered is the result of a call whose part has ended.
func (a *API) mcpAnswered(ref holdfast.SessionRef, out *answerFold) (*mcp.CallToolResult, error) {
	p := out.sink.part
	res := mcpResult{Session: ref.Session, Run: p.run, Status: "completed"}
	if p.finished {
		if err := p.err(); err != nil {
			return nil, err
		}
		return mcp.NewToolResultStructured(res, out.text()), nil
	}
	res.Status, res.Needs = "waiting", p.needs
	var text strings.Builder
	if said := out.text(); said != "" {
		text.WriteString(said + "\n\n")
	}
	text.WriteString("The agent waits for a human:\n")
	for i, n := range res.Needs {
		res.Needs[i].Path = a.link(n.Path)
		fmt.Fprintf(&text, "- %s %s\n", n.Message, cmp.Or(n.URL, "Answer at "+a.link(n.Path)))
	}
	fmt.Fprintf(&text, "The session is %s.", ref.Session)
	return mcp.NewToolResultStructured(res, text.String()), nil
}

// mcpBegin says the message of a call to the agent, in the session that the call
// names or in a new one; with a key, once.
func (a *API) mcpBegin(ctx context.Context, f agent.File, req mcp.CallToolRequest, key string) (begun, error) {
	message, err := req.RequireString("message")
	if err != nil || message == "" {
		return begun{}, holdfast.Errorf(holdfast.CodeInvalid, "message: want a text")
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: req.GetString("session", "")}
	if ref.Session == "" {
		v, _, err := a.createOnce(ctx, "", key, &holdfast.SessionCreatedEvent{Agent: f.Name})
		if err != nil {
			return begun{}, err
		}
		ref = v.Info.Session
	}
	return a.begin(ctx, runRequest{ref: ref, agent: f.Name, key: key, mode: events.ModeReject, messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: message}}})
}

// mcpHungUp cancels the run of a client that has hung up.
func (a *API) mcpHungUp(ctx context.Context, ref holdfast.SessionRef, p *part) {
	if p.run == "" || p.ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.AnswerWait)
	defer cancel()
	if _, err := a.settle(ctx, ref, events.KindCancel, "", events.CancelBody{Run: p.run, Reason: "the client has hung up"}); err != nil {
		a.logError(ctx, "the run of an MCP client that hung up was not canceled", err)
	}
}

// mcpKeyName is the member of _meta with which a client makes a call safe to
// repeat: an Idempotency-Key. Ids of JSON-RPC are such a key only within a
// session, since every other connection counts its own.
const mcpKeyName = "run.holdfast/idempotency-key"

// mcpKey returns the key of a call, "" if it has none.
func mcpKey(req mcp.CallToolRequest) (string, error) {
	if req.Params.Meta == nil {
		return "", nil
	}
	value, there := req.Params.Meta.AdditionalFields[mcpKeyName]
	if !there {
		return "", nil
	}
	key, ok := value.(string)
	if !ok || key == "" {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "_meta.%s: want a text", mcpKeyName)
	}
	key = "mcp:" + key
	return key, checkKey(key)
}

// link is the address of a route, as far as it is known.
func (a *API) link(path string) string { return strings.TrimSuffix(a.cfg.PublicURL, "/") + path }

// mcpCanAsk reports whether the client can put the questions to its user.
func (a *API) mcpCanAsk(ctx context.Context, needs []wanted) bool {
	info := server.RequestProtocolInfoFromContext(ctx)
	if info == nil || !info.Modern || info.ClientCapabilities == nil || info.ClientCapabilities.Elicitation == nil {
		return false
	}
	can := info.ClientCapabilities.Elicitation
	for _, n := range needs {
		if n.URL != "" && can.URL == nil || n.URL == "" && can.Form == nil && can.URL != nil {
			return false
		}
	}
	return true
}

// mcpQuestion asks for what a run needs.
func (a *API) mcpQuestion(n wanted) mcp.ElicitationParams {
	if n.URL != "" {
		return mcp.ElicitationParams{Mode: mcp.ElicitationModeURL, Message: n.Message, ElicitationID: n.ID, URL: n.URL}
	}
	q := mcp.ElicitationParams{Mode: mcp.ElicitationModeForm, Message: n.Message}
	switch n.Kind {
	case needApproval:
		q.Message += " It is to be called with " + n.call.Function.Arguments
		q.RequestedSchema = map[string]any{
			"type": "object", "required": []string{"decision"},
			"properties": map[string]any{"decision": map[string]any{
				"type": "string", "title": "Decision", "enum": []string{decisionApprove, decisionApproveSession, decisionReject},
			}},
		}
	case needInput:
		q.RequestedSchema = map[string]any{"type": "object", "properties": map[string]any{}}
		if len(n.schema) > 0 {
			q.RequestedSchema = n.schema
		}
	default:
		q.RequestedSchema = map[string]any{"type": "object", "properties": map[string]any{}}
	}
	return q
}

// mcpGoOn carries the answers of a user to the run that waits, and returns what
// comes behind them. The state names the run and the place where it waited.
func (a *API) mcpGoOn(ctx context.Context, state string, answers mcp.InputResponses) (*answerFold, uint64, error) {
	parts := strings.Split(state, ":")
	bad := holdfast.Errorf(holdfast.CodeInvalid, "requestState: not one that this server gave out")
	if len(parts) != 3 {
		return nil, 0, bad
	}
	from, err := strconv.ParseUint(parts[2], 10, 63)
	if err != nil {
		return nil, 0, bad
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: parts[0]}
	v, err := a.view(ctx, ref, 0)
	if err != nil {
		return nil, 0, err
	}
	r := v.run(parts[1])
	if r == nil || from > v.Info.Head.Seq {
		return nil, 0, bad
	}
	from++
	for id := range answers {
		res := server.ElicitationResponse(answers, id)
		kind, what, _ := strings.Cut(id, ":")
		if res == nil {
			return nil, 0, holdfast.Errorf(holdfast.CodeInvalid, "inputResponses: %q is not answered", id)
		}
		// The same answer to the same question is the same request.
		seq, err := a.mcpAnswer(ctx, ref, r.Run, kind, what, state, res)
		if err != nil {
			return nil, 0, err
		}
		from = max(from, seq)
	}
	return newAnswerFold(newPart(r.Run, from), ref.Session), r.FirstSeq - 1, nil
}

// mcpAnswer carries one answer and returns the event that says what it did, 0
// where nothing is sent.
func (a *API) mcpAnswer(ctx context.Context, ref holdfast.SessionRef, run, kind, id, state string, res *mcp.ElicitationResult) (uint64, error) {
	key := "mcp:" + state + ":" + kind + ":" + id
	accepted := res.Action == mcp.ElicitationResponseActionAccept
	content, err := json.Marshal(res.Content)
	if err != nil {
		return 0, holdfast.WrapError(holdfast.CodeInvalid, err, "inputResponses: the content is not JSON")
	}
	var ans events.Answer
	switch {
	case res.Action == mcp.ElicitationResponseActionCancel && kind != needInput:
		return 0, holdfast.Errorf(holdfast.CodeCanceled, "nobody decided; the run still waits in session %s", ref.Session)
	case kind == needApproval:
		var form struct {
			Decision string `json:"decision"`
		}
		if form.Decision = decisionReject; accepted {
			if err := json.Unmarshal(content, &form); err != nil {
				return 0, holdfast.WrapError(holdfast.CodeInvalid, err, "inputResponses: want a decision")
			}
		}
		if err := checkDecision("decision", form.Decision); err != nil {
			return 0, err
		}
		ans, err = a.settle(ctx, ref, events.KindDecide, key, events.DecideBody{ToolCallID: id, Decision: form.Decision})
	case kind == needInput:
		body := events.InputBody{ID: id, Action: string(res.Action)}
		if accepted {
			body.Content = content
		}
		ans, err = a.settle(ctx, ref, events.KindInput, key, body)
	case kind == needIterations && accepted:
		ans, err = a.settle(ctx, ref, events.KindResume, key, events.ResumeBody{Run: run})
	case kind == needIterations:
		ans, err = a.settle(ctx, ref, events.KindCancel, key, events.CancelBody{Run: run})
	case kind == needAuthorization && !accepted:
		ans, err = a.settle(ctx, ref, events.KindAuthorize, key, events.AuthorizeBody{Flow: id})
	}
	// A user who went to the authorization's page is waited for.
	return ans.Seq, err
}
