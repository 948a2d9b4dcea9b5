package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
)

// samples holds, for every key that is offered, a file with it and a text that
// must then be in the team's JSON: the key has an effect. %s of agent, model, …
// samples is put where the key belongs.
var samples = map[string]struct{ yaml, want string }{
	"file.version":     {"version: \"3\"", `"version":"3"`},
	"file.agents":      {"", `"root":{`},
	"file.models":      {"models: {m: {provider: openai, model: x}}", `"models":{"m"`},
	"file.providers":   {"providers: {p: {base_url: https://x.example}}", `"providers":{"p"`},
	"file.mcps":        {"mcps: {s: {command: c}}", `"mcps":{"s"`},
	"file.metadata":    {"metadata: {author: me}", `"author":"me"`},
	"file.permissions": {"permissions: {deny: [x]}", `"deny":["x"]`},

	"metadata.author":      {"author: v1", `"author":"v1"`},
	"metadata.license":     {"license: v1", `"license":"v1"`},
	"metadata.readme":      {"readme: v1", `"readme":"v1"`},
	"metadata.description": {"description: v1", `"description":"v1"`},
	"metadata.version":     {"version: v1", `"version":"v1"`},
	"metadata.tags":        {"tags: [v1]", `"tags":["v1"]`},

	"permissions.allow": {"allow: [x]", `"allow":["x"]`},
	"permissions.ask":   {"ask: [x]", `"ask":["x"]`},
	"permissions.deny":  {"deny: [x]", `"deny":["x"]`},

	"agent.name":                      {"name: v1", `"name":"v1"`},
	"agent.model":                     {"", `"model":"openai/x"`},
	"agent.fallback":                  {"fallback: {retries: 0}", `"fallback":{"retries":0}`},
	"agent.description":               {"description: v1", `"description":"v1"`},
	"agent.welcome_message":           {"welcome_message: v1", `"welcome_message":"v1"`},
	"agent.instruction":               {"instruction: v1", `"instruction":"v1"`},
	"agent.toolsets":                  {"toolsets: [{type: think}]", `"toolsets":[{"type":"think"}]`},
	"agent.sub_agents":                {"sub_agents: [peer]", `"sub_agents":["peer"]`},
	"agent.handoffs":                  {"handoffs: [peer]", `"handoffs":["peer"]`},
	"agent.commands":                  {"commands: {c: v1}", `"commands":{"c":"v1"}`},
	"agent.add_date":                  {"add_date: true", `"add_date":true`},
	"agent.add_environment_info":      {"add_environment_info: true", `"add_environment_info":true`},
	"agent.add_description_parameter": {"add_description_parameter: true", `"add_description_parameter":true`},
	"agent.add_prompt_files":          {"add_prompt_files: [v1]", `"add_prompt_files":["v1"]`},
	"agent.max_iterations":            {"max_iterations: 7", `"max_iterations":7`},
	"agent.num_history_items":         {"num_history_items: 7", `"num_history_items":7`},
	"agent.approval_timeout":          {"approval_timeout: 90s", `"approval_timeout":"1m30s"`},
	"agent.structured_output":         {"structured_output: {name: v1, schema: {type: object}}", `"structured_output":{"name":"v1"`},

	"agent.hooks": {"hooks: {stop: [{type: command, command: c}]}", `"hooks":{"stop":[{"type":"command","command":"c"}]}`},

	"hooks.pre_tool_use":       {"pre_tool_use: [{hooks: [{type: command, command: c}]}]", `"pre_tool_use":[{"hooks":[{`},
	"hooks.post_tool_use":      {"post_tool_use: [{hooks: [{type: command, command: c}]}]", `"post_tool_use":[{"hooks":[{`},
	"hooks.permission_request": {"permission_request: [{hooks: [{type: command, command: c}]}]", `"permission_request":[{"hooks":[{`},
	"hooks.session_start":      {"session_start: [{type: command, command: c}]", `"session_start":[{`},
	"hooks.session_end":        {"session_end: [{type: command, command: c}]", `"session_end":[{`},
	"hooks.user_prompt_submit": {"user_prompt_submit: [{type: command, command: c}]", `"user_prompt_submit":[{`},
	"hooks.turn_start":         {"turn_start: [{type: command, command: c}]", `"turn_start":[{`},
	"hooks.stop":               {"stop: [{type: command, command: c}]", `"stop":[{`},
	"hooks.on_user_input":      {"on_user_input: [{type: command, command: c}]", `"on_user_input":[{`},
	"hooks.on_error":           {"on_error: [{type: command, command: c}]", `"on_error":[{`},
	"hooks.on_max_iterations":  {"on_max_iterations: [{type: command, command: c}]", `"on_max_iterations":[{`},
	"hooks.notification":       {"notification: [{type: command, command: c}]", `"notification":[{`},

	"hook_matcher.matcher":      {"matcher: v1", `"matcher":"v1"`},
	"hook_matcher.hooks":        {"", `"hooks":[{"type":"command"`},
	"hook_matcher.preempt_yolo": {"preempt_yolo: true", `"preempt_yolo":true`},

	"hook.name":          {"name: v1", `"name":"v1"`},
	"hook.type":          {"", `"type":"command"`},
	"hook.command":       {"", `"command":"c"`},
	"hook.timeout":       {"timeout: 7", `"timeout":7`},
	"hook.env":           {"env: {A: b}", `"env":{"A":"b"}`},
	"hook.working_dir":   {"working_dir: v1", `"working_dir":"v1"`},
	"hook.on_error":      {"on_error: block", `"on_error":"block"`},
	"hook.strict_output": {"strict_output: true", `"strict_output":true`},

	"fallback.models":   {"models: [openai/y]", `"models":["openai/y"]`},
	"fallback.retries":  {"retries: -1", `"retries":-1`},
	"fallback.cooldown": {"cooldown: 30", `"cooldown":"30s"`},

	"structured_output.name":        {"", `"name":"v0"`},
	"structured_output.description": {"description: v1", `"description":"v1"`},
	"structured_output.strict":      {"strict: true", `"strict":true`},
	"structured_output.schema":      {"", `"schema":{"type":"object"}`},

	"command.description": {"description: v1", `"description":"v1"`},
	"command.instruction": {"instruction: v1", `"c":"v1"`},
	"command.agent":       {"agent: peer", `"c":{"agent":"peer"}`},

	"model.provider":            {"", `"provider":"openai"`},
	"model.model":               {"", `"model":"x"`},
	"model.description":         {"description: v1", `"description":"v1"`},
	"model.temperature":         {"temperature: 0", `"temperature":0`},
	"model.top_p":               {"top_p: 0", `"top_p":0`},
	"model.frequency_penalty":   {"frequency_penalty: -1.5", `"frequency_penalty":-1.5`},
	"model.presence_penalty":    {"presence_penalty: 0", `"presence_penalty":0`},
	"model.max_tokens":          {"max_tokens: 0", `"max_tokens":0`},
	"model.base_url":            {"base_url: http://x.example/v1", `"base_url":"http://x.example/v1"`},
	"model.parallel_tool_calls": {"parallel_tool_calls: false", `"parallel_tool_calls":false`},
	"model.token_key":           {"token_key: v1", `"token_key":"v1"`},
	"model.provider_opts":       {"provider_opts: {a: [1]}", `"provider_opts":{"a":[1]}`},
	"model.track_usage":         {"track_usage: false", `"track_usage":false`},
	"model.thinking_budget":     {"thinking_budget: adaptive/high", `"thinking_budget":"adaptive/high"`},

	"provider.provider":            {"provider: anthropic", `"provider":"anthropic"`},
	"provider.api_type":            {"api_type: openai_responses", `"api_type":"openai_responses"`},
	"provider.base_url":            {"", `"base_url":"https://x.example"`},
	"provider.token_key":           {"token_key: v1", `"token_key":"v1"`},
	"provider.temperature":         {"temperature: 0", `"temperature":0`},
	"provider.top_p":               {"top_p: 0", `"top_p":0`},
	"provider.frequency_penalty":   {"frequency_penalty: 0", `"frequency_penalty":0`},
	"provider.presence_penalty":    {"presence_penalty: 0", `"presence_penalty":0`},
	"provider.max_tokens":          {"max_tokens: 5", `"max_tokens":5`},
	"provider.parallel_tool_calls": {"parallel_tool_calls: false", `"parallel_tool_calls":false`},
	"provider.track_usage":         {"track_usage: false", `"track_usage":false`},
	"provider.thinking_budget":     {"thinking_budget: 0", `"thinking_budget":0`},
	"provider.provider_opts":       {"provider_opts: {a: 1}", `"provider_opts":{"a":1}`},

	"toolset.type":            {"type: think", `{"type":"think"}`},
	"toolset.name":            {"type: mcp, command: c, name: v1", `"name":"v1"`},
	"toolset.tools":           {"type: think, tools: [v1]", `"tools":["v1"]`},
	"toolset.instruction":     {"type: think, instruction: v1", `"instruction":"v1"`},
	"toolset.defer":           {"type: think, defer: true", `"defer":true`},
	"toolset.model":           {"type: think, model: openai/z", `"model":"openai/z"`},
	"toolset.on_unknown":      {"type: think, on_unknown: {v1: tell}", `"on_unknown":{"v1":"tell"}`},
	"toolset.command":         {"type: mcp, command: v1", `"command":"v1"`},
	"toolset.args":            {"type: mcp, command: c, args: [1]", `"args":["1"]`},
	"toolset.env":             {"type: shell, env: {A: 1}", `"env":{"A":"1"}`},
	"toolset.remote":          {"type: mcp, remote: {url: \"https://x.example\"}", `"remote":{"url":"https://x.example"}`},
	"toolset.ref":             {"type: mcp, ref: docker:v1", `"ref":"docker:v1"`},
	"toolset.config":          {"type: mcp, ref: docker:v1, config: {b: 1, a: 2}", `"config":{"b":1,"a":2}`},
	"toolset.shared":          {"type: todo, shared: true", `"shared":true`},
	"toolset.path":            {"type: memory, path: v1", `"path":"v1"`},
	"toolset.post_edit":       {"type: filesystem, post_edit: [{path: a, cmd: b}]", `"post_edit":[{"path":"a","cmd":"b"}]`},
	"toolset.ignore_vcs":      {"type: filesystem, ignore_vcs: false", `"ignore_vcs":false`},
	"toolset.shell":           {"type: script, shell: {s: {cmd: v1}}", `"shell":{"s":{"cmd":"v1"}}`},
	"toolset.timeout":         {"type: fetch, timeout: 5", `"timeout":5`},
	"toolset.api_config":      {"type: api, api_config: {name: n, method: GET, endpoint: \"https://x.example\"}", `"api_config":{"name":"n"`},
	"toolset.url":             {"type: a2a, url: \"https://x.example\"", `"url":"https://x.example"`},
	"toolset.readonly":        {"type: think, readonly: true", `"readonly":true`},
	"toolset.working_dir":     {"type: mcp, command: c, working_dir: v1", `"working_dir":"v1"`},
	"toolset.allowed_domains": {"type: fetch, allowed_domains: [v1]", `"allowed_domains":["v1"]`},
	"toolset.blocked_domains": {"type: fetch, blocked_domains: [10.0.0.0/8]", `"blocked_domains":["10.0.0.0/8"]`},
	"toolset.headers":         {"type: openapi, url: \"https://x.example\", headers: {A: b}", `"headers":{"A":"b"}`},

	"remote.url":            {"", `"url":"https://x.example"`},
	"remote.transport_type": {"transport_type: streamable-http", `"transport_type":"streamable"`},
	"remote.headers":        {"headers: {A: b}", `"headers":{"A":"b"}`},

	"post_edit.path": {"", `"path":"p"`},
	"post_edit.cmd":  {"", `"cmd":"c"`},

	"script.cmd":         {"", `"cmd":"c"`},
	"script.description": {"description: v1", `"description":"v1"`},
	"script.args":        {"args: {z: {}, a: {}}", `"args":{"z":{},"a":{}}`},
	"script.required":    {"required: [a]", `"required":["a"]`},
	"script.env":         {"env: {A: b}", `"env":{"A":"b"}`},
	"script.working_dir": {"working_dir: v1", `"working_dir":"v1"`},

	"api_config.name":          {"", `"name":"n"`},
	"api_config.instruction":   {"instruction: v1", `"instruction":"v1"`},
	"api_config.endpoint":      {"", `"endpoint":"https://x.example/${a}"`},
	"api_config.method":        {"", `"method":"GET"`},
	"api_config.headers":       {"headers: {A: b}", `"headers":{"A":"b"}`},
	"api_config.args":          {"args: {b: {}, a: {}}", `"args":{"b":{},"a":{}}`},
	"api_config.required":      {"required: [a]", `"required":["a"]`},
	"api_config.output_schema": {"output_schema: {b: 1, a: 2}", `"output_schema":{"b":1,"a":2}`},

	"toolset:mcp":         {"type: mcp, command: c", `"type":"mcp"`},
	"toolset:think":       {"type: think", `"type":"think"`},
	"toolset:todo":        {"type: todo", `"type":"todo"`},
	"toolset:memory":      {"type: memory", `"type":"memory"`},
	"toolset:filesystem":  {"type: filesystem", `"type":"filesystem"`},
	"toolset:shell":       {"type: shell", `"type":"shell"`},
	"toolset:script":      {"type: script, shell: {s: {cmd: c}}", `"type":"script"`},
	"toolset:fetch":       {"type: fetch", `"type":"fetch"`},
	"toolset:api":         {"type: api, api_config: {name: n, method: GET, endpoint: \"https://x.example\"}", `"type":"api"`},
	"toolset:openapi":     {"type: openapi, url: \"https://x.example\"", `"type":"openapi"`},
	"toolset:a2a":         {"type: a2a, url: \"https://x.example\"", `"type":"a2a"`},
	"toolset:user_prompt": {"type: user_prompt", `"type":"user_prompt"`},
}

