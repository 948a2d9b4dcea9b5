package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	scratchPrefix = "holdfast-test-"
	// staleAfter is how old a scratch folder must be to be removed by a later
	// test binary: its watchdog was killed too, as when a machine goes down. No
	// test binary runs that long.
	staleAfter = 24 * time.Hour
)

// watchdog removes the folder $1 when its standard input ends, which is when
// the test binary is gone, however it went. Processes that a test paused cannot
// act on the signal that the kernel sends them then; their ids are in files
// named *.paused. Removing is repeated while ending processes still write.
const watchdog = `
cat >/dev/null
for f in "$1"/*.paused; do [ -f "$f" ] && kill -9 $(cat "$f") 2>/dev/null; done
for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && exit; sleep 0.3; done
`

// scratch returns the folder of this test binary, made at the first call. It is
// open to other users for reading, since Postgres does not run as root.
var scratch = sync.OnceValues(func() (string, error) {
	base := os.TempDir()
	if os.Geteuid() == 0 && !everybodyMayEnter(base) {
		base = "/tmp"
	}
	removeStale(base)
	dir, err := os.MkdirTemp(base, scratchPrefix)
	if err != nil {
		return "", fmt.Errorf("make a folder for the test environment: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("open the folder of the test environment to other users: %w", err)
	}
	return dir, watch(dir)
})

func watch(dir string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the watchdog of the test environment: %w", err)
	}
	defer r.Close()
	defer w.Close()
	// A bare descriptor, which nobody closes as long as this process lives; an
	// *os.File would close it when collected.
	if _, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return fmt.Errorf("start the watchdog of the test environment: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", watchdog, "watchdog", dir)
	cmd.Stdin = r
	// Ctrl-C reaches the group of the terminal; the watchdog must outlive it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the watchdog of the test environment: %w", err)
	}
	return cmd.Process.Release()
}

// everybodyMayEnter reports whether other users can reach files below dir.
func everybodyMayEnter(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

func removeStale(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, scratchPrefix+"*"))
	if err != nil {
		return // only for a malformed pattern
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() && time.Since(info.ModTime()) > staleAfter {
			// Best effort: it may belong to another user.
			_ = os.RemoveAll(dir)
		}
	}
}

// cacheDir is a folder that outlives the test binary, for what is costly to
// build and depends on nothing but its version.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir() // no home, as in some containers
	}
	dir := filepath.Join(base, "holdfast-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache of the test environment: %w", err)
	}
	return dir, nil
}

// withFileLock runs f while no other process runs anything under the same path.
func withFileLock(path string, f func() error) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f()
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
