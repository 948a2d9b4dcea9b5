package httpapi

import (
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// openAIResponse is a response object of the Responses API. Members that say how
// a model samples are null: an agent's file decides.
type openAIResponse struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	CreatedAt          int64             `json:"created_at"`
	CompletedAt        *int64            `json:"completed_at"`
	Status             string            `json:"status"`
	Background         *bool             `json:"background"`
	Error              *responseError    `json:"error"`
	IncompleteDetails  *incomplete       `json:"incomplete_details"`
	Instructions       *string           `json:"instructions"`
	MaxOutputTokens    *int64            `json:"max_output_tokens"`
	Model              string            `json:"model"`
	Output             []any             `json:"output"`
	ParallelToolCalls  bool              `json:"parallel_tool_calls"`
	PreviousResponseID *string           `json:"previous_response_id"`
	Conversation       conversation      `json:"conversation"`
	Temperature        *float64          `json:"temperature"`
	TopP               *float64          `json:"top_p"`
	ToolChoice         string            `json:"tool_choice"`
	Tools              []any             `json:"tools"`
	Metadata           map[string]string `json:"metadata"`
	Usage              *openAIUsage      `json:"usage"`
	// Run and Needs are ours: the run in the session, and what it waits for where
	// OpenAI has no words.
	Run   string   `json:"holdfast_run"`
	Needs []wanted `json:"holdfast_needs,omitempty"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

// conversation is the session.
type conversation struct {
	ID string `json:"id"`
}

// Values of Status of a response.
const (
	responseQueued     = "queued"
	responseInProgress = "in_progress"
	responseCompleted  = "completed"
	responseIncomplete = "incomplete"
	responseFailed     = "failed"
	responseCancelled  = "cancelled"
)

type openAIUsage struct {
	InputTokens         int64         `json:"input_tokens"`
	InputTokensDetails  inputDetails  `json:"input_tokens_details"`
	OutputTokens        int64         `json:"output_tokens"`
	OutputTokensDetails outputDetails `json:"output_tokens_details"`
	TotalTokens         int64         `json:"total_tokens"`
}

type inputDetails struct {
	CachedTokens     int64 `json:"cached_tokens"`
	CacheWriteTokens int64 `json:"cache_write_tokens"`
}

type outputDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

func newOpenAIUsage(u holdfast.Usage) *openAIUsage {
	return &openAIUsage{
		InputTokens: u.InputTokens, InputTokensDetails: inputDetails{u.CachedInputTokens, u.CacheWriteTokens},
		OutputTokens: u.OutputTokens, OutputTokensDetails: outputDetails{u.ReasoningTokens},
		TotalTokens: u.InputTokens + u.OutputTokens,
	}
}

// Items of a response's output.
type (
	messageItem struct {
		ID      string        `json:"id"`
		Type    string        `json:"type"` // "message"
		Status  string        `json:"status"`
		Role    string        `json:"role"`
		Content []messageText `json:"content"`
	}
	messageText struct {
		Type        string `json:"type"` // "output_text"
		Text        string `json:"text"`
		Annotations []any  `json:"annotations"`
	}
	reasoningItem struct {
		ID      string          `json:"id"`
		Type    string          `json:"type"` // "reasoning"
		Status  string          `json:"status"`
		Summary []any           `json:"summary"`
		Content []reasoningText `json:"content"`
	}
	reasoningText struct {
		Type string `json:"type"` // "reasoning_text"
		Text string `json:"text"`
	}
	// callItem is a call of one of the agent's own tools: it has run here.
	callItem struct {
		ID                string     `json:"id"`
		Type              string     `json:"type"` // "mcp_call"
		Status            string     `json:"status"`
		ServerLabel       string     `json:"server_label"`
		Name              string     `json:"name"`
		Arguments         string     `json:"arguments"`
		Output            *string    `json:"output"`
		Error             *callError `json:"error"`
		ApprovalRequestID *string    `json:"approval_request_id"`
	}
	callError struct {
		Type    string          `json:"type"` // "mcp_tool_execution_error"
		Content []reasoningText `json:"content"`
	}
	approvalItem struct {
		ID          string `json:"id"`
		Type        string `json:"type"` // "mcp_approval_request"
		ServerLabel string `json:"server_label"`
		Name        string `json:"name"`
		Arguments   string `json:"arguments"`
	}
)

// responseEvent is an event of a response's stream. Members that an event does
// not have are absent.
type responseEvent struct {
	Type         string          `json:"type"`
	Sequence     int64           `json:"sequence_number"`
	Response     *openAIResponse `json:"response,omitempty"`
	OutputIndex  *int            `json:"output_index,omitempty"`
	ContentIndex *int            `json:"content_index,omitempty"`
	ItemID       string          `json:"item_id,omitempty"`
	Item         any             `json:"item,omitempty"`
	Part         any             `json:"part,omitempty"`
	Delta        *string         `json:"delta,omitempty"`
	Text         *string         `json:"text,omitempty"`
	Arguments    *string         `json:"arguments,omitempty"`
	Logprobs     *[]any          `json:"logprobs,omitempty"`
}

// responseID names a part of a run; what it names is found again from it alone.
type responseID struct {
	session, run string
	from         uint64
}

// runIDLen is the length of a run's id, a UUID.
const runIDLen = 36

func (id responseID) String() string {
	return "resp_" + id.run + "_" + strconv.FormatUint(id.from, 10) + "_" + id.session
}

// parseResponseID reads what String made. CodeNotFound.
func parseResponseID(s string) (responseID, error) {
	bad := holdfast.Errorf(holdfast.CodeNotFound, "there is no response %q", s)
	rest, ok := strings.CutPrefix(s, "resp_")
	if !ok || len(rest) < runIDLen+1 || rest[runIDLen] != '_' {
		return responseID{}, bad
	}
	from, session, ok := strings.Cut(rest[runIDLen+1:], "_")
	seq, err := strconv.ParseUint(from, 10, 63)
	id := responseID{session: session, run: rest[:runIDLen], from: seq}
	if !ok || err != nil || holdfast.ValidateID("session id", session) != nil || holdfast.ValidateID("run", id.run) != nil {
		return responseID{}, bad
	}
	return id, nil
}

// approvalPrefix and the id of a tool call are the id of an approval request.
const approvalPrefix = "mcpr_"

// seconds is a time as OpenAI's objects have it; 0 for none.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
