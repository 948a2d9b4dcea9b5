// Package tooltest holds what every toolset must pass ([Toolset]), what every
// memory store must pass ([MemoryStore]), and a strict store for tests.
// MCP servers that misbehave on purpose are in the folder mcptest.
package tooltest

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// Case describes a toolset to the suite.
type Case struct {
	// New returns a fresh toolset. The suite closes it.
	New func(t *testing.T) tool.Toolset
	// Good are calls (name and arguments) that succeed on a fresh toolset, made in order.
	Good []tool.Call
	// Bad are calls that give an error result.
	Bad []tool.Call
	// Big is a call whose tool would give more than tool.MaxOutput; the zero value
	// says that there is none.
	Big tool.Call
	// Blocking is a call that does not end by itself; the zero value says that
	// there is none. Started, if set, is closed once the call is under way.
	Blocking tool.Call
	// Started blocks until the blocking call is under way. Required with Blocking.
	Started func(t *testing.T)
}

// modelName is what every model provider takes as the name of a function.
var modelName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Call fills in what the suite and its users leave out of a call.
func Call(c tool.Call) tool.Call {
	if c.Session == (holdfast.SessionRef{}) {
		c.Session = holdfast.SessionRef{Tenant: "tenant", Session: "session"}
	}
	if c.Agent == "" {
		c.Agent = "root"
	}
	if c.ID == "" {
		c.ID = "call_1"
	}
	if c.IdempotencyKey == "" {
		c.IdempotencyKey = "key_" + c.ID
	}
	if c.Now.IsZero() {
		c.Now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	}
	return c
}

