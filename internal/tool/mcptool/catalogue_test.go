package mcptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// library is a server with prompts and resources and one tool, whose name is that of
// a tool of ours. With bare it has no tools at all.
func library(bare bool) *server.MCPServer {
	options := []server.ServerOption{server.WithPromptCapabilities(false), server.WithResourceCapabilities(false, false), server.WithPaginationLimit(2)}
	if !bare {
		options = append(options, server.WithToolCapabilities(false))
	}
	s := server.NewMCPServer("library", "1", options...)
	if !bare {
		s.AddTool(mcp.NewTool("read_resource_of_test"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("the server's own"), nil
		})
	}
	s.AddPrompt(mcp.NewPrompt("greet", mcp.WithPromptDescription("Greets somebody"), mcp.WithArgument("name", mcp.RequiredArgument(), mcp.ArgumentDescription("Who"))),
		func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			if r.Params.Arguments["name"] == "" {
				return nil, errors.New("name is missing")
			}
			return mcp.NewGetPromptResult("A greeting", []mcp.PromptMessage{
				mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent("Greet "+r.Params.Arguments["name"])),
				mcp.NewPromptMessage(mcp.RoleAssistant, mcp.NewImageContent("aGVsbG8=", "image/png")),
			}), nil
		})
	for i := range 3 {
		uri := fmt.Sprintf("test://book/%d", i)
		s.AddResource(mcp.NewResource(uri, fmt.Sprintf("book %d", i), mcp.WithMIMEType("text/plain")),
			func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
				return []mcp.ResourceContents{
					mcp.TextResourceContents{URI: uri, MIMEType: "text/plain", Text: strings.Repeat("x", i*tool.MaxOutput) + "the end"},
					mcp.BlobResourceContents{URI: uri + "/cover", MIMEType: "image/png", Blob: "aGVsbG8="},
				}, nil
			})
	}
	s.AddResourceTemplate(mcp.NewResourceTemplate("test://page/{n}", "page", mcp.WithTemplateDescription("A page")),
		func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			return []mcp.ResourceContents{mcp.TextResourceContents{URI: r.Params.URI, Text: "page of " + r.Params.URI}}, nil
		})
	return s
}

// Prompts and resources of a server are reached by tools that change nothing.
func TestPromptsAndResources(t *testing.T) {
	for name, opened := range map[string]func(t *testing.T) *mcptool.Toolset{
		"newest": func(t *testing.T) *mcptool.Toolset {
			return remote(t, serve(t, server.NewStreamableHTTPServer(library(false))).URL, "", mcptool.Options{})
		},
		"older": func(t *testing.T) *mcptool.Toolset {
			return remote(t, serve(t, legacy(server.NewStreamableHTTPServer(library(false), server.WithStateful(true)))).URL, "", mcptool.Options{})
		},
		"sse": func(t *testing.T) *mcptool.Toolset {
			return remote(t, serve(t, server.NewSSEServer(library(false))).URL+"/sse", mcptool.TransportSSE, mcptool.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ts := opened(t)
			byRequest := map[string]string{}
			for name, d := range definitions(t, ts) {
				byRequest[d.Remote] = name
				if d.Remote != "" && (d.Effect != tool.EffectReadOnly || !json.Valid(d.Parameters)) {
					t.Errorf("%+v", d)
				}
			}
			if len(byRequest) != 6 || byRequest["prompts/get"] != "get_prompt_of_test" || byRequest["resources/read"] == "read_resource_of_test" {
				t.Fatalf("tools %v", byRequest)
			}
			wantOutput(t, ts, tool.Call{Name: "read_resource_of_test"}, "the server's own")
			do := func(request, args string) tool.Call { return tool.Call{Name: byRequest[request], Arguments: args} }

			wantOutput(t, ts, do("prompts/list", "{}"), "- greet: Greets somebody\n  - name (required): Who")
			res := call(t, ts, do("prompts/get", `{"name":"greet","arguments":{"name":7}}`))
			if want := "A greeting\nuser:\nGreet 7\nassistant:\n[image, image/png, 5 bytes]"; res.IsError || res.Output != want || !strings.Contains(string(res.Meta), "aGVsbG8=") {
				t.Errorf("%+v", res)
			}
			wantError(t, call(t, ts, do("prompts/get", `{"name":"greet"}`)), "name is missing")
			wantError(t, call(t, ts, do("prompts/get", `{"name":"no such"}`)), "refused")
			wantError(t, call(t, ts, do("prompts/get", `{"name":7}`)), "arguments")

			first := call(t, ts, do("resources/list", "{}")).Output
			head, cursor, more := strings.Cut(first, "\nThere are more: call this again with the cursor ")
			if !more || head != "- test://book/0 (book 0), text/plain\n- test://book/1 (book 1), text/plain" {
				t.Fatalf("first page %q", first)
			}
			wantOutput(t, ts, do("resources/list", `{"cursor":`+strings.TrimSuffix(cursor, ".")+`}`), "- test://book/2 (book 2), text/plain")
			wantOutput(t, ts, do("resources/templates/list", "{}"), "- test://page/{n} (page): A page")
			wantOutput(t, ts, do("resources/read", `{"uri":"test://book/0"}`), "[resource test://book/0]\nthe end\n[resource test://book/0/cover, image/png, 5 bytes]")
			wantOutput(t, ts, do("resources/read", `{"uri":"test://page/9"}`), "[resource test://page/9]\npage of test://page/9")
			if res := call(t, ts, do("resources/read", `{"uri":"test://book/1"}`)); len(res.Output) > tool.MaxOutput || !strings.Contains(res.Output, "[output cut") {
				t.Errorf("a long resource: %d bytes", len(res.Output))
			}
			wantError(t, call(t, ts, do("resources/read", `{"uri":"test://none"}`)), "refused")
		})
	}
}

// A filter names them by their names or by the request; a server without tools is
// one of prompts and resources.
func TestPromptsAndResourcesFiltered(t *testing.T) {
	url := serve(t, server.NewStreamableHTTPServer(library(true))).URL
	all := definitions(t, remote(t, url, "", mcptool.Options{}))
	if len(all) != 5 {
		t.Errorf("%d tools of a server without tools: %v", len(all), all)
	}
	ts := open(t, mcptool.Config{Name: "a server at https://some.example/with/a/very/long/path/indeed", URL: url, Tools: []string{"resources/read", "list_prompts_of_test"}}, mcptool.Options{})
	defs := definitions(t, ts)
	if len(defs) != 1 {
		t.Errorf("filtered: %v", defs)
	}
	for name := range defs {
		if !strings.HasPrefix(name, "read_resource_of_a_server_at_https") || len(name) > tool.MaxName {
			t.Errorf("the name %q", name)
		}
	}
	if res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "list_prompts_of_test"})); err != nil || !res.IsError {
		t.Errorf("what the filter leaves out: %+v, %v", res, err)
	}
}
