package app_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPages runs the commands of pages in order: what is under a command is in its
// output, "…" being anything.
func TestPages(t *testing.T) {
	base, _ := start(t, filepath.Join(t.TempDir(), "data"))
	for _, name := range []string{"facades.md", "schedules.md", "agents.md", "oauth.md"} {
		t.Run(name, func(t *testing.T) { runPage(t, base, name) })
	}
}

func runPage(t *testing.T, base, name string) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // with the files of the page, whose first line names them
	for _, m := range regexp.MustCompile("(?s)```yaml\n(# ([a-z]+\\.yaml)\n.*?)```").FindAllSubmatch(page, -1) {
		if err := os.WriteFile(filepath.Join(dir, string(m[2])), m[1], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "URL="+base)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", command, err, out)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
				pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".*")
				if !regexp.MustCompile(pattern).Match(out) {
					t.Errorf("%s: it does not say %q:\n%s", command, line, out)
				}
			}
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("the page has only %d commands", ran)
	}
}
