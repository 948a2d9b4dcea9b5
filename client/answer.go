package client

import (
	"context"
	"encoding/json"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// InputAction is how a question is answered.
type InputAction string

// The actions: accept comes with an answer, decline says no, cancel dismisses the
// question.
const (
	InputAccept  InputAction = "accept"
	InputDecline InputAction = "decline"
	InputCancel  InputAction = "cancel"
)

// InputAnswer is an answer to an elicitation_request.
type InputAnswer struct {
	Action InputAction `json:"action"`
	// Content is JSON that fits the schema of the question, for [InputAccept].
	Content json.RawMessage `json:"content,omitempty"`
}

// AnswerInput answers the question of an elicitation_request. Content that does
// not fit the question's schema is CodeInvalidInput and may be sent again. The same
// answer again changes nothing, another one is CodeConflict.
func (c *Client) AnswerInput(ctx context.Context, session, id string, a InputAnswer) (Settled, error) {
	return c.settle(ctx, path("v1", "sessions", session, "inputs", id), a)
}

// DecideAuthorization begins an authorization that a session waits for, or
// declines it, which ends the run. One that has expired begins anew: another
// authorization_required follows.
func (c *Client) DecideAuthorization(ctx context.Context, session, flow string, begin bool) (Settled, error) {
	decision := "decline"
	if begin {
		decision = "start"
	}
	return c.settle(ctx, path("v1", "sessions", session, "authorizations", flow), map[string]string{"decision": decision})
}

// Vouch is an application's word that the user who authorized is the session's.
// Random, Connection and Verifier are as the browser brought them.
type Vouch struct {
	User       string `json:"user,omitempty"`
	Random     string `json:"random"`
	Connection string `json:"connection"`
	Verifier   string `json:"verifier"`
}

// VouchAuthorization vouches for the user of an authorization.
func (c *Client) VouchAuthorization(ctx context.Context, session, flow string, v Vouch) (Settled, error) {
	return c.settle(ctx, path("v1", "sessions", session, "authorizations", flow, "vouch"), v)
}

// NewMessage is something to say, now or later.
type NewMessage struct {
	NewRun
	// At is when the run is to begin; a time that has passed is now. Delay is after
	// how long. Neither is now, both are an error.
	At    time.Time
	Delay time.Duration
}

// SendMessage says something to a session, at a time.
func (c *Client) SendMessage(ctx context.Context, session string, m NewMessage) (Settled, error) {
	body := struct {
		NewRun
		At    time.Time `json:"at,omitzero"`
		Delay string    `json:"delay,omitempty"`
	}{NewRun: m.NewRun, At: m.At}
	if m.Delay != 0 {
		body.Delay = m.Delay.String()
	}
	return c.settle(ctx, path("v1", "sessions", session, "messages"), body)
}

// ScheduledRun is a run that is to begin later.
type ScheduledRun struct {
	Run       string             `json:"run"`
	At        time.Time          `json:"at"`
	Agent     string             `json:"agent"`
	AgentName string             `json:"agent_name"`
	Mode      string             `json:"mode"`
	Messages  []holdfast.Message `json:"messages"`
	Seq       uint64             `json:"seq"`
}

// Scheduled returns the runs of a session that are to begin later, in the order of
// their times.
func (c *Client) Scheduled(ctx context.Context, session string) ([]ScheduledRun, error) {
	var out struct {
		Runs []ScheduledRun `json:"runs"`
	}
	err := c.do(ctx, "GET", path("v1", "sessions", session, "scheduled"), nil, nil, &out)
	return out.Runs, err
}

// CancelScheduled takes back a run that has not begun. One that has is
// CodeConflict.
func (c *Client) CancelScheduled(ctx context.Context, session, run string) error {
	return c.do(ctx, "DELETE", path("v1", "sessions", session, "scheduled", run), nil, nil, nil)
}
