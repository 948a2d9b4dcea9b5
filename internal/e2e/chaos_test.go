package e2e_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestChaos is the short form of TestChaosLong.
func TestChaos(t *testing.T) {
	t.Parallel()
	chaos(t, 20*time.Second, 8, programs{})
}

// chaos runs two API processes, four workers (each may be the recorder),
// nats-server and Postgres under load for a time, in which something is killed,
// frozen or told to end every moment. Then everything is healed, the load comes
// to its end, and what the clients, the log, the archive and the outside tool
// server have must agree. CHAOS_SEED repeats the order of the blows, though not
// where exactly they fall; CHAOS_OUTPUT is a folder for what the processes wrote.
//
// With programs of another version, each start of a process takes theirs or ours.
func chaos(t *testing.T, duration time.Duration, sessions int, others programs) {
	seed := rand.Uint64()
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	t.Logf("CHAOS_SEED=%d", seed)
	tools := newEffects(t)
	tools.takeTime(300 * time.Millisecond)
	c := newCluster(t, setup{
		tools: tools,
		apis:  2, workers: 4, ownPostgres: true, others: others,
		env: []string{"HOLDFAST_DRAIN_TIMEOUT=2s"},
		files: map[string]string{
			"talker.yaml": talker(talkerWords, 15*time.Millisecond),
			"caller.yaml": caller(tools.url, callerWords, 15*time.Millisecond),
		},
	})
	l := newLoad(t, c, tools, sessions, rand.New(rand.NewPCG(seed, 1)))
	m := &monkey{c: c, rng: rand.New(rand.NewPCG(seed, 2)), blows: map[string]int{}}
	m.rage(time.Now().Add(duration))
	m.heal()
	t.Logf("blows: %v", m.blows)
	l.finish()
	l.check()
	m.report(l)
}
