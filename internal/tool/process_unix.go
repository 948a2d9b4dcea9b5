//go:build unix

package tool

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// HasShell says whether commands can run on this machine without a sandbox: they
// run in /bin/sh and end with the process group that they have of their own.
const HasShell = true

// OwnGroup makes the command the leader of a process group, so that what it
// starts (package runners start the real server) ends with it.
func OwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// TerminateGroup asks the whole group to end. That it is gone is no error.
func TerminateGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGTERM) }

// KillGroup ends the whole group. That it is gone is no error.
func KillGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// ReapGroup takes leave of what was in the group of a command that has ended and was
// killed: where this process is the one that orphans are given to (the first of a
// container), they would stay in the table of processes for ever. It waits for no
// longer than a second.
func ReapGroup(pid int) {
	for range 100 {
		switch got, err := syscall.Wait4(-pid, nil, syscall.WNOHANG, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return // none of them is ours, or none is left
		case got == 0: // killed, and not gone yet
			<-time.After(10 * time.Millisecond)
		}
	}
}

// safeEnvironment are the variables that a command gets from the worker.
var safeEnvironment = []string{"PATH", "HOME"}
