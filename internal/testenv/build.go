package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

var (
	buildsMu sync.Mutex
	builds   = map[string]func() (string, error){}
)

// Build compiles a program of this module, named by its folder under the
// module's root as in "./cmd/worker", and returns the path of the binary. It
// does so once per test binary, with the race detector if the test has it.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	buildsMu.Lock()
	build, ok := builds[pkg]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return buildPackage(pkg) })
		builds[pkg] = build
	}
	buildsMu.Unlock()
	bin, err := build()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return bin
}

func buildPackage(pkg string) (string, error) {
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "bin", filepath.Base(pkg))
	// As go test links its own: without what only debuggers read, in half the time,
	// and without asking git, which refuses a folder that belongs to somebody else.
	args := []string{"build", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	return bin, goTool(append(args, pkg)...)
}

// natsServer returns the path of the nats-server program, built from the module
// that this one requires and kept from one test run to the next.
var natsServer = sync.OnceValues(func() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "nats-server-"+natsserver.VERSION+"-"+runtime.Version())
	err = withFileLock(bin+".lock", func() error {
		if _, err := os.Stat(bin); err == nil {
			return nil
		}
		// Under another name first: a build that is cut off leaves no half program.
		if err := goTool("build", "-o", bin+".new", "github.com/nats-io/nats-server/v2"); err != nil {
			return err
		}
		return os.Rename(bin+".new", bin)
	})
	return bin, err
})

func goTool(args ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if !slices.Contains(args, "-race") {
		// As the Makefile builds what is not tested with the race detector, so that
		// both share one build cache.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// moduleRoot is the nearest folder above the working directory, which for a
// test is its package's, with a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the module: no go.mod above the working directory")
		}
		dir = parent
	}
}
