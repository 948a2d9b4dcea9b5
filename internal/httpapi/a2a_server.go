package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/a2awire"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// An agent as an A2A agent: its card, and messages, streams and tasks, in two
// versions of the protocol over the same operations.
//
//	a2a_server.go      routes; which version a request is of; the frame of JSON-RPC
//	a2a_card.go        the card, one for clients of both versions
//	a2a_operations.go  what an agent does
//	a2a_task.go        a run as a task
//	a2a_list.go        the list of tasks
//	a2a_v03.go         0.3 over JSON-RPC
//	a2a_v1.go          1.0 over JSON-RPC
//	a2a_rest.go        1.0 over HTTP+JSON
//
// A context is a session, a task a run; what the agent says is the task's
// artifacts, one for each message. A task that needs a human is input-required or
// auth-required, and a message to it is the answer.

// a2aRoutes mounts the card and the endpoints of every agent.
func (a *API) a2aRoutes(mux *router, api huma.API) {
	mux.HandleFunc("GET /v1/agents/{name}/a2a/.well-known/agent-card.json", a.noQuery(a.agentCard))
	mux.HandleFunc("POST /v1/agents/{name}/a2a", a.serveA2A)
	card := a.operation("a2a-card", http.MethodGet, "/v1/agents/{name}/a2a/.well-known/agent-card.json", "a2a", "The card of an agent (A2A)", "What the agent is called and does, and where and how it is spoken to.", http.StatusNotFound)
	card.Parameters = []*huma.Param{{Name: "name", In: "path", Required: true, Description: "Name of the agent.", Schema: &huma.Schema{Type: "string"}}}
	describe(api, card, map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true, Description: "An AgentCard of A2A 1.0, with the members that clients of 0.3 read."}}})
	a.describeRPC(api, "a2a", "/v1/agents/{name}/a2a", "An agent as an A2A agent",
		"JSON-RPC of A2A. With the header (or the parameter) A2A-Version: 1.0 the methods are SendMessage, SendStreamingMessage, GetTask, ListTasks, CancelTask and SubscribeToTask; without it, as with 0.3, they are message/send, message/stream, tasks/get, tasks/cancel and tasks/resubscribe. Other versions are refused with VersionNotSupportedError. The card is at /v1/agents/{name}/a2a/.well-known/agent-card.json. A context is a session, a task a run. The id of a message makes it safe to repeat.")
	a.a2aRESTRoutes(mux, api)
}

// a2aVersion is the version that a request is of: major and minor as they are
// asked for, "0.3" if nothing is (1.0 section 3.6.2). A patch says nothing (3.6).
func a2aVersion(r *http.Request) string {
	said := strings.TrimSpace(r.Header.Get(a2awire.VersionHeader))
	if said == "" {
		said = strings.TrimSpace(r.URL.Query().Get(a2awire.VersionHeader))
	}
	if said == "" {
		return "0.3"
	}
	if n := strings.SplitN(said, ".", 3); len(n) == 3 {
		said = n[0] + "." + n[1]
	}
	return said
}

// errA2AVersion refuses a version.
func errA2AVersion(asked, spoken string) error {
	return newA2AFailure(a2awire.ErrVersion, holdfast.Errorf(holdfast.CodeNotOffered, "%s %.20q is not spoken here; %s", a2awire.VersionHeader, asked, spoken))
}

// serveA2A answers one JSON-RPC message.
func (a *API) serveA2A(w http.ResponseWriter, r *http.Request) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	if err := wantJSON(r); err != nil {
		a.writeProblem(w, r, err)
		return
	}
	// The message is read within the server's limits; a run may take longer.
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	rc, err := unlimited(w)
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	switch version := a2aVersion(r); version {
	case "0.3":
		(&a2aHandler{API: a, agent: f}).serveA2A03(w, r, rc, body)
	case a2awire.Version:
		a.a2aAgent(f).serveA2A1(w, r, body)
	default:
		q, _ := readRPC(body)
		writeJSON(w, http.StatusOK, "application/json", answerError(q.id, errA2AVersion(version, "1.0 and 0.3 are"), true))
	}
}

