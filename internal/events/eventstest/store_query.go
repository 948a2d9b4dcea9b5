package eventstest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

func testReadPages(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0)
	other := newStory(t, ref("s1-"), 0).deltas(50) // its key sorts right behind
	a.record(t, s.next(), other.next())
	for i := range 12 {
		a.record(t, s.deltas(i%5).next())
	}
	check := func() {
		t.Helper()
		n := len(s.events)
		for after := 0; after <= n+1; after++ {
			for _, limit := range []int{1, 2, 3, n - 1, n, 1000} {
				got, err := a.Read(t.Context(), s.ref, uint64(after), limit)
				must(t, err)
				from := min(after, n)
				sameEvents(t, got, s.events[from:min(from+limit, n)])
			}
		}
		got, err := a.Read(t.Context(), s.ref, 1<<63, 10)
		must(t, err)
		sameEvents(t, got, nil)
	}
	check()
	must(t, a.Compact(t.Context(), s.ref))
	check()
	a.record(t, s.deltas(1200).next())
	got, err := a.Read(t.Context(), s.ref, 0, 0)
	must(t, err)
	sameEvents(t, got, s.events[:1000])
}

func testList(t *testing.T, a *archive) {
	const n = 130
	want := make([]*story, n)
	var batch []events.SessionEvents
	for i := range n {
		// Four sessions share a minute, so that ids decide.
		want[i] = newStory(t, ref(fmt.Sprintf("s%03d", (i*37)%n)), i/4)
		batch = append(batch, want[i].next(), newStory(t, holdfast.SessionRef{Tenant: "other", Session: want[i].ref.Session}, i).next())
	}
	a.record(t, batch...)
	slices.SortFunc(want, func(x, y *story) int {
		return cmp.Or(y.events[0].Time.Compare(x.events[0].Time), cmp.Compare(y.ref.Session, x.ref.Session))
	})
	same := func(p events.Page, want []*story) {
		t.Helper()
		got, err := a.Sessions(t.Context(), "acme", p)
		must(t, err)
		if len(got) != len(want) {
			t.Fatalf("page %+v: %d sessions, want %d", p, len(got), len(want))
		}
		for i := range want {
			sameInfo(t, got[i], want[i].info(t))
		}
	}
	same(events.Page{}, want[:100])
	same(events.Page{Limit: 5000}, want)
	// Page by page, each page after the last row of the one before.
	p := events.Page{Limit: 7}
	for at := 0; ; at += 7 {
		at = min(at, n)
		same(p, want[at:min(at+7, n)])
		if at == n {
			break
		}
		last := want[min(at+7, n)-1]
		p.BeforeTime, p.BeforeID = last.events[0].Time, last.ref.Session
	}
	a.record(t, want[3].add(t, &holdfast.SessionDeletedEvent{}).next())
	same(events.Page{Limit: 5}, slices.Concat(want[:3], want[4:6]))
}

func testTenants(t *testing.T, a *archive) {
	mine, theirs := newStory(t, ref("s1"), 0).deltas(5), newStory(t, holdfast.SessionRef{Tenant: "evil", Session: "s1"}, 1).deltas(8)
	only := newStory(t, holdfast.SessionRef{Tenant: "evil", Session: "s2"}, 2).deltas(30)
	a.record(t, mine.next(), theirs.next(), only.next())
	a.holds(t, mine)
	a.holds(t, theirs)
	a.lacks(t, ref("s2"))
	for _, tenant := range []string{"", "*", "%", "acm", "acme2", "ACME"} {
		a.lacks(t, holdfast.SessionRef{Tenant: tenant, Session: "s1"})
		list, err := a.Sessions(t.Context(), tenant, events.Page{})
		must(t, err)
		if len(list) != 0 {
			t.Errorf("tenant %q sees %d sessions", tenant, len(list))
		}
	}
	must(t, a.PutSnapshot(t.Context(), mine.ref, events.Snapshot{Seq: 3, Format: "f", Data: []byte("mine")}))
	for _, r := range []holdfast.SessionRef{theirs.ref, ref("s2"), {Tenant: "*", Session: "s1"}} {
		snap, err := a.Snapshot(t.Context(), r, 0)
		must(t, err)
		if snap.Seq != 0 {
			t.Errorf("the snapshot of %s is seen as %s", mine.ref, r)
		}
	}
	wantError(t, a.Compact(t.Context(), ref("s2")), events.ErrNoSession)
	// What one tenant deletes stays with the other.
	a.record(t, mine.add(t, &holdfast.SessionDeletedEvent{}).next())
	a.holds(t, theirs)
	list, err := a.Sessions(t.Context(), "evil", events.Page{})
	must(t, err)
	if len(list) != 2 {
		t.Errorf("%d sessions, want 2", len(list))
	}
}

