package recorder_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/recorder"
)

// BenchmarkPipe is events from writers of 500 sessions to rows of SQLite: the
// time ends when the last event is recorded. burst events are added at once,
// as a model's stream does while a frame is in flight.
func BenchmarkPipe(b *testing.B) {
	for _, burst := range []int{1, 8} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			p := newBench(b, 1)
			w := watch(p.store)
			r, _ := start(b, p.bus, w, recorder.Config{})
			sessions := make([]*session, 500)
			for i := range sessions {
				sessions[i] = newSession(b, p)
			}
			ev := &holdfast.AgentChoiceEvent{Content: " holdfast"}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, s := range sessions {
				wg.Go(func() {
					ctx := context.Background()
					for left.Add(-int64(burst)) > -int64(burst) {
						for range burst {
							if _, err := s.w.Add(ctx, "run", ev); err != nil {
								b.Error(err)
								return
							}
						}
						if err := s.w.Flush(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			stored := b.Elapsed()
			stream := p.bus.Streams()[0]
			info, err := p.bus.Info(b.Context(), stream)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), patience)
			defer cancel()
			for r.Recorded(stream) < info.Last && ctx.Err() == nil {
				w.next(ctx)
			}
			if ctx.Err() != nil {
				b.Fatal("not recorded in time")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64((b.Elapsed()-stored)/time.Microsecond)/1000, "ms-behind")
		})
	}
}
