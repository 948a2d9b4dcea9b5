package bedrock_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/bedrock"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

// every is the pattern of all recordings.
const every = "testdata/*/*.txtar"

const framesType = "application/vnd.amazon.eventstream"

// answering is a client that gets the same events, in frames, for every request.
func answering(stream []byte) *http.Client { return framed(modeltest.Answering(framesType, stream)) }

func local(t testing.TB, client *http.Client) *bedrock.Model {
	t.Helper()
	m, err := bedrock.New(model.Config{
		Provider: "amazon-bedrock", Model: "m", BaseURL: "http://x.test", APIKey: "k", MaxRetries: -1,
	}, bedrock.Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sdkClient(client *http.Client) *bedrockruntime.Client {
	return bedrockruntime.New(bedrockruntime.Options{
		Region: "eu-central-1", HTTPClient: client, BaseEndpoint: aws.String("http://x.test"),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}, nil
		}),
	})
}

// TestStreamsAgainstSDK decodes every recorded stream here and by the SDK.
func TestStreamsAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range modeltest.Streams(t, every) {
		var got modeltest.Answer
		if err := local(t, answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue // what the SDK makes of broken streams is not the measure
		}
		res, err := sdkClient(answering(stream)).ConverseStream(t.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String("m")})
		if err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
			continue
		}
		want := modeltest.Answer{Chunks: got.Chunks, Opaque: got.Opaque, Model: got.Model}
		thoughts := map[int32]string{}
		var order []int32
		var reason types.StopReason
		for e := range res.GetStream().Events() {
			switch e := e.(type) {
			case *types.ConverseStreamOutputMemberContentBlockStart:
				if s, ok := e.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
					want.ToolCalls = append(want.ToolCalls, holdfast.NewToolCall(*s.Value.ToolUseId, *s.Value.Name, ""))
				}
			case *types.ConverseStreamOutputMemberContentBlockDelta:
				switch d := e.Value.Delta.(type) {
				case *types.ContentBlockDeltaMemberText:
					want.Text += d.Value
				case *types.ContentBlockDeltaMemberToolUse:
					want.ToolCalls[len(want.ToolCalls)-1].Function.Arguments += *d.Value.Input
				case *types.ContentBlockDeltaMemberReasoningContent:
					if r, ok := d.Value.(*types.ReasoningContentBlockDeltaMemberText); ok {
						if _, seen := thoughts[*e.Value.ContentBlockIndex]; !seen {
							order = append(order, *e.Value.ContentBlockIndex)
						}
						thoughts[*e.Value.ContentBlockIndex] += r.Value
					}
				}
			case *types.ConverseStreamOutputMemberMessageStop:
				reason = e.Value.StopReason
			case *types.ConverseStreamOutputMemberMetadata:
				u := e.Value.Usage
				want.Usage = &model.Usage{
					InputTokens:  int64(*u.InputTokens + aws.ToInt32(u.CacheReadInputTokens) + aws.ToInt32(u.CacheWriteInputTokens)),
					OutputTokens: int64(*u.OutputTokens), CachedInputTokens: int64(aws.ToInt32(u.CacheReadInputTokens)),
					CacheWriteTokens: int64(aws.ToInt32(u.CacheWriteInputTokens)),
				}
			}
		}
		if err := res.GetStream().Err(); err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
		}
		for i, index := range order {
			if i > 0 {
				want.Reasoning += "\n\n"
			}
			want.Reasoning += thoughts[index]
		}
		for i := range want.ToolCalls {
			if a := &want.ToolCalls[i].Function.Arguments; *a == "" {
				*a = "{}"
			}
		}
		want.Finish = map[types.StopReason]string{
			types.StopReasonEndTurn: "stop", types.StopReasonToolUse: "tool_calls", types.StopReasonMaxTokens: "length",
			types.StopReasonGuardrailIntervened: "content_filter",
		}[reason]
		if filepath.Base(name) == "options.txtar" {
			want.ToolCalls = want.ToolCalls[:len(got.ToolCalls)] // recorded for a model that is asked for one call at a time
			got.ToolCalls = got.ToolCalls[:len(want.ToolCalls)]
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-SDK +ours)\n%s", name, d)
		}
		compared++
	}
	if compared < 18 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// TestRequestAgainstSDK has the SDK send what the richest recordings hold.
