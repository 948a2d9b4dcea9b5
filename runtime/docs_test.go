package runtime_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every snippet of docs/go.md is code of example_test.go, which is compiled and,
// where it has an output, run.
func TestDocumentedCode(t *testing.T) {
	page, err := os.ReadFile("../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	examples := flat(string(code))
	snippets := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	if len(snippets) < 9 {
		t.Errorf("%d snippets, want at least 9", len(snippets))
	}
	for _, s := range snippets {
		if !strings.Contains(examples, flat(s[1])) {
			t.Errorf("this is in no example:\n%s", s[1])
		}
	}
	for _, name := range regexp.MustCompile("`(With[A-Za-z]+)").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(read(t, "runtime.go")+read(t, "words.go"), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// flat takes the indentation from each line.
func flat(code string) string {
	lines := strings.Split(code, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "\n")
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
