package gemini

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// KeyName is the secret that holds the key where the agent file names none by
// token_key.
const KeyName = "GOOGLE_API_KEY"

// BaseURL is used where the agent file gives none.
const BaseURL = "https://generativelanguage.googleapis.com"

// apiVersion is the one that has everything that is used here: thought
// signatures, JSON schemas. https://ai.google.dev/gemini-api/docs/api-versions
const apiVersion = "v1beta"

var version = regexp.MustCompile(`gemini-(\d+)(?:\.(\d))?`)

// generation is a model's version times ten (gemini-2.5-pro is 25), 0 if its
// name does not tell.
func generation(name string) int {
	m := version.FindStringSubmatch(strings.ToLower(name))
	if m == nil {
		return 0
	}
	// The expression admits digits alone, and few enough.
	major, err := strconv.Atoi(m[1])
	if err != nil || major > 1000 {
		return 0
	}
	minor, _ := strconv.Atoi(m[2])
	return major*10 + minor
}

// budgets are the tokens of an effort for models that know no level. Gemini 2.5
// Flash takes 24,576 at most, Pro 32,768
// (https://ai.google.dev/gemini-api/docs/thinking#set-budget).
var budgets = map[string]int64{
	"none": 0, "minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 24576,
}

var levels = map[string]string{
	"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH",
}

// knownLevel is the level nearest to l that the model takes: Pro knows no MINIMAL
// ("Thinking level MINIMAL is not supported for this model") and Gemini 3 Pro no
// MEDIUM (https://ai.google.dev/gemini-api/docs/thinking#thinking-levels).
func knownLevel(name string, gen int, l string) string {
	switch pro := strings.Contains(strings.ToLower(name), "-pro"); {
	case pro && l == "MINIMAL":
		return "LOW"
	case pro && gen == 30 && l == "MEDIUM":
		return "HIGH"
	}
	return l
}

// thinkingConfig reads Config.ThinkingBudget for a model of a generation; nil is
// nothing to send.
func thinkingConfig(cfg *model.Config, gen int, include bool) ([]byte, error) {
	value := strings.ToLower(strings.TrimSpace(cfg.ThinkingBudget))
	if value == "" {
		return nil, nil
	}
	t := &model.Object{}
	off := value == "none" || value == "0"
	if include && !off {
		t.Bool("includeThoughts", true)
	}
	tokens, err := strconv.ParseInt(value, 10, 64)
	_, effort := levels[value]
	level := func(l string) { t.String("thinkingLevel", knownLevel(cfg.Model, gen, l)) }
	switch {
	case err == nil && tokens >= -1:
	case value == "adaptive":
		tokens = -1
	case effort && gen > 0 && gen < 30:
		tokens = budgets[value]
	case effort:
		level(levels[value])
		return t.Close(), nil
	default:
		return nil, cfg.Invalid("thinking_budget %q is neither a number of tokens nor one of none, minimal, low, medium, high, xhigh, max, adaptive", cfg.ThinkingBudget)
	}
	switch {
	case gen < 30:
		t.Int("thinkingBudget", tokens)
	case tokens == -1:
	case tokens == 0:
		level("MINIMAL")
	case tokens <= 2048:
		level("LOW")
	case tokens <= 8192:
		level("MEDIUM")
	default:
		level("HIGH")
	}
	if t.Empty() {
		return nil, nil
	}
	return t.Close(), nil
}

// settings are a checked configuration.
type settings struct {
	url     string
	headers map[string]string
	// strict says that the model refuses calls without a signature.
	strict bool
	single bool // one call at a time

	generation []byte // generationConfig without its closing brace, nil for none
	extra      []byte // further members of the body, each with its comma
}

// ownHeaders are set by the adapter.
var ownHeaders = []string{"X-Goog-Api-Key", "Content-Type", "Content-Length", "Accept", "Host"}

// check turns a configuration into settings.
func check(cfg *model.Config) (*settings, error) {
	if cfg.Model == "" {
		return nil, cfg.Invalid("the model's name is missing")
	}
	gen := generation(cfg.Model)
	s := &settings{strict: gen >= 30, single: cfg.ParallelToolCalls != nil && !*cfg.ParallelToolCalls}
	base, err := cfg.Endpoint(BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.APIKey == "" && cfg.BaseURL == "" {
		return nil, holdfast.Errorf(holdfast.CodeModelAuth, "model %s/%s: there is no API key; set the secret %s", cfg.Provider, cfg.Model, KeyName)
	}
	if err := cfg.Sampling(); err != nil {
		return nil, err
	}
	o := model.NewOptionReader(cfg)
	s.url = endpoint(base, o.String("api_version"), cfg.Model)
	s.headers = o.Headers("headers", ownHeaders...)
	if err := s.body(cfg, o, gen); err != nil {
		return nil, err
	}
	return s, o.Finish()
}

// versioned finds addresses that name a version themselves.
var versioned = regexp.MustCompile(`/v\d+(?:alpha|beta)?\d*$`)

// endpoint is the address of a model's streamGenerateContent.
func endpoint(base, version, name string) string {
	switch {
	case version != "":
		base = versioned.ReplaceAllString(base, "") + "/" + version
	case !versioned.MatchString(base):
		base += "/" + apiVersion
	}
	if !strings.Contains(name, "/") {
		name = "models/" + name
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return base + "/" + strings.Join(parts, "/") + ":streamGenerateContent?alt=sse"
}

// body composes what all requests have in common.
func (s *settings) body(cfg *model.Config, o *model.OptionReader, gen int) error {
	g := &model.Object{}
	g.FloatIf("temperature", cfg.Temperature)
	g.FloatIf("topP", cfg.TopP)
	for _, opt := range []struct{ option, member string }{{"top_k", "topK"}, {"seed", "seed"}} {
		if n := o.Number(opt.option); n != nil {
			if err := g.Any(opt.member, n); err != nil {
				return cfg.Invalid("provider option %s cannot be sent as JSON", opt.option)
			}
		}
	}
	if cfg.MaxTokens != nil {
		g.Int("maxOutputTokens", *cfg.MaxTokens)
	}
	g.FloatIf("frequencyPenalty", cfg.FrequencyPenalty)
	g.FloatIf("presencePenalty", cfg.PresencePenalty)
	if stop := o.Strings("stop"); stop != nil {
		if err := g.Any("stopSequences", stop); err != nil {
			return cfg.Invalid("provider option stop cannot be sent as JSON")
		}
	}
	g.StringIf("mediaResolution", o.String("media_resolution"))
	thinking, err := thinkingConfig(cfg, gen, o.Bool("include_thoughts", true))
	if err != nil {
		return err
	}
	if thinking != nil {
		g.Raw("thinkingConfig", thinking)
	}
	if !g.Empty() {
		s.generation = g.Open()
	}
	b := &model.Object{}
	if v := o.Any("safety_settings"); v != nil {
		if _, ok := v.([]any); !ok {
			return cfg.Invalid("provider option safety_settings must be a list of mappings with category and threshold")
		}
		if err := b.Any("safetySettings", v); err != nil {
			return cfg.Invalid("provider option safety_settings cannot be sent as JSON")
		}
	}
	b.StringIf("cachedContent", o.String("cached_content"))
	b.StringIf("serviceTier", o.String("service_tier"))
	o.ExtraBody(b, "contents", "systemInstruction", "tools", "generationConfig")
	if !b.Empty() {
		s.extra = append([]byte{','}, b.Open()[1:]...)
	}
	return nil
}
