package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// monkey strikes the processes of a cluster. Its methods are for the test's
// goroutine.
type monkey struct {
	c     *cluster
	rng   *rand.Rand
	blows map[string]int
	// hits are the blows to workers, unrest those that also delay what clients see.
	hits   []hit
	unrest []time.Time
	lives  map[*node][]time.Time // starts of a node's processes
	// pending are what will be undone, such as frozen processes.
	pending []undo
}

// hit is a worker that was killed or frozen.
type hit struct {
	how    string
	worker string // the node's name
	since  time.Time
	at     time.Time
}

type undo struct {
	at time.Time
	do func()
}

// rage strikes until the time is over.
func (m *monkey) rage(until time.Time) {
	m.lives = map[*node][]time.Time{}
	for _, n := range m.c.workers {
		m.lives[n] = []time.Time{time.Now()}
	}
	for time.Now().Before(until) {
		m.rest(time.Duration(200+m.rng.IntN(500)) * time.Millisecond)
		m.strike()
	}
}

// rest lets time pass, and undoes in it what is due.
func (m *monkey) rest(d time.Duration) {
	end := time.Now().Add(d)
	for {
		next := end
		for _, u := range m.pending {
			if u.at.Before(next) {
				next = u.at
			}
		}
		<-time.After(time.Until(next))
		now := time.Now()
		m.pending = slices.DeleteFunc(m.pending, func(u undo) bool {
			due := !u.at.After(now)
			if due {
				u.do()
			}
			return due
		})
		if !now.Before(end) {
			return
		}
	}
}

// heal undoes everything and waits until all processes are ready.
func (m *monkey) heal() {
	for _, u := range m.pending {
		u.do()
	}
	m.pending = nil
	for _, n := range m.c.nodes() {
		n.awaitReady()
	}
}

// later does something after a while.
func (m *monkey) later(d time.Duration, do func()) {
	m.pending = append(m.pending, undo{time.Now().Add(d), do})
}

func (m *monkey) strike() {
	type blow struct {
		name   string
		weight int
		do     func()
	}
	ms := func(from, to int) time.Duration { return time.Duration(from+m.rng.IntN(to-from)) * time.Millisecond }
	var blows []blow
	if w := m.healthy(m.c.workers); len(w) > 1 { // somebody must be left
		n := w[m.rng.IntN(len(w))]
		blows = append(blows,
			blow{"kill worker", 55, func() {
				m.hit("killed", n)
				n.process().Kill()
				m.relaunch(n, ms(0, 300))
			}},
			blow{"freeze worker", 8, func() {
				m.hit("frozen", n)
				p := n.process()
				p.Pause()
				m.away(n, ms(800, 3000), p.Resume)
			}},
			blow{"stop worker", 10, func() {
				n.awaitReady() // before, the signal is not taken yet
				p := n.process()
				p.Signal(syscall.SIGTERM)
				m.away(n, 0, func() {
					if err := p.Wait(); err != nil {
						m.c.t.Errorf("%s did not stop cleanly on SIGTERM: %v", n.name, err)
					}
					m.launch(n)
				})
			}})
	}
	if a := m.healthy(m.c.apis); len(a) > 1 {
		n := a[m.rng.IntN(len(a))]
		blows = append(blows,
			blow{"kill api", 6, func() { m.disturb(); n.process().Kill(); m.relaunch(n, ms(0, 500)) }},
			blow{"freeze api", 3, func() {
				m.disturb()
				p := n.process()
				p.Pause()
				m.away(n, ms(300, 2000), func() { p.Resume(); m.disturb() })
			}},
			blow{"stop api", 3, func() {
				m.disturb()
				p := n.process()
				p.Signal(syscall.SIGTERM)
				m.away(n, ms(300, 2000), func() { p.Kill(); m.launch(n) })
			}})
	}
	nats, pg := m.c.nats, m.c.pg
	// These are over before the next blow: without NATS nothing can be seen to fail.
	within := func(down func(), d time.Duration, up func()) func() {
		return func() {
			m.disturb()
			down()
			m.rest(d)
			up()
			m.disturb()
		}
	}
	blows = append(blows,
		blow{"kill nats", 2, within(nats.Kill, ms(0, 500), nats.Start)},
		blow{"stop nats", 1, within(nats.Stop, ms(0, 500), nats.Start)},
		blow{"freeze nats", 2, within(nats.Pause, ms(200, 1500), nats.Resume)},
		blow{"kill postgres", 3, within(pg.Kill, ms(0, 1000), pg.Start)},
		blow{"stop postgres", 2, within(pg.Stop, ms(200, 2000), pg.Start)},
		blow{"freeze postgres", 3, within(pg.Pause, ms(200, 2000), pg.Resume)},
	)
	sum := 0
	for _, b := range blows {
		sum += b.weight
	}
	at := m.rng.IntN(sum)
	for _, b := range blows {
		if at -= b.weight; at < 0 {
			m.blows[b.name]++
			b.do()
			return
		}
	}
}

