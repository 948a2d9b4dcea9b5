package examples_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// asked is what a model was asked, in the wire format of chat completions.
type asked struct {
	Messages []struct{ Role, Content string }
	Tools    []struct{ Function struct{ Name string } }
}

func (a asked) tools() []string {
	var names []string
	for _, t := range a.Tools {
		names = append(names, t.Function.Name)
	}
	return names
}

// listener stands in for every model provider and keeps what the last model was
// asked that was to answer a user.
type listener struct {
	mu   sync.Mutex
	last asked // guarded by mu
}

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var a asked
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, err
	}
	if !strings.Contains(string(body), "Write a title") {
		l.mu.Lock()
		l.last = a
		l.mu.Unlock()
	}
	return reply(r, http.StatusOK, "text/event-stream", chat("Hello.")), nil
}

func (l *listener) take() asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.last
	l.last = asked{}
	return a
}

var everyPublic = flag.Bool("public", false, "start every agent of the public files, not only those with keys that none before had")

// Every public agent file that loads also starts: its agents are run, those that
// have something new or all of them, with a model that listens. It gets the instruction, what the file asks to be told
// beside it, the other agents, and the tools with their instructions. Models are
// the listener, MCP servers a program from here; servers elsewhere are left out.
func TestPublicFilesStart(t *testing.T) {
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "mcpserver")
	if out, err := exec.Command("go", "build", "-o", program, "./mcpserver").CombinedOutput(); err != nil {
		t.Fatalf("build the MCP server: %v\n%s", err, out)
	}
	var l listener
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = &l
	t.Cleanup(func() { http.DefaultClient.Transport = before })
	t.Setenv("GITHUB_TOKEN", "x")
	t.Setenv("INTERNAL_DOCS_TOKEN", "x")

	data, err := os.ReadFile("../internal/agent/testdata/wild.txtar")
	if err != nil {
		t.Fatal(err)
	}
	teams := map[string]*agent.Team{}
	for _, f := range txtar.Parse(data).Files {
		team, err := agent.Parse(f.Name, f.Data, agent.Options{MCPCatalog: true})
		if err != nil {
			continue // what becomes of these is in wild.out
		}
		name := strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(f.Name, ".yml"), ".yaml"), "_", "-") + ".yaml"
		for _, a := range team.Agents {
			if h := a.Hooks; h != nil { // what they call is not here
				for _, k := range slices.Concat(h.SessionStart, h.SessionEnd, h.UserPromptSubmit, h.TurnStart, h.Stop, h.OnUserInput, h.Notification) {
					k.Command = "cat >/dev/null"
				}
			}
		}
		source := runnable(t, team, program)
		if teams[name], err = agent.Parse(name, source, agent.Options{}); err != nil {
			t.Fatalf("%v\n%s", err, source)
		}
		if err := os.WriteFile(filepath.Join(dir, name), source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(teams) < 70 {
		t.Fatalf("%d files load, want at least 70", len(teams))
	}
	copyFile(t, "servers/mcp.yaml", filepath.Join(dir, "servers", "mcp.yaml"))
	seen := map[string]bool{}
	serve(t, dir, func(ctx context.Context, cl *client.Client) {
		for _, name := range slices.Sorted(maps.Keys(teams)) {
			for _, a := range teams[name].Agents {
				if !news(t, a, seen) && !*everyPublic {
					continue
				}
				t.Run(strings.TrimSuffix(name, ".yaml")+"/"+a.Name, func(t *testing.T) {
					warned := hello(ctx, t, cl, name, a.Name)
					checkAsked(t, l.take(), a, dir)
					if warned != "" {
						t.Error(warned)
					}
				})
			}
		}
	})
}

