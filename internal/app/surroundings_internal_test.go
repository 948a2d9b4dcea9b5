package app

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

func TestSurroundings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("AGENTS.md", "\nBe brief.\n")
	write("long.md", strings.Repeat("x", maxPromptFile+1))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.md")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.md"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := &agent.Agent{AddEnvironmentInfo: true, AddPromptFiles: []string{"AGENTS.md", "none.md", "../AGENTS.md", "link.md", "pipe.md", ".", "long.md"}}
	a, ref := &agents{dir: dir}, holdfast.SessionRef{Tenant: "acme", Session: "s"}
	got := a.Surroundings(ref, all)
	if len(got) != 3 || !strings.Contains(got[0], "Working directory: "+dir+"\nGit repository: no\n") || got[1] != "Be brief." ||
		!strings.HasSuffix(got[2], "\n[long.md goes on; only its first 131072 bytes are here]") {
		t.Errorf("%.300q", got)
	}
	// What a session was told of the place stays; what is in the files does not.
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("AGENTS.md", "Be long.")
	if again := a.Surroundings(ref, all); again[0] != got[0] || again[1] != "Be long." {
		t.Errorf("later: %.300q", again)
	}
	if got := a.Surroundings(ref, &agent.Agent{}); len(got) != 0 {
		t.Errorf("an agent that asks for nothing: %q", got)
	}
	hosted := &agents{dir: dir, hosted: true}
	if got := hosted.Surroundings(ref, all); len(got) != 1 || strings.Contains(got[0], dir) || !strings.Contains(got[0], "on a server") {
		t.Errorf("hosted: %q", got)
	}
}

// References to secrets are filled in wherever an agent file may name a URL; one
// that is missing is said, not sent.
func TestReferencesInURLs(t *testing.T) {
	t.Setenv("SOME_HOST", "gateway.example")
	a := &agents{keys: true, models: map[modelOf]builtModel{}}
	if got, err := a.expandText(t.Context(), "acme", "https://${env.SOME_HOST}/v1?a=${SOME_HOST}"); err != nil || got != "https://gateway.example/v1?a=gateway.example" {
		t.Errorf("%q, %v", got, err)
	}
	for name, use := range map[string]func(url string) error{
		"model": func(url string) error {
			_, err := a.buildModel(t.Context(), "acme", &agent.ModelSettings{Kind: "openai", Provider: "p", Model: "m", NoToken: true, BaseURL: url})
			return err
		},
		"mcp": func(url string) error {
			ts, err := a.Toolset(t.Context(), holdfast.SessionRef{}, &agent.Team{}, &agent.Agent{}, &agent.Toolset{Type: "mcp", Remote: &agent.Remote{URL: url}})
			if err == nil {
				err = ts.Close()
			}
			return err
		},
		"openapi": func(url string) error {
			_, err := a.openAPI(t.Context(), "acme", &agent.Toolset{Type: "openapi", URL: url})
			return err
		},
		"a2a": func(url string) error {
			_, err := a.a2a(t.Context(), "acme", &agent.Toolset{Type: "a2a", URL: url})
			return err
		},
	} {
		if err := use("https://${env.SOME_HOST}/x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := use("https://${env.NO_SUCH_HOST}/x"); holdfast.CodeOf(err) != holdfast.CodeModelAuth || !strings.Contains(err.Error(), "NO_SUCH_HOST") {
			t.Errorf("%s without the secret: %v", name, err)
		}
	}
}
