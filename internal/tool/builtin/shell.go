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
}

type shellArguments struct {
	Cmd     string `json:"cmd"`
	Cwd     string `json:"cwd"`
	Timeout int    `json:"timeout"`
}

// NewShell returns the shell toolset. Its commands run on the machine of the
// worker with all that the worker may do: it is for one's own machine and for
// workers in a sandbox, never for tenants who do not trust each other.
//
// A command ends with its process group: what it leaves in the background is
// ended with it. Standard input is empty. What an output has too much goes to a
// file, which the result names and Close removes.
func NewShell(o ShellOptions) *Toolset {
	h := newHost(o)
	if o.Timeout <= 0 {
		o.Timeout = defaultShellTimeout
	}
	return &Toolset{
		name:  "shell",
		close: h.close,
		instructions: "Each call of shell is a shell of its own: a changed directory or variable is gone afterwards, and processes " +
			"in the background end with the call. Give a timeout to what takes longer than half a minute.",
		entries: []entry{{
			def: tool.Definition{
				Name: "shell", Title: "Run shell command", Description: "Run a command in a shell and give back what it wrote.",
				Parameters: object([]string{"cmd"}, text("cmd", "The command"), text("cwd", "Directory to run in; the default is the working directory"),
					number("timeout", "Seconds after which the command is stopped; the default is 30")),
			},
			run: run(func(ctx context.Context, c tool.Call, a shellArguments) (tool.Result, error) {
				if strings.TrimSpace(a.Cmd) == "" {
					return failed("The command is empty."), nil
				}
				if strings.ContainsRune(a.Cmd, 0) {
					return failed("The command contains a NUL character."), nil
				}
				timeout := o.Timeout
				if a.Timeout < 0 || a.Timeout > int(maxShellTimeout/time.Second) {
					return failed("The timeout must be between 1 and %d seconds.", int(maxShellTimeout/time.Second)), nil
				} else if a.Timeout > 0 {
					timeout = time.Duration(a.Timeout) * time.Second
				}
				return h.run(ctx, command{line: a.Cmd, dir: within(o.Dir, a.Cwd), timeout: timeout, progress: c.Progress})
			}),
		}},
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
