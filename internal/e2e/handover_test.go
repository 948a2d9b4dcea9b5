package e2e_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
)

// distribution is p50, p99 and maximum of some times.
type distribution []time.Duration

func (d distribution) String() string {
	if len(d) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(d))
	at := func(p int) string { return s[min(len(s)-1, len(s)*p/100)].Round(time.Millisecond).String() }
	return "p50 " + at(50) + " p99 " + at(99) + " max " + at(100) + " of " + strconv.Itoa(len(s))
}

// TestRollingRestart replaces every worker while sessions stream and call tools:
// no run fails, and all that was said is there.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const words, short, sessions = 240, 6, 12
	tools := newEffects(t)
	c := newCluster(t, setup{
		tools: tools,
		// A grace of a second: steps that take longer are handed over in the middle.
		env: []string{"HOLDFAST_DRAIN_TIMEOUT=2s"},
		files: map[string]string{
			"slow.yaml":   talker(words, 25*time.Millisecond),
			"caller.yaml": caller(tools.url, short, 60*time.Millisecond),
		},
	})
	cl := c.client()
	type running struct {
		rec  *record
		runs []string
		want []string
	}
	var load []*running
	start := func(agent, want string) *running {
		r := &running{rec: newSession(t, cl, client.NewSession{Title: "load", ToolsApproved: true})}
		load = append(load, r)
		r.runs, r.want = append(r.runs, say(t, cl, r.rec.session, agent, "go")), append(r.want, want)
		return r
	}
	for i := range sessions {
		if i%2 == 0 {
			start("slow", numbered(words))
			continue
		}
		r := start("caller", strings.Repeat(numbered(short), 3))
		for range 4 { // queued behind the first
			r.runs = append(r.runs, say(t, cl, r.rec.session, "caller", "again"))
			r.want = append(r.want, r.want[0])
		}
	}
	for _, r := range load {
		r.rec.awaitChoices(r.runs[0], 3)
	}
	var stops distribution
	for _, old := range slices.Clone(c.workers) {
		c.addWorker()
		stops = append(stops, old.terminate())
	}
	t.Logf("time from SIGTERM to the end of the process: %s", stops)

	var handed, stalls distribution
	for _, r := range load {
		for i, run := range r.runs {
			_, reason := r.rec.awaitRun(run)
			if got := text(r.rec.entries(), run); reason != "stop" || got != r.want[i] {
				t.Errorf("session %s: the run ended with %q and the text %q:\n%s", r.rec.session, reason, got, outline(r.rec.entries()))
			}
		}
		all := r.rec.entries()
		for i := 1; i < len(all); i++ {
			if all[i-1].Event.EventType() == holdfast.TypeSessionHandedOver {
				handed = append(handed, all[i].at.Sub(all[i-1].at))
			}
			if all[i].Run == all[i-1].Run && all[i].Run != "" {
				stalls = append(stalls, all[i].at.Sub(all[i-1].at))
			}
		}
	}
	if len(handed) == 0 {
		t.Error("no session was handed over: the load was too light to show anything")
	}
	t.Logf("from the old owner's last event to the new owner's first: %s", handed)
	t.Logf("longest pause within a run: %s", slices.Max(stalls).Round(time.Millisecond))

	log := c.log()
	for _, r := range load {
		log.session(r.rec.session)
	}
	for what, n := range tools.count() {
		if n != 1 {
			t.Errorf("%d calls of %+v in an orderly restart", n, what)
		}
	}
	if got, want := len(tools.count()), sessions/2*5*2; got != want {
		t.Errorf("%d effects, want %d", got, want)
	}
}

