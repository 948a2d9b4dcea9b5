package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/model/modeltest"
)

func answering(stream []byte) *http.Client { return modeltest.Answering(modeltest.EventStream, stream) }

func local(t testing.TB, api string, client *http.Client) *Model {
	t.Helper()
	m, err := New(model.Config{
		Provider: "custom", Model: "m", BaseURL: "http://x.test/v1", MaxRetries: -1,
		ProviderOpts: map[string]any{"api_type": api},
	}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The patterns of the recordings of the two APIs.
const (
	everyChat     = "testdata/chat/*.txtar"
	everyResponse = "testdata/responses/*.txtar"
)

// TestChatAgainstSDK decodes every recorded stream here and by the SDK.
func TestChatAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range modeltest.Streams(t, everyChat) {
		var got modeltest.Answer
		if err := local(t, "chat_completions", answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue // what the SDK makes of broken streams is not the measure
		}
		svc := sdk.NewChatCompletionService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(answering(stream)))
		s := svc.NewStreaming(t.Context(), sdk.ChatCompletionNewParams{})
		var acc sdk.ChatCompletionAccumulator
		reasoning := ""
		for s.Next() {
			c := s.Current()
			acc.AddChunk(c)
			for _, choice := range c.Choices {
				if f, ok := choice.Delta.JSON.ExtraFields["reasoning_content"]; ok {
					var text string
					if err := json.Unmarshal([]byte(f.Raw()), &text); err != nil {
						t.Fatal(err)
					}
					reasoning += text
				}
			}
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
			continue
		}
		msg := acc.Choices[0].Message
		want := modeltest.Answer{
			Text: msg.Content + msg.Refusal, Refusal: msg.Refusal != "", Reasoning: reasoning,
			Finish: acc.Choices[0].FinishReason, Model: acc.Model, Chunks: got.Chunks,
		}
		for _, c := range msg.ToolCalls {
			want.ToolCalls = append(want.ToolCalls, holdfast.NewToolCall(c.ID, c.Function.Name, c.Function.Arguments))
		}
		if u := acc.Usage; u.PromptTokens > 0 {
			want.Usage = &model.Usage{
				InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens,
				CachedInputTokens: u.PromptTokensDetails.CachedTokens, ReasoningTokens: u.CompletionTokensDetails.ReasoningTokens,
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-SDK +ours)\n%s", name, d)
		}
		compared++
	}
	if compared < 15 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// TestResponsesAgainstSDK holds the deltas against the finished items, which the
// SDK reads.
func TestResponsesAgainstSDK(t *testing.T) {
	compared := 0
	for name, stream := range modeltest.Streams(t, everyResponse) {
		var got modeltest.Answer
		if err := local(t, "responses", answering(stream)).Stream(t.Context(), modeltest.Hello(), got.Add); err != nil {
			continue
		}
		svc := responses.NewResponseService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(answering(stream)))
		s := svc.NewStreaming(t.Context(), responses.ResponseNewParams{})
		var text, reasoning, args strings.Builder
		var usage responses.ResponseUsage
		for s.Next() {
			switch e := s.Current().AsAny().(type) {
			case responses.ResponseTextDeltaEvent:
				text.WriteString(e.Delta)
			case responses.ResponseRefusalDeltaEvent:
				text.WriteString(e.Delta)
			case responses.ResponseReasoningSummaryTextDeltaEvent:
				reasoning.WriteString(e.Delta)
			case responses.ResponseOutputItemDoneEvent:
				if e.Item.Type == "function_call" {
					fmt.Fprintf(&args, "%s %s %s\n", e.Item.CallID, e.Item.Name, e.Item.Arguments.OfString)
				}
			case responses.ResponseCompletedEvent:
				usage = e.Response.Usage
			case responses.ResponseIncompleteEvent:
				usage = e.Response.Usage
			}
		}
		if err := s.Err(); err != nil {
			t.Errorf("%s: the SDK fails: %v", name, err)
			continue
		}
		if filepath.Base(name) != "one-chunk.txtar" && got.Text != text.String() {
			t.Errorf("%s: text %q, SDK %q", name, got.Text, text.String())
		}
		if strings.ReplaceAll(got.Reasoning, "\n\n", "") != reasoning.String() {
			t.Errorf("%s: reasoning %q, SDK %q", name, got.Reasoning, reasoning.String())
		}
		if got.Usage == nil || got.Usage.InputTokens != usage.InputTokens || got.Usage.OutputTokens != usage.OutputTokens ||
			got.Usage.CachedInputTokens != usage.InputTokensDetails.CachedTokens || got.Usage.ReasoningTokens != usage.OutputTokensDetails.ReasoningTokens {
			t.Errorf("%s: usage %+v, SDK %+v", name, got.Usage, usage)
		}
		var calls []string
		for _, c := range got.ToolCalls {
			calls = append(calls, fmt.Sprintf("%s %s %s\n", c.ID, c.Function.Name, c.Function.Arguments))
		}
		for _, c := range calls {
			if !strings.Contains(args.String(), c) {
				t.Errorf("%s: call %q, SDK %q", name, c, args.String())
			}
		}
		if len(calls) != strings.Count(args.String(), "\n") {
			t.Errorf("%s: calls %q, SDK %q", name, calls, args.String())
		}
		compared++
	}
	if compared < 12 {
		t.Errorf("only %d recordings were compared", compared)
	}
}

