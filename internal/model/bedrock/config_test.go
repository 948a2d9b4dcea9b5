package bedrock

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func TestRefusedConfigurations(t *testing.T) {
	half := 0.5
	opts := func(name string, v any) model.Config {
		return model.Config{Model: "anthropic.claude-opus-4-6-v1", APIKey: "k", ProviderOpts: map[string]any{"region": "eu-central-1", name: v}}
	}
	for _, c := range []struct {
		cfg  model.Config
		code holdfast.Code
		says string
	}{
		{model.Config{APIKey: "k"}, holdfast.CodeInvalid, "name is missing"},
		{model.Config{Model: "m", APIKey: "k"}, holdfast.CodeInvalid, "region is missing"},
		{model.Config{Model: "m", BaseURL: "http://x"}, holdfast.CodeInvalid, "region is missing"},
		{model.Config{Model: "m", ProviderOpts: map[string]any{"region": "us-east-1"}}, holdfast.CodeModelAuth, KeyName},
		{opts("region", "evil.example/x-1"), holdfast.CodeInvalid, "not the name of a region"},
		{opts("profile", "default"), holdfast.CodeInvalid, "profiles are files of the machine"},
		{opts("frobnicate", 1), holdfast.CodeInvalid, `unknown provider option "frobnicate"`},
		{opts("latency", "low"), holdfast.CodeInvalid, "latency must be one of"},
		{model.Config{Model: "m", APIKey: "k", FrequencyPenalty: &half}, holdfast.CodeInvalid, "frequency_penalty"},
		{model.Config{Model: "amazon.nova-lite-v1:0", APIKey: "k", ThinkingBudget: "high", ProviderOpts: map[string]any{"region": "us-east-1"}}, holdfast.CodeInvalid, "additional_model_request_fields"},
		{model.Config{Model: "anthropic.claude-opus-4-6-v1", APIKey: "k", ThinkingBudget: "high", ProviderOpts: map[string]any{
			"region": "us-east-1", "additional_model_request_fields": map[string]any{"thinking": 1},
		}}, holdfast.CodeInvalid, "twice"},
	} {
		c.cfg.Provider = "amazon-bedrock"
		_, err := New(c.cfg, Options{})
		if holdfast.CodeOf(err) != c.code || !strings.Contains(holdfast.PublicMessage(err), c.says) {
			t.Errorf("%+v: %v, want %s %q", c.cfg, err, c.code, c.says)
		}
	}
}

