package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// What an A2A agent does, whichever version of the protocol asks: both come here
// with the types of the SDK of 0.3 and answer in their own forms (a2a_v03.go,
// a2a_v1.go, a2a_rest.go).

// a2aHandler answers for one agent.
type a2aHandler struct {
	*API
	agent agent.File
	// ownContexts lets a client name a context that there is not yet (1.0 section
	// 3.4.1); in 0.3 the server names them.
	ownContexts bool
}

// taskID names a run; from it alone the run is found again.
func taskID(session, run string) a2a.TaskID { return a2a.TaskID(run + "_" + session) }

// a2aError makes an error of ours one of the protocol: its code by kind, its
// message in the data.
func (h *a2aHandler) a2aError(ctx context.Context, err error) error {
	var said *a2aFailure
	if err == nil || errors.As(err, &said) {
		return err
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
	case errors.Is(err, errTaskOver) && h.ownContexts: // 1.0 has a word for it (section 3.1.1)
		kind = a2a.ErrUnsupportedOperation
	case code == holdfast.CodeNotFound:
		kind = a2a.ErrTaskNotFound
	case code == holdfast.CodeNotOffered:
		kind = a2a.ErrUnsupportedOperation
	case code == holdfast.CodeUnavailable || code == holdfast.CodeTimeout || code == holdfast.CodeRateLimited:
		kind = a2a.ErrServerError
	case status(code) < http.StatusInternalServerError:
		kind = a2a.ErrInvalidParams
	}
	return newA2AFailure(kind, err)
}

var (
	errNotCancelable = errors.New("the task is over")
	errTaskOver      = errors.New("the task takes no message")
	errContentType   = errors.New("this content is not taken")
	// errNoPush refuses what the card does not offer.
	errNoPush = fmt.Errorf("%w: stream the task, or subscribe a webhook", a2a.ErrPushNotificationNotSupported)
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
	t, err := h.readTask(ctx, ref, r)
	return t, r, err
}

// readTask folds a run into a task as it is now.
func (h *a2aHandler) readTask(ctx context.Context, ref holdfast.SessionRef, r *RunView) (*a2aTask, error) {
	p := newPart(r.Run, 0)
	p.reopens = true
	t := newA2ATask(p, ref.Session)
	return t, h.readPart(ctx, ref, r.FirstSeq-1, t.sink)
}

// checkHistory refuses a history that is shorter than nothing.
func checkHistory(length *int) error {
	if length != nil && *length < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "historyLength: want 0 or more")
	}
	return nil
}

// OnGetTask implements tasks/get and GetTask.
func (h *a2aHandler) OnGetTask(ctx context.Context, q *a2a.TaskQueryParams) (*a2a.Task, error) {
	if err := checkHistory(q.HistoryLength); err != nil {
		return nil, h.a2aError(ctx, err)
	}
	t, _, err := h.taskNow(ctx, q.ID)
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	return t.task(q.HistoryLength), nil
}

// OnCancelTask implements tasks/cancel and CancelTask. It waits a moment for the task's end.
func (h *a2aHandler) OnCancelTask(ctx context.Context, q *a2a.TaskIDParams) (*a2a.Task, error) {
	t, err := h.cancelTask(ctx, q.ID)
	if err != nil {
		return nil, h.a2aError(ctx, err)
	}
	return t.task(nil), nil
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

// OnSendMessage implements message/send and SendMessage: it waits for the task's
// end or for what the task needs, unless blocking is false.
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
	var length *int
	if q.Config != nil {
		length = q.Config.HistoryLength
	}
	if t.sink.part.from > 0 { // the answer has all of the task
		now, _, err := h.taskNow(ctx, t.TaskInfo().TaskID)
		if err != nil {
			return nil, h.a2aError(ctx, err)
		}
		return now.task(length), nil
	}
	return t.task(length), nil
}

