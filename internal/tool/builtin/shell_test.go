package builtin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

func shell(t *testing.T, o builtin.ShellOptions) *builtin.Toolset {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	ts := builtin.NewShell(o)
	t.Cleanup(func() {
		if err := ts.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ts
}

func sh(t *testing.T, ts *builtin.Toolset, cmd string, more ...string) tool.Result {
	t.Helper()
	args := fmt.Sprintf(`{"cmd":%q%s}`, cmd, strings.Join(more, ""))
	res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "shell", Arguments: args}))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestShell(t *testing.T) {
	started := make(chan struct{}, 1)
	tooltest.Toolset(t, tooltest.Case{
		New:  func(t *testing.T) tool.Toolset { return builtin.NewShell(builtin.ShellOptions{Dir: t.TempDir()}) },
		Good: []tool.Call{{Name: "shell", Arguments: `{"cmd":"echo hello; printf '\\377'"}`}, {Name: "shell", Arguments: `{"cmd":"true","timeout":5}`}},
		Bad: []tool.Call{
			{Name: "shell", Arguments: `{"cmd":"echo no; exit 3"}`},
			{Name: "shell", Arguments: `{"cmd":" "}`},
			{Name: "shell", Arguments: `{"cmd":"true","cwd":"/no/such/directory"}`},
			{Name: "shell", Arguments: `{"cmd":"true","timeout":-1}`},
			{Name: "shell", Arguments: `{"cmd":"true","timeout":100000}`},
			{Name: "shell", Arguments: `{"cmd":"true\u0000"}`},
		},
		Big: tool.Call{Name: "shell", Arguments: `{"cmd":"yes | head -c 6000000"}`},
		Blocking: tool.Call{Name: "shell", Arguments: `{"cmd":"echo started; sleep 600"}`, Progress: func(string) {
			select {
			case started <- struct{}{}:
			default:
			}
		}},
		Started: func(*testing.T) { <-started },
	})
}

func TestShellResults(t *testing.T) {
	ts := shell(t, builtin.ShellOptions{})
	if res := sh(t, ts, "echo out; echo err >&2"); res.IsError || res.Output != "out\nerr\n" {
		t.Errorf("%+v", res)
	}
	if res := sh(t, ts, "echo bad; exit 3"); !res.IsError || res.Output != "The command failed: exit status 3.\nbad\n" {
		t.Errorf("%+v", res)
	}
	if res := sh(t, ts, "mkdir sub && cd sub && pwd"); !strings.HasSuffix(res.Output, "/sub\n") {
		t.Errorf("%+v", res)
	}
	if res := sh(t, ts, "pwd", `,"cwd":"sub"`); !strings.HasSuffix(res.Output, "/sub\n") {
		t.Errorf("%+v", res)
	}
	if res := sh(t, ts, "cat"); res.IsError { // standard input is empty
		t.Errorf("%+v", res)
	}
}

func TestShellEnvironment(t *testing.T) {
	t.Setenv("HOLDFAST_SECRET_OF_THE_WORKER", "s3cret")
	if res := sh(t, shell(t, builtin.ShellOptions{Env: map[string]string{"GREETING": "hi"}}), `echo "$GREETING,$HOLDFAST_SECRET_OF_THE_WORKER,"`); res.Output != "hi,,\n" {
		t.Errorf("%+v", res)
	}
	if res := sh(t, shell(t, builtin.ShellOptions{InheritEnv: true}), `echo "$HOLDFAST_SECRET_OF_THE_WORKER"`); res.Output != "s3cret\n" {
		t.Errorf("%+v", res)
	}
}

func TestShellTimeoutEndsTheGroup(t *testing.T) {
	ts := shell(t, builtin.ShellOptions{})
	for limit := range testenv.Limits(time.Second) {
		begun := time.Now()
		res := sh(t, ts, `trap "" TERM; sleep 600 & echo $!; wait`, fmt.Sprintf(`,"timeout":%d`, limit/time.Second))
		if !res.IsError || !strings.Contains(res.Output, fmt.Sprintf("stopped after %v", limit)) {
			t.Fatalf("%+v", res)
		}
		if d := time.Since(begun) - limit; d > 30*time.Second {
			t.Errorf("it took %v", d)
		}
		if pid := regexp.MustCompile(`(?m)^\d+$`).FindString(res.Output); pid != "" {
			gone(t, pid)
			return
		}
	}
	t.Error("the shell never came to its first command")
}

func TestShellLeavesNothingInTheBackground(t *testing.T) {
	ts := shell(t, builtin.ShellOptions{})
	res := sh(t, ts, `sleep 600 & echo $!`)
	if res.IsError {
		t.Fatalf("%+v", res)
	}
	gone(t, res.Output)
}

