// Package oauthtest has what tests of authorization need of the world outside:
// real counterparts from the npm registry, in pinned versions, the scenarios of
// the official conformance suite, and a browser without a head.
package oauthtest

import (
	"embed"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

//go:embed npm/package.json npm/package-lock.json npm/provider.mjs
var pinned embed.FS

// install puts the packages into the user's cache, once.
var install = sync.OnceValues(func() (dir string, err error) {
	lock, err := fs.Sub(pinned, "npm")
	if err != nil {
		return "", err
	}
	return testenv.NPM("oauth", lock)
})

// Modules returns the folder in which the packages are installed; its
// node_modules is where scripts in it find them.
func Modules(t testing.TB) string {
	t.Helper()
	dir, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Node returns a Node.js of the version that the packages need (22 or newer): the
// one that is pinned beside them, else the system's.
func Node(t testing.TB) string {
	t.Helper()
	os, arch := runtime.GOOS, runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	own := filepath.Join(Modules(t), "node_modules", "node-"+os+"-"+arch, "bin", "node")
	if _, err := exec.LookPath(own); err == nil {
		return own
	}
	system, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("this test needs Node.js 22 or newer: %v", err)
	}
	return system
}
