package eventstest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Store checks every promise of [events.Store], and of [events.Maintainer], which
// every store has as well. The function returns an empty store that nobody else
// uses; what has to be closed, it closes with t.Cleanup.
func Store(t *testing.T, open func(t *testing.T) events.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *archive)
	}{
		{"empty", testEmpty},
		{"events come back as they were", testVerbatim},
		{"read pages", testReadPages},
		{"the cursor is a compare-and-set", testCursor},
		{"a batch that comes again", testAgain},
		{"a root counts whole or not at all", testRoot},
		{"a gap refuses the whole batch", testGap},
		{"a session twice in a batch", testTwice},
		{"the row is the projection", testProjection},
		{"what cannot be understood is kept", testPoison},
		{"an epoch that falls is kept", testFallingEpoch},
		{"list of sessions", testList},
		{"search over sessions", testSearch},
		{"tenants are apart", testTenants},
		{"forks", testForks},
		{"delete", testDelete},
		{"delete with forks", testDeleteForks},
		{"snapshots", testSnapshots},
		{"compact", testCompact},
		{"compact idle sessions", testCompactIdle},
		{"orphans", testOrphans},
		{"a canceled context", testCanceled},
		{"two recorders", testTwoRecorders},
		{"two streams", testTwoStreams},
		{"record, read and compact at once", testAtOnce},
		{"long session", testLong},
		{"random operations against a model", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			m, ok := s.(events.Maintainer)
			if !ok {
				t.Fatalf("%T is no events.Maintainer", s)
			}
			c.run(t, &archive{Store: s, Maintainer: m})
		})
	}
}

// archive is a store under test, with the cursor of the one stream that most
// tests use.
type archive struct {
	events.Store
	events.Maintainer
	at uint64
}

const stream = "EVENTS-0"

// record stores the events of some sessions in one batch.
func (a *archive) record(t *testing.T, sessions ...events.SessionEvents) {
	t.Helper()
	if err := a.tryRecord(t, sessions...); err != nil {
		t.Fatalf("Record: %v", err)
	}
}

func (a *archive) tryRecord(t *testing.T, sessions ...events.SessionEvents) error {
	t.Helper()
	err := a.Record(t.Context(), events.Batch{Stream: stream, From: a.at, To: a.at + 10, Sessions: sessions})
	if err == nil {
		a.at += 10
	}
	return err
}

// story makes up the events of one session in order.
type story struct {
	ref    holdfast.SessionRef
	events []events.Envelope
	epoch  uint64
	run    string
	told   int // how many events next has handed out
}

// start is when all stories begin.
var start = time.Date(2026, 11, 22, 10, 0, 0, 123456000, time.UTC)

func ref(session string) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: "acme", Session: session}
}

// newStory begins with session_created, in the list at the given minute.
func newStory(t *testing.T, r holdfast.SessionRef, minute int) *story {
	t.Helper()
	return newFork(t, r, minute, "", 0)
}

func newFork(t *testing.T, r holdfast.SessionRef, minute int, of string, seq uint64) *story {
	t.Helper()
	s := &story{ref: r}
	s.add(t, &holdfast.SessionCreatedEvent{
		Title: "about " + r.Session, Agent: "pirate", Metadata: map[string]string{"of": r.Tenant}, ForkOf: of, ForkSeq: seq,
	})
	s.events[0].Seq = seq + 1
	s.events[0].Time = start.Add(time.Duration(minute) * time.Minute)
	return s
}

func (s *story) add(t *testing.T, evs ...holdfast.Event) *story {
	t.Helper()
	for _, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			t.Fatal(err)
		}
		s.raw(ev.EventType(), payload)
		s.events[len(s.events)-1].Agent = ev.GetAgentName()
	}
	return s
}

// raw adds an event whose payload is any bytes.
func (s *story) raw(typ string, payload []byte) *story {
	e := events.Envelope{Seq: 1, Epoch: s.epoch, Time: start, Run: s.run, Type: typ, V: 1, Payload: payload}
	if n := len(s.events); n > 0 {
		e.Seq, e.Time = s.events[n-1].Seq+1, s.events[n-1].Time.Add(1500*time.Microsecond)
	}
	s.events = append(s.events, e)
	return s
}

// claim begins the next epoch.
func (s *story) claim(t *testing.T, worker string) *story {
	s.epoch++
	return s.add(t, &holdfast.SessionClaimedEvent{Worker: worker, Reason: "command"})
}

// deltas adds n tokens.
func (s *story) deltas(n int) *story {
	for range n {
		s.raw(holdfast.TypeAgentChoice, fmt.Appendf(nil, `{"content":"token %d "}`, len(s.events)))
	}
	return s
}

