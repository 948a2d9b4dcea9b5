package anthropic

import (
	"encoding/json"
	"net/http"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func local(t testing.TB, client *http.Client) *Model {
	t.Helper()
	m, err := New(model.Config{Provider: "anthropic", Model: "m", BaseURL: "http://x.test", MaxRetries: -1}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// every is the pattern of all recordings.
const every = "testdata/*/*.txtar"

func answering(stream []byte) *http.Client { return modeltest.Answering(modeltest.EventStream, stream) }

// TestStreamsAgainstSDK decodes every recorded stream here and by the SDK.
func TestStreamsAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range modeltest.Streams(t, every) {
		var got modeltest.Answer
		if err := local(t, answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue // what the SDK makes of broken streams is not the measure
		}
		svc := sdk.NewMessageService(option.WithBaseURL("http://x.test/"), option.WithHTTPClient(answering(stream)), option.WithoutOpenTelemetry())
		s := svc.NewStreaming(t.Context(), sdk.MessageNewParams{})
		var msg sdk.Message
		for s.Next() {
			if err := msg.Accumulate(s.Current()); err != nil {
				t.Errorf("%s: the SDK cannot put it together: %v", name, err)
			}
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
			continue
		}
		want := modeltest.Answer{Finish: finishReason(string(msg.StopReason)), Model: msg.Model, Chunks: got.Chunks}
		o := model.Blocks{API: "messages"}
		thought := false
		for _, b := range msg.Content {
			kept := model.Block{Type: b.Type}
			switch b := b.AsAny().(type) {
			case sdk.TextBlock:
				want.Text += b.Text
				kept.Bytes = len(b.Text)
			case sdk.ThinkingBlock:
				if want.Reasoning != "" {
					want.Reasoning += "\n\n"
				}
				want.Reasoning += b.Thinking
				kept.Thinking, kept.Signature, thought = b.Thinking, b.Signature, true
			case sdk.RedactedThinkingBlock:
				kept.Data, thought = b.Data, true
			case sdk.ToolUseBlock:
				want.ToolCalls = append(want.ToolCalls, holdfast.NewToolCall(b.ID, b.Name, string(b.Input)))
				kept.ID = b.ID
			}
			o.Blocks = append(o.Blocks, kept)
		}
		if e := msg.StopDetails.Explanation; e != "" {
			want.Text, want.Refusal = want.Text+e, true
		}
		if u := msg.Usage; u.InputTokens > 0 {
			want.Usage = &model.Usage{
				InputTokens:  u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens,
				OutputTokens: u.OutputTokens, CachedInputTokens: u.CacheReadInputTokens,
				CacheWriteTokens: u.CacheCreationInputTokens, ReasoningTokens: u.OutputTokensDetails.ThinkingTokens,
			}
		}
		if thought {
			var err error
			if want.Opaque, err = json.Marshal(o); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-SDK +ours)\n%s", name, d)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// TestRequestsAgainstSDK writes our bodies again with the SDK's types.
func TestRequestsAgainstSDK(t *testing.T) {
	modeltest.SameRequests(t, every, 40, modeltest.Again[sdk.MessageNewParams])
}

func FuzzStream(f *testing.F) {
	modeltest.FuzzStream(f, every, nil, func(t testing.TB, stream []byte) model.Model { return local(t, answering(stream)) })
}
