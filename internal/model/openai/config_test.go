package openai

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// sent returns the body of a request with a configuration.
func sent(t *testing.T, cfg model.Config) (url string, body map[string]any) {
	t.Helper()
	m, err := New(cfg, Options{HTTPClient: &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		url = r.URL.String()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		return nil, errors.Join(errSeen, json.Unmarshal(b, &body))
	})}})
	if err != nil {
		t.Fatal(err)
	}
	req := model.Request{Tools: []model.Tool{{Name: "t"}}}
	if err := m.Stream(t.Context(), req, nil); !errors.Is(err, errSeen) {
		t.Fatal(err)
	}
	return url, body
}

var errSeen = holdfast.Errorf(holdfast.CodeForbidden, "the request has been seen")

// TestNothingFromTheEnvironment: the environment belongs to the process, not to
// the tenant.
func TestNothingFromTheEnvironment(t *testing.T) {
	for _, name := range []string{"OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"} {
		t.Setenv(name, "sk-of-the-operator")
	}
	t.Setenv("OPENAI_BASE_URL", "https://operator.example.com/v1")
	t.Setenv("OPENAI_CUSTOM_HEADERS", "X-Operator: sk-of-the-operator")
	if _, err := New(model.Config{Provider: "openai", Model: "gpt-4o"}, Options{}); holdfast.CodeOf(err) != holdfast.CodeModelAuth ||
		!strings.Contains(holdfast.PublicMessage(err), "OPENAI_API_KEY") {
		t.Errorf("without a key: %v", err)
	}
	for _, key := range []string{"", "sk-of-the-tenant"} {
		m, err := New(model.Config{Provider: "openai", Model: "gpt-4o", BaseURL: "https://tenant.example.com", APIKey: key}, Options{
			HTTPClient: &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host != "tenant.example.com" {
					t.Errorf("the call goes to %s", r.URL.Host)
				}
				for name, values := range r.Header {
					if strings.Contains(strings.Join(values, " "), "operator") {
						t.Errorf("header %s is of the operator", name)
					}
				}
				return nil, errSeen
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Stream(t.Context(), model.Request{}, nil); !errors.Is(err, errSeen) {
			t.Error(err)
		}
	}
}

func TestParameters(t *testing.T) {
	tokens, half := int64(7), 0.5
	for _, tc := range []struct {
		name string
		cfg  model.Config
		url  string
		want string // members beside model, stream, messages or input, tools, stream_options, store, include
	}{
		{"nothing given", model.Config{Model: "gpt-4o"}, "https://api.openai.com/v1/chat/completions", `{}`},
		{"responses by name", model.Config{Model: "gpt-5.1-codex-max"}, "https://api.openai.com/v1/responses", `{}`},
		{"chat by name", model.Config{Model: "gpt-5-chat-latest"}, "https://api.openai.com/v1/chat/completions", `{}`},
		{"o3", model.Config{Model: "o3-pro", MaxTokens: &tokens}, "https://api.openai.com/v1/responses", `{"max_output_tokens":7}`},
		{"chat by choice", model.Config{Model: "gpt-5", MaxTokens: &tokens, ProviderOpts: map[string]any{"api_type": "openai_chatcompletions"}}, "https://api.openai.com/v1/chat/completions", `{"max_completion_tokens":7}`},
		{"responses by choice", model.Config{Provider: "custom", Model: "m", BaseURL: "https://x.test", ProviderOpts: map[string]any{"api_type": "responses"}}, "https://x.test/responses", `{}`},
		{"max_tokens elsewhere", model.Config{Provider: "requesty", Model: "anthropic/claude", MaxTokens: &tokens}, "https://router.requesty.ai/v1/chat/completions", `{"max_tokens":7}`},
		{"max_completion_tokens elsewhere", model.Config{Provider: "requesty", Model: "openai/gpt-5", MaxTokens: &tokens}, "https://router.requesty.ai/v1/chat/completions", `{"max_completion_tokens":7}`},
		{"max_tokens by choice", model.Config{Model: "gpt-4o", MaxTokens: &tokens, ProviderOpts: map[string]any{"max_tokens_param": "max_tokens"}}, "https://api.openai.com/v1/chat/completions", `{"max_tokens":7}`},
		{"sampling", model.Config{Model: "gpt-4o", Temperature: &half, TopP: &half, FrequencyPenalty: &half, PresencePenalty: &half}, "https://api.openai.com/v1/chat/completions", `{"temperature":0.5,"top_p":0.5,"frequency_penalty":0.5,"presence_penalty":0.5}`},
		{"options", model.Config{Model: "gpt-4o", ProviderOpts: map[string]any{
			"seed": 3, "stop": []any{"a", "b"}, "service_tier": "flex", "verbosity": "low", "store": true, "metadata": map[string]any{"a": "b"},
			"prompt_cache_key": "k", "logit_bias": map[string]any{"1": -100}, "extra_body": map[string]any{"top_a": 0.1, "chat_template_kwargs": map[string]any{"x": true}},
		}}, "https://api.openai.com/v1/chat/completions", `{"seed":3,"stop":["a","b"],"service_tier":"flex","verbosity":"low","store":true,"metadata":{"a":"b"},
			"prompt_cache_key":"k","logit_bias":{"1":-100},"top_a":0.1,"chat_template_kwargs":{"x":true}}`},
		{
			"options of responses",
			model.Config{Model: "gpt-5", ThinkingBudget: "HIGH", ProviderOpts: map[string]any{"reasoning_summary": "auto", "verbosity": "low", "truncation": "auto"}},
			"https://api.openai.com/v1/responses", `{"reasoning":{"effort":"high","summary":"auto"},"text":{"verbosity":"low"},"truncation":"auto"}`,
		},
		{
			"dmr",
			model.Config{Provider: "dmr", Model: "ai/qwen3", ProviderOpts: map[string]any{"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.1, "typical_p": 1}},
			"http://localhost:12434/engines/v1/chat/completions", `{"top_k":4,"min_p":0.1,"repetition_penalty":1.1,"typical_p":1}`,
		},
		{"azure with a path", model.Config{Provider: "azure", Model: "d", BaseURL: "https://r.openai.azure.com/openai/v1"}, "https://r.openai.azure.com/openai/v1/chat/completions", `{}`},
		{
			"azure responses with a version",
			model.Config{Provider: "azure", Model: "d", BaseURL: "https://r.openai.azure.com", ProviderOpts: map[string]any{"api_type": "responses", "api_version": "2025-04-01-preview"}},
			"https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview", `{}`,
		},
		{"thinking off", model.Config{Provider: "ollama", Model: "m", ThinkingBudget: "0"}, "http://localhost:11434/v1/chat/completions", `{"reasoning_effort":"none"}`},
		{"thinking as it likes", model.Config{Provider: "ollama", Model: "m", ThinkingBudget: "-1"}, "http://localhost:11434/v1/chat/completions", `{}`},
		{"thinking in tokens", model.Config{Provider: "ollama", Model: "m", ThinkingBudget: "8000"}, "http://localhost:11434/v1/chat/completions", `{"reasoning_effort":"medium"}`},
		{"much thinking", model.Config{Provider: "ollama", Model: "m", ThinkingBudget: "32000"}, "http://localhost:11434/v1/chat/completions", `{"reasoning_effort":"high"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.cfg.Provider == "" {
				tc.cfg.Provider = "openai"
			}
			tc.cfg.APIKey = "k"
			url, body := sent(t, tc.cfg)
			if url != tc.url {
				t.Errorf("the call goes to %s, want %s", url, tc.url)
			}
			if body["model"] != tc.cfg.Model || body["stream"] != true {
				t.Errorf("model %v, stream %v", body["model"], body["stream"])
			}
			for _, name := range []string{"model", "stream", "messages", "input", "tools", "stream_options", "include"} {
				delete(body, name)
			}
			if body["store"] == false {
				delete(body, "store")
			}
			got, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			wanted, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(wanted) {
				t.Errorf("body has %s, want %s", got, wanted)
			}
		})
	}
}

func TestRefusedConfigurations(t *testing.T) {
	nan, half := math.NaN(), 0.5
	opts := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	for _, tc := range []struct {
		cfg  model.Config
		want string
	}{
		{model.Config{}, "name is missing"},
		{model.Config{Provider: "nobody", Model: "m"}, "base_url is missing; the provider has no default (known providers are " + strings.Join(AliasNames(), ", ") + ")"},
		{model.Config{Provider: "azure", Model: "m"}, "base_url is missing"},
		{model.Config{Model: "m", BaseURL: "ftp://x"}, "base_url must be"},
		{model.Config{Model: "m", BaseURL: "https://"}, "base_url must be"},
		{model.Config{Model: "m", BaseURL: "https://user:pw@x"}, "base_url must be"},
		{model.Config{Model: "m", BaseURL: "https://x?key=1"}, "base_url must be"},
		{model.Config{Model: "m", Temperature: &nan}, "temperature is not a number"},
		{model.Config{Model: "m", ThinkingBudget: "lots"}, `thinking_budget "lots"`},
		{model.Config{Model: "m", ThinkingBudget: "-2"}, `thinking_budget "-2"`},
		{model.Config{Model: "m", ProviderOpts: opts("tempature", 1)}, `unknown provider option "tempature"; known are api_type, api_version`},
		{model.Config{Model: "m", ProviderOpts: opts("api_type", "grpc")}, `unknown api_type "grpc"`},
		{model.Config{Model: "m", ProviderOpts: opts("api_type", 1)}, "api_type must be a text"},
		{model.Config{Model: "m", ProviderOpts: opts("api_version", "1")}, "belongs to the provider azure"},
		{model.Config{Model: "m", ProviderOpts: opts("seed", "x")}, "seed must be a number"},
		{model.Config{Model: "m", ProviderOpts: opts("stop", []any{1})}, "stop must be a text or a list"},
		{model.Config{Model: "gpt-5", ProviderOpts: opts("seed", 1)}, "seed does not exist in this API"},
		{model.Config{Model: "gpt-5", ProviderOpts: opts("max_tokens_param", "max_tokens")}, "only chat completions have it"},
		{model.Config{Model: "m", ProviderOpts: opts("max_tokens_param", "tokens")}, "max_tokens_param must be"},
		{model.Config{Model: "gpt-5", FrequencyPenalty: &half}, "neither frequency_penalty"},
		{model.Config{Model: "gpt-5", ProviderOpts: opts("reasoning_history", "reasoning")}, "belongs to chat completions"},
		{model.Config{Model: "m", ProviderOpts: opts("reasoning_history", "thoughts")}, "reasoning_history must be"},
		{model.Config{Model: "m", ProviderOpts: opts("reasoning_summary", "auto")}, "needs api_type openai_responses"},
		{model.Config{Model: "m", ProviderOpts: opts("extra_body", 1)}, "extra_body must be a mapping"},
		{model.Config{Model: "m", ProviderOpts: opts("extra_body", map[string]any{"messages": 1})}, "cannot set messages"},
		{model.Config{Model: "m", Temperature: &half, ProviderOpts: opts("extra_body", map[string]any{"temperature": 1})}, "cannot set temperature"},
	} {
		if tc.cfg.Provider == "" {
			tc.cfg.Provider = "openai"
		}
		tc.cfg.APIKey = "k"
		_, err := New(tc.cfg, Options{})
		if holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.PublicMessage(err), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.cfg, err, tc.want)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	for _, api := range []string{"chat_completions", "responses"} {
		m, err := New(model.Config{Provider: "custom", Model: "m", BaseURL: "http://x.test", ProviderOpts: map[string]any{"api_type": api}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range []model.Request{
			{Tools: []model.Tool{{Name: "t", Parameters: json.RawMessage(`{"a"`)}}},
			{StructuredOutput: &model.StructuredOutput{Schema: json.RawMessage(`{`)}},
			{Messages: []holdfast.Message{{Role: holdfast.RoleAssistant, Content: "c", Parts: []holdfast.ContentPart{{Type: "image_url"}}}}},
		} {
			if err := m.Stream(t.Context(), req, nil); holdfast.CodeOf(err) != holdfast.CodeInvalid {
				t.Errorf("%s: %v", api, err)
			}
		}
	}
}

func TestAliases(t *testing.T) {
	for _, name := range AliasNames() {
		a := Aliases[name]
		if !strings.HasPrefix(a.Source, "https://") {
			t.Errorf("%s: say where the facts come from", name)
		}
		cfg := model.Config{Provider: name, Model: "m", APIKey: "k"}
		if a.BaseURL == "" {
			cfg.BaseURL = "https://x.test"
		}
		if _, err := New(cfg, Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cfg.APIKey = ""
		if _, err := New(cfg, Options{}); (err == nil) != (a.KeyName == "" || cfg.BaseURL != "") {
			t.Errorf("%s without a key: %v", name, err)
		}
	}
}
