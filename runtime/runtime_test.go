package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
	"github.com/holdfast-run/holdfast/runtime"
)

// team asks for the tool "lookup" of the program, twice if it is told so.
const team = `version: "2"
agents:
  root:
    model: script
    description: Looks things up.
    instruction: Look things up.
    sub_agents: [helper]
  helper:
    model: script
    description: Helps.
    instruction: Help.
models:
  script:
    provider: scripted
    model: lookup
    provider_opts:
      script:
        title: Looking up
        summary: They looked things up.
        turns:
          - when: { after_tool: lookup }
            say: "It is: {{.Tool}}"
          - when: { matches: '(?i)look up (?P<what>\w+)' }
            call:
              - name: lookup
                arguments: { what: "{{.Match.what}}" }
          - say: "You said: {{.User}}"
`

func parse(t testing.TB) *runtime.Team {
	t.Helper()
	tm, err := runtime.ParseTeam("lookup", []byte(team))
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func start(t testing.TB, opts ...runtime.Opt) *runtime.Embedded {
	t.Helper()
	rt, err := runtime.New(parse(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func lookup(_ context.Context, s *runtime.Session, call holdfast.ToolCall, events chan runtime.Event) (*runtime.ToolCallResult, error) {
	var args struct{ What string }
	if err := json.Unmarshal([]byte(call.Function.Arguments), &args); err != nil {
		return nil, err
	}
	switch args.What {
	case "nothing":
		return nil, errors.New("there is nothing")
	case "trouble":
		return &runtime.ToolCallResult{Output: "trouble", IsError: true}, nil
	}
	events <- runtime.ShellOutput("looking in "+s.ID, "root")
	return &runtime.ToolCallResult{Output: args.What + " is 42"}, nil
}

// TestTool: the program's tool is asked for approval, runs, sends an event of its
// own into the stream, and its result is in the session that the caller holds.
func TestTool(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test")
	rt := start(t, runtime.WithTracer(tracer), runtime.WithTool(runtime.Tool{
		Name: "lookup", Description: "Looks something up.", Parameters: []byte(`{"type":"object","properties":{"what":{"type":"string"}}}`),
	}, lookup))
	s := holdfast.NewSession("look up answer")
	seen := map[string]string{}
	for e := range rt.RunStream(t.Context(), s) {
		switch ev := e.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			seen["asked"] = ev.ToolCall.Function.Name
			rt.Resume(t.Context(), runtime.ResumeTypeApprove)
		case *holdfast.ShellOutputEvent:
			seen["own"] = ev.Output
		case *holdfast.ToolCallResponseEvent:
			seen["result"] = ev.Response
		case *holdfast.ErrorEvent:
			t.Error(ev.Error)
		}
	}
	if seen["asked"] != "lookup" || seen["own"] != "looking in "+s.ID || seen["result"] != "answer is 42" {
		t.Errorf("%v in session %s", seen, s.ID)
	}
	if got := s.LastAssistantMessage(); got != "It is: answer is 42" || s.Title != "Looking up" {
		t.Errorf("%q, title %q", got, s.Title)
	}
	for what, want := range map[string]string{"nothing": "there is nothing", "trouble": "trouble"} {
		s.AddUserMessage("look up " + what)
		s.ToolsApproved = true
		if _, err := rt.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got := s.LastAssistantMessage(); got != "It is: "+want {
			t.Errorf("%s: %q", what, got)
		}
	}

	events := make(chan runtime.Event, 16)
	rt.Summarize(t.Context(), s, events)
	close(events)
	summary := ""
	for e := range events {
		switch ev := e.(type) {
		case *holdfast.SessionSummaryEvent:
			summary = ev.Summary
		case *holdfast.ErrorEvent:
			t.Error(ev.Error)
		}
	}
	if !strings.Contains(summary, "They looked things up.") {
		t.Errorf("summary %q", summary)
	}
}

// TestToolOfAnotherSession: a tool is told the session that calls it, also if that
// is one of the client's and another was streamed before.
func TestToolOfAnotherSession(t *testing.T) {
	type called struct {
		id       string
		messages int
	}
	calls := make(chan called, 2)
	rt := start(t, runtime.WithTool(runtime.Tool{Name: "lookup", Description: "Looks something up.", ReadOnly: true},
		func(_ context.Context, s *runtime.Session, _ holdfast.ToolCall, events chan runtime.Event) (*runtime.ToolCallResult, error) {
			events <- runtime.ShellOutput("looking in "+s.ID, "root")
			calls <- called{s.ID, len(s.Messages)}
			return &runtime.ToolCallResult{Output: "42"}, nil
		}))
	streamed := holdfast.NewSession("look up answer")
	if _, err := rt.Run(t.Context(), streamed); err != nil {
		t.Fatal(err)
	}
	if got := <-calls; got.id != streamed.ID || got.messages == 0 {
		t.Errorf("called for %+v, want %s with its messages", got, streamed.ID)
	}
	api := rt.Client()
	other, err := api.CreateSession(t.Context(), client.NewSession{Agent: "lookup.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.StartRun(t.Context(), other.ID, client.NewRun{Messages: []client.Message{{Content: "look up answer"}}}); err != nil {
		t.Fatal(err)
	}
	if got := <-calls; got.id != other.ID || got.messages != 0 {
		t.Errorf("called for %+v, want %s and nothing of another's", got, other.ID)
	}
}

// TestFolder: a session goes on in a runtime after the one that began it, and a
// temporary folder is gone after Close.
func TestFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "lookup.yaml")
	if err := os.WriteFile(file, []byte(team), 0o644); err != nil {
		t.Fatal(err)
	}
	tm, err := runtime.LoadTeam(file)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	s := holdfast.NewSession("one")
	for i, text := range []string{"one", "two"} {
		rt, err := runtime.New(tm, runtime.WithDataFolder(data), runtime.WithSessionCompaction(false), runtime.WithCurrentAgent("helper"))
		if err != nil {
			t.Fatal(err)
		}
		if rt.CurrentAgent().Name() != "helper" || rt.CurrentAgent().Description() != "Helps." {
			t.Errorf("current agent: %+v", rt.CurrentAgent())
		}
		if i > 0 {
			s.AddUserMessage(text)
		}
		if _, err := rt.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if got := s.LastAssistantMessage(); got != "You said: "+text || len(s.Messages) != 2*(i+1) {
			t.Errorf("%q, %d messages", got, len(s.Messages))
		}
		if err := errors.Join(rt.Close(), rt.Close()); err != nil {
			t.Fatal(err)
		}
	}
	rt, err := runtime.New(tm)
	if err != nil {
		t.Fatal(err)
	}
	during, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*"))
	if err != nil || len(during) != 1 {
		t.Errorf("temporary folders while it runs: %v, %v", during, err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRefused(t *testing.T) {
	if _, err := runtime.ParseTeam("x", []byte("agents: {root: {modle: y}}")); err == nil || !strings.Contains(err.Error(), "modle") {
		t.Errorf("a file with a mistake: %v", err)
	}
	if _, err := runtime.LoadTeam("no-such-file.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := runtime.New(nil); err == nil {
		t.Error("no team")
	}
	if _, err := runtime.New(parse(t), runtime.WithCurrentAgent("nobody")); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("an agent that is not there: %v", err)
	}
	if _, err := runtime.New(parse(t), runtime.WithTool(runtime.Tool{}, nil)); err == nil {
		t.Error("a tool without a name")
	}
}

// TestCanceled: a reader that leaves gets its channel closed, and nothing of the
// runtime is left after Close.
func TestCanceled(t *testing.T) {
	before := goleak.IgnoreCurrent()
	rt, err := runtime.New(parse(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream := rt.RunStream(ctx, holdfast.NewSession("hello"))
	<-stream
	cancel()
	for range stream {
	}
	if _, err := rt.Run(ctx, holdfast.NewSession("hello")); err == nil {
		t.Error("a context that has ended")
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if err := leaktest.Find(before); err != nil {
		t.Error(err)
	}
}

// Embed a team in a program, with a tool that the program provides.
func Example() {
	team, err := runtime.ParseTeam("lookup.yaml", []byte(team))
	if err != nil {
		log.Fatal(err)
	}
	rt, err := runtime.New(team, runtime.WithTool(runtime.Tool{
		Name: "lookup", Description: "Looks something up.", ReadOnly: true,
		Parameters: []byte(`{"type":"object","properties":{"what":{"type":"string"}},"required":["what"]}`),
	}, func(_ context.Context, _ *runtime.Session, call holdfast.ToolCall, _ chan runtime.Event) (*runtime.ToolCallResult, error) {
		return &runtime.ToolCallResult{Output: "found " + call.Function.Arguments}, nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	session := holdfast.NewSession("please look up Go")
	for e := range rt.RunStream(context.Background(), session) {
		if call, ok := e.(*holdfast.ToolCallEvent); ok {
			fmt.Println("tool:", call.ToolCall.Function.Name)
		}
	}
	fmt.Println(session.LastAssistantMessage())
	// Output:
	// tool: lookup
	// It is: found {"what":"Go"}
}