func testForks(t *testing.T, a *archive) {
	parent := newStory(t, ref("p"), 0).deltas(49)
	fork := newFork(t, ref("f"), 1, "p", 30).deltas(5)
	a.record(t, parent.next())
	a.record(t, fork.next())
	a.holds(t, fork)
	a.holds(t, parent)
	if i := a.session(t, fork.ref); i.ForkOf != "p" || i.ForkSeq != 30 || i.Head.Seq != 36 {
		t.Errorf("row of the fork: %+v", i)
	}
	for _, c := range []struct {
		after uint64
		limit int
		want  []events.Envelope
	}{
		{0, 0, fork.events},
		{0, 2, fork.events[:2]},
		{29, 2, fork.events[:2]},
		{30, 3, fork.events[:3]},
		{31, 3, fork.events[1:4]},
		{35, 3, fork.events[5:]},
		{36, 3, nil},
	} {
		got, err := a.Read(t.Context(), fork.ref, c.after, c.limit)
		must(t, err)
		sameEvents(t, got, c.want)
	}
	// A first event after 1 must be a session_created that says so.
	for name, s := range map[string]*story{
		"another seq":       newFork(t, ref("g"), 1, "p", 30),
		"no fork":           newFork(t, ref("g"), 1, "", 30),
		"no session_create": newFork(t, ref("g"), 1, "p", 30),
	} {
		switch name {
		case "another seq":
			s.events[0].Seq = 33
		case "no session_create":
			s.events[0].Type = holdfast.TypeUserMessage
		}
		wantError(t, a.tryRecord(t, s.next()), events.ErrGap)
		a.lacks(t, s.ref)
	}
}

func testDelete(t *testing.T, a *archive) {
	s, other := newStory(t, ref("s1"), 0).claim(t, "w1").deltas(20), newStory(t, ref("s2"), 0).deltas(3)
	a.record(t, s.next(), other.next())
	must(t, a.PutSnapshot(t.Context(), s.ref, events.Snapshot{Seq: 3, Format: "f", Data: []byte("d")}))
	gone := func() {
		t.Helper()
		sameEvents(t, a.read(t, s.ref), nil)
		if i := a.session(t, s.ref); !i.Deleted || i.Head.Seq != s.last() {
			t.Fatalf("row of a deleted session: %+v", i)
		}
		snap, err := a.Snapshot(t.Context(), s.ref, 0)
		must(t, err)
		if snap.Seq != 0 {
			t.Fatalf("a snapshot at %d of a deleted session", snap.Seq)
		}
	}
	s.deltas(2).add(t, &holdfast.SessionDeletedEvent{})
	a.record(t, s.next(), other.deltas(1).next())
	gone()
	a.holds(t, other)
	// Nothing brings it back: not the batch again, not a late snapshot, not
	// compaction, not events that come after.
	a.record(t, s.part(0, len(s.events)))
	gone()
	must(t, a.PutSnapshot(t.Context(), s.ref, events.Snapshot{Seq: 9, Format: "f", Data: []byte("d")}))
	gone()
	must(t, a.Compact(t.Context(), s.ref))
	gone()
	a.record(t, s.add(t, &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle}).next())
	gone()
	// Made and deleted in one batch.
	short := newStory(t, ref("s3"), 0).deltas(3).add(t, &holdfast.SessionDeletedEvent{})
	a.record(t, short.next())
	sameEvents(t, a.read(t, short.ref), nil)
	sameInfo(t, a.session(t, short.ref), short.info(t))
}

