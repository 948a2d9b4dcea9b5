package tool

import (
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// sandboxVariable is what a name of a variable may be that a sandbox is to set.
var sandboxVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Sandbox runs the commands of one session through a program of the operator, which
// keeps them apart from the worker and from other sessions. That program is called
// with the command as its last arguments, in the session's folder, which it shows to
// the command under the same path.
//
// What an agent file says about the environment reaches the command and not the
// program: a variable such as LD_PRELOAD would have the program do what the file
// wants, outside the sandbox.
type Sandbox struct {
	// Program is an absolute path and arguments that come before the command.
	Program []string
	// Dir is the session's folder, an absolute path without links.
	Dir string
	// Tenant and Session are told to the program.
	Tenant, Session string
}

// carried comes before the names of variables on their way through the program.
const carried = "HOLDFAST_ENV_"

// Command returns what runs argv in dir (absolute, as the sandbox shows it; "" for
// Dir) with env besides PATH and HOME. The program sees HOLDFAST_TENANT,
// HOLDFAST_SESSION, HOLDFAST_WORKSPACE (Dir) and, for the command, variables that
// begin with HOLDFAST_ENV_; it has to hand these on. An error is a name in env that no
// shell takes.
func (s *Sandbox) Command(dir string, env map[string]string, argv ...string) (*exec.Cmd, error) {
	if dir == "" {
		dir = s.Dir
	}
	// Runs inside: takes the variables under their own names, then the place of argv.
	var inside strings.Builder
	outer := append(Environment(nil, false), "HOME="+s.Dir,
		"HOLDFAST_TENANT="+s.Tenant, "HOLDFAST_SESSION="+s.Session, "HOLDFAST_WORKSPACE="+s.Dir)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !sandboxVariable.MatchString(name) {
			return nil, fmt.Errorf("the environment has a name that cannot be one of a variable: %q", name)
		}
		outer = append(outer, carried+name+"="+env[name])
		fmt.Fprintf(&inside, "%[1]s=$%[2]s%[1]s; export %[1]s; unset %[2]s%[1]s; ", name, carried)
	}
	inside.WriteString(`cd -- "$1" || exit 126; shift; exec "$@"`)
	args := slices.Concat(s.Program[1:], []string{"/bin/sh", "-c", inside.String(), "sh", dir}, argv)
	cmd := exec.Command(s.Program[0], args...)
	cmd.Dir, cmd.Env = s.Dir, outer
	return cmd, nil
}
