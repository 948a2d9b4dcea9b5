package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/a2awire"
)

// A2A 1.0: its requests and answers over the operations of a2a_operations.go. Both
// bindings, JSON-RPC here and HTTP+JSON in a2a_rest.go, come together in the
// methods whose names begin with do.

// serveA2A1 answers a message of 1.0 over JSON-RPC that was read.
func (h *a2aHandler) serveA2A1(w http.ResponseWriter, r *http.Request, body []byte) {
	q, wrong := readRPC(body)
	if wrong != nil {
		wrong.Error.Data = []a2awire.ErrorInfo{a2awire.NewErrorInfo(a2awire.KindOf(kindOfCode(wrong.Error.Code)), nil)}
		writeJSON(w, http.StatusOK, "application/json", wrong)
		return
	}
	ctx := r.Context()
	answer := func(result any, err error) {
		if err != nil {
			writeJSON(w, http.StatusOK, "application/json", answerError(q.id, h.a2aError(ctx, err), true))
			return
		}
		writeJSON(w, http.StatusOK, "application/json", &rpcAnswer{Version: "2.0", ID: q.id, Result: result})
	}
	frame := func(ev a2awire.StreamResponse, err error) any {
		if err != nil {
			return answerError(q.id, err, true)
		}
		return &rpcAnswer{Version: "2.0", ID: q.id, Result: ev}
	}
	stream := func(s *a2aStream, err error) {
		if err != nil {
			answer(nil, err)
			return
		}
		h.serveStream(w, r, s, frame)
	}
	switch q.method {
	case a2awire.MethodSend:
		answer(withParams(q, func(p a2awire.SendMessageRequest) (any, error) { return h.doSend(ctx, p) }))
	case a2awire.MethodGet:
		answer(withParams(q, func(p a2awire.TaskRequest) (any, error) { return h.doGet(ctx, p) }))
	case a2awire.MethodList:
		answer(withParams(q, func(p a2awire.ListTasksRequest) (any, error) { return h.doList(ctx, p) }))
	case a2awire.MethodCancel:
		answer(withParams(q, func(p a2awire.TaskRequest) (any, error) { return h.doCancel(ctx, p) }))
	case a2awire.MethodStream:
		stream(withParams(q, func(p a2awire.SendMessageRequest) (*a2aStream, error) { return h.sendStream(ctx, p) }))
	case a2awire.MethodSubscribe:
		stream(withParams(q, func(p a2awire.TaskRequest) (*a2aStream, error) { return h.subscribeTo(ctx, p) }))
	case a2awire.MethodPushCreate, a2awire.MethodPushGet, a2awire.MethodPushList, a2awire.MethodPushDelete:
		answer(nil, errPushOf1)
	case a2awire.MethodExtendedCard:
		answer(nil, errExtendedCard)
	default:
		answer(nil, newA2AFailure(a2a.ErrMethodNotFound, holdfast.Errorf(holdfast.CodeNotOffered, "method %.50q is none of A2A %s", q.method, a2awire.Version)))
	}
}

// kindOfCode returns the error of the protocol that has a code of JSON-RPC itself.
func kindOfCode(code int) error {
	switch code {
	case -32700:
		return a2a.ErrParseError
	case -32602:
		return a2a.ErrInvalidParams
	}
	return a2a.ErrInvalidRequest
}

// Refusals of what the card does not offer, by the names of section 3.3.4.
var (
	errPushOf1 = newA2AFailure(a2a.ErrPushNotificationNotSupported,
		holdfast.Errorf(holdfast.CodeNotOffered, "push notifications are not offered; stream the task, or subscribe a webhook"))
	errExtendedCard = newA2AFailure(a2a.ErrUnsupportedOperation,
		holdfast.Errorf(holdfast.CodeNotOffered, "there is no extended card: the card is the same for all who may see it"))
)

// withParams reads the parameters of a method and calls it.
func withParams[P, R any](q rpcRequest, do func(P) (R, error)) (result R, err error) {
	var p P
	if err := readParams1(q.params, &p); err != nil {
		return result, err
	}
	return do(p)
}

// readParams1 reads parameters; members that are not known are passed over (section
// 3.6).
func readParams1(data []byte, to any) error {
	if len(data) == 0 || data[0] != '{' {
		return holdfast.Errorf(holdfast.CodeInvalid, "params: want an object")
	}
	if err := json.Unmarshal(data, to); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "%s: has not the type that it has in A2A %s", wrong.Field, a2awire.Version)
		}
		return holdfast.Errorf(holdfast.CodeInvalid, "params: not those of A2A %s", a2awire.Version)
	}
	return nil
}

// checkTenant refuses the tenant of a request that is not the caller's own: the API
// key says who calls, and the card names none.
func checkTenant(ctx context.Context, name string) error {
	if name == "" || name == tenantOf(ctx) {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "tenant: there is none of this name; the API key says whose the tasks are")
}

