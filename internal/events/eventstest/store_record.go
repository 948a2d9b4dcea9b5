package eventstest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

func testEmpty(t *testing.T, a *archive) {
	a.cursorIs(t, 0)
	a.lacks(t, ref("s1"))
	list, err := a.Sessions(t.Context(), "acme", events.Page{})
	must(t, err)
	if len(list) != 0 {
		t.Fatalf("%d sessions in an empty store", len(list))
	}
	snap, err := a.Snapshot(t.Context(), ref("s1"), 0)
	must(t, err)
	if snap.Seq != 0 || snap.Format != "" || snap.Data != nil {
		t.Fatalf("snapshot %+v in an empty store", snap)
	}
	a.record(t) // a batch without events moves the cursor
	a.cursorIs(t, 10)
}

func testVerbatim(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0).claim(t, "w1")
	s.run = "run-1"
	s.raw("of_the_future", nil)
	s.raw("of_the_future", []byte(`{"b":1,  "a":"\u0000 \ud83d"}`))
	s.raw("of_the_future", []byte{0, 0xff, '\'', '\\', '"', 0x80, '\n'})
	s.raw("of_the_future", bytes.Repeat([]byte("0123456789abcdef"), events.MaxPayload/16))
	s.events[len(s.events)-1].V = 7
	s.run = "run-2"
	for i := range 40 {
		s.raw(holdfast.TypeAgentChoice, fmt.Appendf(nil, `{"content":%q}`, strings.Repeat("wörd ", 4000+i)))
		s.events[len(s.events)-1].Agent = []string{"root", "", "helper, the 2nd"}[i%3]
	}
	s.events[len(s.events)-1].Time = time.Unix(-1, 1000)                                         // before 1970
	s.events[len(s.events)-2].Time = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)         // finer than kept
	s.events[len(s.events)-3].Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 7200)) // with a zone
	a.record(t, s.next())
	want := append([]events.Envelope(nil), s.events...)
	want[len(want)-2].Time = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	sameEvents(t, a.read(t, s.ref), want)
	must(t, a.Compact(t.Context(), s.ref))
	sameEvents(t, a.read(t, s.ref), want)
	sameInfo(t, a.session(t, s.ref), s.info(t))
}

func testCursor(t *testing.T, a *archive) {
	s, other := newStory(t, ref("s1"), 0), newStory(t, ref("s2"), 0)
	a.record(t, s.next())
	a.cursorIs(t, 10)
	for _, from := range []uint64{0, 5, 11, 20} {
		err := a.Record(t.Context(), events.Batch{Stream: stream, From: from, To: from + 100, Sessions: []events.SessionEvents{other.part(0, 1)}})
		wantError(t, err, events.ErrCursorMoved)
	}
	a.cursorIs(t, 10)
	a.lacks(t, other.ref)
	// Another stream has a cursor of its own.
	must(t, a.Record(t.Context(), events.Batch{Stream: "EVENTS-1", From: 0, To: 3, Sessions: []events.SessionEvents{other.next()}}))
	a.cursorIs(t, 10)
	a.holds(t, other)
	// A cursor that does not exist is at 0 and nowhere else.
	wantError(t, a.Record(t.Context(), events.Batch{Stream: "EVENTS-2", From: 1, To: 2}), events.ErrCursorMoved)
	for _, b := range []events.Batch{{Stream: stream, From: 10, To: 10}, {Stream: stream, From: 10, To: 9}, {From: 0, To: 1}} {
		if err := a.Record(t.Context(), b); err == nil {
			t.Errorf("Record of the batch %+v: no error", b)
		}
	}
	if err := a.tryRecord(t, events.SessionEvents{Session: holdfast.SessionRef{Tenant: "acme"}, Events: s.events}); err == nil {
		t.Error("Record of a session without an id: no error")
	}
	a.cursorIs(t, 10)
}

func testAgain(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0).claim(t, "w1").deltas(10)
	a.record(t, s.next())
	// What was already there comes again: whole, and with something new behind.
	a.record(t, s.part(0, 12))
	a.record(t, s.part(3, 7))
	a.holds(t, s)
	s.add(t, &holdfast.TokenUsageEvent{Usage: holdfast.Usage{InputTokens: 7, OutputTokens: 3, Cost: 0.5}}).deltas(3)
	a.record(t, s.part(5, len(s.events)))
	a.record(t, s.part(0, len(s.events)))
	a.record(t, events.SessionEvents{Session: s.ref})
	a.holds(t, s)
	if got := a.session(t, s.ref).InputTokens; got != 7 {
		t.Errorf("%d input tokens after the same usage came twice, want 7", got)
	}
}

