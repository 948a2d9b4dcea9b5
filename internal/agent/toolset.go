package agent

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Toolset is a group of tools of one type. Which of its keys a type takes is in
// one table, which the decoder and the JSON schema share.
type Toolset struct {
	Type        string   `json:"type" required:"true" doc:"Kind of tools."`
	Name        string   `json:"name,omitempty" doc:"Name of the server or agent. Names of a server's tools begin with it and a _."`
	Tools       []string `json:"tools,omitempty" doc:"Names of the tools to offer; all without it."`
	Instruction string   `json:"instruction,omitempty" doc:"How to use these tools, for the system prompt. {ORIGINAL_INSTRUCTIONS} stands for what the toolset itself says."`
	ReadOnly    bool     `json:"readonly,omitempty" doc:"Offer only the tools that change nothing."`
	Defer       *Defer   `json:"defer,omitempty" doc:"Tools that the model must look up before it sees them: true for all, or their names."`
	Model       string   `json:"model,omitempty" doc:"Model for the turn that reads the results of these tools."`

	// OnUnknown is an extension of ours.
	OnUnknown map[string]string `json:"on_unknown,omitempty" doc:"What happens when a worker died in a call, by tool; * stands for the others: ask (the default), tell, retry or fail. Tools that are read-only or idempotent run again anyway."`

	Command string            `json:"command,omitempty" sandbox:"true" doc:"Program that serves MCP on its standard input and output."`
	Args    []string          `json:"args,omitempty" doc:"Arguments of the program."`
	Env     map[string]string `json:"env,omitempty" doc:"Environment variables of the program."`
	WorkDir string            `json:"working_dir,omitempty" sandbox:"true" doc:"Folder in which the program runs, relative to the session's."`
	Remote  *Remote           `json:"remote,omitempty" doc:"MCP server at a URL."`
	Ref     string            `json:"ref,omitempty" doc:"docker:NAME for a server of the operator's catalogue, or a name under mcps."`
	Config  Object            `json:"config,omitempty" doc:"Settings of a server of the catalogue."`

	Shared    bool               `json:"shared,omitempty" doc:"Share the state with the other agents of the session."`
	Path      string             `json:"path,omitempty" doc:"Name of the memory. It is kept for each tenant and agent, whatever the path."`
	PostEdit  []*PostEdit        `json:"post_edit,omitempty" doc:"Commands to run after a file was edited."`
	IgnoreVCS *bool              `json:"ignore_vcs,omitempty" doc:"Leave out what version control ignores; true if not given."`
	Shell     map[string]*Script `json:"shell,omitempty" doc:"Tools by name, each of them a command."`
	Timeout   *int               `json:"timeout,omitempty" min:"1" doc:"Seconds."`
	Allowed   []string           `json:"allowed_domains,omitempty" doc:"Hosts that may be fetched, and no others: a name stands for itself and all below it, .name for those below it, and an address or a CIDR for addresses."`
	Blocked   []string           `json:"blocked_domains,omitempty" doc:"Hosts that may not be fetched, written as under allowed_domains; they win over those."`
	APIConfig *APIConfig         `json:"api_config,omitempty" doc:"The endpoint."`
	URL       string             `json:"url,omitempty" format:"uri" doc:"Where the description or the agent is."`
	Headers   map[string]string  `json:"headers,omitempty" doc:"HTTP headers. ${env.NAME} stands for a secret."`

	// Models is what Model resolves to, empty without it. With several, each call
	// picks one.
	Models []*ModelSettings `json:"-"`
	// MCP is the name under mcps that Ref pointed to, "" otherwise. The fields
	// above are then those of the definition, with this toolset's own over them.
	MCP string `json:"-"`

	written *Toolset // as in the file, if MCP is set
}

// MarshalJSON writes the toolset as the file has it, references not followed.
func (t *Toolset) MarshalJSON() ([]byte, error) {
	type plain Toolset
	if t.written != nil {
		return json.Marshal((*plain)(t.written))
	}
	return json.Marshal((*plain)(t))
}

// NeedsSandbox reports whether the toolset touches the host that runs it.
func (t *Toolset) NeedsSandbox() bool {
	return toolsetTypes[t.Type].sandbox || t.Command != ""
}

// Defer names the tools that are not shown to the model until it asks.
type Defer struct {
	All   bool
	Tools []string
}

// MarshalJSON writes true or the names.
func (d Defer) MarshalJSON() ([]byte, error) {
	if d.All || d.Tools == nil {
		return json.Marshal(d.All)
	}
	return json.Marshal(d.Tools)
}

// Remote is an MCP server at a URL.
type Remote struct {
	URL string `json:"url" required:"true" format:"uri" doc:"Where the server is."`
	// TransportType is "streamable", "sse" or "" (find out).
	TransportType string            `json:"transport_type,omitempty" enum:"streamable,streamable-http,streaming,sse" doc:"MCP transport."`
	Headers       map[string]string `json:"headers,omitempty" doc:"HTTP headers. ${env.NAME} stands for a secret."`
}

