package a2awire_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/a2a"

	"github.com/holdfast-run/holdfast/internal/a2awire"
)

var at = time.Date(2026, 1, 2, 15, 4, 5, 6_000_000, time.UTC)

func task() *a2a.Task {
	return &a2a.Task{
		ID: "t", ContextID: "c", Metadata: map[string]any{"k": "v"},
		Status: a2a.TaskStatus{State: a2a.TaskStateInputRequired, Timestamp: &at, Message: &a2a.Message{
			ID: "m", Role: a2a.MessageRoleAgent, TaskID: "t", ContextID: "c", ReferenceTasks: []a2a.TaskID{"r"}, Extensions: []string{"https://x.example"},
			Parts: a2a.ContentParts{a2a.TextPart{Text: "which?"}, a2a.DataPart{Data: map[string]any{"n": 1.0}}},
		}},
		Artifacts: []*a2a.Artifact{{ID: "a", Name: "n", Parts: a2a.ContentParts{
			a2a.FilePart{File: a2a.FileURI{FileMeta: a2a.FileMeta{Name: "f.png", MimeType: "image/png"}, URI: "https://x.example/f"}},
			a2a.FilePart{File: a2a.FileBytes{FileMeta: a2a.FileMeta{MimeType: "text/plain"}, Bytes: "aGk="}},
		}}},
		History: []*a2a.Message{{ID: "h", Role: a2a.MessageRoleUser, Parts: a2a.ContentParts{a2a.TextPart{}}}},
	}
}

