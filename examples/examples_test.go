package examples_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/app"
)

var update = flag.Bool("update", false, "rewrite the expected transcripts")

// files returns the names of all examples.
func files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) < 25 {
		t.Fatalf("%d examples, want at least 25 (%v)", len(names), err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryFileLoads(t *testing.T) {
	t.Setenv("HOLDFAST_MCP_CATALOGUE", "servers/mcp.yaml")
	for _, name := range files(t) {
		if err := app.CheckAgent(name, []byte(read(t, name)), false); err != nil {
			t.Error(err)
		}
	}
}

// A hosted deployment takes the files as well, or refuses them by the key that
// touches the worker's machine.
func TestHostedDeployment(t *testing.T) {
	t.Setenv("HOLDFAST_MCP_CATALOGUE", "servers/mcp.yaml")
	taken := 0
	for _, name := range files(t) {
		switch err := app.CheckAgent(name, []byte(read(t, name)), true); {
		case err == nil:
			taken++
		case holdfast.CodeOf(err) != holdfast.CodeNotOffered || !strings.Contains(err.Error(), "sandbox"):
			t.Error(err)
		}
	}
	if taken < 25 {
		t.Errorf("a hosted deployment takes %d of the examples, want at least 25", taken)
	}
}

// Agent files in the pages for newcomers load too.
func TestFilesInPagesLoad(t *testing.T) {
	found := 0
	for _, page := range []string{"../README.md", "../docs/scripted-model.md"} {
		for _, m := range regexp.MustCompile("(?ms)^```yaml\n(version: .*?)^```$").FindAllStringSubmatch(read(t, page), -1) {
			found++
			if err := app.CheckAgent(page, []byte(m[1]), false); err != nil {
				t.Error(err)
			}
		}
	}
	if found < 2 {
		t.Errorf("found %d agent files in the pages, want one in each", found)
	}
}

func TestEveryKeyHasAnExample(t *testing.T) {
	for _, key := range agent.Keys() {
		if key.Offered && len(shownBy(t, key.ID)) == 0 {
			t.Errorf("no example shows %s (%s)", key.ID, key.Doc)
		}
	}
}

// shownBy returns the examples that have the key: those that a loader refuses
// which does not offer it.
func shownBy(t *testing.T, key string) (names []string) {
	t.Helper()
	for _, name := range files(t) {
		_, err := agent.Parse(name, []byte(read(t, name)), agent.Options{MCPCatalog: true, NotOffered: map[string]string{key: ""}})
		var refused *agent.FileError
		if errors.As(err, &refused) && slices.ContainsFunc(refused.Problems, func(p agent.Problem) bool { return p.NotOffered }) {
			names = append(names, name)
		}
	}
	return names
}

func TestReadmeListsEveryFile(t *testing.T) {
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| \[([a-z0-9-]+\.yaml)\]\((.*?)\)`).FindAllStringSubmatch(read(t, "README.md"), -1) {
		if m[1] != m[2] {
			t.Errorf("the link %s leads to %s", m[1], m[2])
		}
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	if names := files(t); !slices.Equal(names, listed) {
		t.Errorf("README.md lists\n%s\nthe folder has\n%s", strings.Join(listed, " "), strings.Join(names, " "))
	}
}
