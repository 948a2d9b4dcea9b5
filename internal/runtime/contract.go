package runtime

import holdfast "github.com/holdfast-run/holdfast"

// The names under which users of the original's package know the vocabulary:
// one constructor for every event of the contract.
type (
	// Event is something that happened in a session.
	Event = holdfast.Event
	// AgentContext names the agent that an event belongs to.
	AgentContext = holdfast.AgentContext
	// Usage is the content of a token_usage event.
	Usage = holdfast.Usage
)

// ResumeType is a decision on a tool call.
type ResumeType string

// The decisions. Nothing else is one.
const (
	ResumeTypeApprove        ResumeType = DecisionApprove
	ResumeTypeApproveSession ResumeType = DecisionApproveSession
	ResumeTypeReject         ResumeType = DecisionReject
)

func of(agentName string) AgentContext { return AgentContext{AgentName: agentName} }

// UserMessage says that the user said something.
func UserMessage(message string) Event { return &holdfast.UserMessageEvent{Message: message} }

// StreamStarted opens the stream of an agent.
func StreamStarted(sessionID, agentName string) Event {
	return &holdfast.StreamStartedEvent{AgentContext: of(agentName), SessionID: sessionID}
}

// StreamStopped closes the stream of an agent.
func StreamStopped(sessionID, agentName, reason string) Event {
	return &holdfast.StreamStoppedEvent{AgentContext: of(agentName), SessionID: sessionID, Reason: reason}
}

// AgentChoice is one delta of the model's text.
func AgentChoice(agentName, content string) Event {
	return &holdfast.AgentChoiceEvent{AgentContext: of(agentName), Content: content}
}

// AgentChoiceReasoning is one delta of the model's reasoning.
func AgentChoiceReasoning(agentName, content string) Event {
	return &holdfast.AgentChoiceReasoningEvent{AgentContext: of(agentName), Content: content}
}

// PartialToolCall is one delta of a tool call.
func PartialToolCall(call holdfast.ToolCall, agentName string) Event {
	return &holdfast.PartialToolCallEvent{AgentContext: of(agentName), ToolCall: call}
}

// ToolCall says that a tool call is about to run.
func ToolCall(call holdfast.ToolCall, agentName string) Event {
	return &holdfast.ToolCallEvent{AgentContext: of(agentName), ToolCall: call}
}

// ToolCallConfirmation asks a human to decide on a tool call.
func ToolCallConfirmation(call holdfast.ToolCall, agentName string) Event {
	return &holdfast.ToolCallConfirmationEvent{AgentContext: of(agentName), ToolCall: call}
}

// ToolCallResponse is the outcome of a tool call.
func ToolCallResponse(call holdfast.ToolCall, text, agentName string) Event {
	return response(agentName, call, text, false, nil)
}

// TokenUsage accounts for one model call; tokens are counted, cost is the
// session's total in US dollars.
func TokenUsage(agentName string, inputTokens, outputTokens, contextLength, contextLimit int64, cost float64) Event {
	return &holdfast.TokenUsageEvent{AgentContext: of(agentName), Usage: Usage{
		InputTokens: inputTokens, OutputTokens: outputTokens, ContextLength: contextLength, ContextLimit: contextLimit, Cost: cost,
	}}
}

// SessionTitle gives the session its title.
func SessionTitle(sessionID, title, agentName string) Event {
	return &holdfast.SessionTitleEvent{AgentContext: of(agentName), SessionID: sessionID, Title: title}
}

// SessionSummary is the summary that replaces older messages for the model.
func SessionSummary(sessionID, summary, agentName string) Event {
	return &holdfast.SessionSummaryEvent{AgentContext: of(agentName), SessionID: sessionID, Summary: summary}
}

// SessionCompaction frames a compaction: status "started", then "completed".
func SessionCompaction(sessionID, status, agentName string) Event {
	return &holdfast.SessionCompactionEvent{AgentContext: of(agentName), SessionID: sessionID, Status: status}
}

// AuthorizationRequired says that a server wants the user's authorization;
// confirmation is "pending", "confirmed" or "denied".
func AuthorizationRequired(serverURL, serverType, confirmation, agentName string) Event {
	return &holdfast.AuthorizationRequiredEvent{
		AgentContext: of(agentName), ServerURL: serverURL, ServerType: serverType, Confirmation: confirmation,
	}
}

// ShellOutput is output of a shell command. It is sent under both names that
// clients of the original read.
func ShellOutput(output, agentName string) Event {
	return &holdfast.ShellOutputEvent{AgentContext: of(agentName), Output: output, Error: output}
}

// Error is a failure that the user should see.
func Error(text, agentName string) Event {
	return &holdfast.ErrorEvent{AgentContext: of(agentName), Error: text}
}
