// Package mcptest holds MCP servers for tests: one that behaves ([NewServer])
// and several that do not ([Main]).
//
// Over stdio a test runs its own binary again: its TestMain calls [Main] first,
// and [Command] gives the configuration of a server that does so. Over HTTP the
// handlers of mcp-go's server package take the result of NewServer.
package mcptest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// Instructions is what the server of NewServer says of itself.
const Instructions = "Say what you want to hear."

// NewServer returns a server whose tools are:
//
//   - echo{text}: gives the text back (read-only)
//   - fail: an error result
//   - hang: says "hanging" as progress, then ends only when it is canceled
//   - canceled: ends when a hang has been canceled (read-only)
//   - big{bytes}: so many bytes of text
//   - mixed: text, image, audio, link, resources, structured content
//   - structured: nothing but structured content
//   - meta: the _meta of the call, as JSON (idempotent)
//   - progress: three steps of progress, then "done"
//   - grow: adds a tool "grown", which changes the list
//   - env: the environment, one variable a line
//   - child: starts a process that never ends, and gives its id
//   - pid: its own process id
//   - stderr{text}: writes the text to standard error
//   - die: exits at once with status 3, without an answer
//
// A hang also ends with ctx, for servers that forget their calls when the client
// goes away.
func NewServer(ctx context.Context, options ...server.ServerOption) *server.MCPServer {
	s := server.NewMCPServer("mcptest", "1.0.0", append([]server.ServerOption{
		server.WithToolCapabilities(true), server.WithInstructions(Instructions),
	}, options...)...)
	var canceledOnce sync.Once
	canceled := make(chan struct{})

	add := func(name string, f server.ToolHandlerFunc, options ...mcp.ToolOption) {
		s.AddTool(mcp.NewTool(name, append(options, mcp.WithDescription("For tests: "+name))...), f)
	}
	text := func(format string, args ...any) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(fmt.Sprintf(format, args...)), nil
	}
	add("echo", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("%s", r.GetString("text", ""))
	}, mcp.WithString("text", mcp.Required()), mcp.WithReadOnlyHintAnnotation(true))
	add("fail", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("it did not work"), nil
	})
	add("hang", func(callCtx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		report(callCtx, r, 1, 2, "hanging")
		select {
		case <-callCtx.Done():
			canceledOnce.Do(func() { close(canceled) })
			return nil, callCtx.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	add("canceled", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-canceled:
			return text("a call was canceled")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, mcp.WithReadOnlyHintAnnotation(true))
	add("big", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("%s", strings.Repeat("x", r.GetInt("bytes", 0)))
	}, mcp.WithNumber("bytes"))
	add("mixed", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{
			Content: []mcp.Content{
				mcp.NewTextContent("first"),
				mcp.NewImageContent("aGVsbG8=", "image/png"),
				mcp.NewAudioContent("aGVsbG8=", "audio/wav"),
				mcp.NewResourceLink("test://link", "link", "a link", "text/plain"),
				mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: "test://text", MIMEType: "text/plain", Text: "inside"}),
				mcp.NewEmbeddedResource(mcp.BlobResourceContents{URI: "test://blob", MIMEType: "application/zip", Blob: "aGVsbG8="}),
				mcp.NewTextContent("last"),
			},
			StructuredContent: map[string]any{"answer": 42},
		}, nil
	})
	add("structured", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{}, StructuredContent: map[string]any{"answer": 42}}, nil
	})
	add("meta", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		raw, err := json.Marshal(r.Params.Meta)
		if err != nil {
			return nil, fmt.Errorf("encoding the meta: %w", err)
		}
		return text("%s", raw)
	}, mcp.WithIdempotentHintAnnotation(true))
	add("progress", func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 3 {
			report(ctx, r, i+1, 3, fmt.Sprintf("step %d", i+1))
		}
		return text("done")
	})
	add("grow", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		add("grown", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("I am new") })
		return text("grown")
	})
	add("env", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("%s", strings.Join(os.Environ(), "\n"))
	})
	add("pid", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("%d", os.Getpid())
	})
	add("child", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		// It ignores SIGTERM and keeps the standard output of the server open.
		cmd := exec.Command("/bin/sh", "-c", `trap "" TERM; while :; do sleep 3600; done`)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("starting a child: %w", err)
		}
		return text("%d", cmd.Process.Pid)
	})
	add("stderr", func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		_, err := fmt.Fprintln(os.Stderr, r.GetString("text", ""))
		return mcp.NewToolResultText("written"), err
	}, mcp.WithString("text"))
	add("die", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		os.Exit(3)
		runtime.Goexit()
		return nil, nil
	})
	return s
}

// report sends progress on the call if it asked for that. That nobody listens
// any more does not matter to a test server.
func report(ctx context.Context, r mcp.CallToolRequest, done, total int, message string) {
	if r.Params.Meta == nil || r.Params.Meta.ProgressToken == nil {
		return
	}
	_ = server.ServerFromContext(ctx).SendNotificationToClient(ctx, string(mcp.MethodNotificationProgress), map[string]any{
		"progressToken": r.Params.Meta.ProgressToken, "progress": done, "total": total, "message": message,
	})
}