func TestShellCloseStopsCommands(t *testing.T) {
	ts := builtin.NewShell(builtin.ShellOptions{})
	started := make(chan struct{})
	go func() {
		<-started
		if err := ts.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	res, err := ts.Call(t.Context(), tool.Call{
		Name: "shell", Arguments: `{"cmd":"echo x; exec sleep 600"}`, Progress: func(string) { close(started) },
	})
	if err != nil || !res.IsError || !strings.Contains(res.Output, "closed") {
		t.Errorf("%+v, %v", res, err)
	}
	if res := sh(t, ts, "true"); !res.IsError {
		t.Errorf("after Close: %+v", res)
	}
}

func gone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(pid))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		if err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the process %d is still there: %s", n, stat)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestShellKeepsLongOutputInAFile(t *testing.T) {
	ts := builtin.NewShell(builtin.ShellOptions{})
	res := sh(t, ts, "echo first; seq 1 1500000; echo last")
	end, all, _ := strings.Cut(res.Output, "\n[and this is all of it]\n")
	if !strings.HasPrefix(end, "[a long output, ") || !strings.HasSuffix(end, "\n1500000\nlast") || len(end) > 32<<10 {
		t.Errorf("the end, which comes first: %.100q", end)
	}
	if !strings.HasPrefix(all, "first\n1\n") || !strings.HasSuffix(res.Output, "\n1500000\nlast\n") || len(res.Output) > tool.MaxOutput {
		t.Errorf("%d bytes: %.40q … %q", len(res.Output), res.Output, res.Output[len(res.Output)-40:])
	}
	m := regexp.MustCompile(`the whole is in (\S+)\]`).FindStringSubmatch(res.Output)
	if short := sh(t, ts, "seq 1 10000").Output; !strings.HasPrefix(short, "1\n2\n") {
		t.Errorf("an output that is not long: %.40q", short)
	}
	if m == nil {
		t.Fatal("the result names no file")
	}
	if got := sh(t, ts, "wc -l < "+m[1]).Output; strings.TrimSpace(got) != "1500002" {
		t.Errorf("the file has %s lines", got)
	}
	if err := ts.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func schemas(args map[string]string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage)
	for k, v := range args {
		out[k] = json.RawMessage(v)
	}
	return out
}

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	scripts := map[string]builtin.Script{
		"greet": {
			Cmd: `echo "$greeting, $name! $extra"`, Description: "Greets",
			Args:     schemas(map[string]string{"name": `{"description":"who"}`, "extra": `{"type":"array"}`}),
			Required: []string{"name"}, Env: map[string]string{"greeting": "Hello"},
		},
		"where": {Cmd: "pwd", WorkingDir: "sub"},
		"all":   {Cmd: `for i in 1; do echo $a$b$i; done`, Args: schemas(map[string]string{"a": ``, "b": `{}`})},
	}
	tooltest.Toolset(t, tooltest.Case{
		New: func(t *testing.T) tool.Toolset {
			ts, err := builtin.NewScripts(scripts, builtin.ShellOptions{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return ts
		},
		Good: []tool.Call{{Name: "where"}, {Name: "all", Arguments: `{"a":"1","b":2}`}},
		Bad: []tool.Call{
			{Name: "greet", Arguments: `{}`},
			{Name: "greet", Arguments: `{"name":"x","other":1}`},
			{Name: "greet", Arguments: `{"name":"a\u0000b"}`},
			{Name: "all", Arguments: `{"a":"1"}`},
		},
	})
	ts, err := builtin.NewScripts(scripts, builtin.ShellOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		`{"name":"Ada"}`:                     "Hello, Ada! \n",
		`{"name":"$(exit 9); \"; exit 8 #"}`: "Hello, $(exit 9); \"; exit 8 #! \n",
		`{"name":"Ada","extra":[1,2]}`:       "Hello, Ada! [1,2]\n",
		`{"name":"Ada","extra":null}`:        "Hello, Ada! \n",
	} {
		res, err := ts.Call(context.Background(), tool.Call{Name: "greet", Arguments: args})
		if err != nil || res.Output != want {
			t.Errorf("%s: %+v, %v, want %q", args, res, err, want)
		}
	}
	for name, s := range map[string]builtin.Script{
		"bad name":  {Cmd: "true"},
		"empty":     {Cmd: " "},
		"typo":      {Cmd: "echo $nmae", Args: schemas(map[string]string{"name": `{}`})},
		"required":  {Cmd: "true", Required: []string{"x"}},
		"variable":  {Cmd: "true", Args: schemas(map[string]string{"a-b": `{}`})},
		"no_schema": {Cmd: "true", Args: schemas(map[string]string{"a": `[]`})},
	} {
		if _, err := builtin.NewScripts(map[string]builtin.Script{name: s}, builtin.ShellOptions{}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
