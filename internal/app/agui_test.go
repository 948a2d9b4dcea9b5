package app_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// aguiScene is what came of one run of the client.
type aguiScene struct {
	Types  []string
	Events []struct {
		Type, Delta, MessageID, ToolCallID, ToolCallName, Content, StepName, Message, Code string
		Snapshot                                                                           map[string]any
		Outcome                                                                            struct{ Type string }
		Usage                                                                              []struct{ TotalTokens int }
	}
	Interrupts []struct {
		ID, Reason, ToolCallID string
		ResponseSchema         any
	}
	Error string
}

// has reports whether types are among those of the scene, in this order.
func (s *aguiScene) has(types ...string) bool {
	rest := s.Types
	for _, want := range types {
		i := slices.Index(rest, want)
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return true
}

func (s *aguiScene) outcome() string {
	if n := len(s.Events); n > 0 {
		return s.Events[n-1].Outcome.Type
	}
	return ""
}

type aguiMessages []struct {
	ID, Role, Content string
	ToolCalls         []struct {
		Function struct{ Name, Arguments string }
	}
}

func (m aguiMessages) roles() string {
	var roles []string
	for _, one := range m {
		roles = append(roles, one.Role)
	}
	return strings.Join(roles, " ")
}

func (m aguiMessages) last() string { return m[len(m)-1].Content }

// TestAGUI: the official client of AG-UI, which checks every event and their
// order, talks to an agent: texts, tools, approvals, errors, a thread that another
// client takes up, a connection that is lost.
func TestAGUI(t *testing.T) {
	tools, err := testenv.NPM("agui", os.DirFS(filepath.Join("testdata", "agui")))
	if err != nil {
		t.Fatal(err)
	}
	base := startFacades(t)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join("testdata", "agui", "client.mjs"), filepath.Join(tools, "node_modules"), base, facadeKey)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Plan, Hello, Again, Asks, Watches, Refused, Wrong, Approved, Replayed, Rejected, Limit, More, Failed, Nobody, Tools, Lost, Back, Live aguiScene
		Thread, AgainThread, AsksThread, ApprovedThread, BackThread, LiveThread                                                               aguiMessages
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check := func(ok bool, what string, got any) {
		t.Helper()
		if !ok {
			data, _ := json.Marshal(got) //nolint:errchkjson // for a person
			t.Errorf("%s: %.3000s", what, data)
		}
	}
	check(s.Plan.Error == "" && s.Plan.has("RUN_STARTED", "STATE_SNAPSHOT", "STEP_STARTED", "REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT",
		"REASONING_MESSAGE_END", "REASONING_END", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TEXT_MESSAGE_END", "TOOL_CALL_END",
		"TOOL_CALL_RESULT", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "STEP_FINISHED", "STATE_SNAPSHOT", "RUN_FINISHED"), "a tool and texts", s.Plan.Types)
	check(s.Plan.outcome() == "success" && s.Plan.Events[len(s.Plan.Events)-1].Usage[0].TotalTokens > 0, "its end", s.Plan.Events[len(s.Plan.Events)-1])
	check(s.Hello.Error == "" && !slices.Contains(s.Hello.Types, "MESSAGES_SNAPSHOT"), "a second turn", s.Hello)
	check(s.Thread.roles() == "user reasoning assistant tool assistant user assistant tool assistant", "the thread", s.Thread)
	check(s.Thread[2].ToolCalls[0].Function.Name == "create_todos" && strings.Contains(s.Thread.last(), "You said: “hello”"), "the thread", s.Thread)
	check(s.Again.Error == "" && s.Again.has("RUN_STARTED", "STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED") && s.Again.outcome() == "success", "another client", s.Again.Types)
	check(s.AgainThread.roles() == s.Thread.roles(), "what it has", s.AgainThread)
	for i := range min(len(s.Thread), len(s.AgainThread)) {
		a, b := s.Thread[i], s.AgainThread[i]
		check(a.Content == b.Content && (a.ID == b.ID || a.Role == "user") && len(a.ToolCalls) == len(b.ToolCalls), "the two threads differ", []any{a, b})
	}

	check(s.Asks.Error == "" && s.Asks.outcome() == "interrupt" && len(s.Asks.Interrupts) == 1 && s.Asks.has("TOOL_CALL_START", "TOOL_CALL_END", "STATE_SNAPSHOT", "MESSAGES_SNAPSHOT", "RUN_FINISHED"), "a tool that asks", s.Asks.Types)
	asked := s.Asks.Interrupts[0]
	check(asked.Reason == "tool_call" && asked.ID == "approval:"+asked.ToolCallID && asked.ResponseSchema != nil, "its interrupt", asked)
	check(s.AsksThread.roles() == "user assistant" && s.AsksThread[1].ToolCalls[0].Function.Name == "add_memory", "the thread that waits", s.AsksThread)
	check(s.Watches.Error == "" && s.Watches.outcome() == "interrupt" && len(s.Watches.Interrupts) == 1 && s.Watches.Interrupts[0].ID == asked.ID, "who looks at it", s.Watches)
	check(strings.Contains(s.Refused.Error+s.Refused.Events[1].Message, asked.ID) && s.Refused.has("RUN_STARTED", "RUN_ERROR") && s.Refused.Events[1].Code == "conflict", "a message meanwhile", s.Refused)
	check(s.Wrong.has("RUN_STARTED", "RUN_ERROR"), "an answer to something else", s.Wrong)
	check(s.Approved.Error == "" && s.Approved.outcome() == "success" && s.Approved.has("TOOL_CALL_RESULT", "TEXT_MESSAGE_START"), "approved", s.Approved.Types)
	check(!slices.Contains(s.Approved.Types, "TOOL_CALL_START"), "the call is proposed once", s.Approved.Types)
	check(s.ApprovedThread.roles() == "user assistant tool assistant" && strings.HasPrefix(s.ApprovedThread.last(), "The tool said:"), "after the approval", s.ApprovedThread)
	check(s.Replayed.Error == "" && s.Replayed.outcome() == "success" && s.Replayed.has("TOOL_CALL_RESULT", "TEXT_MESSAGE_START"), "the same answer again", s.Replayed)
	check(s.Rejected.Error == "" && s.Rejected.outcome() == "success" && s.Rejected.has("TOOL_CALL_RESULT"), "rejected", s.Rejected)
	check(len(s.Limit.Interrupts) == 1 && s.Limit.Interrupts[0].Reason == "confirmation", "the limit of model calls", s.Limit)
	check(s.More.Error == "" && s.More.outcome() == "success", "more model calls", s.More)

	check(s.Failed.has("RUN_STARTED", "TEXT_MESSAGE_CONTENT", "RUN_ERROR"), "a model that fails", s.Failed)
	check(strings.Contains(s.Nobody.Error, "404") && strings.Contains(s.Nobody.Error, "not_found"), "nobody", s.Nobody)
	check(strings.Contains(s.Tools.Error, "501") && strings.Contains(s.Tools.Error, "tools"), "tools of the client", s.Tools)

	check(s.Lost.Error != "" && !slices.Contains(s.Lost.Types, "RUN_FINISHED"), "the stream that was to break off", s.Lost)
	check(s.Back.Error == "" && s.BackThread.roles() == "user assistant" && s.BackThread.last() == numbered(), "the same request again", s.BackThread)
	check(s.Live.Error == "" && s.LiveThread.roles() == "user assistant" && s.LiveThread.last() == numbered(), "a look while it runs", s.LiveThread)
}
