package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/model"
)

// TestSchemasAreWholeWhereTheyMayBe: a server of one's own gets the schema of a tool
// as it is, a hosted provider in the form that it takes.
func TestSchemasAreWholeWhereTheyMayBe(t *testing.T) {
	const schema = `{"type":"object","properties":{"a":{}},"allOf":[{"required":["a"]}],"$anchor":"x"}`
	for provider, whole := range map[string]bool{"openai": false, "azure": false, "mistral": false, "xai": false, "ollama": true, "dmr": true, "own": true} {
		m, err := New(model.Config{Provider: provider, Model: "m", BaseURL: "https://models.example/v1", APIKey: "k"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.appendSchema(nil, &model.Tool{Name: "f", Parameters: json.RawMessage(schema)})
		if err != nil || (string(got) == schema) != whole || strings.Contains(string(got), "allOf") != whole {
			t.Errorf("%s: %s, %v", provider, got, err)
		}
		for _, none := range []string{"", "null", "{}"} {
			if got, err := m.appendSchema(nil, &model.Tool{Name: "f", Parameters: json.RawMessage(none)}); err != nil || string(got) != `{"type":"object","properties":{}}` {
				t.Errorf("%s, nothing: %s, %v", provider, got, err)
			}
		}
	}
}
