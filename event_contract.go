package holdfast

import (
	"encoding/json"
	"time"
)

// The events of the contract. Members keep their names, types and meanings.

// ToolCallOutcome is the member result of a tool_call_response.
type ToolCallOutcome struct {
	Output  string `json:"output"`
	IsError bool   `json:"is_error"`
	// Meta is what the tool said beside its text (structured content, images) for
	// clients; the model does not see it.
	Meta json.RawMessage `json:"meta,omitempty"`
}

// UserMessageEvent (user_message) is a message of the user entering the conversation.
type UserMessageEvent struct {
	AgentContext
	Message string `json:"message"`
	// Parts holds what of the message is not plain text.
	Parts []ContentPart `json:"multi_content,omitempty"`
	// Command is the id of the command that brought the message.
	Command string `json:"command,omitempty"`
	// Typed is what the user wrote if the message is what a command of the agent, /name,
	// made of it.
	Typed string `json:"typed,omitempty"`
}

// StreamStartedEvent (stream_started) opens the stream of an agent; nested once per sub-agent.
type StreamStartedEvent struct {
	AgentContext
	// SessionID is on the wire only: see [CarriesSessionID].
	SessionID string `json:"session_id,omitempty"`
}

// StreamStoppedEvent (stream_stopped) closes the stream of an agent.
type StreamStoppedEvent struct {
	AgentContext
	// SessionID is on the wire only: see [CarriesSessionID].
	SessionID string `json:"session_id,omitempty"`
	// Reason is "stop", "error", "canceled", "rejected" or "max_iterations".
	Reason string `json:"reason"`
}

// AgentChoiceEvent (agent_choice) is one delta of the model's text.
type AgentChoiceEvent struct {
	AgentContext
	Content string `json:"content"`
}

// AgentChoiceReasoningEvent (agent_choice_reasoning) is one delta of the model's reasoning.
type AgentChoiceReasoningEvent struct {
	AgentContext
	Content string `json:"content"`
}

// PartialToolCallEvent (partial_tool_call) is one delta of a tool call that the model is writing. The log stores the
// delta once: Arguments is the piece, ID names the call, Name comes with the first
// piece only. The legacy stream sends the accumulated form.
type PartialToolCallEvent struct {
	AgentContext
	ToolCall ToolCall `json:"tool_call"`
}

// ToolCallEvent (tool_call) says that the call is about to run. It is the stored intent: no tool call
// has an effect before it is in the log.
type ToolCallEvent struct {
	AgentContext
	ToolCall ToolCall `json:"tool_call"`
	// IdempotencyKey is handed to the tool, the same on every attempt.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// Attempt is 1 for the first run of the call, more after a crash.
	Attempt int `json:"attempt,omitempty"`
	// Effect is what the tool said of itself: "read_only", "idempotent" or "" for
	// neither. It decides what happens if the outcome gets lost.
	Effect string `json:"effect,omitempty"`
	// OnUnknown is the policy for a lost outcome: "ask", "tell", "retry" or "fail".
	OnUnknown string `json:"on_unknown,omitempty"`
	// RuledAs is the tool whose permissions and hooks count for this one too, "" for
	// none.
	RuledAs string `json:"ruled_as,omitempty"`
}

