package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-run/holdfast/internal/events"
)

// Continuation is the body of a request to go on beyond max_iterations.
type Continuation struct {
	Iterations int `json:"iterations,omitempty" minimum:"1" maximum:"1000" doc:"How many more model calls the run may make. Default: 10."`
}

// InputAnswer is the body of an answer to an elicitation_request.
type InputAnswer struct {
	Action  string          `json:"action" enum:"accept,decline,cancel" doc:"accept comes with content; decline says no, cancel dismisses the question."`
	Content json.RawMessage `json:"content,omitempty" doc:"The answer: JSON that fits the schema of the question."`
}

// loopRoutes are those that answer what the loop waits for, beside decisions on
// tool calls.
func (a *API) loopRoutes(api huma.API) {
	const tag = "runs"
	huma.Register(api, a.operation("continue-run", http.MethodPost, "/v1/sessions/{id}/runs/{run}/continue", tag, "Let a run go on",
		"Grants more model calls to a run that waits because it has used up max_iterations. A run that does not wait for that is a conflict.",
		http.StatusNotFound, http.StatusConflict), a.continueRun)
	huma.Register(api, a.operation("answer-input", http.MethodPost, "/v1/sessions/{id}/inputs/{input}", tag, "Answer a question",
		"Answers an elicitation_request, the question of a tool or of an MCP server. Content that does not fit the question's schema is refused with 422, code invalid_input, and a text that says where; "+
			"it may then be sent again with another Idempotency-Key. The same answer again changes nothing, another one is a conflict.",
		http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity), a.answerInput)
	huma.Register(api, a.operation("compact", http.MethodPost, "/v1/sessions/{id}/compact", tag, "Summarize a conversation",
		"The agent's own model writes a summary that replaces the messages so far in what the model sees; the log keeps them. "+
			"An idle session does it at once, an active run at its next safe point: the events session_compaction and session_summary tell. "+
			"A conversation in which nothing is new since the last summary is a conflict.",
		http.StatusNotFound, http.StatusConflict), a.compact)
}

func (a *API) continueRun(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Run  string        `path:"run" doc:"Id of the run."`
	Body *Continuation `required:"false"`
},
) (*settledOut, error) {
	body := events.ResumeBody{Run: in.Run}
	if in.Body != nil {
		body.Iterations = in.Body.Iterations
	}
	return a.simple(ctx, in.ref(ctx), events.KindResume, in.Key, body)
}

func (a *API) answerInput(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
	Input string `path:"input" doc:"Member id of the elicitation_request."`
	Body  InputAnswer
},
) (*settledOut, error) {
	body := events.InputBody{ID: in.Input, Action: in.Body.Action}
	if in.Body.Action == "accept" {
		body.Content = in.Body.Content // as it came: numbers keep all their digits
	}
	return a.simple(ctx, in.ref(ctx), events.KindInput, in.Key, body)
}

func (a *API) compact(ctx context.Context, in *struct {
	SessionPath
	KeyHeader
},
) (*settledOut, error) {
	return a.simple(ctx, in.ref(ctx), events.KindCompact, in.Key, nil)
}
