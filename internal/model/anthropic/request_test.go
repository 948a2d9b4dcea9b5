package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// body is the request that a conversation becomes, without what never changes
// and without marks for the cache.
func body(t *testing.T, cfg model.Config, req model.Request) (string, []string) {
	t.Helper()
	cfg.Provider, cfg.APIKey = "anthropic", "k"
	cfg.ProviderOpts = map[string]any{"cache": false}
	m, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, betas, err := m.request(&req)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) {
		t.Fatalf("not JSON: %s", b)
	}
	i := strings.Index(string(b), `,"messages":`)
	return string(b[i+1 : len(b)-1]), betas
}

func user(text string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleUser, Content: text}
}

func call(id string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall(id, "f", "")}}
}

func result(id, text string) holdfast.Message {
	return holdfast.Message{Role: holdfast.RoleTool, ToolCallID: id, Content: text}
}

func TestConversations(t *testing.T) {
	for name, c := range map[string]struct {
		messages []holdfast.Message
		want     string
	}{
		"results come before text, even if the text was first": {
			[]holdfast.Message{user("a"), call("1"), user("hurry"), result("1", "r")},
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"r"}]},{"type":"text","text":"hurry"}]}]` +
				`,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"none"}`,
		},
		"blank text is not sent": {
			[]holdfast.Message{user("a"), user(" \n"), {Role: holdfast.RoleAssistant}, call("1"), result("1", "")},
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"1"}]}]` +
				`,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"none"}`,
		},
		"an empty turn in the middle leaves no gap": {
			[]holdfast.Message{user("a"), {Role: holdfast.RoleAssistant, Content: " "}, user("b")},
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"user","content":[{"type":"text","text":"b"}]}]`,
		},
		"ids of other providers are made fit": {
			[]holdfast.Message{user("a"), call("functions.f:0"), result("functions.f:0", "r")},
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"functions_f_0","name":"f","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"functions_f_0","content":[{"type":"text","text":"r"}]}]}]` +
				`,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"none"}`,
		},
		"arguments that are no object": {
			[]holdfast.Message{user("a"), {Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("1", "f", `{"cut`)}}, result("1", "r")},
			`"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"invalid_arguments":"{\"cut"}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"r"}]}]}]` +
				`,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"none"}`,
		},
	} {
		if got, _ := body(t, model.Config{Model: "claude-sonnet-4-5"}, model.Request{Messages: c.messages}); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestTextThatWasChanged(t *testing.T) {
	kept := `{"api":"messages","blocks":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","bytes":2},{"type":"tool_use","id":"gone"},{"type":"tool_use","id":"1"},{"type":"text","bytes":1}]}`
	msg := call("1")
	msg.ToolCalls = append(msg.ToolCalls, holdfast.NewToolCall("2", "f", ""))
	msg.Opaque, msg.OpaqueProvider = json.RawMessage(kept), "anthropic"
	for text, want := range map[string]string{
		"abc":  `{"type":"text","text":"ab"},{"type":"tool_use","id":"1","name":"f","input":{}},{"type":"text","text":"c"},{"type":"tool_use","id":"2"`,
		"abcd": `{"type":"text","text":"abcd"},{"type":"tool_use","id":"1","name":"f","input":{}},{"type":"tool_use","id":"2"`,
		"":     `{"type":"tool_use","id":"1","name":"f","input":{}},{"type":"tool_use","id":"2"`,
	} {
		msg.Content = text
		got, _ := body(t, model.Config{Model: "claude-sonnet-4-5"}, model.Request{Messages: []holdfast.Message{user("a"), msg}})
		if want = `[{"type":"thinking","thinking":"t","signature":"s"},` + want; !strings.Contains(got, want) {
			t.Errorf("%q:\n%s\nwant\n%s", text, got, want)
		}
	}
}

// TestThinkingInATurnOfAnotherModel: manual thinking is left out while tools are
// used in a turn that did not begin with it.
func TestThinkingInATurnOfAnotherModel(t *testing.T) {
	own := call("1")
	own.Opaque, own.OpaqueProvider = json.RawMessage(`{"api":"messages","blocks":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"1"}]}`), "anthropic"
	for name, c := range map[string]struct {
		messages []holdfast.Message
		want     bool
	}{
		"own":                 {[]holdfast.Message{user("a"), own, result("1", "r")}, true},
		"another's":           {[]holdfast.Message{user("a"), call("1"), result("1", "r")}, false},
		"another's, finished": {[]holdfast.Message{user("a"), call("1"), result("1", "r"), {Role: holdfast.RoleAssistant, Content: "b"}, user("c")}, true},
		"own, then another's": {[]holdfast.Message{user("a"), own, result("1", "r"), call("2"), result("2", "r")}, true},
		"cut off, another's":  {[]holdfast.Message{call("1"), result("1", "r")}, false},
		"cut off, own":        {[]holdfast.Message{own, result("1", "r")}, true},
	} {
		cfg := model.Config{Provider: "anthropic", APIKey: "k", Model: "claude-sonnet-4-5", ThinkingBudget: "2048"}
		m, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, betas, err := m.request(&model.Request{Messages: c.messages, Tools: modeltest.Tools()})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(b), `"thinking":{"type":"enabled"`); got != c.want || (len(betas) == 1) != c.want {
			t.Errorf("%s: thinking %v, betas %v, want %v\n%s", name, got, betas, c.want, b)
		}
	}
}

func TestSchemasAreClosed(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"object","properties":{"type":{"type":"object"},"b":{"anyOf":[{"type":"object"}]}},"default":{"type":"object"}}`: `{"additionalProperties":false,"default":{"type":"object"},"properties":{"b":{"anyOf":[{"additionalProperties":false,"type":"object"}]},"type":{"additionalProperties":false,"type":"object"}},"type":"object"}`,
		`{"type":"object", "additionalProperties":true}`: `{"type":"object", "additionalProperties":true}`,
	} {
		got, err := closeObjects(json.RawMessage(in))
		if err != nil || string(got) != want {
			t.Errorf("%s\nbecomes %s %v\nwant    %s", in, got, err, want)
		}
	}
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	picture := []holdfast.ContentPart{{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "https://x.test/a.png"}}}
	for _, req := range []model.Request{
		{Messages: []holdfast.Message{{Role: holdfast.RoleAssistant, Parts: picture}}},
		{Messages: []holdfast.Message{{Role: holdfast.RoleSystem, Parts: picture}}},
		{Tools: []model.Tool{{Name: "f", Parameters: json.RawMessage("{")}}},
		{StructuredOutput: &model.StructuredOutput{Name: "f", Schema: json.RawMessage("{")}},
	} {
		if err := local(t, nil).Stream(t.Context(), req, nil); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%+v: %v", req, err)
		}
	}
}
