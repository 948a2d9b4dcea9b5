package holdfast

import (
	"context"
	"encoding/json"
	"time"
)

// ResumeType is an answer to a question about a tool call.
type ResumeType string

// The answers. Nothing else is one.
const (
	ResumeTypeApprove        ResumeType = "approve"
	ResumeTypeApproveSession ResumeType = "approve-session"
	ResumeTypeReject         ResumeType = "reject"
)

// Session is a conversation as the caller of a [Runtime] holds it. The truth is
// the log: RunStream, Run and Summarize bring what is here up to date when they
// have come to their end, and nobody else changes it.
type Session struct {
	// ID names the session. If it is "", the first run makes one.
	ID    string
	Title string
	// Messages is the conversation. A run says what the user says in it and has not
	// said before.
	Messages  []Message
	CreatedAt time.Time
	// ToolsApproved lets tools run without asking.
	ToolsApproved bool
	InputTokens   int64
	OutputTokens  int64
	Cost          float64 // US dollars
}

// NewSession returns a session in which the user has said these things.
func NewSession(userMessages ...string) *Session {
	s := &Session{}
	for _, m := range userMessages {
		s.AddUserMessage(m)
	}
	return s
}

// AddUserMessage appends something that the user says, for the next run. It must
// not be called while a run is under way.
func (s *Session) AddUserMessage(content string) {
	s.Messages = append(s.Messages, Message{Role: RoleUser, Content: content, CreatedAt: time.Now().UTC()})
}

// LastAssistantMessage returns the newest text of the assistant, "" if there is
// none.
func (s *Session) LastAssistantMessage() string {
	for i := len(s.Messages) - 1; i >= 0; i-- {
		if m := s.Messages[i]; m.Role == RoleAssistant && m.Content != "" {
			return m.Content
		}
	}
	return ""
}

// Runtime runs a team of agents: in this process or on a server, the same to its
// caller.
type Runtime interface {
	// CurrentAgent returns the agent that speaks next.
	CurrentAgent() *Agent
	// RunStream lets the agents answer what the user has said in the session last,
	// and gives out the events of the run. The channel is closed when the run has
	// finished or ctx ends; the caller reads it until then. When ctx ends the run
	// goes on, and the next RunStream of the session finds it.
	RunStream(ctx context.Context, s *Session) <-chan Event
	// Run is RunStream that waits, and returns the whole conversation. Nobody is
	// asked: a tool call that needs an approval ends it with an error, unless the
	// session has its tools approved.
	Run(ctx context.Context, s *Session) ([]Message, error)
	// Resume answers the oldest question about a tool call of the session that runs.
	// What is wrong with the answer is an [ErrorEvent] of the stream.
	Resume(ctx context.Context, confirmation ResumeType)
	// Summarize replaces the conversation by a summary in what the model sees, and
	// sends the events of it. The log keeps the conversation.
	Summarize(ctx context.Context, s *Session, events chan Event)
	// ResumeStartAuthorizationFlow says whether the authorization that the run waits
	// for may begin.
	ResumeStartAuthorizationFlow(ctx context.Context, confirmation bool)
	// ResumeCodeReceived hands over the code with which an authorization server sent
	// the user back.
	ResumeCodeReceived(ctx context.Context, code string) error
}

// Agent is what a caller may know of an agent.
type Agent struct {
	name, description, instruction, welcome, model string
	subAgents                                      []string
}

// NewAgent returns an agent of that name, with what the JSON of it in an agent
// file says. A definition that is nil, or no object, says nothing.
func NewAgent(name string, definition json.RawMessage) *Agent {
	var d struct {
		Description string   `json:"description"`
		Instruction string   `json:"instruction"`
		Welcome     string   `json:"welcome_message"`
		Model       string   `json:"model"`
		SubAgents   []string `json:"sub_agents"`
	}
	if json.Unmarshal(definition, &d) != nil {
		return &Agent{name: name}
	}
	return &Agent{name, d.Description, d.Instruction, d.Welcome, d.Model, d.SubAgents}
}

// Name returns the agent's key in its file.
func (a *Agent) Name() string { return a.name }

// Description returns what the agent is for.
func (a *Agent) Description() string { return a.description }

// Instruction returns the agent's system prompt.
func (a *Agent) Instruction() string { return a.instruction }

// WelcomeMessage returns what is shown to a user before the first message.
func (a *Agent) WelcomeMessage() string { return a.welcome }

// Model returns the name of the agent's model.
func (a *Agent) Model() string { return a.model }

// SubAgents returns the names of the agents to which it can transfer a task.
func (a *Agent) SubAgents() []string { return append([]string(nil), a.subAgents...) }

// ToolCallResult is what a tool gives back to the model.
type ToolCallResult struct {
	Output string
	// IsError says that the tool failed; the model reads Output and may try again.
	IsError bool
}

// ToolHandler is a tool that the program which embeds a runtime provides. What it
// sends to events reaches the reader of the run's stream and is not kept in the
// log; it must send nothing more once it has returned. An error is told to the
// model.
//
// The loop stores its intent before it calls a handler. After a crash in between
// the call may come again, unless its outcome is known.
type ToolHandler func(ctx context.Context, s *Session, call ToolCall, events chan Event) (*ToolCallResult, error)
