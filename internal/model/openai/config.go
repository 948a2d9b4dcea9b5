package openai

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// api is one of the two APIs of OpenAI.
type api int

const (
	chatCompletions api = iota
	responsesAPI
)

// apiTypes are the values of provider_opts.api_type.
var apiTypes = map[string]api{
	"openai":                 chatCompletions,
	"openai_chatcompletions": chatCompletions,
	"chat_completions":       chatCompletions,
	"openai_responses":       responsesAPI,
	"responses":              responsesAPI,
}

// reasoningModel finds OpenAI's reasoning models by name: o1 and its
// successors, gpt-5 and later, and the special ones.
var reasoningModel = regexp.MustCompile(`(?i)(?:^|/)(?:o\d(?:-|$)|gpt-[5-9](?:[.-]|$)|codex-|computer-use-)|-codex|-deep-research`)

// chatVariant finds what is named like a reasoning model and is none.
var chatVariant = regexp.MustCompile(`(?i)(?:^|/)gpt-\d[\d.]*-chat`)

func isReasoningModel(name string) bool {
	return reasoningModel.MatchString(name) && !chatVariant.MatchString(name)
}

// settings are a checked configuration.
type settings struct {
	api              api
	alias            Alias
	baseURL          string
	path             string
	query            map[string]string
	headers          map[string]string
	reasoningHistory string // member of assistant messages, "" for none
	reasoning        bool   // responses: ask for what goes back with the next call
	stored           bool   // responses: the provider keeps what it has answered

	// fixed is the beginning of every request body: everything that does not
	// change from call to call, without the closing brace.
	fixed []byte
	// withTools is what is added only if there are tools.
	withTools []byte
	// verbosity and format share the member text of the responses API.
	verbosity json.RawMessage
}

// bodyOption is a provider option: how it reaches the request.
type bodyOption struct {
	chat, responses string // member of the body, "" where the API has none
	check           func(v any) bool
	want            string
}

func isString(v any) bool { _, ok := v.(string); return ok }
func isBool(v any) bool   { _, ok := v.(bool); return ok }
func isMap(v any) bool    { _, ok := v.(map[string]any); return ok }

func isNumber(v any) bool {
	switch v.(type) {
	case int, int64, uint64, float64, json.Number:
		return true
	}
	return false
}

func isStop(v any) bool {
	if isString(v) {
		return true
	}
	l, ok := v.([]any)
	for _, e := range l {
		ok = ok && isString(e)
	}
	return ok
}

// bodyOptions are the provider options that become a member of the body. Those
// after the blank line are not OpenAI's but known to many compatible servers
// (vLLM, llama.cpp, Docker Model Runner).
var bodyOptions = map[string]bodyOption{
	"seed":                   {"seed", "", isNumber, "a number"},
	"stop":                   {"stop", "", isStop, "a text or a list of texts"},
	"service_tier":           {"service_tier", "service_tier", isString, "a text"},
	"prompt_cache_key":       {"prompt_cache_key", "prompt_cache_key", isString, "a text"},
	"prompt_cache_retention": {"prompt_cache_retention", "prompt_cache_retention", isString, "a text"},
	"store":                  {"store", "store", isBool, "true or false"},
	"metadata":               {"metadata", "metadata", isMap, "a mapping"},
	"logit_bias":             {"logit_bias", "", isMap, "a mapping"},
	"truncation":             {"", "truncation", isString, "a text"},

	"top_k":              {"top_k", "", isNumber, "a number"},
	"min_p":              {"min_p", "", isNumber, "a number"},
	"typical_p":          {"typical_p", "", isNumber, "a number"},
	"repetition_penalty": {"repetition_penalty", "", isNumber, "a number"},
}

// ownOptions are the provider options that steer this package.
var ownOptions = []string{
	"api_type", "api_version", "max_tokens_param", "reasoning_history", "reasoning_summary",
	"verbosity", "organization", "project", "extra_body",
}

// reserved members of the body cannot be set by extra_body.
var reserved = map[string]bool{
	"model": true, "messages": true, "input": true, "tools": true, "stream": true, "stream_options": true, "n": true,
}

func invalid(cfg model.Config, format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "model %s/%s: %s", cfg.Provider, cfg.Model, fmt.Sprintf(format, args...))
}

