package searchtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/search"
)

// Store checks every promise of [search.Store], over an [search.Indexer]. open
// returns an empty store that nobody else uses.
func Store(t *testing.T, open func(t *testing.T) Archive) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*world)
	}{
		{"what is found", testFound},
		{"queries", testQueries},
		{"scripts", testScripts},
		{"messages that are odd", testOdd},
		{"what was voided", testVoided},
		{"pages", testPages},
		{"forks", testForks},
		{"deleted sessions", testDeleted},
		{"tenants are apart", testTenants},
		{"sessions of before", testWalk},
		{"one indexes", testLease},
		{"progress is a compare-and-set", testMoved},
		{"a canceled context", testCanceled},
		{"deleted while it is indexed", testDeletedMeanwhile},
		{"restarts anywhere", testRestarts},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(newWorld(t, open(t))) })
	}
}

func testFound(w *world) {
	trip := ref("acme", "trip")
	l := w.log(trip)
	l.run = "r1"
	asked := w.say(trip, "Where do I stay in Rome?")
	answered := w.answer(trip, "guide", "Hotel Lutetia, near the river.")
	w.add(l, "guide", &holdfast.ToolCallEvent{ToolCall: holdfast.NewToolCall("c1", "find", `{"place":"kangaroo"}`)},
		&holdfast.ToolCallResponseEvent{ToolCallID: "c1", Response: "wallaby"}, &holdfast.SessionSummaryEvent{Summary: "koala"})
	w.record()
	w.index()
	w.want("rome", fmt.Sprintf("trip/%d", asked))
	w.want("lutetia RIVER", fmt.Sprintf("trip/%d", answered))
	w.want("rome lutetia", "") // all in one message
	for _, no := range []string{"kangaroo", "wallaby", "koala", "unspoken", "thoughts", "about"} {
		w.want(no, "")
	}
	q, err := search.Parse("river")
	must(w.t, err)
	f, err := w.s.Search(w.t.Context(), "acme", search.Page{Query: q, Limit: 10})
	must(w.t, err)
	want := search.Found{Hits: []search.Hit{{
		Message: search.Message{Seq: answered, At: w.clock.Add(-3 * time.Second), Role: holdfast.RoleAssistant, Run: "r1", Agent: "guide", Text: "Hotel Lutetia, near the river."},
		Session: "trip", Title: "about trip",
	}}}
	if d := cmp.Diff(want, f); d != "" {
		w.t.Errorf("the hit: %s", d)
	}
	only := func(role holdfast.Role, session string) func(*search.Page) {
		return func(p *search.Page) { p.Role, p.Session = role, session }
	}
	if got := w.search("acme", "rome or river", only(holdfast.RoleUser, "")); len(got) != 1 {
		w.t.Errorf("messages of the user: %q", got)
	}
	if got := w.search("acme", "rome or river", only("", "trip")); len(got) != 2 {
		w.t.Errorf("messages of the session: %q", got)
	}
	if got := w.search("acme", "rome", only("", "another")); len(got) != 0 {
		w.t.Errorf("messages of another session: %q", got)
	}
	// What comes later is found later, and nothing twice.
	again := w.say(trip, "Rome again")
	w.want("again", "")
	w.index()
	w.want("rome", fmt.Sprintf("trip/%d trip/%d", again, asked))
}

