package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testenv"
)

// runClient runs a script of testdata/clients, which drives the facades with
// clients from npm and says what is wrong.
func runClient(t *testing.T, script, base string) {
	t.Helper()
	from := filepath.Join("testdata", "clients")
	tools, err := testenv.NPM("clients", os.DirFS(from))
	if err != nil {
		t.Fatal(err)
	}
	// Packages are looked for beside the script.
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(tools, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"check.mjs", script} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "--preserve-symlinks-main", filepath.Join(dir, script), base, facadeKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
}

// TestMCPSessions: the official SDKs of MCP get progress and results, ask their
// user, cancel, lose their connection and go on; a call that comes twice is one.
func TestMCPSessions(t *testing.T) {
	t.Parallel()
	runClient(t, "mcp.mjs", startFacades(t))
}

// TestOpenAISDK: OpenAI's SDK for JavaScript finds every parameter and helper
// served, or refused by name; streams can be resumed behind every event; a request
// that it repeats by itself is one run.
func TestOpenAISDK(t *testing.T) {
	t.Parallel()
	runClient(t, "openai.mjs", startFacades(t))
}

// TestAISDK: Vercel's AI SDK reads what the agents say over both of OpenAI's APIs.
func TestAISDK(t *testing.T) {
	t.Parallel()
	runClient(t, "aisdk.mjs", startFacades(t))
}