// PostEdit is a command to run after a file that matches Path was edited.
type PostEdit struct {
	Path string `json:"path" required:"true" doc:"Pattern of file names."`
	Cmd  string `json:"cmd" required:"true" doc:"Command; $path stands for the file."`
}

// Script is a tool that runs a command.
type Script struct {
	Cmd         string            `json:"cmd" required:"true" doc:"Command for the shell. Arguments are in its environment."`
	Description string            `json:"description,omitempty" doc:"What the tool does, for the model."`
	Args        Object            `json:"args,omitempty" doc:"The properties of the arguments' JSON schema."`
	Required    []string          `json:"required,omitempty" doc:"Arguments that must be given; all without it."`
	Env         map[string]string `json:"env,omitempty" doc:"Environment variables of the command."`
	WorkingDir  string            `json:"working_dir,omitempty" doc:"Folder in which the command runs."`
}

// APIConfig is a tool that calls one HTTP endpoint.
type APIConfig struct {
	Name         string            `json:"name" required:"true" doc:"Name of the tool."`
	Instruction  string            `json:"instruction,omitempty" doc:"What the tool does, for the model."`
	Endpoint     string            `json:"endpoint" required:"true" format:"uri" doc:"URL. ${name} stands for an argument."`
	Method       string            `json:"method" required:"true" enum:"GET,POST,PUT,PATCH,DELETE" doc:"HTTP method."`
	Headers      map[string]string `json:"headers,omitempty" doc:"HTTP headers. ${env.NAME} stands for a secret."`
	Args         Object            `json:"args,omitempty" doc:"The properties of the arguments' JSON schema."`
	Required     []string          `json:"required,omitempty" doc:"Arguments that must be given."`
	OutputSchema Object            `json:"output_schema,omitempty" doc:"JSON schema of the answer."`
}

// toolsetType is what one value of type takes.
type toolsetType struct {
	keys    []string // beside commonKeys
	need    []string // of keys, those that must be given
	sandbox bool     // touches the host
}

// commonKeys may be given for every type.
var commonKeys = []string{"type", "tools", "instruction", "readonly", "defer", "model", "on_unknown"}

// toolsetTypes are the types that are offered.
var toolsetTypes = map[string]toolsetType{
	"mcp":         {keys: []string{"name", "command", "args", "env", "working_dir", "remote", "ref", "config"}},
	"think":       {keys: []string{"shared"}},
	"todo":        {keys: []string{"shared"}},
	"memory":      {keys: []string{"path"}},
	"filesystem":  {keys: []string{"post_edit", "ignore_vcs"}, sandbox: true},
	"shell":       {keys: []string{"env"}, sandbox: true},
	"script":      {keys: []string{"shell", "env"}, need: []string{"shell"}, sandbox: true},
	"fetch":       {keys: []string{"timeout", "allowed_domains", "blocked_domains", "headers"}},
	"api":         {keys: []string{"api_config"}, need: []string{"api_config"}},
	"openapi":     {keys: []string{"url", "name", "headers"}, need: []string{"url"}},
	"a2a":         {keys: []string{"url", "name", "headers"}, need: []string{"url"}},
	"user_prompt": {},
}

// refusedTypes are types that cagent has and we do not offer, with what to do
// instead, if anything.
var refusedTypes = map[string]string{
	"background_agents": "use sub_agents",
	"background_jobs":   "",
	"commands":          "",
	"file":              "use type filesystem",
	"git":               "use type shell or an MCP server",
	"lsp":               "",
	"mcp_catalog":       "list the servers as toolsets of type mcp",
	"model_picker":      "",
	"open_url":          "",
	"plan":              "use type todo",
	"rag":               "",
	"scheduler":         "",
	"session_context":   "",
	"session_plan":      "use type todo",
	"switch_model":      "",
	"tasks":             "use type todo",
	"webhook":           "use type api",
}

// ToolsetTypes returns the types that are offered, sorted.
func ToolsetTypes() []string { return slices.Sorted(maps.Keys(toolsetTypes)) }

// overlay returns the definition under mcps with what the toolset that refers to
// it says on top.
func (t *Toolset) overlay(def *Toolset, name string) *Toolset {
	out := *def
	out.Type, out.MCP, out.written = "mcp", name, t
	if t.Name != "" {
		out.Name = t.Name
	}
	if t.Tools != nil {
		out.Tools = t.Tools
	}
	if t.Instruction != "" {
		out.Instruction = t.Instruction
	}
	if t.ReadOnly {
		out.ReadOnly = true
	}
	if t.WorkDir != "" {
		out.WorkDir = t.WorkDir
	}
	if t.Defer != nil {
		out.Defer = t.Defer
	}
	if t.Model != "" {
		out.Model = t.Model
	}
	if t.OnUnknown != nil {
		out.OnUnknown = t.OnUnknown
	}
	if t.Config != nil {
		out.Config = t.Config
	}
	if t.Env != nil {
		out.Env = maps.Clone(def.Env)
		if out.Env == nil {
			out.Env = map[string]string{}
		}
		maps.Copy(out.Env, t.Env)
	}
	return &out
}

// isCatalogRef reports whether ref names a server of the operator's catalogue.
func isCatalogRef(ref string) bool { return strings.HasPrefix(ref, "docker:") }
