package searchtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/search"
)

// turn is how many events have a message of the user and an answer among them.
const turn = 100

// talk makes turns of a load: a message of the user, and an answer of nearly 100
// tokens.
func talk(t testing.TB, b events.Batch) events.Batch {
	for i := range b.Sessions {
		for j := range b.Sessions[i].Events {
			e := &b.Sessions[i].Events[j]
			var ev holdfast.Event
			switch call := fmt.Sprint(e.Seq / turn); e.Seq % turn {
			case 2:
				ev = &holdfast.UserMessageEvent{Message: fmt.Sprintf("how does the ship number %d sail with no wind in its sails?", e.Seq)}
			case 3:
				ev = &holdfast.ModelCallStartedEvent{Call: call}
			case turn - 1:
				ev = &holdfast.ModelCallFinishedEvent{Call: call}
			default:
				continue
			}
			payload, err := holdfast.MarshalPayload(ev)
			if err != nil {
				t.Fatal(err)
			}
			e.Type, e.Payload = ev.EventType(), payload
		}
	}
	return b
}

// BenchmarkRecord records turns of 500 sessions, 1,000 events a batch, by turns in a
// store without an index and in one with it, so that both have the same neighbours;
// "indexed meanwhile" has an indexer at work in the second one, which takes from both.
// open returns stores of their own.
func BenchmarkRecord(b *testing.B, open func(b *testing.B, noIndex bool) Archive) {
	for _, indexed := range []bool{false, true} {
		b.Run(map[bool]string{false: "noted", true: "indexed meanwhile"}[indexed], func(b *testing.B) {
			stores := []Archive{open(b, true), open(b, false)}
			loads := []*eventstest.Load{eventstest.NewLoad("bench", 500), eventstest.NewLoad("bench", 500)}
			var took [2][]time.Duration
			record := func(i, n int) {
				batch := talk(b, loads[i].Next(n))
				began := time.Now()
				if err := stores[i].Record(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				took[i] = append(took[i], time.Since(began))
			}
			record(0, 500)
			record(1, 500)
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			if indexed {
				wg.Go(func() {
					if err := search.New(search.Config{Index: stores[1], Log: stores[1]}).Run(ctx); err != nil {
						b.Error(err)
					}
				})
			}
			for n := 0; b.Loop(); n++ { // who comes second is slower
				record(n%2, 1000)
				record(1-n%2, 1000)
			}
			cancel()
			wg.Wait()
			var sum [2]time.Duration
			for i := range took {
				for _, d := range took[i] {
					sum[i] += d
				}
				slices.Sort(took[i])
			}
			b.ReportMetric(float64(took[0][len(took[0])/2].Microseconds())/1000, "ms-median-without")
			b.ReportMetric(float64(took[1][len(took[1])/2].Microseconds())/1000, "ms-median-with")
			b.ReportMetric(float64(len(took[0])*1000)/sum[0].Seconds(), "events/s-without")
			b.ReportMetric(float64(len(took[1])*1000)/sum[1].Seconds(), "events/s-with")
		})
	}
}

// BenchmarkIndex indexes turns: texts of about 400 bytes.
func BenchmarkIndex(b *testing.B, s Archive) {
	load := eventstest.NewLoad("bench", 500)
	for range 10 * turn / 2 {
		if err := s.Record(b.Context(), talk(b, load.Next(1000))); err != nil {
			b.Fatal(err)
		}
	}
	x := search.New(search.Config{Index: s, Log: s})
	began := time.Now()
	for b.Loop() { // behind the first time there is nothing left
		for {
			r, err := x.Round(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if !r.More && !r.Noted {
				break
			}
		}
		if !began.IsZero() {
			b.ReportMetric(10*2*500/time.Since(began).Seconds(), "messages/s")
		}
		began = time.Time{}
	}
}

// BenchmarkSearch searches an archive of many messages: a word that is in one, one
// that is in all, a phrase, and one in a small tenant's of two.
func BenchmarkSearch(b *testing.B, s Archive, sessions int) {
	load := eventstest.NewLoad("bench", sessions)
	for range turn / 10 * 10 / 2 {
		if err := s.Record(b.Context(), talk(b, load.Next(2*sessions))); err != nil {
			b.Fatal(err)
		}
	}
	x := search.New(search.Config{Index: s, Log: s})
	for {
		r, err := x.Round(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if marks, err := s.Marked(b.Context(), 1); err != nil || !r.More && len(marks) == 0 {
			break
		}
	}
	for name, c := range map[string]struct{ tenant, query string }{
		"a rare word": {"acme", "nothing"}, "a word of all": {"acme", "ship"}, "a phrase": {"acme", `"no wind"`}, "two words": {"acme", "sails waves"},
		"a prefix": {"acme", "anch*"}, "another tenant": {"bolt", "ship"},
	} {
		q, err := search.Parse(c.query)
		if err != nil {
			b.Fatal(err)
		}
		for _, by := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s by session %v", name, by), func(b *testing.B) {
				for b.Loop() {
					f, err := s.Search(b.Context(), c.tenant, search.Page{Query: q, Limit: 20, BySession: by})
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(len(f.Hits)), "hits")
				}
			})
		}
	}
}
