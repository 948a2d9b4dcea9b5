package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// BenchmarkParked measures what parked sessions cost a worker: live memory after
// a garbage collection, and goroutines, before and after so many sessions wait
// for an approval; and how long it takes to wake one: from the decision's request
// to the answer that it is stored, over HTTP. The worker runs in this process,
// the API in its own. The sessions are made as the API makes them, without HTTP:
// each is created in the log, its run is a command, and the worker claims it, asks
// the model, asks for the approval and parks.
func BenchmarkParked(b *testing.B) {
	w := newServers(b)
	w.addr = listenAddr(testenv.Start(b, testenv.Build(b, "./cmd/api"), w.env))
	w.connect()
	w.agent("asks", `  - { when: { after_tool: add_memory }, say: Thanks. }
  - { say: "I have to ask.", call: [{ name: add_memory, arguments: { memory: "Something to remember." } }] }
`)
	w.runWorker()
	ids := make([]string, *parkedCount)
	bus, store := w.open()
	park := func(from, to int) {
		w.each(to-from, 64, func(i int) error {
			ids[from+i] = holdfast.NewID()
			return run(b.Context(), bus, store, ids[from+i])
		})
		w.waitParked(to)
	}
	warm := min(500, *parkedCount/2)
	park(0, warm) // what is made once is made
	before := liveMemory()
	usedBefore, begin := used(b), time.Now()
	park(warm, *parkedCount)
	took := time.Since(begin)
	usedBefore.report(b, *parkedCount-warm, "parking")
	after := liveMemory()
	b.ReportMetric(float64(after.heap-before.heap)/(1<<20), "grown-MB")
	b.ReportMetric(float64(after.heap-before.heap)/float64(*parkedCount-warm), "B/session")
	b.ReportMetric(float64(after.goroutines-before.goroutines), "more-goroutines")
	b.ReportMetric(float64(*parkedCount-warm)/took.Seconds(), "parked/s")

	wakes := min(500, *parkedCount)
	samples := make([]time.Duration, wakes)
	for i := range wakes {
		id := ids[i*(len(ids)/wakes)]
		doc, err := w.client.GetSession(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if len(doc.Pending) != 1 {
			b.Fatalf("session %s has %d pending calls", id, len(doc.Pending))
		}
		begin := time.Now()
		if _, err := w.client.Decide(b.Context(), id, doc.Pending[0].ToolCall.ID, client.Decision{Decision: client.ResumeTypeApprove}); err != nil {
			b.Fatal(err)
		}
		samples[i] = time.Since(begin)
	}
	reportLatency(b, "wake", samples)
}

// open opens the bus and the store beside the programs.
func (w *world) open() (*natsbus.Bus, *pgstore.Store) {
	w.b.Helper()
	nc, err := nats.Connect(w.nats.URL())
	if err != nil {
		w.b.Fatal(err)
	}
	bus, err := natsbus.Open(w.b.Context(), nc, natsbus.Config{})
	if err != nil {
		w.b.Fatal(err)
	}
	store, err := pgstore.Open(w.b.Context(), w.dsn, pgstore.Options{})
	if err != nil {
		w.b.Fatal(err)
	}
	w.b.Cleanup(func() {
		if err := bus.Close(); err != nil {
			w.b.Error(err)
		}
		nc.Close()
		if err := store.Close(); err != nil {
			w.b.Error(err)
		}
	})
	return bus, store
}

// run creates a session and starts a run in it.
func run(ctx context.Context, bus *natsbus.Bus, store *pgstore.Store, id string) error {
	ref := holdfast.SessionRef{Tenant: "default", Session: id}
	if _, err := events.CreateNew(ctx, bus, store, ref, &holdfast.SessionCreatedEvent{Agent: "asks.yaml"}); err != nil {
		return err
	}
	c, err := events.NewCommand(ref, events.KindRun, "run-"+id, events.RunBody{
		Run: "r-" + id, Agent: "asks.yaml", Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "remember"}},
	})
	if err != nil {
		return err
	}
	answer, err := bus.Request(ctx, c)
	if err == nil && answer.Code != "" {
		err = fmt.Errorf("session %s: %s: %s", id, answer.Code, answer.Message)
	}
	return err
}

// waitParked returns when so many sessions wait for somebody.
func (w *world) waitParked(n int) {
	w.b.Helper()
	tick := time.NewTicker(250 * time.Millisecond) // it counts them all
	defer tick.Stop()
	for {
		var parked int
		if err := w.db.QueryRow(w.b.Context(), "SELECT count(*) FROM sessions WHERE status = 'waiting' AND worker = ''").Scan(&parked); err != nil {
			w.b.Fatal(err)
		}
		if parked >= n {
			return
		}
		<-tick.C
	}
}
