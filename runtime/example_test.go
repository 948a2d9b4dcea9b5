package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"go.opentelemetry.io/otel"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/runtime"
)

// exampleTeam is an agent file of the examples of docs/go.md.
const exampleTeam = `version: "2"
agents:
  root:
    model: script
    instruction: Help.
    toolsets: [{type: shell}]
models:
  script:
    provider: scripted
    model: example
    provider_opts:
      script:
        summary: They greeted each other.
        turns:
          - when: { after_tool: "*" }
            say: "The answer is {{.Tool}}"
          - when: { contains: weather }
            call: [{ name: weather, arguments: { city: Bern } }]
          - when: { contains: shell }
            call: [{ name: shell, arguments: { cmd: printf 42 } }]
          - say: "Hello!"
`

// exampleFile writes the agent file to a folder of its own.
func exampleFile() (file string, remove func()) {
	dir, err := os.MkdirTemp("", "holdfast-example-")
	if err != nil {
		log.Fatal(err)
	}
	file = filepath.Join(dir, "assistant.yaml")
	if err := os.WriteFile(file, []byte(exampleTeam), 0o600); err != nil {
		log.Fatal(err)
	}
	return file, func() { _ = os.RemoveAll(dir) }
}

func ExampleNew() {
	file, remove := exampleFile()
	defer remove()
	ctx := context.Background()
	team, err := runtime.LoadTeam(file)
	if err != nil {
		log.Fatal(err) // every mistake of the file, with line and column
	}
	rt, err := runtime.New(team)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()

	session := holdfast.NewSession("hello")
	if _, err := rt.Run(ctx, session); err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.LastAssistantMessage())

	session.AddUserMessage("hello again")
	messages, err := rt.Run(ctx, session)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(messages), "messages")
	// Output:
	// Hello!
	// 4 messages
}

func ExampleEmbedded_RunStream() {
	file, remove := exampleFile()
	defer remove()
	ctx := context.Background()
	rt := open(file)
	defer rt.Close()
	session := holdfast.NewSession("use the shell")
	for event := range rt.RunStream(ctx, session) {
		switch e := event.(type) {
		case *holdfast.AgentChoiceEvent:
			fmt.Print(e.Content)
		case *holdfast.ToolCallConfirmationEvent:
			fmt.Println("may it?", e.ToolCall.Function.Name, e.ToolCall.Function.Arguments)
			rt.Resume(ctx, runtime.ResumeTypeApprove)
		case *holdfast.ErrorEvent:
			log.Print(e.Code, ": ", e.Error)
		}
	}
	fmt.Println()
	// Output:
	// may it? shell {"cmd":"printf 42"}
	// The answer is 42
}

// open starts a runtime for a file.
func open(file string, opts ...runtime.Opt) *runtime.Embedded {
	team, err := runtime.LoadTeam(file)
	if err != nil {
		log.Fatal(err)
	}
	rt, err := runtime.New(team, opts...)
	if err != nil {
		log.Fatal(err)
	}
	return rt
}

