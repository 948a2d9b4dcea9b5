//go:build !unix

package tool

import (
	"os"
	"os/exec"
)

// OwnGroup has nothing to do where there are no process groups: the process
// alone is ended.
func OwnGroup(*exec.Cmd) {}

// TerminateGroup kills: there is no signal that asks.
func TerminateGroup(pid int) { KillGroup(pid) }

// KillGroup ends the process. That it is gone is no error.
func KillGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// ReapGroup has nothing to do: there are no orphans to take leave of.
func ReapGroup(int) {}

// safeEnvironment are the variables that a command gets from the worker; without
// the last ones Windows starts next to nothing.
var safeEnvironment = []string{"PATH", "HOME", "USERPROFILE", "SystemRoot", "PATHEXT", "TEMP"}
