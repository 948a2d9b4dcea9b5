package holdfast

import (
	"encoding/json"
	"time"
)

// Role says who speaks in a [Message].
type Role string

// The roles of a conversation, as chat-completion APIs name them.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one entry of a conversation. Its JSON is the message of the
// contract's session document.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
	// Parts holds what is not plain text (images) of a user message or of a tool's
	// answer, in order after Content. Empty for text-only messages.
	Parts            []ContentPart `json:"multi_content,omitempty"`
	ReasoningContent string        `json:"reasoning_content,omitempty"`
	ToolCalls        []ToolCall    `json:"tool_calls,omitempty"`
	// ToolCallID names the call that a message of role tool answers.
	ToolCallID string `json:"tool_call_id,omitempty"`
	// IsError marks the answer of a tool that failed.
	IsError   bool      `json:"is_error,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
	// Opaque is what a provider wants back unchanged with this message on the
	// next call (signatures of reasoning, response ids). Only the adapter of
	// the provider named in OpaqueProvider reads it.
	Opaque         json.RawMessage `json:"opaque,omitempty"`
	OpaqueProvider string          `json:"opaque_provider,omitempty"`
}

// ContentPart is a piece of a message that is not plain text.
type ContentPart struct {
	// Type is "text" or "image_url".
	Type     string    `json:"type"`
	Text     string    `json:"text,omitempty"`
	ImageURL *ImageURL `json:"image_url,omitempty"`
}

// ImageURL points to an image, by https: or data: URL.
type ImageURL struct {
	URL    string `json:"url"`
	Detail string `json:"detail,omitempty"`
}

// ToolCall is a model's request to run a tool. Arguments is a JSON text, as the
// model wrote it: it may be invalid.
type ToolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"` // always "function"
	Function FunctionCall `json:"function"`
}

// FunctionCall is the name and the arguments of a [ToolCall].
type FunctionCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// NewToolCall returns a function call in the contract's shape.
func NewToolCall(id, name, arguments string) ToolCall {
	return ToolCall{ID: id, Type: "function", Function: FunctionCall{Name: name, Arguments: arguments}}
}

// Usage is the content of a token_usage event. Tokens are those of one model
// call; Cost is the session's total so far in US dollars.
type Usage struct {
	InputTokens  int64 `json:"input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
	// ContextLength is how much of the model's window the conversation takes
	// after this call; ContextLimit is the window, 0 when it is not known.
	ContextLength int64   `json:"context_length"`
	ContextLimit  int64   `json:"context_limit"`
	Cost          float64 `json:"cost"`

	CachedInputTokens int64 `json:"cached_input_tokens,omitempty"`
	CacheWriteTokens  int64 `json:"cache_write_tokens,omitempty"`
	ReasoningTokens   int64 `json:"reasoning_tokens,omitempty"`
	// CallCost is the cost of this call alone in US dollars.
	CallCost float64 `json:"call_cost,omitempty"`
}
