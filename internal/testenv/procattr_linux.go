package testenv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// dieWithParent makes the kernel send sig to the process when the thread that
// started it ends, see launch.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// children lists the processes whose parent is pid. It reads /proc, because
// small containers have no ps.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // gone in the meantime
		}
		// The name of the program, in parentheses, may contain anything.
		rest := b[bytes.LastIndexByte(b, ')')+1:]
		var state string
		var parent int
		if _, err := fmt.Sscan(string(rest), &state, &parent); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if parent != pid {
			continue
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		found = append(found, id)
	}
	return found, nil
}