// Toolset checks that a toolset keeps the promises of [tool.Toolset].
func Toolset(t *testing.T, c Case) {
	t.Helper()
	open := func(t *testing.T) tool.Toolset {
		t.Helper()
		ts := c.New(t)
		t.Cleanup(func() {
			if err := ts.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
		return ts
	}

	t.Run("definitions", func(t *testing.T) {
		ts := open(t)
		if ts.Name() == "" {
			t.Error("the toolset has no name")
		}
		defs, err := ts.Tools(t.Context())
		must(t, err)
		if len(defs) == 0 {
			t.Fatal("the toolset has no tools")
		}
		seen := map[string]bool{}
		for _, d := range defs {
			if !modelName.MatchString(d.Name) {
				t.Errorf("the name %q is none that models take", d.Name)
			}
			if seen[d.Name] {
				t.Errorf("the name %q comes twice", d.Name)
			}
			seen[d.Name] = true
			checkSchema(t, d)
			switch d.Effect {
			case tool.EffectUnkeyed, tool.EffectIdempotent, tool.EffectReadOnly:
			default:
				t.Errorf("%s: unknown effect %q", d.Name, d.Effect)
			}
			switch d.OnUnknown {
			case "", "ask", "tell", "retry", "fail":
			default:
				t.Errorf("%s: unknown policy %q", d.Name, d.OnUnknown)
			}
		}
		again, err := ts.Tools(t.Context())
		must(t, err)
		if len(again) != len(defs) {
			t.Errorf("the second listing has %d tools, the first %d", len(again), len(defs))
		}
	})
	t.Run("unknown tool", func(t *testing.T) {
		wantErrorResult(t, open(t), tool.Call{Name: "no_such_tool_here", Arguments: "{}"})
	})
	t.Run("arguments that are no object", func(t *testing.T) {
		ts := open(t)
		defs, err := ts.Tools(t.Context())
		must(t, err)
		for _, args := range []string{"[1]", "{", `"text"`, "\xff"} {
			wantErrorResult(t, ts, tool.Call{Name: defs[0].Name, Arguments: args})
		}
	})
	t.Run("good calls", func(t *testing.T) {
		ts := open(t)
		state := State{}
		for _, call := range c.Good {
			call = Call(call)
			call.State = state.Get
			res, err := ts.Call(t.Context(), call)
			must(t, err)
			if res.IsError {
				t.Errorf("%s %s: error result %q", call.Name, call.Arguments, res.Output)
			}
			checkResult(t, res)
			state.Apply(res)
		}
	})
	t.Run("bad calls", func(t *testing.T) {
		ts := open(t)
		for _, call := range c.Bad {
			wantErrorResult(t, ts, call)
		}
	})
	t.Run("canceled before", func(t *testing.T) {
		ts := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ts.Tools(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Tools: %v, want context.Canceled", err)
		}
		if len(c.Good) > 0 {
			if _, err := ts.Call(ctx, Call(c.Good[0])); !errors.Is(err, context.Canceled) {
				t.Errorf("Call: %v, want context.Canceled", err)
			}
		}
	})
	t.Run("closed twice", func(t *testing.T) {
		ts := c.New(t)
		if _, err := ts.Tools(t.Context()); err != nil {
			t.Fatal(err)
		}
		must(t, ts.Close())
		must(t, ts.Close())
	})
	t.Run("closed unused", func(t *testing.T) {
		must(t, c.New(t).Close())
	})
	if c.Big.Name != "" {
		t.Run("big output", func(t *testing.T) {
			res, err := open(t).Call(t.Context(), Call(c.Big))
			must(t, err)
			checkResult(t, res)
			if len(res.Output) < tool.MaxOutput/2 || !strings.Contains(res.Output, "[output cut") {
				t.Errorf("%d bytes without a marker of the cut", len(res.Output))
			}
		})
	}
	if c.Blocking.Name != "" {
		t.Run("canceled in the call", func(t *testing.T) {
			ts := open(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				c.Started(t)
				cancel()
			}()
			begun := time.Now()
			_, err := ts.Call(ctx, Call(c.Blocking))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Call: %v, want context.Canceled", err)
			}
			if d := time.Since(begun); d > 30*time.Second {
				t.Errorf("the call went on for %v after it was canceled", d)
			}
		})
	}
}

// State is the session's state of one toolset, as the log would keep it.
type State map[string]json.RawMessage

// Get is for tool.Call.State.
func (s State) Get(key string) json.RawMessage { return s[key] }

// Apply takes over what a result says.
func (s State) Apply(res tool.Result) {
	for k, v := range res.State {
		s[k] = v
	}
}

func wantErrorResult(t *testing.T, ts tool.Toolset, call tool.Call) {
	t.Helper()
	res, err := ts.Call(t.Context(), Call(call))
	if err != nil {
		t.Errorf("%s %.80s: Go error %v, want an error result", call.Name, call.Arguments, err)
		return
	}
	if !res.IsError || res.Output == "" {
		t.Errorf("%s %.80s: %+v, want an error result with a text", call.Name, call.Arguments, res)
	}
	checkResult(t, res)
}

func checkResult(t *testing.T, res tool.Result) {
	t.Helper()
	if len(res.Output) > tool.MaxOutput {
		t.Errorf("the output has %d bytes, more than tool.MaxOutput", len(res.Output))
	}
	if !utf8.ValidString(res.Output) {
		t.Error("the output is no valid UTF-8")
	}
	if len(res.Meta) > 0 && !json.Valid(res.Meta) {
		t.Error("Meta is no valid JSON")
	}
	for k, v := range res.State {
		if !json.Valid(v) {
			t.Errorf("the state %q is no valid JSON", k)
		}
	}
}

func checkSchema(t *testing.T, d tool.Definition) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(d.Parameters)))
	if err != nil {
		t.Errorf("%s: the schema is no JSON: %v", d.Name, err)
		return
	}
	obj, ok := doc.(map[string]any)
	if !ok || obj["type"] != "object" {
		t.Errorf("%s: the schema is none of an object: %s", d.Name, d.Parameters)
		return
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:schema.json", doc); err != nil {
		t.Errorf("%s: %v", d.Name, err)
		return
	}
	if _, err := c.Compile("mem:schema.json"); err != nil {
		t.Errorf("%s: the schema does not compile: %v", d.Name, err)
	}
}
