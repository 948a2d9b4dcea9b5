package httpapi

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// What AG-UI has on the wire (protocol version 1.0, https://docs.ag-ui.com): the
// part of it that is spoken here. Members that an event does not have are absent,
// never null.

// aguiEvent is an event of a stream.
type aguiEvent struct {
	Type     string `json:"type"`
	ThreadID string `json:"threadId,omitempty"`
	RunID    string `json:"runId,omitempty"`

	MessageID string `json:"messageId,omitempty"`
	Role      string `json:"role,omitempty"`
	Delta     string `json:"delta,omitempty"`

	ToolCallID      string  `json:"toolCallId,omitempty"`
	ToolCallName    string  `json:"toolCallName,omitempty"`
	ParentMessageID string  `json:"parentMessageId,omitempty"`
	Content         *string `json:"content,omitempty"`

	StepName string `json:"stepName,omitempty"`

	Snapshot any            `json:"snapshot,omitempty"`
	Messages *[]aguiMessage `json:"messages,omitempty"`

	Message string        `json:"message,omitempty"`
	Code    holdfast.Code `json:"code,omitempty"`
	Outcome *aguiOutcome  `json:"outcome,omitempty"`
	Usage   []aguiUsage   `json:"usage,omitempty"`
}

// aguiOutcome is how a run ended: "success", "cancelled" or "interrupt".
type aguiOutcome struct {
	Type       string          `json:"type"`
	Interrupts []aguiInterrupt `json:"interrupts,omitempty"`
}

// aguiInterrupt is something that only a human can do for a run.
type aguiInterrupt struct {
	ID             string          `json:"id"`
	Reason         string          `json:"reason"`
	Message        string          `json:"message,omitempty"`
	ToolCallID     string          `json:"toolCallId,omitempty"`
	ResponseSchema json.RawMessage `json:"responseSchema,omitempty"`
	ExpiresAt      *time.Time      `json:"expiresAt,omitempty"`
	Metadata       map[string]any  `json:"metadata,omitempty"`
}

type aguiUsage struct {
	InputTokens       int64 `json:"inputTokens"`
	OutputTokens      int64 `json:"outputTokens"`
	TotalTokens       int64 `json:"totalTokens"`
	ReasoningTokens   int64 `json:"reasoningTokens"`
	CachedInputTokens int64 `json:"cachedInputTokens"`
}

// aguiMessage is a message of a thread.
type aguiMessage struct {
	ID         string         `json:"id"`
	Role       string         `json:"role"`
	Name       string         `json:"name,omitempty"`
	Content    any            `json:"content,omitempty"` // a text, or parts
	ToolCalls  []aguiToolCall `json:"toolCalls,omitempty"`
	ToolCallID string         `json:"toolCallId,omitempty"`
	Error      string         `json:"error,omitempty"`
}

type aguiToolCall struct {
	ID       string                `json:"id"`
	Type     string                `json:"type"`
	Function holdfast.FunctionCall `json:"function"`
}

// aguiPart is a part of a message's content.
type aguiPart struct {
	Type   string      `json:"type"`
	Text   string      `json:"text,omitempty"`
	Source *aguiSource `json:"source,omitempty"`
}

type aguiSource struct {
	Type     string `json:"type"`
	Value    string `json:"value"`
	MimeType string `json:"mimeType,omitempty"`
}

// Kinds of interrupts: the protocol's own words, and one of ours.
const (
	aguiToolReason    = "tool_call"
	aguiInputReason   = "input_required"
	aguiConfirmReason = "confirmation"
	aguiAuthReason    = "holdfast:authorization"
)

// Schemas of what answers an interrupt.
var (
	aguiApproval = json.RawMessage(`{"type":"object","properties":{"approved":{"type":"boolean"},` +
		`"editedArgs":{"type":"object","description":"Replaces all arguments of the call."},` +
		`"reason":{"type":"string","description":"Shown to the model if the call is not approved."},` +
		`"forSession":{"type":"boolean","description":"Also approves what tools the session calls from now on."}},"required":["approved"]}`)
	aguiContinue = json.RawMessage(`{"type":"boolean"}`)
)

// interruptID names a need: what is in a resume is found again by it.
func interruptID(n wanted) string {
	if n.ID == "" {
		return n.Kind
	}
	return n.Kind + ":" + n.ID
}

