package eventstest

import (
	"fmt"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Script is a stream of batches with what a store must have after each of them,
// for tests in which a store fails in the middle. The checker knows nothing but
// the script and what it reads.
type Script struct {
	stream  string
	stories []*story
	batches []events.Batch
	upTo    [][]int // per batch: how many events of each story are recorded after it
}

// NewScript makes n batches in which sessions begin, stream, wait and are forked.
// Its sessions belong to the tenants tenant-0 and tenant-1.
func NewScript(t *testing.T, n int) *Script {
	t.Helper()
	s := &Script{stream: "SCRIPT"}
	for b := range n {
		if b%5 == 0 {
			r := holdfast.SessionRef{Tenant: fmt.Sprintf("tenant-%d", len(s.stories)%2), Session: fmt.Sprintf("s%d", len(s.stories))}
			s.stories = append(s.stories, newStory(t, r, b).claim(t, "w1"))
		}
		batch := events.Batch{Stream: s.stream, From: uint64(b), To: uint64(b + 1)}
		counts := make([]int, len(s.stories))
		for i, st := range s.stories {
			switch (b + i) % 6 {
			case 0:
				st.add(t, &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle}).claim(t, "w2")
			case 1:
				st.add(t, &holdfast.TokenUsageEvent{Usage: holdfast.Usage{InputTokens: int64(b), OutputTokens: 1, Cost: float64(b)}})
			default:
				st.deltas(1 + b%7)
			}
			batch.Sessions = append(batch.Sessions, st.next())
			counts[i] = len(st.events)
		}
		s.batches, s.upTo = append(s.batches, batch), append(s.upTo, counts)
	}
	return s
}

// Stream is the name of the bus stream.
func (s *Script) Stream() string { return s.stream }

// Len returns the number of batches.
func (s *Script) Len() int { return len(s.batches) }

// Batch returns the batch that follows the cursor n.
func (s *Script) Batch(n uint64) events.Batch { return s.batches[n] }

// Ref returns a session; 0 is there from the first batch on.
func (s *Script) Ref(i int) holdfast.SessionRef { return s.stories[i].ref }

// Check fails the test unless the store has exactly the first n batches.
func (s *Script) Check(t *testing.T, store events.Store, n uint64) {
	t.Helper()
	at, err := store.Cursor(t.Context(), s.stream)
	must(t, err)
	if at != n {
		t.Fatalf("cursor %d, want %d", at, n)
	}
	a := &archive{Store: store}
	for i, st := range s.stories {
		if n == 0 || i >= len(s.upTo[n-1]) {
			a.lacks(t, st.ref)
			continue
		}
		want := st.events[:s.upTo[n-1][i]]
		sameEvents(t, a.read(t, st.ref), want)
		sameInfo(t, a.session(t, st.ref), fold(t, st.ref, want))
	}
}
