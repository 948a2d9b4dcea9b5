package holdfast

import (
	"encoding/json"
	"time"
)

// The events that make a session durable. Clients of the original contract do
// not know them; the legacy routes leave them out.

// StartedCall is one of the calls of a tool_calls_started event; its members are
// those of tool_call.
type StartedCall struct {
	ID        string `json:"id"`
	Attempt   int    `json:"attempt"`
	Effect    string `json:"effect,omitempty"`
	OnUnknown string `json:"on_unknown,omitempty"`
}

// SessionCreatedEvent (session_created) is the first event of every session.
type SessionCreatedEvent struct {
	AgentContext
	ToolsApproved bool   `json:"tools_approved"`
	Title         string `json:"title,omitempty"`
	// Agent is the agent file that runs use when they name none.
	Agent string `json:"agent,omitempty"`
	// User is on whose behalf the session acts: grants of remote servers are his. ""
	// is the one user of a tenant without users; a fork without it keeps the user.
	User     string            `json:"user,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// ForkOf and ForkSeq say that the session continues another one after that seq.
	ForkOf  string `json:"fork_of,omitempty"`
	ForkSeq uint64 `json:"fork_seq,omitempty"`
	// Command is the id of the request that created the session.
	Command string `json:"command,omitempty"`
}

// SessionClaimedEvent (session_claimed) starts an epoch: from here on the named worker writes.
type SessionClaimedEvent struct {
	AgentContext
	Worker string `json:"worker"`
	// Reason is "command", "orphaned" or "handed_over".
	Reason string `json:"reason,omitempty"`
}

// SessionParkedEvent (session_parked) is the last event of an owner that has nothing to do: the session waits and
// holds nothing in any worker.
type SessionParkedEvent struct {
	AgentContext
	// Waiting is "idle", "approval", "authorization", "timer", "input", "iterations" or,
	// if nobody could go on with the session, "error".
	Waiting string `json:"waiting"`
}

// SessionHandedOverEvent (session_handed_over) is the last event of an owner that leaves in the middle of the work; another
// worker goes on.
type SessionHandedOverEvent struct {
	AgentContext
	Worker string `json:"worker"`
	// Reason is "draining", "shutting_down" or "panicked".
	Reason string `json:"reason"`
	// Panics counts the owners in a row that panicked before they had done anything.
	Panics int `json:"panics,omitempty"`
}

// SessionDeletedEvent (session_deleted) is the last event of a session that its tenant deleted.
type SessionDeletedEvent struct {
	AgentContext
	Command string `json:"command,omitempty"`
}

// CommandAcceptedEvent (command_accepted) says that a command took effect; the events that carry its effect are in the
// same frame. A command with the same id does nothing any more.
type CommandAcceptedEvent struct {
	AgentContext
	Command string `json:"command"`
	Kind    string `json:"kind"`
	// Hash is over the command's body: the same id with another hash is a misuse.
	Hash string `json:"hash,omitempty"`
	// Run is the run that the command started, joined or touched.
	Run string `json:"run,omitempty"`
}

// CommandRefusedEvent (command_refused) says that a command was refused and will be refused again.
type CommandRefusedEvent struct {
	AgentContext
	Command string `json:"command"`
	Kind    string `json:"kind"`
	Hash    string `json:"hash,omitempty"`
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// AgentPinnedEvent (agent_pinned) stores the agent file that the following runs use, so that the log alone says
// what ran. It is appended when the file differs from the last one pinned.
type AgentPinnedEvent struct {
	AgentContext
	// Agent is the file's name; SHA256 is over Source, in hex.
	Agent  string `json:"agent"`
	SHA256 string `json:"sha256"`
	Source string `json:"source"`
}

// RunQueuedEvent (run_queued) says that input was accepted and will run when its turn comes.
type RunQueuedEvent struct {
	AgentContext
	Run     string `json:"run"`
	Command string `json:"command"`
	// Agent is the agent file, AgentInFile the agent to start with, "" for the root.
	Agent       string `json:"agent"`
	AgentInFile string `json:"agent_in_file,omitempty"`
	// Named says that whoever asked named the agent to start with. One that nobody
	// named gives way to the agent to which the conversation was handed over.
	Named bool `json:"named,omitempty"`
	// Mode is "" (after all others), "steer" (the messages enter the active run at
	// its next step), "interrupt" or "rollback" (next, the active run is canceled).
	Mode string `json:"mode,omitempty"`
	// Messages enter the conversation when the run starts.
	Messages []Message `json:"messages,omitempty"`
}

// RunStartedEvent (run_started) starts a run.
type RunStartedEvent struct {
	AgentContext
	Run         string `json:"run"`
	Agent       string `json:"agent"`
	AgentInFile string `json:"agent_in_file,omitempty"`
}

// RunFinishedEvent (run_finished) is the last event of a run.
type RunFinishedEvent struct {
	AgentContext
	Run string `json:"run"`
	// Reason is "stop", "error", "canceled", "rejected", "max_iterations" or "rolled_back".
	Reason string `json:"reason"`
}

// RunCanceledEvent (run_canceled) says that the run is to stop: what is under way is closed and nothing new starts.
type RunCanceledEvent struct {
	AgentContext
	Run     string `json:"run"`
	Command string `json:"command,omitempty"`
	// Rollback says that the run's messages leave the conversation when it has stopped.
	Rollback bool `json:"rollback,omitempty"`
	// Reason is why, in the words of who canceled.
	Reason string `json:"reason,omitempty"`
	// ReplacedBy is the run that came in its place (modes interrupt and rollback).
	ReplacedBy string `json:"replaced_by,omitempty"`
}

// RunContinuedEvent (run_continued) says that a run that had reached its limit of iterations may go on.
type RunContinuedEvent struct {
	AgentContext
	Run string `json:"run"`
	// Iterations is how many more it may make.
	Iterations int    `json:"iterations"`
	Command    string `json:"command,omitempty"`
}

// ModelCallStartedEvent (model_call_started) opens a model call; the deltas that follow belong to it.
type ModelCallStartedEvent struct {
	AgentContext
	Call string `json:"call"`
	// Model is "provider/model".
	Model string `json:"model"`
	// Purpose is "" for a turn of the agent, else "title" or "summary".
	Purpose string `json:"purpose,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
}

