package anthropic

import (
	"fmt"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// KeyName is the secret that holds the key where the agent file names none by
// token_key.
const KeyName = "ANTHROPIC_API_KEY"

// BaseURL is used where the agent file gives none.
const BaseURL = "https://api.anthropic.com"

// Output limits in tokens, from the models' overview
// (https://platform.claude.com/docs/en/about-claude/models/overview) and the
// page on extended thinking.
const (
	defaultOutput = 32_000 // enough for a long file; more only lets a model that has lost its way go on
	answerReserve = 8_192  // what is left for the answer beside a budget for thinking
)

// outputLimit is the most that a model of a generation writes.
func outputLimit(name string, gen int) int64 {
	switch {
	case gen > 46 || gen == 46 && strings.Contains(name, "opus"):
		return 128_000
	case (gen == 40 || gen == 41) && strings.Contains(name, "opus"):
		return 32_000
	case gen >= 37:
		return 64_000
	case gen >= 35 || gen == 0:
		return 8_192
	}
	return 4_096
}

// defaultMaxTokens is max_tokens where the agent file gives none.
func defaultMaxTokens(name string, gen int, t model.ClaudeThinking) int64 {
	n := min(defaultOutput, outputLimit(name, gen))
	if t.Manual() {
		n = max(n, t.Budget+answerReserve)
		if gen > 0 {
			n = min(n, outputLimit(name, gen))
		}
	}
	return n
}

// settings are a checked configuration.
type settings struct {
	baseURL  string
	bearer   bool // the key is a bearer token
	headers  map[string]string
	betas    []string
	thinking model.ClaudeThinking
	// interleaved asks for the beta that lets manual thinking go on between tools.
	interleaved bool
	cache       string // the mark for the cache as JSON, "" for none
	parallel    *bool

	// fixed is the beginning of every request body: everything that does not change
	// from call to call, without thinking and the closing brace.
	fixed []byte
	// thinkingBody is the member thinking with its comma, "" for none.
	thinkingBody string
}

// ownHeaders are set by the adapter or the SDK.
var ownHeaders = []string{
	"X-Api-Key", "Authorization", "Anthropic-Version", "Anthropic-Beta", "Content-Type", "Content-Length", "Accept", "Host",
}

// check turns a configuration into settings.
func check(cfg *model.Config) (*settings, error) {
	if cfg.Model == "" {
		return nil, cfg.Invalid("the model's name is missing")
	}
	s := &settings{parallel: cfg.ParallelToolCalls}
	var err error
	if s.baseURL, err = cfg.Endpoint(BaseURL); err != nil {
		return nil, err
	}
	// The SDK adds the version; many gateways document their address with it.
	s.baseURL = strings.TrimSuffix(s.baseURL, "/v1")
	if cfg.APIKey == "" && cfg.BaseURL == "" {
		return nil, holdfast.Errorf(holdfast.CodeModelAuth, "model %s/%s: there is no API key; set the secret %s", cfg.Provider, cfg.Model, KeyName)
	}
	if err := cfg.Sampling(); err != nil {
		return nil, err
	}
	if cfg.FrequencyPenalty != nil || cfg.PresencePenalty != nil {
		return nil, cfg.Invalid("the Messages API has neither frequency_penalty nor presence_penalty")
	}
	gen := model.ClaudeGeneration(cfg.Model)
	if s.thinking, err = cfg.ClaudeThinking(); err != nil {
		return nil, err
	}
	o := model.NewOptionReader(cfg)
	s.bearer = o.OneOf("auth", "api_key", "bearer") == "bearer"
	s.headers = o.Headers("headers", ownHeaders...)
	s.betas = o.Strings("betas")
	s.interleaved = o.Bool("interleaved_thinking", true) && s.thinking.Manual()
	ttl := o.OneOf("cache_ttl", "5m", "1h")
	if o.Bool("cache", true) {
		s.cache = `,"cache_control":{"type":"ephemeral"}`
		if ttl != "" {
			s.cache = fmt.Sprintf(`,"cache_control":{"type":"ephemeral","ttl":%q}`, ttl)
		}
	}
	if err := s.body(cfg, o, gen); err != nil {
		return nil, err
	}
	return s, o.Finish()
}

// body composes what all requests have in common.
func (s *settings) body(cfg *model.Config, o *model.OptionReader, gen int) error {
	b := &model.Object{}
	b.String("model", cfg.Model)
	b.Bool("stream", true)
	maxTokens := defaultMaxTokens(cfg.Model, gen, s.thinking)
	if cfg.MaxTokens != nil {
		maxTokens = *cfg.MaxTokens
	}
	if s.thinking.Manual() && s.thinking.Budget >= maxTokens {
		return cfg.Invalid("thinking_budget (%d tokens) must be less than max_tokens (%d), which includes it", s.thinking.Budget, maxTokens)
	}
	b.Int("max_tokens", maxTokens)
	b.FloatIf("temperature", cfg.Temperature)
	b.FloatIf("top_p", cfg.TopP)
	if n := o.Number("top_k"); n != nil {
		if err := b.Any("top_k", n); err != nil {
			return cfg.Invalid("provider option top_k cannot be sent as JSON")
		}
	}
	if stop := o.Strings("stop"); stop != nil {
		if err := b.Any("stop_sequences", stop); err != nil {
			return cfg.Invalid("provider option stop cannot be sent as JSON")
		}
	}
	b.StringIf("service_tier", o.OneOf("service_tier", "auto", "standard_only"))
	display := o.OneOf("thinking_display", "summarized", "omitted")
	t := &model.Object{}
	switch s.thinking.Kind {
	case "":
	case "enabled":
		t.String("type", "enabled")
		t.Int("budget_tokens", s.thinking.Budget)
	case "adaptive":
		t.String("type", "adaptive")
		if display == "" && (gen == 0 || gen > 46) {
			// Later models show nothing of their thinking unless asked to.
			display = "summarized"
		}
	default:
		t.String("type", s.thinking.Kind)
		display = ""
	}
	if !t.Empty() {
		t.StringIf("display", display)
		s.thinkingBody = `,"thinking":` + string(t.Close())
	}
	o.ExtraBody(b, "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata")
	s.fixed = b.Open()
	return nil
}