func testDeleteForks(t *testing.T, a *archive) {
	// c is a fork of b, b and b2 are forks of a.
	root := newStory(t, ref("a"), 0).deltas(19)
	b, b2 := newFork(t, ref("b"), 1, "a", 10).deltas(9), newFork(t, ref("b2"), 1, "a", 5).deltas(2)
	c := newFork(t, ref("c"), 2, "b", 15).deltas(4)
	stranger := newFork(t, holdfast.SessionRef{Tenant: "other", Session: "x"}, 1, "a", 10)
	a.record(t, root.next(), b.next(), b2.next(), c.next(), stranger.next())
	remove := func(s *story) {
		t.Helper()
		a.record(t, s.add(t, &holdfast.SessionDeletedEvent{}).next())
		if !a.session(t, s.ref).Deleted {
			t.Fatalf("%s is not deleted", s.ref)
		}
	}
	kept := func(s *story, want bool) {
		t.Helper()
		var evs []events.Envelope
		if want {
			evs = s.events
		}
		sameEvents(t, a.read(t, s.ref), evs)
	}
	remove(root)
	kept(root, true) // b, b2 and c need it
	must(t, a.Compact(t.Context(), root.ref))
	kept(root, true)
	remove(b)
	kept(b, true) // c needs it
	kept(root, true)
	remove(b2)
	kept(b2, false)
	kept(root, true) // c needs it through b
	remove(c)
	kept(c, false)
	kept(b, false)
	kept(root, false)
	a.holds(t, stranger)
	// All at once.
	p := newStory(t, ref("p"), 0).deltas(4)
	q := newFork(t, ref("q"), 1, "p", 3)
	a.record(t, p.next(), q.next())
	p.add(t, &holdfast.SessionDeletedEvent{})
	q.add(t, &holdfast.SessionDeletedEvent{})
	a.record(t, p.next(), q.next())
	kept(p, false)
	kept(q, false)
}

func testSnapshots(t *testing.T, a *archive) {
	s := newStory(t, ref("s1"), 0).deltas(99)
	a.record(t, s.next())
	put := func(seq uint64, format, data string) {
		t.Helper()
		must(t, a.PutSnapshot(t.Context(), s.ref, events.Snapshot{Seq: seq, Format: format, Data: []byte(data)}))
	}
	newest := func(max, seq uint64, format, data string) {
		t.Helper()
		got, err := a.Snapshot(t.Context(), s.ref, max)
		must(t, err)
		if got.Seq != seq || got.Format != format || !bytes.Equal(got.Data, []byte(data)) {
			t.Fatalf("Snapshot(%d): seq %d format %q data %q, want %d %q %q", max, got.Seq, got.Format, got.Data, seq, format, data)
		}
	}
	put(10, "v1", "\x00\xffdata")
	newest(0, 10, "v1", "\x00\xffdata")
	newest(10, 10, "v1", "\x00\xffdata")
	newest(9, 0, "", "")
	put(20, "v1", "")
	newest(0, 20, "v1", "")
	newest(1<<63+1, 20, "v1", "")
	put(20, "v2", "again")
	newest(0, 20, "v2", "again")
	put(15, "v1", "older")
	newest(0, 20, "v2", "again")
	for seq := uint64(30); seq < 100; seq += 10 {
		put(seq, "v2", "x")
		newest(0, seq, "v2", "x")
	}
	newest(20, 0, "", "") // long superseded
	// The recorder may be behind the worker that puts the snapshot.
	early := ref("early")
	must(t, a.PutSnapshot(t.Context(), early, events.Snapshot{Seq: 2, Format: "f", Data: []byte("d")}))
	got, err := a.Snapshot(t.Context(), early, 0)
	must(t, err)
	if got.Seq != 2 {
		t.Errorf("snapshot at %d, want 2", got.Seq)
	}
	a.lacks(t, early)
}

