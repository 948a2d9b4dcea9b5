package runtime_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/runtime"
)

// The documented package, as programs that use it are compiled against it. Whoever
// changes a line here breaks them. What [client] gives out too is compiled there.
var _ = []any{
	(func(*runtime.Team, ...runtime.Opt) (*runtime.Embedded, error))(runtime.New),
	(func(string) runtime.Opt)(runtime.WithCurrentAgent),
	(func(trace.Tracer) runtime.Opt)(runtime.WithTracer),
	(func(bool) runtime.Opt)(runtime.WithSessionCompaction),
	(func(string, ...runtime.ClientOption) (*runtime.Client, error))(runtime.NewClient),
	(func(*http.Client) runtime.ClientOption)(client.WithHTTPClient),
	(func(time.Duration) runtime.ClientOption)(client.WithTimeout),
	(func(*runtime.Client, ...runtime.RemoteRuntimeOption) (*runtime.RemoteRuntime, error))(runtime.NewRemoteRuntime),
	(func(string) runtime.RemoteRuntimeOption)(runtime.WithRemoteAgentFilename),
	(func(string) runtime.RemoteRuntimeOption)(runtime.WithRemoteCurrentAgent),
	(func(string) runtime.RemoteRuntimeOption)(runtime.WithRemoteSessionID),
	(func(string) (string, error))(runtime.DecodeSessionIDFromState),
	(func(context.Context, *runtime.OAuthHandler, string, string) (string, error))(runtime.GetAuthorizationURL),
	runtime.ToolHandler(func(context.Context, *runtime.Session, holdfast.ToolCall, chan runtime.Event) (*runtime.ToolCallResult, error) {
		return nil, nil
	}),
	runtime.ErrorResponse{Error: ""},
	runtime.OAuthAuthorizationRequiredError{Err: error(nil), ServerURL: "", ServerType: ""},
	(func(*runtime.OAuthAuthorizationRequiredError) error)((*runtime.OAuthAuthorizationRequiredError).Unwrap),
	runtime.OAuthStateData{SessionID: "", Random: ""},
	runtime.AuthServerMetadata{},
	runtime.OAuthProtectedResource{},
	runtime.AgentContext{},
	runtime.Usage{InputTokens: 0, OutputTokens: 0, ContextLength: 0, ContextLimit: 0, Cost: 0},
}

var (
	_ interface{ GetAgentName() string } = runtime.Event(nil)
	_ interface {
		GetServerInfo() (url, serverType string)
	} = runtime.ServerInfoProvider(nil)
	_ runtime.Runtime    = (*runtime.Embedded)(nil)
	_ runtime.Runtime    = (*runtime.RemoteRuntime)(nil)
	_ runtime.ResumeType = runtime.ResumeTypeApprove
	_ runtime.ResumeType = runtime.ResumeTypeApproveSession
	_ runtime.ResumeType = runtime.ResumeTypeReject
)

// TestEventsOfTheContract: each event has its constructor, and its JSON has every
// member that existing clients take without looking.
func TestEventsOfTheContract(t *testing.T) {
	call := holdfast.NewToolCall("1", "f", `{"a":1}`)
	const callJSON = `{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}`
	for want, e := range map[string]runtime.Event{
		`{"type":"agent_choice","content":"c","agent_name":"a"}`:                                                            runtime.AgentChoice("a", "c"),
		`{"type":"agent_choice_reasoning","content":"c","agent_name":"a"}`:                                                  runtime.AgentChoiceReasoning("a", "c"),
		`{"type":"authorization_required","server_url":"u","server_type":"remote","confirmation":"pending"}`:                runtime.AuthorizationRequired("u", "remote", "pending", "a"),
		`{"type":"error","error":"e"}`:                                                                                      runtime.Error("e", "a"),
		`{"type":"partial_tool_call","agent_name":"a","tool_call":` + callJSON + `}`:                                        runtime.PartialToolCall(call, "a"),
		`{"type":"session_compaction","session_id":"s","status":"started"}`:                                                 runtime.SessionCompaction("s", "started", "a"),
		`{"type":"session_summary","session_id":"s","summary":"x"}`:                                                         runtime.SessionSummary("s", "x", "a"),
		`{"type":"session_title","session_id":"s","title":"x"}`:                                                             runtime.SessionTitle("s", "x", "a"),
		`{"type":"shell","error":"o","output":"o"}`:                                                                         runtime.ShellOutput("o", "a"),
		`{"type":"stream_started","session_id":"s","agent_name":"a"}`:                                                       runtime.StreamStarted("s", "a"),
		`{"type":"stream_stopped","session_id":"s","agent_name":"a","reason":"stop"}`:                                       runtime.StreamStopped("s", "a", "stop"),
		`{"type":"token_usage","usage":{"input_tokens":1,"output_tokens":2,"context_length":3,"context_limit":4,"cost":0}}`: runtime.TokenUsage("a", 1, 2, 3, 4, 0),
		`{"type":"tool_call","agent_name":"a","tool_call":` + callJSON + `}`:                                                runtime.ToolCall(call, "a"),
		`{"type":"tool_call_confirmation","agent_name":"a","tool_call":` + callJSON + `}`:                                   runtime.ToolCallConfirmation(call, "a"),
		`{"type":"tool_call_response","agent_name":"a","response":"r","tool_call":` + callJSON + `}`:                        runtime.ToolCallResponse(call, "r", "a"),
		`{"type":"user_message","message":"m"}`:                                                                             runtime.UserMessage("m"),
	} {
		text, err := holdfast.MarshalEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		var got, members map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &members); err != nil {
			t.Fatal(err)
		}
		if !contains(got, members) {
			t.Errorf("%s lacks something of %s", text, want)
		}
		if e.GetAgentName() == "" && e.EventType() != holdfast.TypeUserMessage {
			t.Errorf("%s has no agent", text)
		}
		back, err := holdfast.UnmarshalEvent(text)
		if err != nil || back.EventType() != e.EventType() {
			t.Errorf("%s read again: %v, %v", text, back, err)
		}
	}
}

// contains reports whether got has all of want, at every depth.
func contains(got, want any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		return got == want
	}
	g, ok := got.(map[string]any)
	for k := range w {
		if !ok || !contains(g[k], w[k]) {
			return false
		}
	}
	return ok
}