// place puts keys where a section is. In flow style, without braces.
var place = map[string]string{
	"metadata":          "metadata: {%s}",
	"permissions":       "permissions: {%s}",
	"fallback":          "agents: {root: {model: openai/x, fallback: {%s}}}",
	"structured_output": "agents: {root: {model: openai/x, structured_output: {name: v0, schema: {type: object}, %s}}}",
	"command":           "agents: {root: {model: openai/x, commands: {c: {%s}}}, peer: {model: openai/x}}",
	"agent":             "agents: {root: {model: openai/x, %s}, peer: {model: openai/x}}",
	"hooks":             "agents: {root: {model: openai/x, hooks: {%s}}}",
	"hook_matcher":      "agents: {root: {model: openai/x, hooks: {pre_tool_use: [{hooks: [{type: command, command: c}], %s}]}}}",
	"hook":              "agents: {root: {model: openai/x, hooks: {user_prompt_submit: [{type: command, command: c, %s}]}}}",
	"model":             "models: {m: {provider: openai, model: x, %s}}",
	"provider":          "providers: {p: {base_url: \"https://x.example\", %s}}",
	"toolset":           "agents: {root: {model: openai/x, toolsets: [{%s}]}}",
	"remote":            "agents: {root: {model: openai/x, toolsets: [{type: mcp, remote: {url: \"https://x.example\", %s}}]}}",
	"post_edit":         "agents: {root: {model: openai/x, toolsets: [{type: filesystem, post_edit: [{path: p, cmd: c, %s}]}]}}",
	"script":            "agents: {root: {model: openai/x, toolsets: [{type: script, shell: {s: {cmd: c, %s}}}]}}",
	"api_config":        "agents: {root: {model: openai/x, toolsets: [{type: api, api_config: {name: n, method: GET, endpoint: \"https://x.example/${a}\", %s}}]}}",
}

