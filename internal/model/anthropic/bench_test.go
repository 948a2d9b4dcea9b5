package anthropic

import (
	"bytes"
	"fmt"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/holdfast-run/holdfast/internal/model"
)

const benchDeltas = 1000

// benchStream is an answer of a thousand deltas as the API sends them.
func benchStream() []byte {
	var b bytes.Buffer
	b.WriteString("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n")
	b.WriteString("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n")
	for i := range benchDeltas {
		fmt.Fprintf(&b, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word%d\"}     }\n\n", i)
	}
	b.WriteString("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n")
	b.WriteString("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1000}}\n\n")
	b.WriteString("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	return b.Bytes()
}

func perDelta(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDeltas, "ns/delta")
}

func BenchmarkDeltas(b *testing.B) {
	stream := benchStream()
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, answering(stream))
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
		svc := sdk.NewMessageService(option.WithBaseURL("http://x.test/"), option.WithHTTPClient(answering(stream)), option.WithoutOpenTelemetry())
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			s := svc.NewStreaming(b.Context(), sdk.MessageNewParams{})
			for s.Next() {
				n += len(s.Current().Delta.Text)
			}
			if err := s.Err(); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
}
