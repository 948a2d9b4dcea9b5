package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

var payload = make([]byte, 150)

// BenchmarkAppend is compare-and-set publishes of 1,024 sessions, one in flight
// in each; -sessions of them are reported per second.
func BenchmarkAppend(b *testing.B) {
	for _, shards := range []int{1, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			bus := open(b, connect(b, startServer(b)), natsbus.Config{Shards: shards})
			benchmarkAppend(b, bus, 1024)
		})
	}
	b.Run("jetstream", func(b *testing.B) {
		nc := connect(b, startServer(b))
		open(b, nc, natsbus.Config{})
		js, err := jetstream.New(nc)
		if err != nil {
			b.Fatal(err)
		}
		benchmarkAppend(b, publisher{js}, 1024)
	})
	b.Run("one-session", func(b *testing.B) {
		benchmarkAppend(b, open(b, connect(b, startServer(b)), natsbus.Config{}), 1)
	})
}

func benchmarkAppend(b *testing.B, bus appender, sessions int) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			ref, prev := eventstest.NewRef(), uint64(0)
			for left.Add(-1) >= 0 {
				var err error
				if prev, err = bus.Append(context.Background(), ref, prev, payload); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

// BenchmarkFrames is a recorder's reading of a stream that is there already.
func BenchmarkFrames(b *testing.B) {
	bus := open(b, connect(b, startServer(b)), natsbus.Config{})
	var wg sync.WaitGroup
	const sessions = 256
	for i := range sessions {
		wg.Go(func() {
			ref, prev := eventstest.NewRef(), uint64(0)
			for range (b.N + sessions - 1 - i) / sessions {
				var err error
				if prev, err = bus.Append(context.Background(), ref, prev, payload); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	enough := errors.New("enough")
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	err := bus.Frames(context.Background(), bus.Streams()[0], 0, func(recorder.Frame) error {
		if n++; n >= b.N {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

type appender interface {
	Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error)
}

// publisher does the same through the client library, to compare with.
type publisher struct{ js jetstream.JetStream }

func (p publisher) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	ack, err := p.js.Publish(ctx, "hf.e.0."+s.Tenant+"."+s.Session, frame, jetstream.WithExpectLastSequencePerSubject(prev))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