func TestRequestAgainstSDK(t *testing.T) {
	point := types.CachePointBlock{Type: types.CachePointTypeDefault}
	text := func(s string) types.ContentBlock { return &types.ContentBlockMemberText{Value: s} }
	schema := func(s string) types.ToolInputSchema {
		var v map[string]any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatal(err)
		}
		return &types.ToolInputSchemaMemberJson{Value: document.NewLazyDocument(v)}
	}
	call := func(id, name string, args map[string]any) types.ContentBlock {
		return &types.ContentBlockMemberToolUse{Value: types.ToolUseBlock{ToolUseId: &id, Name: &name, Input: document.NewLazyDocument(args)}}
	}
	result := func(id, s string, status types.ToolResultStatus) types.ContentBlock {
		return &types.ContentBlockMemberToolResult{Value: types.ToolResultBlock{
			ToolUseId: &id, Status: status, Content: []types.ToolResultContentBlock{&types.ToolResultContentBlockMemberText{Value: s}},
		}}
	}
	tools := []types.Tool{
		&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String("get_weather"), Description: aws.String("The weather of a city now."),
			InputSchema: schema(string(modeltest.Tools()[0].Parameters)),
		}},
		&types.ToolMemberToolSpec{Value: types.ToolSpecification{
			Name: aws.String("get_time"), Description: aws.String("The time now."), InputSchema: schema(`{"type":"object","properties":{}}`),
		}},
	}
	id := aws.String(sonnet)
	for file, in := range map[string]*bedrockruntime.ConverseStreamInput{
		"testdata/converse/history.txtar": {
			ModelId:    id,
			System:     []types.SystemContentBlock{&types.SystemContentBlockMemberText{Value: "You are terse."}, &types.SystemContentBlockMemberCachePoint{Value: point}},
			ToolConfig: &types.ToolConfiguration{Tools: append(tools[:2:2], &types.ToolMemberCachePoint{Value: point})},
			Messages: []types.Message{
				{Role: types.ConversationRoleUser, Content: []types.ContentBlock{text("Weather and time in Oslo?")}},
				{Role: types.ConversationRoleAssistant, Content: []types.ContentBlock{
					&types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberReasoningText{Value: types.ReasoningTextBlock{
						Text: aws.String("Two calls will do."), Signature: aws.String("EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
					}}},
					text("Let me look."),
					call("call_a", "get_weather", map[string]any{"city": "Oslo"}),
					&types.ContentBlockMemberReasoningContent{Value: &types.ReasoningContentBlockMemberRedactedContent{Value: []byte("EmwKAhgB")}},
					call("call_b", "get_time", map[string]any{}),
				}},
				{Role: types.ConversationRoleUser, Content: []types.ContentBlock{
					result("call_a", "12 \"degrees\"\nand <rain> & \x01 ☔", ""), result("call_b", "the clock is broken", types.ToolResultStatusError),
					&types.ContentBlockMemberCachePoint{Value: point},
				}},
				{Role: types.ConversationRoleAssistant, Content: []types.ContentBlock{text("It is 12 degrees.")}},
				{Role: types.ConversationRoleUser, Content: []types.ContentBlock{text("Thanks. Bye."), &types.ContentBlockMemberCachePoint{Value: point}}},
			},
		},
		"testdata/more/options.txtar": {
			ModelId:    id,
			Messages:   []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{text("Weather in Oslo?")}}},
			ToolConfig: &types.ToolConfiguration{Tools: tools},
			AdditionalModelRequestFields: document.NewLazyDocument(map[string]any{
				"thinking": map[string]any{"type": "enabled", "budget_tokens": 2048}, "anthropic_beta": []string{"interleaved-thinking-2025-05-14"}, "top_k": 40,
			}),
			InferenceConfig:   &types.InferenceConfiguration{StopSequences: []string{"END"}},
			GuardrailConfig:   &types.GuardrailStreamConfiguration{GuardrailIdentifier: aws.String("g"), GuardrailVersion: aws.String("1")},
			RequestMetadata:   map[string]string{"team": "blue"},
			PerformanceConfig: &types.PerformanceConfiguration{Latency: types.PerformanceConfigLatencyOptimized},
			ServiceTier:       &types.ServiceTier{Type: types.ServiceTierTypeFlex},
		},
		"testdata/converse/structured-output.txtar": {
			ModelId:  id,
			Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{text("Oslo?"), &types.ContentBlockMemberCachePoint{Value: point}}}},
			OutputConfig: &types.OutputConfig{TextFormat: &types.OutputFormat{
				Type: types.OutputFormatTypeJsonSchema, Structure: &types.OutputFormatStructureMemberJsonSchema{Value: types.JsonSchemaDefinition{
					Name: aws.String("city_info"), Description: aws.String("A city."),
					Schema: aws.String(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}`),
				}},
			}},
		},
		"testdata/more/image.txtar": {
			ModelId: id,
			Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{
				text("What is this?"),
				&types.ContentBlockMemberImage{Value: types.ImageBlock{Format: types.ImageFormatPng, Source: &types.ImageSourceMemberBytes{Value: []byte("\x89PNG\r\n\x1a\n")}}},
				text("And this?"), &types.ContentBlockMemberCachePoint{Value: point},
			}}},
		},
	} {
		rec := modeltest.Recordings(t, every)[file].Exchanges[0]
		sent := errors.New("that is all")
		seen := false
		client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
			seen = true
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if r.Method != rec.Method || r.URL.RequestURI() != rec.Path {
				t.Errorf("%s: the SDK sends %s %s, we %s %s", file, r.Method, r.URL.RequestURI(), rec.Method, rec.Path)
			}
			var want, got any
			if err := errors.Join(json.Unmarshal(body, &want), json.Unmarshal(rec.Body, &got)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-SDK +ours)\n%s", file, d)
			}
			return nil, sent
		})}
		c := sdkClient(client)
		if _, err := c.ConverseStream(t.Context(), in, func(o *bedrockruntime.Options) { o.RetryMaxAttempts = 1 }); err == nil || !seen {
			t.Errorf("%s: nothing was sent: %v", file, err)
		}
	}
}

// FuzzStream feeds the decoder with anything in frames.
func FuzzStream(f *testing.F) {
	modeltest.FuzzStream(f, every, nil, func(t testing.TB, stream []byte) model.Model { return local(t, answering(stream)) })
}
