package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// TestGeneratedClient makes a TypeScript client of the description that the server
// serves, checks the types of a program that uses it, and lets it drive a whole
// session.
func TestGeneratedClient(t *testing.T) {
	tools, err := testenv.NPM("openapi", os.DirFS(filepath.Join("testdata", "generated")))
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
