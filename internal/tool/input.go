package tool

import (
	"context"
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
)

// The actions with which a user answers a question (MCP, elicitation).
const (
	InputAccept  = "accept"  // with an answer
	InputDecline = "decline" // said no
	InputCancel  = "cancel"  // dismissed the question
)

// InputRequest is a question to the user in the middle of a call.
type InputRequest struct {
	// Key names the question within its call; the answer comes back under it. A
	// question that InputRequired asks has one, unique within the call.
	Key string
	// Message is what the user reads.
	Message string
	// Schema is the JSON schema of the answer, nil for any.
	Schema json.RawMessage
	// URL is a page on which the user does what is asked, "" for an answer here.
	URL string
	// ServerURL says who asks, "" if the question is the agent's own.
	ServerURL string
}

// InputAnswer is what the user said.
type InputAnswer struct {
	Action string `json:"action"`
	// Content fits the question's schema; it is set if Action is [InputAccept].
	Content json.RawMessage `json:"content,omitempty"`
}

// InputRequired is the Go error of a Call that ended without an outcome because
// it needs answers of the user. Nothing of it goes on at the far side. The
// session parks, in no worker's memory, and when all questions are answered the
// same call is made again with Call.Input and Call.Continuation, under the same
// idempotency key and without another approval. It may ask again.
//
// It is for tools that do nothing before they have their answers and for protocols
// that can continue a call (MCP from 2026-07-28 on: the result input_required,
// whose requestState is the continuation). Where the far side holds the call open
// while the user is asked, use Call.Elicit.
type InputRequired struct {
	Requests []InputRequest
	// Continuation is handed back as it is. It is stored in the session's log.
	Continuation json.RawMessage
}

func (e *InputRequired) Error() string { return "the call needs answers of the user" }

// Unwrap gives the error its code for callers that cannot ask anybody.
func (e *InputRequired) Unwrap() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "the tool asks the user something, and nobody can be asked here")
}

// Elicit asks the user something while the call goes on, and returns the answer.
// It is for protocols that hold a call open meanwhile (MCP before 2026-07-28). The
// worker keeps the session until the answer is there; if the worker dies, the
// outcome of the call is unknown, as that of any call. It fails with the cause of
// ctx when the call is ended.
type Elicit func(ctx context.Context, q InputRequest) (InputAnswer, error)
