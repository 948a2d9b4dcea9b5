package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	holdfast "github.com/holdfast-run/holdfast"
)

// noJSON says why a command has no --json.
var noJSON = map[string]string{
	"holdfast chat":                  "a conversation with a person; holdfast run is for programs",
	"holdfast dev":                   "a server: its log is JSON with HOLDFAST_LOG_FORMAT=json",
	"holdfast agent schema":          "prints a JSON document anyway",
	"holdfast export":                "writes JSON lines anyway",
	"holdfast completion bash":       "prints a script",
	"holdfast completion zsh":        "prints a script",
	"holdfast completion fish":       "prints a script",
	"holdfast completion powershell": "prints a script",
}

// walk calls fn for every command that does something.
func walk(c *cobra.Command, fn func(*cobra.Command)) {
	if c.HasSubCommands() {
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && !strings.HasPrefix(sub.Name(), "__") {
				walk(sub, fn)
			}
		}
		return
	}
	fn(c)
}

// TestSurface: every command that does something says what it does, takes --json or
// has a written reason why not, and is on the page of the command line.
func TestSurface(t *testing.T) {
	root := rootCommand()
	root.InitDefaultCompletionCmd()
	seen := map[string]bool{}
	walk(root, func(c *cobra.Command) {
		name := c.CommandPath()
		seen[name] = true
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short text is %q", name, c.Short)
		}
		has := c.Flags().Lookup("json") != nil
		if reason := noJSON[name]; has == (reason != "") {
			t.Errorf("%s: --json %v, and the reason for none is %q", name, has, reason)
		}
	})
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := string(page)
	for name := range seen {
		words := strings.Fields(name)[1:]
		// As "`agent ls`, `show`" or "| `dev`".
		if !regexp.MustCompile(`(?m)^\| .*`+words[0]+`.*\|`).MatchString(named) || !strings.Contains(named, words[len(words)-1]) {
			t.Errorf("%s: not in the table of docs/cli.md", name)
		}
	}
	for name := range noJSON {
		if !seen[name] {
			t.Errorf("%s: no such command", name)
		}
	}
}

