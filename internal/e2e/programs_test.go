package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// built is where the programs are that have no race detector; TestMain removes
// it.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built = dir
		return m.Run()
	}())
}

// programs are paths of binaries.
type programs struct{ api, worker, holdfast string }

// released are the programs without the race detector. Most tests use them,
// because many processes on few cores leave no time for it.
var released = sync.OnceValues(func() (programs, error) {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", built+string(filepath.Separator),
		"./cmd/api", "./cmd/worker", "./cmd/holdfast")
	cmd.Dir = filepath.Join("..", "..")
	// As STATIC in the Makefile has it, so that one build cache serves all.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return programs{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return programs{filepath.Join(built, "api"), filepath.Join(built, "worker"), filepath.Join(built, "holdfast")}, nil
})

func release(t testing.TB) programs {
	t.Helper()
	p, err := released()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checked are the programs with the race detector, if the test has it.
func checked(t testing.TB) programs {
	t.Helper()
	if !raceEnabled {
		return release(t)
	}
	return programs{testenv.Build(t, "./cmd/api"), testenv.Build(t, "./cmd/worker"), release(t).holdfast}
}

// freeAddress returns a loopback address that a process can come back to: below
// the ports that the system and testenv hand out.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 11000+rand.IntN(9000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			return addr
		}
	}
	t.Fatal("no free port: a hundred are taken")
	return ""
}
