package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

type userPromptArguments struct {
	Message  string             `json:"message"`
	Title    string             `json:"title"`
	Schema   json.RawMessage    `json:"schema"`
	Options  list[promptOption] `json:"options"`
	Multiple yes                `json:"multiple"`
}

// promptOption is one of the answers that the model offers.
type promptOption struct {
	Label       string `json:"label"`
	Description string `json:"description"`
}

// maxPromptOptions is how many answers a question may offer.
const maxPromptOptions = 50

// freeAnswer is the schema of an answer for which the model gave none.
const freeAnswer = `{"type":"object","properties":{"response":{"type":"string"}},"required":["response"]}`

// NewUserPrompt returns the user_prompt toolset: a tool with which the model asks
// the user something. The session waits, for as long as it takes, and the answer
// fits the schema that the model gave.
func NewUserPrompt() *Toolset {
	return &Toolset{
		name: "user_prompt",
		instructions: "Call user_prompt when you need an answer of the user to go on. Give options when there are a few answers to choose from, or a JSON schema when the answer has parts. " +
			`The result is {"action": …, "content": …}: "accept" comes with the answer, "decline" and "cancel" mean that the user does not want to answer.`,
		entries: []entry{{
			def: tool.Definition{
				Name:        "user_prompt",
				Title:       "Ask the user",
				Description: "Ask the user a question and wait for the answer.",
				Parameters: object([]string{"message"},
					text("message", "The question"),
					text("title", "A short title for the question"),
					property{"schema", `{"type":"object","description":"JSON schema of the answer; without it the answer is a text"}`},
					property{"options", `{"type":"array","items":` + string(object([]string{"label"}, text("label", "The answer, in a few words"),
						text("description", "What it means"))) + `,"description":"Answers to choose from, instead of a schema; the user may also write another one"}`},
					flag("multiple", "Several of the options may be chosen")),
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
	schema, problem := a.answer()
	if problem != "" {
		return failed("%s", problem), nil
	}
	for _, o := range a.Options {
		message += "\n- " + o.Label
		if o.Description != "" {
			message += ": " + o.Description
		}
	}
	return tool.Result{}, &tool.InputRequired{Requests: []tool.InputRequest{{Key: key, Message: message, Schema: schema}}}
}

// answer returns the schema of the answer. The answer is an object in any case, as MCP
// and all clients know it: a text, a number or a choice is its member response.
func (a *userPromptArguments) answer() (schema json.RawMessage, problem string) {
	given := strings.TrimSpace(string(a.Schema))
	if given == "null" || given == "{}" {
		given = ""
	}
	switch {
	case given != "" && len(a.Options) > 0:
		return nil, "Give a schema or options, not both."
	case len(a.Options) > maxPromptOptions:
		return nil, fmt.Sprintf("There are more than %d options.", maxPromptOptions)
	case len(a.Options) > 0:
		return a.choice()
	case given == "":
		return json.RawMessage(freeAnswer), ""
	}
	var head map[string]json.RawMessage
	if json.Unmarshal([]byte(given), &head) != nil {
		return nil, "The schema must be a JSON schema."
	}
	schema = a.Schema
	if string(head["type"]) != `"object"` {
		if head["type"] == nil && head["enum"] == nil && head["const"] == nil {
			return nil, "The schema must have a type."
		}
		schema = json.RawMessage(`{"type":"object","properties":{"response":` + given + `},"required":["response"]}`)
	}
	if err := tool.CheckSchema(schema); err != nil {
		return nil, fmt.Sprintf("The schema cannot be used: %v", err)
	}
	return schema, ""
}

// choice is the schema of an answer that is chosen, or written by the user instead.
func (a *userPromptArguments) choice() (schema json.RawMessage, problem string) {
	labels := make([]string, len(a.Options))
	for i, o := range a.Options {
		if labels[i] = o.Label; strings.TrimSpace(o.Label) == "" || slices.Contains(labels[:i], o.Label) {
			return nil, "Each option needs a label of its own."
		}
	}
	selection := map[string]any{
		"type": "array", "items": map[string]any{"type": "string", "enum": labels}, "uniqueItems": true, "description": "What was chosen",
	}
	if !a.Multiple {
		selection["maxItems"] = 1
	}
	raw, err := json.Marshal(map[string]any{
		"type": "object", "minProperties": 1, "additionalProperties": false,
		"properties": map[string]any{"selection": selection, "custom": map[string]any{"type": "string", "description": "Another answer"}},
	})
	if err != nil {
		return nil, "The options cannot be used."
	}
	return raw, ""
}
