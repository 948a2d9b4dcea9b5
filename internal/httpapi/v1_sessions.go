package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// SessionRow is a session in a list.
type SessionRow struct {
	ID            string            `json:"id"`
	Title         string            `json:"title"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at" doc:"Time of the newest event."`
	Seq           uint64            `json:"seq" doc:"Sequence number of the newest event."`
	Status        string            `json:"status" enum:"idle,queued,running,waiting"`
	Waiting       string            `json:"waiting" doc:"What a waiting session waits for: approval, authorization, timer, input, iterations, or error (after each attempt to go on has failed; the next message is another one); empty otherwise."`
	Run           string            `json:"run" doc:"Id of the active run, empty if there is none."`
	Agent         string            `json:"agent" doc:"Agent file of the newest run."`
	ToolsApproved bool              `json:"tools_approved" doc:"Tools run without asking."`
	NumMessages   int64             `json:"num_messages"`
	InputTokens   int64             `json:"input_tokens"`
	OutputTokens  int64             `json:"output_tokens"`
	Cost          float64           `json:"cost" doc:"US dollars so far."`
	ForkOf        string            `json:"fork_of,omitempty" doc:"Id of the session that this one was forked from."`
	ForkSeq       uint64            `json:"fork_seq,omitempty" doc:"The last event that it shares with that one."`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

func newSessionRow(s events.SessionInfo) SessionRow {
	return SessionRow{
		ID: s.Session.Session, Title: s.Title, CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), Seq: s.Head.Seq,
		Status: s.Status, Waiting: s.Waiting, Run: s.Run, Agent: s.Agent, ToolsApproved: s.ToolsApproved,
		NumMessages: s.NumMessages, InputTokens: s.InputTokens, OutputTokens: s.OutputTokens, Cost: s.Cost,
		ForkOf: s.ForkOf, ForkSeq: s.ForkSeq, Metadata: s.Metadata,
	}
}

// SessionDocument is a session with all that was said in it, at one sequence
// number.
type SessionDocument struct {
	SessionRow
	Messages  []SessionMessage `json:"messages" doc:"Messages of the user, the agents and their tools; those of sub-agents in their place."`
	Pending   []PendingCallDoc `json:"pending" doc:"Tool calls that wait for a decision, oldest first."`
	Questions []QuestionDoc    `json:"questions,omitempty" doc:"Questions that wait for an answer, oldest first."`
	Runs      []RunDocument    `json:"runs" doc:"All runs, in the order in which they were accepted."`
}

// SessionMessage is one message of a session document.
type SessionMessage struct {
	Seq       uint64           `json:"seq" doc:"The event that completed the message."`
	Run       string           `json:"run"`
	AgentFile string           `json:"agent_file"`
	AgentName string           `json:"agent_name" doc:"The agent within its file; empty for messages of the user."`
	Message   holdfast.Message `json:"message"`
}

// PendingCallDoc is a tool call that waits for a decision.
type PendingCallDoc struct {
	ToolCall  holdfast.ToolCall `json:"tool_call"`
	AgentName string            `json:"agent_name"`
	Run       string            `json:"run"`
	Reason    string            `json:"reason" doc:"Why a decision is needed: empty, or outcome_unknown after a crash in the call."`
	Seq       uint64            `json:"seq" doc:"The event that asked."`
	ExpiresAt time.Time         `json:"expires_at,omitzero" doc:"When the agent's policy decides by itself."`
}

// RunDocument is what became of a run.
type RunDocument struct {
	Run         string `json:"run"`
	Agent       string `json:"agent" doc:"The agent file."`
	AgentInFile string `json:"agent_name,omitempty" doc:"The agent that it started with."`
	Status      string `json:"status" enum:"scheduled,queued,running,finished"`
	Reason      string `json:"reason,omitempty" doc:"Why it finished: stop, error, canceled, rejected, max_iterations or rolled_back."`
	// CancelReason and ReplacedBy are of a run that is canceled, whether or not it has finished.
	CancelReason string `json:"cancel_reason,omitempty" doc:"What who canceled it gave as the reason."`
	ReplacedBy   string `json:"replaced_by,omitempty" doc:"The run that canceled it, in mode interrupt or rollback."`
	FirstSeq     uint64 `json:"first_seq"`
	LastSeq      uint64 `json:"last_seq" doc:"Its newest event."`
}

func newRunDocument(r RunView) RunDocument {
	return RunDocument{
		Run: r.Run, Agent: r.Agent, AgentInFile: r.AgentInFile, Status: r.Status, Reason: r.Reason, CancelReason: r.CancelReason, ReplacedBy: r.ReplacedBy,
		FirstSeq: r.FirstSeq, LastSeq: r.LastSeq,
	}
}

