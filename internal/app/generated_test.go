package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// generators installs what testdata/generated pins into the user's cache, once.
var generators = sync.OnceValues(func() (dir string, err error) {
	if _, err := exec.LookPath("npm"); err != nil {
		return "", errors.New("this test needs npm and node: install Node.js 20 or newer")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache: %w", err)
	}
	files := map[string][]byte{}
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		if files[name], err = os.ReadFile(filepath.Join("testdata", "generated", name)); err != nil {
			return "", err
		}
		hash.Write(files[name])
	}
	dir = filepath.Join(cache, "holdfast-test", "openapi-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	// Installed beside its place and moved there whole, so that a test that is
	// killed, or another one at the same time, leaves nothing half done.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return "", err
		}
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return dir, nil
})

// TestGeneratedClient makes a TypeScript client of the description that the server
// serves, checks the types of a program that uses it, and lets it drive a whole
// session.
func TestGeneratedClient(t *testing.T) {
	tools, err := generators()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := start(t, filepath.Join(t.TempDir(), "data"))
	dir := t.TempDir()
	program, err := os.ReadFile(filepath.Join("testdata", "generated", "session.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"session.ts":   string(program),
		"openapi.json": call(t, "GET", base+"/openapi.json", "", 200, nil),
		"package.json": `{"type":"module"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(tools, "node_modules")
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	node := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("node %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	node(filepath.Join(modules, "openapi-typescript", "bin", "cli.js"), "openapi.json", "-o", "schema.d.ts")
	node(filepath.Join(modules, "typescript", "bin", "tsc"), "--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom,dom.iterable",
		"--module", "esnext", "--moduleResolution", "bundler", "session.ts")
	if out := node("session.js", base); !strings.HasPrefix(out, "drove ") {
		t.Errorf("it says %q", out)
	}
}
