package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Session is a session as lists show it.
type Session struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Seq is the sequence number of the newest event.
	Seq uint64 `json:"seq"`
	// Status is "idle", "queued", "running" or "waiting"; Waiting says for what:
	// "approval", "authorization", "timer", "input" or "iterations".
	Status  string `json:"status"`
	Waiting string `json:"waiting"`
	// Run is the active run, "" if there is none.
	Run string `json:"run"`
	// Agent is the agent file of the newest run.
	Agent         string  `json:"agent"`
	ToolsApproved bool    `json:"tools_approved"`
	NumMessages   int64   `json:"num_messages"`
	InputTokens   int64   `json:"input_tokens"`
	OutputTokens  int64   `json:"output_tokens"`
	Cost          float64 `json:"cost"` // US dollars
	// ForkOf is the session that this one was forked from, "" for none; ForkSeq is
	// the last event that both share.
	ForkOf   string            `json:"fork_of"`
	ForkSeq  uint64            `json:"fork_seq"`
	Metadata map[string]string `json:"metadata"`
}

// Document is a session with all that was said in it.
type Document struct {
	Session
	Messages []SessionMessage `json:"messages"`
	// Pending are the tool calls that wait for a decision, Questions the questions
	// that wait for an answer, oldest first.
	Pending   []PendingCall `json:"pending"`
	Questions []Question    `json:"questions"`
	Runs      []Run         `json:"runs"`
}

// SessionMessage is one message of a [Document].
type SessionMessage struct {
	Seq       uint64           `json:"seq"`
	Run       string           `json:"run"`
	AgentFile string           `json:"agent_file"`
	AgentName string           `json:"agent_name"`
	Message   holdfast.Message `json:"message"`
}

// PendingCall is a tool call that waits for a decision.
type PendingCall struct {
	ToolCall  holdfast.ToolCall `json:"tool_call"`
	AgentName string            `json:"agent_name"`
	Run       string            `json:"run"`
	// Reason is "" or "outcome_unknown" after a crash in the call.
	Reason    string    `json:"reason"`
	Seq       uint64    `json:"seq"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Question is a question that waits for an answer; see [Client.AnswerInput].
type Question struct {
	ID        string          `json:"id"`
	Message   string          `json:"message"`
	Schema    json.RawMessage `json:"schema"`
	URL       string          `json:"url"`
	ServerURL string          `json:"server_url"`
	AgentName string          `json:"agent_name"`
	Run       string          `json:"run"`
	Seq       uint64          `json:"seq"`
}

// Run is what became of a run.
type Run struct {
	Run       string `json:"run"`
	Agent     string `json:"agent"`
	AgentName string `json:"agent_name"`
	// Status is "queued", "running" or "finished"; Reason is why it finished.
	Status string `json:"status"`
	Reason string `json:"reason"`
	// CancelReason is what who canceled the run gave as the reason; ReplacedBy is the
	// run that canceled it, in mode interrupt or rollback.
	CancelReason string `json:"cancel_reason"`
	ReplacedBy   string `json:"replaced_by"`
	FirstSeq     uint64 `json:"first_seq"`
	LastSeq      uint64 `json:"last_seq"`
}

// NewSession is what a session begins with. The zero value is a session with an
// id of the server's choice.
type NewSession struct {
	ID    string `json:"id,omitempty"`
	Title string `json:"title,omitempty"`
	// Agent is the agent file for runs that name none.
	Agent         string            `json:"agent,omitempty"`
	ToolsApproved bool              `json:"tools_approved,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

// CreateSession creates a session.
func (c *Client) CreateSession(ctx context.Context, n NewSession) (*Document, error) {
	return c.document(ctx, "POST", path("v1", "sessions"), nil, n)
}

// GetSession returns a session as of its newest event.
func (c *Client) GetSession(ctx context.Context, id string) (*Document, error) {
	return c.document(ctx, "GET", path("v1", "sessions", id), nil, nil)
}

// GetSessionAt returns a session as of an event.
func (c *Client) GetSessionAt(ctx context.Context, id string, seq uint64) (*Document, error) {
	return c.document(ctx, "GET", path("v1", "sessions", id), url.Values{"at": {strconv.FormatUint(seq, 10)}}, nil)
}

func (c *Client) document(ctx context.Context, method, path string, query url.Values, in any) (*Document, error) {
	var d Document
	if err := c.do(ctx, method, path, query, in, &d); err != nil {
		return nil, err
	}
	if d.ID == "" {
		return nil, fmt.Errorf("%s %s: the answer is no session: it has no id", method, path)
	}
	return &d, nil
}

// GetSessions returns all sessions, newest first. See [Client.Sessions] for a
// tenant with many.
func (c *Client) GetSessions(ctx context.Context) ([]Session, error) {
	var all []Session
	for s, err := range c.Sessions(ctx, 1000) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Sessions gives out the sessions, newest first, and asks for the next page of
// that many (1 to 1000) when one is used up. An error is the last thing that it
// gives out.
func (c *Client) Sessions(ctx context.Context, page int) iter.Seq2[Session, error] {
	return c.sessions(ctx, url.Values{"limit": {strconv.Itoa(page)}})
}

// sessions gives out the sessions of a query.
func (c *Client) sessions(ctx context.Context, query url.Values) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		for {
			var p struct {
				Sessions []Session `json:"sessions"`
				Next     string    `json:"next"`
			}
			if err := c.do(ctx, "GET", path("v1", "sessions"), query, nil, &p); err != nil {
				yield(Session{}, err)
				return
			}
			if p.Sessions == nil {
				yield(Session{}, errors.New("GET /v1/sessions: the answer is no list of sessions"))
				return
			}
			for _, s := range p.Sessions {
				if s.ID == "" {
					yield(Session{}, errors.New("GET /v1/sessions: the answer has a session without an id"))
					return
				}
				if !yield(s, nil) {
					return
				}
			}
			// A server that names the same page again would be asked for ever.
			if p.Next == "" || len(p.Sessions) == 0 || p.Next == query.Get("cursor") {
				return
			}
			query.Set("cursor", p.Next)
		}
	}
}