// OnSendMessageStream implements message/stream.
func (h *a2aHandler) OnSendMessageStream(ctx context.Context, q *a2a.MessageSendParams) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		t, ref, after, err := h.send(ctx, q)
		if err == nil && q.Config != nil {
			t.historyLength = q.Config.HistoryLength
		}
		h.stream(ctx, t, ref, after, err, yield)
	}
}

// OnResubscribeToTask implements tasks/resubscribe: the task as it is now, then
// what comes, until the task waits for somebody or is over.
func (h *a2aHandler) OnResubscribeToTask(ctx context.Context, q *a2a.TaskIDParams) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		now, ref, after, err := h.rejoin(ctx, q.ID)
		if err != nil {
			yield(nil, h.a2aError(ctx, err))
			return
		}
		if p := now.sink.part; !yield(now.task(nil), nil) || p.ended {
			return
		}
		now.sink.part.reopens = false
		h.stream(ctx, now, ref, after, nil, yield)
	}
}

// rejoin returns a task as it is now, to be followed behind after.
func (h *a2aHandler) rejoin(ctx context.Context, id a2a.TaskID) (t *a2aTask, ref holdfast.SessionRef, after uint64, err error) {
	t, r, err := h.taskNow(ctx, id)
	if err != nil {
		return nil, ref, 0, err
	}
	ref = holdfast.SessionRef{Tenant: tenantOf(ctx), Session: t.session}
	t.joined()
	return t, ref, max(r.FirstSeq-1, t.sink.seq), nil
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

// checkMessage refuses a message that cannot be taken, whatever its task.
func checkMessage(q *a2a.MessageSendParams) error {
	m := q.Message
	switch {
	case m == nil || m.ID == "":
		return holdfast.Errorf(holdfast.CodeInvalid, "message: want one with a messageId")
	case m.Role != a2a.MessageRoleUser:
		return holdfast.Errorf(holdfast.CodeInvalid, "message.role: want that of the user")
	case q.Config == nil:
		return nil
	case len(q.Config.AcceptedOutputModes) > 0 && !slices.ContainsFunc(q.Config.AcceptedOutputModes, isText):
		return holdfast.WrapError(holdfast.CodeInvalid, errContentType, "acceptedOutputModes: the agent answers with text/plain")
	case q.Config.PushConfig != nil:
		return holdfast.WrapError(holdfast.CodeNotOffered, errNoPush, "pushNotificationConfig: not offered; stream the task, or subscribe a webhook")
	}
	return checkHistory(q.Config.HistoryLength)
}

// send does what a message asks for: a new run, more for one that works, or an
// answer to one that waits. It returns the task from there on, and a seq before
// its first event. The id of the message makes it safe to repeat: the same one
// again is the same task, however far that is by then.
func (h *a2aHandler) send(ctx context.Context, q *a2a.MessageSendParams) (t *a2aTask, ref holdfast.SessionRef, after uint64, err error) {
	fail := func(err error) (*a2aTask, holdfast.SessionRef, uint64, error) { return nil, ref, 0, err }
	m := q.Message
	ref.Tenant = tenantOf(ctx)
	if err := checkMessage(q); err != nil {
		return fail(err)
	}
	key := "a2a:" + m.ID
	if len(key) > maxKey {
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "message.messageId: longer than %d characters", maxKey-len("a2a:")))
	}
	run := runRequest{agent: h.agent.Name, key: key, mode: events.ModeEnqueue}
	if m.TaskID != "" {
		t, r, err := h.taskNow(ctx, m.TaskID)
		if err != nil {
			return fail(err)
		}
		ref.Session = t.session
		if m.ContextID != "" && m.ContextID != t.session {
			return fail(holdfast.Errorf(holdfast.CodeInvalid, "message.contextId: the task is in another context"))
		}
		seq, err := h.answered(ctx, ref, t, r, key, m)
		if err != nil {
			return fail(err)
		}
		if seq > 0 {
			return newA2ATask(newPart(r.Run, seq), ref.Session), ref, r.FirstSeq - 1, nil
		}
		run.mode = events.ModeSteer
	}
	said, err := a2aMessage(m)
	if err != nil {
		return fail(err)
	}
	run.messages = []holdfast.Message{said}
	if run.ref, err = h.context(ctx, ref, m.ContextID, key); err != nil {
		return fail(err)
	}
	ref = run.ref
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