// ToolCallConfirmationEvent (tool_call_confirmation) asks a human to decide on a tool call; the run then waits.
type ToolCallConfirmationEvent struct {
	AgentContext
	ToolCall ToolCall `json:"tool_call"`
	// Reason is why a decision is needed: "" for the first run of a tool that may
	// change something, "outcome_unknown" after a crash in the call.
	Reason string `json:"reason,omitempty"`
	// ExpiresAt is when the policy decides by itself, zero for never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// ToolCallResponseEvent (tool_call_response) is the outcome of a tool call.
type ToolCallResponseEvent struct {
	AgentContext
	ToolCall ToolCall `json:"tool_call"`
	Response string   `json:"response"`
	// ToolCallID and Result repeat ToolCall.ID and Response for newer clients.
	ToolCallID string          `json:"tool_call_id"`
	Result     ToolCallOutcome `json:"result"`
	// SHA256 and Size are those of the whole output if Response is cut: the whole is
	// in the payload_part events before, under the same hash.
	SHA256 string `json:"sha256,omitempty"`
	Size   int    `json:"size,omitempty"`
	// Parts are the images that the model sees beside Response, if it takes images.
	Parts []ContentPart `json:"multi_content,omitempty"`
}

// TokenUsageEvent (token_usage) accounts for one model call.
type TokenUsageEvent struct {
	AgentContext
	Usage Usage `json:"usage"`
	// Model is "provider/model" of the call.
	Model string `json:"model,omitempty"`
	// PriceVersion names the price list that the costs were computed with.
	PriceVersion string `json:"price_version,omitempty"`
}

// SessionTitleEvent (session_title) gives the session its title.
type SessionTitleEvent struct {
	AgentContext
	// SessionID is on the wire only: see [CarriesSessionID].
	SessionID string `json:"session_id,omitempty"`
	Title     string `json:"title"`
}

// SessionSummaryEvent (session_summary) is the summary that replaces older messages in what the model sees. The log
// keeps the messages.
type SessionSummaryEvent struct {
	AgentContext
	// SessionID is on the wire only: see [CarriesSessionID].
	SessionID string `json:"session_id,omitempty"`
	Summary   string `json:"summary"`
	// Through is the seq of the last event that the summary covers, 0 if it leaves
	// the newest messages out.
	Through uint64 `json:"through,omitempty"`
	// Messages is how many messages of the conversation, from its beginning, the
	// summary stands for; 0 is all.
	Messages int `json:"messages,omitempty"`
}

// SessionCompactionEvent (session_compaction) frames a compaction: status "started", then "completed".
type SessionCompactionEvent struct {
	AgentContext
	// SessionID is on the wire only: see [CarriesSessionID].
	SessionID string `json:"session_id,omitempty"`
	Status    string `json:"status"`
}

// AuthorizationRequiredEvent (authorization_required) says that a remote server wants the user's authorization; confirmation is
// "pending", "confirmed" or "denied".
type AuthorizationRequiredEvent struct {
	AgentContext
	ServerURL        string    `json:"server_url"`
	ServerType       string    `json:"server_type"`
	Confirmation     string    `json:"confirmation"`
	AuthorizationURL string    `json:"authorization_url,omitempty"`
	FlowID           string    `json:"flow_id,omitempty"`
	ExpiresAt        time.Time `json:"expires_at,omitzero"`
	// Toolset is the toolset that speaks to the server.
	Toolset string `json:"toolset,omitempty"`
	// Binding says how the user who finishes is known: "cookie", or "confirm" if the
	// tenant's application vouches for him.
	Binding string `json:"binding,omitempty"`
	// Issuer and Scopes say what was granted.
	Issuer string   `json:"issuer,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
}

// ShellOutputEvent (shell) is output of a shell command. Both members carry the same text: clients of the
// original read one or the other.
type ShellOutputEvent struct {
	AgentContext
	Output string `json:"output"`
	Error  string `json:"error"`
}

// ErrorEvent (error) is a failure that the user should see.
type ErrorEvent struct {
	AgentContext
	Error     string `json:"error"`
	Code      Code   `json:"code,omitempty"`
	Retryable bool   `json:"retryable"`
}

// WarningEvent (warning) is something the user should know that did not fail the run.
type WarningEvent struct {
	AgentContext
	Message string `json:"message"`
	Code    Code   `json:"code,omitempty"`
}

// MaxIterationsReachedEvent (max_iterations_reached) says that the run used up its iterations and waits to be told to go on.
type MaxIterationsReachedEvent struct {
	AgentContext
	MaxIterations int `json:"max_iterations"`
}

// ModelFallbackEvent (model_fallback) says that another model took over.
type ModelFallbackEvent struct {
	AgentContext
	FailedModel   string `json:"failed_model"`
	FallbackModel string `json:"fallback_model"`
	Reason        string `json:"reason"`
	// Position is the place of FallbackModel among the agent's fallback models, from 1.
	Position int `json:"position,omitempty"`
}

// AgentSwitchingEvent (agent_switching) frames a hand-over of the conversation to another agent.
type AgentSwitchingEvent struct {
	AgentContext
	Switching bool   `json:"switching"`
	FromAgent string `json:"from_agent"`
	ToAgent   string `json:"to_agent"`
}

// ElicitationRequestEvent (elicitation_request) asks the user for structured input; the run then waits.
type ElicitationRequestEvent struct {
	AgentContext
	// ID names the request in the answer.
	ID      string          `json:"id"`
	Message string          `json:"message"`
	Schema  json.RawMessage `json:"schema,omitempty"`
	// ToolCallID is the call that asked, "" if none did.
	ToolCallID string `json:"tool_call_id,omitempty"`
	ServerURL  string `json:"server_url,omitempty"`
	// Key is the tool's name for the question; URL is a page on which the user does
	// what is asked, "" for an answer here.
	Key string `json:"key,omitempty"`
	URL string `json:"url,omitempty"`
	// Held says that the call goes on meanwhile in a worker, instead of the session
	// being parked.
	Held bool `json:"held,omitempty"`
}

// MCPInitStartedEvent (mcp_init_started) says that the agent's MCP servers are being connected.
type MCPInitStartedEvent struct {
	AgentContext
}

// MCPInitFinishedEvent (mcp_init_finished) says that the agent's MCP servers are connected or have failed.
type MCPInitFinishedEvent struct {
	AgentContext
}
