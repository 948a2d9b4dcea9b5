package catalogue

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/model"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		provider, name string
		id             string // "" for not found
		context        int64
		input          float64 // 0 for no price
	}{
		{"anthropic", "claude-opus-4-6", "claude-opus-4-6", 1_000_000, 5},
		{"anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5", 200_000, 3},
		{"anthropic", "claude-3-7-sonnet-20250219", "claude-3-7-sonnet-latest", 200_000, 3},
		{"anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-0", 200_000, 3},
		{"anthropic", "claude-sonnet-5-5", "claude-sonnet-5-5", 1_000_000, 0},
		{"anthropic", "claude-sonnet-6", "", 0, 0},
		{"openai", "gpt-4o", "gpt-4o", 128_000, 2.5},
		{"openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13", 128_000, 5},
		{"openai", "gpt-4o-2024-08-06", "gpt-4o", 128_000, 2.5},
		{"openai", "gpt-4o-mini", "gpt-4o-mini", 128_000, 0.15},
		{"openai", "gpt-4o-audio-preview", "", 0, 0},
		{"google", "models/gemini-2.5-pro", "gemini-2.5-pro", 1_048_576, 1.25},
		{"google", "GEMINI-2.5-flash", "gemini-2.5-flash", 1_048_576, 0.3},
		{"google", "gemini-2.5-flash-image", "", 0, 0},
		{"amazon-bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, 3.3},
		{"amazon-bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000, 3},
		{"amazon-bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6-v1:0", 1_000_000, 5.5},
		{"amazon-bedrock", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0", 300_000, 0.8},
		{"mistral", "mistral-large-2512", "mistral-large-2512", 262_144, 0.5},
		{"mistral", "mistral-large-latest", "", 0, 0}, // sources differ on what it is
		{"xai", "grok-4.5", "grok-4.5", 500_000, 2},
		{"azure", "gpt-4o", "", 0, 0}, // the name of a deployment says nothing
		{"custom", "gpt-4o", "", 0, 0},
	} {
		i, ok := Lookup(c.provider, c.name)
		if !ok {
			if c.id != "" {
				t.Errorf("%s/%s is not found", c.provider, c.name)
			}
			continue
		}
		if i.Model != c.id || i.Provider != c.provider || i.ContextLimit != c.context || len(i.Sources) == 0 {
			t.Errorf("%s/%s is %+v", c.provider, c.name, i)
		}
		switch {
		case i.Priced() != (c.input > 0) || i.Priced() != (i.PriceVersion != ""):
			t.Errorf("%s/%s: price %v of %q", c.provider, c.name, i.Price, i.PriceVersion)
		case i.Priced() && i.Price.Input != c.input:
			t.Errorf("%s/%s: input costs %v, want %v", c.provider, c.name, i.Price.Input, c.input)
		}
	}
}

// TestTable: nothing in the embedded table is impossible.
func TestTable(t *testing.T) {
	c := Default()
	if len(c.rows) < 200 {
		t.Errorf("only %d names", len(c.rows))
	}
	for k, r := range c.rows {
		i, ok := c.Lookup(k.provider, k.model)
		if !ok || i.Model != r.ID {
			t.Errorf("%v is not found under its name: %+v", k, i)
		}
		if !i.Priced() {
			continue
		}
		if p := i.Price; p.CacheRead > p.Input || p.Input > 1000 || p.Input > 0 && p.Output == 0 {
			t.Errorf("%v: %+v", k, p)
		}
		for _, tier := range i.Tiers {
			if tier.Price.Input < i.Price.Input || tier.Price.Output < i.Price.Output {
				t.Errorf("%v: more costs less: %+v", k, tier)
			}
		}
	}
}

func TestCost(t *testing.T) {
	opus, _ := Lookup("anthropic", "claude-opus-4-6")
	gemini, _ := Lookup("google", "gemini-2.5-pro")
	for _, c := range []struct {
		name string
		info Info
		u    model.Usage
		want float64
	}{
		{"nothing known", Info{}, model.Usage{InputTokens: 1e6}, 0},
		{"plain", opus, model.Usage{InputTokens: 1000, OutputTokens: 100}, 0.005 + 0.0025},
		{"cache", opus, model.Usage{InputTokens: 10_000, CachedInputTokens: 8000, CacheWriteTokens: 1000, OutputTokens: 100, ReasoningTokens: 50}, 0.005 + 0.004 + 0.00625 + 0.0025},
		{"more cached than there is", opus, model.Usage{InputTokens: 10, CachedInputTokens: 1000}, 0.0005},
		{"the last of a tier", gemini, model.Usage{InputTokens: 200_000, OutputTokens: 10}, 0.25 + 0.0001},
		{"the first of the next", gemini, model.Usage{InputTokens: 200_001, CachedInputTokens: 200_000, OutputTokens: 10}, 0.0000025 + 0.05 + 0.00015},
	} {
		if got := Cost(c.info, c.u); !near(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPricesOfADay(t *testing.T) {
	c := *Default()
	for day, want := range map[string]float64{"2026-12-31T23:59:59Z": 0.75, "2027-01-01T00:00:00Z": 1.5, "2026-12-31T20:00:00-08:00": 1.5} {
		at, err := time.Parse(time.RFC3339, day)
		if err != nil {
			t.Fatal(err)
		}
		c.now = func() time.Time { return at }
		i, ok := c.Lookup("google", "gemini-3.8-flash")
		if !ok || i.Price.Input != want {
			t.Errorf("on %s input costs %+v, want %v", day, i.Price, want)
		}
	}
}

func TestLoad(t *testing.T) {
	c, err := Load("testdata/models.dev.json")
	if err != nil {
		t.Fatal(err)
	}
	opus, ok := c.Lookup("anthropic", "claude-opus-4-6")
	if !ok || opus.Price.Input != 4 || opus.Price.CacheWrite != 4 || opus.ContextLimit != 900_000 || opus.OutputLimit != 100_000 || !strings.HasPrefix(opus.PriceVersion, "file-") {
		t.Errorf("the file does not count: %+v %+v", opus, opus.Price)
	}
	if got := Cost(opus, model.Usage{InputTokens: 300_000, CachedInputTokens: 100_000}); !near(got, 200_000*8e-6+100_000*0.8e-6) {
		t.Errorf("above 200,000 tokens: %v", got)
	}
	if dated, ok := c.Lookup("anthropic", "claude-opus-4-6-20260205"); !ok || dated.Price.Input != 4 {
		t.Errorf("by its date: %+v", dated)
	}
	if local, ok := c.Lookup("ollama", "llama3"); !ok || local.Priced() || local.ContextLimit != 8192 {
		t.Errorf("without a price: %+v", local)
	}
	if free, ok := c.Lookup("nebius", "free"); !ok || !free.Priced() || Cost(free, model.Usage{InputTokens: 9}) != 0 {
		t.Errorf("for nothing: %+v", free)
	}
	if _, ok := c.Lookup("openai", "gpt-4o"); !ok {
		t.Error("what the file does not have is lost")
	}
	if own, ok := Lookup("anthropic", "claude-opus-4-6"); !ok || own.Price.Input != 5 {
		t.Error("the file has changed the embedded table")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ content, says string }{
		"empty":    {"", "unexpected end"},
		"list":     {"[]", "cannot unmarshal"},
		"nothing":  {"{}", "there are no models"},
		"negative": {`{"p":{"models":{"m":{"cost":{"input":-1,"output":1}}}}}`, "p/m: -1 is no price"},
		"limit":    {`{"p":{"models":{"m":{"limit":{"context":-1}}}}}`, "p/m: "},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing file is no error")
	}
}