// check turns a configuration into settings.
func check(cfg model.Config) (*settings, error) {
	s := &settings{query: map[string]string{}, headers: map[string]string{}}
	if cfg.Model == "" {
		return nil, invalid(cfg, "the model's name is missing")
	}
	s.alias = Aliases[cfg.Provider] // the zero Alias is a custom provider
	if _, known := Aliases[cfg.Provider]; !known {
		s.alias.quirks.anySchema = true // nothing is known that it refuses
	}
	o := &optionReader{cfg: cfg, left: map[string]any{}}
	for k, v := range cfg.ProviderOpts {
		o.left[k] = v
	}

	s.api = chatCompletions
	if cfg.Provider == "openai" && isReasoningModel(cfg.Model) {
		s.api = responsesAPI
	}
	if t := o.str("api_type"); t != "" {
		a, ok := apiTypes[t]
		if !ok {
			return nil, invalid(cfg, "unknown api_type %q; known are openai_chatcompletions and openai_responses", t)
		}
		s.api = a
	}
	if err := s.endpoint(cfg, o); err != nil {
		return nil, err
	}
	if v := o.str("organization"); v != "" {
		s.headers["OpenAI-Organization"] = v
	}
	if v := o.str("project"); v != "" {
		s.headers["OpenAI-Project"] = v
	}
	if err := s.body(cfg, o); err != nil {
		return nil, err
	}
	return s, o.finish()
}

// endpoint finds where calls go.
func (s *settings) endpoint(cfg model.Config, o *optionReader) error {
	s.path = "chat/completions"
	if s.api == responsesAPI {
		s.path = "responses"
	}
	s.baseURL = cfg.BaseURL
	if s.baseURL == "" {
		s.baseURL = s.alias.BaseURL
	}
	version := o.str("api_version")
	if s.baseURL == "" {
		return invalid(cfg, "base_url is missing; the provider has no default (known providers are %s)", strings.Join(AliasNames(), ", "))
	}
	u, err := url.Parse(s.baseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return invalid(cfg, "base_url must be an http or https URL without user, query and fragment")
	}
	if cfg.APIKey == "" && s.alias.KeyName != "" && cfg.BaseURL == "" {
		return holdfast.Errorf(holdfast.CodeModelAuth, "model %s/%s: there is no API key; set the secret %s", cfg.Provider, cfg.Model, s.alias.KeyName)
	}
	if !s.alias.quirks.azure {
		if version != "" {
			return invalid(cfg, "api_version belongs to the provider azure")
		}
		return nil
	}
	u = u.JoinPath("/")
	switch {
	case version != "" && s.api == responsesAPI:
		u = u.JoinPath("openai/")
		s.query["api-version"] = version
	case version != "":
		u = u.JoinPath("openai", "deployments", cfg.Model, "/")
		s.query["api-version"] = version
	case u.Path == "/" || u.Path == "":
		u = u.JoinPath("openai", "v1", "/")
	}
	s.baseURL = u.String()
	return nil
}

// body composes what all requests have in common.
func (s *settings) body(cfg model.Config, o *optionReader) error {
	for name, v := range map[string]*float64{
		"temperature": cfg.Temperature, "top_p": cfg.TopP,
		"frequency_penalty": cfg.FrequencyPenalty, "presence_penalty": cfg.PresencePenalty,
	} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			return invalid(cfg, "%s is not a number that can be sent", name)
		}
	}
	b := &model.Object{}
	b.String("model", cfg.Model)
	b.Bool("stream", true)
	q := s.alias.quirks
	maxTokens := q.maxTokens
	switch {
	case s.api == responsesAPI:
		maxTokens = "max_output_tokens"
	case maxTokens != "":
	case isReasoningModel(cfg.Model):
		maxTokens = "max_completion_tokens"
	default:
		maxTokens = "max_tokens"
	}
	switch p := o.str("max_tokens_param"); {
	case p == "":
	case s.api == chatCompletions && (p == "max_tokens" || p == "max_completion_tokens"):
		maxTokens = p
	default:
		return invalid(cfg, "max_tokens_param must be max_tokens or max_completion_tokens, and only chat completions have it")
	}
	if cfg.MaxTokens != nil {
		b.Int(maxTokens, *cfg.MaxTokens)
	}
	b.FloatIf("temperature", cfg.Temperature)
	b.FloatIf("top_p", cfg.TopP)
	effort, err := reasoningEffort(cfg)
	if err != nil {
		return err
	}
	summary, verbosity := o.str("reasoning_summary"), o.str("verbosity")
	if cfg.ParallelToolCalls != nil {
		s.withTools = strconv.AppendBool([]byte(`,"parallel_tool_calls":`), *cfg.ParallelToolCalls)
	}
	s.reasoningHistory = o.str("reasoning_history")
	if h := s.reasoningHistory; h != "" && h != "reasoning_content" && h != "reasoning" {
		return invalid(cfg, "reasoning_history must be reasoning_content or reasoning: the member of assistant messages that carries earlier reasoning back")
	}
	switch s.api {
	case chatCompletions:
		b.FloatIf("frequency_penalty", cfg.FrequencyPenalty)
		b.FloatIf("presence_penalty", cfg.PresencePenalty)
		b.StringIf("reasoning_effort", effort)
		b.StringIf("verbosity", verbosity)
		if summary != "" {
			return invalid(cfg, "reasoning_summary needs api_type openai_responses")
		}
		if track := cfg.TrackUsage == nil || *cfg.TrackUsage; track && !q.noStreamOptions {
			b.Raw("stream_options", []byte(`{"include_usage":true}`))
		}
	case responsesAPI:
		if cfg.FrequencyPenalty != nil || cfg.PresencePenalty != nil {
			return invalid(cfg, "the responses API has neither frequency_penalty nor presence_penalty")
		}
		if s.reasoningHistory != "" {
			return invalid(cfg, "reasoning_history belongs to chat completions")
		}
		s.responsesBody(cfg, b, effort, summary, verbosity)
	}
	if err := s.options(cfg, o, b); err != nil {
		return err
	}
	s.fixed = b.Open()
	return nil
}

