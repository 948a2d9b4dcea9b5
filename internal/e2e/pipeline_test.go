package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestPipelineSurvivesAKilledWorker kills the owner of two sessions in the
// middle of their streams: one that a client reads over /v1 and over again with
// Last-Event-ID, and one whose client knows the original API only.
func TestPipelineSurvivesAKilledWorker(t *testing.T) {
	t.Parallel()
	const words = 150
	c := newCluster(t, setup{programs: checked, files: map[string]string{"slow.yaml": talker(words, 20*time.Millisecond)}})
	cl := c.client()

	rec := newSession(t, cl, client.NewSession{})
	run := say(t, cl, rec.session, "slow", "count")
	rec.awaitChoices(run, 1)
	_, worker := lastClaim(rec.entries())
	victim := c.owner(worker)

	// Legacy: a POST whose answer is the stream of the run.
	var legacy answer
	if legacy = request(t, "POST", c.apis[0].url()+"/api/sessions", `{"tools_approved":true}`); legacy.status != 200 {
		t.Fatalf("create a session: %+v", legacy)
	}
	var doc struct{ ID string }
	if err := json.Unmarshal([]byte(legacy.body), &doc); err != nil {
		t.Fatal(err)
	}
	old := openStream(t, t.Context(), "POST", c.apis[0].url()+"/api/sessions/"+doc.ID+"/agent/slow.yaml", `[{"role":"user","content":"count"}]`, 0)
	defer old.close()
	var oldLines []line
	readOld := func(until func(line) bool) {
		for {
			l, ok := old.next()
			if !ok {
				return
			}
			if oldLines = append(oldLines, l); until(l) {
				return
			}
		}
	}
	isText := func(l line) bool { return l.ev.EventType() == holdfast.TypeAgentChoice }
	readOld(isText)
	oldRec := follow(t, cl, doc.ID)
	oldRec.await("the claim", 0, func(e received) bool { return e.Event.EventType() == holdfast.TypeSessionClaimed })
	_, oldWorker := lastClaim(oldRec.entries())
	oldVictim := c.owner(oldWorker)

	// A reader that reconnects all the time, by hand.
	hopped := make(chan error, 1)
	var hops []line
	go func() { hopped <- hop(t, c.apis[0].url()+"/v1/sessions/"+rec.session+"/events", 20, &hops) }()

	rec.awaitChoices(run, words/4)
	killed := time.Now()
	victim.process().Kill()
	first := rec.await("the claim of another worker", 0, func(e received) bool {
		ev, ok := e.Event.(*holdfast.SessionClaimedEvent)
		return ok && ev.Worker != worker
	})
	t.Logf("killed worker: first new event at the client after %s", first.at.Sub(killed).Round(time.Millisecond))
	if oldVictim != victim {
		victim.launch() // somebody must be left
		victim.awaitReady()
		oldVictim.process().Kill()
	}
	end, reason := rec.awaitRun(run)
	all := rec.entries()
	if reason != "stop" {
		t.Errorf("the run ended with %q:\n%s", reason, outline(all))
	}
	if got := text(all, run); got != numbered(words) {
		t.Errorf("the text is not whole:\n%s\n%s", got, outline(all))
	}
	voided := false
	for _, e := range all {
		voided = voided || e.Event.EventType() == holdfast.TypeModelCallVoided
	}
	if !voided {
		t.Errorf("no model call was voided: the worker was not killed in mid-stream\n%s", outline(all))
	}

	if err := <-hopped; err != nil {
		t.Error(err)
	}
	for i, l := range hops {
		if l.id != uint64(i)+1 {
			t.Fatalf("with Last-Event-ID: event %d comes at place %d", l.id, i+1)
		}
		if i < len(all) {
			if want := all[i].Event.EventType(); l.ev.EventType() != want {
				t.Errorf("with Last-Event-ID: event %d is %s, elsewhere %s", l.id, l.ev.EventType(), want)
			}
		}
	}
	if len(hops) < int(end.Seq) {
		t.Errorf("with Last-Event-ID: %d events, elsewhere %d", len(hops), end.Seq)
	}

	readOld(func(line) bool { return false })
	for i := 1; i < len(oldLines); i++ {
		if oldLines[i].id <= oldLines[i-1].id {
			t.Errorf("original API: event %d comes after event %d", oldLines[i].id, oldLines[i-1].id)
		}
	}
	if got, want := types(oldLines), "session_title"; !strings.HasSuffix(got, want) {
		t.Errorf("original API: the stream is %s, and should end with %s", got, want)
	}
	a := request(t, "GET", c.apis[0].url()+"/api/sessions/"+doc.ID, "")
	if !strings.Contains(a.body, numbered(words)) {
		t.Errorf("original API: the session's messages do not have the whole text: %s", a.body)
	}
}

// hop reads a session's events until its run has finished and drops the
// connection after every n of them.
func hop(t testing.TB, url string, n int, out *[]line) error {
	last := uint64(0)
	for {
		s := openStream(t, t.Context(), "GET", url, "", last)
		for range n {
			l, ok := s.next()
			if !ok {
				return fmt.Errorf("the stream ended after event %d", last)
			}
			last = l.id
			if *out = append(*out, l); l.ev.EventType() == holdfast.TypeRunFinished {
				s.close()
				return nil
			}
		}
		s.close()
	}
}
