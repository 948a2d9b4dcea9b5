package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// AG-UI (protocol version 1.0): an agent for user interfaces. One route takes what
// @ag-ui/client's HttpAgent posts and answers with a stream. A thread is a
// session. A run of AG-UI is a run, or a part of one: up to where it waits for
// somebody, which ends it with interrupts; a run with their answers goes on. The
// same request again is the same run, told from its beginning; a request without
// a message tells what the thread has and goes on with what is under way.

// aguiRequest is a RunAgentInput.
type aguiRequest struct {
	ThreadID string          `json:"threadId"`
	RunID    string          `json:"runId"`
	State    json.RawMessage `json:"state"`
	Messages []aguiMessage   `json:"messages"`
	Resume   []aguiResume    `json:"resume"`

	ref   holdfast.SessionRef
	agent agent.File
	said  []holdfast.Message // by the user
}

// aguiResume is the answer to an interrupt.
type aguiResume struct {
	InterruptID string          `json:"interruptId"`
	Status      string          `json:"status"`
	Payload     json.RawMessage `json:"payload"`
}

func (a *API) aguiRoutes(mux *router, api huma.API) {
	mux.HandleFunc("POST /v1/agui/{name}", a.serveAGUI)
	a.describeRPC(api, "agui", "/v1/agui/{name}", "Run an agent (AG-UI)",
		"Takes a RunAgentInput of AG-UI 1.0 and answers with the stream of its events. threadId is the session, made if there is none; what the user has said in it is not said again. runId makes the request safe to repeat. "+
			"A run that needs a human ends with an interrupt outcome, and resume answers it. Without a message of the user and without resume: what the thread has, and what is under way.",
		http.StatusGone, http.StatusConflict, http.StatusNotImplemented)
}

// serveAGUI answers POST /v1/agui/{name}.
func (a *API) serveAGUI(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	q, err := a.readAGUI(w, r)
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	f, after, v, err := a.startAGUI(ctx, q)
	refused := (*aguiRefusal)(nil)
	if err != nil && !errors.As(err, &refused) {
		a.writeProblem(w, r, err)
		return
	}
	if refused != nil {
		f = newAGUIFold(ctx, a, q, newPart("", 0))
	} else {
		// The feed is opened first: what is wrong with it can still be answered.
		_, release, err := a.hub.open(ctx, q.ref)
		if err != nil {
			a.writeProblem(w, r, err)
			return
		}
		defer release()
	}
	if f.wire, err = a.startWire(w, typeSSE, beatSSE); err != nil {
		a.logError(ctx, "a stream could not begin", err)
		return
	}
	a.streamed(ctx, a.tellAGUI(ctx, f, after, v, refused))
}

// aguiRefusal is what the protocol wants to be an event, not a status.
type aguiRefusal struct{ err error }

func (e *aguiRefusal) Error() string { return e.err.Error() }
func (e *aguiRefusal) Unwrap() error { return e.err }

func (a *API) tellAGUI(ctx context.Context, f *aguiFold, after uint64, v *View, refused *aguiRefusal) error {
	if refused != nil {
		a.logError(ctx, "a request over AG-UI was refused", refused)
		err := f.emit(aguiEvent{Type: "RUN_STARTED", ThreadID: f.q.ThreadID, RunID: f.q.RunID},
			aguiEvent{Type: "RUN_ERROR", Message: holdfast.PublicMessage(refused), Code: holdfast.CodeOf(refused)})
		return errors.Join(err, f.flush())
	}
	if err := f.begin(v); err != nil {
		return err
	}
	if f.part.ended || f.part.run == "" && f.part.command == "" { // nothing is under way
		err := f.end(v.Info.Head.Seq)
		return errors.Join(err, f.flush())
	}
	if err := a.hub.stream(ctx, f.q.ref, after, f); err != nil {
		return err
	}
	if !f.part.ended {
		return errClosing
	}
	return nil
}

// aguiParams are the members of a RunAgentInput that are read, aguiNeutral those
// that may be sent if they say nothing.
var (
	aguiParams  = []string{"threadId", "runId", "state", "messages", "resume", "parentRunId", "protocolVersion"}
	aguiNeutral = map[string][]string{"tools": {"[]"}, "context": {"[]"}, "forwardedProps": {"{}"}}
)