func sampleFile(section, keys string) string {
	text := keys
	if section != "file" {
		text = fmt.Sprintf(place[section], keys)
	}
	if !strings.Contains(text, "agents:") {
		text += "\nagents: {root: {model: openai/x}}"
	}
	return text + "\n"
}

// sectionOf splits an id into its section and the key or type in it.
func sectionOf(id string) (section, name string) {
	if section, name, ok := strings.Cut(id, ":"); ok {
		return section, name
	}
	section, name, _ = strings.Cut(id, ".")
	return section, name
}

// Every key either has an effect on the team or is refused by its name.
func TestEveryKey(t *testing.T) {
	for _, k := range Keys() {
		t.Run(k.ID, func(t *testing.T) {
			section, name := sectionOf(k.ID)
			if !k.Offered {
				keys := name + ": {}"
				if strings.Contains(k.ID, ":") {
					keys = "type: " + name
				} else if section == "toolset" {
					keys = "type: mcp, command: c, " + keys
				}
				checkRefused(t, sampleFile(section, keys), name, Options{MCPCatalog: true})
				return
			}
			s, ok := samples[k.ID]
			if !ok {
				t.Fatalf("no sample: add one that shows what the key does")
			}
			file := sampleFile(section, s.yaml)
			team, err := Parse("sample.yaml", []byte(file), Options{MCPCatalog: true})
			if err != nil {
				t.Fatalf("%s%v", file, err)
			}
			view, err := json.Marshal(team)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(view), s.want) {
				t.Errorf("%s\nwithout %s in\n%s", file, s.want, view)
			}
			// A deployment can refuse each of them.
			checkRefused(t, file, name, Options{MCPCatalog: true, NotOffered: map[string]string{k.ID: "not here"}})
			if k.Sandbox {
				checkRefused(t, file, name, Options{MCPCatalog: true, Hosted: true})
			}
		})
	}
}

