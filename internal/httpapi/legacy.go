package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// legacyAPI is one mount of the original contract's routes.
type legacyAPI struct {
	*API
	// agentsAsList says that GET /agents/:id has agents as an array.
	agentsAsList bool
}

// legacyHandler answers one route; its error is written in the contract's form.
type legacyHandler func(w http.ResponseWriter, r *http.Request) error

// legacy mounts the routes of the original contract under prefix.
func (a *API) legacy(mux *router, prefix string, agentsAsList bool) {
	l := legacyAPI{a, agentsAsList}
	handle := func(method, path string, h legacyHandler) {
		mux.HandleFunc(method+" "+prefix+path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				a.writeLegacyError(w, r, err)
			}
		})
	}
	handle("GET", "/ping", func(w http.ResponseWriter, _ *http.Request) error {
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
		return nil
	})
	handle("GET", "/desktop/token", func(w http.ResponseWriter, _ *http.Request) error {
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"token": ""})
		return nil
	})
	l.agentRoutes(handle)
	handle("GET", "/sessions", l.listSessions)
	handle("POST", "/sessions", l.createSession)
	handle("GET", "/sessions/{id}", l.getSession)
	handle("DELETE", "/sessions/{id}", l.deleteSession)
	handle("POST", "/sessions/{id}/resume", l.resume)
	handle("POST", "/sessions/{id}/agent/{agent}", l.run)
	handle("POST", "/sessions/{id}/agent/{agent}/{agent_name}", l.run)
	handle("POST", "/{id}/resumeStartOauth", l.startOAuth)
	handle("POST", "/resumeCodeReceivedOauth", l.codeReceived)
	l.newerRoutes(handle)
	for _, n := range notOffered {
		handle(n.method, n.path, func(http.ResponseWriter, *http.Request) error {
			return holdfast.Errorf(holdfast.CodeNotOffered, "not offered in this deployment: %s", n.what)
		})
	}
}

// legacyRow is a row of GET /sessions.
type legacyRow struct {
	ID           string    `json:"id"`
	Title        string    `json:"title"`
	CreatedAt    time.Time `json:"created_at"`
	NumMessages  int64     `json:"num_messages"`
	InputTokens  int64     `json:"input_tokens"`
	OutputTokens int64     `json:"output_tokens"`
	Agent        string    `json:"most_recent_agent_filename"`
}

// listSessions lists all sessions, newest first, page by page, so that a tenant
// may have any number of them. Clients that know of it take pages themselves: with
// limit the answer has at most that many, and the header Holdfast-Next is the
// cursor of what follows.
func (l legacyAPI) listSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePageCursor(q.Get("cursor"))
	if err != nil {
		return err
	}
	p.Limit = maxPage
	single := q.Has("limit")
	if single {
		if p.Limit, err = strconv.Atoi(q.Get("limit")); err != nil || p.Limit < 1 || p.Limit > maxPage {
			return holdfast.Errorf(holdfast.CodeInvalid, "limit: want a number from 1 to %d", maxPage)
		}
	}
	rows, err := l.list(r.Context(), tenantOf(r.Context()), p)
	if err != nil {
		return err
	}
	if single || len(rows) < p.Limit {
		if len(rows) == p.Limit {
			w.Header().Set("Holdfast-Next", pageCursor(rows[len(rows)-1]))
		}
		writeJSON(w, http.StatusOK, "application/json", legacyRows(rows))
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	between := "["
	for len(rows) > 0 {
		part, err := json.Marshal(legacyRows(rows))
		if err != nil {
			panic("httpapi: encode a list: " + err.Error()) // it has texts and numbers only
		}
		if _, err := io.WriteString(w, between+string(part[1:len(part)-1])); err != nil {
			return nil // the client has gone
		}
		between = ","
		if len(rows) < p.Limit {
			break
		}
		last := rows[len(rows)-1]
		p.BeforeTime, p.BeforeID = last.CreatedAt, last.Session.Session
		if rows, err = l.list(r.Context(), tenantOf(r.Context()), p); err != nil {
			l.logError(r.Context(), "a list broke off", err)
			panic(http.ErrAbortHandler) // only a broken connection says that it is not whole
		}
	}
	_, _ = io.WriteString(w, "]\n") // a failure is the client's; it has gone
	return nil
}

