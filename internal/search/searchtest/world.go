// Package searchtest checks what every store of the search index promises.
package searchtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/search"
)

// Archive is a store with an index.
type Archive interface {
	events.Store
	search.Store
}

// start is when all logs begin.
var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// world is a store, its recorder and its indexer.
type world struct {
	t   *testing.T
	s   Archive
	x   *search.Indexer
	now time.Time
	// stream is where its events come from, at how far it is recorded.
	stream string
	at     uint64
	// logs are the sessions, in one clock: what is said later is later.
	logs  map[holdfast.SessionRef]*log
	clock time.Time
}

// log is a session on its way into the store.
type log struct {
	ref  holdfast.SessionRef
	seq  uint64
	run  string
	wait []events.Envelope
}

func newWorld(t *testing.T, s Archive) *world {
	w := &world{t: t, s: s, now: start, clock: start, stream: "EVENTS-0", logs: map[holdfast.SessionRef]*log{}}
	w.x = search.New(search.Config{Index: s, Log: s, Name: "test", Now: func() time.Time { return w.now }})
	return w
}

func ref(tenant, session string) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: tenant, Session: session}
}

// log returns a session, new ones with session_created.
func (w *world) log(r holdfast.SessionRef) *log {
	l := w.logs[r]
	if l == nil {
		l = &log{ref: r}
		w.logs[r] = l
		w.add(l, "", &holdfast.SessionCreatedEvent{Title: "about " + r.Session})
	}
	return l
}

// add appends events that are not recorded yet.
func (w *world) add(l *log, agent string, evs ...holdfast.Event) {
	w.t.Helper()
	for _, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err != nil {
			w.t.Fatal(err)
		}
		w.clock = w.clock.Add(time.Second)
		l.seq++
		l.wait = append(l.wait, events.Envelope{Seq: l.seq, Time: w.clock, Run: l.run, Type: ev.EventType(), V: 1, Agent: agent, Payload: payload})
	}
}

// record stores what was added, in one batch.
func (w *world) record() {
	w.t.Helper()
	if err := w.tryRecord(w.batch()); err != nil {
		w.t.Fatalf("Record: %v", err)
	}
}

// batch takes what was added.
func (w *world) batch() events.Batch {
	b := events.Batch{Stream: w.stream, From: w.at, To: w.at + 1}
	for _, l := range w.logs {
		if len(l.wait) > 0 {
			b.Sessions = append(b.Sessions, events.SessionEvents{Session: l.ref, Events: l.wait})
			l.wait = nil
		}
	}
	return b
}

func (w *world) tryRecord(b events.Batch) error {
	err := w.s.Record(w.t.Context(), b)
	if err == nil {
		w.at++
	}
	return err
}

// say records a message of the user.
func (w *world) say(r holdfast.SessionRef, text string) (seq uint64) {
	w.t.Helper()
	l := w.log(r)
	w.add(l, "", &holdfast.UserMessageEvent{Message: text})
	w.record()
	return l.seq
}

// answer records a message of an agent, in pieces.
func (w *world) answer(r holdfast.SessionRef, agent, text string) (seq uint64) {
	w.t.Helper()
	l := w.log(r)
	w.add(l, agent, &holdfast.ModelCallStartedEvent{Call: fmt.Sprint(l.seq)})
	call := fmt.Sprint(l.seq - 1)
	for _, piece := range strings.SplitAfter(text, " ") {
		w.add(l, agent, &holdfast.AgentChoiceReasoningEvent{Content: "unspoken thoughts "}, &holdfast.AgentChoiceEvent{Content: piece})
	}
	w.add(l, agent, &holdfast.ModelCallFinishedEvent{Call: call})
	w.record()
	return l.seq
}

// index makes rounds until there is nothing more to do, and returns how many.
func (w *world) index() (rounds int) {
	w.t.Helper()
	for range 1000 {
		marks, err := w.s.Marked(w.t.Context(), 1)
		must(w.t, err)
		r, err := w.x.Round(w.t.Context())
		if err != nil {
			w.t.Fatalf("Round: %v", err)
		}
		if !r.Led {
			w.t.Fatal("somebody else has the index")
		}
		if rounds++; !r.More && len(marks) == 0 {
			return rounds
		}
	}
	w.t.Fatal("the indexer does not come to an end")
	return 0
}

// search returns hits as session/seq, newest first.
func (w *world) search(tenant, query string, change ...func(*search.Page)) []string {
	w.t.Helper()
	q, err := search.Parse(query)
	if err != nil {
		w.t.Fatalf("Parse(%q): %v", query, err)
	}
	p := search.Page{Query: q, Limit: 100}
	for _, c := range change {
		c(&p)
	}
	f, err := w.s.Search(w.t.Context(), tenant, p)
	if err != nil {
		w.t.Fatalf("Search(%q): %v", query, err)
	}
	return places(f.Hits)
}

func places(hits []search.Hit) []string {
	out := []string{}
	for _, h := range hits {
		out = append(out, fmt.Sprintf("%s/%d", h.Session, h.Seq))
	}
	return out
}

// want checks a search in the tenant acme.
func (w *world) want(query, want string) {
	w.t.Helper()
	if got := strings.Join(w.search("acme", query), " "); got != want {
		w.t.Errorf("%.100q: found %q, want %q", query, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
