package bedrock_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/bedrock"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

const sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0"

func newModel(cfg model.Config, c *http.Client) (model.Model, error) {
	return bedrock.New(cfg, bedrock.Options{HTTPClient: framed(c)})
}

func provider(folder, name string) modeltest.Provider {
	return modeltest.Provider{
		Recordings: os.DirFS("testdata/" + folder),
		Config:     model.Config{Provider: "amazon-bedrock", Model: name, ProviderOpts: map[string]any{"region": "eu-central-1"}},
		New:        newModel,
	}
}

func TestConverseStream(t *testing.T) {
	p := provider("converse", sonnet)
	p.Opaque = json.RawMessage(`{"api":"converse","blocks":[
		{"type":"thinking","thinking":"Two calls will do.","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
		{"type":"text","bytes":12},
		{"type":"tool_use","id":"call_a"},
		{"type":"redacted_thinking","data":"RW13S0FoZ0I="},
		{"type":"tool_use","id":"call_b"}]}`)
	p.Lacks = map[string]string{
		"refusal":   "the API does not mark a text as the model's refusal",
		"image":     "the API takes no images by address; TestImage shows one as data",
		"reasoning": "the API does not count the tokens of reasoning; TestThinking shows the rest",
	}
	modeltest.Run(t, p)
}

func TestThinking(t *testing.T) {
	modeltest.Replay(t, provider("more", sonnet), "thinking.txtar", func(c *model.Config) { c.ThinkingBudget = "high" }, modeltest.Hello())
}

func TestAdaptiveThinking(t *testing.T) {
	modeltest.Replay(t, provider("more", "eu.anthropic.claude-opus-4-8-v1:0"), "adaptive.txtar",
		func(c *model.Config) { c.ThinkingBudget = "high" }, modeltest.Weather("Weather in Oslo?"))
}

func TestImage(t *testing.T) {
	m := holdfast.Message{Role: holdfast.RoleUser, Content: "What is this?", Parts: []holdfast.ContentPart{
		{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "data:image/png;base64,iVBORw0KGgo="}},
		{Type: "text", Text: "And this?"},
	}}
	modeltest.Replay(t, provider("more", sonnet), "image.txtar", nil, model.Request{Messages: []holdfast.Message{m}})
}

func TestOptions(t *testing.T) {
	no := false
	modeltest.Replay(t, provider("more", sonnet), "options.txtar", func(c *model.Config) {
		c.ThinkingBudget, c.ParallelToolCalls = "2048", &no
		c.ProviderOpts = map[string]any{
			"region": "eu-central-1", "cache": false, "stop": "END", "additional_model_request_fields": map[string]any{"top_k": 40},
			"guardrail": map[string]any{"guardrailIdentifier": "g", "guardrailVersion": "1"}, "request_metadata": map[string]any{"team": "blue"},
			"latency": "optimized", "service_tier": "flex",
		}
	}, modeltest.Weather("Weather in Oslo?"))
}

func TestPromptRouter(t *testing.T) {
	modeltest.Replay(t, provider("more", "arn:aws:bedrock:us-east-1:111122223333:default-prompt-router/x:1"), "router.txtar", nil, modeltest.Hello())
}

func TestThrottledInStream(t *testing.T) {
	modeltest.Replay(t, provider("more", sonnet), "throttled-in-stream.txtar", nil, modeltest.Hello())
}
