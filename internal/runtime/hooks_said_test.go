package runtime

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// What hooks write and how they exit, and what it means for each event.
func TestHookVerdict(t *testing.T) {
	said := func(text string) tool.HookOutput { return tool.HookOutput{Stdout: text} }
	for _, c := range []struct {
		event string
		hook  agent.Hook
		out   []tool.HookOutput
		err   error
		want  string
	}{
		{event: agent.HookPreToolUse, out: []tool.HookOutput{said(""), said("plain words")}, want: ""},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{{ExitCode: 2, Stderr: " no \n"}}, want: "blocked no"},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{{ExitCode: 2, Stdout: `{"reason":"so"}`}}, want: "blocked so"},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{said(`{"decision":"block","reason":"a"}`), said(`{"continue":false,"stop_reason":"b"}`)}, want: "blocked a|b"},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{said(`{"hook_specific_output":{"permission_decision":"deny","permission_decision_reason":"c"}}`)}, want: "blocked c"},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{{ExitCode: 1, Stderr: "oops"}}, hook: agent.Hook{Name: "h", OnError: "ignore"}, want: `blocked The hook "h" failed: exit code 1: oops`},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{{}}, hook: agent.Hook{Name: "h"}, err: errors.New("gone"), want: `blocked The hook "h" failed: gone`},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{said(`{"decision":"yes"}`)}, hook: agent.Hook{Name: "h"}, want: `blocked The hook "h" failed: decision is "yes"; the only one is block`},
		{event: agent.HookPreToolUse, out: []tool.HookOutput{said(`{} {}`)}, hook: agent.Hook{Name: "h"}, want: `blocked The hook "h" failed: the output is more than one JSON object`},
		{
			event: agent.HookPreToolUse, want: `ask {"a":9,"b":2,"c":"<3>"}`,
			out: []tool.HookOutput{
				said(`{"hook_specific_output":{"permission_decision":"ask","updated_input":{"a":9}}}`),
				said(`{"hook_specific_output":{"permission_decision":"allow","updated_input":{"c":"<3>"}}}`),
			},
		},
		{event: agent.HookPermissionRequest, out: []tool.HookOutput{said(`{"hook_specific_output":{"permission_decision":"allow","updated_input":{"a":9}}}`)}, want: "allow"},
		{event: agent.HookPermissionRequest, out: []tool.HookOutput{{ExitCode: 9}}, hook: agent.Hook{Name: "h"}, want: `warned The hook "h" failed: exit code 9`},
		{event: agent.HookPermissionRequest, out: []tool.HookOutput{{ExitCode: 9}}, hook: agent.Hook{Name: "h", OnError: "block"}, want: `blocked The hook "h" failed: exit code 9`},
		{event: agent.HookTurnStart, out: []tool.HookOutput{said(" words \n"), said(`{"hook_specific_output":{"additional_context":"more"}}`)}, want: "told words|more"},
		{event: agent.HookTurnStart, out: []tool.HookOutput{said("words")}, hook: agent.Hook{Name: "h", StrictOutput: true}, want: `warned The hook "h" failed: the output is no JSON object, which strict_output asks for`},
		{event: agent.HookStop, out: []tool.HookOutput{said(`{"hook_specific_output":{"additional_context":"x"}}`)}, want: ""},
		{event: agent.HookStop, out: []tool.HookOutput{said(`{"hook_specific_output":{"additional_context":"x"}}`)}, hook: agent.Hook{Name: "h", StrictOutput: true}, want: `warned The hook "h" failed: additional_context has no meaning for stop`},
		{event: agent.HookStop, out: []tool.HookOutput{{ExitCode: 2, Stderr: "no"}}, hook: agent.Hook{Name: "h"}, want: `warned The hook "h" wants to block, which hooks of stop cannot.`},
		{event: agent.HookStop, out: []tool.HookOutput{{ExitCode: 5}}, hook: agent.Hook{OnError: "ignore"}, want: ""},
		{event: agent.HookStop, out: []tool.HookOutput{said(`{"system_message":"hear"}`)}, want: "warned hear"},
	} {
		v := hookVerdict{event: c.event, arguments: []byte(`{"a":1,"b":2}`)}
		for _, out := range c.out {
			v.add(&c.hook, out, c.err)
		}
		var got []string
		if v.blocked {
			got = append(got, "blocked "+strings.Join(v.messages, "|"))
		}
		if v.decision != "" {
			got = append(got, v.decision)
		}
		if v.changed {
			got = append(got, string(v.arguments))
		}
		if len(v.contexts) > 0 {
			got = append(got, "told "+strings.Join(v.contexts, "|"))
		}
		if len(v.warnings) > 0 {
			got = append(got, "warned "+strings.Join(v.warnings, "|"))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s, %s:\n got %s\nwant %s", c.event, fmt.Sprint(c.out), text, c.want)
		}
	}
}
