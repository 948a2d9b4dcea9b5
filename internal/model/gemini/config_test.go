package gemini

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func TestThinking(t *testing.T) {
	for _, c := range []struct{ name, budget, want string }{
		{"gemini-2.5-pro", "", ""},
		{"gemini-2.5-pro", "0", `{"thinkingBudget":0}`},
		{"gemini-2.5-pro", "none", `{"thinkingBudget":0}`},
		{"gemini-2.5-pro", "-1", `{"includeThoughts":true,"thinkingBudget":-1}`},
		{"gemini-2.5-pro", "adaptive", `{"includeThoughts":true,"thinkingBudget":-1}`},
		{"gemini-2.5-pro", "512", `{"includeThoughts":true,"thinkingBudget":512}`},
		{"gemini-2.5-flash-lite", "max", `{"includeThoughts":true,"thinkingBudget":24576}`},
		{"gemini-3-pro-preview", "low", `{"includeThoughts":true,"thinkingLevel":"LOW"}`},
		{"gemini-3-pro-preview", "8000", `{"includeThoughts":true,"thinkingLevel":"HIGH"}`},
		{"gemini-3.1-pro-preview", "8000", `{"includeThoughts":true,"thinkingLevel":"MEDIUM"}`},
		{"gemini-3.1-pro-preview", "minimal", `{"includeThoughts":true,"thinkingLevel":"LOW"}`},
		{"gemini-3.1-pro-preview", "0", `{"thinkingLevel":"LOW"}`},
		{"gemini-3.8-flash", "none", `{"thinkingLevel":"MINIMAL"}`},
		{"gemini-3.8-flash", "0", `{"thinkingLevel":"MINIMAL"}`},
		{"gemini-3.8-flash", "-1", `{"includeThoughts":true}`},
		{"gemini-3.8-flash", "2000", `{"includeThoughts":true,"thinkingLevel":"LOW"}`},
		{"gemini-3.8-flash", "8000", `{"includeThoughts":true,"thinkingLevel":"MEDIUM"}`},
		{"gemini-3.8-flash", "9000", `{"includeThoughts":true,"thinkingLevel":"HIGH"}`},
		{"gemini-4-argon", "xhigh", `{"includeThoughts":true,"thinkingLevel":"HIGH"}`},
		{"gemini-flash-latest", "medium", `{"includeThoughts":true,"thinkingLevel":"MEDIUM"}`},
		{"gemini-flash-latest", "300", `{"includeThoughts":true,"thinkingBudget":300}`},
	} {
		cfg := model.Config{Model: c.name, ThinkingBudget: c.budget}
		got, err := thinkingConfig(&cfg, generation(c.name), true)
		if err != nil || string(got) != c.want {
			t.Errorf("%s %q: %s %v, want %s", c.name, c.budget, got, err, c.want)
		}
	}
	cfg := model.Config{ThinkingBudget: "high"}
	if got, err := thinkingConfig(&cfg, 30, false); err != nil || string(got) != `{"thinkingLevel":"HIGH"}` {
		t.Errorf("without thoughts: %s %v", got, err)
	}
}

