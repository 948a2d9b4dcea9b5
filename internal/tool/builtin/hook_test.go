package builtin_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/tool/builtin"
)

func TestRunHook(t *testing.T) {
	dir := t.TempDir()
	o := builtin.ShellOptions{Dir: dir}
	run := func(line string) builtin.HookCommand {
		return builtin.HookCommand{Line: line, Input: []byte(`{"a":1}`), Env: map[string]string{"WHO": "me"}, Timeout: time.Minute}
	}
	out, err := builtin.RunHook(t.Context(), o, run(`cat; echo; echo "$WHO"; pwd; echo no >&2; exit 2`))
	if err != nil || out.ExitCode != 2 || out.Stderr != "no\n" {
		t.Fatalf("%+v, %v", out, err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(out.Stdout, "\n"); len(lines) < 3 || lines[0] != `{"a":1}` || lines[1] != "me" || lines[2] != real && lines[2] != dir {
		t.Errorf("stdout %q", out.Stdout)
	}
	// One that reads nothing, and leaves something behind that holds its output open.
	if out, err := builtin.RunHook(t.Context(), o, run(`sleep 600 & echo left`)); err != nil || out.Stdout != "left\n" {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := builtin.RunHook(t.Context(), o, run(`yes | head -c 3000000`)); err != nil || len(out.Stdout) != 1<<20 {
		t.Errorf("a long output: %d bytes, %v", len(out.Stdout), err)
	}
}

func TestRunHookEnds(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	short := builtin.HookCommand{Line: `sleep 600`, Timeout: 10 * time.Millisecond}
	if _, err := builtin.RunHook(t.Context(), builtin.ShellOptions{}, short); err == nil || !strings.Contains(err.Error(), "did not end within") {
		t.Errorf("a hook that takes too long: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	go func() { // when the command is there
		for {
			if _, err := os.Stat(mark); err == nil {
				cancel(gone)
				return
			}
		}
	}()
	long := builtin.HookCommand{Line: `touch "$MARK"; sleep 600`, Env: map[string]string{"MARK": mark}, Timeout: time.Hour}
	if _, err := builtin.RunHook(ctx, builtin.ShellOptions{}, long); !errors.Is(err, gone) {
		t.Errorf("a hook whose context ends: %v", err)
	}
}
