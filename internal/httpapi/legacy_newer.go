package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// decisionApproveTool is a decision of newer clients: this call, and the tool from
// now on. Here it is for this call alone; the next call of the tool asks again.
const decisionApproveTool = "approve-tool"

// newerRoutes mounts what clients of 2026 ask for beside the contract.
func (l legacyAPI) newerRoutes(handle func(method, path string, h legacyHandler)) {
	handle("GET", "/ready", func(w http.ResponseWriter, _ *http.Request) error {
		// The original waits here until a session is there. Here each begins when it is
		// asked for.
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
		return nil
	})
	handle("GET", "/sessions/{id}/status", l.sessionStatus)
	handle("GET", "/sessions/{id}/snapshot", l.sessionSnapshot)
	handle("GET", "/sessions/{id}/events", l.sessionEvents)
	handle("POST", "/sessions/{id}/elicitation", l.elicitation)
	handle("POST", "/sessions/{id}/steer", l.say(events.ModeSteer, map[string]any{"status": "queued"}))
	handle("POST", "/sessions/{id}/followup", l.say(events.ModeEnqueue, map[string]any{"status": "queued_streaming", "duplicate": false}))
	handle("POST", "/sessions/{id}/compact", func(w http.ResponseWriter, r *http.Request) error {
		return l.command(w, r, l.ref(r), events.KindCompact, r.Header.Get("Idempotency-Key"), nil, "compaction asked for")
	})
	handle("POST", "/sessions/batch/delete", l.deleteBatch)
}

// notOffered are routes that known clients call and that this server does not
// have. They are answered by name, so that whoever reads the client's log knows.
var notOffered = []struct{ method, path, what string }{
	{"POST", "/sessions/{id}/tools/toggle", "approvals of a whole session can be given with a decision (approve-session), not toggled"},
	{"PATCH", "/sessions/{id}/permissions", "permissions are in the agent file"},
	{"PATCH", "/sessions/{id}/safety-policy", "permissions are in the agent file"},
	{"PATCH", "/sessions/{id}/title", "the first run makes the title"},
	{"PATCH", "/sessions/{id}/starred", "stars; metadata of /v1 can hold them"},
	{"PATCH", "/sessions/{id}/tokens", "usage is counted here, not told by clients"},
	{"POST", "/sessions/{id}/messages", "messages that no run said; start a run"},
	{"PATCH", "/sessions/{id}/messages/{message}", "a log is not rewritten; fork the session with /v1"},
	{"POST", "/sessions/{id}/summaries", "summaries that the agent's model did not write; POST …/compact"},
	{"POST", "/sessions/{id}/fork", "forks at the number of a message; POST /v1/sessions/{id}/forks takes a sequence number"},
	{"POST", "/sessions/{id}/undo", "a log is not rewritten; fork the session with /v1"},
	{"POST", "/sessions/{id}/reset", "a log is not rewritten; create another session"},
	{"POST", "/sessions/{id}/pause", "pauses; POST /v1/sessions/{id}/cancel stops a run"},
	{"GET", "/sessions/{id}/models", "a choice of models; the agent file says which"},
	{"PATCH", "/sessions/{id}/model", "a choice of models; the agent file says which"},
	{"POST", "/sessions/{id}/model", "a choice of models; the agent file says which"},
	{"GET", "/sessions/{id}/tools", "the list of a session's tools"},
	{"GET", "/sessions/{id}/toolsets", "the list of a session's toolsets"},
	{"POST", "/sessions/{id}/toolsets/{toolset}/restart", "restarts of toolsets; workers do that themselves"},
	{"GET", "/sessions/{id}/skills", "the list of skills"},
	{"GET", "/sessions/{id}/mcp/prompts", "prompts of MCP servers"},
	{"POST", "/sessions/{id}/mcp/prompts/{prompt}/execute", "prompts of MCP servers"},
	{"GET", "/sessions/{id}/snapshots", "snapshots of files"},
	{"GET", "/sessions/{id}/queue", "the length of a queue; GET /v1/sessions/{id} lists the runs"},
	{"GET", "/sessions/{id}/recovery", "recovery data; GET /v1/sessions/{id}/export has the whole log"},
	{"POST", "/sessions/batch/export", "exports of several sessions; GET /v1/sessions/{id}/export"},
	{"GET", "/agents/{id}/{agent_name}/tools/count", "the number of an agent's tools"},
	{"GET", "/models", "a choice of models; the agent file says which"},
	{"POST", "/mcp-oauth/callback", "this callback; POST …/resumeCodeReceivedOauth takes code and state"},
}

