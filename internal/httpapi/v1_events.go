package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// eventRoutes mounts the routes that give out events. They stream, so they are
// plain handlers and are described by hand.
func (a *API) eventRoutes(mux *router, api huma.API) {
	mux.HandleFunc("GET /v1/sessions/{id}/events", a.events)
	mux.HandleFunc("GET /v1/sessions/{id}/events/{seq}", a.noQuery(a.oneEvent))
	mux.HandleFunc("GET /v1/sessions/{id}/tool-calls/{call}/output", a.noQuery(a.toolOutput))
	str, num := &huma.Schema{Type: "string"}, &huma.Schema{Type: "integer", Format: "int64"}
	event := &huma.Schema{
		Type: "object", AdditionalProperties: true, Required: []string{"type", "seq", "time"},
		Description: "One event. Types and members are added over time; pass over what you do not know.",
		Properties: map[string]*huma.Schema{
			"type": str, "agent_name": str, "session_id": str, "run": str,
			"seq":  {Type: "integer", Format: "int64", Description: "Numbers the events of a session from 1 without gaps."},
			"time": {Type: "string", Format: "date-time"},
		},
	}
	api.OpenAPI().Components.Schemas.Map()["Event"] = event
	api.OpenAPI().Components.Schemas.Map()["StreamPosition"] = positionSchema()
	ref := &huma.Schema{Ref: "#/components/schemas/Event"}
	inStream := &huma.Schema{AnyOf: []*huma.Schema{ref, {Ref: "#/components/schemas/StreamPosition"}}}
	param := func(name, in, doc string, s *huma.Schema) *huma.Param {
		return &huma.Param{Name: name, In: in, Description: doc, Schema: s, Required: in == "path"}
	}
	session := param("id", "path", "Id of the session.", str)
	add := func(id, path, summary, doc string, content map[string]*huma.MediaType, params []*huma.Param, statuses ...int) {
		op := a.operation(id, http.MethodGet, path, "events", summary, doc, statuses...)
		op.Parameters = params
		describe(api, op, content)
	}
	add("stream-events", "/v1/sessions/{id}/events", "Stream events",
		"All events behind a cursor, in order and without a gap, and then those to come, as server-sent events (id is the sequence number, data the event) or, with Accept: application/x-ndjson, as JSON lines (an empty line says that the stream is alive). "+
			"The first of them says where the session stands: an object of type stream_position, which is no event of the log; as a server-sent event it is named position and has no id. Who subscribes after it has sent something learns so what came before. "+
			"A stream that breaks off goes on with Last-Event-ID, or after, set to the last sequence number that was read. A cursor beyond the end of the session is answered with 410. "+
			"agent_choice, agent_choice_reasoning and partial_tool_call are pieces, each stored once: a stream that begins in the middle of a model's answer has only the rest of them. A partial_tool_call without a name goes on with the piece before of the same id; who has none leaves it, for the tool_call that follows is whole, as is the message in the session.",
		map[string]*huma.MediaType{typeSSE: {Schema: inStream}, typeNDJSON: {Schema: inStream}},
		append([]*huma.Param{
			session,
			param("after", "query", "Sequence number of the last event that is not wanted. Default 0: from the beginning.", num),
			param("until", "query", "Where the stream ends: run (when the next run has finished), idle (when the session waits for somebody and nothing runs, at once if it does so now), or the id of a run (when it has finished, at the latest when the session is idle). Default: never.", str),
			param("wait", "query", "false ends the stream with the event that is the newest one now. A duration such as 30s, at most 10m, is a long poll: the stream ends when it has given out what there is, and waits so long for the first event. Default: true.", str),
			param("Last-Event-ID", "header", "As after, and wins over it: browsers send it when they reconnect.", num),
		}, replayParams(param)...), http.StatusNotFound, http.StatusGone)
	add("get-event", "/v1/sessions/{id}/events/{seq}", "Get an event", "One event, whole.",
		map[string]*huma.MediaType{"application/json": {Schema: ref}},
		[]*huma.Param{session, param("seq", "path", "Sequence number of the event.", num)}, http.StatusNotFound, http.StatusGone)
	add("get-tool-output", "/v1/sessions/{id}/tool-calls/{call}/output", "Get the output of a tool call", "The whole output, also where the event has only its beginning.",
		map[string]*huma.MediaType{"text/plain": {Schema: str}},
		[]*huma.Param{session, param("call", "path", "Id of the tool call.", str)}, http.StatusNotFound)
}

// eventQuery is what a request wants of a stream.
type eventQuery struct {
	after uint64
	until string
	wait  bool
	lines bool // JSON lines instead of server-sent events
	replay
}