func ExampleWithTool() {
	file, remove := exampleFile()
	defer remove()
	team, err := runtime.LoadTeam(file)
	if err != nil {
		log.Fatal(err)
	}
	weather := func(ctx context.Context, s *runtime.Session, call holdfast.ToolCall, events chan runtime.Event) (*runtime.ToolCallResult, error) {
		var arguments struct{ City string }
		if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil {
			return nil, err // the model sees it and may try again
		}
		return &runtime.ToolCallResult{Output: "sunny in " + arguments.City}, nil
	}
	rt, err := runtime.New(team, runtime.WithTool(runtime.Tool{
		Name:        "weather",
		Description: "Tells the weather in a city.",
		Parameters:  []byte(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`),
		ReadOnly:    true, // runs without asking, and again after a crash
	}, weather))
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	session := holdfast.NewSession("how is the weather?")
	if _, err := rt.Run(context.Background(), session); err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.LastAssistantMessage())
	// Output:
	// The answer is sunny in Bern
}

func ExampleWithDataFolder() {
	file, remove := exampleFile()
	defer remove()
	ctx := context.Background()
	data := filepath.Join(filepath.Dir(file), "data")
	first := open(file, runtime.WithDataFolder(data))
	session := holdfast.NewSession("hello")
	if _, err := first.Run(ctx, session); err != nil {
		log.Fatal(err)
	}
	if err := first.Close(); err != nil {
		log.Fatal(err)
	}

	// Another process, later: the id is enough.
	second := open(file, runtime.WithDataFolder(data))
	defer second.Close()
	detail, err := second.Client().GetSession(ctx, session.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(detail.Messages), "messages")
	// Output:
	// 2 messages
}

func ExampleEmbedded_Summarize() {
	file, remove := exampleFile()
	defer remove()
	ctx := context.Background()
	rt := open(file)
	defer rt.Close()
	session := holdfast.NewSession("hello")
	if _, err := rt.Run(ctx, session); err != nil {
		log.Fatal(err)
	}
	events := make(chan runtime.Event)
	go func() {
		defer close(events)
		rt.Summarize(ctx, session, events)
	}()
	for event := range events {
		if summary, ok := event.(*holdfast.SessionSummaryEvent); ok {
			fmt.Println(summary.Summary)
		}
	}
	// Output:
	// They greeted each other.
}

func ExampleEmbedded_Client() {
	file, remove := exampleFile()
	defer remove()
	ctx := context.Background()
	rt := open(file)
	defer rt.Close()
	api := rt.Client()
	session, err := api.CreateSession(ctx, client.NewSession{Agent: "assistant.yaml"})
	if err != nil {
		log.Fatal(err)
	}
	run, err := api.StartRun(ctx, session.ID, client.NewRun{Messages: []client.Message{{Content: "use the shell"}}})
	if err != nil {
		log.Fatal(err)
	}
	for entry, err := range api.Events(ctx, session.ID, run.Seq-1) {
		if err != nil {
			log.Fatal(err)
		}
		switch e := entry.Event.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			if _, err := api.Decide(ctx, session.ID, e.ToolCall.ID, client.Decision{Decision: client.ResumeTypeApprove}); err != nil {
				log.Fatal(err)
			}
		case *holdfast.RunFinishedEvent:
			fmt.Println("finished:", e.Reason)
			return
		}
	}
	// Output:
	// finished: stop
}

// A server elsewhere: this one needs it, so it is compiled and not run.
func ExampleNewRemoteRuntime() {
	c, err := runtime.NewClient("https://holdfast.example.com", client.WithAPIKey(os.Getenv("HOLDFAST_API_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	rt, err := runtime.NewRemoteRuntime(c, runtime.WithRemoteAgentFilename("assistant.yaml"))
	if err != nil {
		log.Fatal(err)
	}
	converse(rt, "hello")
}

// converse is the same for a runtime in the process and for one on a server.
func converse(rt runtime.Runtime, text string) {
	ctx := context.Background()
	for event := range rt.RunStream(ctx, holdfast.NewSession(text)) {
		switch e := event.(type) {
		case *holdfast.AgentChoiceEvent:
			fmt.Print(e.Content)
		case *holdfast.AuthorizationRequiredEvent:
			if e.Confirmation == "pending" {
				fmt.Println(e.ServerURL, "wants you to authorize it")
				rt.ResumeStartAuthorizationFlow(ctx, true)
			}
		}
	}
}

func ExampleWithTracer() {
	file, remove := exampleFile()
	defer remove()
	rt := open(file, runtime.WithTracer(otel.Tracer("my-program")), runtime.WithSessionCompaction(false))
	defer rt.Close()
	_, err := rt.Run(context.Background(), holdfast.NewSession("use the shell"))
	var failed *holdfast.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Code)
	}
	// Output:
	// forbidden
}
