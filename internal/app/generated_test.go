package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// lintExceptions are rules of the linter's recommended set that the description may
// break, with the reason. There is none.
var lintExceptions = map[string]string{}

// TestDescriptionLinted has the description that the server serves checked with the
// recommended rules of a linter that is not ours.
func TestDescriptionLinted(t *testing.T) {
	tools, err := testenv.NPM("openapi", os.DirFS(filepath.Join("testdata", "generated")))
	if err != nil {
		t.Fatal(err)
	}
	lint, err := os.ReadFile(filepath.Join("testdata", "generated", "lint.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	base, _ := start(t, filepath.Join(t.TempDir(), "data"))
	served := call(t, "GET", base+"/openapi.json", "", 200, nil)
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(tools, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	problems := func(description string) (found []string) {
		t.Helper()
		for name, content := range map[string]string{"lint.mjs": string(lint), "openapi.json": description} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "node", "lint.mjs", "openapi.json")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("lint: %v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) < 2 || lintExceptions[f[1]] == "" {
				found = append(found, strings.TrimSpace(line))
			}
		}
		return found
	}
	for _, p := range problems(served) {
		t.Error(p)
	}
	// The linter does look.
	if got := problems(strings.Replace(served, `"operationId":"create-session"`, `"operationId":"get-session"`, 1)); len(got) == 0 {
		t.Error("an operation id that is there twice is no problem to the linter")
	}
}

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