// readAGUI reads and checks a request.
func (a *API) readAGUI(w http.ResponseWriter, r *http.Request) (*aguiRequest, error) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if err := wantJSON(r); err != nil {
		return nil, err
	}
	body, err := readBody(w, r, a.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	p, err := readParams(body, aguiParams, aguiNeutral)
	if err != nil {
		return nil, err
	}
	q := &aguiRequest{agent: f}
	if err := errors.Join(p.get("threadId", &q.ThreadID), p.get("runId", &q.RunID), p.get("state", &q.State), p.get("messages", &q.Messages), p.get("resume", &q.Resume)); err != nil {
		return nil, err
	}
	if p["parentRunId"] != nil {
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "parentRunId: a thread has no branches here; fork the session (POST /v1/sessions/{id}/forks) and take the fork for the thread")
	}
	q.ref = holdfast.SessionRef{Tenant: tenantOf(r.Context()), Session: q.ThreadID}
	if err := q.ref.Validate(); err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "threadId: want letters, digits, '-' and '_', at most 128")
	}
	if err := errors.Join(holdfast.ValidateID("runId", q.RunID), checkKey("agui:"+q.RunID)); err != nil {
		return nil, err
	}
	for i, m := range q.Messages {
		at := fmt.Sprintf("messages[%d]", i)
		switch m.Role {
		case "user":
			said, err := aguiSaid(at, m.Content)
			if err != nil {
				return nil, err
			}
			q.said = append(q.said, said)
		case "assistant", "tool", "reasoning", "activity": // the session has its own
		default:
			return nil, holdfast.Errorf(holdfast.CodeNotOffered, "%s.role: %q is not offered: instructions are in the agent's file", at, m.Role)
		}
	}
	return q, nil
}

// aguiSaid reads the content of a user's message.
func aguiSaid(at string, content any) (holdfast.Message, error) {
	m := holdfast.Message{Role: holdfast.RoleUser}
	if text, ok := content.(string); ok && text != "" {
		m.Content = text
		return m, nil
	}
	var parts []aguiPart
	raw, err := json.Marshal(content)
	if err != nil {
		return m, err
	}
	if json.Unmarshal(raw, &parts) != nil || len(parts) == 0 {
		return m, holdfast.Errorf(holdfast.CodeInvalid, "%s.content: want a text or a list of parts", at)
	}
	for i, p := range parts {
		switch {
		case p.Type == "text" && m.Content == "" && len(m.Parts) == 0:
			m.Content = p.Text
		case p.Type == "text":
			m.Parts = append(m.Parts, holdfast.ContentPart{Type: "text", Text: p.Text})
		case p.Type == "image" && p.Source != nil && p.Source.Type == "url" && p.Source.Value != "":
			m.Parts = append(m.Parts, holdfast.ContentPart{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: p.Source.Value}})
		case p.Type == "image" && p.Source != nil && p.Source.Type == "data" && p.Source.MimeType != "":
			m.Parts = append(m.Parts, holdfast.ContentPart{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "data:" + p.Source.MimeType + ";base64," + p.Source.Value}})
		default:
			return m, holdfast.Errorf(holdfast.CodeNotOffered, "%s.content[%d]: parts of type %q are not offered in this form, only texts, and images by URL or as data", at, i, p.Type)
		}
	}
	if m.Content == "" && len(m.Parts) == 0 {
		return m, holdfast.Errorf(holdfast.CodeInvalid, "%s.content: empty", at)
	}
	return m, nil
}

// state is the client's state as an object, false if it is something else.
func (q *aguiRequest) state() (map[string]any, bool) {
	state := map[string]any{}
	if len(q.State) == 0 {
		return state, true
	}
	d := json.NewDecoder(bytes.NewReader(q.State))
	d.UseNumber()
	return state, d.Decode(&state) == nil && state != nil
}

