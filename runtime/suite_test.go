package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/runtime"
)

// suiteTeam has a tool that asks, one that does not, and a model that fails.
const suiteTeam = `version: "2"
agents:
  root:
    model: script
    description: Does what it is told.
    instruction: Do what you are told.
    welcome_message: Tell me.
    sub_agents: [helper]
    toolsets: [{type: shell}, {type: think}]
  helper:
    model: script
    description: Helps.
    instruction: Help.
models:
  script:
    provider: scripted
    model: suite
    provider_opts:
      script:
        title: A title
        summary: They spoke.
        turns:
          - when: { after_tool: shell }
            say: "shell: {{.Tool}}"
          - when: { after_tool: think }
            say: thought
          - when: { contains: run }
            call: [{ name: shell, arguments: { cmd: echo done } }]
          - when: { contains: think }
            call: [{ name: think, arguments: { thought: hm } }]
          - when: { contains: fail }
            error: { code: model_failed, message: the script says so }
          - when: { contains: wait }
            stall: {}
          - say: "You said: {{.User}}"
`

// Every runtime is one to the compiler as well.
var (
	_ runtime.Runtime = (*runtime.Embedded)(nil)
	_ runtime.Runtime = (*runtime.RemoteRuntime)(nil)
	_ runtime.Runtime = (*client.RemoteRuntime)(nil)
)

// The same suite holds for a runtime in this process and for one on a server.
func TestRuntimes(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		tm, err := runtime.ParseTeam("suite", []byte(suiteTeam))
		if err != nil {
			t.Fatal(err)
		}
		suite(t, func(t *testing.T, agent string) runtime.Runtime {
			rt, err := runtime.New(tm, runtime.WithCurrentAgent(agent))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := rt.Close(); err != nil {
					t.Error(err)
				}
			})
			return rt
		})
	})
	t.Run("remote", func(t *testing.T) {
		agents := t.TempDir()
		if err := os.WriteFile(filepath.Join(agents, "suite.yaml"), []byte(suiteTeam), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load([]string{"HOLDFAST_DATA=" + t.TempDir(), "HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_AGENTS=" + agents})
		if err != nil {
			t.Fatal(err)
		}
		addr := ""
		if err := app.Run(t.Context(), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "runtimes", DrainGrace: time.Second, Ready: func(a string) { addr = a },
			Use: func(context.Context, *app.Program) error {
				suite(t, func(t *testing.T, agent string) runtime.Runtime {
					c, err := runtime.NewClient("http://" + addr)
					if err != nil {
						t.Fatal(err)
					}
					rt, err := runtime.NewRemoteRuntime(c, runtime.WithRemoteAgentFilename("suite.yaml"), runtime.WithRemoteCurrentAgent(agent))
					if err != nil {
						t.Fatal(err)
					}
					return rt
				})
				return nil
			},
		}); err != nil {
			t.Error(err)
		}
	})
}

