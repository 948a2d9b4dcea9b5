// Package oauthtest has what tests of authorization need of the world outside:
// real counterparts from the npm registry, in pinned versions, the scenarios of
// the official conformance suite, and a browser without a head.
package oauthtest

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

//go:embed npm/package.json npm/package-lock.json npm/provider.mjs
var pinned embed.FS

// install puts the packages into the user's cache, once for each change of the
// lock file. Install scripts do not run.
var install = sync.OnceValues(func() (dir string, err error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", fmt.Errorf("this test needs npm: install Node.js 20 or newer: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache: %w", err)
	}
	files := map[string][]byte{}
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		if files[name], err = pinned.ReadFile("npm/" + name); err != nil {
			return "", fmt.Errorf("reading %s: %w", name, err)
		}
		hash.Write(files[name])
	}
	dir = filepath.Join(cache, "holdfast-test", "oauth-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// Installed beside its place and moved there whole, so that a test that is
	// killed, or another one at the same time, leaves nothing half done.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "installing-")
	if err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return "", fmt.Errorf("writing %s: %w", name, err)
		}
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", fmt.Errorf("moving the packages: %w", err)
		}
	}
	return dir, nil
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
