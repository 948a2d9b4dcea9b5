package modeltest

import (
	"encoding/json"
	"errors"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

func message(role holdfast.Role, text string) holdfast.Message {
	return holdfast.Message{Role: role, Content: text}
}

// Hello is the plainest request.
func Hello() model.Request {
	return model.Request{Messages: []holdfast.Message{
		message(holdfast.RoleSystem, "You are terse."),
		message(holdfast.RoleUser, "Say hello."),
	}}
}

// Tools are the tools of the cases that have any. The second has no parameters.
func Tools() []model.Tool {
	return []model.Tool{
		{
			Name: "get_weather", Description: "The weather of a city now.",
			Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`),
		},
		{Name: "get_time", Description: "The time now."},
	}
}

// Weather asks for what needs a tool.
func Weather(text string) model.Request {
	return model.Request{Messages: []holdfast.Message{message(holdfast.RoleUser, text)}, Tools: Tools()}
}

func history(p *Provider) model.Request {
	asked := message(holdfast.RoleAssistant, "Let me look.")
	asked.ReasoningContent = "Two calls will do."
	asked.ToolCalls = []holdfast.ToolCall{
		holdfast.NewToolCall("call_a", "get_weather", `{"city":"Oslo"}`),
		holdfast.NewToolCall("call_b", "get_time", ""),
	}
	if p.Opaque != nil {
		asked.Opaque, asked.OpaqueProvider = p.Opaque, p.Config.Provider
	}
	first := message(holdfast.RoleTool, "12 \"degrees\"\nand <rain> & \x01 ☔")
	first.ToolCallID = "call_a"
	second := message(holdfast.RoleTool, "the clock is broken")
	second.ToolCallID, second.IsError = "call_b", true
	foreign := message(holdfast.RoleAssistant, "It is 12 degrees.")
	foreign.Opaque, foreign.OpaqueProvider = json.RawMessage(`{"of":"somebody else"}`), "another"
	return model.Request{Tools: Tools(), Messages: []holdfast.Message{
		message(holdfast.RoleSystem, "You are terse."),
		message(holdfast.RoleUser, "Weather and time in Oslo?"),
		asked, first, second, foreign,
		message(holdfast.RoleAssistant, ""), // broke off; nothing of it is sent
		message(holdfast.RoleUser, "Thanks. Bye."),
	}}
}

func image(*Provider) model.Request {
	m := message(holdfast.RoleUser, "What is this?")
	m.Parts = []holdfast.ContentPart{
		{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "data:image/png;base64,iVBORw0KGgo=", Detail: "low"}},
		{Type: "text", Text: "And this?"},
		{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "https://example.com/cat.png"}},
	}
	return model.Request{Messages: []holdfast.Message{m}}
}

// ToolImages is a turn of two calls of which one answered an image beside its text.
func ToolImages() model.Request {
	asked := message(holdfast.RoleAssistant, "")
	asked.ToolCalls = []holdfast.ToolCall{
		holdfast.NewToolCall("call_a", "get_weather", `{"city":"Oslo"}`),
		holdfast.NewToolCall("call_b", "get_time", ""),
	}
	first := message(holdfast.RoleTool, "[image, image/png, 8 bytes]")
	first.ToolCallID = "call_a"
	first.Parts = []holdfast.ContentPart{{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "data:image/png;base64,iVBORw0KGgo="}}}
	second := message(holdfast.RoleTool, "noon")
	second.ToolCallID = "call_b"
	return model.Request{Tools: Tools(), Messages: []holdfast.Message{message(holdfast.RoleUser, "What do you see?"), asked, first, second}}
}

func structured(*Provider) model.Request {
	return model.Request{
		Messages: []holdfast.Message{message(holdfast.RoleUser, "Oslo?")},
		StructuredOutput: &model.StructuredOutput{
			Name: "city info", Description: "A city.", Strict: true,
			Schema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}`),
		},
	}
}

func zeros(c *model.Config) {
	zero, none, no := 0.0, int64(0), false
	c.Temperature, c.TopP = &zero, &zero
	c.MaxTokens, c.ParallelToolCalls = &none, &no
}

// shows makes a check of a recording out of conditions.
func shows(want string, ok func(w *Want) bool) func(*Want) error {
	return func(w *Want) error {
		if !ok(w) {
			return errors.New("it must show " + want)
		}
		return nil
	}
}

// fails checks that a recording ends with a code, after n requests.
func fails(code holdfast.Code, n int, also func(w *Want) bool) func(*Want) error {
	return func(w *Want) error {
		if w.Error == nil || w.Error.Code != code || w.exchanges != n || also != nil && !also(w) {
			return fmt.Errorf("it must show %d requests and an error %s as the case describes", n, code)
		}
		return nil
	}
}

func noRetries(c *model.Config) { c.MaxRetries = -1 }

// succeeds is an answer after n requests.
func succeeds(n int) func(*Want) error {
	return shows(fmt.Sprintf("text after %d requests", n), func(w *Want) bool {
		return w.Error == nil && w.Text != "" && w.exchanges == n
	})
}