// NewFork is what a fork begins with. The zero value forks at the newest event.
type NewFork struct {
	// Seq is the last event that both sessions share, 0 the newest.
	Seq uint64 `json:"seq,omitempty"`
	// ID is the id of the new session, "" for one of the server's choice.
	ID string `json:"id,omitempty"`
	// Title is "" for that of the forked session.
	Title    string            `json:"title,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// ForkSession makes a session that continues another one after an event. Nothing
// is copied, and neither sees what happens in the other.
func (c *Client) ForkSession(ctx context.Context, id string, f NewFork) (*Document, error) {
	return c.document(ctx, "POST", path("v1", "sessions", id, "forks"), nil, f)
}

// DeleteSession deletes a session and its events.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", path("v1", "sessions", id), nil, nil, nil)
}

// ResumeType is an answer to a question about a tool call.
type ResumeType = holdfast.ResumeType

// The answers.
const (
	ResumeTypeApprove        = holdfast.ResumeTypeApprove
	ResumeTypeApproveSession = holdfast.ResumeTypeApproveSession
	ResumeTypeReject         = holdfast.ResumeTypeReject
)

// ResumeSession decides on the oldest tool call that waits; see [Client.Decide]
// for a certain one.
func (c *Client) ResumeSession(ctx context.Context, id string, confirmation ResumeType) error {
	return c.do(ctx, "POST", path("api", "sessions", id, "resume"), nil, map[string]ResumeType{"confirmation": confirmation}, nil)
}

// Decision is a decision on a tool call.
type Decision struct {
	Decision ResumeType `json:"decision"`
	// Arguments, if not "", replace those of the model: the text of a JSON object.
	Arguments string `json:"arguments,omitempty"`
	// Reason is shown to the model if the call is rejected.
	Reason string `json:"reason,omitempty"`
}

// Decide decides on a tool call. The same decision again changes nothing.
func (c *Client) Decide(ctx context.Context, session, call string, d Decision) (Settled, error) {
	return c.settle(ctx, path("v1", "sessions", session, "tool-calls", call, "decision"), d)
}

// Cancel cancels a run, the active one if run is "".
func (c *Client) Cancel(ctx context.Context, session, run string) (Settled, error) {
	return c.CancelBecause(ctx, session, run, "")
}

// CancelBecause cancels like [Client.Cancel] and gives a reason for the log, at most
// 1,000 characters: the event run_canceled has it, and the run's CancelReason.
func (c *Client) CancelBecause(ctx context.Context, session, run, reason string) (Settled, error) {
	at := path("v1", "sessions", session, "cancel")
	if run != "" {
		at = path("v1", "sessions", session, "runs", run, "cancel")
	}
	if reason == "" {
		return c.settle(ctx, at, nil)
	}
	return c.settle(ctx, at, map[string]string{"reason": reason})
}

// NewRun is what a run begins with.
type NewRun struct {
	// Agent is the agent file, "" the session's; AgentName the agent to start with,
	// "" the root of the file.
	Agent     string    `json:"agent,omitempty"`
	AgentName string    `json:"agent_name,omitempty"`
	Messages  []Message `json:"messages"`
	// Mode says what happens if a run is active: "enqueue" (the default), "steer",
	// "interrupt", "rollback" or "reject".
	Mode string `json:"mode,omitempty"`
	// History says that Messages may begin with all that the user has said so far,
	// which is not said again then.
	History bool `json:"history,omitempty"`
}

// Message is a message of the user.
type Message struct {
	Content string `json:"content"`
	// Parts is what is not plain text, in order after Content.
	Parts []holdfast.ContentPart `json:"multi_content,omitempty"`
}

// Settled is what became of a request.
type Settled struct {
	Session string `json:"session"`
	Run     string `json:"run"`
	// Seq is the event that says so, 0 while that is not known.
	Seq uint64 `json:"seq"`
	// Status is "accepted", or "pending" if the request is stored and will have its
	// effect later.
	Status string `json:"status"`
}

// StartRun says something to a session. Follow the run with [Client.Events] from
// Seq-1 on.
func (c *Client) StartRun(ctx context.Context, session string, r NewRun) (Settled, error) {
	return c.settle(ctx, path("v1", "sessions", session, "runs"), r)
}

func (c *Client) settle(ctx context.Context, path string, in any) (Settled, error) {
	return c.settleWithKey(ctx, path, holdfast.NewID(), in)
}

func (c *Client) settleWithKey(ctx context.Context, path, key string, in any) (Settled, error) {
	var s Settled
	if err := c.doWithKey(ctx, "POST", path, nil, key, in, &s); err != nil {
		return Settled{}, err
	}
	if s.Status == "" {
		return Settled{}, fmt.Errorf("POST %s: the answer has no status", path)
	}
	return s, nil
}

// GetRun returns what became of a run.
func (c *Client) GetRun(ctx context.Context, session, run string) (*Run, error) {
	var r Run
	if err := c.do(ctx, "GET", path("v1", "sessions", session, "runs", run), nil, nil, &r); err != nil {
		return nil, err
	}
	if r.Run == "" {
		return nil, fmt.Errorf("GET run %s: the answer is no run: it has no id", run)
	}
	return &r, nil
}

// Compact replaces older messages, in what the model sees, by a summary. The log
// keeps them. The summary is in the events behind Seq.
func (c *Client) Compact(ctx context.Context, session string) (Settled, error) {
	return c.settle(ctx, path("v1", "sessions", session, "compact"), nil)
}

// summarize compacts and calls fn for the events that say so, until the summary
// is stored.
func (c *Client) summarize(ctx context.Context, session string, fn func(holdfast.Event)) error {
	key := holdfast.NewID()
	s, err := c.settled(ctx, path("v1", "sessions", session, "compact"), key, nil)
	if err != nil {
		return err
	}
	for e, err := range c.Events(ctx, session, max(s.Seq, 1)-1) {
		if err != nil {
			return err
		}
		switch ev := e.Event.(type) {
		case *holdfast.SessionSummaryEvent, *holdfast.TokenUsageEvent, *holdfast.WarningEvent:
			fn(ev)
		case *holdfast.ErrorEvent:
			return holdfast.Errorf(cmp.Or(ev.Code, holdfast.CodeInternal), "%s", ev.Error)
		case *holdfast.SessionCompactionEvent:
			fn(ev)
			if ev.Status == "completed" {
				return nil
			}
		case *holdfast.SessionParkedEvent:
			return holdfast.Errorf(holdfast.CodeInternal, "the session was parked before a summary was made")
		}
	}
	return context.Cause(ctx)
}
