package scripted_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/scripted"
)

func load(t testing.TB, script string) *scripted.Model {
	t.Helper()
	return loadConfig(t, script, model.Config{})
}

func loadConfig(t testing.TB, script string, cfg model.Config) *scripted.Model {
	t.Helper()
	cfg.Provider, cfg.Model = "scripted", "test"
	cfg.ProviderOpts = map[string]any{"script": script + "\n"}
	m, err := scripted.New(cfg, scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// answer is everything that one call handed out.
type answer struct {
	chunks    int
	text      string
	pieces    []string
	reasoning string
	calls     []holdfast.ToolCall
	finish    string
	usage     model.Usage
	hasUsage  bool
}

func ask(t testing.TB, m *scripted.Model, req model.Request) (answer, error) {
	t.Helper()
	var a answer
	err := m.Stream(t.Context(), req, func(c model.Chunk) error {
		a.chunks++
		a.text += c.Text
		a.reasoning += c.Reasoning
		if c.Text != "" {
			a.pieces = append(a.pieces, c.Text)
		}
		for _, d := range c.ToolCalls {
			if n := len(a.calls); n > 0 && a.calls[n-1].ID == d.ID {
				a.calls[n-1].Function.Arguments += d.Function.Arguments
				continue
			}
			a.calls = append(a.calls, d)
		}
		if c.FinishReason != "" {
			a.finish = c.FinishReason
			if c.Model != "scripted/test" {
				t.Errorf("model = %q", c.Model)
			}
		}
		if c.Usage != nil {
			a.usage, a.hasUsage = *c.Usage, true
		}
		return nil
	})
	return a, err
}

func user(text string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleUser, Content: text}
}

func called(id, name string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(id, name, "{}")}}
}

func result(id, output string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleTool, ToolCallID: id, Content: output}
}

const demo = `
title: "About {{.User}}"
turns:
  - when: { equals: Hello }
    reason: A greeting, I think.
    say: "Hello there!\n  You said “{{.User}}” in turn {{.Turn}} to {{.Model}}."
  - when: { matches: 'weather in (?P<city>\w+)(?: and (\w+))?' }
    say: Let me look.
    call:
      - name: get_weather
        arguments: { city: "{{.Match.city}}", days: 3, nested: [1.5, true, null, "\\{{x}}"] }
      - { name: log, arguments: 'raw {{.Match.1}}' }
      - { name: nothing }
  - when: { after_tool: get_weather, output: '(\d+) degrees' }
    say: "It is {{.Output.1}}° ({{.ToolName}}: {{.Tool}})"
    usage: { input: 10, cached: 7, reasoning: 0 }
  - when: { after_tool: "*" }
    say: "done: {{.Tool}}"
  - when: { contains: picture }
    say: "{{.Images}} images in {{.Messages}} messages"
  - when: { contains: "again", turn: 1 }
    say: second answer
  - when: { contains: at once }
    single_chunk: true
    reason: hm
    say: all of it
    call: [{ name: t }]
    finish: stop
`