// sessionState is what newer clients rebuild their view of a session from.
type sessionState struct {
	ID           string `json:"id"`
	Title        string `json:"title"`
	Streaming    bool   `json:"streaming"`
	Agent        string `json:"agent,omitempty"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
}

func newSessionState(v *View) sessionState {
	s := sessionState{ID: v.ref.Session, Title: v.Info.Title, Streaming: v.Info.Run != "", InputTokens: v.Info.InputTokens, OutputTokens: v.Info.OutputTokens}
	for i := len(v.Messages) - 1; i >= 0 && s.Agent == ""; i-- {
		s.Agent = v.Messages[i].Agent
	}
	return s
}

// sessionStatus answers where a session stands. A session needs no process of its
// own to be ready, so that there is nothing to wait for, as the original's query wait
// does.
func (l legacyAPI) sessionStatus(w http.ResponseWriter, r *http.Request) error {
	v, err := l.view(r.Context(), l.ref(r), 0)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", struct {
		sessionState
		NumMessages int `json:"num_messages"`
	}{newSessionState(v), len(v.Messages)})
	return nil
}

// sessionSnapshot answers a session with the number of the event that it goes to:
// events?since= has what comes after it.
func (l legacyAPI) sessionSnapshot(w http.ResponseWriter, r *http.Request) error {
	v, err := l.view(r.Context(), l.ref(r), 0)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", struct {
		sessionState
		CreatedAt     time.Time       `json:"created_at"`
		Messages      []legacyMessage `json:"messages"`
		ToolsApproved bool            `json:"tools_approved"`
		LastEventSeq  uint64          `json:"last_event_seq"`
	}{newSessionState(v), v.Info.CreatedAt.UTC(), newLegacySession(v).Messages, v.Info.ToolsApproved, v.Info.Head.Seq})
	return nil
}

// sessionEvents streams the events of all runs of a session behind a position, and
// then those to come, in the form of a run's stream.
func (l legacyAPI) sessionEvents(w http.ResponseWriter, r *http.Request) error {
	ctx, ref := r.Context(), l.ref(r)
	since, after := r.URL.Query().Get("since"), uint64(0)
	if since == "" {
		since = r.Header.Get("Last-Event-ID")
	}
	if since != "" {
		var err error
		if after, err = strconv.ParseUint(since, 10, 63); err != nil {
			return holdfast.WrapError(holdfast.CodeInvalid, err, "since: want the number of an event")
		}
	}
	if err := ref.Validate(); err != nil {
		return err
	}
	if err := l.checkCursor(ctx, ref, after); err != nil {
		return err
	}
	_, release, err := l.hub.open(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	out := &sessionSink{legacyWire: newLegacyWire(ref.Session)}
	if out.wire, err = l.startWire(w, typeSSE, beatSSE); err != nil {
		l.logError(ctx, "a stream could not begin", err)
		return nil
	}
	if err := l.hub.stream(ctx, ref, after, out); err != nil && ctx.Err() == nil {
		l.logError(ctx, "a stream broke off", err)
	}
	return nil
}

// sessionSink is the stream of a session for newer clients.
type sessionSink struct {
	*wire
	*legacyWire
	buf []byte
}

// event implements sink.
func (s *sessionSink) event(it *item) (done bool, err error) {
	switch {
	case it.typ == holdfast.TypeSessionDeleted:
		return true, s.write([]byte("data: {\"type\":\"session_exited\"}\n\n"))
	case events.Internal(it.typ) && it.typ != holdfast.TypeModelCallVoided:
		return false, nil
	}
	if s.buf, err = s.append(s.buf[:0], it); err != nil {
		return false, err
	}
	return false, s.write(s.buf)
}

// elicitation answers a question: the one that is named, or the oldest.
func (l legacyAPI) elicitation(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Action  string          `json:"action"`
		Content json.RawMessage `json:"content"`
		ID      string          `json:"elicitation_id"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	body := events.InputBody{ID: in.ID, Action: in.Action}
	switch in.Action {
	case "accept":
		body.Content = in.Content
	case "decline", "cancel":
	default:
		return holdfast.Errorf(holdfast.CodeInvalid, "action: %q is none of \"accept\", \"decline\", \"cancel\"; nothing was answered", in.Action)
	}
	return l.command(w, r, l.ref(r), events.KindInput, r.Header.Get("Idempotency-Key"), body, "elicitation answered")
}