func testCompact(t *testing.T, a *archive) {
	wantError(t, a.Compact(t.Context(), ref("none")), events.ErrNoSession)
	s := newStory(t, ref("s1"), 0).claim(t, "w1")
	big := bytes.Repeat([]byte("x"), events.MaxChunk/3)
	for i := range 60 {
		switch {
		case i%20 == 19:
			s.raw("of_the_future", bytes.Repeat(big, 4)) // larger than a chunk
		case i%7 == 6:
			s.raw("of_the_future", big)
		default:
			s.deltas(i)
		}
		if i == 30 {
			s.claim(t, "w2")
		}
		a.record(t, s.next())
	}
	info := s.info(t)
	for range 3 { // compacting again changes nothing
		must(t, a.Compact(t.Context(), s.ref))
		a.holds(t, s)
		sameInfo(t, a.session(t, s.ref), info)
		a.record(t, s.deltas(1).next())
		info = s.info(t)
		a.holds(t, s)
	}
}

func testCompactIdle(t *testing.T, a *archive) {
	many := func(name string, batches int) *story {
		s := newStory(t, ref(name), 0).claim(t, "w1")
		a.record(t, s.next())
		for range batches {
			a.record(t, s.deltas(3).next())
		}
		return s
	}
	park := func(s *story) {
		a.record(t, s.add(t, &holdfast.SessionParkedEvent{Waiting: events.WaitingTimer}).next())
	}
	owned, few, parked := many("owned", 20), many("few", 5), many("parked", 20)
	park(few)
	park(parked)
	compacted := func(limit, want int) {
		t.Helper()
		got, err := a.CompactIdle(t.Context(), limit)
		must(t, err)
		if got != want {
			t.Fatalf("CompactIdle(%d) compacted %d sessions, want %d", limit, got, want)
		}
		for _, s := range []*story{owned, few, parked} {
			a.holds(t, s)
		}
	}
	compacted(0, 0)
	compacted(10, 1)
	compacted(10, 0)
	park(owned)
	compacted(10, 1)
	compacted(10, 0)
	for range 17 {
		a.record(t, few.deltas(1).next(), parked.deltas(1).next())
	}
	compacted(1, 1)
	compacted(1, 1)
	compacted(1, 0)
	// Deleted ones have nothing to compact.
	for range 17 {
		a.record(t, few.deltas(1).next())
	}
	a.record(t, few.add(t, &holdfast.SessionDeletedEvent{}).next())
	if n, err := a.CompactIdle(t.Context(), 10); n != 0 || err != nil {
		t.Fatalf("CompactIdle: %d, %v", n, err)
	}
}

func testOrphans(t *testing.T, a *archive) {
	now := time.Now()
	// A session's last event is so long ago.
	at := func(name string, ago time.Duration, evs ...holdfast.Event) *story {
		s := newStory(t, ref(name), 0)
		if name == "theirs" {
			s.ref.Tenant = "other"
		}
		s.claim(t, "w1").add(t, evs...)
		s.events[len(s.events)-1].Time = now.Add(-ago)
		a.record(t, s.next())
		return s
	}
	running := func() holdfast.Event { return &holdfast.RunStartedEvent{Run: "r", Agent: "a"} }
	old := at("old", time.Hour, running())
	theirs := at("theirs", 2*time.Hour, &holdfast.RunQueuedEvent{Run: "r"})
	at("fresh", time.Second, running())
	at("finished", time.Hour, running(), &holdfast.RunFinishedEvent{Run: "r"})
	at("waiting", time.Hour, running(), &holdfast.SessionParkedEvent{Waiting: events.WaitingApproval})
	at("gone", time.Hour, running(), &holdfast.SessionDeletedEvent{})
	for _, c := range []struct {
		limit int
		want  []*story
	}{{10, []*story{theirs, old}}, {1, []*story{theirs}}, {0, nil}} {
		got, err := a.Orphans(t.Context(), time.Minute, c.limit)
		must(t, err)
		if len(got) != len(c.want) {
			t.Fatalf("%d orphans, want %d: %+v", len(got), len(c.want), got)
		}
		for i := range got {
			sameInfo(t, got[i], c.want[i].info(t))
		}
	}
	got, err := a.Orphans(t.Context(), 90*time.Minute, 10)
	must(t, err)
	if len(got) != 1 || got[0].Session != theirs.ref {
		t.Fatalf("orphans older than 90 minutes: %+v", got)
	}
	if refs, err := a.Rowless(t.Context(), 10); err != nil || len(refs) != 0 {
		t.Errorf("events without a row: %v, %v", refs, err)
	}
}