func testRoot(t *testing.T, a *archive) {
	root := func(s *story, i, j int) events.SessionEvents {
		se := s.part(i, j)
		se.Root = true
		return se
	}
	s := newStory(t, ref("s1"), 0).claim(t, "w1").deltas(10)
	a.record(t, root(s, 0, 1), s.part(1, 6))
	a.record(t, root(s, 0, 1)) // a copy
	a.record(t, root(s, 6, 10))
	a.holds(t, s.until(10))
	// One that comes too late reaches beyond the end, with other events.
	late := newStory(t, s.ref, 0).claim(t, "w2").deltas(20)
	a.record(t, root(late, 8, 15))
	a.holds(t, s.until(10))
	a.record(t, root(late, 9, 10), s.part(10, 12))
	a.holds(t, s)
	wantError(t, a.tryRecord(t, root(late, 13, 14)), events.ErrGap)
	a.holds(t, s)
}

func testGap(t *testing.T, a *archive) {
	s, other := newStory(t, ref("s1"), 0).deltas(9), newStory(t, ref("s2"), 0)
	refused := func(se events.SessionEvents) {
		t.Helper()
		wantError(t, a.tryRecord(t, other.part(0, 1), se), events.ErrGap)
		a.lacks(t, other.ref)
	}
	refused(s.part(1, 5)) // does not begin at 1
	zero := s.part(0, 3)
	zero.Events = append([]events.Envelope(nil), zero.Events...)
	zero.Events[0].Seq = 0
	refused(zero)
	a.lacks(t, s.ref)
	a.cursorIs(t, 0)
	a.record(t, s.part(0, 5))
	refused(s.part(6, 10))
	hole := s.part(5, 10)
	hole.Events = append(append([]events.Envelope(nil), hole.Events[:2]...), hole.Events[3:]...)
	refused(hole)
	back := s.part(5, 10)
	back.Events = append(append([]events.Envelope(nil), back.Events[:3]...), back.Events[1:]...)
	refused(back)
	sameEvents(t, a.read(t, s.ref), s.events[:5])
	a.cursorIs(t, 10)
	a.record(t, s.part(5, 10))
	a.holds(t, s)
}

func testTwice(t *testing.T, a *archive) {
	s, other := newStory(t, ref("s1"), 0).deltas(9), newStory(t, ref("s2"), 0).deltas(3)
	a.record(t, s.part(0, 4), other.next(), s.part(4, 7), s.part(2, 10))
	a.holds(t, s)
	a.holds(t, other)
	s.deltas(2)
	wantError(t, a.tryRecord(t, s.part(10, 11), s.part(12, 12), s.part(0, 0), events.SessionEvents{Session: s.ref, Events: []events.Envelope{{Seq: 99, V: 1}}}), events.ErrGap)
	a.record(t, s.part(10, 12))
	a.holds(t, s)
}

func testProjection(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0)
	check := func() {
		t.Helper()
		a.record(t, s.next())
		a.holds(t, s)
	}
	check()
	s.claim(t, "w1").add(t, &holdfast.RunQueuedEvent{Run: "r1"})
	check()
	s.run = "r1"
	s.add(t, &holdfast.RunStartedEvent{Run: "r1", Agent: "captain"}, &holdfast.UserMessageEvent{Message: "ahoy"}).deltas(5)
	check()
	s.add(t, &holdfast.SessionTitleEvent{SessionID: "s1", Title: "Ahoi ⚓ 'x'"},
		&holdfast.TokenUsageEvent{Usage: holdfast.Usage{InputTokens: 100, OutputTokens: 20, Cost: 0.125}},
		&holdfast.ModelCallFinishedEvent{})
	check()
	s.add(t, &holdfast.SessionParkedEvent{Waiting: events.WaitingApproval})
	check()
	if i := a.session(t, s.ref); i.Status != events.StatusWaiting || i.Waiting != events.WaitingApproval || i.Worker != "" || i.Run != "r1" {
		t.Errorf("a parked session's row: %+v", i)
	}
	s.claim(t, "w2").add(t, &holdfast.ToolCallDecidedEvent{}).add(t, &holdfast.RunFinishedEvent{}, &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle})
	check()
}

