package scripted_test

import (
	"os"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// TestDocumentedScripts loads every script of the documentation and plays the
// first.
func TestDocumentedScripts(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/scripted-model.md")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []string
	for _, block := range strings.Split(string(doc), "```yaml script\n")[1:] {
		script, _, ok := strings.Cut(block, "```")
		if !ok {
			t.Fatal("a block without an end")
		}
		scripts = append(scripts, script)
		load(t, script)
	}
	if len(scripts) < 2 {
		t.Fatalf("%d scripts in the documentation", len(scripts))
	}
	m := load(t, scripts[0])
	asked := []holdfast.Message{user("What is the weather in Oslo?")}
	a, err := ask(t, m, model.Request{Messages: asked})
	if err != nil || len(a.calls) != 1 || a.calls[0].Function.Arguments != `{"city":"Oslo"}` {
		t.Fatalf("%+v %v", a, err)
	}
	asked = append(asked, holdfast.Message{Role: holdfast.RoleAssistant, Content: a.text, ToolCalls: a.calls}, result(a.calls[0].ID, "-7 degrees, snow"))
	if a, err = ask(t, m, model.Request{Messages: asked}); err != nil || a.text != "It is -7 °C." {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err = ask(t, m, model.Request{Purpose: model.PurposeTitle, Messages: asked}); err != nil || a.text != "About What is the weather in Oslo?" {
		t.Fatalf("%+v %v", a, err)
	}
}

// TestEveryKeyIsDocumented holds the loader's keys against the documentation.
func TestEveryKeyIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/scripted-model.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"x: 1\nturns: []", "turns:\n- x: 1", "turns:\n- when: {x: 1}", "turns:\n- usage: {x: 1}", "turns:\n- error: {x: 1}", "turns:\n- say: '{{.X}}'"} {
		_, err := scriptError(script)
		_, known, ok := strings.Cut(holdfast.PublicMessage(err), "known are ")
		if !ok {
			t.Fatalf("%q: %v", script, err)
		}
		for key := range strings.SplitSeq(known, ", ") {
			if key = strings.Trim(key, "{}. "); !strings.Contains(string(doc), "`"+key+"`") && !strings.Contains(string(doc), "{{."+key) {
				t.Errorf("%q is not documented", key)
			}
		}
	}
}