// startAGUI does what a request asks for and returns the fold of what comes, a seq
// before its run's first event, and the session as it is.
func (a *API) startAGUI(ctx context.Context, q *aguiRequest) (f *aguiFold, after uint64, v *View, err error) {
	fail := func(err error) (*aguiFold, uint64, *View, error) { return nil, 0, nil, err }
	v, err = a.view(ctx, q.ref, 0)
	missing := holdfast.CodeOf(err) == holdfast.CodeNotFound && !errors.Is(err, errDeleted)
	switch {
	case missing && len(q.Resume) == 0 && len(q.said) > 0:
		if v, err = a.create(ctx, q.ref, false, &holdfast.SessionCreatedEvent{Agent: q.agent.Name}); errors.Is(err, events.ErrConflict) {
			v, err = a.view(ctx, q.ref, 0) // somebody else was quicker
		}
	case err != nil && errors.Is(err, errDeleted):
		err = holdfast.Errorf(holdfast.CodeGone, "session %s was deleted; take another threadId", q.ThreadID)
	}
	if err != nil {
		return fail(err)
	}
	if len(q.Resume) > 0 {
		return a.resumeAGUI(ctx, q, v)
	}
	if len(q.said) == 0 {
		return a.watchAGUI(ctx, q, v)
	}
	run := runRequest{ref: q.ref, agent: q.agent.Name, messages: q.said, history: true, key: "agui:" + q.RunID, mode: events.ModeEnqueue}
	// A thread that waits takes no message, but for one that it has had.
	if now, err := a.waitsFor(ctx, q.ref, v); err != nil {
		return fail(err)
	} else if now != nil && v.run(holdfast.DeriveID(q.ref.Tenant, q.ref.Session, "run-id", run.key)) == nil {
		return fail(&aguiRefusal{holdfast.Errorf(holdfast.CodeConflict, "the thread waits for answers, which resume must have, all of them: %s", strings.Join(ids(now.needs), ", "))})
	}
	b, err := a.begin(ctx, run)
	if err != nil {
		return fail(err)
	}
	if r := v.run(b.run); r != nil {
		// It has begun before: it is told from its beginning.
		if v, err = a.view(ctx, q.ref, max(r.FirstSeq-1, 1)); err != nil {
			return fail(err)
		}
	}
	return newAGUIFold(ctx, a, q, b.part()), b.after, v, nil
}

func ids(needs []wanted) []string {
	list := make([]string, len(needs))
	for i, n := range needs {
		list[i] = interruptID(n)
	}
	return list
}

// waitsFor returns the active run as it is if it waits for a human, else nil.
func (a *API) waitsFor(ctx context.Context, ref holdfast.SessionRef, v *View) (*part, error) {
	r := v.run(v.Info.Run)
	if v.Info.Run == "" || r == nil || r.Status != runRunning {
		return nil, nil
	}
	p := newPart(r.Run, 0)
	p.reopens = true
	if err := a.readPart(ctx, ref, r.FirstSeq-1, &partSink{part: p, session: ref.Session}); err != nil {
		return nil, err
	}
	if !p.ended || p.finished || len(p.needs) == 0 {
		return nil, nil
	}
	return p, nil
}

