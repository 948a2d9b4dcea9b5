package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// responseParams and responseNeutral are the parameters of POST /v1/responses:
// those that are offered, and those that may be sent if they say what is so.
var (
	responseParams  = []string{"model", "input", "stream", "background", "previous_response_id", "conversation", "metadata"}
	responseNeutral = map[string][]string{
		"store": {"true"}, "parallel_tool_calls": {"true"}, "tool_choice": {`"auto"`}, "tools": {"[]"}, "include": {"[]"},
		"service_tier": {`"auto"`, `"default"`}, "stream_options": {"{}", `{"include_obfuscation":false}`}, "text": {"{}", `{"format":{"type":"text"}}`},
	}
)

// responseRequest is the body of POST /v1/responses.
type responseRequest struct {
	model        string
	messages     []holdfast.Message
	approvals    []approval
	stream       bool
	background   bool
	previous     string
	conversation string
	metadata     map[string]string
	key          string
	fresh        bool // no request had the key before
}

// approval is an mcp_approval_response of the input.
type approval struct {
	call, decision, reason string
}

func parseResponseRequest(body []byte) (q responseRequest, err error) {
	p, err := readParams(body, responseParams, responseNeutral)
	if err != nil {
		return q, err
	}
	var conv json.RawMessage
	err = errors.Join(p.get("model", &q.model), p.get("stream", &q.stream), p.get("background", &q.background),
		p.get("previous_response_id", &q.previous), p.get("metadata", &q.metadata), p.get("conversation", &conv))
	if err != nil {
		return q, err
	}
	if len(conv) > 0 && json.Unmarshal(conv, &q.conversation) != nil {
		var object conversation
		if json.Unmarshal(conv, &object) != nil || object.ID == "" {
			return q, badParam("conversation", "want the id of a session, or an object with it")
		}
		q.conversation = object.ID
	}
	switch {
	case q.previous != "" && q.conversation != "":
		return q, badParam("conversation", "not together with previous_response_id")
	case q.metadata != nil && (q.previous != "" || q.conversation != ""):
		return q, badParam("metadata", "is kept with a session, and this one exists already")
	case q.previous == "" && q.conversation == "" && q.model == "":
		return q, badParam("model", "missing; want the name of an agent (GET /v1/models)")
	}
	if raw, ok := p["input"]; ok {
		err = q.input(raw)
	} else if q.previous == "" {
		err = badParam("input", "missing")
	}
	return q, err
}

// input reads a text or a list of items.
func (q *responseRequest) input(raw json.RawMessage) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		m, err := openAIContent("input", raw)
		q.messages = []holdfast.Message{m}
		return err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return badParam("input", "want a text or a list of items")
	}
	type inputObject struct {
		Type    string          `json:"type"`
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
		Request string          `json:"approval_request_id"`
		Approve *bool           `json:"approve"`
		Reason  string          `json:"reason"`
	}
	for i, object := range list {
		at := fmt.Sprintf("input[%d]", i)
		var it inputObject
		if err := json.Unmarshal(object, &it); err != nil {
			return badParam(at, "want an item: an object with a type, or a message of the user")
		}
		switch {
		case it.Type == "mcp_approval_response":
			if err := onlyMembers(at, object, "type", "id", "approval_request_id", "approve", "reason"); err != nil {
				return err
			}
			call, ok := strings.CutPrefix(it.Request, approvalPrefix)
			if !ok || it.Approve == nil {
				return badParam(at, "want approval_request_id, the id of an mcp_approval_request, and approve")
			}
			decision := decisionReject
			if *it.Approve {
				decision = decisionApprove
			}
			q.approvals = append(q.approvals, approval{call, decision, it.Reason})
		case it.Type != "" && it.Type != "message":
			return notOfferedParam(at, "items of type %q are not offered, only messages of the user and mcp_approval_response: what was said before is in the session (previous_response_id, conversation)", it.Type)
		case it.Role != string(holdfast.RoleUser):
			return notOfferedParam(at+".role", "%q is not taken, only \"user\" is: instructions are in the agent's file, and what was said before is in the session (previous_response_id, conversation)", it.Role)
		default:
			// id and status are those of an item that was listed.
			if err := onlyMembers(at, object, "type", "id", "status", "role", "content"); err != nil {
				return err
			}
			m, err := openAIContent(at+".content", it.Content)
			if err != nil {
				return err
			}
			q.messages = append(q.messages, m)
		}
	}
	if len(q.messages) > 0 && len(q.approvals) > 0 {
		return badParam("input", "an approval and a message cannot come together: approve first, and say more when the agent has answered")
	}
	return nil
}

