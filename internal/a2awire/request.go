package a2awire

import "github.com/a2aproject/a2a-go/a2a"

// SendMessageRequest is what SendMessage and SendStreamingMessage take.
type SendMessageRequest struct {
	Tenant        string                    `json:"tenant,omitempty"`
	Message       *Message                  `json:"message,omitempty"`
	Configuration *SendMessageConfiguration `json:"configuration,omitempty"`
	Metadata      map[string]any            `json:"metadata,omitempty"`
}

// SendMessageConfiguration says how a message is to be answered.
type SendMessageConfiguration struct {
	AcceptedOutputModes []string `json:"acceptedOutputModes,omitempty"`
	// PushConfig, if not nil, asks for push notifications.
	PushConfig map[string]any `json:"taskPushNotificationConfig,omitempty"`
	// HistoryLength is the most messages of the history that are wanted, nil for all.
	HistoryLength *int `json:"historyLength,omitempty"`
	// ReturnImmediately asks not to wait for the end of the task.
	ReturnImmediately bool `json:"returnImmediately,omitempty"`
}

// TaskRequest is what GetTask, CancelTask and SubscribeToTask take; HistoryLength
// is GetTask's.
type TaskRequest struct {
	Tenant        string `json:"tenant,omitempty"`
	ID            string `json:"id"`
	HistoryLength *int   `json:"historyLength,omitempty"`
}

// ListTasksRequest is what ListTasks takes.
type ListTasksRequest struct {
	Tenant               string `json:"tenant,omitempty"`
	ContextID            string `json:"contextId,omitempty"`
	Status               string `json:"status,omitempty"`
	PageSize             *int   `json:"pageSize,omitempty"`
	PageToken            string `json:"pageToken,omitempty"`
	HistoryLength        *int   `json:"historyLength,omitempty"`
	StatusTimestampAfter string `json:"statusTimestampAfter,omitempty"`
	IncludeArtifacts     bool   `json:"includeArtifacts,omitempty"`
}

// Params are the request in the terms of 0.3. A request without a message has none.
func (q SendMessageRequest) Params() (*a2a.MessageSendParams, error) {
	out := &a2a.MessageSendParams{Metadata: q.Metadata}
	if q.Message != nil {
		m, err := q.Message.Message("message")
		if err != nil {
			return nil, err
		}
		out.Message = m
	}
	if c := q.Configuration; c != nil {
		blocking := !c.ReturnImmediately
		out.Config = &a2a.MessageSendConfig{AcceptedOutputModes: c.AcceptedOutputModes, Blocking: &blocking, HistoryLength: c.HistoryLength}
		if c.PushConfig != nil {
			url, _ := c.PushConfig["url"].(string)
			out.Config.PushConfig = &a2a.PushConfig{URL: url}
		}
	}
	return out, nil
}

// NewSendMessageRequest encodes a request.
func NewSendMessageRequest(p *a2a.MessageSendParams) SendMessageRequest {
	q := SendMessageRequest{Message: newMessage(p.Message), Metadata: p.Metadata}
	if c := p.Config; c != nil {
		q.Configuration = &SendMessageConfiguration{
			AcceptedOutputModes: c.AcceptedOutputModes, HistoryLength: c.HistoryLength, ReturnImmediately: c.Blocking != nil && !*c.Blocking,
		}
	}
	return q
}
