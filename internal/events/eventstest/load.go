package eventstest

import (
	"fmt"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Load makes batches for benchmarks: sessions that all stream tokens at once.
type Load struct {
	stream   string
	sessions []holdfast.SessionRef
	seqs     []uint64
	at       uint64
	next     int
	words    int
}

// NewLoad begins with a number of sessions; what it makes belongs to the named
// stream, and its sessions to no other.
func NewLoad(stream string, sessions int) *Load {
	l := &Load{stream: stream, seqs: make([]uint64, sessions)}
	for range sessions {
		l.sessions = append(l.sessions, holdfast.SessionRef{Tenant: "acme", Session: holdfast.NewID()})
	}
	return l
}

// Ref returns a session.
func (l *Load) Ref(i int) holdfast.SessionRef { return l.sessions[i] }

// words of a language model's answer.
var words = []string{"the", " ship", " sails", " with", " a", " holdfast", "ing", " anchor", ",", " and", " no", " wind", ".", "\n", " waves", " of", " 42"}

// Next returns the next batch of n events, the same number for each session, or
// for as many as there are events.
func (l *Load) Next(n int) events.Batch {
	b := events.Batch{Stream: l.stream, From: l.at, To: l.at + uint64(n)}
	l.at = b.To
	each := max(1, n/len(l.sessions))
	for ; n > 0; n -= each {
		i := l.next % len(l.sessions)
		l.next++
		evs := make([]events.Envelope, min(each, n))
		for j := range evs {
			l.seqs[i]++
			l.words = l.words*1103515245 + 12345
			evs[j] = events.Envelope{
				Seq: l.seqs[i], Epoch: 1, Time: start.Add(time.Duration(l.at) * time.Millisecond), Run: l.sessions[i].Session,
				Type: holdfast.TypeAgentChoice, V: 1, Agent: "root",
				Payload: fmt.Appendf(nil, `{"content":%q}`, words[uint(l.words>>16)%uint(len(words))]),
			}
			if l.seqs[i] == 1 {
				evs[j].Type, evs[j].Payload = holdfast.TypeSessionCreated, []byte(`{"title":"a session","agent":"pirate"}`)
			}
		}
		b.Sessions = append(b.Sessions, events.SessionEvents{Session: l.sessions[i], Events: evs})
	}
	return b
}

// Columns are the same events for a plain insert to compare with.
type Columns struct {
	Tenant, Session   []string
	First, Last, Size []int64
	Data              [][]byte
}

// AddChunks adds the events as a store's chunks.
func (c *Columns) AddChunks(se events.SessionEvents) {
	for _, chunk := range events.AppendChunks(nil, se.Events) {
		c.add(se.Session, chunk)
	}
}

// AddEvents adds a row for each event with its bare payload.
func (c *Columns) AddEvents(se events.SessionEvents) {
	for i := range se.Events {
		e := &se.Events[i]
		c.add(se.Session, events.Chunk{First: e.Seq, Last: e.Seq, Size: len(e.Payload), Data: e.Payload})
	}
}

func (c *Columns) add(ref holdfast.SessionRef, chunk events.Chunk) {
	c.Tenant, c.Session = append(c.Tenant, ref.Tenant), append(c.Session, ref.Session)
	c.First, c.Last, c.Size = append(c.First, int64(chunk.First)), append(c.Last, int64(chunk.Last)), append(c.Size, int64(chunk.Size))
	c.Data = append(c.Data, chunk.Data)
}

// BenchmarkRead reads a recorded session of n events: all of it in pages as
// [events.Reader] takes them, and its last 50 events, before and after Compact.
func BenchmarkRead(b *testing.B, s interface {
	events.Store
	events.Maintainer
}, ref holdfast.SessionRef, n int,
) {
	read := func(b *testing.B) {
		b.Run("all", func(b *testing.B) {
			for b.Loop() {
				at := 0
				for at < n {
					evs, err := s.Read(b.Context(), ref, uint64(at), 2000)
					if err != nil {
						b.Fatal(err)
					}
					if at += len(evs); len(evs) == 0 {
						b.Fatalf("%d events, want %d", at, n)
					}
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run("last 50", func(b *testing.B) {
			for b.Loop() {
				if evs, err := s.Read(b.Context(), ref, uint64(n-50), 2000); err != nil || len(evs) != 50 {
					b.Fatalf("%d events, %v", len(evs), err)
				}
			}
		})
	}
	b.Run("recorded", read)
	begin := time.Now()
	if err := s.Compact(b.Context(), ref); err != nil {
		b.Fatal(err)
	}
	b.Logf("compacted %d events in %s", n, time.Since(begin).Round(time.Millisecond))
	b.Run("compacted", read)
}
