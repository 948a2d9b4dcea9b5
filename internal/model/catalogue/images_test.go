package catalogue

import "testing"

// TestImages: who takes images is known by the table, by a file if that says it, and
// else nobody does.
func TestImages(t *testing.T) {
	over, err := overlay(Default(), []byte(`{
		"openai":{"models":{"gpt-4o":{"limit":{"context":1}},"gpt-5":{"modalities":{"input":["text"]}}}},
		"custom":{"models":{"seer":{"modalities":{"input":["text","image"]}},"reader":{}}}}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of              *Catalogue
		provider, model string
		want            bool
	}{
		{Default(), "anthropic", "claude-sonnet-4-5-20250929", true},
		{Default(), "google", "models/gemini-2.5-flash", true},
		{Default(), "openai", "gpt-5", true},
		{Default(), "openai", "o1", true},
		{Default(), "openai", "o3-mini", false},
		{Default(), "openai", "gpt-4", false},
		{Default(), "openai", "gpt-oss-120b", false},
		{Default(), "amazon-bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", true},
		{Default(), "amazon-bedrock", "amazon.nova-micro-v1:0", false},
		{Default(), "amazon-bedrock", "meta.llama4-scout-17b-instruct-v1:0", false},
		{Default(), "mistral", "mistral-medium-latest", true},
		{Default(), "mistral", "codestral-latest", false},
		{Default(), "xai", "grok-3", false},
		{Default(), "xai", "grok-4", true},
		{Default(), "custom", "seer", false},
		{over, "custom", "seer", true},
		{over, "custom", "reader", false},
		{over, "openai", "gpt-4o", true},
		{over, "openai", "gpt-5", false},
	} {
		if got, _ := c.of.Lookup(c.provider, c.model); got.Images != c.want {
			t.Errorf("%s/%s: %v", c.provider, c.model, got.Images)
		}
	}
}
