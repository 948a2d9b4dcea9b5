package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The events of hooks, as files and the commands themselves call them.
const (
	HookPreToolUse        = "pre_tool_use"
	HookPostToolUse       = "post_tool_use"
	HookPermissionRequest = "permission_request"
	HookSessionStart      = "session_start"
	HookSessionEnd        = "session_end"
	HookUserPromptSubmit  = "user_prompt_submit"
	HookTurnStart         = "turn_start"
	HookStop              = "stop"
	HookOnUserInput       = "on_user_input"
	HookOnError           = "on_error"
	HookOnMaxIterations   = "on_max_iterations"
	HookNotification      = "notification"
)

// Hooks are commands that an agent's file has run at certain moments.
type Hooks struct {
	PreToolUse        []*HookMatcher `json:"pre_tool_use,omitempty" doc:"Before a tool call: may deny it, have the user asked, allow it, or change its arguments. One that fails denies the call."`
	PostToolUse       []*HookMatcher `json:"post_tool_use,omitempty" doc:"After a tool call that was made: may end the run."`
	PermissionRequest []*HookMatcher `json:"permission_request,omitempty" doc:"Before the user is asked about a tool call: may allow or deny it instead."`
	SessionStart      []*Hook        `json:"session_start,omitempty" doc:"When an agent begins to work, in each run: what it writes is told to the model for the rest of the run."`
	SessionEnd        []*Hook        `json:"session_end,omitempty" doc:"When an agent's work ends, in each run, also if it failed or was canceled."`
	UserPromptSubmit  []*Hook        `json:"user_prompt_submit,omitempty" doc:"When the user has said something, before the model is asked: may end the run; what it writes is told to the model."`
	TurnStart         []*Hook        `json:"turn_start,omitempty" doc:"Before each model call: what it writes is told to the model in this call."`
	Stop              []*Hook        `json:"stop,omitempty" doc:"When the model has given its answer."`
	OnUserInput       []*Hook        `json:"on_user_input,omitempty" doc:"When the run waits for the user."`
	OnError           []*Hook        `json:"on_error,omitempty" doc:"When the run fails."`
	OnMaxIterations   []*Hook        `json:"on_max_iterations,omitempty" doc:"When the run has used up its iterations and waits."`
	Notification      []*Hook        `json:"notification,omitempty" doc:"With on_error and with on_max_iterations."`
}

// HookMatcher is hooks for some tools.
type HookMatcher struct {
	Matcher string  `json:"matcher,omitempty" doc:"Regular expression for the whole name of the tool, such as shell|edit_file. * or nothing is every tool."`
	Hooks   []*Hook `json:"hooks" required:"true" doc:"The commands, in order."`
	// PreemptYolo is taken and changes nothing.
	PreemptYolo *bool `json:"preempt_yolo,omitempty" doc:"Whether it is asked before what approves calls by itself. Here every hook of pre_tool_use is."`

	pattern *regexp.Regexp // nil for every tool
}

// Hook is one command.
type Hook struct {
	Name         string            `json:"name,omitempty" doc:"A name for messages; the command without it."`
	Type         string            `json:"type" required:"true" enum:"command" doc:"Kind of hook: command."`
	Command      string            `json:"command" required:"true" doc:"Command for the shell. It reads a JSON object from its standard input; docs/hooks.md has the form of both sides."`
	Timeout      *int              `json:"timeout,omitempty" min:"1" max:"3600" doc:"Seconds; 60 if not given."`
	Env          map[string]string `json:"env,omitempty" doc:"Environment variables of the command. ${env.NAME} stands for a secret."`
	WorkingDir   string            `json:"working_dir,omitempty" doc:"Folder in which the command runs, relative to the session's."`
	OnError      string            `json:"on_error,omitempty" enum:"warn,ignore,block" doc:"What a failure does: warn (the default), ignore, or block as exit code 2 does. A hook of pre_tool_use always blocks."`
	StrictOutput bool              `json:"strict_output,omitempty" doc:"Take an output that is no JSON object, or has unknown members, as a failure."`
}

// Label is how messages call the hook.
func (h *Hook) Label() string {
	if h.Name != "" {
		return h.Name
	}
	return shorten(strings.TrimSpace(h.Command))
}