// ModelCallFinishedEvent (model_call_finished) closes a model call: its deltas are now a message of the assistant.
type ModelCallFinishedEvent struct {
	AgentContext
	Call  string `json:"call"`
	Model string `json:"model"`
	// FinishReason is the provider's, or "error" or "canceled" if the call broke
	// off: its text then stands, its tool calls do not.
	FinishReason string `json:"finish_reason,omitempty"`
	// Refused says that the provider marked the answer as declining.
	Refused bool `json:"refused,omitempty"`
	// Opaque is what the provider wants back on the next call.
	Opaque         json.RawMessage `json:"opaque,omitempty"`
	OpaqueProvider string          `json:"opaque_provider,omitempty"`
	// Purpose is as in model_call_started. A call with a purpose leaves no message.
	Purpose string `json:"purpose,omitempty"`
	// Usage is set for the title; a turn and a summary have a token_usage.
	Usage *Usage `json:"usage,omitempty"`
}

// ModelCallVoidedEvent (model_call_voided) says that a model call broke off: its deltas, the events of types agent_choice,
// agent_choice_reasoning and partial_tool_call from FromSeq on, are void.
type ModelCallVoidedEvent struct {
	AgentContext
	Call    string `json:"call"`
	FromSeq uint64 `json:"from_seq"`
	Reason  string `json:"reason"`
}

// ToolCallsStartedEvent (tool_calls_started) is the stored intent of several tool calls that run at the same time. Their
// tool_call and tool_call_response events follow in order.
type ToolCallsStartedEvent struct {
	AgentContext
	Calls []StartedCall `json:"calls"`
}

// ToolCallDecidedEvent (tool_call_decided) is a human's decision on a tool call.
type ToolCallDecidedEvent struct {
	AgentContext
	ToolCallID string `json:"tool_call_id"`
	// Decision is "approve", "approve-session" or "reject".
	Decision string `json:"decision"`
	// Arguments replace those of the model if the human edited them.
	Arguments string `json:"arguments,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Command   string `json:"command,omitempty"`
}

// ToolOutcomeUnknownEvent (tool_outcome_unknown) says that a call was under way when its worker died: whether it had its effect
// is not known. Policy says what happens now.
type ToolOutcomeUnknownEvent struct {
	AgentContext
	ToolCallID string `json:"tool_call_id"`
	Policy     string `json:"policy"`
}

// ToolCallSuspendedEvent (tool_call_suspended) says that a call ended without an outcome because it needs answers of the
// user; the elicitation_request events that follow ask for them. It is made again with the answers.
type ToolCallSuspendedEvent struct {
	AgentContext
	ToolCallID string `json:"tool_call_id"`
	// Continuation is handed back to the tool as it is.
	Continuation json.RawMessage `json:"continuation,omitempty"`
}

// ElicitationAnsweredEvent (elicitation_answered) is a user's answer to an elicitation_request.
type ElicitationAnsweredEvent struct {
	AgentContext
	ID string `json:"id"`
	// Action is "accept", "decline" or "cancel".
	Action string `json:"action"`
	// Content fits the schema of the request; it is set for "accept".
	Content    json.RawMessage `json:"content,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Command    string          `json:"command,omitempty"`
}

// ModelNoticeEvent (model_notice) is something that the loop tells the model, as if the user had said it: that an answer
// does not fit its schema, or that calls repeat themselves.
type ModelNoticeEvent struct {
	AgentContext
	// Reason is "output_invalid" or "repeated_calls".
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ToolStateEvent (tool_state) is state that a tool keeps in the session, replacing what it kept under the
// same key.
type ToolStateEvent struct {
	AgentContext
	Toolset string          `json:"toolset"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
}

// PayloadPartEvent (payload_part) is a piece of a payload that does not fit a frame. The event that needs it
// comes after the last part and names the SHA-256 of the whole.
type PayloadPartEvent struct {
	AgentContext
	SHA256 string `json:"sha256"`
	Part   int    `json:"part"`
	Parts  int    `json:"parts"`
	Data   []byte `json:"data"`
}

// TimerSetEvent (timer_set) sets a durable timer; it fires as a command.
type TimerSetEvent struct {
	AgentContext
	Timer string    `json:"timer"`
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	// ToolCallID is the call that the timer belongs to, "" if none.
	ToolCallID string `json:"tool_call_id,omitempty"`
}

// TimerFiredEvent (timer_fired) says that a timer fired or was canceled.
type TimerFiredEvent struct {
	AgentContext
	Timer    string `json:"timer"`
	Canceled bool   `json:"canceled,omitempty"`
}