func legacyRows(rows []events.SessionInfo) []legacyRow {
	out := make([]legacyRow, len(rows))
	for i, s := range rows {
		out[i] = legacyRow{
			ID: s.Session.Session, Title: s.Title, CreatedAt: s.CreatedAt.UTC(), NumMessages: s.NumMessages,
			InputTokens: s.InputTokens, OutputTokens: s.OutputTokens, Agent: legacyFile(s.Agent),
		}
	}
	return out
}

// legacyFile is an agent's name as clients of these routes know it.
func legacyFile(name string) string {
	if name == "" {
		return ""
	}
	return plainName(name) + ".yaml"
}

// legacySession is the session document.
type legacySession struct {
	ID              string          `json:"id"`
	Title           string          `json:"title"`
	Messages        []legacyMessage `json:"messages"`
	CreatedAt       time.Time       `json:"created_at"`
	ToolsApproved   bool            `json:"tools_approved"`
	SendUserMessage bool            `json:"SendUserMessage"`
	InputTokens     int64           `json:"input_tokens"`
	OutputTokens    int64           `json:"output_tokens"`
	Cost            float64         `json:"cost"`
}

type legacyMessage struct {
	AgentFilename string           `json:"agentFilename"`
	AgentName     string           `json:"agentName"`
	Message       holdfast.Message `json:"message"`
}

func newLegacySession(v *View) legacySession {
	s := legacySession{
		ID: v.ref.Session, Title: v.Info.Title, CreatedAt: v.Info.CreatedAt.UTC(), ToolsApproved: v.Info.ToolsApproved,
		SendUserMessage: true, InputTokens: v.Info.InputTokens, OutputTokens: v.Info.OutputTokens, Cost: v.Info.Cost,
		Messages: make([]legacyMessage, len(v.Messages)),
	}
	for i, m := range v.Messages {
		s.Messages[i] = legacyMessage{AgentFilename: legacyFile(m.AgentFile), AgentName: m.Agent, Message: m.Message}
	}
	return s
}

func (l legacyAPI) createSession(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	t, err := template(body)
	if err != nil {
		return err
	}
	v, _, err := l.createOnce(r.Context(), "", r.Header.Get("Idempotency-Key"), &holdfast.SessionCreatedEvent{ToolsApproved: t.ToolsApproved})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", newLegacySession(v))
	return nil
}

func (l legacyAPI) getSession(w http.ResponseWriter, r *http.Request) error {
	v, err := l.view(r.Context(), l.ref(r), 0)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", newLegacySession(v))
	return nil
}

// ref is the session that the path names.
func (l legacyAPI) ref(r *http.Request) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: tenantOf(r.Context()), Session: r.PathValue("id")}
}

func (l legacyAPI) deleteSession(w http.ResponseWriter, r *http.Request) error {
	err := l.delete(r.Context(), l.ref(r), r.Header.Get("Idempotency-Key"))
	return l.settled(w, err, "session deleted")
}

// settled answers a command that has no result of its own.
func (l legacyAPI) settled(w http.ResponseWriter, err error, done string) error {
	if errors.Is(err, errPending) {
		writeJSON(w, http.StatusAccepted, "application/json", map[string]string{"message": "accepted; " + errPending.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"message": done})
	return nil
}

// resume decides on the oldest tool call that waits, or lets a run go on that
// has used up its iterations.
func (l legacyAPI) resume(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, l.cfg.MaxBody)
	if err != nil {
		return err
	}
	var in struct {
		Confirmation string `json:"confirmation"`
		Reason       string `json:"reason"` // newer clients say why not
	}
	if err := decodeJSON(body, &in); err != nil {
		return err
	}
	if in.Confirmation == decisionApproveTool {
		in.Confirmation = decisionApprove
	}
	if err := checkDecision("confirmation", in.Confirmation); err != nil {
		return err
	}
	if err := checkKey(r.Header.Get("Idempotency-Key")); err != nil {
		return err
	}
	ctx, ref := r.Context(), l.ref(r)
	if err := l.exists(ctx, ref); err != nil {
		return err
	}
	c, err := events.NewCommand(ref, events.KindDecide, commandID(ref, events.KindDecide, r.Header.Get("Idempotency-Key")), events.DecideBody{Decision: in.Confirmation, Reason: in.Reason})
	if err != nil {
		return err
	}
	_, err = l.request(ctx, c)
	return l.settled(w, err, "session resumed")
}
