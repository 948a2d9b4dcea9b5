package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2asrv"
	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// An agent as an A2A agent (protocol version 0.3, JSON-RPC): its card, and
// messages, streams and tasks. A context is a session, a task a run; what the
// agent says is the task's artifacts, one for each message. A task that needs a
// human is input-required or auth-required, and a message to it is the answer.

// a2aVersion is the version of the protocol that is spoken.
const a2aVersion = "0.3.0"

// a2aRoutes mounts the card and the endpoint of every agent.
func (a *API) a2aRoutes(mux *router, api huma.API) {
	mux.HandleFunc("GET /v1/agents/{name}/a2a/.well-known/agent-card.json", a.noQuery(a.agentCard))
	mux.HandleFunc("POST /v1/agents/{name}/a2a", a.serveA2A)
	card := a.operation("a2a-card", http.MethodGet, "/v1/agents/{name}/a2a/.well-known/agent-card.json", "a2a", "The card of an agent (A2A)", "What the agent is called and does, and where and how it is spoken to.", http.StatusNotFound)
	card.Parameters = []*huma.Param{{Name: "name", In: "path", Required: true, Description: "Name of the agent.", Schema: &huma.Schema{Type: "string"}}}
	describe(api, card, map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true, Description: "An AgentCard of A2A 0.3."}}})
	a.describeRPC(api, "a2a", "/v1/agents/{name}/a2a", "An agent as an A2A agent",
		"JSON-RPC of A2A 0.3: message/send, message/stream, tasks/get, tasks/cancel, tasks/resubscribe. The card is at /v1/agents/{name}/a2a/.well-known/agent-card.json. A context is a session, a task a run. The id of a message makes it safe to repeat.")
}

func (a *API) agentCard(w http.ResponseWriter, r *http.Request) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	base := strings.TrimSuffix(a.cfg.PublicURL, "/")
	if base == "" {
		base = "http://" + r.Host
		if r.TLS != nil {
			base = "https://" + r.Host
		}
	}
	name := plainName(f.Name)
	text := []string{"text/plain"}
	writeJSON(w, http.StatusOK, "application/json", &a2a.AgentCard{
		Name: name, Description: cmp.Or(f.Description, "The agent "+name+"."), Version: cmp.Or(a.cfg.Version, "dev"),
		ProtocolVersion: a2aVersion, URL: base + "/v1/agents/" + name + "/a2a", PreferredTransport: a2a.TransportProtocolJSONRPC,
		Capabilities: a2a.AgentCapabilities{Streaming: true}, DefaultInputModes: text, DefaultOutputModes: text,
		Security:        []a2a.SecurityRequirements{{"bearer": {}}},
		SecuritySchemes: a2a.NamedSecuritySchemes{"bearer": a2a.HTTPAuthSecurityScheme{Scheme: "bearer"}},
		Skills:          []a2a.AgentSkill{{ID: name, Name: name, Description: cmp.Or(f.Description, "What the agent "+name+" does."), Tags: []string{"agent"}}},
	})
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
	if wrong := a2aWrong(body); wrong != nil {
		writeJSON(w, http.StatusOK, "application/json", wrong)
		return
	}
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		a.writeProblem(w, r, fmt.Errorf("lift the time limits of an answer: %w", err))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.Header().Set("Content-Type", "application/json")
	a2asrv.NewJSONRPCHandler(&a2aHandler{a, f}).ServeHTTP(flusher{w, rc, a.cfg.WriteTimeout}, r)
}

