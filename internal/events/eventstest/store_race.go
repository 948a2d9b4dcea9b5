package eventstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// testTwoRecorders lets recorders race for the same stream: each batch is
// recorded by exactly one of them.
func testTwoRecorders(t *testing.T, a *archive) {
	const recorders, batches = 4, 60
	stories := []*story{newStory(t, ref("s1"), 0), newStory(t, ref("s2"), 0), newStory(t, ref("s3"), 0)}
	for _, s := range stories {
		s.deltas(batches*2 - 1)
	}
	// The stream: batch n has the events 2n and 2n+1 of each session.
	batch := func(n uint64) events.Batch {
		b := events.Batch{Stream: stream, From: n, To: n + 1}
		for _, s := range stories {
			b.Sessions = append(b.Sessions, s.part(int(2*n), int(2*n+2)))
		}
		return b
	}
	var wg sync.WaitGroup
	won := make([]int, recorders)
	for i := range recorders {
		wg.Go(func() {
			for {
				at, err := a.Cursor(t.Context(), stream)
				if err != nil {
					t.Errorf("Cursor: %v", err)
					return
				}
				if at == batches {
					return
				}
				switch err := a.Record(t.Context(), batch(at)); {
				case err == nil:
					won[i]++
				case !errors.Is(err, events.ErrCursorMoved):
					t.Errorf("Record: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range won {
		total += n
	}
	if total != batches {
		t.Errorf("%d batches were recorded (%v), want %d", total, won, batches)
	}
	for _, s := range stories {
		a.holds(t, s)
	}
}

// testTwoStreams records two streams at once; they do not get in each other's way.
func testTwoStreams(t *testing.T, a *archive) {
	const batches = 30
	var wg sync.WaitGroup
	var stories []*story
	for i := range 2 {
		s, gone := newStory(t, ref(fmt.Sprintf("s%d", i)), 0), newStory(t, ref(fmt.Sprintf("gone%d", i)), 0)
		fork := newFork(t, ref(fmt.Sprintf("fork%d", i)), 0, gone.ref.Session, 1)
		s.deltas(2*batches - 1)
		gone.deltas(1).add(t, &holdfast.SessionDeletedEvent{})
		fork.add(t, &holdfast.SessionDeletedEvent{})
		stories = append(stories, s)
		wg.Go(func() {
			for n := range batches {
				b := events.Batch{Stream: fmt.Sprintf("EVENTS-%d", i), From: uint64(n), To: uint64(n + 1)}
				b.Sessions = []events.SessionEvents{s.part(2*n, 2*n+2)}
				switch n {
				case 3:
					b.Sessions = append(b.Sessions, gone.part(0, 2), fork.part(0, 1))
				case 5:
					b.Sessions = append(b.Sessions, gone.part(2, 3))
				case 7:
					b.Sessions = append(b.Sessions, fork.part(1, 2))
				}
				if err := a.Record(t.Context(), b); err != nil {
					t.Errorf("Record: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i, s := range stories {
		a.holds(t, s)
		sameEvents(t, a.read(t, ref(fmt.Sprintf("gone%d", i))), nil)
		sameEvents(t, a.read(t, ref(fmt.Sprintf("fork%d", i))), nil)
	}
}

// testAtOnce reads and compacts a session while it is being recorded. Readers
// see a log without gaps that only grows, and a row that is its projection.
func testAtOnce(t *testing.T, a *archive) {
	const batches = 80
	s := newStory(t, ref("s1"), 0).claim(t, "w1")
	for range batches {
		s.deltas(3).add(t, &holdfast.TokenUsageEvent{Usage: holdfast.Usage{InputTokens: 3, OutputTokens: 1}})
	}
	s.run = "r"
	a.record(t, s.part(0, 2))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			seen := 0
			for ctx.Err() == nil {
				info, err := a.Session(t.Context(), s.ref)
				if err != nil {
					t.Errorf("Session: %v", err)
					return
				}
				evs, err := a.Read(t.Context(), s.ref, 0, 1<<20)
				if err != nil {
					t.Errorf("Read: %v", err)
					return
				}
				if len(evs) < seen || uint64(len(evs)) < info.Head.Seq {
					t.Errorf("%d events after %d, the head is %d", len(evs), seen, info.Head.Seq)
					return
				}
				seen = len(evs)
				for i := range evs {
					if evs[i].Seq != uint64(i+1) || string(evs[i].Payload) != string(s.events[i].Payload) {
						t.Errorf("event %d: %s", i, describe(&evs[i]))
						return
					}
				}
				want := events.SessionInfo{Session: s.ref}
				for i := range s.events[:info.Head.Seq] {
					if err := want.Apply(&s.events[i]); err != nil {
						t.Error(err)
						return
					}
				}
				if diff := infoDiff(info, want); diff != "" {
					t.Errorf("the row at %d:\n%s", info.Head.Seq, diff)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := a.Compact(t.Context(), s.ref); err != nil {
				t.Errorf("Compact: %v", err)
				return
			}
		}
	})
	for i := range batches {
		a.record(t, s.part(2+4*i, 6+4*i))
	}
	cancel()
	wg.Wait()
	a.holds(t, s)
}

func testLong(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0)
	for range 100 {
		a.record(t, s.deltas(1000).next())
	}
	check := func() {
		t.Helper()
		at := 0
		for {
			got, err := a.Read(t.Context(), s.ref, uint64(at), 7000)
			must(t, err)
			sameEvents(t, got, s.events[at:min(at+7000, len(s.events))])
			at += len(got)
			if len(got) < 7000 {
				break
			}
		}
		if at != len(s.events) {
			t.Fatalf("%d events, want %d", at, len(s.events))
		}
	}
	check()
	must(t, a.Compact(t.Context(), s.ref))
	check()
	sameInfo(t, a.session(t, s.ref), s.info(t))
}

// testRandom does random things to a store and to a model of it, and compares.
func testRandom(t *testing.T, a *archive) {
	const seed = 20261122
	rng := rand.New(rand.NewPCG(seed, 1))
	var stories []*story
	deleted := map[*story]bool{}
	forked := map[*story]bool{}
	pick := func() *story { return stories[rng.IntN(len(stories))] }
	for step := range 400 {
		switch op := rng.IntN(20); {
		case op < 2 || len(stories) == 0:
			r := holdfast.SessionRef{Tenant: []string{"acme", "evil"}[rng.IntN(2)], Session: fmt.Sprintf("s%d", len(stories))}
			stories = append(stories, newStory(t, r, rng.IntN(5)))
		case op == 2:
			if p := pick(); !deleted[p] && p.told > 0 && p.ref.Session != "" {
				forked[p] = true
				r := holdfast.SessionRef{Tenant: p.ref.Tenant, Session: fmt.Sprintf("s%d", len(stories))}
				stories = append(stories, newFork(t, r, rng.IntN(5), p.ref.Session, p.events[rng.IntN(p.told)].Seq))
			}
		case op == 3:
			if s := pick(); !deleted[s] && !forked[s] && rng.IntN(3) == 0 {
				s.add(t, &holdfast.SessionDeletedEvent{})
				deleted[s] = true
			}
		case op < 6:
			if s := pick(); s.told > 0 {
				must(t, a.Compact(t.Context(), s.ref))
			}
		case op == 6:
			_, err := a.CompactIdle(t.Context(), 2)
			must(t, err)
		case op == 7: // a hole
			if s := pick(); s.told > 0 && !deleted[s] {
				last := s.events[s.told-1]
				last.Seq += 2
				wantError(t, a.tryRecord(t, events.SessionEvents{Session: s.ref, Events: []events.Envelope{last}}), events.ErrGap)
			}
		case op == 8: // another recorder
			wantError(t, a.Record(t.Context(), events.Batch{Stream: stream, From: a.at + 1, To: a.at + 2}), events.ErrCursorMoved)
		default:
			var batch []events.SessionEvents
			for range 1 + rng.IntN(4) {
				s := pick()
				if !deleted[s] {
					switch rng.IntN(6) {
					case 0:
						s.claim(t, "w1")
					case 1:
						s.add(t, &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle})
					default:
						s.deltas(rng.IntN(30))
					}
				}
				// What is new, now and then after what is not.
				from := s.told - rng.IntN(min(s.told, 5)+1)
				batch = append(batch, s.part(from, len(s.events)))
				s.told = len(s.events)
			}
			a.record(t, batch...)
		}
		if step%20 != 19 {
			continue
		}
		for _, s := range stories {
			switch {
			case s.told == 0:
				a.lacks(t, s.ref)
			case s.told < len(s.events): // the deletion is not recorded yet
				sameEvents(t, a.read(t, s.ref), s.events[:s.told])
			case deleted[s]:
				sameEvents(t, a.read(t, s.ref), nil)
				sameInfo(t, a.session(t, s.ref), s.info(t))
			default:
				a.holds(t, s)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d step %d", seed, step)
		}
	}
}
