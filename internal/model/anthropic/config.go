package anthropic

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// KeyName is the secret that holds the key where the agent file names none by
// token_key.
const KeyName = "ANTHROPIC_API_KEY"

// BaseURL is used where the agent file gives none.
const BaseURL = "https://api.anthropic.com"

// version finds a model's version in its name: claude-opus-4-6,
// claude-sonnet-4-5-20250929, claude-3-7-sonnet-latest, and the same with a
// prefix of a gateway or with dots.
var version = regexp.MustCompile(`claude-(?:(?:[a-z]+)-)?(\d)(?:[-.](\d{1,2}))?(?:[-@.:a-z]|$|-\d{8})`)

// generation is a model's version times ten (claude-opus-4-6 is 46), 0 if its
// name does not tell.
func generation(name string) int {
	m := version.FindStringSubmatch(strings.ToLower(name))
	if m == nil {
		return 0
	}
	// The expression admits digits alone.
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major*10 + min(minor, 9)
}

// thinking is how a model is asked to think.
type thinking struct {
	kind   string // "", "enabled", "adaptive", "disabled"
	budget int64
	effort string
}

// manual reports whether blocks of thinking must begin a turn.
func (t thinking) manual() bool { return t.kind == "enabled" }

const minBudget = 1024 // https://platform.claude.com/docs/en/build-with-claude/extended-thinking

// budgets are the tokens of an effort for models that know no effort.
var budgets = map[string]int64{
	"minimal": minBudget, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768,
}

// parseThinking reads Config.ThinkingBudget for a model of a generation.
//
// Which generation takes what:
// https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html
// and the SDK's list of models for which "enabled" is deprecated.
func parseThinking(cfg *model.Config, gen int) (thinking, error) {
	value := strings.ToLower(strings.TrimSpace(cfg.ThinkingBudget))
	manualOnly := gen > 0 && gen < 46
	switch {
	case value == "":
		return thinking{}, nil
	case value == "none" || value == "0":
		if gen > 0 && gen < 50 {
			return thinking{}, nil // thinking is off unless it is asked for
		}
		return thinking{kind: "disabled"}, nil
	case value == "adaptive" || value == "-1":
		if manualOnly {
			return thinking{}, cfg.Invalid("this model needs a number of tokens for thinking: thinking_budget must be at least %d, or an effort", minBudget)
		}
		return thinking{kind: "adaptive"}, nil
	}
	if tokens, ok := budgets[value]; ok {
		if manualOnly {
			return thinking{kind: "enabled", budget: tokens}, nil
		}
		if value == "minimal" {
			value = "low"
		}
		return thinking{kind: "adaptive", effort: value}, nil
	}
	tokens, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil || tokens < 0:
		return thinking{}, cfg.Invalid("thinking_budget %q is neither a number of tokens nor one of none, minimal, low, medium, high, xhigh, max, adaptive", cfg.ThinkingBudget)
	case tokens < minBudget:
		return thinking{}, cfg.Invalid("thinking_budget must be at least %d tokens, or 0 for none", minBudget)
	case gen <= 46:
		return thinking{kind: "enabled", budget: tokens}, nil
	case tokens <= 2048:
		return thinking{kind: "adaptive", effort: "low"}, nil
	case tokens <= 8192:
		return thinking{kind: "adaptive", effort: "medium"}, nil
	}
	return thinking{kind: "adaptive", effort: "high"}, nil
}

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
	case gen >= 46:
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
func defaultMaxTokens(name string, gen int, t thinking) int64 {
	n := min(defaultOutput, outputLimit(name, gen))
	if t.manual() {
		n = max(n, t.budget+answerReserve)
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
	thinking thinking
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
	gen := generation(cfg.Model)
	if s.thinking, err = parseThinking(cfg, gen); err != nil {
		return nil, err
	}
	o := model.NewOptionReader(cfg)
	s.bearer = o.OneOf("auth", "api_key", "bearer") == "bearer"
	s.headers = o.Headers("headers", ownHeaders...)
	s.betas = o.Strings("betas")
	s.interleaved = o.Bool("interleaved_thinking", true) && s.thinking.manual()
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
	if s.thinking.manual() && s.thinking.budget >= maxTokens {
		return cfg.Invalid("thinking_budget (%d tokens) must be less than max_tokens (%d), which includes it", s.thinking.budget, maxTokens)
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
	switch s.thinking.kind {
	case "":
	case "enabled":
		t.String("type", "enabled")
		t.Int("budget_tokens", s.thinking.budget)
	case "adaptive":
		t.String("type", "adaptive")
		if display == "" && (gen == 0 || gen > 46) {
			// Later models show nothing of their thinking unless asked to.
			display = "summarized"
		}
	default:
		t.String("type", s.thinking.kind)
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