// TestSchedules: a schedule is made, rests, fires again and goes.
func TestSchedules(t *testing.T) {
	t.Setenv(envURL, serverURL)
	for _, c := range []struct {
		args []string
		code int
		says string // on both outputs
	}{
		{[]string{"add", "plan a trip", "--agent", "demo", "--cron", "30 7 * * 1-5", "--timezone", "Europe/Berlin", "--id", "trips"}, 0, "next: 20"},
		{[]string{"add", "x", "--agent", "demo", "--every", "36h", "--id", "trips"}, exitFailed, "there is a schedule trips already"},
		{[]string{"add", "x", "--agent", "demo"}, exitUsage, "every"},
		{[]string{"add", "x", "--every", "36h"}, exitUsage, "session"},
		{[]string{"add", "x", "--agent", "demo", "--cron", "never"}, exitFailed, "cron"},
		{[]string{"add", "x", "--agent", "nobody", "--every", "36h"}, exitNotFound, "nobody"},
		{[]string{"add", "x", "--agent", "demo", "--every", "36h", "--starts-at", "soon"}, exitUsage, "2026-12-24"},
		{[]string{"pause", "trips"}, 0, "paused trips"},
		{[]string{"ls"}, 0, "30 7 * * 1-5 Europe/Berlin"},
		{[]string{"show", "trips"}, 0, "a new one each time"},
		{[]string{"resume", "trips"}, 0, "resumed trips; next: 20"},
		{[]string{"rm", "trips"}, 0, "deleted trips"},
		{[]string{"show", "trips"}, exitNotFound, "holdfast schedules ls"},
		{[]string{"pause", "trips", "--json"}, exitNotFound, "trips"},
	} {
		code, out, errOut := holdfastCommand(t, append([]string{"schedules"}, c.args...)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("holdfast schedules %q: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, out+errOut, c.says)
		}
	}
	var made struct{ ID string }
	for _, args := range [][]string{
		{"add", "x", "--agent", "demo", "--every", "36h", "--paused", "--json"},
		{"ls", "--json"},
		{"show", "--json", ""},
		{"resume", "--json", ""},
		{"pause", "--json", ""},
		{"rm", "--json", ""},
	} {
		if args[len(args)-1] == "" {
			args[len(args)-1] = made.ID
		}
		code, out, errOut := holdfastCommand(t, append([]string{"schedules"}, args...)...)
		if code != 0 || !json.Valid([]byte(out)) {
			t.Errorf("%q: %d %s%s", args, code, out, errOut)
		}
		if args[0] == "add" {
			if err := json.Unmarshal([]byte(out), &made); err != nil || made.ID == "" {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
}

// TestJSONOfTheRest: commands that change something answer programs with JSON.
func TestJSONOfTheRest(t *testing.T) {
	t.Setenv(envURL, serverURL)
	t.Setenv(envContexts, filepath.Join(t.TempDir(), "contexts.json"))
	for _, args := range []string{
		"context add a http://127.0.0.1:1", "context use a", "context rm a", "agent put ../../examples/hello.yaml --name gone", "agent rm gone",
		"healthcheck " + serverURL + "/api/ping", "vault rotate --data " + t.TempDir(),
	} {
		code, out, errOut := holdfastCommand(t, append(strings.Fields(args), "--json")...)
		if code != 0 || !json.Valid([]byte(out)) {
			t.Errorf("holdfast %s --json: %d %s%s", args, code, out, errOut)
		}
	}
	if code, out, _ := holdfastCommand(t, "healthcheck", serverURL+"/nothing", "--json"); code != exitFailed || !json.Valid([]byte(out)) {
		t.Errorf("healthcheck of what is not there: %d %s", code, out)
	}
}

// TestRunOverAServer: a name runs on the server that is meant, with its exit codes;
// what is left to it goes on there.
func TestRunOverAServer(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"run demo hello --remote " + serverURL, 0, "in the log"},
		{"run demo hello --json --remote " + serverURL, 0, "run_finished"},
		{"run nobody hello --remote " + serverURL, exitNotFound, "holdfast agent ls"},
		{"run demo hello --remote http://127.0.0.1:1", exitAway, "holdfast dev"},
		{"run demo hello --session nothing --remote " + serverURL, exitNotFound, "holdfast sessions ls"},
		{"run ../../examples/hello.yaml hello --remote " + serverURL, exitUsage, "name one of its agents"},
		{"run demo hello --detach --data x", exitUsage, "holdfast agent ls"},
	} {
		code, out, errOut := holdfastCommand(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("holdfast %s: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, out+errOut, c.says)
		}
	}
	code, out, errOut := holdfastCommand(t, "run", "demo", "hello", "--detach", "--remote", serverURL)
	id := strings.TrimSpace(out)
	if code != 0 || id == "" {
		t.Fatalf("%d %s%s", code, out, errOut)
	}
	for e, err := range newTestClient(t).Events(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event.EventType() == holdfast.TypeRunFinished {
			break
		}
	}
	code, out, _ = holdfastCommand(t, "run", "demo", "hello", "--detach", "--json", "--session", id, "--remote", serverURL)
	if code != 0 || !strings.Contains(out, `"session":"`+id) {
		t.Errorf("%d %s", code, out)
	}
}

// TestCompletionInBash loads the script into a shell and presses Tab.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	code, script, errOut := holdfastCommand(t, "completion", "bash")
	if code != 0 {
		t.Fatal(errOut)
	}
	// The script asks the program; here that is this test's own, in another process.
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wrapper := "#!" + bash + "\nexec env HOLDFAST_TEST_AS_COMMAND=1 " + me + ` "$@"` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "holdfast"), []byte(wrapper), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "completion"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	id := ask(t, "hello")
	press := func(words ...string) string {
		t.Helper()
		// What the shell does when Tab is pressed, without a terminal.
		text := `source "$1"/completion; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
_get_comp_words_by_ref() { cur="${COMP_WORDS[COMP_CWORD]}"; prev="${COMP_WORDS[COMP_CWORD-1]}"; words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
_init_completion() { _get_comp_words_by_ref; }
__start_holdfast; printf '%s\n' "${COMPREPLY[@]}"`
		cmd := exec.CommandContext(t.Context(), bash, append([]string{"--norc", "-c", text, "bash", dir}, words...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), envURL+"="+serverURL)
		var errText bytes.Buffer
		cmd.Stderr = &errText
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s%s", err, out, errText.String())
		}
		return string(out)
	}
	for want, words := range map[string][]string{
		"sessions":  {"holdfast", "sess"},
		"schedules": {"holdfast", "sch"},
		"--json":    {"holdfast", "sessions", "ls", "--js"},
		id:          {"holdfast", "sessions", "show", id[:8]},
		"demo":      {"holdfast", "chat", "de"},
	} {
		if got := press(words...); !strings.Contains(got, want) {
			t.Errorf("%q and Tab: %q, want %s", words, got, want)
		}
	}
}

// asCommand makes the test's program the command itself, for scripts.
func asCommand() (code int, ok bool) {
	if os.Getenv("HOLDFAST_TEST_AS_COMMAND") == "" {
		return 0, false
	}
	ctx, stop := interruptible(context.Background())
	defer stop()
	return execute(ctx, os.Args[1:]), true
}

// TestNamedCommands: commands that a page names in a sentence are there, with their
// flags.
func TestNamedCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, filepath.Join("..", "..", "README.md"), filepath.Join("..", "..", "examples", "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)`holdfast ([a-z][^`\n]*)`").FindAllStringSubmatch(string(text), -1) {
			found++
			words := shellWords(m[1])
			root := rootCommand()
			root.InitDefaultCompletionCmd()
			c, rest, err := root.Find(words)
			if err != nil || c == root || c.HasSubCommands() && len(rest) > 0 {
				t.Errorf("%s: `holdfast %s`: there is no such command", filepath.Base(page), m[1])
				continue
			}
			for _, w := range rest {
				name, isFlag := strings.CutPrefix(w, "--")
				name, _, _ = strings.Cut(name, "=")
				if isFlag && c.Flags().Lookup(name) == nil && c.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: `holdfast %s`: there is no flag --%s", filepath.Base(page), m[1], name)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("the pages name %d commands", found)
	}
}