// a2aAgent answers for one agent in 1.0.
func (a *API) a2aAgent(f agent.File) *a2aHandler {
	return &a2aHandler{API: a, agent: f, ownContexts: true}
}

// unlimited lifts the server's limits for an answer.
func unlimited(w http.ResponseWriter) (*http.ResponseController, error) {
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return nil, fmt.Errorf("lift the time limits of an answer: %w", err)
	}
	return rc, nil
}

// rpcRequest is a request of JSON-RPC 2.0 (section 4).
type rpcRequest struct {
	id     json.RawMessage // null if there is none
	method string
	params json.RawMessage
}

// rpcAnswer is an answer of JSON-RPC 2.0 (section 5).
type rpcAnswer struct {
	Version string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Result  any               `json:"result,omitempty"`
	Error   *a2awire.RPCError `json:"error,omitempty"`
}

// readRPC reads a request, or refuses what is none.
func readRPC(body []byte) (rpcRequest, *rpcAnswer) {
	null := rpcRequest{id: json.RawMessage("null")}
	var members map[string]json.RawMessage
	if err := decodeJSON(body, &members); err != nil {
		return null, refuseRPC(null.id, a2a.ErrParseError, err, false)
	}
	var q struct {
		Method string
		Params json.RawMessage
	}
	if err := decodeJSON(body, &q); err != nil || members == nil {
		return null, refuseRPC(null.id, a2a.ErrInvalidRequest, holdfast.Errorf(holdfast.CodeInvalid, "want a request of JSON-RPC 2.0, with a method that is a text"), false)
	}
	id := bytes.TrimSpace(members["id"])
	switch {
	case len(id) == 0:
		id = null.id
	case id[0] == '{' || id[0] == '[' || id[0] == 't' || id[0] == 'f':
		return null, refuseRPC(null.id, a2a.ErrInvalidRequest, holdfast.Errorf(holdfast.CodeInvalid, "id: want a text or a number"), false)
	}
	return rpcRequest{id, q.Method, q.Params}, nil
}

// a2aFailure is an error of ours as one of the protocol.
type a2aFailure struct {
	kind    error // the protocol's
	cause   error // ours
	code    holdfast.Code
	message string
}

// Error implements error.
func (e *a2aFailure) Error() string { return fmt.Sprintf("%v: %s: %s", e.kind, e.code, e.message) }

// Unwrap returns the error of the protocol, and ours.
func (e *a2aFailure) Unwrap() []error { return []error{e.kind, e.cause} }

// newA2AFailure gives an error of ours a kind of the protocol.
func newA2AFailure(kind, err error) *a2aFailure {
	return &a2aFailure{kind, err, holdfast.CodeOf(err), holdfast.PublicMessage(err)}
}

// refuseRPC is the answer to what is wrong before an operation begins; detailed
// adds the details of 1.0.
func refuseRPC(id json.RawMessage, kind, err error, detailed bool) *rpcAnswer {
	return answerError(id, newA2AFailure(kind, err), detailed)
}

// answerError is the answer to a request that failed.
func answerError(id json.RawMessage, err error, detailed bool) *rpcAnswer {
	k, message, metadata := explainA2A(err)
	e := &a2awire.RPCError{Code: k.Code, Message: message}
	if detailed {
		e.Data = []a2awire.ErrorInfo{a2awire.NewErrorInfo(k, metadata)}
	}
	return &rpcAnswer{Version: "2.0", ID: id, Error: e}
}

// explainA2A says of an error what kind it is, what people read of it, and our code
// for programs that know it.
func explainA2A(err error) (a2awire.Kind, string, map[string]string) {
	var e *a2aFailure
	if !errors.As(err, &e) {
		kind := a2a.ErrInternalError
		if statusOfError(err) < http.StatusInternalServerError {
			kind = a2a.ErrInvalidParams
		}
		e = newA2AFailure(kind, err)
	}
	return a2awire.KindOf(e.kind), e.message, map[string]string{"code": string(e.code)}
}
