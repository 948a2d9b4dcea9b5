package builtin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool/builtin"
)

// firstProcess is set for the process that TestNothingStaysBehindAsAZombie starts.
const firstProcess = "HOLDFAST_TEST_FIRST_PROCESS"

// A worker that is the first process of its container inherits what its commands leave
// behind, and takes leave of it.
func TestNothingStaysBehindAsAZombie(t *testing.T) {
	if os.Getenv(firstProcess) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNothingStaysBehindAsAZombie$")
		cmd.Env = append(os.Environ(), firstProcess+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
	ts := shell(t, builtin.ShellOptions{})
	for range 3 {
		if res := sh(t, ts, "sleep 600 & (sleep 600 & sleep 600) & true"); res.IsError {
			t.Fatalf("%+v", res)
		}
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	mustDo(t, err)
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it is gone
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, fmt.Sprintf("Z %d ", os.Getpid())) {
			t.Errorf("a zombie: %s", stat)
		}
	}
}