// news reports whether an agent has a key that none before it had, and remembers
// its keys.
func news(t *testing.T, a *agent.Agent, seen map[string]bool) (is bool) {
	t.Helper()
	var keys []string
	add := func(of string, v any) {
		js, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(js, &members); err != nil {
			t.Fatal(err)
		}
		for key := range members {
			keys = append(keys, of+"."+key)
		}
	}
	add("agent", a)
	for _, ts := range a.Toolsets {
		add(ts.Type, ts)
	}
	for _, key := range keys {
		is = is || !seen[key]
		seen[key] = true
	}
	return is
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(read(t, from)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runnable is a team's file with models and servers that there are here.
func runnable(t *testing.T, team *agent.Team, program string) []byte {
	t.Helper()
	js, err := json.Marshal(team)
	if err != nil {
		t.Fatal(err)
	}
	var view map[string]any
	if err := json.Unmarshal(js, &view); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"models", "mcps", "version"} {
		delete(view, key)
	}
	view["providers"] = map[string]any{"listener": map[string]any{"base_url": "http://listener.example/v1"}}
	for _, a := range view["agents"].(map[string]any) {
		a := a.(map[string]any)
		a["model"] = "listener/m"
		delete(a, "fallback")
		delete(a, "structured_output") // the listener says hello, whatever form is asked for
		var sets []any
		list, _ := a["toolsets"].([]any)
		for _, ts := range list {
			ts := ts.(map[string]any)
			delete(ts, "model")
			switch ts["type"] {
			case "openapi", "a2a":
				continue
			case "mcp":
				if len(sets) > 0 && sets[len(sets)-1].(map[string]any)["type"] == "mcp" {
					continue // the same tools again
				}
				for _, key := range []string{"remote", "ref", "config", "args", "tools", "env"} {
					delete(ts, key)
				}
				ts["command"] = program
			}
			sets = append(sets, ts)
		}
		a["toolsets"] = sets
	}
	out, err := json.MarshalIndent(view, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hello runs an agent and returns what went wrong on the way.
func hello(ctx context.Context, t *testing.T, cl *client.Client, file, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	session, err := cl.CreateSession(ctx, client.NewSession{Agent: file})
	if err != nil {
		t.Fatal(err)
	}
	settled, err := cl.StartRun(ctx, session.ID, client.NewRun{AgentName: name, Messages: []client.Message{{Content: "hello"}}})
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	for entry, err := range cl.Events(ctx, session.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch ev := entry.Event.(type) {
		case *holdfast.WarningEvent:
			wrong = append(wrong, ev.Message)
		case *holdfast.ErrorEvent:
			wrong = append(wrong, ev.Error)
		case *holdfast.RunFinishedEvent:
			if ev.Run == settled.Run {
				if ev.Reason != "stop" {
					wrong = append(wrong, "the run ended with "+string(ev.Reason))
				}
				return strings.Join(wrong, "\n")
			}
		}
	}
	t.Fatal("the stream ended before the run did")
	return ""
}

// shown are tools by which one sees that a toolset was started.
var shown = map[string]string{
	"think": "think", "todo": "create_todos", "memory": "search_memories", "filesystem": "read_file", "shell": "shell",
	"fetch": "fetch", "user_prompt": "user_prompt", "mcp": "convert",
}

// checkAsked compares what a model was asked with the agent.
func checkAsked(t *testing.T, got asked, a *agent.Agent, dir string) {
	t.Helper()
	prompt, tools := "", got.tools()
	if len(got.Messages) > 0 && got.Messages[0].Role == "system" {
		prompt = got.Messages[0].Content
	}
	has := func(want bool, part string) {
		t.Helper()
		if strings.Contains(prompt, part) != want {
			t.Errorf("%q in the system prompt is %t, want %t\n%s", part, !want, want, prompt)
		}
	}
	tool := func(want bool, name string) {
		t.Helper()
		if slices.Contains(tools, name) != want {
			t.Errorf("the tool %s is there: %t, want %t (%v)", name, !want, want, tools)
		}
	}
	has(true, strings.TrimSpace(a.Instruction))
	has(false, "{ORIGINAL_INSTRUCTIONS}")
	has(a.AddDate, "Today's date: 20")
	has(a.AddEnvironmentInfo, "Working directory: "+dir)
	tool(len(a.SubAgents) > 0, "transfer_task")
	tool(len(a.Handoffs) > 0, "handoff")
	for _, name := range slices.Concat(a.SubAgents, a.Handoffs) {
		has(true, name)
	}
	for _, ts := range a.Toolsets {
		if text := strings.TrimSpace(strings.ReplaceAll(ts.Instruction, "{ORIGINAL_INSTRUCTIONS}", "")); text != "" {
			has(true, text)
		}
		if ts.Defer != nil && ts.Defer.All {
			tool(false, shown[ts.Type])
			tool(true, "search_tool")
			continue
		}
		switch ts.Type {
		case "script":
			for name := range ts.Shell {
				tool(true, name)
			}
		case "api":
			tool(true, ts.APIConfig.Name)
		default:
			if name := shown[ts.Type]; len(ts.Tools) == 0 {
				tool(true, name)
			}
			for _, name := range ts.Tools {
				tool(true, name)
			}
		}
	}
}