func testPoison(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0)
	s.raw(holdfast.TypeSessionTitle, []byte(`{"title": 7`))
	s.raw(holdfast.TypeRunStarted, []byte("\xff\x00"))
	s.raw(holdfast.TypeTokenUsage, nil)
	s.raw(holdfast.TypeTokenUsage, []byte(`{"usage":{"input_tokens":"many"}}`))
	a.record(t, s.next())
	s.raw(holdfast.TypeSessionClaimed, []byte(`[]`)).deltas(1)
	a.record(t, s.next())
	sameEvents(t, a.read(t, s.ref), s.events)
	if i := a.session(t, s.ref); i.Head.Seq != s.last() || i.Title != "about s1" || i.Status != events.StatusIdle {
		t.Fatalf("row after events that cannot be read: %+v", i)
	}
	// What follows is projected again.
	s.add(t, &holdfast.SessionTitleEvent{SessionID: "s1", Title: "good"})
	a.record(t, s.next())
	if i := a.session(t, s.ref); i.Title != "good" || i.Head.Seq != s.last() || !i.UpdatedAt.Equal(s.events[len(s.events)-1].Time) {
		t.Fatalf("row after a good event: %+v", i)
	}
	// Characters that a database may not be able to keep.
	s.raw(holdfast.TypeSessionTitle, []byte(`{"title":"a\u0000b \ud800 c"}`))
	odd := &story{ref: ref("s2")}
	odd.raw(holdfast.TypeSessionCreated, []byte("{\"title\":\"\\u0000\xff\",\"metadata\":{\"k\\u0000\":\"\\u0000v\",\"x\":\"y\"}}"))
	// A start that cannot be read, at the start and at the start of a fork; times
	// out of range.
	lost, lostFork := &story{ref: ref("s3")}, &story{ref: ref("s4")}
	lost.raw(holdfast.TypeSessionCreated, []byte(`nothing`)).deltas(2)
	lost.events[2].Time = time.UnixMicro(1 << 62)
	lostFork.raw(holdfast.TypeSessionCreated, []byte(`nothing`)).deltas(2)
	for i := range lostFork.events {
		lostFork.events[i].Seq += 41
	}
	a.record(t, s.next(), odd.next(), lost.next(), lostFork.next())
	for _, s := range []*story{s, odd, lost, lostFork} {
		sameEvents(t, a.read(t, s.ref), s.events)
		if i := a.session(t, s.ref); i.Head.Seq != s.last() {
			t.Errorf("head of %s is %d, want %d", s.ref, i.Head.Seq, s.last())
		}
	}
	if got, want := a.session(t, s.ref).Title, "a\uFFFDb \uFFFD c"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if i := a.session(t, odd.ref); i.Title != "\uFFFD\uFFFD" || i.Metadata["k\uFFFD"] != "\uFFFDv" || i.Metadata["x"] != "y" {
		t.Errorf("title %q metadata %q", i.Title, i.Metadata)
	}
	a.record(t, odd.deltas(1).next(), lost.deltas(1).next(), lostFork.deltas(1).next())
	list, err := a.Sessions(t.Context(), "acme", events.Page{})
	must(t, err)
	if len(list) != 4 {
		t.Errorf("%d sessions in the list, want 4", len(list))
	}
}

func testFallingEpoch(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0).claim(t, "w1").deltas(3)
	for i := range s.events {
		s.events[i].Epoch = []uint64{5, 6, 2, 2, 9}[i]
	}
	a.record(t, s.next())
	s.deltas(1)
	s.events[5].Epoch = 1
	a.record(t, s.next())
	a.holds(t, s)
	must(t, a.Compact(t.Context(), s.ref))
	a.holds(t, s)
}

func testCanceled(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0).deltas(3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Record": func() error {
			return a.Record(ctx, events.Batch{Stream: stream, To: 1, Sessions: []events.SessionEvents{s.next()}})
		},
		"Cursor":      func() error { _, err := a.Cursor(ctx, stream); return err },
		"Read":        func() error { _, err := a.Read(ctx, s.ref, 0, 1); return err },
		"Session":     func() error { _, err := a.Session(ctx, s.ref); return err },
		"Sessions":    func() error { _, err := a.Sessions(ctx, "acme", events.Page{}); return err },
		"PutSnapshot": func() error { return a.PutSnapshot(ctx, s.ref, events.Snapshot{Seq: 1}) },
		"Snapshot":    func() error { _, err := a.Snapshot(ctx, s.ref, 0); return err },
		"Compact":     func() error { return a.Compact(ctx, s.ref) },
		"CompactIdle": func() error { _, err := a.CompactIdle(ctx, 1); return err },
		"Orphans":     func() error { _, err := a.Orphans(ctx, time.Second, 1); return err },
	} {
		wantError(t, call(), context.Canceled)
		_ = name
	}
	a.cursorIs(t, 0)
	a.lacks(t, s.ref)
}
