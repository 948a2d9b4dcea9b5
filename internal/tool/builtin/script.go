package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const defaultScriptTimeout = 5 * time.Minute

// Script is a tool that an agent file makes of a command line.
type Script struct {
	// Cmd is run by the shell, with the arguments as environment variables.
	Cmd string
	// Description is for the model; "" shows it the command.
	Description string
	// Args are the JSON schemas of the arguments by name. One without a type is a
	// string.
	Args map[string]json.RawMessage
	// Required are the arguments that must be there; nil means all.
	Required []string
	// Env is what the command sees besides the toolset's.
	Env map[string]string
	// WorkingDir is where it runs; "" or relative is seen from the toolset's.
	WorkingDir string
}

// scriptName is what models take as the name of a function.
var (
	scriptName   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// shellVariables are names that every shell knows by itself, so that a command
// may use them without an argument of that name.
var shellVariables = []string{"PATH", "HOME", "PWD", "OLDPWD", "IFS", "TMPDIR", "USER", "SHELL", "LANG"}

// NewScripts returns one tool for each script, by its name. The arguments reach
// the command as environment variables and never as text of the command line,
// so that no argument can become a command. It runs where [NewShell] would; the
// same warning holds. An error has the code invalid.
func NewScripts(scripts map[string]Script, o ShellOptions) (*Toolset, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultScriptTimeout
	}
	h := newHost(o)
	ts := &Toolset{name: "script", close: h.close}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		s := scripts[name]
		schema, err := s.schema(name, o.Env)
		if err != nil {
			return nil, err
		}
		description := s.Description
		if description == "" {
			description = "Runs the command: " + s.Cmd
		}
		ts.entries = append(ts.entries, entry{
			def: tool.Definition{Name: name, Description: description, Parameters: schema},
			run: run(func(ctx context.Context, c tool.Call, args map[string]json.RawMessage) (tool.Result, error) {
				env, problem := s.environment(args)
				if problem != "" {
					return failed("%s The script was not run.", problem), nil
				}
				return h.run(ctx, command{
					line: s.Cmd, dir: within(o.Dir, s.WorkingDir), env: env, timeout: o.Timeout, progress: c.Progress,
				})
			}),
		})
	}
	return ts, nil
}

// schema checks a script and describes its arguments.
func (s *Script) schema(name string, env map[string]string) (json.RawMessage, error) {
	invalid := func(format string, args ...any) (json.RawMessage, error) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "script %q: "+format, append([]any{name}, args...)...)
	}
	if !scriptName.MatchString(name) {
		return invalid("a name has 1 to 64 letters, digits, '_' and '-'")
	}
	if strings.TrimSpace(s.Cmd) == "" {
		return invalid("it has no command")
	}
	if s.Required == nil {
		s.Required = slices.AppendSeq([]string{}, maps.Keys(s.Args))
		slices.Sort(s.Required)
	}
	for _, r := range s.Required {
		if _, ok := s.Args[r]; !ok {
			return invalid("the argument %q is required but not described", r)
		}
	}
	properties := make(map[string]map[string]json.RawMessage)
	for arg, raw := range s.Args {
		if !variableName.MatchString(arg) {
			return invalid("the argument %q is no name of a variable", arg)
		}
		p := map[string]json.RawMessage{}
		if len(raw) > 0 && json.Unmarshal(raw, &p) != nil {
			return invalid("the argument %q is described by what is no object", arg)
		}
		if p["type"] == nil {
			p["type"] = json.RawMessage(`"string"`)
		}
		properties[arg] = p
	}
	// A variable that nothing sets is most often a typo.
	var unknown []string
	os.Expand(s.Cmd, func(v string) string {
		_, isArg := s.Args[v]
		_, isEnv := s.Env[v]
		_, isToolset := env[v]
		if variableName.MatchString(v) && !isArg && !isEnv && !isToolset &&
			!slices.Contains(shellVariables, v) && !assigned(s.Cmd, v) && !slices.Contains(unknown, v) {
			unknown = append(unknown, v)
		}
		return ""
	})
	if len(unknown) > 0 {
		return invalid("its command uses %s, which is no argument", strings.Join(unknown, ", "))
	}
	schema, err := json.Marshal(map[string]any{
		"type": "object", "properties": properties, "required": s.Required, "additionalProperties": false,
	})
	if err != nil {
		return invalid("its arguments are described by what is no JSON schema")
	}
	return schema, nil
}

// assigned reports whether a command sets a variable by itself.
func assigned(cmd, name string) bool {
	for _, before := range []string{name + "=", "for " + name + " ", "read " + name, "read -r " + name} {
		if strings.Contains(cmd, before) {
			return true
		}
	}
	return false
}

// environment turns arguments into variables; problem says why that cannot be.
func (s *Script) environment(args map[string]json.RawMessage) (env map[string]string, problem string) {
	env = maps.Clone(s.Env)
	if env == nil {
		env = map[string]string{}
	}
	for _, name := range s.Required {
		if _, ok := args[name]; !ok {
			return nil, fmt.Sprintf("The argument %q is missing.", name)
		}
	}
	for name, raw := range args {
		if _, ok := s.Args[name]; !ok {
			return nil, fmt.Sprintf("There is no argument %q.", name)
		}
		value := string(raw) // numbers, lists and objects as JSON
		var text string
		switch {
		case value == "null":
			continue
		case json.Unmarshal(raw, &text) == nil:
			value = text
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Sprintf("The argument %q contains a NUL character.", name)
		}
		env[name] = value
	}
	return env, ""
}
