package client_test

import (
	"context"
	"fmt"
	"log"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// server is where the examples' server is; yours may be http://localhost:8080.
func server() string { return serverURL }

// Run an agent and print what it says. A connection that breaks is mended: the
// loop sees nothing of it.
func Example() {
	ctx := context.Background()
	c, err := client.New(server())
	if err != nil {
		log.Fatal(err)
	}
	session, err := c.CreateSession(ctx, client.NewSession{Agent: "demo", ToolsApproved: true})
	if err != nil {
		log.Fatal(err)
	}
	events, err := c.RunAgent(ctx, session.ID, "demo", []holdfast.Message{{Role: holdfast.RoleUser, Content: "plan something"}})
	if err != nil {
		log.Fatal(err)
	}
	for e := range events {
		switch e := e.(type) {
		case *holdfast.ToolCallEvent:
			fmt.Println("tool:", e.ToolCall.Function.Name)
		case *holdfast.ErrorEvent:
			log.Fatal(e.Error)
		}
	}
	fmt.Println("done")
	// Output:
	// tool: create_todos
	// done
}

// Decide on a tool call that wants a human's approval.
func ExampleClient_Decide() {
	ctx := context.Background()
	c, err := client.New(server())
	if err != nil {
		log.Fatal(err)
	}
	session, err := c.CreateSession(ctx, client.NewSession{Agent: "demo"})
	if err != nil {
		log.Fatal(err)
	}
	run, err := c.StartRun(ctx, session.ID, client.NewRun{Messages: []client.Message{{Content: "remember the milk"}}})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range c.Events(ctx, session.ID, run.Seq-1) {
		if err != nil {
			log.Fatal(err)
		}
		switch ev := e.Event.(type) {
		case *holdfast.ToolCallConfirmationEvent:
			fmt.Println("asked about", ev.ToolCall.Function.Name)
			_, err := c.Decide(ctx, session.ID, ev.ToolCall.ID, client.Decision{Decision: client.ResumeTypeReject, Reason: "not now"})
			if err != nil {
				log.Fatal(err)
			}
		case *holdfast.ToolCallResponseEvent:
			fmt.Println("the model reads:", ev.Response)
		case *holdfast.RunFinishedEvent:
			return
		}
	}
	// Output:
	// asked about add_memory
	// the model reads: The user rejected the tool call. not now
}

// Continue a session another way, from an event in its past.
func ExampleClient_ForkSession() {
	ctx := context.Background()
	c, err := client.New(server())
	if err != nil {
		log.Fatal(err)
	}
	session, err := c.CreateSession(ctx, client.NewSession{Agent: "demo", ToolsApproved: true, Title: "the first way"})
	if err != nil {
		log.Fatal(err)
	}
	fork, err := c.ForkSession(ctx, session.ID, client.NewFork{Seq: 1, Title: "another way"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(fork.Title, fork.ForkOf == session.ID, fork.ForkSeq)
	// Output: another way true 1
}

// The same interface as the runtime in the process, with the agents on a server.
func ExampleRemoteRuntime() {
	ctx := context.Background()
	c, err := client.NewClient(server())
	if err != nil {
		log.Fatal(err)
	}
	rt, err := client.NewRemoteRuntime(c, client.WithRemoteAgentFilename("demo.yaml"))
	if err != nil {
		log.Fatal(err)
	}
	session := holdfast.NewSession("hello")
	session.ToolsApproved = true
	if _, err := rt.Run(ctx, session); err != nil {
		log.Fatal(err)
	}
	fmt.Println(rt.CurrentAgent().Name(), "answered; the session is called", session.Title)
	// Output: root answered; the session is called Demo: hello
}
