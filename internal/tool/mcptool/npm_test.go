package mcptool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// The servers in this file are real ones of the MCP project, in the versions
// that testdata/npm pins. They are installed by npm, once, into the user's cache.

func npmServer(t *testing.T, name string) string {
	t.Helper()
	dir, err := testenv.NPM("mcp-servers", os.DirFS(filepath.Join("testdata", "npm")))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "node_modules", "@modelcontextprotocol", name, "dist", "index.js")
}

// nodeServer runs a server over HTTP until the test ends and returns its port.
func nodeServer(t *testing.T, args ...string) string {
	t.Helper()
	port := strconv.Itoa(testenv.Port(t))
	cmd := exec.Command("node", args...)
	cmd.Env = append(os.Environ(), "PORT="+port)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var drained sync.WaitGroup
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		drained.Wait()
		_ = cmd.Wait() // it was killed, and says so
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "port "+port) {
			drained.Go(func() { _, _ = io.Copy(io.Discard, stderr) })
			return port
		}
	}
	t.Fatalf("the server ended before it listened: %v", lines.Err())
	return ""
}

func TestEverythingServer(t *testing.T) {
	path := npmServer(t, "server-everything")
	for name, opened := range map[string]func(t *testing.T) mcptool.Config{
		"stdio": func(*testing.T) mcptool.Config {
			return mcptool.Config{Name: "everything", Command: "node", Args: []string{path, "stdio"}}
		},
		"sse": func(t *testing.T) mcptool.Config {
			return mcptool.Config{Name: "everything", URL: "http://127.0.0.1:" + nodeServer(t, path, "sse") + "/sse", Transport: mcptool.TransportSSE}
		},
		"streamable": func(t *testing.T) mcptool.Config {
			return mcptool.Config{Name: "everything", URL: "http://127.0.0.1:" + nodeServer(t, path, "streamableHttp") + "/mcp"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ts := open(t, opened(t), mcptool.Options{})
			defs := definitions(t, ts)
			if len(defs) < 10 || ts.Instructions() == "" {
				t.Errorf("%d tools, instructions %q", len(defs), ts.Instructions())
			}
			if !strings.Contains(string(defs["echo"].Parameters), `"$schema"`) {
				t.Errorf("the schema lost something: %s", defs["echo"].Parameters)
			}
			wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"message":"grüß dich"}`}, "Echo: grüß dich")
			wantError(t, call(t, ts, tool.Call{Name: "get-sum", Arguments: `{"a":"x"}`}), "nvalid")

			res := call(t, ts, tool.Call{Name: "get-tiny-image"})
			var meta struct{ Content []struct{ Type, Data string } }
			if err := json.Unmarshal(res.Meta, &meta); err != nil || len(meta.Content) != 1 || meta.Content[0].Data == "" {
				t.Errorf("meta %.200s, %v", res.Meta, err)
			}
			if !strings.Contains(res.Output, "[image, image/png") {
				t.Errorf("output %q", res.Output)
			}
			if res := call(t, ts, tool.Call{Name: "get-structured-content", Arguments: `{"location":"New York"}`}); !strings.Contains(string(res.Meta), "structuredContent") {
				t.Errorf("meta %s", res.Meta)
			}
			if res := call(t, ts, tool.Call{Name: "get-resource-links", Arguments: `{"count":2}`}); strings.Count(res.Output, "[link to a resource: demo://") != 2 {
				t.Errorf("output %q", res.Output)
			}

			everythingAsks(t, ts)
			everythingReads(t, ts)
			everythingProgresses(t, ts)

			// Canceled when the server says that it is at work.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := false
			_, err := ts.Call(ctx, tooltest.Call(tool.Call{
				Name: "trigger-long-running-operation", Arguments: `{"duration":600,"steps":6000}`,
				Progress: func(string) {
					begun = true
					cancel()
				},
			}))
			if !errors.Is(err, context.Canceled) || !begun {
				t.Errorf("error %v, progress %v", err, begun)
			}
			wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"message":"still here"}`}, "Echo: still here")
		})
	}
}

