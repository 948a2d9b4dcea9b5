package scripted_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/scripted"
)

func TestRefusals(t *testing.T) {
	for _, tc := range []struct{ script, want string }{
		{"turns:\n- whn: {}\n  say: x", `script:2: turns[0]: unknown key "whn"; known are when, wait`},
		{"trns: []\nx: 1", `script:1: the script: unknown key "trns"; known are title`},
		{"turns:\n- when: {user: x}\n  say: x", `script:2: turns[0].when: unknown key "user"`},
		{"turns:\n- say: x\n  say: y", `say`},
		{"title: x\n", "has no turns"},
		{"- a\n- b", "the script must be a mapping"},
		{"\n", "script is empty"},
		{"turns: {\n", "script:"},
		{"turns: {}\n", "turns must be a list"},
		{"turns:\n- {}", "turns[0] does nothing"},
		{"turns:\n- when: always\n  say: x", "turns[0].when must be a mapping"},
		{"turns:\n- say: [x]\n", "turns[0].say must be a text"},
		{"turns:\n- say: '{{.Usr}}'\n", "unknown placeholder {{.Usr}}; known are {{.User}}"},
		{"turns:\n- say: '{{User}}'\n", "unknown placeholder {{User}}"},
		{"turns:\n- say: '{{.User.x}}'\n", `{{.User}} has no part "x"`},
		{"turns:\n- say: 'a {{ b'\n", `without "}}"`},
		{"turns:\n- say: '{{.Match}}'\n", "{{.Match}} needs a group"},
		{"turns:\n- say: '{{.Match.1}}'\n", "`when` has no `matches`"},
		{"turns:\n- when: {matches: x}\n  say: '{{.Match.1}}'\n", "`matches` has no group \"1\""},
		{"turns:\n- when: {matches: x}\n  call: [{name: a, arguments: {b: ['{{.Match.y}}']}}]\n", "`matches` has no group \"y\""},
		{"turns:\n- when: {matches: '('}\n  say: x\n", "turns[0].when.matches: error parsing regexp"},
		{"turns:\n- when: {matches: x, contains: y}\n  say: x\n", "exclude each other"},
		{"turns:\n- when: {output: x}\n  say: x\n", "output needs after_tool"},
		{"turns:\n- when: {contains: ' '}\n  say: x\n", "contains is empty"},
		{"turns:\n- say: x\n  delay: 20\n", "turns[0].delay must be a duration such as 20ms"},
		{"turns:\n- say: x\n  delay: -1s\n", "must be a duration"},
		{"turns:\n- say_words: 1000001\n", "a whole number from 1 to 1000000"},
		{"turns:\n- say: x\n  finish: done\n", "must be one of stop, tool_calls"},
		{"turns:\n- call: [{arguments: {}}]\n", "turns[0].call[0] has no name"},
		{"turns:\n- call: [{name: x, arguments: [1]}]\n", "must be a mapping, or a text"},
		{"turns:\n- call: [{name: x, arguments: {f: .inf}}]\n", "not a number that JSON has"},
		{"turns:\n- say: x\n  cut: {}\n  stall: {}\n", "exclude each other"},
		{"turns:\n- say: x\n  cut: {}\n  single_chunk: true\n", "exclude each other"},
		{"turns:\n- error: {status: 200}\n", "from 400 to 599"},
		{"turns:\n- error: {code: oops}\n", `unknown code "oops"; known are model_auth`},
		{"turns:\n- error: {code: timeout, status: 500}\n", "status and code exclude each other"},
		{"turns:\n- say: x\n  usage: {inputs: 1}\n", `unknown key "inputs"`},
		{"turns:\n- say: x\n  single_chunk: maybe\n", "must be true or false"},
		{"title: '{{.Match.1}}'\nturns:\n- say: x\n", "title: the group"},
		{strings.Repeat("#\n", 3<<20), "larger than 4 MiB"},
		{bomb(), "nodes"},
	} {
		_, err := scriptError(tc.script)
		code := holdfast.CodeOf(err)
		if code != holdfast.CodeInvalid && code != holdfast.CodeTooLarge || !strings.Contains(holdfast.PublicMessage(err), tc.want) {
			t.Errorf("%.60q: %v, want %q", tc.script, err, tc.want)
		}
	}
}

