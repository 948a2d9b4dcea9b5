package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// throughputSessions stream throughputWords each, as fast as they can.
	throughputSessions = 200
	throughputWords    = 1000
	// peerTime is how long a raw limit is measured.
	peerTime = 2 * time.Second
)

// BenchmarkEndToEnd measures events per second from a model without delays
// through the worker, JetStream, API and recorder until every event was read by
// a client over SSE and is in Postgres; and what JetStream and Postgres alone
// take of the same events one at a time.
func BenchmarkEndToEnd(b *testing.B) {
	w := newWorld(b, 1)
	agent := w.streamer(throughputWords, 0)
	b.Run("peer=jetstream-publish", func(b *testing.B) {
		b.ReportMetric(publishRaw(b, w.nats.URL()), "events/s")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("peer=jetstream-cas-publish", func(b *testing.B) {
		b.ReportMetric(publishCAS(b, w.nats.URL()), "events/s")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("peer=postgres-insert", func(b *testing.B) { b.ReportMetric(insertRows(b, w), "events/s"); b.ReportMetric(0, "ns/op") })
	b.Run("holdfast", func(b *testing.B) {
		var rates, delivered []float64
		total, frames := 0, 0
		before := used(b)
		for range *repetitions {
			r := w.burst(agent, throughputSessions)
			rates = append(rates, float64(r.events)/r.recorded.Seconds())
			delivered = append(delivered, float64(r.events)/r.delivered.Seconds())
			total += r.events
			frames += r.frames
		}
		before.report(b, total, "event")
		b.ReportMetric(quantile(rates, 0.5), "events/s")
		b.ReportMetric(quantile(delivered, 0.5), "delivered/s")
		b.ReportMetric(float64(total)/float64(frames), "events/frame")
		b.ReportMetric(0, "ns/op")
	})
}

// burst is one run in each of so many sessions, all at once.
type burst struct {
	events, frames      int
	delivered, recorded time.Duration
}

func (w *world) burst(agent string, sessions int) burst {
	w.b.Helper()
	recordedBefore := w.recorded()
	ids := w.create(sessions, agent)
	framesBefore := w.frames()
	var following, done sync.WaitGroup
	var events atomic.Int64
	for _, id := range ids {
		following.Add(1)
		done.Go(func() {
			first := sync.OnceFunc(following.Done)
			defer first()
			err := w.stream(w.b.Context(), id, 0, func(e *entry) bool {
				first()
				if e.is("session_parked") {
					events.Add(int64(e.seq))
					return false
				}
				return true
			})
			if err != nil {
				w.b.Error(err)
			}
		})
	}
	following.Wait()
	begin := time.Now()
	w.each(sessions, 64, func(i int) error { _, err := w.start(ids[i], "go"); return err })
	done.Wait()
	r := burst{delivered: time.Since(begin), events: int(events.Load()) - sessions}
	w.waitRecorded(recordedBefore + uint64(events.Load()))
	r.recorded = time.Since(begin)
	r.frames = int(w.frames() - framesBefore)
	return r
}

// frames is how many frames were ever stored.
func (w *world) frames() uint64 {
	w.b.Helper()
	js, done := jetStream(w.b, w.nats.URL())
	defer done()
	s, err := js.Stream(w.b.Context(), "hf-events-0")
	if err != nil {
		w.b.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// rawPayload is as large as a token's event is on average in the client's form.
var rawPayload = bytes.Repeat([]byte("x"), 110)

func jetStream(b *testing.B, url string) (jetstream.JetStream, func()) {
	b.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		b.Fatal(err)
	}
	return js, nc.Close
}

// rawStream makes a stream as the product's are, without anything of ours.
func rawStream(b *testing.B, url, name string) {
	b.Helper()
	js, done := jetStream(b, url)
	b.Cleanup(func() {
		defer done()
		if err := js.DeleteStream(context.WithoutCancel(b.Context()), name); err != nil {
			b.Error(err)
		}
	})
	_, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".*"}, Storage: jetstream.FileStorage, Duplicates: 100 * time.Millisecond,
		RePublish: &jetstream.RePublish{Source: name + ".*", Destination: name + "-live.{{wildcard(1)}}"},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// publishRaw publishes messages of one event without waiting for each.
func publishRaw(b *testing.B, url string) (perSecond float64) {
	b.Helper()
	const publishers = 4
	rawStream(b, url, "raw")
	var stored atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for p := range publishers {
		js, done := jetStream(b, url)
		wg.Go(func() {
			defer done()
			n := 0
			for ; time.Since(begin) < peerTime; n++ {
				if _, err := js.PublishAsync(fmt.Sprintf("raw.%d", n%50*publishers+p), rawPayload, jetstream.WithStallWait(10*time.Second)); err != nil {
					b.Error(err)
					return
				}
			}
			<-js.PublishAsyncComplete()
			stored.Add(int64(n))
		})
	}
	wg.Wait()
	return float64(stored.Load()) / time.Since(begin).Seconds()
}

// publishCAS publishes messages of one event, each a compare-and-set on the one
// before of its session, one in flight per session.
func publishCAS(b *testing.B, url string) (perSecond float64) {
	b.Helper()
	const connections = 4
	rawStream(b, url, "cas")
	var stored atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range connections {
		js, done := jetStream(b, url)
		var ended sync.WaitGroup
		for range throughputSessions / connections {
			subject := "cas." + nats.NewInbox()[7:]
			ended.Add(1)
			wg.Go(func() {
				defer ended.Done()
				var last uint64
				n := 0
				for ; time.Since(begin) < peerTime; n++ {
					ack, err := js.Publish(b.Context(), subject, rawPayload, jetstream.WithExpectLastSequencePerSubject(last))
					if err != nil {
						b.Error(err)
						return
					}
					last = ack.Sequence
				}
				stored.Add(int64(n))
			})
		}
		wg.Go(func() { ended.Wait(); done() })
	}
	wg.Wait()
	return float64(stored.Load()) / time.Since(begin).Seconds()
}

// insertRows inserts the events as rows, 1,000 in a transaction.
func insertRows(b *testing.B, w *world) (perSecond float64) {
	b.Helper()
	const batch = 1000
	conn, err := pgx.Connect(b.Context(), w.dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // nothing is lost
	_, err = conn.Exec(b.Context(), `CREATE TABLE raw (session text COLLATE "C", seq bigint, type text, at timestamptz, payload bytea, PRIMARY KEY (session, seq))`)
	if err != nil {
		b.Fatal(err)
	}
	sessions, seqs, types := make([]string, batch), make([]int64, batch), make([]string, batch)
	times, payloads := make([]time.Time, batch), make([][]byte, batch)
	n, begin := 0, time.Now()
	for time.Since(begin) < peerTime {
		for i := range batch {
			sessions[i], seqs[i], types[i] = fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", n%throughputSessions), int64(n), "agent_choice"
			times[i], payloads[i] = time.Now(), rawPayload[:25]
			n++
		}
		_, err := conn.Exec(b.Context(), `INSERT INTO raw SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[], $5::bytea[])`,
			sessions, seqs, types, times, payloads)
		if err != nil {
			b.Fatal(err)
		}
	}
	perSecond = float64(n) / time.Since(begin).Seconds()
	if _, err := conn.Exec(b.Context(), "DROP TABLE raw"); err != nil {
		b.Fatal(err)
	}
	return perSecond
}