// healthy are the nodes that no blow is under way for.
func (m *monkey) healthy(nodes []*node) []*node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.struck })
}

// away marks the node until the time is over and do is done.
func (m *monkey) away(n *node, d time.Duration, do func()) {
	n.struck = true
	m.later(d, func() {
		do()
		n.struck = false
	})
}

func (m *monkey) launch(n *node) {
	n.launch()
	m.lives[n] = append(m.lives[n], time.Now())
}

func (m *monkey) relaunch(n *node, d time.Duration) { m.away(n, d, func() { m.launch(n) }) }

func (m *monkey) hit(how string, n *node) {
	lives := m.lives[n]
	m.hits = append(m.hits, hit{how, n.name, lives[len(lives)-1], time.Now()})
}

func (m *monkey) disturb() { m.unrest = append(m.unrest, time.Now()) }

// report prints how long sessions stood still: from the blow to their owner to
// the first event of the next owner at the client, and the parts of that time.
func (m *monkey) report(l *load) {
	calm, all := map[string][]stall{}, map[string][]stall{}
	counted := map[string]int{}
	troubled := func(from, to time.Time) bool {
		return slices.ContainsFunc(m.unrest, func(u time.Time) bool { return u.After(from.Add(-3*time.Second)) && u.Before(to) })
	}
	var drained, drainedAll distribution
	for _, s := range l.sessions {
		seen := s.rec.entries()
		for i := 1; i < len(seen); i++ {
			if seen[i-1].Event.EventType() != holdfast.TypeSessionHandedOver {
				continue
			}
			took := seen[i].at.Sub(seen[i-1].at)
			drainedAll = append(drainedAll, took)
			if !troubled(seen[i-1].at, seen[i].at) {
				drained = append(drained, took)
			}
			if took > 200*time.Millisecond {
				m.c.t.Logf("  handed over at %s, session %s: %s", seen[i-1].at.UTC().Format("15:04:05.000"), s.rec.session, took.Round(time.Millisecond))
			}
		}
	}
	found := m.found()
	for _, h := range m.hits {
		took := stalls(l, h, found)
		all[h.how] = append(all[h.how], took...)
		if len(took) > 0 && !troubled(h.at, h.at.Add(longest(took))) {
			calm[h.how] = append(calm[h.how], took...)
			counted[h.how]++
		}
	}
	for _, how := range []string{"killed", "frozen"} {
		m.c.t.Logf("worker %s, first new event of its sessions after: %s (%d blows); with NATS, Postgres or an API disturbed as well: %s",
			how, totals(calm[how]), counted[how], totals(all[how]))
		var until, claim, read distribution
		for _, s := range calm[how] {
			until, claim, read = append(until, s.found), append(claim, s.claim), append(read, s.read)
		}
		m.c.t.Logf("  of it until another worker knew: %s; until one had claimed: %s; until the client had read: %s", until, claim, read)
		slices.SortFunc(calm[how], func(a, b stall) int { return cmp.Compare(b.total(), a.total()) })
		for _, s := range calm[how][:min(8, len(calm[how]))] {
			m.c.t.Logf("  %s %s at %s, session %s: %s", s.worker, how, s.at.UTC().Format("15:04:05.000"), s.session, s)
		}
	}
	m.c.t.Logf("handed over, first new event after: %s; with NATS, Postgres or an API disturbed as well: %s", drained, drainedAll)
	m.keepOutput()
}

