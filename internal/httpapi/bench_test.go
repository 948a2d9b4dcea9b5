package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// BenchmarkFanOut measures the time from the moment before an event is appended
// to the moment when a client has read it, over TCP, for many readers of one
// session on one process. One operation is one event for all readers; readers and
// server share the cores.
func BenchmarkFanOut(b *testing.B) {
	for _, readers := range []int{100, 1000, 5000} {
		b.Run(strconv.Itoa(readers), func(b *testing.B) { benchFanOut(b, readers) })
	}
}

func benchFanOut(b *testing.B, readers int) {
	s, err := server.Start(b.Context(), server.Config{StoreDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop(b.Context()) //nolint:errcheck // the benchmark is over
	nc, err := s.Connect(natsbus.Options(b.Name(), nil)...)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	bus, err := natsbus.Open(b.Context(), nc, natsbus.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer bus.Close() //nolint:errcheck // the benchmark is over
	store, err := sqlitestore.Open(b.Context(), b.TempDir()+"/log.db", sqlitestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // the benchmark is over
	api, err := httpapi.New(httpapi.Config{Bus: bus, Store: store, Commands: bus, Agents: testLibrary(nil)})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(api)
	defer srv.Close()
	defer api.Close()

	ref := holdfast.SessionRef{Tenant: "default", Session: holdfast.NewID()}
	if _, err := events.Create(b.Context(), bus, store, ref, &holdfast.SessionCreatedEvent{}); err != nil {
		b.Fatal(err)
	}
	tail, err := events.ReadTail(b.Context(), bus, store, ref)
	if err != nil {
		b.Fatal(err)
	}
	w, _, err := events.Claim(b.Context(), bus, store, ref, tail, "w", "command")
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close(b.Context()) //nolint:errcheck // the benchmark is over

	sent := make([]time.Time, b.N)
	took := make([][]time.Duration, readers)
	var wg, connected sync.WaitGroup
	var mu sync.Mutex // guards sent
	for i := range readers {
		connected.Add(1)
		wg.Go(func() {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				b.Error(err)
				connected.Done()
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /v1/sessions/%s/events?after=1 HTTP/1.1\r\nHost: x\r\n\r\n", ref.Session)
			r := bufio.NewReader(conn)
			var once sync.Once
			for n := 0; n < b.N; {
				line, err := r.ReadSlice('\n')
				if err != nil {
					b.Error(err)
					once.Do(connected.Done)
					return
				}
				switch {
				case bytes.Contains(line, []byte(`"session_claimed"`)):
					once.Do(connected.Done)
				case bytes.Contains(line, []byte(`"agent_choice"`)):
					now := time.Now()
					mu.Lock()
					took[i] = append(took[i], now.Sub(sent[n]))
					mu.Unlock()
					n++
				}
			}
		})
	}
	connected.Wait()
	b.ResetTimer()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n := range b.N {
		mu.Lock()
		sent[n] = time.Now()
		mu.Unlock()
		if _, err := w.Add(b.Context(), "r", &holdfast.AgentChoiceEvent{AgentContext: root, Content: "token"}); err != nil {
			b.Fatal(err)
		}
		<-tick.C
	}
	wg.Wait()
	b.StopTimer()
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	}
}
