package oauth_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatTable: each attack of docs/oauth.md names tests, and there are tests of
// these names.
func TestThreatTable(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "oauth.md"))
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)
	err = filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(src, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "| Attack | What stops it | Tests |\n|---|---|---|\n")
	if !ok {
		t.Fatal("docs/oauth.md has no table of attacks")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	name := regexp.MustCompile("`(Test[A-Za-z0-9_]*)`")
	rows := strings.Split(strings.TrimSpace(table), "\n")
	if len(rows) < 20 {
		t.Errorf("only %d attacks", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 3 {
			t.Errorf("%d cells: %s", len(cells), row)
			continue
		}
		names := name.FindAllStringSubmatch(cells[2], -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", row)
		}
		for _, n := range names {
			if !declared[n[1]] {
				t.Errorf("there is no %s:%s", n[1], cells[0])
			}
		}
	}
}
