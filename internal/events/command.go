package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Command asks a session to do something. It is ordered with the session's
// other commands, takes effect at most once by its ID, and its acceptance or
// refusal is an event.
type Command struct {
	// ID makes the command idempotent: derived from the caller's Idempotency-Key,
	// or new.
	ID      string              `json:"id"`
	Kind    string              `json:"kind"`
	Session holdfast.SessionRef `json:"-"`
	// Tenant and ID of the session on the wire.
	Tenant    string          `json:"tenant"`
	SessionID string          `json:"session"`
	Time      time.Time       `json:"time"`
	Body      json.RawMessage `json:"body,omitempty"`
	// Reply is where an [Answer] is awaited, "" if nobody waits.
	Reply string `json:"reply,omitempty"`
	// Trace is the W3C trace context of the request, "" for none.
	Trace string `json:"traceparent,omitempty"`
}

// Kinds of commands.
const (
	KindRun    = "run"    // body: RunBody
	KindDecide = "decide" // body: DecideBody
	KindCancel = "cancel" // body: CancelBody
	KindDelete = "delete" // no body
	KindTimer  = "timer"  // body: TimerBody
	KindInput  = "input"  // body: InputBody: an answer to an elicitation
	KindResume = "resume" // body: ResumeBody: go on after max_iterations
	// KindCompact has no body: replace older messages, for the model, by a summary.
	KindCompact = "compact"
	// KindSchedule asks for a run at a later time; body: ScheduleBody.
	KindSchedule  = "schedule"
	KindAuthorize = "authorize" // body: AuthorizeBody: begin an authorization, or decline it
	KindAnswer    = "answer"    // body: AnswerBody: an authorization server's answer
	KindVouch     = "vouch"     // body: VouchBody: the tenant's application knows the user who finished
	// KindWake carries no request: it makes some worker look at the session.
	KindWake = "wake"
)

// What became of a command is remembered for RememberFor, by the times in the
// log, and of a session's last RememberCommands for longer: within that the same
// id is the same command, behind it a new one.
const (
	RememberFor      = 24 * time.Hour
	RememberCommands = 1000
)

// Modes of a run that comes while another one is active.
const (
	ModeEnqueue   = "enqueue"   // runs when its turn comes
	ModeSteer     = "steer"     // its messages enter the active run at the next step
	ModeInterrupt = "interrupt" // the active run is canceled, then it runs
	ModeRollback  = "rollback"  // the active run is canceled and made void, then it runs
	ModeReject    = "reject"    // refused with CodeConflict
)

// RunBody is the body of a run command.
type RunBody struct {
	Run string `json:"run"`
	// Agent is the agent file, AgentInFile the agent to start with ("" = its root).
	Agent       string             `json:"agent"`
	AgentInFile string             `json:"agent_in_file,omitempty"`
	Messages    []holdfast.Message `json:"messages"`
	Mode        string             `json:"mode,omitempty"`
	// History says that Messages may begin with all user messages of the session
	// so far, which are not to be appended again (clients of the original do so).
	History bool `json:"history,omitempty"`
}

// ScheduleBody is the body of a run that is to be queued at a later time.
type ScheduleBody struct {
	RunBody
	At time.Time `json:"at,omitzero"`
	// Delay, a duration such as 10m, counts from the time of the command; At is then
	// not set. A request that comes again with the same id is so the same request.
	Delay string `json:"delay,omitempty"`
}

