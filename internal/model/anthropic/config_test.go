package anthropic

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func TestGeneration(t *testing.T) {
	for name, want := range map[string]int{
		"claude-opus-4-6": 46, "claude-sonnet-4-5-20250929": 45, "claude-opus-4-20250514": 40, "claude-opus-4-1-20250805": 41,
		"claude-3-7-sonnet-latest": 37, "claude-3-5-haiku-20241022": 35, "claude-3-opus-20240229": 30, "claude-2.1": 21,
		"claude-fable-5-1": 51, "claude-sonnet-5": 50, "anthropic/claude-opus-4.7": 47, "claude-opus-4-8@20260501": 48,
		"claude-mythos-preview": 0, "my-deployment": 0,
	} {
		if got := model.ClaudeGeneration(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestThinking(t *testing.T) {
	for _, c := range []struct{ name, budget, want string }{
		{"claude-sonnet-4-5", "", `{"max_tokens":32000}`},
		{"claude-sonnet-4-5", "none", `{"max_tokens":32000}`},
		{"claude-sonnet-4-5", "low", `{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":2048}}`},
		{"claude-sonnet-4-5", "max", `{"max_tokens":40960,"thinking":{"type":"enabled","budget_tokens":32768}}`},
		{"claude-sonnet-4-5", "4000", `{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":4000}}`},
		{"claude-sonnet-4-5", "-1", "thinking_budget must be at least 1024"},
		{"claude-sonnet-4-5", "1000", "thinking_budget must be at least 1024"},
		{"claude-sonnet-4-5", "64000", "must be less than max_tokens"},
		{"claude-sonnet-4-5", "much", `"much" is neither`},
		{"claude-sonnet-4-5", "-7", `"-7" is neither`},
		{"claude-opus-4-6", "4000", `{"max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":4000}}`},
		{"claude-opus-4-6", "high", `{"max_tokens":32000,"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}`},
		{"claude-opus-4-6", "-1", `{"max_tokens":32000,"thinking":{"type":"adaptive"}}`},
		{"claude-opus-4-8", "4000", `{"max_tokens":32000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"medium"}}`},
		{"claude-opus-4-8", "20000", `{"max_tokens":32000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high"}}`},
		{"claude-opus-4-8", "minimal", `{"max_tokens":32000,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"low"}}`},
		{"claude-opus-4-8", "0", `{"max_tokens":32000}`},
		{"claude-sonnet-5", "0", `{"max_tokens":32000,"thinking":{"type":"disabled"}}`},
		{"claude-sonnet-5", "adaptive", `{"max_tokens":32000,"thinking":{"type":"adaptive","display":"summarized"}}`},
		{"claude-3-5-haiku-latest", "", `{"max_tokens":8192}`},
		{"claude-3-haiku-20240307", "", `{"max_tokens":4096}`},
		{"claude-opus-4-1", "", `{"max_tokens":32000}`},
		{"proxy", "3000", `{"max_tokens":11192,"thinking":{"type":"enabled","budget_tokens":3000}}`},
		{"proxy", "xhigh", `{"max_tokens":8192,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"xhigh"}}`},
	} {
		m, err := New(model.Config{Provider: "anthropic", Model: c.name, APIKey: "k", ThinkingBudget: c.budget}, Options{})
		if err != nil {
			if holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %q: %v, want %s", c.name, c.budget, err, c.want)
			}
			continue
		}
		body, _, err := m.request(&model.Request{})
		if err != nil {
			t.Fatal(err)
		}
		var all, got map[string]json.RawMessage
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		got = map[string]json.RawMessage{}
		for _, k := range []string{"max_tokens", "thinking", "output_config"} {
			if v, ok := all[k]; ok {
				got[k] = v
			}
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Errorf("%s %q: %s, want %s", c.name, c.budget, body, c.want)
			continue
		}
		if g, w := compact(t, got), compact(t, want); g != w {
			t.Errorf("%s %q: %s, want %s", c.name, c.budget, g, w)
		}
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRefusedConfigurations(t *testing.T) {
	half := 0.5
	for _, c := range []struct {
		cfg  model.Config
		code holdfast.Code
		says string
	}{
		{model.Config{Model: "claude-opus-4-6"}, holdfast.CodeModelAuth, KeyName},
		{model.Config{APIKey: "k"}, holdfast.CodeInvalid, "name is missing"},
		{model.Config{Model: "m", BaseURL: "ftp://x"}, holdfast.CodeInvalid, "base_url"},
		{model.Config{Model: "m", BaseURL: "https://u:p@x"}, holdfast.CodeInvalid, "base_url"},
		{model.Config{Model: "m", APIKey: "k", PresencePenalty: &half}, holdfast.CodeInvalid, "presence_penalty"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"cash": true}}, holdfast.CodeInvalid, `unknown provider option "cash"; known are auth, betas, cache,`},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"cache": "yes"}}, holdfast.CodeInvalid, "cache must be true or false"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"cache_ttl": "2h"}}, holdfast.CodeInvalid, "cache_ttl must be one of 5m, 1h"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"headers": map[string]any{"x-api-KEY": "z"}}}, holdfast.CodeInvalid, "x-api-KEY"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"headers": map[string]any{"X": "a\nb"}}}, holdfast.CodeInvalid, "headers"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"extra_body": map[string]any{"stream": false}}}, holdfast.CodeInvalid, "stream"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"betas": []any{1}}}, holdfast.CodeInvalid, "betas"},
		{model.Config{Model: "m", APIKey: "k", ProviderOpts: map[string]any{"top_k": "x"}}, holdfast.CodeInvalid, "top_k must be a number"},
	} {
		c.cfg.Provider = "anthropic"
		_, err := New(c.cfg, Options{})
		if holdfast.CodeOf(err) != c.code || !strings.Contains(holdfast.PublicMessage(err), c.says) {
			t.Errorf("%+v: %v, want %s %q", c.cfg, err, c.code, c.says)
		}
	}
}

