package anthropic_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/anthropic"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func newModel(cfg model.Config, c *http.Client) (model.Model, error) {
	return anthropic.New(cfg, anthropic.Options{HTTPClient: c})
}

func provider(folder, name string) modeltest.Provider {
	return modeltest.Provider{
		Recordings: os.DirFS("testdata/" + folder),
		Config:     model.Config{Provider: "anthropic", Model: name},
		New:        newModel,
	}
}

func TestMessages(t *testing.T) {
	p := provider("messages", "claude-sonnet-4-5")
	p.Opaque = json.RawMessage(`{"api":"messages","blocks":[
		{"type":"thinking","thinking":"Two calls will do.","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
		{"type":"text","bytes":12},
		{"type":"tool_use","id":"call_a"},
		{"type":"redacted_thinking","data":"EmwKAhgBEgy3va3pzix/LafPsn4a"},
		{"type":"tool_use","id":"call_b"}]}`)
	modeltest.Run(t, p)
}

// TestBaseURLWithVersion: many gateways document their address with /v1 at its
// end.
func TestBaseURLWithVersion(t *testing.T) {
	p := provider("messages", "claude-sonnet-4-5")
	p.BasePath = "/v1/"
	modeltest.Replay(t, p, "text.txtar", nil, modeltest.Hello())
}

func TestOverloaded(t *testing.T) {
	modeltest.Replay(t, provider("more", "claude-sonnet-4-5"), "overloaded.txtar", nil, modeltest.Hello())
}

func TestAdaptiveThinking(t *testing.T) {
	think := func(c *model.Config) { c.ThinkingBudget = "high" }
	modeltest.Replay(t, provider("more", "claude-opus-4-8"), "adaptive.txtar", think, modeltest.Weather("Weather in Oslo?"))
}

func TestInterleavedThinkingAndOptions(t *testing.T) {
	cfg := func(c *model.Config) {
		c.ThinkingBudget = "2048"
		c.ProviderOpts = map[string]any{
			"cache": false, "betas": []any{"context-1m-2025-08-07"}, "headers": map[string]any{"X-Team": "blue"},
			"top_k": 40, "stop": "END", "service_tier": "auto", "extra_body": map[string]any{"container": "c-1"},
		}
	}
	req := modeltest.Weather("Weather in Oslo?")
	req.EndUser = "u-1"
	modeltest.Replay(t, provider("more", "claude-sonnet-4-5"), "interleaved.txtar", cfg, req)
}