// checkRefused parses a file that must be refused as not offered, with the name.
func checkRefused(t *testing.T, file, name string, opt Options) {
	t.Helper()
	_, err := Parse("sample.yaml", []byte(file), opt)
	if holdfast.CodeOf(err) != holdfast.CodeNotOffered {
		t.Fatalf("error %v, want one with code not_offered, for\n%s", err, file)
	}
	var fe *FileError
	if !errors.As(err, &fe) || !strings.Contains(fe.Error(), "not offered in this deployment: ") || !strings.Contains(fe.Error(), "`"+name+"`") {
		t.Errorf("the error does not name %s: %v", name, err)
	}
}

// The keys that agent-config tables of the contract name, so that none of them
// gets lost from the tables here.
func TestContractKeys(t *testing.T) {
	known := map[string]bool{}
	for _, k := range Keys() {
		known[k.ID] = true
	}
	for section, keys := range map[string]string{
		"file.": "agents models metadata providers permissions mcps rag env",
		"agent.": `model description instruction sub_agents toolsets add_date add_environment_info name
			max_iterations num_history_items commands structured_output welcome_message handoffs fallback
			add_description_parameter add_prompt_files skills rag hooks code_mode_tools`,
		"metadata.":          "author license readme version description",
		"provider.":          "api_type base_url token_key",
		"permissions.":       "allow ask deny",
		"structured_output.": "name description schema strict",
		"fallback.":          "models retries cooldown",
		"model.": `provider model temperature top_p frequency_penalty presence_penalty max_tokens base_url
			parallel_tool_calls token_key provider_opts track_usage thinking_budget routing`,
		"toolset.": `command args env remote ref config tools shared path post_edit ignore_vcs shell timeout
			instruction defer model`,
		"remote.":    "url transport_type headers",
		"post_edit.": "path cmd",
		"script.":    "cmd description args required env working_dir",
		"toolset:": `mcp think todo memory filesystem shell script fetch api openapi a2a user_prompt
			model_picker background_agents tasks lsp`,
	} {
		for _, key := range strings.Fields(keys) {
			if !known[section+key] {
				t.Errorf("%s%s is not known", section, key)
			}
		}
	}
	for _, key := range []string{"agent.think", "agent.todo", "agent.memory", "model.type"} {
		if versionZero[key] == "" {
			t.Errorf("%s of version 0 is not known", key)
		}
	}
}

// schemaSays returns a function that holds a file against the JSON schema.
func schemaSays(t testing.TB) func(source []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("agent.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("agent.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(source []byte) error {
		var v any
		if err := yaml.Load(source, &v); err != nil {
			t.Fatal(err)
		}
		js, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(inst)
	}
}

func TestJSONSchema(t *testing.T) {
	golden(t, "../../docs/agent-schema.json", JSONSchema())
	valid := schemaSays(t)
	for _, k := range Keys() {
		section, _ := sectionOf(k.ID)
		if s, ok := samples[k.ID]; ok {
			if err := valid([]byte(sampleFile(section, s.yaml))); err != nil {
				t.Errorf("%s: %v", k.ID, err)
			}
		}
	}
	// What the loader takes the schema takes, and the other way round, except for
	// version 0 and for references.
	for file, want := range map[string]bool{
		"v1": true, "v2": true, "v7": true, "newest": true, "alloy": true,
		"typos": false, "not_offered": false, "shapes": false, "v0_team": false, "future": false,
	} {
		source, err := os.ReadFile(filepath.Join("testdata", file+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(source); (err == nil) != want {
			t.Errorf("%s: the schema says %v", file, err)
		}
	}
}
