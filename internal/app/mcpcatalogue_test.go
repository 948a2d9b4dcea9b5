package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
)

const servers = `
servers:
  notes:
    remote:
      url: https://notes.example/${config.space}/mcp
      headers: { Authorization: "Bearer ${env.NOTES_KEY}" }
  files:
    command: mcp-files
    args: [--depth, "${config.depth}"]
    env: { HOME_DIR: "${config.dir}" }
`

func writeCatalogue(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mcp.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMCPCatalogue(t *testing.T) {
	c, err := readMCPCatalogue(writeCatalogue(t, servers))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		toolset string
		want    mcptool.Config
		fails   string
		code    holdfast.Code
	}{
		{`ref: "docker:notes", config: {space: s1}`, mcptool.Config{
			URL: "https://notes.example/s1/mcp", Headers: map[string]string{"Authorization": "Bearer ${env.NOTES_KEY}"}, Env: map[string]string{},
		}, "", ""},
		{`ref: "docker:files", config: {depth: 3, dir: /x}, env: {A: b}`, mcptool.Config{
			Command: "mcp-files", Args: []string{"--depth", "3"}, Env: map[string]string{"HOME_DIR": "/x", "A": "b"},
		}, "", ""},
		{`ref: "docker:other"`, mcptool.Config{}, `no MCP server "other"; it has files, notes`, holdfast.CodeNotOffered},
		{`ref: "docker:notes"`, mcptool.Config{}, `needs the setting "space"`, holdfast.CodeInvalid},
		{`ref: "docker:notes", config: {space: s, tpyo: 1}`, mcptool.Config{}, `has no setting "tpyo"`, holdfast.CodeInvalid},
		{`ref: "docker:notes", config: {space: s}, env: {A: b}`, mcptool.Config{}, "`env` does nothing", holdfast.CodeInvalid},
	} {
		team, err := agent.Parse("x.yaml", []byte("agents: {root: {model: openai/x, toolsets: [{type: mcp, "+test.toolset+"}]}}"), agent.Options{MCPCatalog: true})
		if err != nil {
			t.Fatal(err)
		}
		var got mcptool.Config
		err = c.resolve(team.Agents[0].Toolsets[0], &got)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) || holdfast.CodeOf(err) != test.code {
				t.Errorf("%s: %v", test.toolset, err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", test.toolset, err, diff)
		}
	}
}

func TestBadMCPCatalogues(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "no servers",
		"servers: {a: {}}":           "needs either",
		"servers: {a: }":             "needs either",
		"servers: {a: {comand: x}}":  "comand",
		"servers: {a: {command: x, ": "mcp.yaml",
		"servers: {a: {command: x, remote: {url: y}}}": "needs either",
	} {
		if _, err := readMCPCatalogue(writeCatalogue(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if c, err := readMCPCatalogue(""); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}

// TestDocumentedMCPCatalogue: the catalogue of docs/operations.md can be read.
func TestDocumentedMCPCatalogue(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	file := filepath.Join(t.TempDir(), "catalogue.yaml")
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := readMCPCatalogue(file); !found || err != nil || len(c) != 2 {
		t.Errorf("%d servers, %v", len(c), err)
	}
}
