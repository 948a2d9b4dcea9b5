package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// command is a line of an example's head that says how to run it.
type command struct {
	line      string
	variable  string // environment, "" for none
	value     string
	yes       bool
	agentName string
	file      string
	prompt    string
}

var commandLine = regexp.MustCompile(`(?m)^#   (?:([A-Z_]+)=(\S+) )?holdfast run ((?:--\S+ )*)examples/(\S+) "(.*)"$`)

// commands reads the commands of an example.
func commands(t *testing.T, name, source string) (out []command) {
	t.Helper()
	for _, m := range commandLine.FindAllStringSubmatch(source, -1) {
		c := command{line: strings.TrimPrefix(m[0], "#   "), variable: m[1], value: m[2], file: m[4], prompt: m[5]}
		for flag := range strings.FieldsSeq(m[3]) {
			switch key, value, _ := strings.Cut(flag, "="); key {
			case "--yes":
				c.yes = true
			case "--agent":
				c.agentName = value
			case "--data": // all share one folder here
			default:
				t.Errorf("%s: unknown flag %s", name, flag)
			}
		}
		if c.variable != "" && c.value == "…" {
			c.value = "of " + c.variable
		}
		if c.file != name {
			t.Errorf("%s runs another file: %s", name, c.line)
		}
		out = append(out, c)
	}
	if len(out) == 0 || len(out) != strings.Count(source, "holdfast run ") {
		t.Fatalf("%s: understood %d of its commands", name, len(out))
	}
	return out
}

// Every example runs as its head says, through the API, the bus, a worker and
// the log, and what happens is what its file in testdata says.
func TestEveryFileRuns(t *testing.T) {
	dir := t.TempDir()
	copyExamples(t, dir)
	var stand providers
	stand.stand(t)
	for _, name := range files(t) {
		for _, c := range commands(t, name, read(t, name)) {
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
		}
	}
	serve(t, dir, func(ctx context.Context, cl *client.Client) {
		for _, name := range files(t) {
			t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
				var got strings.Builder
				for i, c := range commands(t, name, read(t, name)) {
					if i > 0 {
						got.WriteString("\n")
					}
					got.WriteString("$ " + c.line + "\n")
					got.WriteString(run(ctx, t, cl, c))
					for _, r := range stand.take() {
						got.WriteString(r + "\n")
					}
				}
				compare(t, filepath.Join("testdata", strings.TrimSuffix(name, ".yaml")+".txt"), got.String())
			})
		}
	})
}

// copyExamples copies what is run to a folder in which it may write, and starts
// the servers that some of the files expect.
func copyExamples(t *testing.T, dir string) {
	t.Helper()
	servers := strings.NewReplacer("http://127.0.0.1:8765/mcp", startServer(t, "mcpserver"), "http://127.0.0.1:8766", startServer(t, "restaurant"))
	for _, pattern := range []string{"*.yaml", "scripts/*.yaml", "servers/*.yaml", "house-rules.md", "mcpserver/main.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no files %s (%v)", pattern, err)
		}
		for _, name := range names {
			source := servers.Replace(read(t, name))
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	compileServer(t, dir)
}

// compileServer does what "go run mcpserver/main.go" of an example will find done.
// With a cold cache that takes longer than an MCP server has for its start, and it is
// no matter of the examples how quick the compiler is. Programs of a toolset get
// little of the environment, so this one gets the same.
func compileServer(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", os.DevNull, "mcpserver/main.go")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the MCP server: %v\n%s", err, out)
	}
}

