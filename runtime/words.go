package runtime

import (
	"context"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	loop "github.com/holdfast-run/holdfast/internal/runtime"
)

// The vocabulary, under the names of the documented package.
type (
	// Event is something that happened in a session.
	Event = holdfast.Event
	// AgentContext names the agent that an event belongs to.
	AgentContext = holdfast.AgentContext
	// Usage is the content of a token_usage event.
	Usage = holdfast.Usage
	// Message is one entry of a conversation.
	Message = holdfast.Message
	// Session is a conversation as the caller of a runtime holds it.
	Session = holdfast.Session
	// Agent is what a caller may know of an agent.
	Agent = holdfast.Agent
	// Runtime runs a team of agents, here or on a server.
	Runtime = holdfast.Runtime
	// ResumeType is an answer to a question about a tool call.
	ResumeType = holdfast.ResumeType
	// ToolHandler is a tool that the embedding program provides.
	ToolHandler = holdfast.ToolHandler
	// ToolCallResult is what a tool gives back to the model.
	ToolCallResult = holdfast.ToolCallResult
	// ErrorResponse is the body of an error of the original API.
	ErrorResponse = client.ErrorResponse
)

// The answers to a question about a tool call.
const (
	ResumeTypeApprove        = holdfast.ResumeTypeApprove
	ResumeTypeApproveSession = holdfast.ResumeTypeApproveSession
	ResumeTypeReject         = holdfast.ResumeTypeReject
)

// The client and the runtime over it.
type (
	// Client is a connection to a server.
	Client = client.Client
	// ClientOption configures a [Client].
	ClientOption = client.Option
	// RemoteRuntime is a [Runtime] whose agents run on a server.
	RemoteRuntime = client.RemoteRuntime
	// RemoteRuntimeOption configures a [RemoteRuntime].
	RemoteRuntimeOption = client.RemoteRuntimeOption
)

// NewClient is [client.NewClient].
func NewClient(baseURL string, opts ...ClientOption) (*Client, error) {
	return client.NewClient(baseURL, opts...)
}

// NewRemoteRuntime is [client.NewRemoteRuntime].
func NewRemoteRuntime(c *Client, opts ...RemoteRuntimeOption) (*RemoteRuntime, error) {
	return client.NewRemoteRuntime(c, opts...)
}

// WithRemoteAgentFilename is [client.WithRemoteAgentFilename].
func WithRemoteAgentFilename(filename string) RemoteRuntimeOption {
	return client.WithRemoteAgentFilename(filename)
}

// WithRemoteCurrentAgent is [client.WithRemoteCurrentAgent].
func WithRemoteCurrentAgent(name string) RemoteRuntimeOption {
	return client.WithRemoteCurrentAgent(name)
}

// WithRemoteSessionID is [client.WithRemoteSessionID].
func WithRemoteSessionID(id string) RemoteRuntimeOption { return client.WithRemoteSessionID(id) }

// What authorization of remote tool servers is about.
type (
	// OAuthAuthorizationRequiredError says that a server wants the user's
	// authorization, and which one.
	OAuthAuthorizationRequiredError = oauth.OAuthAuthorizationRequiredError
	// ServerInfoProvider is implemented by toolsets that speak to such a server.
	ServerInfoProvider = oauth.ServerInfoProvider
	// AuthServerMetadata describes an authorization server (RFC 8414).
	AuthServerMetadata = oauth.AuthServerMetadata
	// OAuthProtectedResource describes a protected resource (RFC 9728).
	OAuthProtectedResource = oauth.OAuthProtectedResource
	// OAuthStateData is what clients of the original read from a state.
	OAuthStateData = state.OAuthStateData
	// OAuthHandler does discovery and registration with one server.
	OAuthHandler = oauth.OAuthHandler
)

// DecodeSessionIDFromState returns the session that a state of an authorization
// belongs to.
func DecodeSessionIDFromState(s string) (string, error) { return state.DecodeSessionIDFromState(s) }

// GetAuthorizationURL returns the URL at which the user authorizes.
func GetAuthorizationURL(ctx context.Context, handler *OAuthHandler, state, codeChallenge string) (string, error) {
	return oauth.GetAuthorizationURL(ctx, handler, state, codeChallenge)
}

// UserMessage says that the user said something.
func UserMessage(message string) Event { return loop.UserMessage(message) }

// StreamStarted opens the stream of an agent.
func StreamStarted(sessionID, agentName string) Event {
	return loop.StreamStarted(sessionID, agentName)
}

// StreamStopped closes the stream of an agent.
func StreamStopped(sessionID, agentName, reason string) Event {
	return loop.StreamStopped(sessionID, agentName, reason)
}

// AgentChoice is one delta of the model's text.
func AgentChoice(agentName, content string) Event { return loop.AgentChoice(agentName, content) }

// AgentChoiceReasoning is one delta of the model's reasoning.
func AgentChoiceReasoning(agentName, content string) Event {
	return loop.AgentChoiceReasoning(agentName, content)
}

// PartialToolCall is one delta of a tool call.
func PartialToolCall(call holdfast.ToolCall, agentName string) Event {
	return loop.PartialToolCall(call, agentName)
}

// ToolCall says that a tool call is about to run.
func ToolCall(call holdfast.ToolCall, agentName string) Event { return loop.ToolCall(call, agentName) }

// ToolCallConfirmation asks a human to decide on a tool call.
func ToolCallConfirmation(call holdfast.ToolCall, agentName string) Event {
	return loop.ToolCallConfirmation(call, agentName)
}

// ToolCallResponse is the outcome of a tool call.
func ToolCallResponse(call holdfast.ToolCall, text, agentName string) Event {
	return loop.ToolCallResponse(call, text, agentName)
}

// TokenUsage accounts for one model call; cost is the session's total in US
// dollars.
func TokenUsage(agentName string, inputTokens, outputTokens, contextLength, contextLimit int64, cost float64) Event {
	return loop.TokenUsage(agentName, inputTokens, outputTokens, contextLength, contextLimit, cost)
}

// SessionTitle gives the session its title.
func SessionTitle(sessionID, title, agentName string) Event {
	return loop.SessionTitle(sessionID, title, agentName)
}

// SessionSummary is the summary that replaces older messages for the model.
func SessionSummary(sessionID, summary, agentName string) Event {
	return loop.SessionSummary(sessionID, summary, agentName)
}

// SessionCompaction frames a compaction: status "started", then "completed".
func SessionCompaction(sessionID, status, agentName string) Event {
	return loop.SessionCompaction(sessionID, status, agentName)
}

// AuthorizationRequired says that a server wants the user's authorization;
// confirmation is "pending", "confirmed" or "denied".
func AuthorizationRequired(serverURL, serverType, confirmation, agentName string) Event {
	return loop.AuthorizationRequired(serverURL, serverType, confirmation, agentName)
}

// ShellOutput is output of a shell command.
func ShellOutput(output, agentName string) Event { return loop.ShellOutput(output, agentName) }

// Error is a failure that the user should see.
func Error(text, agentName string) Event { return loop.Error(text, agentName) }