// testSearch checks that the filter of a page selects what it says.
func testSearch(t *testing.T, a *archive) {
	mk := func(id string, minute int, ev holdfast.SessionCreatedEvent) {
		s := &story{ref: ref(id)}
		s.add(t, &ev)
		s.events[0].Time = start.Add(time.Duration(minute) * time.Minute)
		a.record(t, s.next())
	}
	mk("a", 1, holdfast.SessionCreatedEvent{Title: "Trip to Rome", Agent: "planner.yaml", Metadata: map[string]string{"team": "blue", "note": "50% \"off\"\x00"}})
	mk("b", 2, holdfast.SessionCreatedEvent{Title: "trip to Oslo", Agent: "pirate.yaml", Metadata: map[string]string{"team": "red"}})
	mk("c", 3, holdfast.SessionCreatedEvent{Title: "Taxes", Agent: "planner.yaml"})
	queued := &story{ref: ref("d")}
	queued.add(t, &holdfast.SessionCreatedEvent{Title: "5000 miles"}, &holdfast.RunQueuedEvent{Run: "r", Agent: "pirate.yaml"})
	queued.events[0].Time = start.Add(4 * time.Minute)
	a.record(t, queued.next(), newStory(t, holdfast.SessionRef{Tenant: "evil", Session: "trip"}, 5).next())
	for _, c := range []struct {
		filter events.Filter
		want   string
	}{
		{events.Filter{}, "[d c b a]"},
		{events.Filter{Text: "TRIP"}, "[b a]"},
		{events.Filter{Text: "rome"}, "[a]"},
		{events.Filter{Text: "Blue"}, "[a]"},
		{events.Filter{Text: "team"}, "[]"}, // keys are not searched
		{events.Filter{Text: "50% "}, "[a]"},
		{events.Filter{Text: "%"}, "[a]"},
		{events.Filter{Text: "_"}, "[]"},
		{events.Filter{Text: `\`}, "[]"},
		{events.Filter{Text: `"off"`}, "[a]"},
		{events.Filter{Text: "' OR 1=1 --"}, "[]"},
		{events.Filter{Text: "x\x00"}, "[]"},
		{events.Filter{Agent: "planner.yaml"}, "[c a]"},
		{events.Filter{Agent: "planner.yaml", Text: "trip"}, "[a]"},
		{events.Filter{Status: events.StatusQueued}, "[d]"},
		{events.Filter{Status: "none"}, "[]"},
		{events.Filter{Metadata: map[string]string{"team": "red"}}, "[b]"},
		{events.Filter{Metadata: map[string]string{"team": "Red"}}, "[]"},
		{events.Filter{Metadata: map[string]string{"team": "blue", "note": "x"}}, "[]"},
	} {
		list, err := a.Sessions(t.Context(), "acme", events.Page{Filter: c.filter})
		must(t, err)
		ids := []string{}
		for _, s := range list {
			ids = append(ids, s.Session.Session)
		}
		if fmt.Sprint(ids) != c.want {
			t.Errorf("%+v: %v, want %s", c.filter, ids, c.want)
		}
	}
	// Pages go on behind a row that matches.
	list, err := a.Sessions(t.Context(), "acme", events.Page{Limit: 1, BeforeTime: start.Add(2 * time.Minute), BeforeID: "b", Filter: events.Filter{Text: "trip"}})
	must(t, err)
	if len(list) != 1 || list[0].Session.Session != "a" {
		t.Errorf("the second page: %+v", list)
	}
}
