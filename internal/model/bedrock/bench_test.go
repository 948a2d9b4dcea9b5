package bedrock_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/holdfast-run/holdfast/internal/model"
)

const benchDeltas = 1000

// benchClient answers with a thousand deltas, in frames that are made beforehand.
func benchClient(b *testing.B) *http.Client {
	var text bytes.Buffer
	text.WriteString("event: messageStart\ndata: {\"role\":\"assistant\",\"p\":\"abcd\"}\n\n")
	for i := range benchDeltas {
		fmt.Fprintf(&text, "event: contentBlockDelta\ndata: {\"contentBlockIndex\":0,\"delta\":{\"text\":\" word%d\"},\"p\":\"abcdefghijklmnop\"}\n\n", i)
	}
	text.WriteString("event: contentBlockStop\ndata: {\"contentBlockIndex\":0,\"p\":\"ab\"}\n\n")
	text.WriteString("event: messageStop\ndata: {\"p\":\"ab\",\"stopReason\":\"end_turn\"}\n\n")
	text.WriteString("event: metadata\ndata: {\"metrics\":{\"latencyMs\":9},\"p\":\"ab\",\"usage\":{\"inputTokens\":18,\"outputTokens\":1000,\"totalTokens\":1018}}\n\n")
	res, err := answering(text.Bytes()).Get("http://x.test/")
	if err != nil {
		b.Fatal(err)
	}
	frames, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/vnd.amazon.eventstream"}},
			Body:   io.NopCloser(bytes.NewReader(frames)),
		}, nil
	})}
}

func perDelta(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDeltas, "ns/delta")
}

func BenchmarkDeltas(b *testing.B) {
	client := benchClient(b)
	b.Run("holdfast", func(b *testing.B) {
		m := local(b, client)
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
		c := sdkClient(client)
		b.ReportAllocs()
		for b.Loop() {
			res, err := c.ConverseStream(b.Context(), &bedrockruntime.ConverseStreamInput{ModelId: aws.String("m")})
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for e := range res.GetStream().Events() {
				if e, ok := e.(*types.ConverseStreamOutputMemberContentBlockDelta); ok {
					if d, ok := e.Value.Delta.(*types.ContentBlockDeltaMemberText); ok {
						n += len(d.Value)
					}
				}
			}
			if err := res.GetStream().Close(); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		perDelta(b)
	})
}