func TestHeaders(t *testing.T) {
	stream := modeltest.Streams(t, every)["testdata/messages/text.txtar"]
	for auth, want := range map[string]string{"api_key": "k/", "bearer": "/Bearer k"} {
		client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
			if got := r.Header.Get("X-Api-Key") + "/" + r.Header.Get("Authorization"); got != want {
				t.Errorf("auth %s: %q, want %q", auth, got, want)
			}
			return answering(stream).Transport.RoundTrip(r)
		})}
		m, err := New(model.Config{Provider: "p", Model: "m", APIKey: "k", ProviderOpts: map[string]any{"auth": auth}}, Options{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		var a modeltest.Answer
		if err := m.Stream(t.Context(), modeltest.Hello(), a.Add); err != nil || a.Text != "Hello!" {
			t.Errorf("%v %+v", err, a)
		}
	}
}

// TestNoKeyToAnotherOrigin: a redirect must not carry the key away.
func TestNoKeyToAnotherOrigin(t *testing.T) {
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "x.test" {
			t.Errorf("a request to %s, key %q", r.URL.Host, r.Header.Get("X-Api-Key"))
		}
		return &http.Response{
			StatusCode: http.StatusTemporaryRedirect, Request: r, Body: http.NoBody,
			Header: http.Header{"Location": {"https://elsewhere.test/v1/messages"}},
		}, nil
	})}
	err := local(t, client).Stream(t.Context(), modeltest.Hello(), nil)
	if holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "another address") {
		t.Error(err)
	}
}

// TestEnvironmentIsIgnored: the process's environment belongs to no tenant.
func TestEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("ANTHROPIC_BASE_URL", "http://elsewhere.test")
	t.Setenv("ANTHROPIC_API_KEY", "of-the-operator")
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "of-the-operator")
	t.Setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Operator: secret")
	stream := modeltest.Streams(t, every)["testdata/messages/text.txtar"]
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "x.test" || r.Header.Get("X-Api-Key")+r.Header.Get("Authorization")+r.Header.Get("X-Operator") != "" {
			t.Errorf("a request to %s with %v", r.URL, r.Header)
		}
		return answering(stream).Transport.RoundTrip(r)
	})}
	var a modeltest.Answer
	if err := local(t, client).Stream(t.Context(), modeltest.Hello(), a.Add); err != nil {
		t.Error(err)
	}
}