// rpcRefusal is an error of JSON-RPC 2.0 (section 5.1).
type rpcRefusal struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// a2aWrong refuses what is no request of the protocol, nil if it is one. The
// library's own refusals tell how it is written.
func a2aWrong(body []byte) *rpcRefusal {
	refuse := func(id json.RawMessage, code int, err error) *rpcRefusal {
		wrong := &rpcRefusal{Version: "2.0", ID: id}
		wrong.Error.Code, wrong.Error.Message = code, holdfast.PublicMessage(err)
		return wrong
	}
	null := json.RawMessage("null")
	var members map[string]json.RawMessage
	if err := decodeJSON(body, &members); err != nil {
		return refuse(null, -32700, err)
	}
	var q struct {
		Method string
		Params json.RawMessage
	}
	if err := decodeJSON(body, &q); err != nil || members == nil {
		return refuse(null, -32600, holdfast.Errorf(holdfast.CodeInvalid, "want a request of JSON-RPC 2.0, with a method that is a text"))
	}
	id := members["id"]
	switch {
	case len(id) == 0:
		id = null
	case id[0] == '{' || id[0] == '[' || id[0] == 't' || id[0] == 'f':
		return refuse(null, -32600, holdfast.Errorf(holdfast.CodeInvalid, "id: want a text or a number"))
	}
	var params any
	switch q.Method {
	case "message/send", "message/stream":
		params = &a2a.MessageSendParams{}
	case "tasks/get":
		params = &a2a.TaskQueryParams{}
	case "tasks/cancel", "tasks/resubscribe":
		params = &a2a.TaskIDParams{}
	default:
		return nil
	}
	if err := json.Unmarshal(q.Params, params); err != nil {
		return refuse(id, -32602, holdfast.Errorf(holdfast.CodeInvalid, "params: not those of %s in A2A %s", q.Method, a2aVersion))
	}
	return nil
}

// a2aHandler answers for one agent.
type a2aHandler struct {
	*API
	agent agent.File
}

// taskID names a run; from it alone the run is found again.
func taskID(session, run string) a2a.TaskID { return a2a.TaskID(run + "_" + session) }

// a2aError makes an error of ours one of the protocol: its code by kind, its
// message in the data.
func (h *a2aHandler) a2aError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	h.logError(ctx, "a request over A2A failed", err)
	kind := a2a.ErrInternalError
	code := holdfast.CodeOf(err)
	switch {
	case errors.Is(err, errNotCancelable):
		kind = a2a.ErrTaskNotCancelable
	case errors.Is(err, errContentType):
		kind = a2a.ErrUnsupportedContentType
	case errors.Is(err, errNoPush):
		kind = a2a.ErrPushNotificationNotSupported
	case code == holdfast.CodeNotFound:
		kind = a2a.ErrTaskNotFound
	case code == holdfast.CodeNotOffered:
		kind = a2a.ErrUnsupportedOperation
	case code == holdfast.CodeUnavailable || code == holdfast.CodeTimeout || code == holdfast.CodeRateLimited:
		kind = a2a.ErrServerError
	case status(code) < http.StatusInternalServerError:
		kind = a2a.ErrInvalidParams
	}
	return fmt.Errorf("%w: %s: %s", kind, code, holdfast.PublicMessage(err))
}

var (
	errNotCancelable = errors.New("the task is over")
	errContentType   = errors.New("this content is not taken")
)

// taskNow reads a task as it is in the log.
func (h *a2aHandler) taskNow(ctx context.Context, id a2a.TaskID) (*a2aTask, *RunView, error) {
	none := holdfast.Errorf(holdfast.CodeNotFound, "there is no task %s", id)
	run, session, ok := strings.Cut(string(id), "_")
	if !ok || len(run) != runIDLen {
		return nil, nil, none
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: session}
	v, err := h.view(ctx, ref, 0)
	if err != nil {
		return nil, nil, err
	}
	r := v.run(run)
	if r == nil || plainName(r.Agent) != plainName(h.agent.Name) {
		return nil, nil, none
	}
	p := newPart(run, 0)
	p.reopens = true
	t := newA2ATask(p, session)
	return t, r, h.readPart(ctx, ref, r.FirstSeq-1, t.sink)
}

// OnGetTask implements tasks/get.
func (h *a2aHandler) OnGetTask(ctx context.Context, q *a2a.TaskQueryParams) (*a2a.Task, error) {
	t, _, err := h.taskNow(ctx, q.ID)
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	return t.task(), nil
}

