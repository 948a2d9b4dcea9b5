//go:build !unix

package tool

import (
	"os"
	"os/exec"
	"strconv"
)

// HasShell says whether commands can run on this machine without a sandbox: they
// run in /bin/sh and end with the process group that they have of their own.
const HasShell = false

// OwnGroup has nothing to do where there are no process groups: a process is ended
// with what descends from it.
func OwnGroup(*exec.Cmd) {}

// TerminateGroup kills: there is no signal that asks.
func TerminateGroup(pid int) { KillGroup(pid) }

// KillGroup ends the process and what it started. That it is gone is no error.
func KillGroup(pid int) {
	// https://learn.microsoft.com/windows-server/administration/windows-commands/taskkill
	if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(pid)).Run() == nil {
		return
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// ReapGroup has nothing to do: there are no orphans to take leave of.
func ReapGroup(int) {}

// safeEnvironment are the variables that a command gets from the worker; without
// the last ones Windows starts next to nothing.
var safeEnvironment = []string{"PATH", "HOME", "USERPROFILE", "SystemRoot", "PATHEXT", "TEMP"}
