package runtime_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// TestScenariosWithCrashes plays every scenario again and again, with the worker
// killed after its first frame, its second, and so on; the frame at which it dies
// is stored in one half of the plays and lost in the other. Another worker goes
// on. What the user has in the end is the same, and no effect that is not keyed
// happens twice unless the user said so.
func TestScenariosWithCrashes(t *testing.T) {
	base := newWorld(t, "")
	// Plays wait more than they work: for what a dead worker held to come again.
	lanes := make(chan *world, 24)
	for i := range cap(lanes) {
		lanes <- base.branch(fmt.Sprintf("lane%d", i))
	}
	var all sync.WaitGroup
	for _, s := range scenarios(t) {
		all.Go(func() {
			t.Run(s.name(), func(t *testing.T) {
				var want string
				var frames, keys int
				t.Run("clean", func(t *testing.T) {
					lane := <-lanes
					t.Cleanup(func() { lanes <- lane })
					clean := lane.again(t, s.parts["agent.yaml"])
					clean.start(-1, false)
					s.play(clean, ref(s.name()+"-clean"))
					want = conversation(clean.state(ref(s.name() + "-clean")))
					frames, keys = int(clean.frames.Load()), clean.hookKeys()
				})
				var plays sync.WaitGroup
				for n := 1; n <= frames; n += crashEvery {
					for _, before := range []bool{false, true} {
						plays.Go(func() {
							lane := <-lanes
							t.Run(fmt.Sprintf("frame %d before=%v", n, before), func(t *testing.T) {
								t.Cleanup(func() { lanes <- lane }) // after the workers have ended
								crash(t, lane, s, n, before, want, keys)
							})
						})
					}
				}
				plays.Wait()
			})
		})
	}
	all.Wait()
}

func crash(t *testing.T, lane *world, s *scenario, n int, before bool, want string, keys int) {
	name := fmt.Sprintf("%s-%d-%v", s.name(), n, before)
	w := lane.again(t, s.parts["agent.yaml"])
	dead, _ := w.start(n, before)
	ended := make(chan struct{})
	var second sync.WaitGroup
	second.Go(func() {
		select {
		case <-dead:
			w.start(-1, false)
		case <-ended:
		}
	})
	s.play(w, ref(name))
	close(ended)
	second.Wait()
	if diff := cmp.Diff(want, conversation(w.state(ref(name)))); diff != "" {
		t.Errorf("conversation (-without a crash +with):\n%s", diff)
	}
	evs := w.events(ref(name))
	if want, ok := s.parts["prompts"]; ok {
		if diff := cmp.Diff(want, w.agents.heard.prompts(evs)); diff != "" {
			t.Errorf("prompts (-without a crash +with):\n%s", diff)
		}
	}
	for _, e := range evs {
		if e.Type == holdfast.TypeToolCallResponse && strings.HasSuffix(kept(evs, e.Payload), lost) {
			t.Errorf("the log has not the whole of %.300s", e.Payload)
		}
	}
	checkLog(t, evs)
	verify(t, ref(name), evs)
	if got := w.hookKeys(); got != keys {
		t.Errorf("hooks were run under %d keys, without a crash under %d", got, keys)
	}
	w.agents.tools.mu.Lock()
	defer w.agents.tools.mu.Unlock()
	repeats := int(w.repeats.Load())
	for what, runs := range w.agents.tools.runs {
		switch {
		case strings.HasPrefix(what, "look"): // read-only: may run again
		case strings.HasPrefix(what, "put") && runs > 1:
			t.Errorf("%s: a keyed effect happened %d times", what, runs)
		case strings.HasPrefix(what, "pay") && runs > 1+repeats:
			t.Errorf("%s: an unkeyed effect happened %d times; the user repeated %d", what, runs, repeats)
		}
	}
	if t.Failed() {
		for _, e := range evs {
			t.Logf("%d/%d %s %s %s", e.Seq, e.Epoch, e.Type, e.Agent, e.Payload)
		}
	}
}

// hookKeys is the number of hooks that were run, those that were run again not
// counted. Those of on_user_input are not either: a crash may bring a question.
func (w *world) hookKeys() int {
	w.agents.tools.mu.Lock()
	defer w.agents.tools.mu.Unlock()
	keys := map[string]string{}
	for _, in := range w.agents.tools.hooked {
		key := in.IdempotencyKey
		if in.HookEventName == agent.HookOnUserInput {
			continue
		}
		in.IdempotencyKey, in.Attempt = "", 0
		what := fmt.Sprintf("%+v", in)
		if was, ok := keys[key]; ok && was != what {
			w.t.Errorf("the key %s stands for %s and for %s", key, was, what)
		}
		keys[key] = what
	}
	return len(keys)
}