func parseEventQuery(r *http.Request) (q eventQuery, err error) {
	q.wait, q.position = true, true
	for name, values := range r.URL.Query() {
		v := values[len(values)-1]
		switch name {
		case "after":
			q.after, err = strconv.ParseUint(v, 10, 63)
		case "until":
			q.until = v
			if v != "" {
				err = holdfast.ValidateID("until", v)
			}
		case "wait":
			q.wait, err = q.waitParam(v)
		default:
			var known bool
			if known, err = q.replay.parse(name, v); !known {
				err = errors.New("unknown query parameter")
			}
		}
		if err != nil {
			return q, holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("query %s=%q: want after (a number), until (run, idle or the id of a run), wait (true, false or a duration), types (names), limit (1 to 100000), pace (original or a factor such as 2x), max_gap (a duration), position (true or false)", name, v))
		}
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if q.after, err = strconv.ParseUint(id, 10, 63); err != nil {
			return q, holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("Last-Event-ID %q: want a sequence number", id))
		}
	}
	q.lines = strings.Contains(r.Header.Get("Accept"), typeNDJSON)
	return q, nil
}

// events streams a session.
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	if err := a.streamEvents(w, r); err != nil {
		a.writeProblem(w, r, err)
	}
}

func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: r.PathValue("id")}
	if err := ref.Validate(); err != nil {
		return err
	}
	q, err := parseEventQuery(r)
	if err != nil {
		return err
	}
	var head uint64
	var row events.SessionInfo // at head, where it is known
	if q.poll > 0 {
		// The server's limit for reading a request would end the wait with it.
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			return fmt.Errorf("lift the time limit of a request: %w", err)
		}
		if err := a.checkCursor(ctx, ref, q.after); err != nil {
			return err
		}
		if err := a.longPoll(ctx, ref, q.after, q.poll); err != nil {
			return err
		}
		q.wait = false
	}
	if q.wait {
		f, release, err := a.hub.open(ctx, ref)
		if err != nil {
			return err
		}
		defer release()
		// The feed may be a moment behind what the client has seen elsewhere.
		if q.after > f.headSeq() {
			if err := a.checkCursor(ctx, ref, q.after); err != nil {
				return err
			}
		}
		over, err := a.over(ctx, ref, q)
		if err != nil {
			return err
		}
		q.wait = !over
		head, row = f.standing()
		head = max(head, q.after)
	} else if err := a.checkCursor(ctx, ref, q.after); err != nil {
		return err
	}
	if head == 0 {
		if head, row, err = a.standing(ctx, ref); err != nil {
			return err
		}
	}
	stands(w, head)
	out := &eventSink{lines: q.lines, until: q.until, replay: q.replay, gone: ctx.Done(), stop: a.hub.ctx.Done()}
	contentType, beat := typeSSE, beatSSE
	if q.lines {
		contentType, beat = typeNDJSON, beatNDJSON
	}
	if out.wire, err = a.startWire(w, contentType, beat); err != nil {
		a.logError(ctx, "a stream could not begin", err)
		return nil
	}
	out.past = a.directTo(w, r)
	if err := out.begin(q.after, head, ref.Session, row); err != nil {
		a.logError(ctx, "a stream could not begin", err)
		return nil
	}
	if q.wait {
		err = a.hub.stream(ctx, ref, q.after, out)
	} else {
		err = a.hub.catchUp(ctx, ref, q.after, func(it *item) error {
			done, err := out.event(it)
			if done {
				err = errors.Join(err, errDone)
			}
			return err
		})
		if err == nil || errors.Is(err, errDone) {
			err = out.flush()
		}
	}
	if errors.Is(err, errLeft) {
		panic(http.ErrAbortHandler)
	}
	slow := errors.Is(err, os.ErrDeadlineExceeded) // a failed write also ends ctx
	if slow || err != nil && ctx.Err() == nil {
		if slow {
			a.logger.InfoContext(ctx, "cut a client that does not take its stream", "session", ref.String())
		} else {
			a.logError(ctx, "a stream broke off", err)
		}
		// The client must not take this for the end of the log.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// checkCursor refuses a cursor beyond the end of the session, and sessions that
// do not exist.
func (a *API) checkCursor(ctx context.Context, ref holdfast.SessionRef, after uint64) error {
	end, err := a.end(ctx, ref)
	if err != nil {
		return err
	}
	if after > end.Seq {
		return &cursorError{after: after, head: end.Seq}
	}
	return nil
}

// eventSink is a stream of all events.
type eventSink struct {
	*wire
	lines bool
	until string
	// gone is closed when the client has gone, stop when this process is to end.
	gone, stop <-chan struct{}

	replay replay
	given  int       // events so far
	before time.Time // of the event before in the log
	due    time.Time // when that event had its turn
}

// event implements sink.
func (s *eventSink) event(it *item) (done bool, err error) {
	wanted, err := s.turn(it)
	switch {
	case err != nil:
		return false, err
	case !wanted:
	case s.lines:
		// The line and the first of the two newlines behind it.
		end := len(it.sse) - 1
		err = s.write(it.sse[end-1-len(it.line) : end])
	default:
		err = s.write(it.sse)
	}
	if wanted {
		if s.given++; s.given == s.replay.limit {
			return true, err
		}
	}
	switch it.typ {
	case holdfast.TypeSessionDeleted:
		return true, err
	case holdfast.TypeRunFinished:
		return s.until == untilRun || s.until != "" && s.until == it.run, err
	case holdfast.TypeSessionParked:
		ended, perr := s.parked(it.line)
		return ended, errors.Join(err, perr)
	}
	return false, err
}

// direct implements directSink: a stream that leaves out or holds back nothing is
// the same for all.
func (s *eventSink) direct() (*direct, bool) {
	if s.lines || s.replay.limit > 0 || s.replay.factor > 0 || len(s.replay.types) > 0 {
		return nil, false
	}
	return s.past, s.until != ""
}

// Values of until that are no ids of runs.
const (
	untilRun  = "run"
	untilIdle = "idle"
)

// parked reports whether a session_parked ends the stream: any for those who
// wait for the session, an idle one for those who wait for a run, since then no
// run is active or queued.
func (s *eventSink) parked(line []byte) (bool, error) {
	if s.until == "" || s.until == untilRun {
		return false, nil
	}
	ev, err := holdfast.UnmarshalEvent(line)
	if err != nil {
		return false, err
	}
	p, ok := ev.(*holdfast.SessionParkedEvent)
	return ok && (s.until == untilIdle || p.Waiting == events.WaitingIdle), nil
}

// over reports whether what a stream behind after waits for has come before.
func (a *API) over(ctx context.Context, ref holdfast.SessionRef, q eventQuery) (bool, error) {
	if q.after == 0 || q.until == "" || q.until == untilRun {
		return false, nil
	}
	end, err := events.ReadEnd(ctx, a.cfg.Bus, a.cfg.Store, ref)
	if err != nil {
		return false, unavailable(err)
	}
	if end.Frame == nil {
		info := end.Info
		parked := info.Status == events.StatusIdle || q.until == untilIdle && info.Status == events.StatusWaiting
		return parked && info.Worker == "" && q.after >= info.Head.Seq, nil
	}
	last := end.Frame.Events[len(end.Frame.Events)-1]
	if last.Type != holdfast.TypeSessionParked || q.after < last.Seq {
		return false, nil
	}
	return (&eventSink{until: q.until}).parked(last.AppendWire(nil, ref.Session))
}

// oneEvent answers one event, whole.
func (a *API) oneEvent(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: r.PathValue("id")}
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 63)
	if err != nil || seq == 0 {
		a.writeProblem(w, r, holdfast.Errorf(holdfast.CodeInvalid, "seq %q: want a number from 1", r.PathValue("seq")))
		return
	}
	if err := a.checkCursor(ctx, ref, seq); err != nil {
		a.writeProblem(w, r, err)
		return
	}
	var line []byte
	_, err = a.reader.Read(ctx, ref, seq-1, func(e events.Envelope) error {
		line = append(e.AppendWire(nil, ref.Session), '\n')
		return errDone
	})
	if err != nil && !errors.Is(err, errDone) {
		a.writeProblem(w, r, unavailable(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(line) // a failure is the client's; it has gone
}

// toolOutput answers the whole output of a tool call. What did not fit into an
// event is in the payload_part events before it.
func (a *API) toolOutput(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: r.PathValue("id")}
	if err := a.exists(ctx, ref); err != nil {
		a.writeProblem(w, r, err)
		return
	}
	call := r.PathValue("call")
	parts := map[string][]byte{}
	var output []byte
	_, err := a.reader.Read(ctx, ref, 0, func(e events.Envelope) error {
		switch e.Type {
		case holdfast.TypePayloadPart, holdfast.TypeToolCallResponse:
		default:
			return nil
		}
		ev, err := e.Event()
		if err != nil {
			return err
		}
		switch ev := ev.(type) {
		case *holdfast.PayloadPartEvent:
			if ev.Part <= 1 {
				clear(parts)
			}
			parts[ev.SHA256] = append(parts[ev.SHA256], ev.Data...)
		case *holdfast.ToolCallResponseEvent:
			if ev.ToolCallID != call {
				return nil
			}
			output = []byte(ev.Response)
			if whole, ok := parts[ev.SHA256]; ok && ev.SHA256 != "" {
				output = slices.Clone(whole)
			}
			return errDone
		}
		return nil
	})
	switch {
	case errors.Is(err, errDone):
	case err != nil:
		a.writeProblem(w, r, unavailable(err))
		return
	default:
		a.writeProblem(w, r, holdfast.Errorf(holdfast.CodeNotFound, "session %s has no tool call %s with an output", ref.Session, call))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(output) // a failure is the client's; it has gone
}
