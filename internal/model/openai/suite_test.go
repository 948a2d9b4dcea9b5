package openai_test

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
	"github.com/holdfast-run/holdfast/internal/model/openai"
)

func newModel(cfg model.Config, c *http.Client) (model.Model, error) {
	return openai.New(cfg, openai.Options{HTTPClient: c})
}

func TestChatCompletions(t *testing.T) {
	modeltest.Run(t, modeltest.Provider{
		Recordings: os.DirFS("testdata/chat"),
		Config:     model.Config{Provider: "openai", Model: "gpt-4o"},
		New:        newModel,
		BasePath:   "/v1",
	})
}

func TestResponses(t *testing.T) {
	modeltest.Run(t, modeltest.Provider{
		Recordings: os.DirFS("testdata/responses"),
		Config:     model.Config{Provider: "openai", Model: "gpt-5"},
		New:        newModel,
		BasePath:   "/v1",
		Opaque: json.RawMessage(`{"api":"responses","items":[
			{"type":"reasoning","item":` + reasoningItem("rs_68af4030baa48193b0b43b4c2a176a1a0e6967dd0ac2ecbf") + `},
			{"type":"message"},
			{"type":"function_call","call_id":"call_a"},
			{"type":"reasoning","item":` + reasoningItem("rs_2") + `},
			{"type":"function_call","call_id":"call_b"}]}`),
	})
}

// reasoningItem is a reasoning item as the recordings have it.
func reasoningItem(id string) string {
	return `{"id":"` + id + `","type":"reasoning","encrypted_content":"gAAAAABo-canary-of-reasoning",
		"summary":[{"type":"summary_text","text":"They want a greeting."},{"type":"summary_text","text":"A short one."}]}`
}
