package mcptool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest/mcptest"
)

func TestMain(m *testing.M) {
	mcptest.Main()
	leaktest.Main(m)
}

// command opens the toolset of a test server over stdio.
func command(t *testing.T, b mcptest.Behaviour, opts mcptool.Options, change ...func(*mcptool.Config)) *mcptool.Toolset {
	t.Helper()
	path, env := mcptest.Command(b)
	cfg := mcptool.Config{Name: "test", Command: path, Env: env}
	for _, f := range change {
		f(&cfg)
	}
	return open(t, cfg, opts)
}

func open(t *testing.T, cfg mcptool.Config, opts mcptool.Options) *mcptool.Toolset {
	t.Helper()
	ts, err := mcptool.New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ts.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ts
}

func call(t *testing.T, ts tool.Toolset, c tool.Call) tool.Result {
	t.Helper()
	res, err := ts.Call(t.Context(), tooltest.Call(c))
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return res
}

func wantOutput(t *testing.T, ts tool.Toolset, c tool.Call, want string) {
	t.Helper()
	if res := call(t, ts, c); res.IsError || res.Output != want {
		t.Errorf("%s: %+v, want the output %q", c.Name, res, want)
	}
}

func wantError(t *testing.T, res tool.Result, parts ...string) {
	t.Helper()
	if !res.IsError {
		t.Errorf("%.200q is no error", res.Output)
	}
	for _, p := range parts {
		if !strings.Contains(res.Output, p) {
			t.Errorf("the error %.300q does not contain %q", res.Output, p)
		}
	}
}

func definitions(t *testing.T, ts tool.Toolset) map[string]tool.Definition {
	t.Helper()
	list, err := ts.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defs := make(map[string]tool.Definition)
	for _, d := range list {
		defs[d.Name] = d
	}
	return defs
}

// suite is what every transport has to pass with the server of mcptest.NewServer.
func suite(t *testing.T, opened func(t *testing.T) *mcptool.Toolset) {
	t.Helper()
	started := make(chan struct{}, 1)
	tooltest.Toolset(t, tooltest.Case{
		New: func(t *testing.T) tool.Toolset { return opened(t) },
		Good: []tool.Call{
			{Name: "echo", Arguments: `{"text":"hello"}`},
			{Name: "mixed"},
			{Name: "progress", Arguments: " "},
		},
		Bad: []tool.Call{{Name: "fail"}},
		Big: tool.Call{Name: "big", Arguments: fmt.Sprintf(`{"bytes":%d}`, tool.MaxOutput+100)},
		Blocking: tool.Call{Name: "hang", Progress: func(string) {
			select {
			case started <- struct{}{}:
			default:
			}
		}},
		Started: func(*testing.T) { <-started },
	})
	t.Run("instructions", func(t *testing.T) {
		ts := opened(t)
		if got := ts.Instructions(); got != "" {
			t.Errorf("before the start: %q", got)
		}
		definitions(t, ts)
		if got := ts.Instructions(); got != mcptest.Instructions {
			t.Errorf("%q, want %q", got, mcptest.Instructions)
		}
	})
	t.Run("effects", func(t *testing.T) {
		defs := definitions(t, opened(t))
		for name, want := range map[string]tool.Effect{
			"echo": tool.EffectReadOnly, "meta": tool.EffectIdempotent, "fail": tool.EffectUnkeyed,
		} {
			if got := defs[name].Effect; got != want {
				t.Errorf("%s: effect %q, want %q", name, got, want)
			}
		}
		if !defs["echo"].Concurrent || defs["meta"].Concurrent {
			t.Error("want read-only tools to be concurrent, and no others")
		}
	})
	t.Run("key in meta", func(t *testing.T) {
		res := call(t, opened(t), tool.Call{Name: "meta", IdempotencyKey: "k-1"})
		var meta map[string]any
		if err := json.Unmarshal([]byte(res.Output), &meta); err != nil {
			t.Fatalf("%s: %v", res.Output, err)
		}
		if meta[mcptool.KeyMeta] != "k-1" || meta["progressToken"] == nil {
			t.Errorf("meta %v, want the key and a progress token", meta)
		}
	})
	t.Run("progress", func(t *testing.T) {
		var got []string
		res := call(t, opened(t), tool.Call{Name: "progress", Progress: func(s string) { got = append(got, s) }})
		if res.Output != "done" {
			t.Errorf("output %q", res.Output)
		}
		// Servers may drop notifications, or send them after the answer; none comes
		// after the call.
		for _, g := range got {
			if !slices.Contains([]string{"step 1 (1 of 3)", "step 2 (2 of 3)", "step 3 (3 of 3)"}, g) {
				t.Errorf("progress %q", g)
			}
		}
	})
	t.Run("contents", func(t *testing.T) {
		res := call(t, opened(t), tool.Call{Name: "mixed"})
		want := strings.Join([]string{
			"first", "[image, image/png, 5 bytes]", "[audio, audio/wav, 5 bytes]", "[link to a resource: test://link, link: a link]",
			"[resource test://text]", "inside", "[resource test://blob, application/zip, 5 bytes]", "last",
		}, "\n")
		if res.Output != want {
			t.Errorf("output\n%s\nwant\n%s", res.Output, want)
		}
		var meta struct {
			Content []struct {
				Type, Data string
			}
			StructuredContent map[string]int
		}
		if err := json.Unmarshal(res.Meta, &meta); err != nil {
			t.Fatal(err)
		}
		if len(meta.Content) != 5 || meta.Content[0].Data != "aGVsbG8=" || meta.StructuredContent["answer"] != 42 {
			t.Errorf("meta %s", res.Meta)
		}
		wantOutput(t, opened(t), tool.Call{Name: "structured"}, `{"answer":42}`)
	})
	t.Run("no answer in time", func(t *testing.T) {
		ts := opened(t)
		definitions(t, ts)
		// Long enough for the call to be there before, also on a busy machine.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		res, err := ts.Call(ctx, tooltest.Call(tool.Call{Name: "hang"}))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, res, "no answer in time")
		// The server was told, and is still there.
		wantOutput(t, ts, tool.Call{Name: "canceled"}, "a call was canceled")
	})
	t.Run("list changed", func(t *testing.T) {
		ts := opened(t)
		if _, ok := definitions(t, ts)["grown"]; ok {
			t.Fatal("the tool is there before it grew")
		}
		wantOutput(t, ts, tool.Call{Name: "grow"}, "grown")
		// The notification comes by a way of its own.
		deadline := time.After(time.Minute)
		for {
			if _, ok := definitions(t, ts)["grown"]; ok {
				break
			}
			select {
			case <-deadline:
				t.Fatal("the new tool never came")
			case <-time.After(10 * time.Millisecond):
			}
		}
		wantOutput(t, ts, tool.Call{Name: "grown"}, "I am new")
	})
	t.Run("closed", func(t *testing.T) {
		ts := opened(t)
		definitions(t, ts)
		if err := ts.Close(); err != nil {
			t.Fatal(err)
		}
		wantError(t, call(t, ts, tool.Call{Name: "echo", Arguments: `{"text":"x"}`}), "closed")
	})
	t.Run("closed in a call", func(t *testing.T) {
		ts := opened(t)
		going := make(chan struct{}, 1)
		go func() {
			<-going
			if err := ts.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		res := call(t, ts, tool.Call{Name: "hang", Progress: func(string) {
			select {
			case going <- struct{}{}:
			default:
			}
		}})
		wantError(t, res, "closed during the call", "unknown")
	})
}
