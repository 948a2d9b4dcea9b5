package builtin

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	defaultShellTimeout = 30 * time.Second
	maxShellTimeout     = time.Hour
)

// ShellOptions configure the shell and the scripts. The zero value works.
type ShellOptions struct {
	// Dir is where commands run; "" is where the worker runs.
	Dir string
	// Env is what commands see besides PATH and HOME.
	Env map[string]string
	// InheritEnv hands the worker's whole environment to commands. For
	// development on one's own machine only.
	InheritEnv bool
	// Shell runs the commands, with -c; "" is /bin/sh.
	Shell string
	// Sandbox runs the commands; nil runs them as the worker. With one, InheritEnv is
	// not used and Dir is the sandbox's if it is "".
	Sandbox *tool.Sandbox
	// Timeout is for calls that name none; 0 is 30 seconds for the shell and 5
	// minutes for scripts.
	Timeout time.Duration
	// Jobs keeps the background jobs of the shell's sessions; nil means that the shell
	// keeps its own, which end with it.
	Jobs *Jobs
}

type shellArguments struct {
	commandArguments
	Timeout whole `json:"timeout"`
}

// commandArguments are those of every tool that takes a command. Many models know a
// shell whose argument is "command": it is taken for cmd.
type commandArguments struct {
	Cmd     string `json:"cmd"`
	Command string `json:"command"`
	Cwd     string `json:"cwd"`
}

// line is the command; problem says why there is none that can be run.
func (a commandArguments) line() (line, problem string) {
	if line = a.Cmd; strings.TrimSpace(line) == "" {
		line = a.Command
	}
	switch {
	case strings.TrimSpace(line) == "":
		return "", "The command is empty: give it as cmd."
	case strings.ContainsRune(line, 0):
		return "", "The command contains a NUL character."
	case strings.ContainsRune(a.Cwd, 0):
		return "", "The directory contains a NUL character."
	}
	return line, ""
}

// NewShell returns the shell toolset. Its commands run on the machine of the
// worker with all that the worker may do: it is for one's own machine and for
// workers in a sandbox, never for tenants who do not trust each other.
//
// A command ends with its process group: what it leaves in the background is
// ended with it, unless it left the group (setsid): keeping that in is for a sandbox.
// Standard input is empty. What an output has too much goes to a file, which the result
// names and Close removes. Jobs in the background are [Jobs].
func NewShell(o ShellOptions) *Toolset {
	h := newHost(o)
	if o.Timeout <= 0 {
		o.Timeout = defaultShellTimeout
	}
	jobs := newJobTools(h, o)
	return &Toolset{
		name: "shell",
		close: func() error {
			jobs.close()
			return h.close()
		},
		instructions: "Each call of shell is a shell of its own: a changed directory or variable is gone afterwards, and processes " +
			"in the background end with the call. Give a timeout to what takes longer than half a minute. Start what is to " +
			"go on beside your work, a server or a watcher, with run_background_job.",
		entries: append([]entry{{
			def: tool.Definition{
				Name: "shell", Title: "Run shell command", Description: "Run a command in a shell and give back what it wrote.",
				Parameters: object([]string{"cmd"}, text("cmd", "The command"), text("cwd", "Directory to run in; the default is the working directory"),
					number("timeout", "Seconds after which the command is stopped; the default is 30")),
			},
			run: run(func(ctx context.Context, c tool.Call, a shellArguments) (tool.Result, error) {
				line, problem := a.line()
				if problem != "" {
					return failed("%s", problem), nil
				}
				timeout := o.Timeout
				if a.Timeout < 0 || a.Timeout > whole(maxShellTimeout/time.Second) {
					return failed("The timeout must be between 1 and %d seconds.", int(maxShellTimeout/time.Second)), nil
				} else if a.Timeout > 0 {
					timeout = time.Duration(a.Timeout) * time.Second
				}
				return h.run(ctx, command{line: line, dir: within(o.Dir, a.Cwd), timeout: timeout, progress: c.Progress})
			}),
		}}, jobs.entries()...),
	}
}

// within resolves a directory against another one.
func within(base, dir string) string {
	if dir == "" || filepath.IsAbs(dir) {
		if dir == "" {
			return base
		}
		return dir
	}
	return filepath.Join(base, dir)
}
