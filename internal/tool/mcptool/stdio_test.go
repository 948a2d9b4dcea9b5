package mcptool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest/mcptest"
)

func TestStdio(t *testing.T) {
	suite(t, func(t *testing.T) *mcptool.Toolset { return command(t, mcptest.Normal, mcptool.Options{}) })
}

func TestStdioDeadServer(t *testing.T) {
	ts := command(t, mcptest.Normal, mcptool.Options{})
	for range 2 {
		wantError(t, call(t, ts, tool.Call{Name: "die"}), "the server ended: exit status 3", "unknown", "started again")
		wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"text":"back"}`}, "back")
	}
	if _, ok := definitions(t, ts)["echo"]; !ok {
		t.Error("no tools after the restart")
	}
}

func TestStdioDiesOnce(t *testing.T) {
	ts := command(t, mcptest.DiesOften, mcptool.Options{}, func(c *mcptool.Config) {
		c.Env[mcptest.Mark] = filepath.Join(t.TempDir(), "mark")
	})
	wantError(t, call(t, ts, tool.Call{Name: "t"}), "exit status 4")
	wantOutput(t, ts, tool.Call{Name: "t"}, "alive")
}

func TestStdioStartFails(t *testing.T) {
	ts := command(t, mcptest.Refuses, mcptool.Options{})
	_, err := ts.Tools(t.Context())
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{`"test"`, "exit status 7", "reading the settings | no config"} {
		if !strings.Contains(holdfast.PublicMessage(err), part) {
			t.Errorf("the error %q does not contain %q", holdfast.PublicMessage(err), part)
		}
	}
	wantError(t, call(t, ts, tool.Call{Name: "x"}), "no config")
	if got := ts.Stderr(); !strings.Contains(got, "no config") {
		t.Errorf("stderr %q", got)
	}

	none := open(t, mcptool.Config{Name: "none", Command: "/no/such/command"}, mcptool.Options{})
	if _, err := none.Tools(t.Context()); !strings.Contains(holdfast.PublicMessage(err), "no such file") {
		t.Errorf("error %v", err)
	}
}

func TestStdioNotReadyInTime(t *testing.T) {
	ts := command(t, mcptest.Mute, mcptool.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	res, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "t"}))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, res, "not ready in time", "not made")
}

func TestStdioBacksOff(t *testing.T) {
	ts := command(t, mcptest.Refuses, mcptool.Options{})
	begun := time.Now()
	for range 4 { // at once, at once, after 200 ms, after 400 ms
		if _, err := ts.Tools(t.Context()); err == nil {
			t.Fatal("no error")
		}
	}
	if d := time.Since(begun); d < 600*time.Millisecond {
		t.Errorf("four starts took only %v", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := ts.Tools(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled in the pause: %v", err)
	}
}

func TestStdioMuteServer(t *testing.T) {
	for limit := range testenv.Limits(300 * time.Millisecond) {
		ts := command(t, mcptest.Mute, mcptool.Options{StartTimeout: limit})
		begun := time.Now()
		_, err := ts.Tools(t.Context())
		msg := holdfast.PublicMessage(err)
		if !strings.Contains(msg, fmt.Sprintf("no answer within %v", limit)) {
			t.Fatalf("error %q", msg)
		}
		// It ignores SIGTERM, so it had to be killed.
		if d := time.Since(begun) - limit; d > 30*time.Second {
			t.Errorf("it took %v", d)
		}
		if strings.Contains(msg, "I say nothing") {
			return
		}
	}
	t.Error("no error says what the server wrote")
}

func TestStdioOldServer(t *testing.T) {
	// The probe for the newest protocol is never answered; the handshake is.
	ts := command(t, mcptest.OldOnly, mcptool.Options{})
	wantOutput(t, ts, tool.Call{Name: "t"}, "ok")
}

func TestStdioOdd(t *testing.T) {
	ts := command(t, mcptest.Odd, mcptool.Options{})
	defs := definitions(t, ts)
	if len(defs) != 7 {
		t.Errorf("%d tools: %v", len(defs), defs)
	}
	if d := defs["odd"]; !bytes.Equal(d.Parameters, []byte(mcptest.OddSchema)) || d.Title != "Odd" || d.Description != "d" {
		t.Errorf("odd: %+v\n%s", d, d.Parameters)
	}
	for name, want := range map[string]string{
		"no-schema": `{"type":"object"}`, "true-schema": `{"type":"object"}`, "no-type": `{"properties":{"a":{}},"type":"object"}`,
	} {
		if got := string(defs[name].Parameters); got != want {
			t.Errorf("%s: schema %s, want %s", name, got, want)
		}
	}
	for name := range defs {
		if len(name) > 64 || strings.ContainsAny(name, "./ ") {
			t.Errorf("the name %q is none for models", name)
		}
		res := call(t, ts, tool.Call{Name: name})
		if want := "[content of the type \"hologram\"]\n[content that cannot be read]\nseen"; res.Output != want || len(res.Meta) == 0 {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if !strings.Contains(ts.Stderr(), "Server running on stdio!") {
		t.Errorf("the text on standard output is lost: %q", ts.Stderr())
	}
}

func TestStdioFilterAndInstruction(t *testing.T) {
	ts := command(t, mcptest.Odd, mcptool.Options{}, func(c *mcptool.Config) {
		c.Tools = []string{"odd", "no.dots/allowed here", "absent"}
		c.Instruction = "mine"
	})
	if defs := definitions(t, ts); len(defs) != 2 {
		t.Errorf("tools %v", defs)
	}
	wantError(t, call(t, ts, tool.Call{Name: "no-schema"}), "There is no tool")
	if got := ts.Instructions(); got != "mine" {
		t.Errorf("instructions %q", got)
	}
}

func TestStdioServerAsks(t *testing.T) {
	ts := command(t, mcptest.Asks, mcptool.Options{})
	want := strings.Join([]string{
		`ping: {}`,
		`roots/list: {"code":-32601,"message":"this client does not offer roots/list"}`,
		`sampling/createMessage: {"code":-32601,"message":"this client does not offer sampling/createMessage"}`,
		`elicitation/create: {"action":"decline"}`,
		`no/such: {"code":-32601,"message":"this client does not offer no/such"}`,
	}, "\n")
	wantOutput(t, ts, tool.Call{Name: "t"}, want)
}

func TestStdioFloods(t *testing.T) {
	for b, part := range map[mcptest.Behaviour]string{
		mcptest.EndlessLn: "a message longer than 16 MiB",
		mcptest.Chatters:  "8 MiB that nobody asked for",
	} {
		t.Run(string(b), func(t *testing.T) {
			wantError(t, call(t, command(t, b, mcptool.Options{}), tool.Call{Name: "t"}), part)
		})
	}
}

func TestStdioGarbage(t *testing.T) {
	ts := command(t, mcptest.Garbage, mcptool.Options{})
	wantError(t, call(t, ts, tool.Call{Name: "t"}), "cannot be read")
}

func TestStdioEndlessList(t *testing.T) {
	_, err := command(t, mcptest.Loops, mcptool.Options{}).Tools(t.Context())
	if msg := holdfast.PublicMessage(err); !strings.Contains(msg, "does not end") {
		t.Errorf("error %q", msg)
	}
}

func TestStdioServerThatDoesNotRead(t *testing.T) {
	ts := command(t, mcptest.Deaf, mcptool.Options{})
	definitions(t, ts)
	// More than a pipe holds, so the write itself hangs.
	big := `{"a":"` + strings.Repeat("x", 1<<20) + `"}`
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	res, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "t", Arguments: big}))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, res, "no answer in time")
	// Half a message was written, so the connection is of no use any more.
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "t", Arguments: big})); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled in a write: %v", err)
	}
}

func TestStdioEnvironment(t *testing.T) {
	t.Setenv("HOLDFAST_SECRET_OF_THE_WORKER", "s3cret")
	get := func(opts mcptool.Options) string {
		return call(t, command(t, mcptest.Normal, opts, func(c *mcptool.Config) { c.Env["GREETING"] = "hi" }), tool.Call{Name: "env"}).Output
	}
	own := get(mcptool.Options{})
	for _, line := range strings.Split(own, "\n") {
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "PATH", "HOME", "GREETING", "PWD", mcptest.Variable:
		default:
			t.Errorf("the server sees %q", line)
		}
	}
	if !strings.Contains(own, "GREETING=hi") || !strings.Contains(own, "PATH=") {
		t.Errorf("environment %q", own)
	}
	if all := get(mcptool.Options{InheritEnv: true}); !strings.Contains(all, "HOLDFAST_SECRET_OF_THE_WORKER=s3cret") {
		t.Errorf("inherited environment %q", all)
	}
}

func TestStdioCloseEndsTheWholeGroup(t *testing.T) {
	ts := command(t, mcptest.Normal, mcptool.Options{})
	pid := atoi(t, call(t, ts, tool.Call{Name: "pid"}).Output)
	child := atoi(t, call(t, ts, tool.Call{Name: "child"}).Output)
	if err := ts.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server is still there: %v", err)
	}
	waitGone(t, child)
}

func TestStdioDeathEndsTheWholeGroup(t *testing.T) {
	ts := command(t, mcptest.Normal, mcptool.Options{})
	child := atoi(t, call(t, ts, tool.Call{Name: "child"}).Output)
	wantError(t, call(t, ts, tool.Call{Name: "die"}), "exit status 3")
	waitGone(t, child)
}

// waitGone waits until a process that was killed is gone. It was our
// grandchild, so that somebody else reaps it.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the process %d is still there: %s", pid, stat)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStderrIsARing(t *testing.T) {
	ts := command(t, mcptest.Normal, mcptool.Options{})
	long := strings.Repeat("0123456789", 4000)
	for i := range 4 {
		call(t, ts, tool.Call{Name: "stderr", Arguments: fmt.Sprintf(`{"text":"%s end-%d"}`, long, i)})
	}
	if err := ts.Close(); err != nil { // after which all is written
		t.Fatal(err)
	}
	got := ts.Stderr()
	if len(got) != 64<<10 || !strings.HasSuffix(got, "end-3\n") || strings.Contains(got, "end-1\n") {
		t.Errorf("%d bytes, ending with %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestConcurrentCalls(t *testing.T) {
	ts := command(t, mcptest.Normal, mcptool.Options{})
	errs := make(chan error, 32)
	for i := range cap(errs) {
		go func() {
			want := fmt.Sprint("text ", i)
			res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "echo", Arguments: fmt.Sprintf(`{"text":%q}`, want)}))
			if err == nil && res.Output != want {
				err = fmt.Errorf("output %q, want %q", res.Output, want)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]mcptool.Config{
		"no name":         {Command: "x"},
		"nothing":         {Name: "x"},
		"both":            {Name: "x", Command: "x", URL: "http://x"},
		"relative":        {Name: "x", URL: "/mcp"},
		"scheme":          {Name: "x", URL: "file:///mcp"},
		"user":            {Name: "x", URL: "http://me:pw@host/mcp"},
		"transport":       {Name: "x", URL: "http://host", Transport: "carrier pigeon"},
		"header":          {Name: "x", URL: "http://host", Headers: map[string]string{"mcp-session-id": "1"}},
		"command headers": {Name: "x", Command: "x", Headers: map[string]string{"a": "b"}},
		"url arguments":   {Name: "x", URL: "http://host", Args: []string{"a"}},
	} {
		if _, err := mcptool.New(cfg, mcptool.Options{}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%s: error %v, want one with the code invalid", name, err)
		}
	}
}
