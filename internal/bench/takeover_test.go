package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

const (
	// takeOverWorkers run at any time, and takeOverSessions stream.
	takeOverWorkers  = 3
	takeOverSessions = 6
	// settled is how old workers are at least when one of them is lost: the others
	// list whom to watch once a second.
	settled = 1500 * time.Millisecond
)

// BenchmarkTakeOver measures what a client of a streaming session sees when its
// worker is lost: the time from the signal to the first event that another
// worker has written (first), and to the next token (token). A drained worker
// finishes its model call meanwhile, so for it pause counts: from the event of
// the hand-over to the next worker's first.
func BenchmarkTakeOver(b *testing.B) {
	w := newWorld(b, takeOverWorkers)
	if *inProcess {
		b.Fatal("a worker in this process cannot be killed")
	}
	// Long model calls, so that every loss is in mid-stream; short ones to be drained
	// between.
	w.agent("long", "  - { say_words: 100000, delay: 20ms }\n")
	w.agent("short", `  - { when: { turn: 1000 }, say: Done. }
  - { when: { after_tool: think }, say_words: 10, delay: 20ms, call: [{ name: think, arguments: { thought: "More." } }] }
  - { say_words: 10, delay: 20ms, call: [{ name: think, arguments: { thought: "First." } }] }
`)
	b.Run("SIGKILL", func(b *testing.B) { w.takeOver(b, "long", *kills, (*testenv.Process).Kill) })
	b.Run("SIGSTOP", func(b *testing.B) { w.takeOver(b, "long", max(1, *kills/4), (*testenv.Process).Pause) })
	b.Run("SIGTERM", func(b *testing.B) {
		w.takeOver(b, "short", max(1, *kills/4), func(p *testenv.Process) { p.Signal(syscall.SIGTERM) })
	})
}

// witness is one client's sight of one session.
type witness struct {
	owner  string    // the worker's name
	first  time.Time // of the first event of another worker
	token  time.Time // of the first token after it
	handed time.Time // of session_handed_over
}

func (w *world) takeOver(b *testing.B, agent string, losses int, lose func(*testenv.Process)) {
	var first, token, pause []time.Duration
	before := used(b)
	for range losses {
		ids := w.create(takeOverSessions, agent)
		witnesses := make([]*witness, len(ids))
		var began, ended sync.WaitGroup
		for i, id := range ids {
			witnesses[i] = &witness{}
			if _, err := w.start(id, "go"); err != nil {
				b.Fatal(err)
			}
			began.Add(1)
			ended.Add(1)
		}
		// Sessions whose worker is not lost are left in the end.
		ctx, cancel := context.WithCancel(b.Context())
		victim := make(chan struct{}) // closed when lost is set
		lost := ""
		for i, id := range ids {
			go func() {
				defer ended.Done()
				err := w.witness(ctx, id, witnesses[i], sync.OnceFunc(began.Done), victim, &lost)
				if err != nil {
					b.Error(err)
				}
			}()
		}
		began.Wait()
		wait := time.NewTimer(settled)
		<-wait.C

		owned := map[string]int{}
		for _, s := range witnesses {
			owned[s.owner]++
			if owned[s.owner] > owned[lost] {
				lost = s.owner
			}
		}
		process := w.workers[lost]
		if process == nil {
			b.Fatalf("no worker is called %q", lost)
		}
		delete(w.workers, lost)
		close(victim)
		at := time.Now()
		lose(process)
		// Those that saw a change of owner end by themselves.
		over := make(chan struct{})
		go func() { ended.Wait(); close(over) }()
		limit := time.NewTimer(time.Minute)
		select {
		case <-over:
		case <-limit.C:
			b.Fatal("a session was not taken over within a minute")
		}
		cancel()
		for i, s := range witnesses {
			if s.owner == lost {
				first = append(first, s.first.Sub(at))
				token = append(token, s.token.Sub(at))
				if !s.handed.IsZero() {
					pause = append(pause, s.first.Sub(s.handed))
				}
			}
			if _, err := w.client.Cancel(b.Context(), ids[i], ""); err != nil {
				b.Fatal(err)
			}
		}
		w.addWorker()
		process.Resume()
		process.Kill()
	}
	before.report(b, 0, "")
	reportLatency(b, "first", first)
	reportLatency(b, "token", token)
	if len(pause) > 0 {
		reportLatency(b, "pause", pause)
	}
	b.ReportMetric(float64(len(first)), "sessions")
}

// witness follows a session until another worker has it, or, if its own is not
// the one that is lost, until that is known.
func (w *world) witness(ctx context.Context, id string, s *witness, began func(), victim <-chan struct{}, lost *string) error {
	defer began()
	tokens := 0
	return w.stream(ctx, id, 0, func(e *entry) bool {
		switch string(e.typ) {
		case "session_claimed":
			name, _, _ := strings.Cut(e.member("worker"), "-")
			if s.owner == "" {
				s.owner = name
			} else if s.first.IsZero() {
				s.first = e.got
			}
		case "session_handed_over":
			s.handed = e.got
		case "agent_choice":
			if tokens++; tokens == 5 {
				began()
			}
			if !s.first.IsZero() {
				s.token = e.got
				return false
			}
		}
		select {
		case <-victim:
			return s.owner == *lost
		default:
			return true
		}
	})
}

// BenchmarkColdTakeOver measures how long a worker that has never seen a session
// of 100,000 events takes until it has stored what was said to it: with the
// snapshot that parking leaves behind, and without one.
func BenchmarkColdTakeOver(b *testing.B) {
	const events, words, samples = 100_000, 990, 20
	w := newWorld(b, 1)
	agent := w.streamer(words, 0)
	w.agent("brief", "  - { say: Yes. }\n")
	id := w.create(1, agent)[0]
	run := func(agent string) (accepted time.Duration, seq uint64) {
		begin := time.Now()
		s, err := w.client.StartRun(b.Context(), id, client.NewRun{Agent: agent, Messages: []client.Message{{Content: fmt.Sprint("Please go on. ", begin)}}})
		if err != nil {
			b.Fatal(err)
		}
		accepted = time.Since(begin)
		err = w.stream(b.Context(), id, s.Seq-1, func(e *entry) bool { seq = e.seq; return !e.is("session_parked") })
		if err != nil {
			b.Fatal(err)
		}
		return accepted, seq
	}
	seq := uint64(0)
	for seq < events {
		_, seq = run(agent)
	}
	w.waitRecorded(seq)
	for _, with := range []bool{true, false} {
		b.Run(fmt.Sprintf("snapshot=%t", with), func(b *testing.B) {
			var took []time.Duration
			for range samples {
				w.waitSnapshot(id)
				if !with {
					if _, err := w.db.Exec(b.Context(), "DELETE FROM snapshots"); err != nil {
						b.Fatal(err)
					}
				}
				accepted, _ := run("brief")
				took = append(took, accepted)
			}
			reportLatency(b, "", took)
			b.ReportMetric(float64(seq), "events")
		})
	}
}

// waitSnapshot returns when there is a snapshot: it is written after the parking.
func (w *world) waitSnapshot(session string) {
	w.b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		if err := w.db.QueryRow(w.b.Context(), "SELECT count(*) FROM snapshots WHERE session = $1", session).Scan(&n); err != nil {
			w.b.Fatal(err)
		}
		if n > 0 {
			return
		}
		<-tick.C
	}
}
