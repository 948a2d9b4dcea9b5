package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Team is what an agent file says, upgraded to the newest schema and checked:
// every reference in it resolves. Its JSON form is the file in cagent's keys.
type Team struct {
	// Name is the name under which the file was parsed.
	Name string `json:"-"`
	// Version is the schema version that was taken: the one in the file or, if it
	// names none, [Newest] or "0", whichever the file fits.
	Version Version `json:"version,omitempty" doc:"Schema version of this file. Without it the newest is tried, then 0."`
	// VersionGiven reports whether the file names its version.
	VersionGiven bool `json:"-"`

	Agents AgentList `json:"agents" required:"true" doc:"The agents by name. A run starts with root or, without one, with the first."`
	// Models are as written. What they inherit from a custom provider is in the
	// settings that agents resolve to.
	Models      map[string]*ModelSettings `json:"models,omitempty" doc:"Models by name, for the agents to refer to."`
	Providers   map[string]*Provider      `json:"providers,omitempty" doc:"Custom model providers by name."`
	MCPs        map[string]*Toolset       `json:"mcps,omitempty" doc:"MCP servers by name, for toolsets of type mcp to refer to with ref."`
	Metadata    Metadata                  `json:"metadata,omitzero" doc:"Facts about this file."`
	Permissions *Permissions              `json:"permissions,omitempty" doc:"Which tool calls run without asking, which always ask and which are refused. Deny always wins."`
}

// Version is a schema version: "0" to [Newest].
type Version string

// Root returns the agent that a run starts with: the one called root or, if
// there is none, the first in the file.
func (t *Team) Root() *Agent {
	if a := t.Agent("root"); a != nil {
		return a
	}
	return t.Agents[0]
}