// newInterrupt makes a need an interrupt.
func newInterrupt(n wanted, expires time.Time) aguiInterrupt {
	i := aguiInterrupt{ID: interruptID(n), Message: n.Message, Metadata: map[string]any{}}
	if !expires.IsZero() {
		i.ExpiresAt = &expires
	}
	if n.URL != "" {
		i.Metadata["url"] = n.URL
	}
	i.Metadata["path"] = n.Path
	switch n.Kind {
	case needApproval:
		i.Reason, i.ToolCallID, i.ResponseSchema = aguiToolReason, n.ID, aguiApproval
	case needInput:
		i.Reason, i.ResponseSchema = aguiInputReason, n.schema
	case needIterations:
		i.Reason, i.ResponseSchema = aguiConfirmReason, aguiContinue
	default:
		i.Reason = aguiAuthReason
	}
	return i
}

// aguiThread is the history of a session as a list of messages. An id is that of
// the run and the place in it, which is what streams number them by, too. named
// are the messages that a client has: its own ids stay.
func aguiThread(v *View, named []aguiMessage) []aguiMessage {
	list := []aguiMessage{}
	place := map[string]int{}
	for _, m := range v.Messages {
		id := aguiID(m.Run, place[m.Run])
		place[m.Run]++
		switch m.Message.Role {
		case holdfast.RoleUser:
			list = append(list, aguiMessage{ID: id, Role: "user", Content: aguiContent(m.Message)})
		case holdfast.RoleTool:
			t := aguiMessage{ID: id, Role: "tool", Content: m.Message.Content, ToolCallID: m.Message.ToolCallID}
			if m.Message.IsError {
				t.Error = m.Message.Content
			}
			list = append(list, t)
		default:
			if m.Message.ReasoningContent != "" {
				list = append(list, aguiMessage{ID: id + aguiThought, Role: "reasoning", Content: m.Message.ReasoningContent})
			}
			a := aguiMessage{ID: id, Role: "assistant", Name: m.Agent}
			if m.Message.Content != "" {
				a.Content = m.Message.Content
			}
			for _, c := range m.Message.ToolCalls {
				a.ToolCalls = append(a.ToolCalls, aguiToolCall{c.ID, "function", c.Function})
			}
			list = append(list, a)
		}
	}
	keepIDs(list, named)
	return list
}

// keepIDs gives the user's messages of a thread the ids that a client has for
// them: it has all, or only the newest, or a new one beside these.
func keepIDs(thread, named []aguiMessage) {
	users := func(list []aguiMessage) (at []*aguiMessage) {
		for i := range list {
			if list[i].Role == "user" {
				at = append(at, &list[i])
			}
		}
		return at
	}
	ours, theirs := users(thread), users(named)
	for _, shift := range []int{0, len(theirs) - len(ours), len(theirs) - len(ours) - 1} {
		same := 0
		for i := range ours {
			if j := i + shift; j >= 0 && j < len(theirs) {
				if !sameContent(ours[i].Content, theirs[j].Content) {
					same = 0
					break
				}
				same++
			}
		}
		if same == 0 {
			continue
		}
		for i := range ours {
			if j := i + shift; j >= 0 && j < len(theirs) {
				ours[i].ID = theirs[j].ID
			}
		}
		return
	}
}

// aguiThought ends the id of what a model thought before a message.
const aguiThought = "-reasoning"

// aguiID is the id of the n-th message of a run.
func aguiID(run string, n int) string { return run + "-" + strconv.Itoa(n) }

func sameContent(a, b any) bool {
	x, errx := json.Marshal(a)
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && string(x) == string(y)
}

// aguiContent is what a user said.
func aguiContent(m holdfast.Message) any {
	if len(m.Parts) == 0 {
		return m.Content
	}
	var parts []aguiPart
	if m.Content != "" {
		parts = append(parts, aguiPart{Type: "text", Text: m.Content})
	}
	for _, p := range m.Parts {
		switch {
		case p.ImageURL == nil:
			parts = append(parts, aguiPart{Type: "text", Text: p.Text})
		case strings.HasPrefix(p.ImageURL.URL, "data:"):
			kind, data, _ := strings.Cut(strings.TrimPrefix(p.ImageURL.URL, "data:"), ",")
			parts = append(parts, aguiPart{Type: "image", Source: &aguiSource{Type: "data", Value: data, MimeType: strings.TrimSuffix(kind, ";base64")}})
		default:
			parts = append(parts, aguiPart{Type: "image", Source: &aguiSource{Type: "url", Value: p.ImageURL.URL}})
		}
	}
	return parts
}