// OnCancelTask implements tasks/cancel. It waits a moment for the task's end.
func (h *a2aHandler) OnCancelTask(ctx context.Context, q *a2a.TaskIDParams) (*a2a.Task, error) {
	t, err := h.cancelTask(ctx, q.ID)
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	return t.task(), nil
}

func (h *a2aHandler) cancelTask(ctx context.Context, id a2a.TaskID) (*a2aTask, error) {
	t, r, err := h.taskNow(ctx, id)
	if err != nil {
		return nil, err
	}
	p := t.sink.part
	if p.finished {
		return nil, holdfast.WrapError(holdfast.CodeConflict, errNotCancelable, "the task is over")
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: t.session}
	ans, err := h.settle(ctx, ref, events.KindCancel, "", events.CancelBody{Run: p.run})
	if err != nil {
		return nil, err
	}
	wctx, cancel := context.WithTimeout(ctx, h.cfg.AnswerWait)
	defer cancel()
	over := newA2ATask(newPart(p.run, ans.Seq), t.session)
	if err := h.follow(wctx, ref, r.FirstSeq-1, over.sink); err != nil && wctx.Err() == nil {
		return nil, err
	}
	t, _, err = h.taskNow(ctx, id)
	return t, err
}

// OnSendMessage implements message/send: it waits for the task's end or for what
// the task needs, unless blocking is false.
func (h *a2aHandler) OnSendMessage(ctx context.Context, q *a2a.MessageSendParams) (a2a.SendMessageResult, error) {
	t, ref, after, err := h.send(ctx, q)
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	if q.Config != nil && q.Config.Blocking != nil && !*q.Config.Blocking {
		err = h.readPart(ctx, ref, after, t.sink)
	} else {
		err = h.follow(ctx, ref, after, t.sink)
	}
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	if t.sink.part.from > 0 { // the answer has all of the task
		now, _, err := h.taskNow(ctx, t.TaskInfo().TaskID)
		if err != nil {
			return nil, h.a2aError(ctx, err)
		}
		return now.task(), nil
	}
	return t.task(), nil
}

// OnSendMessageStream implements message/stream.
func (h *a2aHandler) OnSendMessageStream(ctx context.Context, q *a2a.MessageSendParams) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		t, ref, after, err := h.send(ctx, q)
		h.stream(ctx, t, ref, after, err, yield)
	}
}

// OnResubscribeToTask implements tasks/resubscribe: the task as it is now, then
// what comes.
func (h *a2aHandler) OnResubscribeToTask(ctx context.Context, q *a2a.TaskIDParams) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		now, r, err := h.taskNow(ctx, q.ID)
		if err != nil {
			yield(nil, h.a2aError(ctx, err))
			return
		}
		if p := now.sink.part; !yield(now.task(), nil) || p.ended {
			return
		}
		now.begun, now.sink.part.reopens = true, false
		ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: now.session}
		h.stream(ctx, now, ref, max(r.FirstSeq-1, now.sink.seq), nil, yield)
	}
}

// errUnheard ends a stream that nobody hears any more.
var errUnheard = errors.New("nobody hears the stream")

func (h *a2aHandler) stream(ctx context.Context, t *a2aTask, ref holdfast.SessionRef, after uint64, err error, yield func(a2a.Event, error) bool) {
	if err == nil {
		t.yield = func(ev a2a.Event) error {
			if !yield(ev, nil) {
				return errUnheard
			}
			return nil
		}
		err = h.follow(ctx, ref, after, t.sink)
	}
	if err != nil && !errors.Is(err, errUnheard) && ctx.Err() == nil {
		yield(nil, h.a2aError(ctx, err))
	}
}

