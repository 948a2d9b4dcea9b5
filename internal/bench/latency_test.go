package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	liveSessions = 500
	// warmUp passes before anything is measured: runs begin, connections grow.
	warmUp = 2 * time.Second
	// steady is how long is measured.
	steady = 6 * time.Second
)

// BenchmarkTokenLatency measures the time from a token's creation in the model
// until a client has read it over SSE, which is after JetStream has stored it,
// at 500 live sessions and so many tokens per second in each; and the same for a
// bare compare-and-set publish and a bare subscription at the same rate.
func BenchmarkTokenLatency(b *testing.B) {
	w := newWorld(b, 1)
	for _, rate := range []int{10, 20, 50} {
		b.Run(fmt.Sprintf("rate=%d/peer=jetstream-cas", rate), func(b *testing.B) { rawLatency(b, w.nats.URL(), rate) })
		b.Run(fmt.Sprintf("rate=%d/holdfast", rate), func(b *testing.B) { w.tokenLatency(b, rate) })
	}
}

func (w *world) tokenLatency(b *testing.B, rate int) {
	agent := w.streamer(int((warmUp+steady+2*time.Second).Seconds())*rate, time.Second/time.Duration(rate))
	ids := w.create(liveSessions, agent)
	samples := make([][]time.Duration, liveSessions)
	var following, done sync.WaitGroup
	var from, to time.Time // of what counts; set before the first run
	for i, id := range ids {
		following.Add(1)
		done.Go(func() {
			first := sync.OnceFunc(following.Done)
			defer first()
			err := w.stream(b.Context(), id, 0, func(e *entry) bool {
				first()
				if e.is("agent_choice") && e.at.After(from) && e.at.Before(to) {
					samples[i] = append(samples[i], e.latency())
				}
				return !e.is("run_finished")
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	following.Wait()
	frames := w.frames()
	from = time.Now().Add(warmUp)
	to = from.Add(steady)
	// The runs begin spread over a second, so that their tokens do not come in step.
	tick := time.NewTicker(time.Second / liveSessions)
	defer tick.Stop()
	var starting sync.WaitGroup
	for _, id := range ids {
		starting.Go(func() {
			if _, err := w.start(id, "go"); err != nil {
				b.Error(err)
			}
		})
		<-tick.C
	}
	atSteady := time.NewTimer(time.Until(from))
	<-atSteady.C
	recorded := w.recorded()
	before := used(b)
	atSteady.Reset(time.Until(to))
	<-atSteady.C
	before.report(b, int(w.recorded()-recorded), "event")
	starting.Wait()
	done.Wait()
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	reportLatency(b, "", all)
	b.ReportMetric(float64(len(all))/steady.Seconds(), "events/s")
	b.ReportMetric(float64(w.frames()-frames)/float64(liveSessions), "frames/session")
}

// rawLatency is the peer: a goroutine per session publishes a message at each
// tick, a compare-and-set on the one before, and one subscriber takes what the
// stream republishes.
func rawLatency(b *testing.B, url string, rate int) {
	rawStream(b, url, "lat")
	js, done := jetStream(b, url)
	defer done()
	nc, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	begin := time.Now()
	from, to := begin.Add(warmUp), begin.Add(warmUp+steady)
	var all []time.Duration
	sub, err := nc.Subscribe("lat-live.*", func(msg *nats.Msg) {
		sent := time.Unix(0, int64(binary.LittleEndian.Uint64(msg.Data)))
		if sent.After(from) && sent.Before(to) {
			all = append(all, time.Since(sent))
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		b.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range liveSessions {
		wg.Go(func() {
			wait := time.NewTimer(time.Second * time.Duration(i) / liveSessions)
			<-wait.C
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			var last uint64
			for time.Now().Before(to) {
				data := append([]byte(nil), rawPayload...)
				binary.LittleEndian.PutUint64(data, uint64(time.Now().UnixNano()))
				ack, err := js.Publish(context.WithoutCancel(b.Context()), fmt.Sprintf("lat.%d", i), data, jetstream.WithExpectLastSequencePerSubject(last))
				if err != nil {
					b.Error(err)
					return
				}
				last = ack.Sequence
				<-tick.C
			}
		})
	}
	wg.Wait()
	if err := nc.Drain(); err != nil {
		b.Fatal(err)
	}
	for closed := nc.StatusChanged(nats.CLOSED); !nc.IsClosed(); {
		<-closed
	}
	reportLatency(b, "", all)
	b.ReportMetric(float64(len(all))/steady.Seconds(), "events/s")
}
