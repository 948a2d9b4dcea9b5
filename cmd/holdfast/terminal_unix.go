//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// watchSize tells when the terminal has another size, until it is told to stop.
func watchSize() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGWINCH)
	return ch, func() { signal.Stop(ch) }
}

// canStop says whether a process can be stopped and go on later.
const canStop = true

// stopHere stops this process and those of its job, as Ctrl-Z does, and returns
// when the user goes on with it.
func stopHere() {
	back := make(chan os.Signal, 1)
	signal.Notify(back, syscall.SIGCONT)
	defer signal.Stop(back)
	if syscall.Kill(0, syscall.SIGTSTP) != nil {
		return
	}
	// Nothing stops where nobody could go on with it: a process group without a shell,
	// the first process of a container.
	unstopped := time.NewTimer(300 * time.Millisecond)
	defer unstopped.Stop()
	select {
	case <-back:
	case <-unstopped.C:
	}
}

// obeysSequences reports whether a terminal obeys control sequences: all do that
// TERM does not call dumb.
func obeysSequences(*os.File) bool { return true }

// modesCount says that the mode of a file says who can read it.
const modesCount = true