func (s *settings) responsesBody(cfg model.Config, b *model.Object, effort, summary, verbosity string) {
	if v, given := cfg.ProviderOpts["store"]; given {
		s.stored = v == true
	} else {
		b.Bool("store", false)
	}
	if effort != "" || summary != "" {
		r := &model.Object{}
		r.StringIf("effort", effort)
		r.StringIf("summary", summary)
		b.Raw("reasoning", r.Close())
	}
	s.reasoning = isReasoningModel(cfg.Model) || effort != "" && effort != "none"
	if s.reasoning {
		b.Raw("include", []byte(`["reasoning.encrypted_content"]`))
	}
	if verbosity != "" {
		s.verbosity = model.AppendString(nil, verbosity)
	}
}

// options adds the provider options that are members of the body.
func (s *settings) options(cfg model.Config, o *optionReader, b *model.Object) error {
	names := make([]string, 0, len(o.left))
	for name := range o.left {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		opt, ok := bodyOptions[name]
		if !ok {
			continue
		}
		v := o.left[name]
		delete(o.left, name)
		member := opt.chat
		if s.api == responsesAPI {
			member = opt.responses
		}
		if name == "seed" && s.alias.quirks.seed != "" {
			member = s.alias.quirks.seed
		}
		switch {
		case member == "":
			return invalid(cfg, "provider option %s does not exist in this API", name)
		case !opt.check(v):
			return invalid(cfg, "provider option %s must be %s", name, opt.want)
		}
		if err := b.Any(member, v); err != nil {
			return invalid(cfg, "provider option %s cannot be sent as JSON", name)
		}
	}
	extra, ok := o.left["extra_body"]
	if !ok {
		return nil
	}
	delete(o.left, "extra_body")
	m, ok := extra.(map[string]any)
	if !ok {
		return invalid(cfg, "provider option extra_body must be a mapping")
	}
	members := make([]string, 0, len(m))
	for name := range m {
		members = append(members, name)
	}
	sort.Strings(members)
	for _, name := range members {
		if reserved[name] || b.Has(name) {
			return invalid(cfg, "provider option extra_body cannot set %s, which is set otherwise", name)
		}
		if err := b.Any(name, m[name]); err != nil {
			return invalid(cfg, "provider option extra_body.%s cannot be sent as JSON", name)
		}
	}
	return nil
}

// efforts are those of the SDK's type ReasoningEffort.
var efforts = map[string]bool{
	"none": true, "minimal": true, "low": true, "medium": true, "high": true, "xhigh": true, "max": true,
}

// reasoningEffort reads Config.ThinkingBudget.
func reasoningEffort(cfg model.Config) (string, error) {
	budget := strings.ToLower(strings.TrimSpace(cfg.ThinkingBudget))
	if budget == "" || efforts[budget] {
		return budget, nil
	}
	tokens, err := strconv.ParseInt(budget, 10, 64)
	switch {
	case err != nil || tokens < -1:
		return "", invalid(cfg, "thinking_budget %q is neither a number of tokens nor one of none, minimal, low, medium, high, xhigh, max", cfg.ThinkingBudget)
	case tokens == -1:
		return "", nil
	case tokens == 0:
		return "none", nil
	case tokens <= 2048:
		return "low", nil
	case tokens <= 8192:
		return "medium", nil
	}
	return "high", nil
}

// optionReader hands out provider options and knows which were not asked for.
type optionReader struct {
	cfg  model.Config
	left map[string]any
	err  error
}

func (o *optionReader) str(name string) string {
	v, ok := o.left[name]
	if !ok {
		return ""
	}
	delete(o.left, name)
	s, ok := v.(string)
	if !ok && o.err == nil {
		o.err = invalid(o.cfg, "provider option %s must be a text", name)
	}
	return s
}

// finish returns the first error, or names an option that nobody knows.
func (o *optionReader) finish() error {
	if o.err != nil || len(o.left) == 0 {
		return o.err
	}
	var unknown []string
	for name := range o.left {
		unknown = append(unknown, name)
	}
	sort.Strings(unknown)
	known := append([]string(nil), ownOptions...)
	for name := range bodyOptions {
		known = append(known, name)
	}
	sort.Strings(known)
	return invalid(o.cfg, "unknown provider option %q; known are %s", unknown[0], strings.Join(known, ", "))
}
