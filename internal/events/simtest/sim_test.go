package simtest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/holdfast-run/holdfast/internal/events"
)

var (
	seeds = flag.Uint64("seeds", 0, "how many seeds are simulated; 0 is the test's own number")
	first = flag.Uint64("seed", 1, "the first of them")
)

func TestMain(m *testing.M) {
	flag.Parse()
	// nats-server's clock ticks in a goroutine of its own, which would end with the
	// first bubble if a server in it started it.
	ats.Register()
	// So would the compressor, which is made when it is used for the first time.
	packed := events.AppendCompressed(nil, []events.Envelope{{Seq: 1, V: 1, Type: "warm_up", Payload: make([]byte, 1024)}})
	if _, err := events.DecodeFrame(packed); err != nil {
		panic(err)
	}
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

func TestProtocol(t *testing.T) {
	total := simulate(t, 200, (*World).Run)
	if (*seeds == 0 || *seeds >= 50) && (total.Lost == 0 || total.Aged == 0 || total.Conflicts == 0 || total.Restarts == 0 || total.Acked == 0) {
		t.Errorf("the simulation has not met what it is for: %+v", total)
	}
}

func TestDispatch(t *testing.T) {
	total := simulate(t, 50, (*World).RunDispatch)
	if (*seeds == 0 || *seeds >= 50) && (total.Frozen == 0 || total.Crashes == 0 || total.Acked == 0) {
		t.Errorf("the simulation has not met what it is for: %+v", total)
	}
}

// simulate runs as many seeds as the flags say. They run one after the other:
// pools that nats.go shares among connections must not mix the timers of two
// bubbles.
func simulate(t *testing.T, usual uint64, run func(*World)) (total Stats) {
	n := *seeds
	if n == 0 {
		n = usual
	}
	for i := range n {
		seed := *first + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			// nats.go pools timers, which must not come from another bubble. Two
			// collections empty a sync.Pool.
			runtime.GC()
			runtime.GC()
			synctest.Test(t, func(t *testing.T) {
				w := NewWorld(t, dir, seed)
				run(w)
				total.Add(w.Stats())
				t.Logf("%+v", w.Stats())
			})
			if t.Failed() {
				test, _, _ := strings.Cut(t.Name(), "/")
				t.Fatalf("replay with: go test ./internal/events/simtest -run %s -seeds 1 -seed %d", test, seed)
			}
		})
	}
	t.Logf("%d seeds: %+v", n, total)
	return total
}