// suite tests what [holdfast.Runtime] promises.
func suite(t *testing.T, open func(t *testing.T, agent string) runtime.Runtime) {
	rt := open(t, "") // one for all: a conversation leaves nothing to the next
	t.Run("no authorization is waited for", func(t *testing.T) {
		if err := rt.ResumeCodeReceived(t.Context(), "code"); err == nil {
			t.Error("a code that nobody waits for")
		}
		rt.ResumeStartAuthorizationFlow(t.Context(), true)
		rt.Resume(t.Context(), runtime.ResumeTypeApprove)
		s := holdfast.NewSession("hello")
		if _, err := rt.Run(t.Context(), s); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("current agent", func(t *testing.T) {
		if a := rt.CurrentAgent(); a.Name() != "root" || a.Description() != "Does what it is told." ||
			a.Instruction() != "Do what you are told." || !slices.Equal(a.SubAgents(), []string{"helper"}) {
			t.Errorf("%+v", a)
		}
		if a := open(t, "helper").CurrentAgent(); a.Name() != "helper" || a.Description() != "Helps." {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a conversation", func(t *testing.T) {
		s := holdfast.NewSession("one")
		kinds := drain(rt.RunStream(t.Context(), s), nil)
		want := []string{"user_message", "stream_started", "agent_choice", "token_usage", "stream_stopped"}
		if !inOrder(kinds, want) || s.LastAssistantMessage() != "You said: one" {
			t.Errorf("%v, %q", kinds, s.LastAssistantMessage())
		}
		s.AddUserMessage("two")
		messages, err := rt.Run(t.Context(), s)
		if err != nil || len(messages) != 4 || messages[3].Content != "You said: two" || len(s.Messages) != 4 {
			t.Errorf("%+v, %v", messages, err)
		}
	})
	t.Run("answers to questions", func(t *testing.T) {
		for _, c := range []struct {
			answer runtime.ResumeType
			want   string
		}{
			{runtime.ResumeTypeApprove, "shell: done"},
			{runtime.ResumeTypeReject, "reject"},
			{runtime.ResumeTypeApproveSession, "shell: done"},
		} {
			s := holdfast.NewSession("run it")
			asked := 0
			drain(rt.RunStream(t.Context(), s), func(e runtime.Event) {
				if _, ok := e.(*holdfast.ToolCallConfirmationEvent); ok {
					asked++
					rt.Resume(t.Context(), c.answer)
				}
			})
			if got := s.LastAssistantMessage(); asked != 1 || !strings.Contains(strings.ToLower(got), c.want) {
				t.Errorf("%s: asked %d times, %q", c.answer, asked, got)
			}
			if c.answer != runtime.ResumeTypeApproveSession {
				continue
			}
			s.AddUserMessage("run it again")
			if _, err := rt.Run(t.Context(), s); err != nil || !strings.Contains(s.LastAssistantMessage(), "done") {
				t.Errorf("after %s: %v, %q", c.answer, err, s.LastAssistantMessage())
			}
		}
		if _, err := rt.Run(t.Context(), holdfast.NewSession("run it")); err == nil {
			t.Error("Run asks nobody, and says so")
		}
		s := holdfast.NewSession("run it")
		s.ToolsApproved = true
		if _, err := rt.Run(t.Context(), s); err != nil || !strings.Contains(s.LastAssistantMessage(), "done") {
			t.Errorf("approved beforehand: %v, %q", err, s.LastAssistantMessage())
		}
		free := holdfast.NewSession("think")
		if _, err := rt.Run(t.Context(), free); err != nil || free.LastAssistantMessage() != "thought" {
			t.Errorf("a tool that asks nobody: %v, %q", err, free.LastAssistantMessage())
		}
	})
	t.Run("a failure", func(t *testing.T) {
		kinds := drain(rt.RunStream(t.Context(), holdfast.NewSession("fail")), nil)
		if !slices.Contains(kinds, "error") {
			t.Errorf("%v", kinds)
		}
		if _, err := rt.Run(t.Context(), holdfast.NewSession("fail")); err == nil {
			t.Error("Run of what fails")
		}
		s := holdfast.NewSession("hello")
		if _, err := rt.Run(t.Context(), s); err != nil || s.LastAssistantMessage() != "You said: hello" {
			t.Errorf("afterwards: %v, %q", err, s.LastAssistantMessage())
		}
	})
	t.Run("a reader who leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stream := rt.RunStream(ctx, holdfast.NewSession("wait"))
		<-stream
		cancel()
		for range stream { // it is closed
		}
	})
	t.Run("a summary", func(t *testing.T) {
		s := holdfast.NewSession("one")
		if _, err := rt.Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		events := make(chan runtime.Event)
		go func() {
			defer close(events)
			rt.Summarize(t.Context(), s, events)
		}()
		if kinds := drain(events, nil); !inOrder(kinds, []string{"session_compaction", "session_summary", "session_compaction"}) {
			t.Errorf("%v", kinds)
		}
	})
}

// drain reads a stream to its end and returns the types of its events.
func drain(stream <-chan runtime.Event, each func(runtime.Event)) (kinds []string) {
	for e := range stream {
		kinds = append(kinds, string(e.EventType()))
		if each != nil {
			each(e)
		}
	}
	return kinds
}

// inOrder reports whether all of want are in got, in that order.
func inOrder(got, want []string) bool {
	for _, g := range got {
		if len(want) > 0 && g == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}
