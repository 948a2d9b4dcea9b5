package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
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

// QuestionDoc is a question that waits for an answer.
type QuestionDoc struct {
	ID        string          `json:"id" doc:"For POST …/inputs/{id}."`
	Message   string          `json:"message"`
	Schema    json.RawMessage `json:"schema,omitempty" doc:"JSON schema of the answer."`
	URL       string          `json:"url,omitempty" doc:"A page on which the user does what is asked; the answer then has no content."`
	ServerURL string          `json:"server_url,omitempty" doc:"The MCP server that asks; absent if a tool of our own does."`
	AgentName string          `json:"agent_name"`
	Run       string          `json:"run"`
	Seq       uint64          `json:"seq" doc:"The event that asked."`
}

// applyQuestions folds what asks questions and what settles them.
func (v *View) applyQuestions(e *events.Envelope, ev holdfast.Event) {
	settled := func(which func(q QuestionDoc) bool) { v.Questions = slices.DeleteFunc(v.Questions, which) }
	switch ev := ev.(type) {
	case *holdfast.ElicitationRequestEvent:
		settled(func(q QuestionDoc) bool { return q.ID == ev.ID })
		v.Questions = append(v.Questions, QuestionDoc{
			ID: ev.ID, Message: ev.Message, Schema: ev.Schema, URL: ev.URL, ServerURL: ev.ServerURL, AgentName: e.Agent, Run: e.Run, Seq: e.Seq,
		})
	case *holdfast.ElicitationAnsweredEvent:
		settled(func(q QuestionDoc) bool { return q.ID == ev.ID })
	case *holdfast.RunFinishedEvent:
		settled(func(q QuestionDoc) bool { return q.Run == ev.Run })
	case *holdfast.SessionCreatedEvent:
		v.Questions = nil
	}
}