// Cases are what every provider is asked.
var Cases = []Case{
	// Answers.
	{Name: "text", Shows: shows("text in a complete answer with usage", func(w *Want) bool {
		return w.Text != "" && w.Finish == "stop" && w.Usage != nil && w.Model != ""
	})},
	{
		Name:    "tool",
		Request: func(*Provider) model.Request { return Weather("Weather in Oslo?") },
		Shows: shows("one tool call", func(w *Want) bool {
			return len(w.ToolCalls) == 1 && w.ToolCalls[0].Arguments == `{"city":"Oslo"}` && w.Finish == "tool_calls"
		}),
	},
	{
		Name:    "parallel-tools",
		Request: func(*Provider) model.Request { return Weather("Weather in Oslo and Rome, and the time?") },
		Shows: shows("three tool calls", func(w *Want) bool {
			return len(w.ToolCalls) == 3 && w.ToolCalls[2].Name == "get_time"
		}),
	},
	{
		Name: "one-chunk", // text, a call and the end in one event
		Request: func(*Provider) model.Request {
			return Weather("Weather in Oslo?")
		},
		Shows: shows("text and a tool call", func(w *Want) bool { return w.Text != "" && len(w.ToolCalls) == 1 && w.Finish != "" }),
	},
	{
		Name:      "reasoning",
		Configure: func(c *model.Config) { c.ThinkingBudget = "high" },
		Shows: shows("reasoning, text and tokens of reasoning", func(w *Want) bool {
			return w.Reasoning != "" && w.Text != "" && w.Usage != nil && w.Usage.ReasoningTokens > 0
		}),
	},
	{Name: "usage-cached", Shows: shows("cached tokens", func(w *Want) bool {
		return w.Usage != nil && w.Usage.CachedInputTokens > 0 && w.Usage.CachedInputTokens < w.Usage.InputTokens
	})},
	{
		Name:      "usage-off",
		Configure: func(c *model.Config) { no := false; c.TrackUsage = &no },
		Shows:     shows("no usage", func(w *Want) bool { return w.Usage == nil && w.Text != "" }),
	},
	{Name: "image", Request: image, Shows: succeeds(1)},
	{Name: "tool-images", Request: func(*Provider) model.Request { return ToolImages() }, Shows: succeeds(1)},
	{Name: "history", Request: history, Shows: succeeds(1)},
	{Name: "structured-output", Request: structured, Shows: shows("JSON", func(w *Want) bool { return json.Valid([]byte(w.Text)) })},
	{Name: "refusal", Request: structured, Shows: shows("a refusal", func(w *Want) bool { return w.Refusal && w.Text != "" })},
	{Name: "length", Shows: shows("the end by length", func(w *Want) bool { return w.Finish == "length" })},
	{Name: "content-filter", Shows: shows("the end by a filter", func(w *Want) bool { return w.Finish == "content_filter" && w.Error == nil })},

	// Requests.
	{
		Name: "zeros", Configure: zeros, // a given 0 is sent as 0
		Request: func(*Provider) model.Request { return Weather("Hm?") }, Shows: succeeds(1),
	},

	// Failures before the first chunk.
	{Name: "unauthorized", Shows: fails(holdfast.CodeModelAuth, 1, nil)},
	{Name: "rate-limit", Shows: func(w *Want) error { // Retry-After in seconds
		if w.Waits == "" {
			return errors.New("it must wait")
		}
		return succeeds(2)(w)
	}},
	{Name: "rate-limit-date", Shows: func(w *Want) error { // Retry-After as a date
		if w.Waits == "" {
			return errors.New("it must wait")
		}
		return succeeds(2)(w)
	}},
	{Name: "rate-limit-long", Shows: fails(holdfast.CodeModelRate, 1, nil)}, // Retry-After beyond model.MaxRetryAfter
	{Name: "rate-limit-forever", Shows: fails(holdfast.CodeModelRate, 4, nil)},
	{Name: "server-error", Shows: succeeds(2)},
	{Name: "server-error-no-retries", Configure: noRetries, Shows: fails(holdfast.CodeModelFailed, 1, nil)},
	{Name: "invalid", Shows: fails(holdfast.CodeInvalid, 1, func(w *Want) bool { return len(w.Error.Says) > 0 })},
	{Name: "context-overflow", Shows: fails(holdfast.CodeModelContext, 1, nil)},
	{Name: "content-filter-error", Shows: fails(holdfast.CodeModelFilter, 1, nil)},
	{Name: "garbage", Shows: fails(holdfast.CodeModelFailed, 1, nil)},
	{Name: "not-a-stream", Shows: fails(holdfast.CodeModelFailed, 1, nil)},
	{Name: "cut-at-once", Shows: succeeds(2)}, // before the first chunk: again

	// Failures after it.
	{Name: "cut", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" })},
	{Name: "cut-in-line", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" })},
	{Name: "no-end", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" && w.Finish == "" })},
	{Name: "error-mid-stream", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" })},
	{Name: "garbage-mid-stream", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" })},
	{Name: "line-too-long", Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" })},

	// Time.
	{Name: "slow", Shows: shows("text that takes longer than the idle time-out in all", func(w *Want) bool {
		return w.Error == nil && w.Waits != "" && w.Text != ""
	})},
	{Name: "stall", Configure: noRetries, Shows: fails(holdfast.CodeModelFailed, 1, func(w *Want) bool { return w.Text != "" && w.Waits == IdleTimeout.String() })},
	{Name: "stall-at-once", Shows: func(w *Want) error { // before the first chunk: again
		if w.Waits != IdleTimeout.String() {
			return errors.New("it must wait for the idle time-out")
		}
		return succeeds(2)(w)
	}},

	// The caller.
	{Name: "cancel", Shows: shows("text", func(w *Want) bool { return w.Text != "" }), run: runCancel},
	{Name: "cancel-waiting", Shows: shows("one request", func(w *Want) bool { return w.exchanges == 1 }), run: runCancelWaiting},
	{Name: "yield-error", Shows: shows("text", func(w *Want) bool { return w.Text != "" }), run: runYieldError},
	{Name: "slow-caller", Shows: succeeds(1), run: runSlowCaller},
}