// TestFrozenOwner freezes owners for longer than a lease, in mid-stream and in
// the middle of tool calls, and lets them go on when others have their sessions:
// they store nothing and start no effect.
func TestFrozenOwner(t *testing.T) {
	t.Parallel()
	const words = 30
	tools := newEffects(t)
	c := newCluster(t, setup{tools: tools, files: map[string]string{"caller.yaml": caller(tools.url, words, 15*time.Millisecond)}})
	cl := c.client()
	want := strings.Repeat(numbered(words), 3)

	// falseAlarms counts how often a worker was taken for lost that was not frozen,
	// only slow: on a busy machine that costs a claim more.
	frozen := map[string]bool{}
	falseAlarms := func() (n int) {
		for _, w := range c.workers {
			for _, m := range regexp.MustCompile(`waking the sessions of a lost worker" lost=(\S+)`).FindAllStringSubmatch(w.output(), -1) {
				if !frozen[m[1]] {
					n++
				}
			}
		}
		return n
	}
	// freeze stops the session's owner and returns it when another has claimed.
	freeze := func(rec *record, after uint64) (owner *node, id string, resume func()) {
		t.Helper()
		_, id = lastClaim(rec.entries())
		owner, frozen[id] = c.owner(id), true
		at := time.Now()
		owner.process().Pause()
		claimed := rec.await("the claim of another worker", after, func(e received) bool {
			ev, ok := e.Event.(*holdfast.SessionClaimedEvent)
			return ok && ev.Worker != id
		})
		t.Logf("frozen worker: first new event after %s", claimed.at.Sub(at).Round(time.Millisecond))
		return owner, id, owner.process().Resume
	}
	// finish waits for the end of the run and until the loser has noticed that it
	// lost, and looks for traces of it.
	finish := func(rec *record, run, loser string) {
		t.Helper()
		end, reason := rec.awaitRun(run)
		if got := text(rec.entries(), run); reason != "stop" || got != want {
			t.Errorf("the run ended with %q and the text %q:\n%s", reason, got, outline(rec.entries()))
		}
		rec.await("the session is parked", end.Seq, func(e received) bool { return e.Event.EventType() == holdfast.TypeSessionParked })
		c.owner(loser).process().WaitLog("session=default/" + rec.session)
		all := c.log().session(rec.session)
		claims := 0
		for _, e := range all {
			if e.Type == holdfast.TypeSessionClaimed {
				claims++
			}
		}
		if claims < 2 || claims > 2+falseAlarms() {
			t.Errorf("session %s was claimed %d times, want 2:\n%s", rec.session, claims, outline(rec.entries()))
		}
	}

	t.Run("stream", func(t *testing.T) {
		rec := newSession(t, cl, client.NewSession{Title: "frozen", ToolsApproved: true})
		run := say(t, cl, rec.session, "caller", rec.session)
		at := rec.awaitChoices(run, words-3) // the tool call is near
		_, id, resume := freeze(rec, at.Seq)
		rec.awaitRun(run)
		resume()
		finish(rec, run, id)
		if n := effectsOf(tools, rec.session); n["keyed"] != 1 || n["unkeyed"] != 1 {
			t.Errorf("effects: %v, want one of each", n)
		}
	})

	for _, tool := range []string{"keyed", "unkeyed"} {
		t.Run(tool+" call", func(t *testing.T) {
			rec := newSession(t, cl, client.NewSession{Title: "frozen", ToolsApproved: true})
			tools.holdBack(tool)
			run := say(t, cl, rec.session, "caller", rec.session)
			awaitEffect(t, tools, tool, rec.session)
			_, id, resume := freeze(rec, 0)
			if tool == "unkeyed" {
				asked := rec.await("the question what is to become of the call", 0, func(e received) bool {
					ev, ok := e.Event.(*holdfast.ToolCallConfirmationEvent)
					return ok && ev.Reason == "outcome_unknown"
				})
				resume()
				tools.release(tool) // the frozen worker gets its answer now
				c.owner(id).process().WaitLog("session=default/" + rec.session)
				call := asked.Event.(*holdfast.ToolCallConfirmationEvent).ToolCall.ID
				if _, err := cl.Decide(t.Context(), rec.session, call, client.Decision{Decision: client.ResumeTypeReject}); err != nil {
					t.Fatal(err)
				}
				_, reason := rec.awaitRun(run)
				if got := text(rec.entries(), run); reason != "stop" || got != want {
					t.Errorf("the run ended with %q and the text %q:\n%s", reason, got, outline(rec.entries()))
				}
				c.log().session(rec.session)
			} else {
				tools.release(tool)
				rec.awaitRun(run)
				resume()
				finish(rec, run, id)
			}
			n := effectsOf(tools, rec.session)
			if keys := distinctKeys(tools, rec.session); keys["keyed"] != 1 || keys["unkeyed"] != 1 {
				t.Errorf("keys: %v, want one for each call", keys)
			}
			if n["unkeyed"] != 1 {
				t.Errorf("the unkeyed tool was called %d times", n["unkeyed"])
			}
		})
	}
}

// awaitEffect waits until a tool was called for a session, which the call's
// argument names.
func awaitEffect(t testing.TB, tools *effects, tool, session string) {
	t.Helper()
	timeout := time.After(waitLimit)
	for {
		calls, changed := tools.all()
		if slices.ContainsFunc(calls, func(e effect) bool { return e.tool == tool && e.say == session }) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("the tool %s was not called", tool)
		}
	}
}

// effectsOf counts the calls of each tool for a session.
func effectsOf(tools *effects, session string) map[string]int {
	n := map[string]int{}
	for e, times := range tools.count() {
		if e.say == session {
			n[e.tool] += times
		}
	}
	return n
}

// distinctKeys counts the different keys of each tool for a session.
func distinctKeys(tools *effects, session string) map[string]int {
	n := map[string]int{}
	for e := range tools.count() {
		if e.say == session && e.key != "" {
			n[e.tool]++
		}
	}
	return n
}