// The forms are those of ProtoJSON for specification/a2a.proto, and come back as
// what they were.
func TestForms(t *testing.T) {
	for want, ev := range map[string]a2a.Event{
		`{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_INPUT_REQUIRED","message":{"messageId":"m","contextId":"c","taskId":"t","role":"ROLE_AGENT",` +
			`"parts":[{"text":"which?"},{"data":{"n":1}}],"extensions":["https://x.example"],"referenceTaskIds":["r"]},"timestamp":"2026-01-02T15:04:05.006Z"},` +
			`"artifacts":[{"artifactId":"a","name":"n","parts":[{"url":"https://x.example/f","filename":"f.png","mediaType":"image/png"},{"raw":"aGk=","mediaType":"text/plain"}]}],` +
			`"history":[{"messageId":"h","role":"ROLE_USER","parts":[{"text":""}]}],"metadata":{"k":"v"}}}`: task(),
		`{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[]}}`: &a2a.Message{ID: "m", Role: a2a.MessageRoleAgent, Parts: a2a.ContentParts{}},
		`{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_WORKING"}}}`: &a2a.TaskStatusUpdateEvent{
			TaskID: "t", ContextID: "c", Status: a2a.TaskStatus{State: a2a.TaskStateWorking},
		},
		`{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"text":"x"}]},"append":true,"lastChunk":true}}`: &a2a.TaskArtifactUpdateEvent{
			TaskID: "t", ContextID: "c", Append: true, LastChunk: true, Artifact: &a2a.Artifact{ID: "a", Parts: a2a.ContentParts{a2a.TextPart{Text: "x"}}},
		},
	} {
		got, err := json.Marshal(a2awire.Event(ev))
		if err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
		var r a2awire.StreamResponse
		if err := json.Unmarshal([]byte(want), &r); err != nil {
			t.Fatal(err)
		}
		if back, err := r.Event(); err != nil || !reflect.DeepEqual(back, ev) {
			t.Errorf("%s\nis read as %+v, %v", want, back, err)
		}
	}
	// An artifact has a part in 1.0, whatever it had.
	got, err := json.Marshal(a2awire.Event(&a2a.TaskArtifactUpdateEvent{TaskID: "t", Artifact: &a2a.Artifact{ID: "a"}}))
	if want := `{"artifactUpdate":{"taskId":"t","contextId":"","artifact":{"artifactId":"a","parts":[{"text":""}]}}}`; err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

// Every state of the protocol has its name, and no other name has a state.
func TestStates(t *testing.T) {
	for name, want := range map[string]a2a.TaskState{
		"SUBMITTED": a2a.TaskStateSubmitted, "WORKING": a2a.TaskStateWorking, "COMPLETED": a2a.TaskStateCompleted, "FAILED": a2a.TaskStateFailed,
		"CANCELED": a2a.TaskStateCanceled, "INPUT_REQUIRED": a2a.TaskStateInputRequired, "REJECTED": a2a.TaskStateRejected, "AUTH_REQUIRED": a2a.TaskStateAuthRequired,
	} {
		if got, ok := a2awire.StateOf("TASK_STATE_" + name); !ok || got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
		if got := a2awire.NewTask(&a2a.Task{Status: a2a.TaskStatus{State: want}}).Status.State; got != "TASK_STATE_"+name {
			t.Errorf("%s is written %s", want, got)
		}
	}
	for _, name := range []string{"", "working", "TASK_STATE_UNSPECIFIED", "TASK_STATE_RUNNING"} {
		if got, ok := a2awire.StateOf(name); ok {
			t.Errorf("%q is %s", name, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: "want one of task, message, statusUpdate and artifactUpdate",
		`{"task":{"id":"t","status":{"state":"completed"}}}`:                                                        `status.state: "completed" is none of the protocol's`,
		`{"task":{"id":"t","status":{"state":"TASK_STATE_WORKING","timestamp":"yesterday"}}}`:                       "status.timestamp: want a time as 2026-01-02T15:04:05Z",
		`{"task":{"status":{"state":"TASK_STATE_WORKING"},"history":[{"role":"user"}]}}`:                            "history[0].role: want ROLE_USER or ROLE_AGENT",
		`{"message":{"role":"ROLE_USER","parts":[{"text":"a"},{"text":"b","url":"c"}]}}`:                            "message.parts[1]: want one of text, raw, url and data",
		`{"message":{"role":"ROLE_USER","parts":[{"kind":"text"}]}}`:                                                "message.parts[0]: want one of text, raw, url and data",
		`{"message":{"role":"ROLE_USER","parts":[{"raw":"?"}]}}`:                                                    "message.parts[0].raw: want base64",
		`{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"metadata":{}}]}}}`: "artifact.parts[0]: want one of text, raw, url and data",
	} {
		var r a2awire.StreamResponse
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Event(); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", body, err, want)
		}
	}
}

// Data may be any JSON in 1.0, and only an object in 0.3.
func TestData(t *testing.T) {
	var m a2awire.Message
	if err := json.Unmarshal([]byte(`{"role":"ROLE_USER","parts":[{"data":{"a":1},"more":2},{"data":[1]},{"data":null}]}`), &m); err != nil {
		t.Fatal(err)
	}
	got, err := m.Message("m")
	want := a2a.ContentParts{a2a.DataPart{Data: map[string]any{"a": 1.0}}, a2a.TextPart{Text: "[1]"}, a2a.TextPart{Text: "null"}}
	if err != nil || !reflect.DeepEqual(got.Parts, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A request keeps its meaning from one version to the other and back.
func TestRequests(t *testing.T) {
	no, three := false, 3
	p := &a2a.MessageSendParams{
		Message: &a2a.Message{ID: "m", Role: a2a.MessageRoleUser, TaskID: "t", ContextID: "c", Parts: a2a.ContentParts{a2a.TextPart{Text: "x"}}},
		Config:  &a2a.MessageSendConfig{AcceptedOutputModes: []string{"text/plain"}, Blocking: &no, HistoryLength: &three},
	}
	raw, err := json.Marshal(a2awire.NewSendMessageRequest(p))
	if want := `{"message":{"messageId":"m","contextId":"c","taskId":"t","role":"ROLE_USER","parts":[{"text":"x"}]},` +
		`"configuration":{"acceptedOutputModes":["text/plain"],"historyLength":3,"returnImmediately":true}}`; err != nil || string(raw) != want {
		t.Errorf("%s, %v\nwant %s", raw, err, want)
	}
	var q a2awire.SendMessageRequest
	if err := json.Unmarshal(raw, &q); err != nil {
		t.Fatal(err)
	}
	if back, err := q.Params(); err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("%+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"message":{"role":"ROLE_USER"},"configuration":{"taskPushNotificationConfig":{"url":"https://p.example"}}}`), &q); err != nil {
		t.Fatal(err)
	}
	if back, err := q.Params(); err != nil || back.Config.PushConfig == nil || back.Config.PushConfig.URL != "https://p.example" {
		t.Errorf("%+v, %v", back, err)
	}
}

// The codes are those of section 5.4.
func TestKinds(t *testing.T) {
	for err, want := range map[error]a2awire.Kind{
		a2a.ErrTaskNotFound:                             {Code: -32001, Reason: "TASK_NOT_FOUND", Status: "NOT_FOUND", HTTP: 404},
		a2a.ErrTaskNotCancelable:                        {Code: -32002, Reason: "TASK_NOT_CANCELABLE", Status: "FAILED_PRECONDITION", HTTP: 400},
		a2a.ErrPushNotificationNotSupported:             {Code: -32003, Reason: "PUSH_NOTIFICATION_NOT_SUPPORTED", Status: "FAILED_PRECONDITION", HTTP: 400},
		a2a.ErrUnsupportedOperation:                     {Code: -32004, Reason: "UNSUPPORTED_OPERATION", Status: "FAILED_PRECONDITION", HTTP: 400},
		a2a.ErrUnsupportedContentType:                   {Code: -32005, Reason: "CONTENT_TYPE_NOT_SUPPORTED", Status: "INVALID_ARGUMENT", HTTP: 400},
		a2a.ErrAuthenticatedExtendedCardNotConfigured:   {Code: -32007, Reason: "EXTENDED_AGENT_CARD_NOT_CONFIGURED", Status: "FAILED_PRECONDITION", HTTP: 400},
		a2awire.ErrExtension:                            {Code: -32008, Reason: "EXTENSION_SUPPORT_REQUIRED", Status: "FAILED_PRECONDITION", HTTP: 400},
		a2awire.ErrVersion:                              {Code: -32009, Reason: "VERSION_NOT_SUPPORTED", Status: "FAILED_PRECONDITION", HTTP: 400},
		fmt.Errorf("more of it: %w", a2a.ErrParseError): {Code: -32700, Reason: "PARSE_ERROR", Status: "INVALID_ARGUMENT", HTTP: 400},
		fmt.Errorf("anything"):                          {Code: -32603, Reason: "INTERNAL_ERROR", Status: "INTERNAL", HTTP: 500},
	} {
		if got := a2awire.KindOf(err); got != want {
			t.Errorf("%v: %+v", err, got)
		}
	}
	info, err := json.Marshal(a2awire.NewErrorInfo(a2awire.KindOf(a2awire.ErrVersion), nil))
	if want := `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"VERSION_NOT_SUPPORTED","domain":"a2a-protocol.org"}`; err != nil || string(info) != want {
		t.Errorf("%s, %v", info, err)
	}
}
