package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages says which test runs, compiles or loads the blocks of a page, by page and
// language. A block that nothing does that with says why in a comment above it:
// <!-- not run: REASON -->. Drawings need none.
var pages = map[string]string{
	"README.md console":                  "internal/e2e TestReadme",
	"README.md sh":                       "internal/e2e TestReadme",
	"README.md yaml":                     "examples TestFilesInPagesLoad",
	"docs/agents.md console":             "internal/app TestPages",
	"docs/agents.md yaml":                "internal/app TestPages",
	"docs/cli.md console":                "cmd/holdfast TestDocumentedCommands",
	"docs/conformance.md ":               "internal/conformance TestConformance",
	"docs/facades.md console":            "internal/app TestPages",
	"docs/go.md go":                      "runtime TestDocumentedCode",
	"docs/oauth.md console":              "internal/app TestPages",
	"docs/operations.md yaml":            "internal/app TestDocumentedMCPCatalogue",
	"docs/schedules.md console":          "internal/app TestPages",
	"docs/scripted-model.md yaml":        "examples TestFilesInPagesLoad",
	"docs/scripted-model.md yaml script": "internal/model/scripted TestDocumentedScripts",
}

var (
	fence  = regexp.MustCompile("(?ms)(?:^<!-- not run: ([^\n]+) -->\n+)?^```([a-z ]*)\n(.*?)^```$")
	drawn  = regexp.MustCompile(`[─│┬┴▶]`)
	tested = regexp.MustCompile(`^(\S+) (Test\w+)$`)
)

// TestPages: what pages tell their readers to type, or to write, is tried by a test.
func TestPages(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	used := map[string]bool{}
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range checkPage(filepath.ToSlash(page), string(text), used) {
			t.Error(p)
		}
	}
	for key, by := range pages {
		if !used[key] {
			t.Errorf("%s: there is no such block any more", key)
		}
		if m := tested.FindStringSubmatch(by); m == nil || !hasTest(t, m[1], m[2]) {
			t.Errorf("%s: there is no test %q", key, by)
		}
	}
	// It can fail.
	for block, want := range map[string]int{
		"```console\n$ ls\n```\n":                         1,
		"<!-- not run: it lists -->\n\n```sh\nls\n```\n":  0,
		"```\nmake me\n```\n":                             1,
		"```\na ──▶ b\n```\n":                             0,
		"```\na ──▶ b\n```\n\ntext\n\n```sh\nls\n```\n":   1,
		"<!-- not run: x -->\n\ntext\n\n```sh\nls\n```\n": 1,
	} {
		if got := checkPage("docs/x.md", block, map[string]bool{}); len(got) != want {
			t.Errorf("%q: %q", block, got)
		}
	}
}

// checkPage returns the blocks of a page that nobody tries.
func checkPage(page, text string, used map[string]bool) (problems []string) {
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		reason, language, block := m[1], m[2], m[3]
		if reason != "" || language == "" && drawn.MatchString(block) {
			continue
		}
		key := page + " " + language
		if _, ok := pages[key]; ok {
			used[key] = true
			continue
		}
		first, _, _ := strings.Cut(block, "\n")
		problems = append(problems, page+": no test runs this block, and no <!-- not run: REASON --> says why: "+first)
	}
	return problems
}

// hasTest reports whether a folder has a test of that name.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "func "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
