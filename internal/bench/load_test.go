package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
)

// loadTime is how long requests arrive.
const loadTime = 4 * time.Second

// BenchmarkRequests measures requests that arrive at a fixed rate, whether or not
// those before are answered (latencies count from when a request was due), and
// how many of them fit at all when 64 callers send one after the other. A created
// run is stored, claimed by a worker and accepted before it is answered; a created
// session is stored.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b, 1)
	w.agent("brief", "  - { say: Yes. }\n")
	createSession := func(int) error {
		_, err := w.client.CreateSession(b.Context(), client.NewSession{Agent: "brief"})
		return err
	}
	const callers = 64
	closed := func(name string, prepare func(n int), fn func(i int) error) {
		b.Run("as-many-as-fit/"+name, func(b *testing.B) {
			const n = 4000
			if prepare != nil {
				prepare(n)
			}
			samples := make([]time.Duration, n)
			before := used(b)
			begin := time.Now()
			w.each(n, callers, func(i int) error {
				sent := time.Now()
				err := fn(i)
				samples[i] = time.Since(sent)
				return err
			})
			took := time.Since(begin)
			before.report(b, n, "request")
			reportLatency(b, "", samples)
			b.ReportMetric(n/took.Seconds(), "requests/s")
		})
	}
	var ids []string
	sessions := func(n int) { ids = w.create(n, "brief") }
	startRun := func(i int) error { _, err := w.start(ids[i], "hello"); return err }
	readSession := func(i int) error { return w.get("/v1/sessions/" + ids[i%len(ids)]) }
	closed("peer=ping", nil, func(int) error { return w.get("/api/ping") })
	closed("create-session", nil, createSession)
	closed("create-run", sessions, startRun)
	closed("read-session", sessions, readSession)

	for _, rate := range []int{300, 1000} {
		b.Run(fmt.Sprintf("rate=%d/create-session+read-session", rate), func(b *testing.B) {
			w.arrive(b, rate, map[string]func(int) error{"create": createSession, "read": readSession})
		})
		b.Run(fmt.Sprintf("rate=%d/create-run+read-session", rate), func(b *testing.B) {
			sessions(rate * int(loadTime.Seconds()))
			w.arrive(b, rate, map[string]func(int) error{"create": startRun, "read": readSession})
		})
	}
}

// get reads a URL of the API to its end.
func (w *world) get(path string) error {
	resp, err := w.http.Get("http://" + w.addr + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return nil
}

// arrive sends requests of each kind at a rate per second.
func (w *world) arrive(b *testing.B, rate int, kinds map[string]func(i int) error) {
	n := rate * int(loadTime.Seconds())
	samples := map[string][]time.Duration{}
	var wg sync.WaitGroup
	before := used(b)
	begin := time.Now()
	for name, fn := range kinds {
		took := make([]time.Duration, n)
		samples[name] = took
		wg.Go(func() {
			timer := time.NewTimer(0)
			for i := range n {
				due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
				timer.Reset(time.Until(due))
				<-timer.C
				wg.Go(func() {
					if err := fn(i); err != nil {
						b.Error(err)
					}
					took[i] = time.Since(due)
				})
			}
		})
	}
	wg.Wait()
	before.report(b, n, "pair")
	for name, took := range samples {
		reportLatency(b, name, took)
	}
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "answered/s")
}

// BenchmarkFanOut measures the time from a token's creation until each of many
// readers of the same session has it, at five tokens per second; and for a bare
// server that writes the same bytes to as many TCP connections. Readers share the
// cores with the servers.
func BenchmarkFanOut(b *testing.B) {
	w := newWorld(b, 1)
	const words = 25
	agent := w.streamer(words, 200*time.Millisecond)
	for _, readers := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("readers=%d/peer=tcp", readers), func(b *testing.B) { rawFanOut(b, readers, words) })
		b.Run(fmt.Sprintf("readers=%d/holdfast", readers), func(b *testing.B) {
			id := w.create(1, agent)[0]
			samples := make([][]time.Duration, readers)
			var following, done sync.WaitGroup
			gate := make(chan struct{}, 64) // connections on their way
			for i := range readers {
				following.Add(1)
				done.Go(func() {
					gate <- struct{}{}
					first := sync.OnceFunc(func() { <-gate; following.Done() })
					defer first()
					err := w.stream(b.Context(), id, 0, func(e *entry) bool {
						first()
						if e.is("agent_choice") {
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
			before := used(b)
			if _, err := w.start(id, "go"); err != nil {
				b.Fatal(err)
			}
			done.Wait()
			var all []time.Duration
			for _, s := range samples {
				all = append(all, s...)
			}
			before.report(b, len(all), "delivery")
			reportLatency(b, "", all)
			b.ReportMetric(float64(len(all)), "events")
		})
	}
}

// rawFanOut writes a token's event to many connections, one after the other,
// while as many goroutines read.
func rawFanOut(b *testing.B, readers, events int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	const size = 200
	begun := make([]time.Time, events) // written before the bytes that follow it
	samples := make([][]time.Duration, readers)
	conns := make([]net.Conn, 0, readers)
	var done sync.WaitGroup
	for i := range readers {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		accepted, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer accepted.Close()
		conns = append(conns, accepted)
		done.Go(func() {
			buf := make([]byte, size)
			for n := range events {
				if _, err := io.ReadFull(conn, buf); err != nil {
					b.Error(err)
					return
				}
				samples[i] = append(samples[i], time.Since(begun[n]))
			}
		})
	}
	before := used(b)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	data := make([]byte, size)
	for n := range events {
		begun[n] = time.Now()
		for _, c := range conns {
			if _, err := c.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		<-tick.C
	}
	done.Wait()
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	before.report(b, len(all), "delivery")
	reportLatency(b, "", all)
}
