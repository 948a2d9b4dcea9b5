package agent

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// section is one kind of mapping in a file: its name in messages and in the ids
// of keys, and the keys that cagent has there and we do not offer.
type section struct {
	name    string // id and name in the JSON schema
	article string // for messages: "an agent", "the file"
	refused map[string]string
}

// sections are all mappings whose keys are fixed. refused says, for each key,
// what to do instead, "" if there is nothing.
var sections = map[reflect.Type]section{
	reflect.TypeFor[Team](): {"file", "the file", map[string]string{
		"audit":      "every event is kept in the session's log",
		"budget":     "limits are set for a tenant or a run",
		"budgets":    "limits are set for a tenant or a run",
		"commands":   "write the commands under each agent's `commands`",
		"env":        "secrets belong to the tenant; name one with a model's `token_key`",
		"evaluators": "use `permissions`",
		"flavors":    "",
		"rag":        "",
		"runtime":    "where agents run is set by the operator",
		"skills":     "",
		"toolsets":   "write the toolsets under each agent's `toolsets`; YAML anchors avoid repetition",
		"workflow":   "use `sub_agents`",
	}},
	reflect.TypeFor[Metadata](): {"metadata", "metadata", nil},
	reflect.TypeFor[Agent](): {"agent", "an agent", map[string]string{
		"add_prompt_files_depth":     "",
		"budgets":                    "limits are set for a tenant or a run",
		"cache":                      "",
		"code_mode_tools":            "",
		"compaction_model":           "the agent's own model writes summaries",
		"compaction_threshold":       "",
		"force_handoff":              "use `handoffs`",
		"enable_bang_commands":       "use a toolset of type shell",
		"harness":                    "",
		"inject_memories":            "use a toolset of type memory; the model asks for what it needs",
		"inject_memories_strategy":   "use a toolset of type memory",
		"instruction_file":           "put the text into `instruction`",
		"max_consecutive_tool_calls": "loops of identical calls are always noticed",
		"max_inject_memories":        "use a toolset of type memory",
		"max_old_tool_call_tokens":   "",
		"max_tool_result_tokens":     "",
		"plan_persona":               "describe the planner as an agent of its own, under `sub_agents` or `handoffs`",
		"rag":                        "",
		"readonly":                   "list the tools that may be used under each toolset's `tools`",
		"redact_secrets":             "",
		"routing":                    "use `sub_agents` or `handoffs`",
		"safety":                     "use `permissions`",
		"session_compaction":         "",
		"skills":                     "",
		"subagents":                  "use `sub_agents`",
		"tool_choice":                "",
		"use_commands":               "write the commands under `commands`",
		"use_skills":                 "",
		"use_toolsets":               "write the toolsets under `toolsets`; YAML anchors avoid repetition",
	}},
	reflect.TypeFor[Fallback](): {"fallback", "fallback", map[string]string{
		"no_fallback_status_codes": "",
	}},
	reflect.TypeFor[StructuredOutput](): {"structured_output", "structured_output", map[string]string{
		"mode": "",
	}},
	reflect.TypeFor[Command](): {"command", "a command", map[string]string{
		"url": "",
	}},
	reflect.TypeFor[Provider](): {"provider", "a provider", map[string]string{
		"auth":             "use `token_key`",
		"compaction_model": "the agent's own model writes summaries",
		"headers":          "",
		"task_budget":      "",
		"unload_api":       "",
	}},
	reflect.TypeFor[ModelSettings](): {"model", "a model", map[string]string{
		"auth":                  "use `token_key`",
		"bypass_models_gateway": "",
		"capabilities":          "",
		"compaction_model":      "the agent's own model writes summaries",
		"compaction_threshold":  "",
		"cost":                  "",
		"env":                   "secrets belong to the tenant; name one with `token_key`",
		"first_available":       "use the agent's `fallback`",
		"output_capabilities":   "",
		"routing":               "",
		"task_budget":           "",
		"title_model":           "the agent's own model writes titles",
	}},
	reflect.TypeFor[Permissions](): {"permissions", "permissions", nil},
	reflect.TypeFor[Toolset](): {"toolset", "a toolset", map[string]string{
		"allow_list":        "",
		"allow_private_ips": "private addresses are opened by the operator",
		"allowed_servers":   "",
		"blocked_servers":   "",
		"deny_list":         "",
		"env_file":          "use `env`; secrets belong to the tenant",
		"escape_html":       "",
		"file_types":        "",
		"lifecycle":         "servers are started, restarted and stopped by the runtime",
		"models":            "",
		"rag_config":        "",
		"recall":            "",
		"safer":             "use `permissions`",
		"sandbox":           "where tools run is set by the operator",
		"sudo_askpass":      "",
		"toon":              "",
		"version":           "install the program beforehand",
		"webhook_config":    "",
	}},
	reflect.TypeFor[Remote](): {"remote", "remote", map[string]string{
		"oauth": "",
	}},
	reflect.TypeFor[Hooks](): {"hooks", "hooks", map[string]string{
		"after_compaction":              "",
		"after_llm_call":                "use stop",
		"before_agent_run":              "use user_prompt_submit",
		"before_compaction":             "",
		"before_llm_call":               "use turn_start; to limit the number of calls, set max_iterations on the agent",
		"on_agent_switch":               "",
		"on_session_resume":             "use session_start",
		"on_tool_approval_decision":     "every decision is in the session's log",
		"pre_compact":                   "",
		"subagent_stop":                 "write session_end under the sub-agent",
		"tool_guard":                    "use pre_tool_use",
		"tool_input_transform":          "use pre_tool_use with updated_input",
		"tool_response_transform":       "",
		"turn_end":                      "",
		"user_followup_submit":          "use user_prompt_submit",
		"user_steering_messages_submit": "use user_prompt_submit",
		"worktree_create":               "",
	}},
	reflect.TypeFor[HookMatcher](): {"hook_matcher", "a matcher of hooks", nil},
	reflect.TypeFor[Hook](): {"hook", "a hook", map[string]string{
		"args":      "write them into `command`",
		"evaluator": "use type command",
		"model":     "use type command",
		"prompt":    "use type command",

		"routing_policy": "use `handoffs`",
		"schema":         "use type command",
	}},
	reflect.TypeFor[PostEdit]():  {"post_edit", "post_edit", nil},
	reflect.TypeFor[Script]():    {"script", "a script", nil},
	reflect.TypeFor[APIConfig](): {"api_config", "api_config", nil},
}