// keepOutput writes what each process wrote to a file in the folder CHAOS_OUTPUT.
func (m *monkey) keepOutput() {
	dir := os.Getenv("CHAOS_OUTPUT")
	if dir == "" {
		return
	}
	for _, n := range m.c.nodes() {
		if err := os.WriteFile(filepath.Join(dir, n.name+".log"), []byte(n.output()), 0o644); err != nil {
			m.c.t.Error(err)
		}
	}
}

// found is when a worker first wrote that another one is lost, by its id.
func (m *monkey) found() map[string][]time.Time {
	found := map[string][]time.Time{}
	for _, n := range m.c.workers {
		for line := range strings.Lines(n.output()) {
			if !strings.Contains(line, "waking the sessions of a lost worker") {
				continue
			}
			_, at, _ := strings.Cut(line, "time=")
			at, _, _ = strings.Cut(at, " ")
			when, err := time.Parse(time.RFC3339Nano, at)
			_, id, ok := strings.Cut(line, " lost=")
			if err != nil || !ok {
				m.c.t.Errorf("the log line %q: %v", line, err)
				continue
			}
			id, _, _ = strings.Cut(id, " ")
			found[id] = append(found[id], when)
		}
	}
	for _, times := range found {
		slices.SortFunc(times, time.Time.Compare)
	}
	return found
}

// stall is a session that stood still because its worker was struck: until
// another worker knew, from then until a claim was made, and from then until the
// client had read it.
type stall struct {
	worker, session    string
	at                 time.Time
	found, claim, read time.Duration
}

func (s stall) total() time.Duration { return s.found + s.claim + s.read }

func (s stall) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("%s = known after %s + claimed after %s + read after %s", round(s.total()), round(s.found), round(s.claim), round(s.read))
}

func totals(all []stall) (d distribution) {
	for _, s := range all {
		d = append(d, s.total())
	}
	return d
}

func longest(all []stall) time.Duration { return slices.Max(totals(all)) }

// stalls are the times from a blow to the next claim, of the sessions that the
// worker had and that were not at rest.
func stalls(l *load, h hit, found map[string][]time.Time) (took []stall) {
	for _, s := range l.sessions {
		owner, moving := "", false
		for _, e := range s.rec.entries() {
			claim, ok := e.Event.(*holdfast.SessionClaimedEvent)
			if e.at.Before(h.at) {
				if ok {
					owner = ""
					if strings.HasPrefix(claim.Worker, h.worker+"-") && e.at.After(h.since) {
						owner = claim.Worker
					}
				}
				typ := e.Event.EventType()
				moving = typ != holdfast.TypeSessionParked && typ != holdfast.TypeSessionHandedOver
				continue
			}
			if owner == "" || !moving || e.Event.EventType() == holdfast.TypeSessionParked {
				break
			}
			if ok {
				st := stall{worker: owner, session: s.rec.session, at: h.at}
				made := e.Time
				known := made // a command may have come before the alarm
				for _, t := range found[owner] {
					if t.After(h.at) && t.Before(made) {
						known = t
						break
					}
				}
				st.found, st.claim, st.read = known.Sub(h.at), made.Sub(known), e.at.Sub(made)
				took = append(took, st)
				break
			}
		}
	}
	return took
}