// Agent returns the agent of that name, nil if there is none.
func (t *Team) Agent(name string) *Agent {
	for _, a := range t.Agents {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// AgentList holds agents in the order of the file. Its JSON form is an object,
// in the same order.
type AgentList []*Agent

// MarshalJSON writes an object from name to agent.
func (l AgentList) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, a := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(a.Name)
		if err != nil {
			return nil, fmt.Errorf("encode the name of agent %q: %w", a.Name, err)
		}
		body, err := json.Marshal(a)
		if err != nil {
			return nil, fmt.Errorf("encode agent %q: %w", a.Name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(body)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalAgentList returns the JSON form of the team with agents as an array
// whose elements carry their name as "Name", which newer clients of cagent read.
func (t *Team) MarshalAgentList() ([]byte, error) {
	type named struct {
		Name string `json:"Name"`
		*Agent
	}
	type fields Team // drops the methods, so that agents can be shadowed
	list := make([]named, len(t.Agents))
	for i, a := range t.Agents {
		list[i] = named{a.Name, a}
	}
	out, err := json.Marshal(struct {
		*fields
		Agents []named `json:"agents"`
	}{(*fields)(t), list})
	if err != nil {
		return nil, fmt.Errorf("encode team %s: %w", t.Name, err)
	}
	return out, nil
}

// Metadata is what a file says of itself. It changes nothing in a run.
type Metadata struct {
	Author      string   `json:"author,omitempty" doc:"Who wrote the file."`
	License     string   `json:"license,omitempty" doc:"Licence of the file."`
	Readme      string   `json:"readme,omitempty" doc:"Text for the reader of a catalogue."`
	Description string   `json:"description,omitempty" doc:"One line for the reader of a catalogue."`
	Version     string   `json:"version,omitempty" doc:"Version of the file's content."`
	Tags        []string `json:"tags,omitempty" doc:"Words to find the file by."`
}

// Agent is one agent of a team.
type Agent struct {
	// Name is its key in the file.
	Name string `json:"-"`

	// DisplayName is for people; agents are known by their keys.
	DisplayName string      `json:"name,omitempty" doc:"A name to show to people. Agents refer to each other by their keys."`
	Model       string      `json:"model,omitempty" nonempty:"true" doc:"Name of a model under models, or provider/model. A comma list picks one of several for each call."`
	Fallback    *Fallback   `json:"fallback,omitempty" doc:"What to do when the model fails."`
	Description string      `json:"description,omitempty" doc:"What the agent is for; other agents and people choose it by this."`
	Welcome     string      `json:"welcome_message,omitempty" doc:"Shown to the user before the first message."`
	Instruction string      `json:"instruction,omitempty" doc:"The system prompt. ${env.NAME} and ${env.NAME || \"text\"} stand for a secret."`
	Toolsets    []*Toolset  `json:"toolsets,omitempty" doc:"The tools of the agent."`
	SubAgents   []string    `json:"sub_agents,omitempty" doc:"Agents of this file to which it can transfer a task and wait for the result."`
	Handoffs    []string    `json:"handoffs,omitempty" doc:"Agents of this file to which it can hand over the conversation."`
	Commands    CommandList `json:"commands,omitempty" doc:"Named prompts: a message that begins with /name becomes the prompt. A text, or description, instruction and agent."`

	AddDate            bool `json:"add_date,omitempty" doc:"Tell the model today's date."`
	AddEnvironmentInfo bool `json:"add_environment_info,omitempty" doc:"Tell the model about the place where its tools run."`
	// AddPromptFiles are relative to the session's working directory.
	AddPromptFiles          []string `json:"add_prompt_files,omitempty" sandbox:"true" doc:"Files of the working directory that the system prompt holds, as they are when the model is called, such as AGENTS.md."`
	AddDescriptionParameter bool     `json:"add_description_parameter,omitempty" doc:"Let the model say, in each tool call, what it is for."`

	// MaxIterations is 0 if there is no limit.
	MaxIterations int `json:"max_iterations,omitempty" min:"0" doc:"Model calls in one run before it stops and asks; 0 is no limit."`
	// NumHistoryItems is 0 if all are sent.
	NumHistoryItems int `json:"num_history_items,omitempty" min:"0" doc:"Messages of the history that are sent to the model; 0 is all."`

	// ApprovalTimeout is nil for what the deployment says; 0 is never.
	ApprovalTimeout *Duration `json:"approval_timeout,omitempty" doc:"How long a tool call waits for a decision, such as 10m; then it is rejected with the reason timed out. 0 waits for ever. Default: what the deployment says. A key of Holdfast."`

	StructuredOutput *StructuredOutput `json:"structured_output,omitempty" doc:"A JSON schema that the answer must fit."`

	Hooks *Hooks `json:"hooks,omitempty" sandbox:"true" doc:"Commands that are run at certain moments, where the tools run."`

	// Models is what Model resolves to, at least one. With several, each call
	// picks one.
	Models []*ModelSettings `json:"-"`
	// FallbackModels is what Fallback.Models resolves to, in the order to try.
	FallbackModels []*ModelSettings `json:"-"`
}

// Fallback says what to do when an agent's model fails.
type Fallback struct {
	Models []string `json:"models,omitempty" doc:"Models to try in this order when the model fails; names under models, or provider/model."`
	// Retries is nil for the default. -1 is none.
	Retries *int `json:"retries,omitempty" min:"-1" doc:"Repetitions of a failed call for each model; -1 is none."`
	// Cooldown is nil for the default.
	Cooldown *Duration `json:"cooldown,omitempty" doc:"How long to stay with a fallback before the first model is tried again, such as 30s or 1m."`
}

// StructuredOutput is the schema that an agent's answers must fit.
type StructuredOutput struct {
	Name        string `json:"name" required:"true" doc:"Name of the format."`
	Description string `json:"description,omitempty" doc:"What the format stands for."`
	Strict      bool   `json:"strict,omitempty" doc:"Ask the provider to enforce the schema."`
	Schema      Object `json:"schema" required:"true" doc:"JSON schema of type object."`
}

// Object is a JSON object from a file, its members in the order of the file.
type Object json.RawMessage

// MarshalJSON returns the object as it is.
func (o Object) MarshalJSON() ([]byte, error) { return json.RawMessage(o).MarshalJSON() }

// Command is a named prompt.
type Command struct {
	Name        string `json:"-"`
	Description string `json:"description,omitempty" doc:"One line for completion and help."`
	Instruction string `json:"instruction,omitempty" doc:"The prompt. ${args} stands for what the user typed after the name, ${args[0]} or $1 for its first word; without any it comes behind."`
	Agent       string `json:"agent,omitempty" doc:"Agent of this file that has the conversation from then on."`
}

// CommandList holds commands in the order of the file. Its JSON form is an
// object, in the same order.
type CommandList []*Command

// MarshalJSON writes an object from name to text or, with a description, to
// description and instruction.
func (l CommandList) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range l {
		if i > 0 {
			b.WriteByte(',')
		}
		var value any = c.Instruction
		if c.Description != "" || c.Agent != "" {
			value = c
		}
		pair, err := json.Marshal(map[string]any{c.Name: value})
		if err != nil {
			return nil, fmt.Errorf("encode command %q: %w", c.Name, err)
		}
		b.Write(pair[1 : len(pair)-1])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Provider is a custom model provider: defaults for the models that name it.
type Provider struct {
	Provider          string          `json:"provider,omitempty" doc:"The provider whose protocol it speaks; openai if not given."`
	APIType           string          `json:"api_type,omitempty" enum:"openai_chatcompletions,openai_responses" doc:"Which of OpenAI's two protocols it speaks."`
	BaseURL           string          `json:"base_url,omitempty" format:"uri" doc:"Where its API is."`
	TokenKey          string          `json:"token_key,omitempty" doc:"Name of the secret that holds its key. Without it, none is sent."`
	Temperature       *float64        `json:"temperature,omitempty" min:"0" max:"2" doc:"Default for its models."`
	TopP              *float64        `json:"top_p,omitempty" min:"0" max:"1" doc:"Default for its models."`
	FrequencyPenalty  *float64        `json:"frequency_penalty,omitempty" min:"-2" max:"2" doc:"Default for its models."`
	PresencePenalty   *float64        `json:"presence_penalty,omitempty" min:"-2" max:"2" doc:"Default for its models."`
	MaxTokens         *int64          `json:"max_tokens,omitempty" min:"0" doc:"Default for its models."`
	ParallelToolCalls *bool           `json:"parallel_tool_calls,omitempty" doc:"Default for its models."`
	TrackUsage        *bool           `json:"track_usage,omitempty" doc:"Default for its models."`
	ThinkingBudget    *ThinkingBudget `json:"thinking_budget,omitempty" doc:"Default for its models."`
	ProviderOpts      map[string]any  `json:"provider_opts,omitempty" doc:"Defaults for its models."`
}

// ModelSettings is one model with its parameters. A nil pointer is a parameter
// that was not given and must not be sent; one that was given as 0 is sent as 0.
type ModelSettings struct {
	// Name is the model's key under models or, for one that was written as
	// provider/model, that text.
	Name string `json:"-"`
	// Kind is the provider whose protocol is spoken. It differs from Provider for
	// a custom provider only.
	Kind string `json:"-"`
	// APIType is that of the custom provider, "" if none is given.
	APIType string `json:"-"`
	// NoToken is set for a custom provider without a token_key: calls carry no
	// credentials.
	NoToken bool `json:"-"`
	// Retries is how often a failed call is repeated, where the agent's fallback
	// says so; nil is the default, 0 and -1 are none.
	Retries *int `json:"-"`

	Provider          string          `json:"provider,omitempty" doc:"Provider of the model, or the name of one under providers. Without it, model is a comma list of other models, one of which is picked for each call."`
	Model             string          `json:"model" required:"true" doc:"The provider's name of the model."`
	Description       string          `json:"description,omitempty" doc:"What the model is good for, for people."`
	Temperature       *float64        `json:"temperature,omitempty" min:"0" max:"2" doc:"Sampling temperature. Not sent if not given."`
	TopP              *float64        `json:"top_p,omitempty" min:"0" max:"1" doc:"Nucleus sampling. Not sent if not given."`
	FrequencyPenalty  *float64        `json:"frequency_penalty,omitempty" min:"-2" max:"2" doc:"Not sent if not given."`
	PresencePenalty   *float64        `json:"presence_penalty,omitempty" min:"-2" max:"2" doc:"Not sent if not given."`
	MaxTokens         *int64          `json:"max_tokens,omitempty" min:"0" doc:"Most tokens of one answer. Not sent if not given."`
	BaseURL           string          `json:"base_url,omitempty" format:"uri" doc:"Where the provider's API is, if not in its usual place."`
	ParallelToolCalls *bool           `json:"parallel_tool_calls,omitempty" doc:"Whether one answer may hold several tool calls."`
	TokenKey          string          `json:"token_key,omitempty" doc:"Name of the secret that holds the key, if not the provider's usual one."`
	ProviderOpts      map[string]any  `json:"provider_opts,omitempty" doc:"Options that only this provider knows."`
	TrackUsage        *bool           `json:"track_usage,omitempty" doc:"Whether tokens are counted."`
	ThinkingBudget    *ThinkingBudget `json:"thinking_budget,omitempty" doc:"How much the model may think: tokens (0 is none, -1 as it likes) or an effort."`
}

// ThinkingBudget is a number of tokens ("1024", "0", "-1") or an effort ("low",
// "high", "adaptive/high", …).
type ThinkingBudget string

// MarshalJSON writes tokens as a number and an effort as a text.
func (b ThinkingBudget) MarshalJSON() ([]byte, error) {
	if _, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return []byte(b), nil
	}
	return json.Marshal(string(b))
}

// Duration is a time.Duration written as 30s or 1m; in a file also as a whole
// number of seconds.
type Duration time.Duration

// MarshalJSON writes the form that a file has.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