// createResponse answers POST /v1/responses.
func (a *API) createResponse(w http.ResponseWriter, r *http.Request) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		return err
	}
	q, err := parseResponseRequest(body)
	if err != nil {
		return err
	}
	var done func()
	q.key, q.fresh, done = a.retries.keyOf(r, body)
	defer done()
	if err := checkKey(q.key); err != nil {
		return err
	}
	ctx := r.Context()
	f, after, err := a.respondTo(ctx, q)
	if err != nil {
		return err
	}
	f.background, f.metadata = &q.background, q.metadata
	if q.previous != "" {
		f.previous = &q.previous
	}
	if q.background && !q.stream {
		if err := a.readPart(ctx, f.ref(ctx), after, f.sink); err != nil {
			return &startedError{err}
		}
		writeJSON(w, http.StatusOK, "application/json", f.response())
		return nil
	}
	return a.serveResponse(w, r, f, after, q.stream)
}

// ref is the session of the response.
func (f *responseFold) ref(ctx context.Context) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: tenantOf(ctx), Session: f.id.session}
}

// serveResponse waits for a response, or streams it.
func (a *API) serveResponse(w http.ResponseWriter, r *http.Request, f *responseFold, after uint64, stream bool) error {
	ctx := r.Context()
	if !stream {
		if err := a.await(w, ctx, f.ref(ctx), after, f.sink); err != nil {
			return &startedError{fmt.Errorf("wait for %s: %w", f.id, err)}
		}
		writeJSON(w, http.StatusOK, "application/json", f.response())
		return nil
	}
	// The feed is opened first: what is wrong with it can still be answered.
	_, release, err := a.hub.open(ctx, f.ref(ctx))
	if err != nil {
		return &startedError{err}
	}
	defer release()
	if f.sink.wire, err = a.startWire(w, typeSSE, beatSSE); err != nil {
		a.logError(ctx, "a stream could not begin", err)
		return nil
	}
	a.streamed(ctx, a.follow(ctx, f.ref(ctx), after, f.sink))
	return nil
}

// streamed ends a stream. One that is not whole is broken off, so that nobody
// takes it for whole.
func (a *API) streamed(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	a.logError(ctx, "a stream broke off", err)
	panic(http.ErrAbortHandler)
}

// await follows a part to its end for an answer in one piece, however long that
// takes: the server's limits for answers do not count.
func (a *API) await(w http.ResponseWriter, ctx context.Context, ref holdfast.SessionRef, after uint64, out *partSink) error {
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return fmt.Errorf("lift the time limits of an answer: %w", err)
	}
	err := a.follow(ctx, ref, after, out)
	return errors.Join(err, rc.SetWriteDeadline(time.Now().Add(a.cfg.WriteTimeout)))
}

