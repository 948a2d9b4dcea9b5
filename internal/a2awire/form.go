package a2awire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/a2aproject/a2a-go/a2a"
)

// Part is a part of a message or an artifact: one of text, raw, url and data.
type Part struct {
	Text      *string         `json:"text,omitempty"`
	Raw       *string         `json:"raw,omitempty"` // base64
	URL       *string         `json:"url,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Metadata  map[string]any  `json:"metadata,omitempty"`
	Filename  string          `json:"filename,omitempty"`
	MediaType string          `json:"mediaType,omitempty"`
}

// Message is a message of the user or of the agent.
type Message struct {
	MessageID        string         `json:"messageId"`
	ContextID        string         `json:"contextId,omitempty"`
	TaskID           string         `json:"taskId,omitempty"`
	Role             string         `json:"role"`
	Parts            []Part         `json:"parts"`
	Metadata         map[string]any `json:"metadata,omitempty"`
	Extensions       []string       `json:"extensions,omitempty"`
	ReferenceTaskIDs []string       `json:"referenceTaskIds,omitempty"`
}

// TaskStatus is where a task stands.
type TaskStatus struct {
	State     string   `json:"state"`
	Message   *Message `json:"message,omitempty"`
	Timestamp string   `json:"timestamp,omitempty"`
}

// Artifact is what a task made.
type Artifact struct {
	ArtifactID  string         `json:"artifactId"`
	Name        string         `json:"name,omitempty"`
	Description string         `json:"description,omitempty"`
	Parts       []Part         `json:"parts"`
	Metadata    map[string]any `json:"metadata,omitempty"`
	Extensions  []string       `json:"extensions,omitempty"`
}

// Task is a task as it is at one moment.
type Task struct {
	ID        string         `json:"id"`
	ContextID string         `json:"contextId,omitempty"`
	Status    TaskStatus     `json:"status"`
	Artifacts []Artifact     `json:"artifacts,omitempty"`
	History   []Message      `json:"history,omitempty"`
	Metadata  map[string]any `json:"metadata,omitempty"`
}

// StatusUpdate says that a task stands elsewhere.
type StatusUpdate struct {
	TaskID    string         `json:"taskId"`
	ContextID string         `json:"contextId"`
	Status    TaskStatus     `json:"status"`
	Metadata  map[string]any `json:"metadata,omitempty"`
}

// ArtifactUpdate is a piece of an artifact.
type ArtifactUpdate struct {
	TaskID    string         `json:"taskId"`
	ContextID string         `json:"contextId"`
	Artifact  Artifact       `json:"artifact"`
	Append    bool           `json:"append,omitempty"`
	LastChunk bool           `json:"lastChunk,omitempty"`
	Metadata  map[string]any `json:"metadata,omitempty"`
}

// StreamResponse is an event of a stream and, with a task or a message, the answer
// to SendMessage: one of its members is set.
type StreamResponse struct {
	Task           *Task           `json:"task,omitempty"`
	Message        *Message        `json:"message,omitempty"`
	StatusUpdate   *StatusUpdate   `json:"statusUpdate,omitempty"`
	ArtifactUpdate *ArtifactUpdate `json:"artifactUpdate,omitempty"`
}

// ListTasksResponse is a page of tasks. All members are always there.
type ListTasksResponse struct {
	Tasks         []Task `json:"tasks"`
	NextPageToken string `json:"nextPageToken"`
	PageSize      int    `json:"pageSize"`
	TotalSize     int    `json:"totalSize"`
}

// Event encodes an event of a stream.
func Event(ev a2a.Event) StreamResponse {
	var r StreamResponse
	switch ev := ev.(type) {
	case *a2a.Task:
		t := NewTask(ev)
		r.Task = &t
	case *a2a.Message:
		r.Message = newMessage(ev)
	case *a2a.TaskStatusUpdateEvent:
		r.StatusUpdate = &StatusUpdate{string(ev.TaskID), ev.ContextID, newStatus(ev.Status), ev.Metadata}
	case *a2a.TaskArtifactUpdateEvent:
		r.ArtifactUpdate = &ArtifactUpdate{string(ev.TaskID), ev.ContextID, newArtifact(ev.Artifact), ev.Append, ev.LastChunk, ev.Metadata}
	}
	return r
}

// NewTask encodes a task.
func NewTask(t *a2a.Task) Task {
	out := Task{ID: string(t.ID), ContextID: t.ContextID, Status: newStatus(t.Status), Metadata: t.Metadata}
	for _, a := range t.Artifacts {
		out.Artifacts = append(out.Artifacts, newArtifact(a))
	}
	for _, m := range t.History {
		out.History = append(out.History, *newMessage(m))
	}
	return out
}

func newStatus(s a2a.TaskStatus) TaskStatus {
	out := TaskStatus{State: states[s.State]}
	if out.State == "" {
		out.State = "TASK_STATE_UNSPECIFIED"
	}
	if s.Message != nil {
		out.Message = newMessage(s.Message)
	}
	if s.Timestamp != nil {
		out.Timestamp = s.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return out
}

func newMessage(m *a2a.Message) *Message {
	out := &Message{
		MessageID: m.ID, ContextID: m.ContextID, TaskID: string(m.TaskID), Role: roles[m.Role],
		Parts: newParts(m.Parts), Metadata: m.Metadata, Extensions: m.Extensions,
	}
	for _, id := range m.ReferenceTasks {
		out.ReferenceTaskIDs = append(out.ReferenceTaskIDs, string(id))
	}
	return out
}

func newArtifact(a *a2a.Artifact) Artifact {
	out := Artifact{
		ArtifactID: string(a.ID), Name: a.Name, Description: a.Description,
		Parts: newParts(a.Parts), Metadata: a.Metadata, Extensions: a.Extensions,
	}
	if len(out.Parts) == 0 { // 1.0 wants one (section 4.1.7), 0.3 does not
		out.Parts = []Part{{Text: new(string)}}
	}
	return out
}

func newParts(parts a2a.ContentParts) []Part {
	out := make([]Part, 0, len(parts))
	for _, p := range parts {
		var n Part
		switch p := p.(type) {
		case a2a.TextPart:
			n = Part{Text: &p.Text, Metadata: p.Metadata}
		case a2a.DataPart:
			raw, err := json.Marshal(p.Data)
			if err != nil {
				raw = []byte("null") // only maps of JSON get here
			}
			n = Part{Data: raw, Metadata: p.Metadata}
		case a2a.FilePart:
			n.Metadata = p.Metadata
			switch f := p.File.(type) {
			case a2a.FileURI:
				n.URL, n.Filename, n.MediaType = &f.URI, f.Name, f.MimeType
			case a2a.FileBytes:
				n.Raw, n.Filename, n.MediaType = &f.Bytes, f.Name, f.MimeType
			}
		}
		out = append(out, n)
	}
	return out
}

// Event decodes an event of a stream, or the answer to SendMessage.
func (r StreamResponse) Event() (a2a.Event, error) {
	switch {
	case r.Task != nil:
		return r.Task.Task()
	case r.Message != nil:
		return r.Message.Message("message")
	case r.StatusUpdate != nil:
		u := r.StatusUpdate
		status, err := u.Status.status()
		return &a2a.TaskStatusUpdateEvent{TaskID: a2a.TaskID(u.TaskID), ContextID: u.ContextID, Status: status, Metadata: u.Metadata}, err
	case r.ArtifactUpdate != nil:
		u := r.ArtifactUpdate
		a, err := u.Artifact.artifact()
		return &a2a.TaskArtifactUpdateEvent{
			TaskID: a2a.TaskID(u.TaskID), ContextID: u.ContextID, Artifact: a, Append: u.Append, LastChunk: u.LastChunk, Metadata: u.Metadata,
		}, err
	}
	return nil, fmt.Errorf("want one of task, message, statusUpdate and artifactUpdate")
}

// Task decodes a task.
func (t Task) Task() (*a2a.Task, error) {
	status, err := t.Status.status()
	if err != nil {
		return nil, err
	}
	out := &a2a.Task{ID: a2a.TaskID(t.ID), ContextID: t.ContextID, Status: status, Metadata: t.Metadata}
	for _, a := range t.Artifacts {
		one, err := a.artifact()
		if err != nil {
			return nil, err
		}
		out.Artifacts = append(out.Artifacts, one)
	}
	for i, m := range t.History {
		one, err := m.Message(fmt.Sprintf("history[%d]", i))
		if err != nil {
			return nil, err
		}
		out.History = append(out.History, one)
	}
	return out, nil
}

func (s TaskStatus) status() (out a2a.TaskStatus, err error) {
	state, ok := StateOf(s.State)
	if !ok {
		return out, fmt.Errorf("status.state: %q is none of the protocol's", s.State)
	}
	out.State = state
	if s.Message != nil {
		if out.Message, err = s.Message.Message("status.message"); err != nil {
			return out, err
		}
	}
	if s.Timestamp != "" {
		at, err := time.Parse(time.RFC3339, s.Timestamp)
		if err != nil {
			return out, fmt.Errorf("status.timestamp: want a time as 2026-01-02T15:04:05Z")
		}
		out.Timestamp = &at
	}
	return out, nil
}

func (a Artifact) artifact() (*a2a.Artifact, error) {
	parts, err := partsOf("artifact.parts", a.Parts)
	return &a2a.Artifact{
		ID: a2a.ArtifactID(a.ArtifactID), Name: a.Name, Description: a.Description, Parts: parts, Metadata: a.Metadata, Extensions: a.Extensions,
	}, err
}

// Message decodes a message; at is where it is, for the error.
func (m Message) Message(at string) (*a2a.Message, error) {
	role, ok := roleOf(m.Role)
	if !ok {
		return nil, fmt.Errorf("%s.role: want ROLE_USER or ROLE_AGENT", at)
	}
	parts, err := partsOf(at+".parts", m.Parts)
	if err != nil {
		return nil, err
	}
	out := &a2a.Message{
		ID: m.MessageID, ContextID: m.ContextID, TaskID: a2a.TaskID(m.TaskID), Role: role, Parts: parts, Metadata: m.Metadata, Extensions: m.Extensions,
	}
	for _, id := range m.ReferenceTaskIDs {
		out.ReferenceTasks = append(out.ReferenceTasks, a2a.TaskID(id))
	}
	return out, nil
}

// NewMessage encodes a message.
func NewMessage(m *a2a.Message) *Message { return newMessage(m) }

func partsOf(at string, parts []Part) (a2a.ContentParts, error) {
	out := make(a2a.ContentParts, 0, len(parts))
	for i, p := range parts {
		set := 0
		for _, is := range []bool{p.Text != nil, p.Raw != nil, p.URL != nil, p.Data != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return nil, fmt.Errorf("%s[%d]: want one of text, raw, url and data", at, i)
		}
		meta := a2a.FileMeta{Name: p.Filename, MimeType: p.MediaType}
		switch {
		case p.Text != nil:
			out = append(out, a2a.TextPart{Text: *p.Text, Metadata: p.Metadata})
		case p.URL != nil:
			out = append(out, a2a.FilePart{File: a2a.FileURI{FileMeta: meta, URI: *p.URL}, Metadata: p.Metadata})
		case p.Raw != nil:
			// ProtoJSON takes either alphabet, with and without padding.
			if !isBase64(*p.Raw) {
				return nil, fmt.Errorf("%s[%d].raw: want base64", at, i)
			}
			out = append(out, a2a.FilePart{File: a2a.FileBytes{FileMeta: meta, Bytes: *p.Raw}, Metadata: p.Metadata})
		default:
			var object map[string]any
			if json.Unmarshal(p.Data, &object) == nil && object != nil {
				out = append(out, a2a.DataPart{Data: object, Metadata: p.Metadata})
			} else { // 0.3 knows only objects
				out = append(out, a2a.TextPart{Text: string(p.Data), Metadata: p.Metadata})
			}
		}
	}
	return out, nil
}

func isBase64(s string) bool {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if _, err := enc.DecodeString(s); err == nil {
			return true
		}
	}
	return false
}
