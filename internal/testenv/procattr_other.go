//go:build unix && !linux

package testenv

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// dieWithParent does nothing where the kernel has no such signal: there a test
// binary that is killed with SIGKILL leaves its processes behind.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var found []int
	for line := range strings.Lines(string(out)) {
		var id, parent int
		if _, err := fmt.Sscan(line, &id, &parent); err != nil {
			return nil, fmt.Errorf("read the output of ps: %w", err)
		}
		if parent == pid {
			found = append(found, id)
		}
	}
	return found, nil
}
