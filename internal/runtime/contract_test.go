package runtime_test

import (
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/runtime"
)

// TestConstructors: each constructor makes its event, in the contract's form.
func TestConstructors(t *testing.T) {
	call := holdfast.NewToolCall("c1", "look", `{"n":1}`)
	const tc = `"tool_call":{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"n\":1}"}}`
	for want, ev := range map[string]runtime.Event{
		`{"type":"user_message","message":"hi"}`:                                                                                                   runtime.UserMessage("hi"),
		`{"type":"stream_started","agent_name":"root","session_id":"s"}`:                                                                           runtime.StreamStarted("s", "root"),
		`{"type":"stream_stopped","agent_name":"root","session_id":"s","reason":"stop"}`:                                                           runtime.StreamStopped("s", "root", "stop"),
		`{"type":"agent_choice","agent_name":"root","content":"a <b>"}`:                                                                            runtime.AgentChoice("root", "a <b>"),
		`{"type":"agent_choice_reasoning","agent_name":"root","content":"hm"}`:                                                                     runtime.AgentChoiceReasoning("root", "hm"),
		`{"type":"partial_tool_call","agent_name":"root",` + tc + `}`:                                                                              runtime.PartialToolCall(call, "root"),
		`{"type":"tool_call","agent_name":"root",` + tc + `}`:                                                                                      runtime.ToolCall(call, "root"),
		`{"type":"tool_call_confirmation","agent_name":"root",` + tc + `}`:                                                                         runtime.ToolCallConfirmation(call, "root"),
		`{"type":"session_title","agent_name":"root","session_id":"s","title":"t"}`:                                                                runtime.SessionTitle("s", "t", "root"),
		`{"type":"session_summary","agent_name":"root","session_id":"s","summary":"x"}`:                                                            runtime.SessionSummary("s", "x", "root"),
		`{"type":"session_compaction","agent_name":"root","session_id":"s","status":"started"}`:                                                    runtime.SessionCompaction("s", "started", "root"),
		`{"type":"authorization_required","agent_name":"root","server_url":"u","server_type":"mcp","confirmation":"pending"}`:                      runtime.AuthorizationRequired("u", "mcp", "pending", "root"),
		`{"type":"shell","agent_name":"root","output":"o","error":"o"}`:                                                                            runtime.ShellOutput("o", "root"),
		`{"type":"error","agent_name":"root","error":"e","retryable":false}`:                                                                       runtime.Error("e", "root"),
		`{"type":"tool_call_response","agent_name":"root",` + tc + `,"response":"r","tool_call_id":"c1","result":{"output":"r","is_error":false}}`: runtime.ToolCallResponse(call, "r", "root"),
		`{"type":"token_usage","agent_name":"root","usage":{"input_tokens":1,"output_tokens":2,"context_length":3,"context_limit":4,"cost":0.5}}`:  runtime.TokenUsage("root", 1, 2, 3, 4, 0.5),
	} {
		line, err := holdfast.MarshalEvent(ev)
		if err != nil || string(line) != want {
			t.Errorf("got  %s (%v)\nwant %s", line, err, want)
		}
	}
}