// For returns the hooks of an event, in the order of the file, for a call that has these
// names (none for an event without a call). The same hook twice is one.
func (h *Hooks) For(event string, tools ...string) []*Hook {
	if h == nil {
		return nil
	}
	switch event {
	case HookPreToolUse:
		return matching(h.PreToolUse, tools)
	case HookPostToolUse:
		return matching(h.PostToolUse, tools)
	case HookPermissionRequest:
		return matching(h.PermissionRequest, tools)
	case HookSessionStart:
		return h.SessionStart
	case HookSessionEnd:
		return h.SessionEnd
	case HookUserPromptSubmit:
		return h.UserPromptSubmit
	case HookTurnStart:
		return h.TurnStart
	case HookStop:
		return h.Stop
	case HookOnUserInput:
		return h.OnUserInput
	case HookOnError:
		return h.OnError
	case HookOnMaxIterations:
		return h.OnMaxIterations
	case HookNotification:
		return h.Notification
	}
	return nil
}

func matching(list []*HookMatcher, tools []string) []*Hook {
	var out []*Hook
	for _, m := range list {
		if m.pattern != nil && !slices.ContainsFunc(tools, m.pattern.MatchString) {
			continue
		}
		for _, h := range m.Hooks {
			if !slices.ContainsFunc(out, func(o *Hook) bool { return o.same(h) }) {
				out = append(out, h)
			}
		}
	}
	return out
}

func (h *Hook) same(o *Hook) bool {
	a, b := *h, *o
	a.Timeout, b.Timeout = nil, nil // compared by what they point at
	return fmt.Sprintf("%#v %v", a, deref(h.Timeout)) == fmt.Sprintf("%#v %v", b, deref(o.Timeout))
}

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// builtinHooks says what stands for the functions of cagent that hooks of type
// builtin call.
var builtinHooks = map[string]string{
	"add_context":           "put the text into `instruction`",
	"add_date":              "set add_date: true on the agent",
	"add_environment_info":  "set add_environment_info: true on the agent",
	"add_prompt_files":      "list the files under the agent's `add_prompt_files`",
	"add_git_status":        "use a hook of type command: git status --short --branch",
	"add_git_diff":          "use a hook of type command: git diff --stat",
	"add_directory_listing": "use a hook of type command: ls",
	"add_user_info":         "use a hook of type command: id",
	"add_recent_commits":    "use a hook of type command: git log --oneline -n 10",
	"http_post":             "subscribe to webhooks of the deployment",
	"max_iterations":        "set max_iterations on the agent",
}

// decodeYAML looks at the type first: what else is in a hook of a type that is
// not offered does not matter.
func (h *Hook) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		if _, typ := member(n, "type"); typ != nil && !isNull(typ) {
			switch typ.Value {
			case "builtin":
				_, name := member(n, "command")
				what, instead := "hook of type `builtin`", "use type command"
				if name != nil {
					what += " (" + shorten(name.Value) + ")"
					if text := builtinHooks[name.Value]; text != "" {
						instead = text
					}
				}
				d.notOffered(typ, join(path, "type"), what, instead)
				return
			case "model", "evaluator":
				d.notOffered(typ, join(path, "type"), "hook of type `"+typ.Value+"`", "use `permissions`, or type command")
				return
			}
		}
	}
	d.mapping(n, reflectElem(h), path)
}

// decodeYAML says so where hooks that are for tools have no matcher around them.
func (m *HookMatcher) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		if _, hooks := member(n, "hooks"); hooks == nil {
			if key, _ := member(n, "command"); key != nil {
				d.problem(key, path, "hooks of this event are for tools: write matcher: \"*\" and, under hooks, the list of commands")
				return
			}
		}
	}
	d.mapping(n, reflectElem(m), path)
	if m.Matcher == "" || m.Matcher == "*" {
		return
	}
	var err error
	if m.pattern, err = regexp.Compile("^(?:" + m.Matcher + ")$"); err != nil {
		d.problemAt(path+".matcher", "`matcher` is no regular expression: %v", err)
	}
}

// checkHooks refuses what an event cannot do.
func (d *decoder) checkHooks(h *Hooks, path string) {
	for event, list := range map[string][]*Hook{
		HookSessionStart: h.SessionStart, HookSessionEnd: h.SessionEnd, HookTurnStart: h.TurnStart, HookStop: h.Stop,
		HookOnUserInput: h.OnUserInput, HookOnError: h.OnError, HookOnMaxIterations: h.OnMaxIterations, HookNotification: h.Notification,
	} {
		for i, k := range list {
			if k.OnError == "block" {
				d.problemAt(fmt.Sprintf("%s.%s[%d].on_error", path, event, i), "a hook of `%s` cannot block", event)
			}
		}
	}
}