// context returns the session of a message: that of its task, which ref has
// already, the one that it names, or a new one.
func (h *a2aHandler) context(ctx context.Context, ref holdfast.SessionRef, name, key string) (holdfast.SessionRef, error) {
	switch {
	case ref.Session != "":
		return ref, nil
	case name != "":
		ref.Session = name
		if err := ref.Validate(); err != nil {
			return ref, holdfast.WrapError(holdfast.CodeInvalid, err, "message.contextId: want letters, digits, '-' and '_', at most 128")
		}
		if h.ownContexts {
			return ref, h.ensureAgent(ctx, ref)
		}
		return ref, nil
	}
	v, _, err := h.createOnce(ctx, "", key, &holdfast.SessionCreatedEvent{Agent: h.agent.Name})
	if err != nil {
		return ref, err
	}
	return v.Info.Session, nil
}

// ensureAgent creates the session if it does not exist.
func (h *a2aHandler) ensureAgent(ctx context.Context, ref holdfast.SessionRef) error {
	err := h.exists(ctx, ref)
	switch {
	case errors.Is(err, errDeleted):
		return holdfast.Errorf(holdfast.CodeGone, "message.contextId: the context was deleted; take another")
	case holdfast.CodeOf(err) != holdfast.CodeNotFound:
		return err
	}
	_, err = h.create(ctx, ref, false, &holdfast.SessionCreatedEvent{Agent: h.agent.Name})
	if errors.Is(err, events.ErrConflict) {
		return nil // somebody else was quicker
	}
	return err
}

// answered takes a message to a task as the answer that the task waits for, and
// returns the event that says so; 0 if the message is one for a task that works,
// or one that it has had.
func (h *a2aHandler) answered(ctx context.Context, ref holdfast.SessionRef, t *a2aTask, r *RunView, key string, m *a2a.Message) (uint64, error) {
	kind, seq, err := h.taken(ctx, ref, r.FirstSeq-1, key)
	switch p := t.sink.part; {
	case err != nil:
		return 0, err
	case kind == events.KindRun:
		return 0, nil // its repetition is settled where it was settled first
	case kind != "":
		return seq, nil
	case p.finished:
		return 0, holdfast.WrapError(holdfast.CodeInvalid, errTaskOver, "the task is over; send the message without taskId, in its context")
	case p.ended:
		return h.answer(ctx, ref, p, key, m)
	case !p.begun:
		// Whoever steers joins the run that works, and that is another task.
		return 0, holdfast.WrapError(holdfast.CodeConflict, errTaskOver, "the task has not begun: another one works in its context; send the message when this one works, or without taskId")
	}
	return 0, nil
}

// taken looks whether a message was taken before: by its command, which is one of
// few kinds. kind is "" if it was not.
func (h *a2aHandler) taken(ctx context.Context, ref holdfast.SessionRef, after uint64, key string) (kind string, seq uint64, err error) {
	ids := map[string]string{commandID(ref, "run", key): events.KindRun}
	for _, k := range []string{events.KindDecide, events.KindInput, events.KindResume} {
		ids[commandID(ref, k, key)] = k
	}
	err = h.hub.catchUp(ctx, ref, after, func(it *item) error {
		if it.typ != holdfast.TypeCommandAccepted {
			return nil
		}
		var ev holdfast.CommandAcceptedEvent
		if err := json.Unmarshal(it.line, &ev); err != nil {
			return fmt.Errorf("read event %d: %w", it.seq, err)
		}
		if k := ids[ev.Command]; k != "" {
			kind, seq = k, it.seq
			return errDone
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDone) {
		return "", 0, unavailable(fmt.Errorf("look for a message in %s: %w", ref, err))
	}
	return kind, seq, nil
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