// testQueries asks each store the same of the same messages: a letter is a message.
func testQueries(w *world) {
	texts := map[string]string{
		"a": "the quick brown fox",
		"b": "the brown quick fox",
		"c": "quick; brown: FOX!",
		"d": "a fox-hunter's don't",
		"e": "see https://example.com/path?x=1 or mail user@example.com",
		"f": "release v1.2.3 of snake_case",
		"g": "foxglove",
		"h": "stop or go, rock and roll",
	}
	for _, id := range strings.Split("a b c d e f g h", " ") {
		w.say(ref("acme", id), texts[id])
	}
	w.index()
	for query, want := range map[string]string{
		"fox":                         "d c b a",
		"FOX":                         "d c b a",
		"quick fox":                   "c b a",
		`"quick brown"`:               "c a",
		`"quick brown`:                "c a",
		`"brown quick"`:               "b",
		`"quick fox"`:                 "b",
		"fox -quick":                  "d",
		`fox -"quick brown"`:          "d b",
		"fox -quick -hunter":          "",
		"hunter or quick":             "d c b a",
		"hunter OR foxglove -fox":     "g d",
		"fox*":                        "g d c b a",
		"foxg*":                       "g",
		`"brown fo"*`:                 "c a",
		"fox-hunter":                  "d",
		"don't":                       "d",
		"dont":                        "",
		"example.com":                 "e",
		"https://example.com/path":    "e",
		"user@example.com":            "e",
		"v1.2.3":                      "f",
		"1.2":                         "", // the word is v1
		"2.3":                         "f",
		"2.1":                         "",
		"snake":                       "f",
		"snake_case":                  "f",
		"case_snake":                  "",
		"or":                          "h e",
		"and":                         "h",
		`stop "or" go`:                "h",
		"or or or":                    "h e",
		"rock & roll | (x)":           "", // signs part words, x is one
		"rock & roll":                 "h",
		"!rock":                       "h",
		"fox:* <-> 'quick'":           "c b a",
		`a\b"c`:                       "",
		"NEAR(quick fox)":             "",
		"words:fox":                   "",
		"- fox":                       "d c b a",
		"quick* -brown or hunter":     "d",
		strings.Repeat("fox ", 60):    "d c b a",
		"quick or quick or quick fox": "c b a",
	} {
		got := w.search("acme", query)
		for i, g := range got {
			got[i], _, _ = strings.Cut(g, "/")
		}
		if strings.Join(got, " ") != want {
			w.t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func testScripts(w *world) {
	for i, text := range []string{
		"Straße nach Zürich", "CAFÉ au lait", "Привет, мир", "我想去東京旅行", "東京タワーとスカイツリー", "서울에서 부산까지", "สวัสดีชาวโลก", "नमस्ते दुनिया", "ＦＵＬＬ　ｗｉｄｔｈ ﬁne", "🦊 only 🦊",
	} {
		w.say(ref("acme", fmt.Sprint("s", i)), text)
	}
	w.index()
	for query, want := range map[string]string{
		"straße": "s0", "STRAßE": "s0", "zürich": "s0", "zurich": "", "café": "s1", "cafe\u0301": "s1", "cafe": "",
		"привет": "s2", "ПРИВЕТ": "s2", "мир": "s2",
		"東京": "s4 s3", "京旅": "s3", "旅行": "s3", "行": "s3", "東": "s4 s3", "東京旅行": "s3", "東京行": "", "京東": "", "ツリー": "s4", "-東京 旅": "", "去 -旅行": "", "東 -旅": "s4",
		"서울": "s5", "부산까지": "s5", "산까": "s5", "울부": "",
		"สวัสดี": "s6", "ชาว": "s6", "โลก": "s6",
		"नमस्ते": "s7", "दुनिया": "s7",
		"full": "s8", "width": "s8", "fine": "s8", "only": "s9",
	} {
		got := w.search("acme", query)
		for i, g := range got {
			got[i], _, _ = strings.Cut(g, "/")
		}
		if strings.Join(got, " ") != want {
			w.t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func testOdd(w *world) {
	long := strings.Repeat("x", 5000)
	same := func(n int) string { return strings.Repeat("same ", n) }
	a := w.say(ref("acme", "a"), "before\x00after '\\\"; DROP TABLE sessions; -- <b>bold</b> \xff\xfe")
	b := w.say(ref("acme", "b"), long+" short")
	w.say(ref("acme", "c"), strings.Repeat("filling words ", 2000)+" behind")
	d := w.say(ref("acme", "d"), same(249)+"last one "+same(500)+"next thing")
	w.say(ref("acme", "e"), "!!! ??? ...")
	w.say(ref("acme", "f"), "")
	w.index()
	for query, want := range map[string]string{
		"before": fmt.Sprintf("a/%d", a), "after": fmt.Sprintf("a/%d", a), "drop table": fmt.Sprintf("a/%d", a), "<b>bold</b>": fmt.Sprintf("a/%d", a), "be\x00fore": "",
		long: "", "short": fmt.Sprintf("b/%d", b),
		strings.Repeat("x", 100): fmt.Sprintf("b/%d", b), strings.Repeat("x", 900): fmt.Sprintf("b/%d", b), strings.Repeat("x", 99): "",
		"filling -behind": "c/2", "behind": "",
		// Of one word some count; every store agrees on which.
		`"same last"`: fmt.Sprintf("d/%d", d), `"same next"`: "", "same thing": fmt.Sprintf("d/%d", d),
	} {
		if query == long {
			if _, err := search.Parse(query); holdfast.CodeOf(err) != holdfast.CodeInvalid {
				w.t.Errorf("a query of %d characters: %v", len(query), err)
			}
			continue
		}
		w.want(query, want)
	}
}

func testVoided(w *world) {
	r := ref("acme", "s")
	l := w.log(r)
	l.run = "kept"
	kept := w.say(r, "apple kept")
	// A call that is voided leaves nothing, one that broke off what it had said.
	w.add(l, "root", &holdfast.ModelCallStartedEvent{Call: "v"}, &holdfast.AgentChoiceEvent{Content: "apple voided"},
		&holdfast.ModelCallVoidedEvent{Call: "v", FromSeq: l.seq, Reason: "lost"},
		&holdfast.ModelCallStartedEvent{Call: "w"}, &holdfast.AgentChoiceEvent{Content: "apple canceled"}, &holdfast.ModelCallFinishedEvent{Call: "w", FinishReason: "canceled"})
	canceled := l.seq
	// A title is no message.
	w.add(l, "root", &holdfast.ModelCallStartedEvent{Call: "t", Purpose: "title"}, &holdfast.ModelCallFinishedEvent{Call: "t", Purpose: "title"},
		&holdfast.RunFinishedEvent{Run: "kept", Reason: "stop"})
	w.record()
	w.index()
	want := fmt.Sprintf("s/%d s/%d", canceled, kept)
	w.want("apple", want)

	// A run is rolled back after it was indexed, in between, and before.
	for n, indexed := range []string{"", "said", "said canceled"} {
		l.run = fmt.Sprint("run-", n)
		w.say(r, "apple of a run that is rolled back")
		w.answer(r, "root", "apple of its answer")
		if indexed != "" {
			w.index()
			if got := w.search("acme", "apple"); len(got) != 4 {
				w.t.Errorf("%s: before the roll-back: %q", indexed, got)
			}
		}
		w.add(l, "", &holdfast.RunCanceledEvent{Run: l.run, Rollback: true})
		w.record()
		if indexed == "said canceled" {
			w.say(r, "apple said meanwhile")
			w.index()
		}
		w.add(l, "", &holdfast.RunFinishedEvent{Run: l.run, Reason: "canceled"}) // as older logs have it
		w.record()
		w.index()
		w.want("apple", want)
	}
	// An answer in the middle of which the index stops is found whole.
	l.run = "long"
	w.add(l, "root", &holdfast.ModelCallStartedEvent{Call: "m"}, &holdfast.AgentChoiceEvent{Content: "banana "})
	w.record()
	w.say(r, "steering")
	w.index()
	w.want("banana", "")
	w.add(l, "root", &holdfast.AgentChoiceEvent{Content: "split"}, &holdfast.ModelCallFinishedEvent{Call: "m"})
	w.record()
	w.index()
	w.want(`"banana split"`, fmt.Sprintf("s/%d", l.seq))
}

func testPages(w *world) {
	var want, sessions []string
	for i := range 23 {
		r := ref("acme", fmt.Sprint("s", i%5))
		want = append([]string{fmt.Sprintf("%s/%d", r.Session, w.say(r, fmt.Sprint("needle number ", i)))}, want...)
	}
	sessions = want[:5]
	w.index()
	for _, by := range []bool{false, true} {
		q, err := search.Parse("needle")
		must(w.t, err)
		p := search.Page{Query: q, Limit: 4, BySession: by}
		var got []string
		for {
			f, err := w.s.Search(w.t.Context(), "acme", p)
			must(w.t, err)
			got = append(got, places(f.Hits)...)
			if len(f.Hits) < p.Limit {
				break
			}
			end := f.Hits[len(f.Hits)-1]
			p.Before = search.Place{At: end.At, Session: end.Session, Seq: end.Seq}
		}
		all := want
		if by {
			all = sessions
		}
		if d := cmp.Diff(all, got); d != "" {
			w.t.Errorf("by session %v: %s", by, d)
		}
	}
}

func testForks(w *world) {
	parent, child, grandchild := ref("acme", "parent"), ref("acme", "child"), ref("acme", "grandchild")
	shared := w.say(parent, "cherry shared")
	w.fork(child, parent, shared)
	w.say(parent, "cherry of the parent")
	own := w.say(child, "cherry of the child")
	w.fork(grandchild, child, own)
	w.index()
	w.want("cherry shared", fmt.Sprintf("parent/%d grandchild/%[1]d child/%[1]d", shared))
	w.want("child", fmt.Sprintf("grandchild/%d child/%[1]d", own))
	if got := w.search("acme", "cherry", func(p *search.Page) { p.BySession = true }); len(got) != 3 {
		w.t.Errorf("by session: %q", got)
	}
	// The parent is gone, what a fork has of it is not.
	w.delete(parent)
	w.want("cherry shared", fmt.Sprintf("grandchild/%d child/%[1]d", shared))
	w.delete(child)
	w.want("cherry", fmt.Sprintf("grandchild/%d grandchild/%d", own, shared))
	w.delete(grandchild)
	w.want("cherry", "")
}

func (w *world) fork(r, of holdfast.SessionRef, seq uint64) {
	w.t.Helper()
	l := &log{ref: r, seq: seq}
	w.logs[r] = l
	w.add(l, "", &holdfast.SessionCreatedEvent{ForkOf: of.Session, ForkSeq: seq})
	w.record()
}

func (w *world) delete(r holdfast.SessionRef) {
	w.t.Helper()
	w.add(w.log(r), "", &holdfast.SessionDeletedEvent{})
	w.record()
}

func testDeleted(w *world) {
	r := ref("acme", "s")
	w.say(r, "damson")
	w.index()
	w.want("damson", "s/2")
	w.say(r, "damson and a note that it is there")
	w.delete(r)
	w.want("damson", "") // at once
	w.index()
	w.want("damson", "")
	w.now = w.now.Add(25 * time.Hour) // a walk passes by
	w.index()
	w.want("damson", "")
}

// Deleted checks that of deleted sessions nothing is left. rows counts the rows of a
// table of an empty store.
func Deleted(t *testing.T, s Archive, rows func(table string) int) {
	w := newWorld(t, s)
	tables := []string{"search_queue", "search_sessions", "search_messages", "search_words"}
	for _, id := range []string{"parent", "other"} {
		w.say(ref("acme", id), "olive")
		w.answer(ref("acme", id), "root", "olive oil")
	}
	w.fork(ref("acme", "child"), ref("acme", "parent"), w.log(ref("acme", "parent")).seq)
	w.index()
	for _, table := range tables[1:] {
		if rows(table) < 3 {
			t.Errorf("%s has %d rows", table, rows(table))
		}
	}
	w.say(ref("acme", "other"), "olive again") // noted, and deleted before it is read
	for _, id := range []string{"parent", "other", "child"} {
		w.delete(ref("acme", id))
	}
	for _, table := range tables[1:] { // at once: a note names the session and no more
		if n := rows(table); n != 0 {
			t.Errorf("%s has %d rows", table, n)
		}
	}
	w.index()
	w.now = w.now.Add(25 * time.Hour)
	w.index()
	for _, table := range tables {
		if n := rows(table); n != 0 {
			t.Errorf("behind the index, %s has %d rows", table, n)
		}
	}
}

func testTenants(w *world) {
	w.say(ref("acme", "s"), "elderberry of acme")
	w.say(ref("bolt", "s"), "elderberry of bolt")
	w.say(ref("Acme", "s"), "elderberry of the other Acme")
	w.index()
	for tenant, want := range map[string]int{"acme": 1, "bolt": 1, "Acme": 1, "*": 0, "": 0, "acm": 0, "nobody": 0} {
		got := w.search(tenant, "elderberry")
		if len(got) != want {
			w.t.Errorf("%q finds %q", tenant, got)
		}
	}
	if got := w.search("bolt", "acme"); len(got) != 0 {
		w.t.Errorf("bolt finds %q", got)
	}
}

// testWalk indexes sessions of which nobody has noted anything.
func testWalk(w *world) {
	const sessions = 105 // more than the walk looks at at once
	for i := range sessions {
		l := w.log(ref("acme", fmt.Sprintf("s%04d", i)))
		w.add(l, "", &holdfast.UserMessageEvent{Message: fmt.Sprintf("fig %d", i)})
		if i%100 == 99 || i == sessions-1 {
			w.record()
		}
	}
	// As if another program had recorded them, which knows of no index.
	for {
		marks, err := w.s.Marked(w.t.Context(), 1000)
		must(w.t, err)
		if len(marks) == 0 {
			break
		}
		var ids []int64
		for _, m := range marks {
			ids = append(ids, m.ID)
		}
		must(w.t, w.s.Index(w.t.Context(), nil, ids))
	}
	indexing := func() bool {
		q, err := search.Parse("fig")
		must(w.t, err)
		f, err := w.s.Search(w.t.Context(), "acme", search.Page{Query: q, Limit: 1})
		must(w.t, err)
		return f.Indexing
	}
	// It goes on where another process was.
	if r, err := w.x.Round(w.t.Context()); err != nil || !r.More || !indexing() {
		w.t.Fatalf("the first step: %+v, %v, indexing %v", r, err, indexing())
	}
	w.x = search.New(search.Config{Index: w.s, Log: w.s, Name: "test", Now: func() time.Time { return w.now }})
	if n := w.index(); n != 1 || indexing() {
		w.t.Errorf("%d steps more, want 1; indexing %v", n, indexing())
	}
	w.want("fig 7", "s0007/2")
	w.want("fig 104", "s0104/2")
	// What nobody noted afterwards the next walk finds.
	l := w.log(ref("acme", "s0003"))
	w.add(l, "", &holdfast.UserMessageEvent{Message: "grape"})
	w.record()
	marks, err := w.s.Marked(w.t.Context(), 10)
	must(w.t, err)
	if len(marks) != 1 || marks[0].Session != (search.Progress{Session: l.ref, Head: 3, Through: 2}) {
		w.t.Fatalf("notes: %+v", marks)
	}
	must(w.t, w.s.Index(w.t.Context(), nil, []int64{marks[0].ID}))
	w.index()
	w.want("grape", "")
	w.now = w.now.Add(25 * time.Hour)
	w.index()
	w.want("grape", "s0003/3")
	// It can be begun anew.
	must(w.t, w.s.PutWalk(w.t.Context(), search.Walk{}))
	if !indexing() {
		w.t.Error("the walk was not begun anew")
	}
}

func testLease(w *world) {
	lead := func(who string, from, until int) bool {
		w.t.Helper()
		l, err := w.s.LeadIndex(w.t.Context(), who, start.Add(time.Duration(from)*time.Second), start.Add(time.Duration(until)*time.Second))
		must(w.t, err)
		return l.Held
	}
	for i, c := range []struct {
		who         string
		from, until int
		held        bool
	}{
		{"a", 0, 10, true},
		{"b", 1, 11, false},
		{"a", 5, 15, true},
		{"b", 14, 24, false},
		{"b", 15, 25, true},
		{"a", 16, 26, false},
		{"b", 17, 17, true},
		{"a", 18, 28, true},
	} {
		if got := lead(c.who, c.from, c.until); got != c.held {
			w.t.Errorf("%d: %s has it: %v", i, c.who, got)
		}
	}
	w.now = start.Add(20 * time.Second)
	if r, err := w.x.Round(w.t.Context()); err != nil || r.Led {
		w.t.Errorf("a round beside a: %+v, %v", r, err)
	}
	walk := search.Walk{After: ref("acme", "x"), Ended: start}
	must(w.t, w.s.PutWalk(w.t.Context(), walk))
	l, err := w.s.LeadIndex(w.t.Context(), "b", start.Add(time.Hour), start.Add(2*time.Hour))
	must(w.t, err)
	if d := cmp.Diff(search.Lead{Held: true, Walk: walk}, l); d != "" {
		w.t.Error(d)
	}
}

func testMoved(w *world) {
	r := ref("acme", "s")
	w.say(r, "honeydew")
	w.index()
	ctx := w.t.Context()
	add := func(from, to uint64, text string) error {
		return w.s.Index(ctx, []search.Update{{Session: r, From: from, To: to, Messages: []search.Message{{Seq: to, At: start, Role: holdfast.RoleUser, Text: text}}}}, nil)
	}
	for _, from := range []uint64{0, 1, 3} {
		if err := add(from, 9, "imbe"); !errors.Is(err, search.ErrMoved) {
			w.t.Errorf("from %d: %v", from, err)
		}
	}
	w.want("imbe", "")
	must(w.t, add(2, 5, "imbe"))
	if err := add(2, 5, "imbe"); !errors.Is(err, search.ErrMoved) {
		w.t.Errorf("again: %v", err)
	}
	w.want("imbe", "s/5")
	// All or nothing.
	must(w.t, add(5, 5, "jackfruit of the same place")) // there is a message at 5: it stays
	w.want("jackfruit", "")
	w.say(ref("acme", "other"), "x")
	err := w.s.Index(ctx, []search.Update{
		{Session: ref("acme", "other"), To: 2, Messages: []search.Message{{Seq: 2, At: start, Role: holdfast.RoleUser, Text: "kiwi"}}},
		{Session: r, From: 4, To: 6},
	}, nil)
	if !errors.Is(err, search.ErrMoved) {
		w.t.Errorf("one of two: %v", err)
	}
	w.want("kiwi", "")
}

func testCanceled(w *world) {
	ctx, cancel := context.WithCancelCause(w.t.Context())
	gone := errors.New("gone")
	cancel(gone)
	q, err := search.Parse("x")
	must(w.t, err)
	_, err = w.s.Search(ctx, "acme", search.Page{Query: q, Limit: 1})
	if !errors.Is(err, gone) {
		w.t.Errorf("Search: %v", err)
	}
	if _, err := w.x.Round(ctx); !errors.Is(err, gone) {
		w.t.Errorf("Round: %v", err)
	}
}

// testDeletedMeanwhile deletes sessions while they are indexed.
func testDeletedMeanwhile(w *world) {
	const sessions = 30
	for i := range sessions {
		w.say(ref("acme", fmt.Sprint("s", i)), "lemon")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range sessions {
			if _, err := w.x.Round(context.WithoutCancel(w.t.Context())); err != nil {
				w.t.Errorf("Round: %v", err)
			}
		}
	})
	for i := range sessions {
		r := ref("acme", fmt.Sprint("s", i))
		l := w.log(r)
		w.add(l, "", &holdfast.UserMessageEvent{Message: "lemon again"})
		w.record()
		w.delete(r)
	}
	wg.Wait()
	w.index()
	w.want("lemon", "")
	list, err := w.s.Indexed(w.t.Context(), holdfast.SessionRef{}, 100)
	must(w.t, err)
	for _, p := range list {
		if p.Head != 0 || p.Through != 0 {
			w.t.Errorf("of a deleted session is left: %+v", p)
		}
	}
}

// testRestarts stops the indexer behind every event: what it finds is the same.
func testRestarts(w *world) {
	build := func(session string, each func()) {
		r := ref("acme", session)
		l := w.log(r)
		step := func(agent string, ev holdfast.Event) {
			w.add(l, agent, ev)
			w.record()
			each()
		}
		for n, run := range []string{"one", "two", "three"} {
			l.run = run
			step("", &holdfast.UserMessageEvent{Message: "mango asked in " + run})
			step("a", &holdfast.ModelCallStartedEvent{Call: run + "a"})
			step("a", &holdfast.AgentChoiceEvent{Content: "mango "})
			step("b", &holdfast.ModelCallStartedEvent{Call: run + "b"})
			step("b", &holdfast.AgentChoiceEvent{Content: "mango of b"})
			step("", &holdfast.UserMessageEvent{Message: "steering mango"})
			step("b", &holdfast.ModelCallFinishedEvent{Call: run + "b"})
			step("a", &holdfast.AgentChoiceEvent{Content: "answered in " + run})
			step("a", &holdfast.ModelCallFinishedEvent{Call: run + "a"})
			if n == 1 {
				step("", &holdfast.RunCanceledEvent{Run: run, Rollback: true})
			}
			step("", &holdfast.RunFinishedEvent{Run: run, Reason: "canceled"})
		}
	}
	build("whole", func() {})
	w.index()
	build("steps", func() {
		w.x = search.New(search.Config{Index: w.s, Log: w.s, Name: "test", Now: func() time.Time { return w.now }})
		w.index()
	})
	found := func(session string) []string {
		got := w.search("acme", "mango", func(p *search.Page) { p.Session = session })
		for i, g := range got {
			_, got[i], _ = strings.Cut(g, "/")
		}
		return got
	}
	if d := cmp.Diff(found("whole"), found("steps")); d != "" || len(found("whole")) != 8 {
		w.t.Errorf("found %q; in steps: %s", found("whole"), d)
	}
	w.want(`"mango answered"`, strings.Join(w.search("acme", "answered"), " "))
}