// next returns what was added since it was called last.
func (s *story) next() events.SessionEvents {
	evs := s.events[s.told:]
	s.told = len(s.events)
	return events.SessionEvents{Session: s.ref, Events: evs}
}

// part returns the events from index i to j.
func (s *story) part(i, j int) events.SessionEvents {
	return events.SessionEvents{Session: s.ref, Events: s.events[i:j]}
}

func (s *story) last() uint64 { return s.events[len(s.events)-1].Seq }

// info is the projection of the whole story.
// until returns the story as it was when it had n events.
func (s *story) until(n int) *story {
	return &story{ref: s.ref, events: s.events[:n:n]}
}

func (s *story) info(t *testing.T) events.SessionInfo {
	t.Helper()
	return fold(t, s.ref, s.events)
}

func fold(t *testing.T, r holdfast.SessionRef, evs []events.Envelope) events.SessionInfo {
	t.Helper()
	i := events.SessionInfo{Session: r}
	for n := range evs {
		if err := i.Apply(&evs[n]); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func sameEvents(t *testing.T, got, want []events.Envelope) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		g, w := &got[i], &want[i]
		if g.Seq != w.Seq || g.Epoch != w.Epoch || !g.Time.Equal(w.Time.Truncate(time.Microsecond)) || g.Run != w.Run ||
			g.Type != w.Type || g.V != w.V || g.Agent != w.Agent || !bytes.Equal(g.Payload, w.Payload) {
			t.Fatalf("event %d of %d:\ngot  %s\nwant %s", i+1, len(want), describe(g), describe(w))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
}

func describe(e *events.Envelope) string {
	p := e.Payload
	if len(p) > 200 {
		p = p[:200]
	}
	return fmt.Sprintf("seq %d epoch %d %s run %q %s v%d agent %q %d bytes %q", e.Seq, e.Epoch, e.Time.UTC().Format(time.RFC3339Nano), e.Run, e.Type, e.V, e.Agent, len(e.Payload), p)
}

func sameInfo(t *testing.T, got, want events.SessionInfo) {
	t.Helper()
	if diff := infoDiff(got, want); diff != "" {
		t.Fatalf("session row:\n%s", diff)
	}
}

func infoDiff(got, want events.SessionInfo) string {
	g, w := got, want
	g.CreatedAt, g.UpdatedAt, g.Metadata = time.Time{}, time.Time{}, nil
	w.CreatedAt, w.UpdatedAt, w.Metadata = time.Time{}, time.Time{}, nil
	if fmt.Sprintf("%#v", g) != fmt.Sprintf("%#v", w) || !maps.Equal(got.Metadata, want.Metadata) ||
		!got.CreatedAt.Equal(want.CreatedAt.Truncate(time.Microsecond)) || !got.UpdatedAt.Equal(want.UpdatedAt.Truncate(time.Microsecond)) {
		return fmt.Sprintf("got  %+v\nwant %+v", got, want)
	}
	return ""
}

// read returns everything that the store has of a session.
func (a *archive) read(t *testing.T, r holdfast.SessionRef) []events.Envelope {
	t.Helper()
	evs, err := a.Read(t.Context(), r, 0, 1<<20)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return evs
}

// holds checks that the store has exactly the story, events and row.
func (a *archive) holds(t *testing.T, s *story) {
	t.Helper()
	sameEvents(t, a.read(t, s.ref), s.events)
	sameInfo(t, a.session(t, s.ref), s.info(t))
}

func (a *archive) session(t *testing.T, r holdfast.SessionRef) events.SessionInfo {
	t.Helper()
	info, err := a.Session(t.Context(), r)
	if err != nil {
		t.Fatalf("Session: %v", err)
	}
	return info
}

// lacks checks that the store never heard of the session.
func (a *archive) lacks(t *testing.T, r holdfast.SessionRef) {
	t.Helper()
	if _, err := a.Session(t.Context(), r); !errors.Is(err, events.ErrNoSession) {
		t.Fatalf("Session(%s): error %v, want ErrNoSession", r, err)
	}
	if evs := a.read(t, r); len(evs) != 0 {
		t.Fatalf("%d events of %s, want none", len(evs), r)
	}
}

func (a *archive) cursorIs(t *testing.T, want uint64) {
	t.Helper()
	got, err := a.Cursor(t.Context(), stream)
	if err != nil {
		t.Fatalf("Cursor: %v", err)
	}
	if got != want {
		t.Fatalf("cursor %d, want %d", got, want)
	}
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error %v, want %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