// TestRequestsAgainstSDK writes our bodies again with the SDK's types.
func TestRequestsAgainstSDK(t *testing.T) {
	modeltest.SameRequests(t, everyChat, 30, modeltest.Again[sdk.ChatCompletionNewParams])
	modeltest.SameRequests(t, everyResponse, 30, modeltest.Again[responses.ResponseNewParams])
}

// FuzzEvents compares the event reader with the SDK's decoder.
func FuzzEvents(f *testing.F) {
	for _, stream := range modeltest.Streams(f, everyResponse) {
		f.Add(stream)
	}
	f.Add([]byte("data: a\r\ndata\n\nevent: x\n\n: c\ndata:b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		type event struct{ Name, Data string }
		read := func(src io.Reader) (events []event) {
			r := model.NewEventReader(src, model.MaxEvent)
			for {
				name, data, err := r.Next()
				if err == io.EOF {
					return events
				}
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, event{string(name), string(data)})
			}
		}
		got := read(bytes.NewReader(in))
		if slow := read(iotest.OneByteReader(bytes.NewReader(in))); !reflect.DeepEqual(got, slow) {
			t.Fatalf("whole %q, in bytes %q", got, slow)
		}
		if bytes.HasPrefix(in, []byte("\xef\xbb\xbf")) {
			return // the SDK takes the byte order mark for a part of the first field
		}
		dec := ssestream.NewDecoder(&http.Response{Body: io.NopCloser(bytes.NewReader(in))})
		var want []event
		for dec.Next() {
			e := dec.Event()
			want = append(want, event{e.Type, strings.TrimSuffix(string(e.Data), "\n")})
		}
		if dec.Err() != nil {
			return
		}
		// The SDK drops an event that the end of the stream cuts off.
		if len(got) == len(want)+1 {
			got = got[:len(want)]
		}
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("ours %q, SDK's %q", got, want)
		}
	})
}

func FuzzChatStream(f *testing.F) {
	modeltest.FuzzStream(f, everyChat, doneMark, func(t testing.TB, stream []byte) model.Model {
		return local(t, "chat_completions", answering(stream))
	})
}

func FuzzResponsesStream(f *testing.F) {
	modeltest.FuzzStream(f, everyResponse, doneMark, func(t testing.TB, stream []byte) model.Model {
		return local(t, "responses", answering(stream))
	})
}

// TestNoKeyToAnotherOrigin: a redirect must not carry the key away.
func TestNoKeyToAnotherOrigin(t *testing.T) {
	client := &http.Client{Transport: modeltest.Transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "x.test" {
			t.Errorf("a request to %s, Authorization %q", r.URL.Host, r.Header.Get("Authorization"))
		}
		return &http.Response{
			StatusCode: http.StatusTemporaryRedirect, Request: r, Body: http.NoBody,
			Header: http.Header{"Location": {"https://elsewhere.test/v1/chat/completions"}},
		}, nil
	})}
	m, err := New(model.Config{Provider: "custom", Model: "m", BaseURL: "http://x.test/v1", APIKey: "k", MaxRetries: -1}, Options{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Stream(t.Context(), modeltest.Hello(), nil); holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "base_url") {
		t.Error(err)
	}
}
