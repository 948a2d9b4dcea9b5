package openai_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// TestQuirks replays how other servers differ from OpenAI.
func TestQuirks(t *testing.T) {
	hundred := int64(100)
	five := int64(5)
	hi := model.Request{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "Hi"}}}
	again := model.Request{Messages: []holdfast.Message{
		hi.Messages[0],
		{Role: holdfast.RoleAssistant, Content: "Hello.", ReasoningContent: "Greet."},
		hi.Messages[0],
	}}
	foreign := model.Request{Messages: []holdfast.Message{
		hi.Messages[0],
		{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("toolu_01", "f", ""), holdfast.NewToolCall("D681PevKs", "f", "")}},
		{Role: holdfast.RoleTool, ToolCallID: "toolu_01", Content: "a"},
		{Role: holdfast.RoleTool, ToolCallID: "D681PevKs", Content: "b"},
		hi.Messages[0],
	}}
	withUser := hi
	withUser.EndUser = "u-1"
	recordings := os.DirFS("testdata/quirks")
	run := map[string]bool{}
	for _, tc := range []struct {
		file, provider, model, basePath string
		cfg                             func(*model.Config)
		req                             model.Request
	}{
		{"mistral-thinking", "mistral", "magistral-small-2507", "/v1", func(c *model.Config) {
			c.MaxTokens, c.ProviderOpts = &hundred, map[string]any{"seed": 7}
		}, withUser},
		{"mistral-tools", "mistral", "mistral-large-latest", "/v1", nil, hi},
		{"mistral-history", "mistral", "mistral-large-latest", "/v1", nil, foreign},
		{"mistral-images", "mistral", "mistral-medium-latest", "/v1", nil, modeltest.ToolImages()},
		{"mistral-invalid", "mistral", "mistral-large-latest", "/v1", nil, hi},
		{"xai-usage", "xai", "grok-3-mini", "/v1", func(c *model.Config) { c.ThinkingBudget = "1024" }, hi},
		{"ollama", "ollama", "qwen3:8b", "", func(c *model.Config) { c.MaxTokens, c.APIKey = &hundred, "" }, hi},
		{"no-index", "custom", "local", "/v1/", nil, hi},
		{"name-later", "custom", "local", "/v1/", nil, hi},
		{"no-name", "custom", "local", "/v1/", nil, hi},
		{"azure", "azure", "my-deployment", "", func(c *model.Config) { c.MaxTokens = &five }, withUser},
		{"azure-deployment", "azure", "my-deployment", "", func(c *model.Config) {
			c.ProviderOpts = map[string]any{"api_version": "2024-10-21"}
		}, hi},
		{"reasoning-history", "deepseek", "deepseek-reasoner", "/v1", func(c *model.Config) {
			c.ProviderOpts = map[string]any{"reasoning_history": "reasoning_content"}
		}, again},
		{"quota", "custom", "local", "/v1", nil, hi},
		{"overflow-llamacpp", "custom", "local", "/v1", nil, hi},
		{"overflow-vllm", "custom", "local", "/v1", nil, hi},
		{"error-as-success", "custom", "local", "/v1", nil, hi},
		{"finish-error", "custom", "local", "/v1", nil, hi},
	} {
		run[tc.file] = true
		t.Run(tc.file, func(t *testing.T) {
			modeltest.Replay(t, modeltest.Provider{
				Recordings: recordings, New: newModel, BasePath: tc.basePath,
				Config: model.Config{Provider: tc.provider, Model: tc.model},
			}, tc.file+".txtar", tc.cfg, tc.req)
		})
	}
	files, err := fs.Glob(recordings, "*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !run[strings.TrimSuffix(f, ".txtar")] {
			t.Errorf("%s is replayed by no test", f)
		}
	}
}
