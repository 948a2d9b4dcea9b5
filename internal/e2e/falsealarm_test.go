package e2e_test

import (
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// TestKilledAfterAFalseAlarm: NATS stands still for so long that the workers take
// each other for frozen. The owner keeps its session, and is then really killed.
func TestKilledAfterAFalseAlarm(t *testing.T) {
	t.Parallel()
	const words = 400
	c := newCluster(t, setup{files: map[string]string{"slow.yaml": talker(words, 20*time.Millisecond)}})
	cl := c.client()
	rec := newSession(t, cl, client.NewSession{Title: "false alarm"})
	run := say(t, cl, rec.session, "slow", "count")
	rec.awaitChoices(run, 20)
	_, worker := lastClaim(rec.entries())
	owner, other := c.owner(worker), c.workers[0]
	if other == owner {
		other = c.workers[1]
	}
	c.nats.Pause()
	pause := time.NewTimer(900 * time.Millisecond)
	<-pause.C
	c.nats.Resume()
	other.process().WaitLog("waking the sessions of a lost worker")
	again := time.Now()
	rec.await("a second of the stream", 0, func(e received) bool { return e.at.After(again.Add(time.Second)) })
	_, worker = lastClaim(rec.entries())
	owner = c.owner(worker)
	killed := time.Now()
	owner.process().Kill()
	next := rec.await("the claim of another worker", 0, func(e received) bool {
		claim, ok := e.Event.(*holdfast.SessionClaimedEvent)
		return ok && claim.Worker != worker && e.at.After(killed)
	})
	t.Logf("killed after a false alarm: first new event after %s", next.at.Sub(killed).Round(time.Millisecond))
	if _, reason := rec.awaitRun(run); reason != "stop" || text(rec.entries(), run) != numbered(words) {
		t.Errorf("the run ended with %q:\n%s", reason, outline(rec.entries()))
	}
}
