package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"
)

func decode(r io.Reader, out any) error { return json.NewDecoder(r).Decode(out) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile sorts samples.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}

func report(b *testing.B, name string, samples []time.Duration) {
	b.ReportMetric(ms(quantile(samples, 0.5)), name+"p50-ms")
	b.ReportMetric(ms(quantile(samples, 0.99)), name+"p99-ms")
	b.ReportMetric(0, "ns/op")
}

// world is a system that has answered once, and the service beside it.
type world struct {
	system
	b    *testing.B
	s    *service
	runs int
}

func newWorld(b *testing.B, delay time.Duration, newSystem func(*testing.B, *service) system) *world {
	s := newService(b, delay)
	w := &world{b: b, s: s, system: newSystem(b, s)}
	until(b, "the first run", func() error { return w.begin(1, "").await() }) // what is made once is made
	return w
}

type run struct {
	id string
	*record
	err error
}

// begin begins a run of so many steps.
func (w *world) begin(steps int, suffix string) *run {
	w.runs++
	r := &run{id: fmt.Sprintf("run-%d", w.runs)}
	var text string
	text, r.record = w.s.run(r.id, steps)
	r.err = w.start(w.b.Context(), r.id, text+suffix)
	return r
}

func (r *run) await() error {
	if r.err != nil {
		return r.err
	}
	limit := time.NewTimer(2 * time.Minute)
	defer limit.Stop()
	select {
	case <-r.done:
		return nil
	case <-limit.C:
		return fmt.Errorf("%s did not end", r.id)
	}
}

// each calls f for 0 to n-1, so many at a time.
func (w *world) each(n, atATime int, f func(i int) error) {
	w.b.Helper()
	var all sync.WaitGroup
	next := make(chan int)
	for range atATime {
		all.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					w.b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	if w.b.Failed() {
		w.b.FailNow()
	}
}

func forEach(b *testing.B, f func(b *testing.B, newSystem func(*testing.B, *service) system)) {
	for _, s := range systems {
		b.Run(s.name, func(b *testing.B) { f(b, s.make) })
	}
}

// BenchmarkStep measures one run after the other: the time from a model call to
// the next, with a tool call between them, when neither takes time.
func BenchmarkStep(b *testing.B) {
	forEach(b, func(b *testing.B, newSystem func(*testing.B, *service) system) {
		w := newWorld(b, 0, newSystem)
		var samples []time.Duration
		for range 20 {
			r := w.begin(50, "")
			if err := r.await(); err != nil {
				b.Fatal(err)
			}
			times := w.s.times(r.record)
			for i := 1; i < len(times); i++ {
				samples = append(samples, times[i].Sub(times[i-1]))
			}
		}
		report(b, "step-", samples)
	})
}

// BenchmarkMany measures 64 runs at a time: steps a second, and the processor time
// of a step in all processes of the system.
func BenchmarkMany(b *testing.B) {
	const runs, steps = 256, 20
	forEach(b, func(b *testing.B, newSystem func(*testing.B, *service) system) {
		w := newWorld(b, 0, newSystem)
		before, begin := cpu(b, w.processes()), time.Now()
		all := make([]*run, runs)
		for i := range all {
			all[i] = &run{id: fmt.Sprintf("run-many-%d", i)}
		}
		w.each(runs, 64, func(i int) error {
			text, record := w.s.run(all[i].id, steps)
			all[i].record = record
			if err := w.start(b.Context(), all[i].id, text); err != nil {
				return err
			}
			return all[i].await()
		})
		took := time.Since(begin)
		b.ReportMetric(float64(runs*steps)/took.Seconds(), "steps/s")
		b.ReportMetric(ms(cpu(b, w.processes())-before)/(runs*steps), "cpu-ms/step")
		b.ReportMetric(float64(resident(b, w.processes()))/(1<<20), "resident-MB")
		b.ReportMetric(float64(w.s.repeated()), "repeated-calls")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkCrash measures what a run sees when its worker is killed and another
// one is there: the time from SIGKILL to its next request, of 32 runs whose model
// calls take 200 ms. Holdfast is installed as in production here, as a worker
// that can die alone is asked for.
func BenchmarkCrash(b *testing.B) {
	for _, s := range systems {
		if s.name == "holdfast" {
			s.make = newHosted
		}
		b.Run(s.name, func(b *testing.B) {
			w := newWorld(b, 200*time.Millisecond, s.make)
			runs := make([]*run, 32)
			for i := range runs {
				runs[i] = w.begin(60, "")
			}
			for _, r := range runs {
				until(b, "the runs", func() error {
					if r.err != nil {
						return r.err
					}
					if len(w.s.times(r.record)) < 3 {
						return fmt.Errorf("%s has not begun", r.id)
					}
					return nil
				})
			}
			w.fail()
			at := time.Now()
			var samples []time.Duration
			for _, r := range runs {
				until(b, "going on", func() error {
					for _, t := range w.s.times(r.record) {
						if t.After(at) {
							samples = append(samples, t.Sub(at))
							return nil
						}
					}
					return fmt.Errorf("%s stands still", r.id)
				})
			}
			for _, r := range runs {
				if err := r.await(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, "gap-", samples)
			b.ReportMetric(ms(slices.Max(samples)), "gap-max-ms")
			b.ReportMetric(float64(w.s.repeated()), "repeated-calls")
		})
	}
}

// BenchmarkWaiting measures what 1,000 runs cost that wait for an approval: memory
// of all processes of the system, and the time from the approval to the tool call.
func BenchmarkWaiting(b *testing.B) {
	const waiting, woken = 1000, 200
	forEach(b, func(b *testing.B, newSystem func(*testing.B, *service) system) {
		w := newWorld(b, 0, newSystem)
		w.each(64, 16, func(i int) error { // warm
			id := fmt.Sprintf("run-warm-%d", i)
			text, record := w.s.run(id, 2)
			r := &run{id: id, record: record, err: w.start(b.Context(), id, text)}
			return r.await()
		})
		before := resident(b, w.processes())
		ids := make([]string, waiting)
		w.each(waiting, 16, func(i int) error {
			ids[i] = fmt.Sprintf("run-waiting-%d", i)
			text, _ := w.s.run(ids[i], 1)
			return w.start(b.Context(), ids[i], text+" ask")
		})
		pause(5 * time.Second)
		b.ReportMetric(float64(resident(b, w.processes())-before)/(1<<20), "grown-MB")
		var samples []time.Duration
		for i := range woken {
			id := ids[i*(waiting/woken)]
			r := w.s.of(id)
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			var begin time.Time
			until(b, "approval", func() error {
				begin = time.Now()
				return w.approve(ctx, id)
			})
			cancel()
			if err := (&run{id: id, record: r}).await(); err != nil {
				b.Fatal(err)
			}
			samples = append(samples, w.s.worked(id).Sub(begin))
		}
		report(b, "wake-", samples)
	})
}
