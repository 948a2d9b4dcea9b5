//go:build unix

package tool

import (
	"os/exec"
	"syscall"
)

// OwnGroup makes the command the leader of a process group, so that what it
// starts (package runners start the real server) ends with it.
func OwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// TerminateGroup asks the whole group to end. That it is gone is no error.
func TerminateGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }

// KillGroup ends the whole group. That it is gone is no error.
func KillGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// safeEnvironment are the variables that a command gets from the worker.
var safeEnvironment = []string{"PATH", "HOME"}
