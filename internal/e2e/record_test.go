package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// received is an event and when the client had it.
type received struct {
	client.Entry
	at time.Time
}

// record is what one client has seen of one session.
type record struct {
	t       testing.TB
	session string
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex // guards what follows
	all     []received
	err     error
	changed chan struct{} // closed at the next event
}

// follow reads a session's events from its first on until the test ends.
func follow(t testing.TB, cl *client.Client, session string) *record {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &record{t: t, session: session, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(r.done)
		for e, err := range cl.Events(ctx, session, 0) {
			if err != nil {
				if ctx.Err() == nil {
					r.put(received{}, err)
				}
				return
			}
			r.put(received{e, time.Now()}, nil)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

// stop ends the reading.
func (r *record) stop() {
	r.cancel()
	<-r.done
}

func (r *record) put(e received, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.err = err
	case e.Seq != uint64(len(r.all))+1:
		r.err = fmt.Errorf("event %d follows event %d", e.Seq, len(r.all))
	default:
		r.all = append(r.all, e)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// entries is what has come so far.
func (r *record) entries() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[:len(r.all):len(r.all)]
}

func (r *record) look() (all []received, changed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[:len(r.all):len(r.all)], r.changed, r.err
}

// await waits for the first event behind seq after for which found is true. It
// is for the test's goroutine.
func (r *record) await(what string, after uint64, found func(received) bool) received {
	r.t.Helper()
	timeout := time.NewTimer(waitLimit)
	defer timeout.Stop()
	for {
		all, changed, err := r.look()
		for _, e := range all[min(int(after), len(all)):] {
			if found(e) {
				return e
			}
			after = e.Seq
		}
		if err != nil {
			r.t.Fatalf("session %s: waiting for %s: %v", r.session, what, err)
		}
		select {
		case <-changed:
		case <-timeout.C:
			r.t.Fatalf("session %s: waited in vain for %s; so far:\n%s", r.session, what, outline(all))
		}
	}
}

// awaitRun waits until a run has finished and returns the event and its reason.
func (r *record) awaitRun(run string) (received, string) {
	r.t.Helper()
	e := r.await("the end of run "+run, 0, func(e received) bool {
		ev, ok := e.Event.(*holdfast.RunFinishedEvent)
		return ok && ev.Run == run
	})
	return e, e.Event.(*holdfast.RunFinishedEvent).Reason
}

// awaitChoices waits until n pieces of the run's text have come.
func (r *record) awaitChoices(run string, n int) received {
	r.t.Helper()
	seen := 0
	return r.await(fmt.Sprintf("%d pieces of text of run %s", n, run), 0, func(e received) bool {
		if _, ok := e.Event.(*holdfast.AgentChoiceEvent); ok && e.Run == run {
			seen++
		}
		return seen >= n
	})
}

// lastClaim returns the newest session_claimed event.
func lastClaim(all []received) (received, string) {
	for i := len(all) - 1; i >= 0; i-- {
		if ev, ok := all[i].Event.(*holdfast.SessionClaimedEvent); ok {
			return all[i], ev.Worker
		}
	}
	return received{}, ""
}

// text is what the model said in a run, without what was declared void.
func text(all []received, run string) string {
	type piece struct {
		seq         uint64
		agent, text string
	}
	var pieces []piece
	for _, e := range all {
		if e.Run != run {
			continue
		}
		switch ev := e.Event.(type) {
		case *holdfast.AgentChoiceEvent:
			pieces = append(pieces, piece{e.Seq, ev.AgentName, ev.Content})
		case *holdfast.ModelCallVoidedEvent:
			for i := range pieces {
				if pieces[i].agent == ev.AgentName && pieces[i].seq >= ev.FromSeq {
					pieces[i].text = ""
				}
			}
		}
	}
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.text)
	}
	return b.String()
}

// outline is the types of events, for messages.
func outline(all []received) string {
	var b strings.Builder
	last, times := "", 0
	flush := func() {
		if times > 1 {
			fmt.Fprintf(&b, " ×%d", times)
		}
		times = 0
	}
	for _, e := range all {
		line := e.Event.EventType()
		switch ev := e.Event.(type) {
		case *holdfast.SessionClaimedEvent:
			line += " " + ev.Worker + " " + ev.Reason
		case *holdfast.ErrorEvent:
			line += " " + string(ev.Code) + " " + ev.Error
		case *holdfast.RunFinishedEvent:
			line += " " + ev.Reason
		case *holdfast.ModelCallVoidedEvent:
			line += fmt.Sprintf(" from %d: %s", ev.FromSeq, ev.Reason)
		}
		if times++; line == last {
			continue
		}
		times--
		flush()
		last, times = line, 1
		fmt.Fprintf(&b, "\n%5d %s %s", e.Seq, e.at.Format("05.000"), line)
	}
	flush()
	return b.String()
}

// newSession creates a session and follows it.
func newSession(t testing.TB, cl *client.Client, n client.NewSession) *record {
	t.Helper()
	doc, err := cl.CreateSession(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, cl, doc.ID)
}

// say starts a run and returns its id.
func say(t testing.TB, cl *client.Client, session, agent, text string) string {
	t.Helper()
	s, err := cl.StartRun(t.Context(), session, client.NewRun{Agent: agent, Messages: []client.Message{{Content: text}}})
	if err != nil {
		t.Fatal(err)
	}
	return s.Run
}