func TestCachePoints(t *testing.T) {
	for _, c := range []struct {
		name                     string
		cache                    any
		system, messages, inTool bool
	}{
		{"anthropic.claude-sonnet-4-5-20250929-v1:0", nil, true, true, true},
		{"anthropic.claude-sonnet-4-5-20250929-v1:0", false, false, false, false},
		{"us.amazon.nova-pro-v1:0", nil, true, true, false},
		{"meta.llama3-1-70b-instruct-v1:0", nil, false, false, false},
		{"my-provisioned-claude", true, true, true, true},
		{"anthropic.claude-3-haiku-20240307-v1:0", nil, false, false, false},
	} {
		opts := map[string]any{"region": "eu-central-1"}
		if c.cache != nil {
			opts["cache"] = c.cache
		}
		m, err := New(model.Config{Provider: "p", Model: c.name, APIKey: "k", ProviderOpts: opts}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.request(&model.Request{
			Messages: []holdfast.Message{{Role: holdfast.RoleSystem, Content: "s"}, {Role: holdfast.RoleUser, Content: "u"}},
			Tools:    []model.Tool{{Name: "f"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			System     []map[string]json.RawMessage
			Messages   []struct{ Content []map[string]json.RawMessage }
			ToolConfig struct{ Tools []map[string]json.RawMessage }
		}
		if err := json.Unmarshal(b, &body); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		last := func(l []map[string]json.RawMessage) bool { _, ok := l[len(l)-1]["cachePoint"]; return ok }
		if got := []bool{last(body.System), last(body.Messages[0].Content), last(body.ToolConfig.Tools)}; got[0] != c.system || got[1] != c.messages || got[2] != c.inTool {
			t.Errorf("%s %v: cache points %v", c.name, c.cache, got)
		}
	}
}

// TestSignature: with an access key the request is signed for the region, and
// nothing of the environment is used.
func TestSignature(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "of-the-operator")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-the-operator")
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-operator")
	t.Setenv("AWS_REGION", "us-west-2")
	calls := 0
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		calls++
		auth := r.Header.Get("Authorization")
		if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(auth, "/cn-north-1/bedrock/aws4_request") ||
			!strings.Contains(auth, "host;") || r.Header.Get("X-Amz-Security-Token") != "session" || r.Header.Get("X-Amz-Date") == "" {
			t.Errorf("headers %v", r.Header)
		}
		if r.URL.String() != "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/m%3A0/converse-stream" {
			t.Errorf("address %s", r.URL)
		}
		return &http.Response{StatusCode: http.StatusForbidden, Request: r, Header: http.Header{"X-Amzn-Errortype": {"InvalidSignatureException"}}, Body: io.NopCloser(strings.NewReader(`{"message":"no AKIDEXAMPLE"}`))}, nil
	})}
	m, err := New(model.Config{Provider: "amazon-bedrock", Model: "m:0", ProviderOpts: map[string]any{"region": "cn-north-1"}},
		Options{HTTPClient: client, Credentials: Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Stream(t.Context(), model.Request{}, nil)
	if holdfast.CodeOf(err) != holdfast.CodeModelAuth || calls != 1 || strings.Contains(err.Error(), "AKIDEXAMPLE") {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// TestNoKeyToAnotherOrigin: a redirect must not carry the key away.
func TestNoKeyToAnotherOrigin(t *testing.T) {
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "x.test" {
			t.Errorf("a request to %s", r.URL)
		}
		return &http.Response{StatusCode: http.StatusTemporaryRedirect, Request: r, Body: http.NoBody, Header: http.Header{"Location": {"https://elsewhere.test/"}}}, nil
	})}
	m, err := New(model.Config{Provider: "p", Model: "m", APIKey: "k", BaseURL: "http://x.test"}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Stream(context.Background(), model.Request{}, nil); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Error(err)
	}
}

// TestFrames: lengths that cannot be, checksums that are wrong and streams that
// end too soon are told apart.
func TestFrames(t *testing.T) {
	var good bytes.Buffer
	var h eventstream.Headers
	h.Set(":message-type", eventstream.StringValue("event"))
	h.Set(":event-type", eventstream.StringValue("messageStart"))
	if err := eventstream.NewEncoder().Encode(&good, eventstream.Message{Headers: h, Payload: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	prelude := func(length, headers uint32) []byte {
		b := binary.BigEndian.AppendUint32(nil, length)
		b = binary.BigEndian.AppendUint32(b, headers)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	}
	spoilt := bytes.Clone(good.Bytes())
	spoilt[len(spoilt)-5] ^= 1
	var unreadable *model.UnreadableError
	for name, c := range map[string]struct {
		in []byte
		ok func(error) bool
	}{
		"nothing":          {nil, func(err error) bool { return err == io.EOF }},
		"cut in lengths":   {good.Bytes()[:5], func(err error) bool { return err == io.ErrUnexpectedEOF }},
		"cut in payload":   {good.Bytes()[:good.Len()-3], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"wrong checksum":   {spoilt, func(err error) bool { return errors.As(err, &unreadable) }},
		"too short":        {prelude(15, 0), func(err error) bool { return errors.As(err, &unreadable) }},
		"headers too long": {prelude(100, 99), func(err error) bool { return errors.As(err, &unreadable) }},
		"too long":         {prelude(1<<31, 0), func(err error) bool { return err == model.ErrEventTooLong }},
	} {
		if _, _, err := newFrames(bytes.NewReader(c.in)).Next(); !c.ok(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := newFrames(io.MultiReader(bytes.NewReader(good.Bytes()), bytes.NewReader(good.Bytes())))
	for range 2 {
		if name, data, err := f.Next(); err != nil || string(name) != "messageStart" || string(data) != "{}" {
			t.Errorf("%s %s %v", name, data, err)
		}
	}
	var failed bytes.Buffer
	h = nil
	h.Set(":message-type", eventstream.StringValue("error"))
	h.Set(":error-code", eventstream.StringValue("InternalFailure"))
	h.Set(":error-message", eventstream.StringValue("it broke"))
	if err := eventstream.NewEncoder().Encode(&failed, eventstream.Message{Headers: h}); err != nil {
		t.Fatal(err)
	}
	if name, data, err := newFrames(&failed).Next(); err != nil || string(name) != "exception:InternalFailure" || string(data) != `{"message":"it broke"}` {
		t.Errorf("%s %s %v", name, data, err)
	}
}

func TestConversations(t *testing.T) {
	user := func(s string) holdfast.Message { return holdfast.Message{Role: holdfast.RoleUser, Content: s} }
	call := holdfast.Message{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("a:1", "f", "")}}
	result := holdfast.Message{Role: holdfast.RoleTool, ToolCallID: "a:1"}
	m, err := New(model.Config{Provider: "p", Model: "m", APIKey: "k", BaseURL: "http://x.test"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.request(&model.Request{Messages: []holdfast.Message{user("a"), {Role: holdfast.RoleAssistant}, user("b"), call, result, user(" "), user("c")}})
	const want = `{"messages":[{"role":"user","content":[{"text":"a"},{"text":"b"}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"a_1","name":"f","input":{}}}]},` +
		`{"role":"user","content":[{"toolResult":{"toolUseId":"a_1","content":[{"text":"(no output)"}]}},{"text":"c"}]}],` +
		`"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"Not available any more.","inputSchema":{"json":{"type":"object","properties":{}}}}}]}}`
	if err != nil || string(b) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b, want)
	}
	picture := user("x")
	picture.Parts = []holdfast.ContentPart{{Type: "image_url", ImageURL: &holdfast.ImageURL{URL: "https://x.test/a.png"}}}
	if _, err := m.request(&model.Request{Messages: []holdfast.Message{picture}}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Errorf("an image by address: %v", err)
	}
}
