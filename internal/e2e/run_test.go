package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

const failing = `version: "2"
agents:
  root:
    model: script
    description: Fails.
    instruction: Fail.
models:
  script:
    provider: scripted
    model: failing
    provider_opts:
      script:
        turns:
          - say: This will not end well.
            error: {status: 500, message: the script says so, after_words: 3}
`

// exitCode is the code that a process ended with.
func exitCode(t testing.TB, p *testenv.Process) int {
	t.Helper()
	err := p.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	bin := release(t).holdfast
	dir := t.TempDir()
	for name, text := range map[string]string{
		"failing.yaml": failing,
		"talker.yaml":  talker(5, time.Millisecond),
		"typo.yaml":    strings.Replace(talker(5, time.Millisecond), "instruction:", "instrucion:", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"stop", []string{file("talker.yaml"), "count"}, 0, []string{numbered(5)}},
		{"built-in agent and tools", []string{"demo", "plan something"}, 0, []string{"create_todos", "todo list"}},
		{"failed", []string{file("failing.yaml"), "go"}, 1, []string{"This will not", "the script says so", "holdfast: the run failed"}},
		{"typo in the file", []string{file("typo.yaml"), "go"}, 1, []string{"instrucion"}},
		{"unknown agent", []string{"nobody", "go"}, 1, []string{"nobody"}},
		{"no such file", []string{file("none.yaml"), "go"}, 2, []string{"no agent file", "none.yaml"}},
		{"unknown flag", []string{"--colour", "demo", "go"}, 2, []string{"--colour", "--help"}},
		{"nobody to ask", []string{"demo", "remember the milk"}, 3, []string{"add_memory", "--yes"}},
		{"approved", []string{"--yes", "demo", "remember the milk"}, 0, []string{"The tool said"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testenv.Start(t, bin, []string{"TMPDIR=" + t.TempDir()}, append([]string{"run"}, c.args...)...)
			if code := exitCode(t, p); code != c.code {
				t.Errorf("exit code %d, want %d; it says:\n%s", code, c.code, p.Output())
			}
			for _, part := range c.says {
				if !strings.Contains(p.Output(), part) {
					t.Errorf("it does not say %q:\n%s", part, p.Output())
				}
			}
		})
	}
}

// TestRunInterrupted presses Ctrl-C once, in the middle of an answer.
func TestRunInterrupted(t *testing.T) {
	t.Parallel()
	file, tmp := filepath.Join(t.TempDir(), "slow.yaml"), t.TempDir()
	if err := os.WriteFile(file, []byte(talker(2000, 30*time.Millisecond)), 0o644); err != nil {
		t.Fatal(err)
	}
	p := testenv.Start(t, release(t).holdfast, []string{"TMPDIR=" + tmp}, "run", file, "count")
	p.WaitLog("w0003")
	began := time.Now()
	p.Signal(syscall.SIGINT)
	if code := exitCode(t, p); code != 130 {
		t.Errorf("exit code %d, want 130; it says:\n%s", code, p.Output())
	}
	t.Logf("ended %s after Ctrl-C", time.Since(began).Round(time.Millisecond))
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("files are left behind: %v, %v", left, err)
	}
}

// TestRunJSON reads a run line by line, and goes on with its session.
func TestRunJSON(t *testing.T) {
	t.Parallel()
	bin, data := release(t).holdfast, t.TempDir()
	session := ""
	for _, prompt := range []string{"hello", "plan something"} {
		args := []string{"run", "--json", "--data", data, "demo", prompt}
		if session != "" {
			args = append(args, "--session", session)
		}
		p := testenv.Start(t, bin, nil, args...)
		if code := exitCode(t, p); code != 0 {
			t.Fatalf("exit code %d:\n%s", code, p.Output())
		}
		var last holdfast.Event
		var said string
		for l := range strings.Lines(p.Output()) {
			ev, err := holdfast.UnmarshalEvent([]byte(l))
			if err != nil {
				t.Fatalf("line %q: %v", l, err)
			}
			switch ev := ev.(type) {
			case *holdfast.StreamStartedEvent:
				if session != "" && session != ev.SessionID {
					t.Errorf("session %s, want %s", ev.SessionID, session)
				}
				session = ev.SessionID
			case *holdfast.UserMessageEvent:
				said = ev.Message
			case *holdfast.UnknownEvent:
				t.Errorf("unknown event: %s", l)
			}
			last = ev
		}
		if said != prompt {
			t.Errorf("the user said %q, want %q", said, prompt)
		}
		if end, ok := last.(*holdfast.RunFinishedEvent); !ok || end.Reason != "stop" {
			t.Errorf("the last line is %+v", last)
		}
	}
}