func (h *a2aHandler) doSend(ctx context.Context, q a2awire.SendMessageRequest) (*a2awire.StreamResponse, error) {
	p, err := sendParams(ctx, q)
	if err != nil {
		return nil, err
	}
	res, err := h.OnSendMessage(ctx, p)
	if err != nil {
		return nil, err
	}
	ev := a2awire.Event(res.(a2a.Event))
	return &ev, nil
}

// sendParams makes the parameters of a message those of the operation.
func sendParams(ctx context.Context, q a2awire.SendMessageRequest) (*a2a.MessageSendParams, error) {
	if err := checkTenant(ctx, q.Tenant); err != nil {
		return nil, err
	}
	p, err := q.Params()
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%v", err)
	}
	return p, nil
}

func (h *a2aHandler) doGet(ctx context.Context, q a2awire.TaskRequest) (*a2awire.Task, error) {
	if err := checkTenant(ctx, q.Tenant); err != nil {
		return nil, err
	}
	t, err := h.OnGetTask(ctx, &a2a.TaskQueryParams{ID: a2a.TaskID(q.ID), HistoryLength: q.HistoryLength})
	if err != nil {
		return nil, err
	}
	out := a2awire.NewTask(t)
	return &out, nil
}

func (h *a2aHandler) doCancel(ctx context.Context, q a2awire.TaskRequest) (*a2awire.Task, error) {
	if err := checkTenant(ctx, q.Tenant); err != nil {
		return nil, err
	}
	t, err := h.OnCancelTask(ctx, &a2a.TaskIDParams{ID: a2a.TaskID(q.ID)})
	if err != nil {
		return nil, err
	}
	out := a2awire.NewTask(t)
	return &out, nil
}

// a2aStream is a stream that can begin: what is wrong with its request has been
// said.
type a2aStream struct {
	task  *a2aTask
	ref   holdfast.SessionRef
	after uint64
	// first, if not nil, comes before what is followed.
	first *a2a.Task
}

// sendStream prepares the stream of SendStreamingMessage, which ends where the task
// waits for somebody or is over.
func (h *a2aHandler) sendStream(ctx context.Context, q a2awire.SendMessageRequest) (*a2aStream, error) {
	p, err := sendParams(ctx, q)
	if err != nil {
		return nil, err
	}
	t, ref, after, err := h.send(ctx, p)
	if err != nil {
		return nil, err
	}
	if p.Config != nil {
		t.historyLength = p.Config.HistoryLength
	}
	return &a2aStream{task: t, ref: ref, after: after}, nil
}

// subscribeTo prepares the stream of SubscribeToTask, which ends where the task is
// over (section 3.1.6).
func (h *a2aHandler) subscribeTo(ctx context.Context, q a2awire.TaskRequest) (*a2aStream, error) {
	if err := checkTenant(ctx, q.Tenant); err != nil {
		return nil, err
	}
	t, ref, after, err := h.rejoin(ctx, a2a.TaskID(q.ID))
	if err != nil {
		return nil, err
	}
	if t.sink.part.finished {
		return nil, holdfast.WrapError(holdfast.CodeConflict, errTaskOver, "the task is over: get it")
	}
	return &a2aStream{t, ref, after, t.task(nil)}, nil
}

// serveStream sends a stream; frame makes the data of its events, of an error too.
func (h *a2aHandler) serveStream(w http.ResponseWriter, r *http.Request, s *a2aStream, frame func(a2awire.StreamResponse, error) any) {
	ctx := r.Context()
	out, err := h.startWire(w, typeSSE, beatSSE)
	if err != nil {
		h.logError(ctx, "a stream could not begin", err)
		return
	}
	give := func(data any) error {
		var b strings.Builder
		b.WriteString("data: ")
		enc := json.NewEncoder(&b) // it ends the line
		enc.SetEscapeHTML(false)
		if err := enc.Encode(data); err != nil {
			return err
		}
		b.WriteByte('\n')
		return out.write([]byte(b.String()))
	}
	s.task.yield = func(ev a2a.Event) error { return give(frame(a2awire.Event(ev), nil)) }
	s.task.sink.wire = out
	if s.first != nil {
		err = errors.Join(s.task.yield(s.first), out.flush())
	}
	if err == nil {
		err = h.follow(ctx, s.ref, s.after, s.task.sink)
	}
	if err != nil && ctx.Err() == nil && holdfast.CodeOf(err) != holdfast.CodeInternal {
		// The client is there and can be told.
		err = errors.Join(give(frame(a2awire.StreamResponse{}, h.a2aError(ctx, err))), out.flush())
	}
	h.streamed(ctx, err)
}
