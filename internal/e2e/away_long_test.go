//go:build chaos

package e2e_test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestChaosPostgresAway takes Postgres away for AWAY_DURATION (default 60s) while
// clients talk to their sessions: no run stops or fails, and afterwards the
// archive has everything. TestServersDownInMidRun is the short form.
func TestChaosPostgresAway(t *testing.T) {
	duration := time.Minute
	if s := os.Getenv("AWAY_DURATION"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatalf("AWAY_DURATION: %v", err)
		}
	}
	tools := newEffects(t)
	c := newCluster(t, setup{
		tools: tools,
		apis:  2, ownPostgres: true,
		files: map[string]string{
			"talker.yaml": talker(talkerWords, 15*time.Millisecond),
			"caller.yaml": caller(tools.url, callerWords, 15*time.Millisecond),
		},
	})
	l := newLoad(t, c, tools, 8, rand.New(rand.NewPCG(1, 1)))
	for _, s := range l.sessions {
		s.rec.await("text", 0, func(e received) bool { return e.Run != "" })
	}
	c.pg.Stop()
	away := time.After(duration)
	// Every session goes on: each is seen to get new events again and again.
	rounds := 0
	for done := false; !done; rounds++ {
		for _, s := range l.sessions {
			at := uint64(len(s.rec.entries()))
			s.rec.await("an event without Postgres", at+1, func(e received) bool { return e.Seq > at })
		}
		select {
		case <-away:
			done = true
		default:
		}
	}
	c.pg.Start()
	t.Logf("each of %d sessions got an event %d times while Postgres was away for %s", len(l.sessions), rounds, duration)
	l.finish()
	l.check()
}
