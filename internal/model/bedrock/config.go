package bedrock

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// KeyName is the secret that holds the Bedrock API key where the agent file
// names none by token_key.
const KeyName = "AWS_BEARER_TOKEN_BEDROCK"

// The secrets that hold an access key, for [Options.Credentials].
const (
	AccessKeyIDName     = "AWS_ACCESS_KEY_ID"
	SecretAccessKeyName = "AWS_SECRET_ACCESS_KEY"
	SessionTokenName    = "AWS_SESSION_TOKEN"
)

// regionName keeps a region from becoming another host.
var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$`)

const interleavedBeta = "interleaved-thinking-2025-05-14"

// settings are a checked configuration.
type settings struct {
	url         *url.URL
	region      string
	headers     map[string]string
	thinking    model.ClaudeThinking
	interleaved bool
	cache       string // a cache point as JSON, "" for none
	cacheTools  bool
	single      bool // one call at a time

	fields  map[string]any // additionalModelRequestFields of the agent file
	display string
	tail    []byte // members that all requests have in common, each with its comma
}

var ownHeaders = []string{"Authorization", "Content-Type", "Content-Length", "Accept", "Host", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"}

func isClaude(name string) bool { return strings.Contains(strings.ToLower(name), "claude") }

// cachePoints says whether a model takes them, and whether after its tools too
// (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html,
// supported models).
func cachePoints(name string) (points, tools bool) {
	if isClaude(name) {
		ok := model.ClaudeGeneration(name) >= 37
		return ok, ok
	}
	return strings.Contains(strings.ToLower(name), "amazon.nova"), false
}

// check turns a configuration into settings.
func check(cfg *model.Config, opt *Options) (*settings, error) {
	if cfg.Model == "" {
		return nil, cfg.Invalid("the model's name is missing")
	}
	s := &settings{single: cfg.ParallelToolCalls != nil && !*cfg.ParallelToolCalls}
	if err := cfg.Sampling(); err != nil {
		return nil, err
	}
	if cfg.FrequencyPenalty != nil || cfg.PresencePenalty != nil {
		return nil, cfg.Invalid("Converse has neither frequency_penalty nor presence_penalty")
	}
	o := model.NewOptionReader(cfg)
	if o.Any("profile") != nil {
		return nil, cfg.Invalid("provider option profile is not offered: profiles are files of the machine; set the secret %s, or %s and %s", KeyName, AccessKeyIDName, SecretAccessKeyName)
	}
	s.region = o.String("region")
	if s.region != "" && !regionName.MatchString(s.region) {
		return nil, cfg.Invalid("provider option region %q is not the name of a region, like eu-central-1", s.region)
	}
	if s.region == "" && (cfg.BaseURL == "" || cfg.APIKey == "") {
		return nil, cfg.Invalid("provider option region is missing, like eu-central-1")
	}
	if cfg.APIKey == "" && !opt.Credentials.complete() && cfg.BaseURL == "" {
		return nil, holdfast.Errorf(holdfast.CodeModelAuth, "model %s/%s: there are no credentials; set the secret %s, or %s and %s",
			cfg.Provider, cfg.Model, KeyName, AccessKeyIDName, SecretAccessKeyName)
	}
	if err := s.endpoint(cfg); err != nil {
		return nil, err
	}
	s.headers = o.Headers("headers", ownHeaders...)
	s.fields = o.Map("additional_model_request_fields")
	s.display = o.OneOf("thinking_display", "summarized", "omitted")
	if err := s.readThinking(cfg, o); err != nil {
		return nil, err
	}
	points, afterTools := cachePoints(cfg.Model)
	ttl := o.OneOf("cache_ttl", "5m", "1h")
	if o.Bool("cache", points) {
		s.cache = `{"cachePoint":{"type":"default"}}`
		if ttl != "" {
			s.cache = fmt.Sprintf(`{"cachePoint":{"type":"default","ttl":%q}}`, ttl)
		}
		s.cacheTools = afterTools || !points // who asks for it, gets it everywhere
	}
	if err := s.body(cfg, o); err != nil {
		return nil, err
	}
	return s, o.Finish()
}

// endpoint is the address of ConverseStream for the model.
func (s *settings) endpoint(cfg *model.Config) error {
	domain := "amazonaws.com"
	if strings.HasPrefix(s.region, "cn-") {
		domain = "amazonaws.com.cn"
	}
	base, err := cfg.Endpoint("https://bedrock-runtime." + s.region + "." + domain)
	if err != nil {
		return err
	}
	u, err := url.Parse(base)
	if err != nil {
		return cfg.Invalid("base_url is not a URL")
	}
	// ARNs have slashes and colons, which belong into one segment, escaped.
	escaped := strings.ReplaceAll(url.QueryEscape(cfg.Model), "+", "%20")
	prefix := u.EscapedPath()
	u.RawPath = prefix + "/model/" + escaped + "/converse-stream"
	u.Path += "/model/" + cfg.Model + "/converse-stream"
	s.url = u
	return nil
}

// readThinking reads what the agent file says of thinking.
func (s *settings) readThinking(cfg *model.Config, o *model.OptionReader) error {
	interleaved := o.Bool("interleaved_thinking", true)
	if cfg.ThinkingBudget == "" {
		return nil
	}
	if !isClaude(cfg.Model) {
		return cfg.Invalid("thinking_budget is understood for Claude models; give the members that %s takes in provider_opts.additional_model_request_fields", cfg.Model)
	}
	if _, twice := s.fields["thinking"]; twice {
		return cfg.Invalid("thinking is given twice: by thinking_budget and in additional_model_request_fields")
	}
	var err error
	if s.thinking, err = cfg.ClaudeThinking(); err != nil {
		return err
	}
	if gen := model.ClaudeGeneration(cfg.Model); s.thinking.Kind == "adaptive" && s.display == "" && (gen == 0 || gen > 46) {
		s.display = "summarized" // later models show nothing of their thinking unless asked to
	}
	if s.thinking.Manual() && cfg.MaxTokens != nil && s.thinking.Budget >= *cfg.MaxTokens {
		return cfg.Invalid("thinking_budget (%d tokens) must be less than max_tokens (%d), which includes it", s.thinking.Budget, *cfg.MaxTokens)
	}
	s.interleaved = interleaved && s.thinking.Manual()
	return nil
}

// body composes what all requests have in common.
func (s *settings) body(cfg *model.Config, o *model.OptionReader) error {
	inference := &model.Object{}
	if cfg.MaxTokens != nil {
		inference.Int("maxTokens", *cfg.MaxTokens)
	}
	inference.FloatIf("temperature", cfg.Temperature)
	inference.FloatIf("topP", cfg.TopP)
	if stop := o.Strings("stop"); stop != nil {
		if err := inference.Any("stopSequences", stop); err != nil {
			return cfg.Invalid("provider option stop cannot be sent as JSON")
		}
	}
	b := &model.Object{}
	if !inference.Empty() {
		b.Raw("inferenceConfig", inference.Close())
	}
	for _, opt := range []struct{ option, member string }{
		{"guardrail", "guardrailConfig"}, {"request_metadata", "requestMetadata"},
	} {
		if v := o.Map(opt.option); v != nil {
			if err := b.Any(opt.member, v); err != nil {
				return cfg.Invalid("provider option %s cannot be sent as JSON", opt.option)
			}
		}
	}
	if v := o.OneOf("latency", "standard", "optimized"); v != "" {
		b.Raw("performanceConfig", []byte(fmt.Sprintf(`{"latency":%q}`, v)))
	}
	if v := o.OneOf("service_tier", "priority", "default", "flex", "reserved"); v != "" {
		b.Raw("serviceTier", []byte(fmt.Sprintf(`{"type":%q}`, v)))
	}
	if !b.Empty() {
		s.tail = append([]byte{','}, b.Open()[1:]...)
	}
	return nil
}
