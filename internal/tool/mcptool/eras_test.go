package mcptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// curious is a server whose tool, prompt and resource ask the user first. Its library
// asks in the way of the client's revision.
func curious() *server.MCPServer {
	s := server.NewMCPServer("curious", "1", server.WithToolCapabilities(false), server.WithPromptCapabilities(false),
		server.WithResourceCapabilities(false, false), server.WithElicitation())
	question := server.NewInputRequestBuilder("kept").Elicit("who", mcp.ElicitationParams{
		Message: "Who?",
		RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{
			"name": map[string]any{"type": "string"}, "polite": map[string]any{"type": "boolean", "default": true},
		}},
	})
	said := func(p mcp.MultiRoundTripParams) (string, bool) {
		a := server.ElicitationResponse(p.InputResponses, "who")
		if a == nil {
			return "", false
		}
		content, err := json.Marshal(a.Content)
		return fmt.Sprintf("%s %s %s", a.Action, content, p.RequestState), err == nil
	}
	s.AddTool(mcp.NewTool("ask"), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if text, ok := said(r.Params.MultiRoundTripParams); ok {
			return mcp.NewToolResultText(text), nil
		}
		return question.ToolResult(), nil
	})
	s.AddPrompt(mcp.NewPrompt("ask"), func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		if text, ok := said(r.Params.MultiRoundTripParams); ok {
			return mcp.NewGetPromptResult("", []mcp.PromptMessage{mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent(text))}), nil
		}
		return question.PromptResult(), nil
	})
	return s
}

// One server of a library that speaks all revisions: the user is asked while the call
// is held open, or the call ends with the question and goes on in another toolset,
// as it does on another worker.
func TestElicitInEveryRevision(t *testing.T) {
	answer := tool.InputAnswer{Action: tool.InputAccept, Content: json.RawMessage(`{"name":"Ann"}`)}
	const want = `accept {"name":"Ann","polite":true} kept`
	calls := map[string]tool.Call{
		want:             {Name: "ask"},
		"user:\n" + want: {Name: "get_prompt_of_test", Arguments: `{"name":"ask"}`},
	}
	t.Run("newest", func(t *testing.T) {
		url := serve(t, server.NewStreamableHTTPServer(curious(), server.WithStateLess(true))).URL
		for want, c := range calls {
			_, err := remote(t, url, "", mcptool.Options{}).Call(t.Context(), tooltest.Call(c))
			var asked *tool.InputRequired
			if !errors.As(err, &asked) || len(asked.Requests) != 1 || asked.Requests[0].Message != "Who?" {
				t.Fatalf("%s: %v", c.Name, err)
			}
			c.Continuation, c.Input = asked.Continuation, map[string]tool.InputAnswer{asked.Requests[0].Key: answer}
			wantOutput(t, remote(t, url, "", mcptool.Options{}), c, want)
		}
	})
	t.Run("older", func(t *testing.T) {
		url := serve(t, legacy(server.NewStreamableHTTPServer(curious(), server.WithStateful(true)))).URL
		ts := remote(t, url, "", mcptool.Options{})
		for want, c := range calls {
			c.Elicit = func(_ context.Context, q tool.InputRequest) (tool.InputAnswer, error) {
				if q.Message != "Who?" || len(q.Schema) == 0 {
					t.Errorf("the question %+v", q)
				}
				return answer, nil
			}
			wantOutput(t, ts, c, want)
		}
		// Nobody to ask: the server hears that the user declines.
		wantOutput(t, ts, tool.Call{Name: "ask"}, "decline null kept")
	})
}