func TestEndpoint(t *testing.T) {
	for _, c := range []struct{ base, version, name, want string }{
		{BaseURL, "", "gemini-2.5-pro", BaseURL + "/v1beta/models/gemini-2.5-pro"},
		{"http://x/v1", "", "models/m", "http://x/v1/models/m"},
		{"http://x/v1beta", "v1alpha", "tunedModels/a b", "http://x/v1alpha/tunedModels/a%20b"},
		{"http://x/proxy", "", "m?key=1", "http://x/proxy/v1beta/models/m%3Fkey=1"},
	} {
		if got := endpoint(c.base, c.version, c.name); got != c.want+":streamGenerateContent?alt=sse" {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestRefusedConfigurations(t *testing.T) {
	opts := func(name string, v any) model.Config {
		return model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{name: v}}
	}
	for _, c := range []struct {
		cfg  model.Config
		code holdfast.Code
		says string
	}{
		{model.Config{Model: "m"}, holdfast.CodeModelAuth, KeyName},
		{model.Config{APIKey: "k"}, holdfast.CodeInvalid, "name is missing"},
		{model.Config{Model: "m", BaseURL: "x.test"}, holdfast.CodeInvalid, "base_url"},
		{model.Config{Model: "m", APIKey: "k", ThinkingBudget: "-2"}, holdfast.CodeInvalid, `"-2" is neither`},
		{model.Config{Model: "m", APIKey: "k", ThinkingBudget: "some"}, holdfast.CodeInvalid, `"some" is neither`},
		{opts("project", "p"), holdfast.CodeInvalid, `unknown provider option "project"`},
		{opts("safety_settings", "none"), holdfast.CodeInvalid, "safety_settings"},
		{opts("headers", map[string]any{"x-goog-api-key": "z"}), holdfast.CodeInvalid, "x-goog-api-key"},
		{opts("extra_body", map[string]any{"contents": 1}), holdfast.CodeInvalid, "contents"},
		{opts("seed", true), holdfast.CodeInvalid, "seed must be a number"},
	} {
		c.cfg.Provider = "google"
		_, err := New(c.cfg, Options{})
		if holdfast.CodeOf(err) != c.code || !strings.Contains(holdfast.PublicMessage(err), c.says) {
			t.Errorf("%+v: %v, want %s %q", c.cfg, err, c.code, c.says)
		}
	}
}

// TestOrderOfParts: what a message remembers goes back as it came, as long as it
// fits the message.
func TestOrderOfParts(t *testing.T) {
	msg := holdfast.Message{
		Role: holdfast.RoleAssistant, ReasoningContent: "why", OpaqueProvider: "google",
		ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("1", "f", `{"a":`), holdfast.NewToolCall("2", "g", "")},
		Opaque: json.RawMessage(`{"api":"generateContent","parts":[{"type":"thought","bytes":3,"signature":"c1"},{"type":"text","bytes":2,"signature":"c2"},
			{"type":"call","id":"gone"},{"type":"call","id":"1","signature":"c3"},{"type":"text","bytes":1},{"type":"text","signature":"c4"}]}`),
	}
	m := local(t, nil)
	for text, want := range map[string]string{
		"abc": `{"thought":true,"text":"why","thoughtSignature":"c1"},{"text":"ab","thoughtSignature":"c2"},` +
			`{"functionCall":{"name":"f","args":{"invalid_arguments":"{\"a\":"}},"thoughtSignature":"c3"},{"text":"c"},{"text":"","thoughtSignature":"c4"},{"functionCall":{"name":"g","args":{}}}`,
		"changed": `{"thought":true,"text":"why","thoughtSignature":"c1"},{"text":"changed","thoughtSignature":"c2"},` +
			`{"functionCall":{"name":"f","args":{"invalid_arguments":"{\"a\":"}},"thoughtSignature":"c3"},{"text":"","thoughtSignature":"c4"},{"functionCall":{"name":"g","args":{}}}`,
	} {
		msg.Content = text
		if got := string(m.parts(nil, &msg, map[string]wireCall{}, false)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
	msg.OpaqueProvider = "another"
	if got := string(m.parts(nil, &msg, map[string]wireCall{}, false)); strings.Contains(got, "c1") {
		t.Errorf("another's memory is sent: %s", got)
	}
	msg.Content, msg.OpaqueProvider = "changed", "google"
	msg.Opaque = json.RawMessage(`{"api":"generateContent","parts":[{"type":"text","bytes":-1},{"type":"text","bytes":8}]}`)
	if got := string(m.parts(nil, &msg, map[string]wireCall{}, false)); !strings.HasPrefix(got, `{"text":"changed"}`) {
		t.Errorf("impossible numbers: %s", got)
	}
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	picture := []holdfast.ContentPart{{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "https://x.test/a.png"}}}
	for _, req := range []model.Request{
		{Messages: []holdfast.Message{{Role: holdfast.RoleAssistant, Parts: picture}}},
		{Messages: []holdfast.Message{{Role: holdfast.RoleSystem, Parts: picture}}},
		{Messages: []holdfast.Message{{Role: holdfast.RoleTool, ToolCallID: "no such call"}}},
		{Tools: []model.Tool{{Name: "f", Parameters: json.RawMessage("{")}}},
		{StructuredOutput: &model.StructuredOutput{Name: "f", Schema: json.RawMessage("{")}},
	} {
		if err := local(t, nil).Stream(t.Context(), req, nil); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

// TestNoKeyToAnotherOrigin: a redirect must not carry the key away.
func TestNoKeyToAnotherOrigin(t *testing.T) {
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "x.test" || strings.Contains(r.URL.String(), "the-key") {
			t.Errorf("a request to %s", r.URL)
		}
		return &http.Response{
			StatusCode: http.StatusPermanentRedirect, Request: r, Body: http.NoBody,
			Header: http.Header{"Location": {"https://elsewhere.test/"}},
		}, nil
	})}
	m, err := New(model.Config{Provider: "google", Model: "m", BaseURL: "http://x.test", APIKey: "the-key"}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Stream(t.Context(), modeltest.Hello(), nil); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Error(err)
	}
}
