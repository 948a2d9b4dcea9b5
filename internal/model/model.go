// Package model is what an agent asks of a model: one streamed completion at a
// time. Adapters (openai, scripted, …) live in folders of their own; those that
// speak HTTP pass the suite in modeltest and share what is here: [Retry],
// [WatchIdle], [EventReader], [Failure].
//
// A [Model] promises: chunks arrive in the order in which the provider sent
// them and nothing of a chunk is lost; a call is retried only while nothing of
// it was handed out, so text is never doubled; cancelling the context closes
// the upstream connection before Stream returns; errors carry a code of the
// vocabulary (CodeModelAuth, CodeModelRate, CodeModelContext, CodeModelFilter,
// CodeModelFailed, CodeInvalid for a request that the provider refuses,
// CodeCanceled, CodeTimeout for a deadline of the caller) in a [holdfast.Error] whose message is fit for
// a tenant and contains no credentials.
package model

import (
	"context"
	"encoding/json"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Model is one configured model. It is safe for concurrent use and holds no
// state of a conversation.
type Model interface {
	// Name is "provider/model", as events show it.
	Name() string
	// Stream makes one call. It calls yield from its own goroutine, in order, for
	// every chunk; an error of yield ends the call and is returned. It returns nil
	// only if the provider said that the answer is complete. A call that broke off
	// after the first chunk is not repeated here: the caller decides.
	Stream(ctx context.Context, req Request, yield func(Chunk) error) error
}

// Purpose says what a call is for.
type Purpose string

// The purposes. A provider that answers all calls alike ignores them; the
// scripted model has an answer of its own for each.
const (
	PurposeTurn    Purpose = ""        // a turn of the conversation
	PurposeTitle   Purpose = "title"   // a title for the session
	PurposeSummary Purpose = "summary" // a summary that replaces older messages
)

// Request is everything that one call needs.
type Request struct {
	// Purpose says what the call is for. It changes nothing on a provider's wire.
	Purpose Purpose
	// Messages begin with the system message, if any. Every tool call of an
	// assistant message is followed by its answer.
	Messages []holdfast.Message
	Tools    []Tool
	// StructuredOutput asks for an answer that fits a JSON schema; nil for text.
	StructuredOutput *StructuredOutput
	// IdempotencyKey is the same for every attempt of the same call; adapters send
	// it where the provider understands one.
	IdempotencyKey string
	// EndUser is an opaque stable id of the caller for the provider's abuse
	// detection; "" is not sent.
	EndUser string
}

// Tool is a tool as a model sees it.
type Tool struct {
	Name        string
	Description string
	// Parameters is a JSON schema of type object, passed on whole.
	Parameters json.RawMessage
}

// StructuredOutput is the schema that an answer must fit.
type StructuredOutput struct {
	Name        string
	Description string
	Schema      json.RawMessage
	Strict      bool
}

// Chunk is one piece of an answer. Several members may be set at once.
type Chunk struct {
	Text      string
	Reasoning string
	// Refusal says that Text is the model declining to answer, where the provider
	// marks it so. Such a text need not fit the schema of StructuredOutput.
	Refusal bool
	// ToolCalls are deltas: the first of a call has ID and Name, later ones have
	// the same ID and a further piece of Arguments. An adapter invents an ID where
	// a provider sends none, so ID is never empty.
	ToolCalls []holdfast.ToolCall
	// FinishReason is set in one chunk: "stop", "tool_calls", "length",
	// "content_filter". Usage may come later.
	FinishReason string
	Usage        *Usage
	// Opaque is what must go back with the assembled assistant message on the next
	// call. The last one that is not nil counts.
	Opaque json.RawMessage
	// Model is the model that really answered, if the provider said it.
	Model string
}

// Usage counts the tokens of one call. InputTokens includes those read from or
// written to a cache.
type Usage struct {
	InputTokens       int64
	OutputTokens      int64
	CachedInputTokens int64
	CacheWriteTokens  int64
	ReasoningTokens   int64
}

// Config is what an agent file says of a model. A nil pointer is a parameter
// that was not given and is not sent; a given 0 is sent as 0.
type Config struct {
	Provider string // "openai", "scripted", …
	Model    string
	BaseURL  string
	// APIKey comes from the tenant's secrets; it appears in no log and no event.
	APIKey            string
	Temperature       *float64
	TopP              *float64
	FrequencyPenalty  *float64
	PresencePenalty   *float64
	MaxTokens         *int64
	ParallelToolCalls *bool
	// ThinkingBudget is tokens ("1024", "0", "-1") or an effort ("low", "high", …).
	ThinkingBudget string
	// ProviderOpts are options that only this provider knows. An adapter refuses
	// those that it does not know, by name.
	ProviderOpts map[string]any
	TrackUsage   *bool

	// ContextLimit is the model's window in tokens, 0 if it is not known.
	ContextLimit int64

	// IdleTimeout cuts a stream on which nothing arrives for that long. Default
	// 2 minutes; negative: never.
	IdleTimeout time.Duration
	// MaxRetries is how often a call is repeated before its first chunk. Default 3;
	// negative: never.
	MaxRetries int
	// BaseDir is the folder of the agent file; paths in ProviderOpts start there.
	BaseDir string
}
