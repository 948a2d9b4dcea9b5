package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
)

// Simple returns an agent file with one agent. model is provider/model.
func Simple(model, description, instruction string) ([]byte, error) {
	root := map[string]any{"model": model, "instruction": instruction}
	if description != "" {
		root["description"] = description
	}
	n, err := toNode(map[string]any{"version": "2", "agents": map[string]any{"root": root}})
	if err != nil {
		return nil, err
	}
	out, err := yaml.Dump(n, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write an agent file: %w", err)
	}
	return out, nil
}

// AskModel asks a model and returns all of its answer. The messages begin with a
// system message.
type AskModel func(ctx context.Context, messages []holdfast.Message) (string, error)

// Composed is an agent file that a model wrote.
type Composed struct {
	// Name is what the model calls the file, without .yaml; fit for [FileName].
	Name   string
	Source []byte
	// Out is the model's answer from which Source was taken.
	Out string
}

const (
	// maxTries is how often a model may correct its file.
	maxTries = 3
	// maxPrompt is the most bytes of a prompt.
	maxPrompt = 100 << 10
)

// Compose has a model write an agent file after a user's description. What does
// not parse goes back to the model with its problems, [maxTries] times in all.
// models are what agents of the file may use. Errors: CodeInvalid for the prompt,
// CodeModelFailed if the model cannot do it, else those of ask.
func Compose(ctx context.Context, ask AskModel, prompt string, models []string, opt Options) (Composed, error) {
	switch {
	case strings.TrimSpace(prompt) == "":
		return Composed{}, holdfast.Errorf(holdfast.CodeInvalid, "prompt: say what the agent is to do")
	case len(prompt) > maxPrompt:
		return Composed{}, holdfast.Errorf(holdfast.CodeTooLarge, "prompt: longer than %d bytes", maxPrompt)
	}
	messages := []holdfast.Message{
		{Role: holdfast.RoleSystem, Content: composeInstruction(models, opt)},
		{Role: holdfast.RoleUser, Content: prompt},
	}
	var problem error
	for range maxTries {
		out, err := ask(ctx, messages)
		if err != nil {
			return Composed{}, fmt.Errorf("ask a model for an agent file: %w", err)
		}
		source := fenced(out)
		var team *Team
		if team, problem = Parse("agent.yaml", source, opt); problem == nil {
			return Composed{Name: nameOf(source, team, prompt), Source: source, Out: out}, nil
		}
		messages = append(messages,
			holdfast.Message{Role: holdfast.RoleAssistant, Content: out},
			holdfast.Message{Role: holdfast.RoleUser, Content: "The file cannot be used:\n" + holdfast.PublicMessage(problem) + "\nWrite the whole file again without these mistakes."})
	}
	return Composed{}, holdfast.WrapError(holdfast.CodeModelFailed, problem, "the model wrote no agent file that can be used: "+holdfast.PublicMessage(problem))
}

// composeInstruction is the system prompt: the format with what this deployment
// offers of it.
func composeInstruction(models []string, opt Options) string {
	var types []string
	for _, t := range slices.Sorted(maps.Keys(toolsetTypes)) {
		_, refused := opt.NotOffered["toolset:"+t]
		if !refused && len(toolsetTypes[t].need) == 0 && !(opt.Hosted && !opt.Sandbox && (&Toolset{Type: t}).NeedsSandbox()) {
			types = append(types, t)
		}
	}
	return `You write configuration files for teams of LLM agents. Answer with one YAML file in a fenced code block and nothing else.

The first line of the file is a comment with a short file name in lower case: "# name: trip-planner".
Keys: version (always "2"); agents: a mapping from an agent's name to {model, description, instruction, sub_agents, toolsets, add_date, max_iterations}.
The agent called root talks to the user. sub_agents lists names of other agents in the file that it can give tasks to. A single agent is best unless the work clearly falls into parts.
model is one of: ` + strings.Join(models, ", ") + `.
toolsets is a list of mappings with a key type, one of: ` + strings.Join(types, ", ") + `. A toolset of type mcp needs remote: {url, transport_type: streamable}; use it only for a server that the user names. The others need no further keys. Leave out what the agent does not need.
instruction is the system prompt of the agent: who it is, what it does step by step, what it must not do, in several sentences.
Never write keys, passwords or tokens into the file.`
}

var fence = regexp.MustCompile("(?ms)^[ \t]*```[a-zA-Z]*[ \t]*\r?\n(.*?)^[ \t]*```")

// fenced returns the first fenced block of an answer that has one, else all of
// it.
func fenced(out string) []byte {
	if m := fence.FindStringSubmatch(out); m != nil {
		return []byte(m[1])
	}
	return []byte(strings.TrimSpace(out) + "\n")
}

var nameComment = regexp.MustCompile(`(?m)^#\s*name:\s*(\S+)`)

// nameOf is the name of a file that a model wrote: what it says in its first
// comment, or the beginning of what it is for.
func nameOf(source []byte, team *Team, prompt string) string {
	if m := nameComment.FindSubmatch(source); m != nil {
		if s := slug(stem(string(m[1]))); s != "" {
			return s
		}
	}
	for _, text := range []string{team.Root().Description, prompt} {
		if s := slug(text); s != "" {
			return s
		}
	}
	return "agent"
}

// slug makes a name of at most five words of a text.
func slug(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	s := strings.Join(words[:min(len(words), 5)], "-")
	return strings.Trim(s[:min(len(s), 60)], "-")
}

// maxNames is how many names are tried for a new file.
const maxNames = 100

// CreateNamed stores a file under a name that is free: the given one, or with -2,
// -3 … behind it.
func (l *Library) CreateNamed(ctx context.Context, tenant, name string, source []byte, origin string) (File, error) {
	for i := 1; ; i++ {
		try := stem(name)
		if i > 1 {
			try = fmt.Sprintf("%s-%d", try, i)
		}
		f, err := l.Create(ctx, tenant, try, source, origin)
		if holdfast.CodeOf(err) != holdfast.CodeConflict || i == maxNames {
			return f, err
		}
	}
}

// Problems returns the single problems of an error of this package, nil if it is
// of another kind.
func Problems(err error) []Problem {
	var f *FileError
	if errors.As(err, &f) {
		return f.Problems
	}
	return nil
}
