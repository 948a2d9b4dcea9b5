package gemini

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/genai"

	"github.com/holdfast-run/holdfast/internal/model"
)

const benchDeltas = 1000

// benchStream is an answer of a thousand events as the API sends them.
func benchStream() []byte {
	var b bytes.Buffer
	for i := range benchDeltas {
		end := ""
		if i == benchDeltas-1 {
			end = `"finishReason": "STOP",`
		}
		fmt.Fprintf(&b, `data: {"candidates": [{"content": {"parts": [{"text": " word%d"}],"role": "model"},%s"index": 0}],"usageMetadata": {"promptTokenCount": 18,"candidatesTokenCount": %d,"totalTokenCount": %d,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 18}]},"modelVersion": "gemini-2.5-flash","responseId": "ru1garvBEoOiqtsP2fznmQw"}`+"\r\n\r\n", i, end, i, i+18)
	}
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
		client, err := genai.NewClient(b.Context(), &genai.ClientConfig{
			APIKey: "k", Backend: genai.BackendGeminiAPI, HTTPClient: answering(stream), HTTPOptions: genai.HTTPOptions{BaseURL: "http://x.test"},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for r, err := range client.Models.GenerateContentStream(b.Context(), "m", genai.Text("x"), nil) {
				if err != nil {
					b.Fatal(err)
				}
				n += len(r.Candidates[0].Content.Parts[0].Text)
			}
			if n == 0 {
				b.Fatal("no text")
			}
		}
		perDelta(b)
	})
}