// say returns the handler that says something to a session that may be running.
func (l legacyAPI) say(mode string, answer map[string]any) legacyHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		body, err := readBody(w, r, l.cfg.MaxBody)
		if err != nil {
			return err
		}
		list, err := runInput(body)
		if err != nil {
			return err
		}
		key := r.Header.Get("Idempotency-Key")
		if err := checkKey(key); err != nil {
			return err
		}
		q, err := l.runRequest(ctx, l.ref(r), key, NewRun{Messages: list, Mode: mode})
		if err != nil {
			return err
		}
		c, _, err := q.command()
		if err != nil {
			return err
		}
		// What is stored will be said, whether its outcome is known yet or not.
		if _, err := l.request(ctx, c); err != nil && !errors.Is(err, errPending) {
			return err
		}
		writeJSON(w, http.StatusAccepted, "application/json", answer)
		return nil
	}
}

const (
	// maxBatch is how many sessions one request deletes, batchAtOnce how many of them
	// at the same time.
	maxBatch    = 1000
	batchAtOnce = 32
	// batchTime is when the rest of a batch counts as failed: while somebody still waits
	// for the answer.
	batchTime = 50 * time.Second
)

// deleteBatch deletes sessions. One that is deleted already, or meanwhile by somebody
// else, counts as deleted; one that there never was as failed.
func (l legacyAPI) deleteBatch(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		IDs []string `json:"session_ids"`
	}
	if err := l.body(w, r, &in); err != nil {
		return err
	}
	if err := checkKey(r.Header.Get("Idempotency-Key")); err != nil {
		return err
	}
	if len(in.IDs) == 0 || len(in.IDs) > maxBatch {
		return holdfast.Errorf(holdfast.CodeInvalid, "session_ids: want 1 to %d", maxBatch)
	}
	// Each waits for its owner: together that may be longer than the server gives a request.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("lift the limit of the request's time: %w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), batchTime)
	defer cancel()
	gone := map[string]*bool{}
	var wg sync.WaitGroup
	places := make(chan struct{}, batchAtOnce)
	for _, id := range in.IDs {
		if gone[id] != nil {
			continue
		}
		deleted := new(bool)
		gone[id] = deleted
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: id}
			if *deleted = ctx.Err() == nil && l.deleteOne(ctx, ref); !*deleted {
				l.logger.DebugContext(ctx, "a session of a batch was not deleted", "session", ref.String())
			}
		})
	}
	wg.Wait()
	failed := []string{}
	for _, id := range in.IDs {
		if !*gone[id] {
			failed = append(failed, id)
		}
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]any{
		"deleted_count": len(in.IDs) - len(failed), "failed_count": len(failed), "failed_ids": failed,
	})
	return nil
}

// deleteOne reports whether a session is deleted, or will be.
func (l legacyAPI) deleteOne(ctx context.Context, ref holdfast.SessionRef) bool {
	if ref.Validate() != nil {
		return false
	}
	err := l.exists(ctx, ref)
	if err == nil {
		err = l.delete(ctx, ref, "")
		if holdfast.CodeOf(err) == holdfast.CodeNotFound {
			return true // it was there: somebody else was quicker
		}
	}
	if err == nil || errors.Is(err, errPending) || errors.Is(err, errDeleted) || holdfast.CodeOf(err) == holdfast.CodeGone {
		return true
	}
	// Of one that was deleted long ago only the archive knows.
	row, err := l.cfg.Store.Session(ctx, ref)
	return err == nil && row.Deleted
}