// startServer runs one of the servers over HTTP and returns its address.
func startServer(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command(testenv.Build(t, "./examples/"+name), "-http", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the address of %s: %v", name, err)
	}
	u, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// serve starts the whole program with the agents of a folder and uses it.
func serve(t *testing.T, agents string, use func(context.Context, *client.Client)) {
	t.Helper()
	cfg, err := config.Load([]string{"HOLDFAST_DATA=" + t.TempDir(), "HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_AGENTS=" + agents, "HOLDFAST_MCP_CATALOGUE=" + filepath.Join(agents, "servers", "mcp.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	addr := ""
	err = app.Run(t.Context(), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
		Name: "examples", Version: "test", DrainGrace: time.Second,
		Ready: func(a string) { addr = a },
		Use: func(ctx context.Context, _ *app.Program) error {
			cl, err := client.New("http://" + addr)
			if err == nil {
				use(ctx, cl)
			}
			return err
		},
	})
	if err != nil {
		t.Error(err)
	}
}

// run runs one command in a session of its own and returns what happened.
func run(ctx context.Context, t *testing.T, cl *client.Client, c command) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	session, err := cl.CreateSession(ctx, client.NewSession{Agent: c.file, ToolsApproved: c.yes})
	if err != nil {
		t.Fatal(err)
	}
	settled, err := cl.StartRun(ctx, session.ID, client.NewRun{AgentName: c.agentName, Messages: []client.Message{{Content: c.prompt}}})
	if err != nil {
		t.Fatal(err)
	}
	var tr transcript
	for entry, err := range cl.Events(ctx, session.ID, 0) {
		if err != nil {
			t.Fatalf("%v\n%s", err, tr.String())
		}
		tr.add(entry.Event)
		switch ev := entry.Event.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			if !c.yes {
				t.Fatalf("it asks before %s, and the command has no --yes", ev.ToolCall.Function.Name)
			}
			if _, err := cl.Decide(ctx, session.ID, ev.ToolCall.ID, client.Decision{Decision: client.ResumeTypeApprove}); err != nil {
				t.Fatal(err)
			}
		case *holdfast.RunFinishedEvent:
			if ev.Run != settled.Run || ev.Reason != "stop" {
				t.Errorf("the run ended with %s", ev.Reason)
			}
			return tr.String()
		}
	}
	t.Fatalf("the stream ended before the run did\n%s", tr.String())
	return ""
}

// transcript is what people would tell of a run.
type transcript struct {
	b     strings.Builder
	voice string // who is in the middle of a line
}

// varying is what differs from run to run, and what stands for it.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
}

func (tr *transcript) String() string {
	s := tr.b.String()
	for _, v := range varying {
		s = v.pattern.ReplaceAllString(s, v.name)
	}
	return s
}

func (tr *transcript) line(format string, args ...any) {
	tr.end()
	tr.b.WriteString(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n  ") + "\n")
}

// stream goes on with what a voice says.
func (tr *transcript) stream(voice, text string) {
	if tr.voice != voice {
		tr.end()
		tr.b.WriteString(voice + ": ")
		tr.voice = voice
	}
	tr.b.WriteString(strings.ReplaceAll(text, "\n", "\n  "))
}

func (tr *transcript) end() {
	if tr.voice != "" {
		tr.b.WriteString("\n")
	}
	tr.voice = ""
}

func (tr *transcript) add(ev holdfast.Event) {
	switch ev := ev.(type) {
	case *holdfast.UserMessageEvent:
		tr.line("user: %s", ev.Message)
	case *holdfast.StreamStartedEvent:
		tr.line("%s begins", ev.AgentName)
	case *holdfast.StreamStoppedEvent:
		tr.line("%s ends: %s", ev.AgentName, ev.Reason)
	case *holdfast.AgentChoiceReasoningEvent:
		tr.stream(ev.AgentName+" (thinking)", ev.Content)
	case *holdfast.AgentChoiceEvent:
		tr.stream(ev.AgentName, ev.Content)
	case *holdfast.ToolCallConfirmationEvent:
		tr.line("%s asks: %s %s", ev.AgentName, ev.ToolCall.Function.Name, ev.ToolCall.Function.Arguments)
	case *holdfast.ToolCallEvent:
		tr.line("%s calls: %s %s", ev.AgentName, ev.ToolCall.Function.Name, ev.ToolCall.Function.Arguments)
	case *holdfast.ToolCallResponseEvent:
		failed := ""
		if ev.Result.IsError {
			failed = " (failed)"
		}
		tr.line("%s answers%s: %s", ev.ToolCall.Function.Name, failed, strings.TrimSuffix(ev.Response, "\n"))
	case *holdfast.AgentSwitchingEvent:
		tr.line("%s hands over to %s", ev.FromAgent, ev.ToAgent)
	case *holdfast.SessionTitleEvent:
		tr.line("title: %s", ev.Title)
	case *holdfast.WarningEvent:
		tr.line("warning: %s", ev.Message)
	case *holdfast.ErrorEvent:
		tr.line("error: %s", ev.Error)
	}
}

// compare holds what happened against a file.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test ./examples -update rewrites it):\n%s", file, diff)
	}
}
