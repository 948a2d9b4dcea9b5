package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkStep measures the engine's own time for a step: the model has called
// a tool, the tool answers, the model is asked again; model and tool take no
// time. A step has one wait for the disk of JetStream in it, the intent of the
// tool call, whose bare cost is the peer.
func BenchmarkStep(b *testing.B) {
	const steps = 1010
	w := newWorld(b, 1)
	w.agent("steps", fmt.Sprintf(`  - { when: { turn: %d }, say: Done. }
  - { when: { after_tool: think }, call: [{ name: think, arguments: { thought: "Another step of many." } }] }
  - { call: [{ name: think, arguments: { thought: "The first step of many." } }] }
`, steps))
	b.Run("peer=jetstream-cas", func(b *testing.B) {
		rawStream(b, w.nats.URL(), "step")
		js, done := jetStream(b, w.nats.URL())
		defer done()
		var samples []time.Duration
		var last uint64
		for range 2000 {
			begin := time.Now()
			ack, err := js.Publish(b.Context(), "step.1", rawPayload, jetstream.WithExpectLastSequencePerSubject(last))
			if err != nil {
				b.Fatal(err)
			}
			samples, last = append(samples, time.Since(begin)), ack.Sequence
		}
		reportLatency(b, "", samples)
	})
	b.Run("holdfast", func(b *testing.B) {
		before := used(b)
		var all, at10, at100, at1000 []time.Duration
		for _, id := range w.create(*repetitions, "steps") {
			if _, err := w.start(id, "go"); err != nil {
				b.Fatal(err)
			}
			step := 0 // how many tool calls are in the history
			var began time.Time
			err := w.stream(b.Context(), id, 0, func(e *entry) bool {
				if !e.is("model_call_started") {
					return !e.is("run_finished")
				}
				if step > 0 {
					took := e.at.Sub(began)
					all = append(all, took)
					switch {
					case step >= 5 && step < 15:
						at10 = append(at10, took)
					case step >= 90 && step < 110:
						at100 = append(at100, took)
					case step >= 990 && step < 1010:
						at1000 = append(at1000, took)
					}
				}
				step++
				began = e.at
				return true
			})
			if err != nil {
				b.Fatal(err)
			}
			if step != steps+1 {
				b.Fatalf("%d model calls, want %d", step, steps+1)
			}
		}
		before.report(b, len(all), "step")
		reportLatency(b, "", all)
		b.ReportMetric(ms(quantile(at10, 0.5)), "step10-ms")
		b.ReportMetric(ms(quantile(at100, 0.5)), "step100-ms")
		b.ReportMetric(ms(quantile(at1000, 0.5)), "step1000-ms")
		b.ReportMetric(float64(quantile(at1000, 0.5))/float64(quantile(at10, 0.5)), "step1000/step10")
	})
}
