package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

// serverURL is where a whole Holdfast listens: the one of this package's tests.
var serverURL string

func TestMain(m *testing.M) {
	if code, ok := asCommand(); ok {
		os.Exit(code)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-cli-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		for _, name := range []string{envURL, envKey, "NO_COLOR"} {
			if err := os.Unsetenv(name); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		if err := os.Setenv(envContexts, filepath.Join(dir, "settings", "contexts.json")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		cfg, err := config.Load([]string{
			"HOLDFAST_DATA=" + filepath.Join(dir, "data"), "HOLDFAST_LISTEN=127.0.0.1:0",
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := 1
		err = app.Run(context.Background(), cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "cli-test", Logger: slog.New(slog.DiscardHandler), DrainGrace: time.Second,
			Agents: map[string][]byte{"slow.yaml": []byte(slowAgent), "markdown.yaml": []byte(markdownAgent), "ask.yaml": []byte(askAgent)},
			Ready:  func(addr string) { serverURL = "http://" + addr },
			Use: func(context.Context, *app.Program) error {
				code = m.Run()
				return nil
			},
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

const slowAgent = `version: "2"
agents:
  root:
    model: script
    description: Talks for long.
    instruction: Talk.
models:
  script:
    provider: scripted
    model: slow
    provider_opts:
      script:
        turns:
          - when: { contains: short }
            say: That was short.
          - say: "It begins."
            say_words: 100000
            delay: 5ms
`

// holdfastCommand runs a command in this process.
func holdfastCommand(t testing.TB, args ...string) (code int, out, errOut string) {
	t.Helper()
	return holdfastWith(t, "", args...)
}

func holdfastWith(t testing.TB, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = executeOn(t.Context(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func newTestClient(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask begins a session with the demo and waits until it stands still.
func ask(t testing.TB, text string) (id string) {
	t.Helper()
	c := newTestClient(t)
	doc, err := c.CreateSession(t.Context(), client.NewSession{Agent: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StartRun(t.Context(), doc.ID, client.NewRun{Messages: []client.Message{{Content: text}}}); err != nil {
		t.Fatal(err)
	}
	for e, err := range c.Events(t.Context(), doc.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event.EventType() == holdfast.TypeSessionParked {
			break
		}
	}
	return doc.ID
}

// found waits until the search finds what was said.
func found(t testing.TB, text string) {
	t.Helper()
	c := newTestClient(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 { // a minute
		for _, err := range c.Search(t.Context(), client.SearchQuery{Text: text}) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		<-tick.C
	}
	t.Fatalf("%q is not found", text)
}

func TestExitCodes(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "hello")
	for _, c := range []struct {
		args string
		code int
		says string // on standard error
	}{
		{"sessions ls --json", 0, ""},
		{"sessions ls --search nothing-is-called-so", 0, "no session is like that"},
		{"sessions ls --status asleep", exitFailed, "status"},
		{"sessions ls --agent demo --status idle --metadata a=b", 0, ""},
		{"usage", 0, ""},
		{"usage --by session,model --session " + id + " --json", 0, ""},
		{"usage --by hour", exitFailed, "hour"},
		{"usage --from yesterday", exitUsage, "2026-11-22"},
		{"sessions show " + id, 0, ""},
		{"sessions show " + id + " --at 1", 0, ""},
		{"sessions show", exitUsage, "usage: holdfast sessions show"},
		{"sessions show nobody", exitNotFound, "holdfast sessions ls"},
		{"sessions list", 0, ""},
		{"sessions lsit", exitUsage, "did you mean: holdfast sessions ls"},
		{"sesions", exitUsage, "did you mean: holdfast sessions"},
		{"sessions rm ..", exitFailed, "no id"},
		{"context add a/b http://x", exitUsage, "cannot be called"},
		{"verify --data /nonexistent/folder", exitUsage, "--data"},
		{"healthcheck localhost", exitUsage, "/readyz"},
		{"--version", 0, ""},
		{"tail x --remote http://127.0.0.1:1", exitAway, "holdfast dev"},
		{"replay x --remote http://127.0.0.1:1", exitAway, "holdfast dev"},
		{"tail nobody", exitNotFound, "holdfast sessions ls"},
		{"sessions ls --colour", exitUsage, "--help"},
		{"sessions ls --remote ftp://x", exitUsage, "http://host"},
		{"sessions ls --remote http://127.0.0.1:1", exitAway, "holdfast dev"},
		{"sessions ls --context nowhere", exitUsage, "holdfast context ls"},
		{"sessions ls --context a --remote http://x", exitUsage, "group"},
		{"approve " + id, exitNotFound, "no tool call"},
		{"cancel " + id, exitFailed, "no active run"},
		{"tail " + id + " --after 1000000", exitFailed, "beyond the end"},
		{"replay " + id + " --pace -1", exitUsage, "--pace"},
		{"agent check no-such-file.yaml", exitFailed, "1 of 1"},
		{"agent check", exitUsage, "an argument is missing"},
		{"agent show nobody", exitNotFound, "nobody"},
		{"context use nowhere", exitUsage, "holdfast context add"},
		{"context rm nowhere", exitNotFound, "holdfast context ls"},
		{"chat", exitUsage, "holdfast run"},
		{"nonsense", exitUsage, "unknown command"},
		{"version extra", exitUsage, "usage"},
	} {
		code, _, errOut := holdfastCommand(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errOut, c.says) {
			t.Errorf("holdfast %s: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, errOut, c.says)
		}
	}
}

// TestJSON: what programs read is JSON, on every command that offers it.
func TestJSON(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "remember the milk")
	fork := ""
	for _, args := range []string{
		"sessions ls --json", "sessions show --json @last", "approve --json " + id, "agent ls --json", "agent show --json demo",
		"fork --json " + id, "version --json", "context ls --json", "agent check --json ../../examples/hello.yaml",
	} {
		code, out, errOut := holdfastCommand(t, strings.Fields(args)...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil {
			t.Errorf("holdfast %s: exit code %d, %v: %s%s", args, code, err, out, errOut)
		}
		if doc, ok := v.(map[string]any); ok && strings.HasPrefix(args, "fork") {
			fork, _ = doc["id"].(string)
		}
	}
	if code, out, errOut := holdfastCommand(t, "sessions", "rm", "--json", fork); code != 0 || !strings.Contains(out, fork) {
		t.Errorf("rm: %d %s%s", code, out, errOut)
	}
	for _, args := range []string{"tail --json " + id, "replay --json --pace 0 " + id} {
		code, out, errOut := holdfastCommand(t, strings.Fields(args)...)
		if code != 0 {
			t.Errorf("holdfast %s: exit code %d: %s", args, code, errOut)
		}
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var e struct{ Seq int }
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq != i+1 {
				t.Errorf("holdfast %s: line %d: %v: %s", args, i+1, err, line)
			}
		}
	}
}

// TestTailFollows: with -f an event that comes later is printed, and Ctrl-C ends
// it with the exit code of an interrupt.
func TestTailFollows(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "remember the milk")
	ctx, interrupt := context.WithCancel(t.Context())
	vt := newScreenRecorder(0)
	done := make(chan int, 1)
	go func() { done <- executeOn(ctx, []string{"tail", "-f", "-n", "3", id}, nil, vt, vt) }()
	vt.await(t, "session_parked")
	if code, _, errOut := holdfastCommand(t, "reject", id, "--reason", "not today"); code != 0 {
		t.Fatal(errOut)
	}
	vt.await(t, "not today")
	vt.await(t, "run_finished")
	interrupt()
	if code := <-done; code != exitCanceled {
		t.Errorf("exit code %d", code)
	}
	if first := strings.Fields(vt.text())[0]; first == "1" {
		t.Errorf("-n 3 begins with event %s", first)
	}
}

// TestContexts: keys stay out of what is printed, and the file is the user's alone.
func TestContexts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "contexts.json")
	t.Setenv(envContexts, file)
	run := func(in string, args ...string) string {
		t.Helper()
		code, out, errOut := holdfastWith(t, in, args...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, errOut)
		}
		return out + errOut
	}
	all := run("topsecretkey\n", "context", "add", "test", serverURL, "--key-file", "-")
	all += run("", "context", "add", "other", "http://any:othersecret@"+strings.TrimPrefix(serverURL, "http://"))
	all += run("", "context", "use", "other") + run("", "context", "ls") + run("", "context", "ls", "--json")
	if strings.Contains(all, "secret") {
		t.Errorf("a key is printed: %s", all)
	}
	if !regexp.MustCompile(`\*\s+other`).MatchString(all) {
		t.Errorf("the context in use is not marked: %s", all)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	data, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(data), "topsecretkey") || !strings.Contains(string(data), "othersecret") {
		t.Errorf("%s, %v", data, err)
	}
	run("", "sessions", "ls")
	run("", "sessions", "ls", "--context", "test")
	run("", "context", "rm", "other")
	if code, _, errOut := holdfastCommand(t, "context", "add", "bad", "not a url"); code != exitUsage {
		t.Errorf("%d %s", code, errOut)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := holdfastCommand(t, "context", "ls"); code != exitFailed || !strings.Contains(errOut, file) {
		t.Errorf("a broken file: %d %s", code, errOut)
	}
}

// TestCompletion: ids and agents of the server are offered.
func TestCompletion(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "hello")
	for args, want := range map[string]string{
		"sessions show ": id, "chat ": "demo", "tail @": "@last", "": "sessions", "sessions ls --context ": "",
	} {
		parts := append([]string{"__complete"}, strings.Split(args, " ")...)
		if code, out, _ := holdfastCommand(t, parts...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := holdfastCommand(t, "completion", shell); code != 0 || len(out) < 500 {
			t.Errorf("%s: %d, %d bytes", shell, code, len(out))
		}
	}
}

// shellWords splits a command line; words with spaces are in double quotes.
func shellWords(line string) []string {
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(line, -1)
	for i, w := range words {
		if words[i] = strings.Trim(w, `"`); strings.HasPrefix(w, "'") {
			words[i] = strings.Trim(w, "'")
		}
	}
	return words
}

var wildcard = regexp.MustCompile(`…`)

// TestDocumentedCommands runs the commands of docs/cli.md in order: what is under a
// command is in its output, "…" being anything, and "# exit code N" is its code.
func TestDocumentedCommands(t *testing.T) {
	t.Setenv(envURL, serverURL)
	t.Setenv(envContexts, filepath.Join(t.TempDir(), "contexts.json"))
	ask(t, "hello")
	ask(t, "remember the milk") // what @last is, and what is approved
	found(t, "milk")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join("..", ".."))
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			words := shellWords(command)
			in := ""
			if len(words) > 3 && words[0] == "echo" && words[2] == "|" {
				in, words = words[1]+"\n", words[3:]
			}
			if words[0] != "holdfast" {
				t.Errorf("%s: not a command of ours", command)
				continue
			}
			wantCode := 0
			if m := regexp.MustCompile(`# exit code (\d+)`).FindStringSubmatch(want); m != nil {
				_, _ = fmt.Sscan(m[1], &wantCode)
				want = strings.Replace(want, m[0], "", 1)
			}
			code, out, errOut := holdfastWith(t, in, words[1:]...)
			if code != wantCode {
				t.Errorf("%s: exit code %d, want %d: %s", command, code, wantCode, errOut)
			}
			for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
				pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), wildcard.String(), ".*")
				pattern = regexp.MustCompile(`\s+`).ReplaceAllString(pattern, `\s+`)
				if !regexp.MustCompile(pattern).MatchString(out + errOut) {
					t.Errorf("%s: it does not say %q:\n%s%s", command, line, out, errOut)
				}
			}
			ran++
		}
	}
	if ran < 20 {
		t.Errorf("the page has only %d commands", ran)
	}
}

// TestCopy: a session goes into a file and back, under another id and on standard
// input; a file that is not whole is refused.
func TestCopy(t *testing.T) {
	t.Setenv(envURL, serverURL)
	id := ask(t, "hello")
	file, copied := filepath.Join(t.TempDir(), "session.jsonl"), "copy-of-"+id
	if code, _, errOut := holdfastCommand(t, "export", id, "-o", file); code != 0 || !strings.Contains(errOut, "bytes") {
		t.Fatalf("export: %d %s", code, errOut)
	}
	if code, out, errOut := holdfastCommand(t, "import", file, "--id", copied); code != 0 || strings.TrimSpace(out) != copied {
		t.Fatalf("import: %d %s%s", code, out, errOut)
	}
	code, one, errOut := holdfastCommand(t, "export", id)
	if code != 0 {
		t.Fatal(errOut)
	}
	if code, out, errOut := holdfastWith(t, one, "import", "-", "--json"); code != 0 || !strings.Contains(out, id) {
		t.Errorf("import of what is there: %d %s%s", code, out, errOut)
	}
	first, err := newTestClient(t).GetSession(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newTestClient(t).GetSession(t.Context(), copied)
	if err != nil || len(second.Messages) != len(first.Messages) || second.Title != first.Title {
		t.Errorf("the copy: %+v, %v", second, err)
	}
	if code, _, errOut := holdfastWith(t, one[:len(one)/2], "import", "-", "--id", "half"); code != exitFailed || errOut == "" {
		t.Errorf("half a file: %d %s", code, errOut)
	}
	if code, _, _ := holdfastCommand(t, "export", "nobody", "-o", filepath.Join(t.TempDir(), "x")); code != exitNotFound {
		t.Errorf("export of nothing: %d", code)
	}
}
