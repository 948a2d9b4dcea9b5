package builtin

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

type userPromptArguments struct {
	Message string          `json:"message"`
	Title   string          `json:"title"`
	Schema  json.RawMessage `json:"schema"`
}

// freeAnswer is the schema of an answer for which the model gave none.
const freeAnswer = `{"type":"object","properties":{"response":{"type":"string"}},"required":["response"]}`

// NewUserPrompt returns the user_prompt toolset: a tool with which the model asks
// the user something. The session waits, for as long as it takes, and the answer
// fits the schema that the model gave.
func NewUserPrompt() *Toolset {
	return &Toolset{
		name: "user_prompt",
		instructions: "Call user_prompt when you need an answer of the user to go on. Give a JSON schema of type object when the answer has parts. " +
			`The result is {"action": …, "content": …}: "accept" comes with the answer, "decline" and "cancel" mean that the user does not want to answer.`,
		entries: []entry{{
			def: tool.Definition{
				Name:        "user_prompt",
				Title:       "Ask the user",
				Description: "Ask the user a question and wait for the answer.",
				Parameters: object([]string{"message"},
					text("message", "The question"),
					text("title", "A short title for the question"),
					property{"schema", `{"type":"object","description":"JSON schema of the answer, an object; without it the answer is a text"}`}),
				Effect: tool.EffectReadOnly,
			},
			run: run(ask),
		}},
	}
}

func ask(_ context.Context, c tool.Call, a userPromptArguments) (tool.Result, error) {
	const key = "answer"
	if answer, ok := c.Input[key]; ok {
		raw, err := json.Marshal(answer)
		if err != nil {
			return failed("The answer cannot be read."), nil
		}
		return succeeded("%s", raw), nil
	}
	message := strings.TrimSpace(a.Message)
	if message == "" {
		return failed("The message is empty."), nil
	}
	if t := strings.TrimSpace(a.Title); t != "" {
		message = t + "\n\n" + message
	}
	schema := a.Schema
	var head struct {
		Type string `json:"type"`
	}
	switch s := strings.TrimSpace(string(schema)); {
	case s == "" || s == "null" || s == "{}":
		schema = json.RawMessage(freeAnswer)
	case json.Unmarshal(schema, &head) != nil || head.Type != "object":
		return failed("The schema must be a JSON schema of type object."), nil
	default:
		if err := tool.CheckSchema(schema); err != nil {
			return failed("The schema cannot be used: %v", err), nil
		}
	}
	return tool.Result{}, &tool.InputRequired{Requests: []tool.InputRequest{{Key: key, Message: message, Schema: schema}}}
}