// slips are keys that no schema has and that people write all the same, by
// section.key: what to do instead.
var slips = map[string]string{
	"agent.instructions":  "write `instruction`",
	"agent.prompt":        "write `instruction`",
	"agent.system_prompt": "write `instruction`",
	"agent.tools":         "write `toolsets`, a list such as [{type: shell}]",
	"file.memory":         "write toolsets: [{type: memory}] under each agent",
	"file.model":          "write `agents`, and `model` in each of them",
	"file.tools":          "write `toolsets` under each agent",
	"hook.matcher":        "hooks of this event are for no tool",
	"hook.hooks":          "hooks of this event are for no tool: write the list of commands here",
	"model.api_key":       "put the key into a secret and name it with `token_key`",
	"model.name":          "write `model`",
}

// field is one key of a section, read from the tags of its struct.
type field struct {
	key      string
	index    int
	typ      reflect.Type
	doc      string
	format   string
	enum     []string
	min, max *float64
	required bool
	nonempty bool // required, which the loader says in words of its own
	sandbox  bool
}

// fieldsOf returns the keys of every section, in the order of the struct.
var fieldsOf = func() map[reflect.Type][]field {
	out := map[reflect.Type][]field{}
	for t := range sections {
		for i := range t.NumField() {
			sf := t.Field(i)
			key, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
			if key == "" || key == "-" {
				continue
			}
			f := field{
				key: key, index: i, typ: sf.Type,
				doc: sf.Tag.Get("doc"), format: sf.Tag.Get("format"),
				required: sf.Tag.Get("required") == "true",
				nonempty: sf.Tag.Get("nonempty") == "true",
				sandbox:  sf.Tag.Get("sandbox") == "true",
			}
			if e := sf.Tag.Get("enum"); e != "" {
				f.enum = strings.Split(e, ",")
			}
			f.min, f.max = bound(sf.Tag, "min"), bound(sf.Tag, "max")
			out[t] = append(out[t], f)
		}
	}
	return out
}()

func bound(tag reflect.StructTag, name string) *float64 {
	s, ok := tag.Lookup(name)
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("agent: tag %s:%q is not a number", name, s))
	}
	return &v
}

// keysOf returns the names of a section's keys, sorted.
func keysOf(t reflect.Type) []string {
	var out []string
	for _, f := range fieldsOf[t] {
		out = append(out, f.key)
	}
	slices.Sort(out)
	return out
}

// Key is one key that a file may have.
type Key struct {
	// ID is section.key, such as agent.model or toolset.timeout, or toolset:type
	// for a value of a toolset's type. [Options.NotOffered] takes these.
	ID string
	// Offered is false for keys that cagent has and this build refuses by name.
	Offered bool
	// Sandbox is set for keys that a hosted deployment refuses.
	Sandbox bool
	Doc     string
}

// Keys returns every key that [Parse] knows, sorted by id.
func Keys() []Key {
	var out []Key
	for t, s := range sections {
		for _, f := range fieldsOf[t] {
			out = append(out, Key{ID: s.name + "." + f.key, Offered: true, Sandbox: f.sandbox, Doc: f.doc})
		}
		for key, instead := range s.refused {
			out = append(out, Key{ID: s.name + "." + key, Doc: instead})
		}
	}
	for _, name := range slices.Collect(maps.Keys(toolsetTypes)) {
		out = append(out, Key{ID: "toolset:" + name, Offered: true, Sandbox: toolsetTypes[name].sandbox})
	}
	for name, instead := range refusedTypes {
		out = append(out, Key{ID: "toolset:" + name, Doc: instead})
	}
	slices.SortFunc(out, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	return out
}