func TestAnswers(t *testing.T) {
	m := load(t, demo)
	if m.Name() != "scripted/test" {
		t.Errorf("name = %q", m.Name())
	}
	picture := user("look at this picture")
	picture.Parts = []holdfast.ContentPart{{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "https://example.com/a.png"}}}
	for _, tc := range []struct {
		name     string
		purpose  model.Purpose
		messages []holdfast.Message
		text     string
		finish   string
		calls    []string // name arguments
	}{
		{"equals ignores case and space", "", []holdfast.Message{user(" hello\n")}, "Hello there!\n  You said “ hello\n” in turn 0 to scripted/test.", "stop", nil},
		{"captures and calls", "", []holdfast.Message{user("weather in Oslo and Rome?")}, "Let me look.", "tool_calls", []string{
			`get_weather {"city":"Oslo","days":3,"nested":[1.5,true,null,"{{x}}"]}`, "log raw Oslo", "nothing {}",
		}},
		{"after its tool", "", []holdfast.Message{user("weather in Oslo"), called("a", "get_weather"), result("a", "12 degrees")}, "It is 12° (get_weather: 12 degrees)", "stop", nil},
		{"after another tool", "", []holdfast.Message{user("weather in Oslo"), called("a", "log"), result("a", "ok")}, "done: ok", "stop", nil},
		{"one of several results", "", []holdfast.Message{
			user("weather in Oslo"),
			{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("a", "get_weather", ""), holdfast.NewToolCall("b", "log", "")}},
			result("a", "7 degrees"), result("b", "logged"),
		}, "It is 7° (get_weather: 7 degrees)", "stop", nil},
		{"images", "", []holdfast.Message{{Role: holdfast.RoleSystem, Content: "s"}, picture}, "1 images in 2 messages", "stop", nil},
		{"turn", "", []holdfast.Message{user("again"), {Role: holdfast.RoleAssistant, Content: "x"}}, "second answer", "stop", nil},
		{"one chunk", "", []holdfast.Message{user("at once")}, "all of it", "stop", []string{"t {}"}},
		{"nothing fits", "", []holdfast.Message{user("what?")}, `scripted model: no rule matches "what?"`, "stop", nil},
		{"title", model.PurposeTitle, []holdfast.Message{user("boats")}, "About boats", "stop", nil},
		{"summary", model.PurposeSummary, []holdfast.Message{user("boats")}, "Summary by the scripted model: 1 messages; the user said last: boats", "stop", nil},
		{"no messages", "", nil, `scripted model: no rule matches ""`, "stop", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := ask(t, m, model.Request{Purpose: tc.purpose, Messages: tc.messages})
			if err != nil {
				t.Fatal(err)
			}
			if a.text != tc.text {
				t.Errorf("text = %q, want %q", a.text, tc.text)
			}
			if a.finish != tc.finish {
				t.Errorf("finish = %q, want %q", a.finish, tc.finish)
			}
			var calls []string
			for _, c := range a.calls {
				calls = append(calls, c.Function.Name+" "+c.Function.Arguments)
				if c.ID == "" || c.Type != "function" {
					t.Errorf("call = %+v", c)
				}
			}
			if !reflect.DeepEqual(calls, tc.calls) {
				t.Errorf("calls = %q, want %q", calls, tc.calls)
			}
			if !a.hasUsage {
				t.Error("no usage")
			}
		})
	}
}