// send does what a message asks for: a new run, more for one that works, or an
// answer to one that waits. It returns the task from there on, and a seq before
// its first event.
func (h *a2aHandler) send(ctx context.Context, q *a2a.MessageSendParams) (t *a2aTask, ref holdfast.SessionRef, after uint64, err error) {
	fail := func(err error) (*a2aTask, holdfast.SessionRef, uint64, error) { return nil, ref, 0, err }
	m := q.Message
	ref.Tenant = tenantOf(ctx)
	switch {
	case m == nil || m.ID == "":
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "message: want one with a messageId"))
	case m.Role != a2a.MessageRoleUser:
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "message.role: want %q", a2a.MessageRoleUser))
	case q.Config != nil && len(q.Config.AcceptedOutputModes) > 0 && !slices.ContainsFunc(q.Config.AcceptedOutputModes, isText):
		return fail(holdfast.WrapError(holdfast.CodeInvalid, errContentType, "acceptedOutputModes: the agent answers with text/plain"))
	case q.Config != nil && q.Config.PushConfig != nil:
		return fail(holdfast.WrapError(holdfast.CodeNotOffered, errNoPush, "pushNotificationConfig: not offered; stream the task, or subscribe a webhook"))
	}
	key := "a2a:" + m.ID
	if err := checkKey(key); err != nil {
		return fail(err)
	}
	run := runRequest{agent: h.agent.Name, key: key, mode: events.ModeEnqueue}
	if m.TaskID != "" {
		now, r, err := h.taskNow(ctx, m.TaskID)
		if err != nil {
			return fail(err)
		}
		p := now.sink.part
		ref.Session = now.session
		if p.finished {
			return fail(holdfast.Errorf(holdfast.CodeInvalid, "the task is over; send the message without taskId, in its context"))
		}
		if p.ended {
			seq, err := h.answer(ctx, ref, p, key, m)
			if err != nil {
				return fail(err)
			}
			return newA2ATask(newPart(p.run, seq), ref.Session), ref, r.FirstSeq - 1, nil
		}
		run.mode = events.ModeSteer
	}
	said, err := a2aMessage(m)
	if err != nil {
		return fail(err)
	}
	run.messages = []holdfast.Message{said}
	switch {
	case ref.Session != "":
	case m.ContextID != "":
		ref.Session = m.ContextID
	default:
		v, _, err := h.createOnce(ctx, "", key, &holdfast.SessionCreatedEvent{Agent: h.agent.Name})
		if err != nil {
			return fail(err)
		}
		ref = v.Info.Session
	}
	run.ref = ref
	b, err := h.begin(ctx, run)
	if err != nil {
		return fail(err)
	}
	p := b.part()
	if run.mode == events.ModeSteer {
		p.from = b.seq // behind what the task has said and asked before
	}
	return newA2ATask(p, ref.Session), ref, b.after, nil
}

// isText reports whether an output mode takes plain text.
func isText(mode string) bool {
	return mode == "*/*" || mode == "text" || strings.HasPrefix(mode, "text/")
}

// a2aMessage makes a message of the user.
func a2aMessage(m *a2a.Message) (holdfast.Message, error) {
	out := holdfast.Message{Role: holdfast.RoleUser}
	for i, p := range m.Parts {
		switch p := p.(type) {
		case a2a.TextPart:
			out.Content += p.Text
		case a2a.FilePart:
			file, ok := p.File.(a2a.FileURI)
			if !ok || !strings.HasPrefix(file.MimeType, "image/") {
				return out, holdfast.WrapError(holdfast.CodeInvalid, errContentType, fmt.Sprintf("message.parts[%d]: of files only images by URI are taken", i))
			}
			out.Parts = append(out.Parts, holdfast.ContentPart{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: file.URI}})
		default:
			return out, holdfast.WrapError(holdfast.CodeInvalid, errContentType, fmt.Sprintf("message.parts[%d]: want text", i))
		}
	}
	if out.Content == "" && len(out.Parts) == 0 {
		return out, holdfast.Errorf(holdfast.CodeInvalid, "message.parts: want a text")
	}
	return out, nil
}