func scriptError(script string) (*scripted.Model, error) {
	return scripted.New(model.Config{ProviderOpts: map[string]any{"script": script + "\n"}}, scripted.Options{})
}

// bomb is a script of a few lines that stands for 10^9 values.
func bomb() string {
	var b strings.Builder
	b.WriteString("turns:\n- call:\n  - name: x\n    arguments:\n      a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		p, n := string(rune('0'+i-1)), string(rune('0'+i))
		b.WriteString("      a" + n + ": &a" + n + " [" + strings.Repeat("*a"+p+",", 9) + "*a" + p + "]\n")
	}
	return b.String()
}

func TestAnchorsAreFollowed(t *testing.T) {
	m := load(t, "turns:\n- when: {contains: a}\n  say: &s hi\n- say: *s")
	if a, err := ask(t, m, model.Request{}); err != nil || a.text != "hi" {
		t.Errorf("%q %v", a.text, err)
	}
}

// FuzzScript feeds the loader with anything: it answers with a coded error, or
// with a model that answers every conversation without an uncoded error.
func FuzzScript(f *testing.F) {
	f.Add(demo, "hello")
	f.Add("turns: [{say: '{{.User}}', delay: 1ns, cut: {after_words: 1}}]", "x y z")
	f.Add("turns: &a [*a]", "")
	f.Add(bomb(), "")
	f.Add("turns:\n- when: {matches: '(.*)'}\n  call: [{name: x, arguments: '{{.Match.1}}'}]", "\xff")
	f.Fuzz(func(t *testing.T, script, prompt string) {
		m, err := scriptError(script)
		if err != nil {
			var e *holdfast.Error
			if !errors.As(err, &e) {
				t.Fatalf("uncoded error: %v", err)
			}
			return
		}
		for _, req := range []model.Request{
			{Messages: []holdfast.Message{user(prompt)}},
			{Messages: []holdfast.Message{user(prompt), called("1", "x"), result("1", prompt)}},
		} {
			// A bubble, because a script may ask for hours of delay.
			synctest.Test(t, func(t *testing.T) {
				left := 1000
				enough := errors.New("enough")
				err := m.Stream(t.Context(), req, func(c model.Chunk) error {
					if left--; left == 0 {
						return enough
					}
					return nil
				})
				var e *holdfast.Error
				if err != nil && !errors.Is(err, enough) && !errors.As(err, &e) {
					t.Fatalf("uncoded error: %v", err)
				}
			})
		}
	})
}

func BenchmarkStream(b *testing.B) {
	m := load(b, "turns: [{say_words: 500}]")
	req := model.Request{Messages: []holdfast.Message{user("go")}}
	b.ReportAllocs()
	chunks := 0
	for b.Loop() {
		if err := m.Stream(b.Context(), req, func(model.Chunk) error { chunks++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(chunks), "ns/chunk")
}

func TestWordsCostNoAllocation(t *testing.T) {
	allocs := func(script string) float64 {
		m := load(t, script)
		req := model.Request{Messages: []holdfast.Message{user("go")}}
		return testing.AllocsPerRun(20, func() {
			if err := m.Stream(t.Context(), req, func(model.Chunk) error { return nil }); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, script := range []string{"turns: [{say_words: %}]", "turns: [{say: '%'}]"} {
		short := allocs(strings.Replace(script, "%", "2", 1))
		long := allocs(strings.Replace(script, "%", map[bool]string{true: "2000", false: strings.Repeat("w ", 2000)}[strings.Contains(script, "say_words")], 1))
		if long > short {
			t.Errorf("%s: %v allocations for 2,000 words, %v for 2", script, long, short)
		}
	}
}