func newSessionDocument(v *View) SessionDocument {
	d := SessionDocument{
		SessionRow: newSessionRow(v.Info),
		Messages:   make([]SessionMessage, len(v.Messages)),
		Pending:    make([]PendingCallDoc, len(v.Pending)),
		Questions:  v.Questions,
		Runs:       make([]RunDocument, len(v.Runs)),
	}
	for i, m := range v.Messages {
		d.Messages[i] = SessionMessage{Seq: m.Seq, Run: m.Run, AgentFile: m.AgentFile, AgentName: m.Agent, Message: m.Message}
	}
	for i, p := range v.Pending {
		d.Pending[i] = PendingCallDoc{ToolCall: p.ToolCall, AgentName: p.Agent, Run: p.Run, Reason: p.Reason, Seq: p.Seq, ExpiresAt: p.ExpiresAt.UTC()}
	}
	for i, r := range v.Runs {
		d.Runs[i] = newRunDocument(r)
	}
	return d
}

// NewSession is the body of a creation.
type NewSession struct {
	ID            string            `json:"id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Id of the session. Without it, a new one."`
	Title         string            `json:"title,omitempty" maxLength:"1000" doc:"Title. Without it the first run makes one."`
	Agent         string            `json:"agent,omitempty" doc:"Agent file for runs that name none."`
	ToolsApproved bool              `json:"tools_approved,omitempty" doc:"Run tools without asking."`
	User          string            `json:"user,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"On whose behalf the session acts: connections to remote servers are his. Forks keep the user."`
	Metadata      map[string]string `json:"metadata,omitempty" doc:"Labels of the caller's own. At most 64, 4 KiB each."`
}

const (
	maxLabels = 64
	maxLabel  = 4 << 10
	// maxLabelJSON is the most bytes of all as JSON; the rest of the event is for the
	// title and the names.
	maxLabelJSON = events.MaxPayload - 32<<10
)

func (n NewSession) check() error {
	if len(n.Metadata) > maxLabels {
		return holdfast.Errorf(holdfast.CodeInvalid, "metadata: more than %d members", maxLabels)
	}
	for k, v := range n.Metadata {
		if len(k)+len(v) > maxLabel {
			return holdfast.Errorf(holdfast.CodeInvalid, "metadata: a member is longer than %d bytes", maxLabel)
		}
	}
	// They are in one event of the log, where a character may take six bytes.
	b, err := json.Marshal(n.Metadata)
	if err != nil {
		return err
	}
	if len(b) > maxLabelJSON {
		return holdfast.Errorf(holdfast.CodeTooLarge, "metadata: %d bytes as JSON, at most %d are possible", len(b), maxLabelJSON)
	}
	return nil
}