// everythingAsks: the server asks the user within a call, and gets the defaults of
// what the user leaves out.
func everythingAsks(t *testing.T, ts *mcptool.Toolset) {
	t.Helper()
	const name = "trigger-elicitation-request"
	// It is there once the server knows what the client can do, which is after the
	// handshake, and the server tells of it.
	deadline := time.After(time.Minute)
	for {
		if _, ok := definitions(t, ts)[name]; ok {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatal("the server does not offer to ask")
		}
	}
	ask := func(a tool.InputAnswer) (q tool.InputRequest, res tool.Result) {
		res = call(t, ts, tool.Call{Name: name, Elicit: func(_ context.Context, r tool.InputRequest) (tool.InputAnswer, error) {
			q = r
			return a, nil
		}})
		return q, res
	}
	content := json.RawMessage(`{"name":"Ann","integer":7}`)
	q, res := ask(tool.InputAnswer{Action: tool.InputAccept, Content: content})
	if q.Message == "" || tool.CheckSchema(q.Schema) != nil || tool.Validate(q.Schema, content) != nil || tool.Validate(q.Schema, json.RawMessage(`{"name":"Ann","integer":101}`)) == nil {
		t.Errorf("the question %+v", q)
	}
	for _, part := range []string{`"action": "accept"`, `"name": "Ann"`, `"integer": 7`, `"number": 3.14`, `"firstLine": "It was a dark and stormy night."`} {
		if res.IsError || !strings.Contains(res.Output, part) {
			t.Errorf("no %s in %s", part, res.Output)
		}
	}
	if _, res := ask(tool.InputAnswer{Action: tool.InputDecline}); res.IsError || !strings.Contains(res.Output, `"action": "decline"`) {
		t.Errorf("declined: %+v", res)
	}
}

// everythingReads: the server's prompts and resources are at hand.
func everythingReads(t *testing.T, ts *mcptool.Toolset) {
	t.Helper()
	if res := call(t, ts, tool.Call{Name: "list_prompts_of_everything"}); !strings.Contains(res.Output, "- args-prompt") {
		t.Errorf("prompts %+v", res)
	}
	if res := call(t, ts, tool.Call{Name: "get_prompt_of_everything", Arguments: `{"name":"args-prompt","arguments":{"city":"Ulm"}}`}); res.IsError || !strings.Contains(res.Output, "Ulm") {
		t.Errorf("a prompt %+v", res)
	}
	list := call(t, ts, tool.Call{Name: "list_resources_of_everything"})
	_, uri, _ := strings.Cut(list.Output, "- ")
	uri, _, _ = strings.Cut(uri, " ")
	if templates := call(t, ts, tool.Call{Name: "list_resource_templates_of_everything"}); !strings.Contains(templates.Output, "demo://resource/dynamic/text/{") {
		t.Errorf("templates %+v", templates)
	}
	for _, uri := range []string{uri, "demo://resource/dynamic/text/1"} {
		if res := call(t, ts, tool.Call{Name: "read_resource_of_everything", Arguments: fmt.Sprintf(`{"uri":%q}`, uri)}); res.IsError || !strings.Contains(res.Output, "[resource "+uri) {
			t.Errorf("%s: %.300s", uri, res.Output)
		}
	}
}

// everythingProgresses: what the server says while it works comes before its answer,
// in order.
func everythingProgresses(t *testing.T, ts *mcptool.Toolset) {
	t.Helper()
	var said []string
	res := call(t, ts, tool.Call{
		Name: "trigger-long-running-operation", Arguments: `{"duration":0.2,"steps":4}`,
		Progress: func(text string) { said = append(said, text) },
	})
	if want := "Long running operation completed. Duration: 0.2 seconds, Steps: 4."; res.IsError || res.Output != want {
		t.Errorf("%+v, want %q", res, want)
	}
	// A server may drop notifications, or send the last ones too late.
	if len(said) == 0 || !slices.IsSorted(said) || !strings.HasSuffix(said[0], " of 4") {
		t.Errorf("progress %q", said)
	}
}

func TestFilesystemServer(t *testing.T) {
	dir := t.TempDir()
	ts := open(t, mcptool.Config{
		Name: "files", Command: "node", Args: []string{npmServer(t, "server-filesystem"), dir},
		Tools: []string{"write_file", "read_text_file", "list_directory"},
	}, mcptool.Options{})
	defs := definitions(t, ts)
	if len(defs) != 3 || defs["read_text_file"].Effect != tool.EffectReadOnly || defs["write_file"].Effect == tool.EffectReadOnly {
		t.Errorf("definitions %+v", defs)
	}
	path := filepath.Join(dir, "note.txt")
	write := func(path string) tool.Result {
		return call(t, ts, tool.Call{Name: "write_file", Arguments: fmt.Sprintf(`{"path":%q,"content":"hello"}`, path)})
	}
	if res := write(path); res.IsError {
		t.Error(res.Output)
	}
	wantOutput(t, ts, tool.Call{Name: "read_text_file", Arguments: fmt.Sprintf(`{"path":%q}`, path)}, "hello")
	wantError(t, write("/etc/note.txt"), "Access denied")
	wantError(t, call(t, ts, tool.Call{Name: "move_file"}), "There is no tool")
}
