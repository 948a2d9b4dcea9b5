package openai

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

const benchDeltas = 1000

// benchStream is an answer of a thousand deltas as OpenAI sends them.
func benchStream() []byte {
	var b bytes.Buffer
	for i := range benchDeltas {
		fmt.Fprintf(&b, `data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"Y0Ks8CnJfAO"}`+"\n\n", i)
	}
	b.WriteString(`data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n")
	return b.Bytes()
}

func perDelta(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDeltas, "ns/delta")
}

func BenchmarkDeltas(b *testing.B) {
	stream := benchStream()
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, "chat_completions", answering(stream))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			if err := m.Stream(b.Context(), model.Request{}, func(c model.Chunk) error { n += len(c.Text); return nil }); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
	b.Run("sdk", func(b *testing.B) {
		svc := sdk.NewChatCompletionService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(answering(stream)))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			s := svc.NewStreaming(b.Context(), sdk.ChatCompletionNewParams{})
			for s.Next() {
				for _, c := range s.Current().Choices {
					n += len(c.Delta.Content)
				}
			}
			if err := s.Err(); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
}

// responsesStream is the same answer as the responses API sends it.
func responsesStream() []byte {
	var b bytes.Buffer
	b.WriteString(`data: {"type":"response.created","response":{"id":"resp_1","model":"gpt-5"},"sequence_number":0}` + "\n\n")
	for i := range benchDeltas {
		fmt.Fprintf(&b, "event: response.output_text.delta\n"+`data: {"type":"response.output_text.delta","content_index":0,"delta":" word%d","item_id":"msg_0fabc13af1ee0049006a691dfebdc881a1ae18d027c313d8ce","logprobs":[],"obfuscation":"RvoJ43TaUvnCS8e","output_index":0,"sequence_number":%d}`+"\n\n", i, i+1)
	}
	b.WriteString(`data: {"type":"response.completed","response":{"id":"resp_1","model":"gpt-5","usage":{"input_tokens":9,"output_tokens":1000}},"sequence_number":1001}` + "\n\n")
	return b.Bytes()
}

func BenchmarkResponsesDeltas(b *testing.B) {
	stream := responsesStream()
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, "responses", answering(stream))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			if err := m.Stream(b.Context(), model.Request{}, func(c model.Chunk) error { n += len(c.Text); return nil }); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
	b.Run("sdk", func(b *testing.B) {
		svc := responses.NewResponseService(option.WithBaseURL("http://x.test/v1/"), option.WithHTTPClient(answering(stream)))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			s := svc.NewStreaming(b.Context(), responses.ResponseNewParams{})
			for s.Next() {
				n += len(s.Current().Delta)
			}
			if err := s.Err(); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
}

// BenchmarkRequest composes the body of a call at a history of a thousand
// messages.
func BenchmarkRequest(b *testing.B) {
	var req model.Request
	var p sdk.ChatCompletionNewParams
	for i := range 500 {
		text := fmt.Sprintf("message %d of a conversation that has gone on for a while", i)
		req.Messages = append(
			req.Messages,
			holdfast.Message{Role: holdfast.RoleUser, Content: text},
			holdfast.Message{Role: holdfast.RoleAssistant, ToolCalls: []holdfast.ToolCall{holdfast.NewToolCall("call_1", "f", `{"a":1}`)}},
		)
		p.Messages = append(p.Messages, sdk.UserMessage(text), sdk.ChatCompletionMessageParamUnion{OfAssistant: &sdk.ChatCompletionAssistantMessageParam{
			ToolCalls: []sdk.ChatCompletionMessageToolCallUnionParam{{OfFunction: &sdk.ChatCompletionMessageFunctionToolCallParam{
				ID: "call_1", Function: sdk.ChatCompletionMessageFunctionToolCallFunctionParam{Name: "f", Arguments: `{"a":1}`},
			}}},
		}})
	}
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, "chat_completions", http.DefaultClient)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.body(&req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