// answer takes a message as the answer to the oldest thing that a task needs, or
// to the one whose id is in its data, and returns the event that says so.
func (h *a2aHandler) answer(ctx context.Context, ref holdfast.SessionRef, p *part, key string, m *a2a.Message) (uint64, error) {
	var text string
	data := map[string]any{}
	for _, part := range m.Parts {
		switch part := part.(type) {
		case a2a.TextPart:
			text += part.Text
		case a2a.DataPart:
			data = part.Data
		}
	}
	text = strings.TrimSpace(text)
	n := p.needs[0]
	if id, ok := data["id"].(string); ok {
		i := slices.IndexFunc(p.needs, func(n wanted) bool { return n.ID == id })
		if i < 0 {
			return 0, holdfast.Errorf(holdfast.CodeInvalid, "id: the task does not wait for %q", id)
		}
		n = p.needs[i]
		delete(data, "id")
	}
	var ans events.Answer
	var err error
	switch n.Kind {
	case needApproval:
		word, _ := data["decision"].(string)
		word = cmp.Or(word, strings.ToLower(text))
		if err := checkDecision("the answer to an approval", word); err != nil {
			return 0, err
		}
		ans, err = h.settle(ctx, ref, events.KindDecide, key, events.DecideBody{ToolCallID: n.ID, Decision: word})
	case needInput:
		body := events.InputBody{ID: n.ID, Action: "accept"}
		if action, ok := data["action"].(string); ok && len(data) == 1 {
			body.Action = action
		} else if body.Content, err = a2aInput(n.schema, text, data); err != nil {
			return 0, err
		}
		ans, err = h.settle(ctx, ref, events.KindInput, key, body)
	case needIterations:
		if goOn, _ := data["continue"].(bool); !goOn && strings.ToLower(text) != "continue" {
			return 0, holdfast.Errorf(holdfast.CodeInvalid, "the task wants more model calls: answer \"continue\", or cancel it")
		}
		ans, err = h.settle(ctx, ref, events.KindResume, key, events.ResumeBody{Run: p.run})
	default:
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "the task waits for an authorization, which only the user can give: %s", n.URL)
	}
	return ans.Seq, err
}

// a2aInput makes the content of an answer: the data, a text that is a JSON object,
// or a text for the one member that the question's schema has.
func a2aInput(schema json.RawMessage, text string, data map[string]any) (json.RawMessage, error) {
	if len(data) > 0 {
		return json.Marshal(data)
	}
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) == nil && object != nil {
		return json.Marshal(object)
	}
	var s struct {
		Properties map[string]any `json:"properties"`
	}
	if json.Unmarshal(schema, &s) == nil && len(s.Properties) == 1 {
		for name := range s.Properties {
			return json.Marshal(map[string]any{name: text})
		}
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "the answer: want a data part that fits the schema in the task's status")
}

// errNoPush refuses what the card does not offer.
var errNoPush = fmt.Errorf("%w: stream the task, or subscribe a webhook", a2a.ErrPushNotificationNotSupported)

// OnGetTaskPushConfig is not offered.
func (h *a2aHandler) OnGetTaskPushConfig(context.Context, *a2a.GetTaskPushConfigParams) (*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnListTaskPushConfig is not offered.
func (h *a2aHandler) OnListTaskPushConfig(context.Context, *a2a.ListTaskPushConfigParams) ([]*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnSetTaskPushConfig is not offered.
func (h *a2aHandler) OnSetTaskPushConfig(context.Context, *a2a.TaskPushConfig) (*a2a.TaskPushConfig, error) {
	return nil, errNoPush
}

// OnDeleteTaskPushConfig is not offered.
func (h *a2aHandler) OnDeleteTaskPushConfig(context.Context, *a2a.DeleteTaskPushConfigParams) error {
	return errNoPush
}

// OnGetExtendedAgentCard is not offered: the card is the same for all who may see
// it.
func (h *a2aHandler) OnGetExtendedAgentCard(context.Context) (*a2a.AgentCard, error) {
	return nil, a2a.ErrAuthenticatedExtendedCardNotConfigured
}