// respondTo does what a request asks for and returns the response that it makes,
// and a seq before the first event of its run.
func (a *API) respondTo(ctx context.Context, q responseRequest) (*responseFold, uint64, error) {
	run := runRequest{ref: holdfast.SessionRef{Tenant: tenantOf(ctx)}, messages: q.messages, key: q.key, fresh: q.fresh}
	switch {
	case q.previous != "":
		return a.respondAfter(ctx, q, run)
	case q.conversation != "":
		run.ref.Session = q.conversation
		if err := run.ref.Validate(); err != nil {
			return nil, 0, &paramError{"conversation", err}
		}
		if len(q.approvals) > 0 {
			v, err := a.view(ctx, run.ref, 0)
			if err != nil {
				return nil, 0, &paramError{"conversation", err}
			}
			return a.respondDecided(ctx, v, v.Info.Run, q)
		}
	default:
		if len(q.messages) == 0 {
			return nil, 0, badParam("input", "want a message of the user")
		}
		info, err := a.usableAgent(ctx, q.model)
		if err != nil {
			return nil, 0, &paramError{"model", err}
		}
		n := NewSession{Agent: info.Name, Metadata: q.metadata}
		if err := n.check(); err != nil {
			return nil, 0, &paramError{"metadata", err}
		}
		v, _, err := a.createOnce(ctx, "", q.key, &holdfast.SessionCreatedEvent{Agent: n.Agent, Metadata: n.Metadata})
		if err != nil {
			return nil, 0, err
		}
		run.ref, run.agent = v.Info.Session, info.Name
	}
	return a.respondRun(ctx, q, run)
}

// respondRun begins a run for a response.
func (a *API) respondRun(ctx context.Context, q responseRequest, run runRequest) (*responseFold, uint64, error) {
	if len(q.messages) == 0 {
		return nil, 0, badParam("input", "want a message of the user")
	}
	if run.agent == "" {
		name := q.model
		if name == "" {
			var err error
			if name, err = a.sessionAgent(ctx, run.ref); err != nil {
				return nil, 0, &paramError{"model", err}
			}
		}
		info, err := a.usableAgent(ctx, name)
		if err != nil {
			return nil, 0, &paramError{"model", err}
		}
		run.agent = info.Name
	}
	b, err := a.begin(ctx, run)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound && q.conversation != "" {
		err = &paramError{"conversation", err}
	}
	if err != nil {
		return nil, 0, err
	}
	return newResponseFold(responseID{session: b.ref.Session, run: b.run}, b.command), b.after, nil
}

// respondAfter goes on behind another response: in its session if nothing has
// come since, else in a fork of it; or with the run that waits.
func (a *API) respondAfter(ctx context.Context, q responseRequest, run runRequest) (*responseFold, uint64, error) {
	f, v, err := a.responseNow(ctx, q.previous)
	if err != nil {
		return nil, 0, &paramError{"previous_response_id", err}
	}
	p := f.sink.part
	r := v.run(f.id.run)
	run.ref = f.ref(ctx)
	switch {
	case len(q.approvals) > 0:
		return a.respondDecided(ctx, v, f.id.run, q)
	case !p.ended:
		return nil, 0, &paramError{"previous_response_id", holdfast.Errorf(holdfast.CodeConflict, "response %s is still in progress", f.id)}
	case !p.finished && len(q.messages) > 0:
		return nil, 0, &paramError{"previous_response_id", &needsError{p.needs, holdfast.Errorf(holdfast.CodeConflict, "response %s waits for somebody: %s Answer that first", f.id, p.needs[0].Message)}}
	case !p.finished:
		// What came since.
		return newResponseFold(responseID{session: f.id.session, run: f.id.run, from: p.last + 1}, ""), r.FirstSeq - 1, nil
	}
	if last := v.Runs[len(v.Runs)-1]; last.Run != f.id.run {
		if len(q.messages) == 0 {
			return nil, 0, badParam("input", "want a message of the user")
		}
		ev := &holdfast.SessionCreatedEvent{
			Title: v.Info.Title, Agent: v.Info.Agent, ToolsApproved: v.Info.ToolsApproved, ForkOf: f.id.session, ForkSeq: p.last,
		}
		fork, _, err := a.createOnce(ctx, "", q.key, ev)
		if err != nil {
			return nil, 0, err
		}
		run.ref = fork.Info.Session
	}
	// Two that go on behind the same response do not go on behind each other.
	run.mode = events.ModeReject
	return a.respondRun(ctx, q, run)
}

