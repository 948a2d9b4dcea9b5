package app_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// user answers every question with a decision, and remembers what was asked.
type user struct {
	decision string
	asked    []string
}

func (u *user) Elicit(_ context.Context, r mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	u.asked = append(u.asked, r.Params.Message)
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{
		Action: mcp.ElicitationResponseActionAccept, Content: map[string]any{"decision": u.decision},
	}}, nil
}

// askOverMCP says something to the demo with mcp-go's client.
func askOverMCP(t *testing.T, base, key string, args map[string]any, opts ...mcpclient.ClientOption) (*mcp.CallToolResult, string) {
	t.Helper()
	tr, err := transport.NewStreamableHTTP(base+"/v1/agents/demo/mcp", transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + key}))
	if err != nil {
		t.Fatal(err)
	}
	c := mcpclient.NewClient(tr, opts...)
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Initialize(t.Context(), mcp.InitializeRequest{}); err != nil {
		t.Fatal(err)
	}
	req := mcp.CallToolRequest{}
	req.Params.Name, req.Params.Arguments = "demo", args
	res, err := c.CallTool(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res, res.Content[0].(mcp.TextContent).Text
}

func structured(t *testing.T, v any) (r struct {
	Session, Status string
	Needs           []struct{ Kind, Path string }
},
) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMCPServer: an agent is a tool for clients of MCP. A user who can be asked
// approves or rejects; a client without a user learns where to decide, and goes
// on in the session when somebody has.
func TestMCPServer(t *testing.T) {
	base := startFacades(t)

	u := &user{decision: "approve"}
	res, text := askOverMCP(t, base, facadeKey, map[string]any{"message": "remember the milk"}, mcpclient.WithElicitationHandler(u))
	if res.IsError || !strings.HasPrefix(text, "The tool said:") || len(u.asked) != 1 || !strings.Contains(u.asked[0], "the milk") {
		t.Errorf("approved: %+v, asked %q", res, u.asked)
	}
	u = &user{decision: "reject"}
	if res, text = askOverMCP(t, base, facadeKey, map[string]any{"message": "remember the milk"}, mcpclient.WithElicitationHandler(u)); len(u.asked) != 1 || !strings.Contains(text, "rejected") {
		t.Errorf("rejected: %+v, asked %q", res, u.asked)
	}
	u = &user{decision: "perhaps"}
	if res, text = askOverMCP(t, base, facadeKey, map[string]any{"message": "remember the milk"}, mcpclient.WithElicitationHandler(u)); !res.IsError || !strings.HasPrefix(text, "invalid: decision:") {
		t.Errorf("a decision that is none: %+v", res)
	}

	res, text = askOverMCP(t, base, facadeKey, map[string]any{"message": "remember the milk"})
	waits := structured(t, res.StructuredContent)
	if res.IsError || waits.Status != "waiting" || len(waits.Needs) != 1 || !strings.Contains(text, waits.Needs[0].Path) {
		t.Fatalf("nobody to ask: %+v", res)
	}
	if res, _ = askOverMCP(t, base, facadeKey, map[string]any{"message": "hello", "session": waits.Session}); !res.IsError {
		t.Errorf("a session that waits took a message: %+v", res)
	}
	if res, _ = askOverMCP(t, base, "another-key-of-other", map[string]any{"message": "hello", "session": waits.Session}); !res.IsError {
		t.Errorf("another tenant is in the session: %+v", res)
	}
	at := waits.Needs[0].Path
	post(t, base+at[strings.Index(at, "/v1/"):], `{"decision":"approve"}`, 200, nil)

	first := structured(t, mustAsk(t, base, map[string]any{"message": "hello"}).StructuredContent)
	second := structured(t, mustAsk(t, base, map[string]any{"message": "plan a trip", "session": first.Session}).StructuredContent)
	if first.Status != "completed" || second.Session != first.Session {
		t.Errorf("%+v, then %+v", first, second)
	}

	// A call that is sent again under its key is the same run in the same session.
	keyed := map[string]any{"message": "hello"}
	once, again := askKeyed(t, base, "k-1", keyed), askKeyed(t, base, "k-1", keyed)
	if once.Session == "" || once != again || once.Session == askKeyed(t, base, "k-2", keyed).Session {
		t.Errorf("the same call twice: %+v, then %+v", once, again)
	}
	keyed["session"] = once.Session
	if third, fourth := askKeyed(t, base, "k-3", keyed), askKeyed(t, base, "k-3", keyed); third != fourth || third.Run == once.Run {
		t.Errorf("in a session: %+v, then %+v", third, fourth)
	}

	node, modules := oauthtest.Node(t), oauthtest.Modules(t)
	cmd := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "mcp-client.mjs"), modules, base+"/v1/agents/demo/mcp", facadeKey, "hello")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the official SDK: %v\n%s", err, out)
	}
	var got struct {
		Tools  []struct{ Name, Description string }
		Result struct {
			Content           []struct{ Text string }
			StructuredContent struct{ Status string }
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(got.Tools) != 1 || got.Tools[0].Name != "demo" || !strings.Contains(got.Tools[0].Description, "scripted demonstration") ||
		got.Result.StructuredContent.Status != "completed" || !strings.Contains(got.Result.Content[0].Text, "You said: “hello”") {
		t.Errorf("the official SDK: %s", out)
	}
}

// askKeyed says something under a key and returns where it was said.
func askKeyed(t *testing.T, base, key string, args map[string]any) (r struct{ Session, Run, Status string }) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": map[string]any{
		"name": "demo", "arguments": args, "_meta": map[string]any{"run.holdfast/idempotency-key": key},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Result struct {
			IsError           bool
			StructuredContent json.RawMessage
		}
	}
	call(t, "POST", base+"/v1/agents/demo/mcp", string(body), 200, &out, "Authorization", "Bearer "+facadeKey, "Accept", "application/json, text/event-stream")
	if err := json.Unmarshal(out.Result.StructuredContent, &r); err != nil || out.Result.IsError {
		t.Fatalf("%v: %+v", err, out)
	}
	return r
}

func mustAsk(t *testing.T, base string, args map[string]any) *mcp.CallToolResult {
	t.Helper()
	res, text := askOverMCP(t, base, facadeKey, args)
	if res.IsError {
		t.Fatalf("%v: %s", args, text)
	}
	return res
}
