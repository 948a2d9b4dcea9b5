package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	Agent         string            `json:"agent"`
	ToolsApproved bool              `json:"tools_approved"`
	NumMessages   int64             `json:"num_messages"`
	InputTokens   int64             `json:"input_tokens"`
	OutputTokens  int64             `json:"output_tokens"`
	Cost          float64           `json:"cost"` // US dollars
	Metadata      map[string]string `json:"metadata"`
}

// Document is a session with all that was said in it.
type Document struct {
	Session
	Messages []SessionMessage `json:"messages"`
	// Pending are the tool calls that wait for a decision, oldest first.
	Pending []PendingCall `json:"pending"`
	Runs    []Run         `json:"runs"`
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

// Run is what became of a run.
type Run struct {
	Run       string `json:"run"`
	Agent     string `json:"agent"`
	AgentName string `json:"agent_name"`
	// Status is "queued", "running" or "finished"; Reason is why it finished.
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
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

// GetSessions returns all sessions, newest first.
func (c *Client) GetSessions(ctx context.Context) ([]Session, error) {
	var all []Session
	query := url.Values{"limit": {"1000"}}
	for {
		var page struct {
			Sessions []Session `json:"sessions"`
			Next     string    `json:"next"`
		}
		if err := c.do(ctx, "GET", path("v1", "sessions"), query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Sessions...)
		if page.Next == "" || len(page.Sessions) == 0 {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// DeleteSession deletes a session and its events.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", path("v1", "sessions", id), nil, nil, nil)
}

// ResumeType is an answer to a question about a tool call.
type ResumeType string

// The answers.
const (
	ResumeTypeApprove        ResumeType = "approve"
	ResumeTypeApproveSession ResumeType = "approve-session"
	ResumeTypeReject         ResumeType = "reject"
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
	if run == "" {
		return c.settle(ctx, path("v1", "sessions", session, "cancel"), nil)
	}
	return c.settle(ctx, path("v1", "sessions", session, "runs", run, "cancel"), nil)
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
	return &r, nil
}

// Agent is an agent file in a list.
type Agent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Multi       bool   `json:"multi"` // several agents
	// Problem is why the file cannot be used, "" if it can.
	Problem string `json:"problem"`
}

// GetAgents returns the agent files by name.
func (c *Client) GetAgents(ctx context.Context) ([]Agent, error) {
	var list struct {
		Agents []Agent `json:"agents"`
	}
	if err := c.do(ctx, "GET", path("v1", "agents"), nil, nil, &list); err != nil {
		return nil, err
	}
	return list.Agents, nil
}

// GetAgent returns an agent file as JSON, its agents as an object by name.
func (c *Client) GetAgent(ctx context.Context, name string) (json.RawMessage, error) {
	var doc json.RawMessage
	if err := c.do(ctx, "GET", path("v1", "agents", name), nil, nil, &doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// GetDesktopToken returns the token of a desktop application, always "" here.
func (c *Client) GetDesktopToken(ctx context.Context) (string, error) {
	var t struct {
		Token *string `json:"token"`
	}
	if err := c.do(ctx, "GET", path("api", "desktop", "token"), nil, nil, &t); err != nil {
		return "", err
	}
	if t.Token == nil {
		return "", errors.New("GET /api/desktop/token: the answer has no token")
	}
	return *t.Token, nil
}
