package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestPrompts: a prompt is what was given, standard input, or files behind either.
func TestPrompts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	notes, picture := file("notes.txt", "two\nlines\n"), file("picture.png", "\x89PNG\r\n\xff\xfe")
	empty, huge := file("empty.txt", ""), file("huge.txt", strings.Repeat("x", mostPrompt+1))
	for _, c := range []struct {
		in   string
		args []string
		code int
		says string
	}{
		{"what is\nthis?", []string{"-", "--file", notes}, 0, "“what is\nthis?\n\ntwo\nlines”"},
		{"x", []string{"-", "--file", "-"}, exitUsage, "once only"},
		{"", []string{"-"}, exitUsage, "the prompt is empty"},
		{"", []string{""}, exitUsage, "the prompt is empty"},
		{"", []string{"--file", empty}, exitUsage, "the prompt is empty"},
		{"", []string{"x", "--file", picture}, exitUsage, "is no text in UTF-8"},
		{"", []string{"x", "--file", huge}, exitUsage, "let a tool of the agent read the file"},
		{"", []string{"x", "--file", filepath.Join(dir, "nothing")}, exitUsage, "no such file"},
	} {
		code, out, errOut := holdfastWith(t, c.in, append([]string{"run", "demo", "--remote", serverURL}, c.args...)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("run demo %q: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, out+errOut, c.says)
		}
	}
}

// TestPromptOf: parts are a paragraph each.
func TestPromptOf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(name, []byte("two\nlines\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		in           string
		given, files []string
		want         string
	}{
		{"not read", nil, nil, ""},
		{"not read", []string{"hello "}, nil, "hello "},
		{"what is\nthis?\n", []string{"-"}, nil, "what is\nthis?"},
		{"", []string{"sum:"}, []string{name}, "sum:\n\ntwo\nlines"},
		{"a pipe", []string{"sum:"}, []string{"-", name}, "sum:\n\na pipe\n\ntwo\nlines"},
		{"x", nil, []string{name, name}, "two\nlines\n\ntwo\nlines"},
	} {
		c := &cobra.Command{}
		c.SetIn(strings.NewReader(p.in))
		if got, err := promptOf(c, p.given, p.files); err != nil || got != p.want {
			t.Errorf("%q %q: %q, %v, want %q", p.given, p.files, got, err, p.want)
		}
	}
}

// TestWhatIsMeant: errors name what was probably meant.
func TestWhatIsMeant(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(envContexts, filepath.Join(t.TempDir(), "contexts.json"))
	bad := "version: \"2\"\nagents:\n  root:\n    modle: x\n"
	for _, name := range []string{"mine.yaml", "bad.yaml"} {
		if err := os.WriteFile(name, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"run mine hello", exitFailed, "there is a file here: name it as ./mine.yaml"},
		{"run demo hello --session nothing --data data", exitFailed, "--remote URL"},
		{"sessions ls --remote localhost:8080", exitUsage, "did you mean: http://localhost:8080"},
		{"sessions ls --remote 127.0.0.1:8080", exitUsage, "did you mean: http://127.0.0.1:8080"},
		{"context add here agents.example.com", exitUsage, "did you mean: http://agents.example.com"},
		{"agent check ./bad.yaml", exitFailed, "./bad.yaml:4:5: unknown key `modle`"},
		{"logs nobody --remote " + serverURL, exitNotFound, "nobody"},
		{"exec demo", exitUsage, "did you mean: holdfast run"},
		{"login", exitUsage, "did you mean: holdfast context"},
		{"agent validate", exitUsage, "did you mean: holdfast agent check"},
	} {
		code, out, errOut := holdfastCommand(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("holdfast %s: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, out+errOut, c.says)
		}
	}
	if _, out, _ := holdfastCommand(t, "agent", "check", "bad.yaml", "mine.yaml"); strings.Contains(out, "bad.yaml: bad.yaml") || strings.Count(out, "mine.yaml:") != 2 {
		t.Errorf("every line begins with the path, once: %s", out)
	}
	code, out, _ := holdfastCommand(t, "sessions", "rm", "nobody", "--json", "--remote", serverURL)
	if code != exitNotFound || !strings.Contains(out, `"deleted": []`) {
		t.Errorf("rm of nothing: %d %s", code, out)
	}
	id := ask(t, "hello")
	code, out, _ = holdfastCommand(t, "sessions", "rm", id, "nobody", "--json", "--remote", serverURL)
	if code != exitNotFound || !strings.Contains(out, id) {
		t.Errorf("rm of one that is there and one that is not: %d %s", code, out)
	}
}