func TestStreamsWords(t *testing.T) {
	m := load(t, "turns: [{say: \" one  two\\nthree \", reason: think hard}]")
	a, err := ask(t, m, model.Request{Messages: []holdfast.Message{user("12345678")}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{" one  ", "two\n", "three "}; !reflect.DeepEqual(a.pieces, want) {
		t.Errorf("pieces = %q, want %q", a.pieces, want)
	}
	if a.reasoning != "think hard" {
		t.Errorf("reasoning = %q", a.reasoning)
	}
	if want := (model.Usage{InputTokens: 2, OutputTokens: 5, ReasoningTokens: 2}); a.usage != want {
		t.Errorf("usage = %+v, want %+v", a.usage, want)
	}
}

func TestSingleChunkIsOne(t *testing.T) {
	a, err := ask(t, load(t, demo), model.Request{Messages: []holdfast.Message{user("at once")}})
	if err != nil || a.chunks != 1 || a.text == "" || a.reasoning == "" || len(a.calls) != 1 || a.finish == "" || !a.hasUsage {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestUsageGivenAndSwitchedOff(t *testing.T) {
	msgs := []holdfast.Message{user("weather in Oslo"), called("a", "get_weather"), result("a", "12 degrees")}
	a, err := ask(t, load(t, demo), model.Request{Messages: msgs})
	if err != nil {
		t.Fatal(err)
	}
	if want := (model.Usage{InputTokens: 10, CachedInputTokens: 7, OutputTokens: 6}); a.usage != want {
		t.Errorf("usage = %+v, want %+v", a.usage, want)
	}
	off := false
	a, err = ask(t, loadConfig(t, demo, model.Config{TrackUsage: &off}), model.Request{Messages: msgs})
	if err != nil || a.hasUsage {
		t.Errorf("usage although it is switched off: %+v, %v", a, err)
	}
}

func TestMaxTokens(t *testing.T) {
	for _, tc := range []struct {
		max          int64
		text, finish string
	}{{0, "", "length"}, {2, "a b ", "length"}, {3, "a b c", "stop"}} {
		for _, single := range []string{"false", "true"} {
			m := loadConfig(t, "turns: [{say: a b c, single_chunk: "+single+"}]", model.Config{MaxTokens: &tc.max})
			a, err := ask(t, m, model.Request{Messages: []holdfast.Message{user("x")}})
			if err != nil || a.text != tc.text || a.finish != tc.finish {
				t.Errorf("max %d single %s: %q %q %v", tc.max, single, a.text, a.finish, err)
			}
		}
	}
}

func TestSayWords(t *testing.T) {
	a, err := ask(t, load(t, "turns: [{say_words: 500}]"), model.Request{Messages: []holdfast.Message{user("x")}})
	if err != nil || a.chunks != 501 || len(strings.Fields(a.text)) != 500 || a.usage.OutputTokens != 500 {
		t.Errorf("%d chunks, %d words, %+v, %v", a.chunks, len(strings.Fields(a.text)), a.usage, err)
	}
}

func TestBreaks(t *testing.T) {
	for _, tc := range []struct {
		script string
		text   string
		code   holdfast.Code
		msg    string
		cause  error
	}{
		{"error: {status: 401}", "", holdfast.CodeModelAuth, "status 401", nil},
		{"error: {status: 429, message: slow down}", "", holdfast.CodeModelRate, "slow down", nil},
		{"error: {code: model_context, after_words: 2}", "a b ", holdfast.CodeModelContext, "scripted model", nil},
		{"error: {status: 500, after_words: 9}", "a b c", holdfast.CodeModelFailed, "status 500", nil},
		{"error: {}", "", holdfast.CodeModelFailed, "fails", nil},
		{"cut: {after_words: 1}", "a ", holdfast.CodeModelFailed, "broke off", io.ErrUnexpectedEOF},
	} {
		m := load(t, "turns: [{say: a b c, reason: r, call: [{name: x}], "+tc.script+"}]")
		a, err := ask(t, m, model.Request{Messages: []holdfast.Message{user("x")}})
		if a.text != tc.text || a.finish != "" || len(a.calls) > 0 {
			t.Errorf("%s: %+v", tc.script, a)
		}
		if holdfast.CodeOf(err) != tc.code || !strings.Contains(holdfast.PublicMessage(err), tc.msg) {
			t.Errorf("%s: %v (%s)", tc.script, err, holdfast.CodeOf(err))
		}
		if tc.cause != nil && !errors.Is(err, tc.cause) {
			t.Errorf("%s: cause of %v", tc.script, err)
		}
	}
}

func TestContextLimit(t *testing.T) {
	m := load(t, "context_limit: 5\nturns: [{say: ok}]")
	if _, err := ask(t, m, model.Request{Messages: []holdfast.Message{user("short")}}); err != nil {
		t.Error(err)
	}
	_, err := ask(t, m, model.Request{Messages: []holdfast.Message{user(strings.Repeat("long ", 10))}})
	if holdfast.CodeOf(err) != holdfast.CodeModelContext {
		t.Error(err)
	}
}

func TestDelaysAreVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := load(t, "wait: 1h\nturns: [{say: a b c, delay: 10m}]")
		start := time.Now()
		var at []time.Duration
		err := m.Stream(t.Context(), model.Request{}, func(c model.Chunk) error {
			if c.Text != "" {
				at = append(at, time.Since(start))
			}
			return nil
		})
		if want := []time.Duration{time.Hour, time.Hour + 10*time.Minute, time.Hour + 20*time.Minute}; err != nil || !reflect.DeepEqual(at, want) {
			t.Errorf("words at %v, want %v; %v", at, want, err)
		}
	})
}

func TestStall(t *testing.T) {
	const script = "turns: [{say: a b, stall: {after_words: 1}}]"
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a, err := ask(t, loadConfig(t, script, model.Config{IdleTimeout: time.Minute}), model.Request{})
		if a.text != "a " || holdfast.CodeOf(err) != holdfast.CodeModelFailed || time.Since(start) != time.Minute {
			t.Errorf("%q %v after %s", a.text, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err = loadConfig(t, script, model.Config{IdleTimeout: -1}).Stream(ctx, model.Request{}, func(model.Chunk) error { return nil })
		if holdfast.CodeOf(err) != holdfast.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour+time.Minute {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestCancelAndYieldError(t *testing.T) {
	m := load(t, "turns: [{say: a b c}]")
	cause := errors.New("the user pressed stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	err := m.Stream(ctx, model.Request{}, func(model.Chunk) error {
		n++
		cancel(cause)
		return nil
	})
	if n != 1 || holdfast.CodeOf(err) != holdfast.CodeCanceled || !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
		t.Errorf("%d chunks, %v", n, err)
	}
	if err := m.Stream(ctx, model.Request{}, nil); holdfast.CodeOf(err) != holdfast.CodeCanceled {
		t.Error(err)
	}
	err = m.Stream(t.Context(), model.Request{}, func(model.Chunk) error { return cause })
	if !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestCallIDs(t *testing.T) {
	m := load(t, "turns: [{when: {turn: 0}, call: [{name: a}, {name: a}]}, {when: {after_tool: '*'}, call: [{name: a}]}]")
	ids := map[string]int{}
	req := model.Request{Messages: []holdfast.Message{user("go")}}
	for step := range 4 {
		first, err := ask(t, m, req)
		if err != nil {
			t.Fatal(err)
		}
		second, err := ask(t, m, req)
		if err != nil || !reflect.DeepEqual(first.calls, second.calls) {
			t.Fatalf("the same conversation gave %v and %v, %v", first.calls, second.calls, err)
		}
		req.Messages = append(req.Messages, holdfast.Message{Role: holdfast.RoleAssistant, ToolCalls: first.calls})
		for _, c := range first.calls {
			ids[c.ID]++
			req.Messages = append(req.Messages, result(c.ID, "same"))
		}
		// As with num_history_items: the window moves on, its length stays.
		if step > 1 {
			req.Messages = req.Messages[2:]
		}
	}
	if len(ids) != 5 {
		t.Errorf("ids = %v, want 5 different ones", ids)
	}
	a, _ := ask(t, m, model.Request{Messages: req.Messages[:1], IdempotencyKey: "1"})
	b, _ := ask(t, m, model.Request{Messages: req.Messages[:1], IdempotencyKey: "2"})
	if len(a.calls) > 0 && a.calls[0].ID == b.calls[0].ID {
		t.Error("two steps with different keys share an id")
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s.yaml"), []byte("turns: [{say: from a file}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		opts map[string]any
		dir  string
		url  string
		want string // text of the answer, or of the error after "!"
	}{
		{"file", map[string]any{"script": "s.yaml"}, dir, "", "from a file"},
		{"inline mapping", map[string]any{"script": map[string]any{"turns": []any{map[string]any{"say": "inline"}}}}, "", "", "inline"},
		{"inline text", map[string]any{"script": "turns:\n- say: text\n"}, "", "", "text"},
		{"missing file", map[string]any{"script": "t.yaml"}, dir, "", `!no script "t.yaml"`},
		{"parent", map[string]any{"script": "../s.yaml"}, filepath.Join(dir), "", "!folder of the agent file"},
		{"absolute", map[string]any{"script": "/etc/passwd"}, dir, "", "!folder of the agent file"},
		{"link", map[string]any{"script": "link.yaml"}, dir, "", "!folder of the agent file"},
		{"no folder", map[string]any{"script": "s.yaml"}, "", "", "!folder of the agent file"},
		{"no script", nil, dir, "", "!provider_opts.script is missing"},
		{"unknown option", map[string]any{"script": "s.yaml", "skript": 1}, dir, "", `!"skript"`},
		{"wrong type", map[string]any{"script": 7}, dir, "", "!not int"},
		{"base URL", map[string]any{"script": "s.yaml"}, dir, "https://example.com", "!base_url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := scripted.New(model.Config{Model: "test", BaseURL: tc.url, BaseDir: tc.dir, ProviderOpts: tc.opts}, scripted.Options{})
			if wantErr, ok := strings.CutPrefix(tc.want, "!"); ok {
				if holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.PublicMessage(err), wantErr) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a, err := ask(t, m, model.Request{}); err != nil || a.text != tc.want {
				t.Errorf("%q %v", a.text, err)
			}
		})
	}
	m, err := scripted.New(model.Config{ProviderOpts: map[string]any{"script": "x"}, BaseDir: "b", Model: "test"}, scripted.Options{
		ReadFile: func(dir, path string) ([]byte, error) { return []byte("turns: [{say: " + dir + path + "}]"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := ask(t, m, model.Request{}); err != nil || a.text != "bx" {
		t.Errorf("%q %v", a.text, err)
	}
}
