package gemini_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/gemini"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func newModel(cfg model.Config, c *http.Client) (model.Model, error) {
	return gemini.New(cfg, gemini.Options{HTTPClient: c})
}

func provider(folder, name string) modeltest.Provider {
	return modeltest.Provider{
		Recordings: os.DirFS("testdata/" + folder),
		Config:     model.Config{Provider: "google", Model: name},
		New:        newModel,
	}
}

func TestGenerateContent(t *testing.T) {
	p := provider("generate", "gemini-2.5-flash")
	p.Opaque = json.RawMessage(`{"api":"generateContent","parts":[
		{"type":"thought","bytes":18},
		{"type":"text","bytes":12},
		{"type":"call","id":"call_a","wire":true,"signature":"CpcCAdHtim9q4MstIIEoSLoaAAAA"},
		{"type":"call","id":"call_b"}]}`)
	p.Lacks = map[string]string{"refusal": "the API does not mark a text as the model's refusal"}
	modeltest.Run(t, p)
}

// TestToolImages: Gemini 3 takes what tools show as a part of their answers.
func TestToolImages(t *testing.T) {
	modeltest.Replay(t, provider("more", "gemini-3-flash-preview"), "tool-images-3.txtar", nil, modeltest.ToolImages())
}

// TestBaseURLWithVersion: an address that names a version keeps it.
func TestBaseURLWithVersion(t *testing.T) {
	p := provider("generate", "gemini-2.5-flash")
	p.BasePath = "/v1beta/"
	modeltest.Replay(t, p, "text.txtar", nil, modeltest.Hello())
}

func TestFailures(t *testing.T) {
	for _, file := range []string{"retry-info.txtar", "quota-of-the-day.txtar", "malformed-call.txtar"} {
		t.Run(file, func(t *testing.T) {
			modeltest.Replay(t, provider("more", "gemini-2.5-flash"), file, nil, modeltest.Hello())
		})
	}
}

func TestCallsOfAnotherModel(t *testing.T) {
	call := func(ids ...string) (m holdfast.Message) {
		m.Role = holdfast.RoleAssistant
		for _, id := range ids {
			m.ToolCalls = append(m.ToolCalls, holdfast.NewToolCall(id, "get_time", ""))
		}
		return m
	}
	req := modeltest.Weather("a")
	req.Messages = append(req.Messages,
		call("x"), holdfast.Message{Role: holdfast.RoleTool, ToolCallID: "x", Content: "old"},
		holdfast.Message{Role: holdfast.RoleAssistant, Content: "b"},
		holdfast.Message{Role: holdfast.RoleAssistant},
		holdfast.Message{Role: holdfast.RoleUser, Content: "c"},
		call("y", "z"),
		holdfast.Message{Role: holdfast.RoleTool, ToolCallID: "y", Content: "1"},
		holdfast.Message{Role: holdfast.RoleTool, ToolCallID: "z", Content: "2"},
	)
	think := func(c *model.Config) { c.ThinkingBudget = "high" }
	modeltest.Replay(t, provider("more", "gemini-3.5-flash"), "strict.txtar", think, req)
}

func TestOneCallAtATime(t *testing.T) {
	no := false
	modeltest.Replay(t, provider("more", "gemini-2.5-flash"), "single.txtar",
		func(c *model.Config) { c.ParallelToolCalls = &no }, modeltest.Weather("Weather in Oslo?"))
}

func TestOptions(t *testing.T) {
	half, quarter := 0.5, 0.25
	modeltest.Replay(t, provider("more", "gemini-2.5-flash"), "options.txtar", func(c *model.Config) {
		c.FrequencyPenalty, c.PresencePenalty = &half, &quarter
		c.ProviderOpts = map[string]any{
			"top_k": 40, "seed": 7, "stop": []any{"END"}, "media_resolution": "MEDIA_RESOLUTION_LOW", "api_version": "v1alpha",
			"safety_settings": []any{map[string]any{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}},
			"service_tier":    "flex", "headers": map[string]any{"X-Team": "blue", "User-Agent": "Acme"},
			"extra_body": map[string]any{"labels": map[string]any{"team": "blue"}},
		}
	}, modeltest.Hello())
}