// respondDecided carries decisions to a run. The response is what comes behind
// the last of them.
func (a *API) respondDecided(ctx context.Context, v *View, runID string, q responseRequest) (*responseFold, uint64, error) {
	r := v.run(runID)
	if r == nil {
		return nil, 0, badParam("input", "no run waits for an approval")
	}
	var from uint64
	for _, d := range q.approvals {
		// The same decision behind the same response is the same request.
		ans, err := a.settle(ctx, v.Info.Session, events.KindDecide, "response:"+q.previous+":"+d.call+":"+d.decision, events.DecideBody{ToolCallID: d.call, Decision: d.decision, Reason: d.reason})
		if err != nil {
			return nil, 0, &paramError{"input", err}
		}
		from = max(from, ans.Seq)
	}
	return newResponseFold(responseID{session: v.Info.Session.Session, run: runID, from: from}, ""), r.FirstSeq - 1, nil
}

// responseNow reads a response as it is now. CodeNotFound.
func (a *API) responseNow(ctx context.Context, text string) (*responseFold, *View, error) {
	id, err := parseResponseID(text)
	if err != nil {
		return nil, nil, err
	}
	v, err := a.view(ctx, holdfast.SessionRef{Tenant: tenantOf(ctx), Session: id.session}, 0)
	if err != nil {
		return nil, nil, err
	}
	r := v.run(id.run)
	if r == nil || id.from > v.Info.Head.Seq+1 {
		return nil, nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no response %q", text)
	}
	f := newResponseFold(id, "")
	if v.Created != nil && id.from == 0 {
		f.metadata = v.Created.Metadata
	}
	return f, v, a.readPart(ctx, v.Info.Session, r.FirstSeq-1, f.sink)
}

// getResponse answers GET /v1/responses/{id}.
func (a *API) getResponse(w http.ResponseWriter, r *http.Request) error {
	var stream bool
	behind := int64(-1)
	for name, values := range r.URL.Query() {
		var err error
		switch v := values[len(values)-1]; name {
		case "stream":
			stream, err = strconv.ParseBool(v)
		case "starting_after":
			behind, err = strconv.ParseInt(v, 10, 63)
		case "include_obfuscation":
			if obscure, perr := strconv.ParseBool(v); perr != nil || obscure {
				return notOfferedParam(name, "only false is offered")
			}
		case "include", "include[]":
			return notOfferedParam(name, "nothing more can be included; leave it out")
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return badParam(name, "want stream (true or false), starting_after (a sequence_number)")
		}
	}
	// The SDK for Go says it in a body.
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		p, err := readParams(body, []string{"stream"}, nil)
		if err != nil {
			return err
		}
		if err := p.get("stream", &stream); err != nil {
			return err
		}
	}
	if behind >= 0 && !stream {
		return badParam("starting_after", "only with stream=true")
	}
	f, v, err := a.responseNow(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !stream {
		writeJSON(w, http.StatusOK, "application/json", f.response())
		return nil
	}
	again := newResponseFold(f.id, "")
	again.behind, again.metadata = behind, f.metadata
	return a.serveResponse(w, r, again, v.run(f.id.run).FirstSeq-1, true)
}

// cancelResponse answers POST /v1/responses/{id}/cancel: it cancels the run and
// waits a moment for its end.
func (a *API) cancelResponse(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, v, err := a.responseNow(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if run := v.run(f.id.run); run.Status != runFinished {
		if _, err := a.settle(ctx, f.ref(ctx), events.KindCancel, "", events.CancelBody{Run: f.id.run}); err != nil {
			return err
		}
		again := newResponseFold(f.id, "")
		again.metadata = f.metadata
		if p := f.sink.part; p.ended {
			again.id.from = p.last + 1 // it waited; how it ended is behind that
			again.sink.part.from = p.last + 1
		}
		wctx, cancel := context.WithTimeout(ctx, a.cfg.AnswerWait)
		defer cancel()
		if err := a.follow(wctx, f.ref(ctx), run.FirstSeq-1, again.sink); err != nil && wctx.Err() == nil {
			return err
		}
		f = again
	}
	writeJSON(w, http.StatusOK, "application/json", f.response())
	return nil
}