// watchAGUI tells what a thread has, and what comes of the run that is active.
func (a *API) watchAGUI(ctx context.Context, q *aguiRequest, v *View) (*aguiFold, uint64, *View, error) {
	waits, err := a.waitsFor(ctx, q.ref, v)
	if err != nil {
		return nil, 0, nil, err
	}
	if waits != nil {
		return newAGUIFold(ctx, a, q, waits), 0, v, nil
	}
	r := v.run(v.Info.Run)
	if v.Info.Run == "" || r == nil {
		p := newPart("", 0)
		p.ended, p.finished, p.reason = true, true, "stop"
		return newAGUIFold(ctx, a, q, p), 0, v, nil
	}
	// What is being said now is told from the beginning of its model call.
	from := v.Info.Head.Seq
	open := uint64(0)
	err = a.hub.catchUp(ctx, q.ref, r.FirstSeq-1, func(it *item) error {
		switch {
		case it.seq > from:
			return errDone
		case it.run != r.Run:
		case it.typ == holdfast.TypeModelCallStarted:
			open = it.seq
		case it.typ == holdfast.TypeModelCallFinished || it.typ == holdfast.TypeModelCallVoided:
			open = 0
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return nil, 0, nil, unavailable(fmt.Errorf("read run %s of %s: %w", r.Run, q.ref, err))
	}
	first := r.FirstSeq - 1
	if open > 0 {
		from = open - 1
		if v, err = a.view(ctx, q.ref, from); err != nil {
			return nil, 0, nil, err
		}
	}
	return newAGUIFold(ctx, a, q, newPart(r.Run, from+1)), first, v, nil
}

// resumeAGUI takes the answers to all that a thread waits for.
func (a *API) resumeAGUI(ctx context.Context, q *aguiRequest, v *View) (*aguiFold, uint64, *View, error) {
	refuse := func(err error) (*aguiFold, uint64, *View, error) { return nil, 0, nil, &aguiRefusal{err} }
	waits, err := a.waitsFor(ctx, q.ref, v)
	if err != nil {
		return nil, 0, nil, err
	}
	run, from := v.Info.Run, v.Info.Head.Seq+1
	if waits != nil {
		for _, n := range waits.needs {
			if !slices.ContainsFunc(q.Resume, func(r aguiResume) bool { return r.InterruptID == interruptID(n) }) {
				return refuse(holdfast.Errorf(holdfast.CodeConflict, "resume: nothing answers %s; all that the thread waits for must be answered at once", interruptID(n)))
			}
		}
	}
	for i, r := range q.Resume {
		at := fmt.Sprintf("resume[%d]", i)
		if r.Status != "resolved" && r.Status != "cancelled" {
			return refuse(holdfast.Errorf(holdfast.CodeInvalid, "%s.status: want resolved or cancelled", at))
		}
		kind, body, err := aguiAnswer(at, r, run)
		if err != nil {
			return refuse(err)
		}
		if kind == "" { // nothing to send: the user does it elsewhere
			continue
		}
		ans, err := a.settle(ctx, q.ref, kind, "agui:"+q.RunID+":"+r.InterruptID, body)
		if err != nil {
			if status(holdfast.CodeOf(err)) < http.StatusInternalServerError {
				return refuse(err)
			}
			return nil, 0, nil, err
		}
		if ans.Run != "" {
			run = ans.Run
		}
		from = min(from, ans.Seq)
	}
	now := v.run(run)
	if now == nil {
		return refuse(holdfast.Errorf(holdfast.CodeConflict, "resume: the thread waits for nothing"))
	}
	if from <= v.Info.Head.Seq { // answered before: it is told from there
		if v, err = a.view(ctx, q.ref, max(from-1, 1)); err != nil {
			return nil, 0, nil, err
		}
	}
	return newAGUIFold(ctx, a, q, newPart(run, from)), now.FirstSeq - 1, v, nil
}

// aguiAnswer makes a command of the answer to an interrupt; kind "" is none.
func aguiAnswer(at string, r aguiResume, run string) (kind string, body any, err error) {
	need, id, _ := strings.Cut(r.InterruptID, ":")
	yes := r.Status == "resolved"
	bad := func(format string) (string, any, error) {
		return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "%s.payload: "+format, at)
	}
	switch need {
	case needApproval:
		var p struct {
			Approved   *bool           `json:"approved"`
			EditedArgs json.RawMessage `json:"editedArgs"`
			Reason     string          `json:"reason"`
			ForSession bool            `json:"forSession"`
		}
		if yes && (json.Unmarshal(r.Payload, &p) != nil || p.Approved == nil) {
			return bad("want an object with approved, which is true or false")
		}
		d := events.DecideBody{ToolCallID: id, Decision: decisionReject, Reason: p.Reason}
		if yes && *p.Approved {
			d.Decision = decisionApprove
			if p.ForSession {
				d.Decision = decisionApproveSession
			}
			d.Arguments, d.Reason = string(p.EditedArgs), ""
		}
		if err := checkArguments(d.Arguments); err != nil {
			return bad("editedArgs: want an object")
		}
		return events.KindDecide, d, nil
	case needInput:
		b := events.InputBody{ID: id, Action: "cancel"}
		if yes {
			b.Action, b.Content = "accept", r.Payload
		}
		return events.KindInput, b, nil
	case needIterations:
		var more bool
		if yes && json.Unmarshal(r.Payload, &more) != nil {
			return bad("want true or false")
		}
		if more {
			return events.KindResume, events.ResumeBody{Run: run}, nil
		}
		return events.KindCancel, events.CancelBody{Run: run}, nil
	case needAuthorization:
		if yes {
			return "", nil, nil
		}
		return events.KindAuthorize, events.AuthorizeBody{Flow: id}, nil
	}
	return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "%s.interruptId: the thread does not wait for %q", at, r.InterruptID)
}