// SessionPage is a page of a list.
type SessionPage struct {
	Sessions []SessionRow `json:"sessions" doc:"Newest first."`
	Next     string       `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

type sessionOut struct {
	Status int
	Body   SessionDocument
}

func (a *API) sessionRoutes(api huma.API) {
	const tag = "sessions"
	huma.Register(api, a.operation("create-session", http.MethodPost, "/v1/sessions", tag, "Create a session",
		"Answers 201, or 200 if the Idempotency-Key made the session before. An id that is taken is a conflict.",
		http.StatusConflict, http.StatusGone, http.StatusNotFound), a.createV1)
	huma.Register(api, a.operation("list-sessions", http.MethodGet, "/v1/sessions", tag, "List sessions",
		"Newest first, all or those that all of q, status, agent and metadata select. A session that another process created, or that is searched for, appears when the archive has it, a few milliseconds later."), a.listV1)
	huma.Register(api, a.operation("get-session", http.MethodGet, "/v1/sessions/{id}", tag, "Get a session",
		"The session with all messages, as of its newest event or of the event given by at.",
		http.StatusNotFound, http.StatusGone), a.getV1)
	huma.Register(api, a.operation("fork-session", http.MethodPost, "/v1/sessions/{id}/forks", tag, "Fork a session",
		"Makes a session that continues this one after the event seq, by reference: nothing is copied, and neither session sees what happens in the other. A run that is active at seq is not inherited.",
		http.StatusConflict, http.StatusGone, http.StatusNotFound), a.forkV1)
	del := a.operation("delete-session", http.MethodDelete, "/v1/sessions/{id}", tag, "Delete a session",
		"Deletes the session and its events. An active run is stopped.", http.StatusNotFound)
	del.DefaultStatus = http.StatusOK
	huma.Register(api, del, a.deleteV1)
}

func (a *API) createV1(ctx context.Context, in *struct {
	KeyHeader
	Body *NewSession
},
) (*sessionOut, error) {
	n := NewSession{}
	if in.Body != nil {
		n = *in.Body
	}
	if err := n.check(); err != nil {
		return nil, a.respond(ctx, err)
	}
	ev := &holdfast.SessionCreatedEvent{ToolsApproved: n.ToolsApproved, Title: n.Title, User: n.User, Metadata: n.Metadata}
	if n.Agent != "" {
		info, err := a.usableAgent(ctx, n.Agent)
		if err != nil {
			return nil, a.respond(ctx, err)
		}
		ev.Agent = info.Name
	}
	v, created, err := a.createOnce(ctx, n.ID, in.Key, ev)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	st := http.StatusOK
	if created {
		st = http.StatusCreated
	}
	return &sessionOut{st, newSessionDocument(v)}, nil
}

func (a *API) listV1(ctx context.Context, in *struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"The most sessions of the page. Default 100."`
	Cursor string `query:"cursor" doc:"Member next of the page before, with the same search."`

	Text     string   `query:"q" maxLength:"200" doc:"Only sessions that have this text in the title, the id or a value of the metadata, in upper or lower case. What was said in a session is found by /v1/search."`
	Status   string   `query:"status" enum:"idle,queued,running,waiting" doc:"Only sessions with this status."`
	Agent    string   `query:"agent" maxLength:"1000" doc:"Only sessions whose newest run has this agent file, with or without .yaml."`
	Metadata []string `query:"metadata,explode" maxItems:"10" doc:"Only sessions that have this label, as KEY:VALUE. May be given more than once; all must fit."`
},
) (*struct{ Body SessionPage }, error) {
	p, err := parsePageCursor(in.Cursor)
	if err == nil {
		p.Filter = events.Filter{Text: in.Text, Status: in.Status, Agent: agentFileName(in.Agent)}
		p.Filter.Metadata, err = labels(in.Metadata)
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	p.Limit = cmp.Or(in.Limit, defaultPage)
	rows, err := a.list(ctx, tenantOf(ctx), p)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	page := SessionPage{Sessions: make([]SessionRow, len(rows))}
	for i, s := range rows {
		page.Sessions[i] = newSessionRow(s)
	}
	if len(rows) == p.Limit {
		page.Next = pageCursor(rows[len(rows)-1])
	}
	return &struct{ Body SessionPage }{page}, nil
}

// labels reads KEY:VALUE; the first colon is the border.
func labels(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(list))
	for _, l := range list {
		k, v, ok := strings.Cut(l, ":")
		if !ok {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "metadata %q: want KEY:VALUE", l)
		}
		if was, twice := out[k]; twice && was != v {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "metadata: %q cannot have two values", k)
		}
		out[k] = v
	}
	return out, nil
}

func (a *API) getV1(ctx context.Context, in *struct {
	SessionPath
	At uint64 `query:"at" minimum:"1" doc:"Sequence number of the last event that counts. Default: the newest."`
},
) (*struct{ Body SessionDocument }, error) {
	v, err := a.view(ctx, in.ref(ctx), in.At)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &struct{ Body SessionDocument }{newSessionDocument(v)}, nil
}

// NewFork is the body of a fork.
type NewFork struct {
	Seq      uint64            `json:"seq,omitempty" doc:"The last event that both sessions share. Default: the newest."`
	ID       string            `json:"id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Id of the new session. Without it, a new one."`
	Title    string            `json:"title,omitempty" maxLength:"1000" doc:"Title. Default: that of the forked session."`
	Metadata map[string]string `json:"metadata,omitempty" doc:"Labels of the caller's own. At most 64, 4 KiB each."`
}

func (a *API) forkV1(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Body *NewFork
},
) (*sessionOut, error) {
	n := NewFork{}
	if in.Body != nil {
		n = *in.Body
	}
	if err := (NewSession{Metadata: n.Metadata}).check(); err != nil {
		return nil, a.respond(ctx, err)
	}
	if n.Seq == 0 && in.Key != "" {
		// The same request again means the seq that it got the first time.
		ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: cmp.Or(n.ID, holdfast.DeriveID(tenantOf(ctx), "session", in.Key))}
		if was, err := a.view(ctx, ref, 0); err == nil && was.Created != nil && was.Created.ForkOf == in.ID {
			n.Seq = was.Created.ForkSeq
		}
	}
	parent, err := a.view(ctx, in.ref(ctx), n.Seq)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	ev := &holdfast.SessionCreatedEvent{
		Title: cmp.Or(n.Title, parent.Info.Title), Agent: parent.Info.Agent, ToolsApproved: parent.Info.ToolsApproved, Metadata: n.Metadata,
		ForkOf: in.ID, ForkSeq: parent.Info.Head.Seq,
	}
	v, created, err := a.createOnce(ctx, n.ID, in.Key, ev)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	st := http.StatusOK
	if created {
		st = http.StatusCreated
	}
	return &sessionOut{st, newSessionDocument(v)}, nil
}

func (a *API) deleteV1(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
},
) (*settledOut, error) {
	ref := in.ref(ctx)
	err := a.delete(ctx, ref, in.Key)
	return a.settledV1(ctx, events.Answer{}, ref, err)
}
