package tool_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// TestSandboxCommand: the operator's program starts in the session's folder with nothing
// of an agent file in its environment; the command gets that, and its place.
func TestSandboxCommand(t *testing.T) {
	t.Setenv("WORKER_SECRET", "s3cret")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a b"), 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "sandbox")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$1 $(pwd) $HOLDFAST_TENANT $HOLDFAST_SESSION $HOLDFAST_WORKSPACE $HOME\"\necho \"outer [${EVIL-}] [${LD_PRELOAD-}] [${WORKER_SECRET-}]\"\nshift\nexec \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	box := &tool.Sandbox{Program: []string{program, "--quiet"}, Dir: dir, Tenant: "acme", Session: "s1"}
	value := "it's \"$HOME\" `id`\nnew line"
	cmd, err := box.Command(filepath.Join(dir, "a b"), map[string]string{"EVIL": value, "LD_PRELOAD": "", "PATH": os.Getenv("PATH")},
		"/bin/sh", "-c", `pwd; printf '%s|%s|%s' "$EVIL" "$0" "$(env | grep -c '^HOLDFAST_ENV_')"`, "last argument")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "--quiet " + dir + " acme s1 " + dir + " " + dir + "\nouter [] [] []\n" + filepath.Join(dir, "a b") + "\n" + value + "|last argument|0"
	if string(out) != want {
		t.Errorf("the output:\n%s\nwant:\n%s", out, want)
	}

	if cmd, err = box.Command("/nonexistent", nil, "/bin/echo", "ran"); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err == nil || strings.Contains(string(out), "ran") {
		t.Errorf("a command in a folder that is not there: %s", out)
	}
	for _, name := range []string{"A;touch x", "A B", "", "1", "A=B", "$(id)"} {
		if _, err := box.Command("", map[string]string{name: "v"}, "/bin/true"); err == nil {
			t.Errorf("a variable with the name %q was taken", name)
		}
	}
}
