//go:build !unix

package mcptool

import (
	"os"
	"os/exec"
)

// ownGroup has nothing to do where there are no process groups: the process
// alone is ended.
func ownGroup(*exec.Cmd) {}

// terminateGroup kills: there is no signal that asks.
func terminateGroup(pid int) { killGroup(pid) }

func killGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// safeEnvironment are the variables that a command gets from the worker; without
// the last ones Windows starts next to nothing.
var safeEnvironment = []string{"PATH", "HOME", "USERPROFILE", "SystemRoot", "PATHEXT", "TEMP"}