// DecideBody is the body of a decision on a tool call.
type DecideBody struct {
	// ToolCallID is the call; "" is the oldest one that waits.
	ToolCallID string `json:"tool_call_id,omitempty"`
	// Decision is "approve", "approve-session" or "reject".
	Decision  string `json:"decision"`
	Arguments string `json:"arguments,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// CancelBody is the body of a cancellation; Run "" is the active run.
type CancelBody struct {
	Run string `json:"run,omitempty"`
	// Reason is for the log: why, in the words of who cancels.
	Reason string `json:"reason,omitempty"`
}

// ResumeBody is the body of a resume command; Run "" is the active run.
type ResumeBody struct {
	Run string `json:"run,omitempty"`
	// Iterations is how many more model calls are granted; 0 is 10.
	Iterations int `json:"iterations,omitempty"`
}

// AuthorizeBody is the body of a decision on an authorization.
type AuthorizeBody struct {
	// Flow is the authorization; "" is the oldest that is pending.
	Flow string `json:"flow,omitempty"`
	// Confirm false declines: the run ends.
	Confirm bool `json:"confirm"`
}

// AnswerBody is the body of an authorization server's answer.
type AnswerBody struct {
	Flow string `json:"flow"`
	// Sealed is the answer, for the worker alone. Sealing is random, so that the
	// command's hash says nothing of what is inside.
	Sealed []byte `json:"sealed"`
	// Vouched says that the tenant's application brought it itself.
	Vouched bool `json:"vouched,omitempty"`
}

// VouchBody is the body of a tenant's word for a user.
type VouchBody struct {
	Flow string `json:"flow"`
	// User is who is logged in at the application.
	User string `json:"user,omitempty"`
}

// TimerBody is the body of a timer that fires.
type TimerBody struct {
	Timer string `json:"timer"`
}

// InputBody is the body of an answer to an elicitation.
type InputBody struct {
	// ID is the question; "" is the oldest one that waits.
	ID string `json:"id"`
	// Action is "accept", "decline" or "cancel".
	Action  string          `json:"action"`
	Content json.RawMessage `json:"content,omitempty"`
}

// Answer is what became of a command.
type Answer struct {
	Command string `json:"command"`
	// Code is "" if the command was accepted.
	Code    holdfast.Code `json:"code,omitempty"`
	Message string        `json:"message,omitempty"`
	// Seq is the event that says so.
	Seq uint64 `json:"seq"`
	Run string `json:"run,omitempty"`
}

// Err returns the refusal as an error, nil if the command was accepted.
func (a Answer) Err() error {
	if a.Code == "" {
		return nil
	}
	return holdfast.Errorf(a.Code, "%s", a.Message)
}

// NewCommand returns a command with its body encoded. id "" is a new one.
func NewCommand(s holdfast.SessionRef, kind, id string, body any) (Command, error) {
	if id == "" {
		id = holdfast.NewID()
	}
	c := Command{ID: id, Kind: kind, Session: s, Tenant: s.Tenant, SessionID: s.Session, Time: time.Now().UTC()}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return Command{}, fmt.Errorf("encode %s command: %w", kind, err)
		}
		c.Body = b
	}
	return c, nil
}

// Hash identifies what the command asks for, in hex. The same id with another
// hash is a misuse of an Idempotency-Key.
func (c *Command) Hash() string {
	h := sha256.New()
	h.Write([]byte(c.Kind))
	h.Write([]byte{0})
	h.Write(c.Body)
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// DecodeCommand reads a command from the wire and fills in Session.
func DecodeCommand(data []byte) (Command, error) {
	var c Command
	if err := json.Unmarshal(data, &c); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	c.Session = holdfast.SessionRef{Tenant: c.Tenant, Session: c.SessionID}
	if err := c.Session.Validate(); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	if c.ID == "" || c.Kind == "" {
		return Command{}, fmt.Errorf("decode command: no id or kind")
	}
	return c, nil
}

// Inbox is where the owner of a session finds its commands.
type Inbox interface {
	// Wake receives when there may be a command that Pending has not given yet.
	Wake() <-chan struct{}
	// Pending returns the commands that are not settled and that it has not given
	// before, oldest first.
	Pending(ctx context.Context) ([]Command, error)
	// Settle says that the acceptance or the refusal of the command is stored.
	Settle(ctx context.Context, c Command, a Answer)
	// Draining is closed when the owner is to leave the session at its next safe point.
	Draining() <-chan struct{}
}
