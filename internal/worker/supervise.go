package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// pingEvery is how often an active supervisor asks a worker for a sign of life,
	// pingShare how much longer it takes for each worker that it asks, and
	// pingTimeout how long it waits for an answer.
	pingEvery   = 50 * time.Millisecond
	pingShare   = 2 * time.Millisecond
	pingTimeout = 150 * time.Millisecond
	// maxMissed is how many unanswered pings in a row make a worker count as frozen.
	maxMissed = 3
	// lostEvery is how often a lost worker is asked: it may have been only asleep.
	lostEvery = 500 * time.Millisecond
	// keyLife is how long a worker counts as living after it has renewed its key.
	keyLife = 2 * time.Second
	// listEvery is how often supervisors list the workers, to find those that have
	// left nothing but marks, and idleEvery how often the others do. In between the
	// renewals of the keys tell who lives.
	listEvery = time.Second
	idleEvery = 5 * time.Second
	// sweepEvery is how often the archive is searched for sessions that run, got no
	// event for orphanAge and whose worker is not alive.
	sweepEvery = 30 * time.Second
	orphanAge  = time.Minute
	// supervisors is how many workers supervise the others at the same time.
	supervisors = 2
)

// supervisor watches the other workers while its own is among the first, by
// name, of those that live. A worker that is gone or frozen loses its sessions:
// each gets a wake-up, and the chain of compare-and-sets decides who has it.
//
// A worker that is not among the first watches only those that are, so that it
// knows when its turn has come. No worker waits for the answer of another: one
// that is frozen does not delay the finding of one that is dead.
type supervisor struct {
	w     *Worker
	peers map[string]*peer // by id, this worker too
	work  sync.WaitGroup

	beats  chan string // ids of workers that renewed their key
	signs  chan sign   // answers to pings
	lists  chan list
	done   chan string // ids of workers whose sessions were woken
	swept  chan struct{}
	listed time.Time // when the last list was asked for
	sweeps time.Time
	// listing and sweeping say that one is under way, known that there was a list.
	listing, sweeping, known bool
}

// peer is what a supervisor knows of a worker.
type peer struct {
	beat     time.Time // when it renewed its key
	noted    bool      // it may have marks
	lost     bool      // and not seen since
	missed   int       // pings in a row
	asked    bool      // a ping is under way
	rescuing bool      // its sessions are being woken
	next     time.Time // it is not asked before
}

// sign is the answer to a ping, or why there is none.
type sign struct {
	id  string
	err error
}

// list is what the registry knows.
type list struct {
	live, noted []string
	err         error
}

// supervise runs until ctx ends.
func (w *Worker) supervise(ctx context.Context) {
	s := &supervisor{
		w: w, peers: map[string]*peer{},
		beats: make(chan string, 256), signs: make(chan sign), lists: make(chan list),
		done: make(chan string), swept: make(chan struct{}), sweeps: time.Now(),
	}
	stop, err := w.reg.Beats(func(id string) {
		select {
		case s.beats <- id:
		default: // the next one is not far
		}
	})
	if err != nil {
		w.log.Warn("listen for the signs of life of other workers; they are listed once a second", "error", err)
		stop = func() {}
	}
	defer s.work.Wait()
	defer stop()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.tick(ctx, time.Now())
		case id := <-s.beats:
			p := s.peer(id)
			p.beat, p.lost = time.Now(), false
		case l := <-s.lists:
			s.listing = false
			s.take(l, time.Now())
		case sg := <-s.signs:
			s.sign(ctx, sg, time.Now())
		case id := <-s.done:
			s.peer(id).rescuing = false
		case <-s.swept:
			s.sweeping = false
		}
	}
}

func (s *supervisor) peer(id string) *peer {
	p := s.peers[id]
	if p == nil {
		p = &peer{}
		s.peers[id] = p
	}
	return p
}

// rank returns this worker's place among the living, -1 if it is not one of
// them itself, and the first of them.
func (s *supervisor) rank(now time.Time) (at int, first []string) {
	var live []string
	for id, p := range s.peers {
		if !p.lost && now.Sub(p.beat) < keyLife {
			live = append(live, id)
		}
	}
	slices.Sort(live)
	return slices.Index(live, s.w.cfg.ID), live[:min(len(live), supervisors)]
}

// supervises reports whether this worker is to wake the sessions of others.
func (s *supervisor) supervises(now time.Time) bool {
	at, _ := s.rank(now)
	return s.known && at >= 0 && at < supervisors
}

// tick asks for what is due.
func (s *supervisor) tick(ctx context.Context, now time.Time) {
	at, first := s.rank(now)
	active := s.known && at >= 0 && at < supervisors
	every := idleEvery
	if active || !s.known {
		every = listEvery
	}
	if !s.listing && now.Sub(s.listed) >= every {
		s.list(ctx, now)
	}
	switch {
	case active:
		for id, p := range s.peers {
			s.ask(ctx, id, p, now)
		}
		if s.w.cfg.Orphans != nil && !s.sweeping && now.Sub(s.sweeps) > sweepEvery {
			s.sweeping, s.sweeps = true, now
			s.work.Go(func() {
				s.w.sweep(ctx)
				tell(ctx, s.swept, struct{}{})
			})
		}
	case at >= 0:
		for _, id := range first {
			s.ask(ctx, id, s.peers[id], now)
		}
	}
}

// tell sends, unless ctx ends.
func tell[T any](ctx context.Context, ch chan<- T, v T) {
	select {
	case ch <- v:
	case <-ctx.Done():
	}
}

func (s *supervisor) list(ctx context.Context, now time.Time) {
	s.listing, s.listed = true, now
	s.work.Go(func() {
		lctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		var l list
		l.live, l.noted, l.err = s.w.reg.Workers(lctx)
		tell(ctx, s.lists, l)
	})
}

// take notes what the registry knows and forgets who has left nothing.
func (s *supervisor) take(l list, now time.Time) {
	if l.err != nil {
		s.w.log.Debug("list the workers", "error", l.err)
		return
	}
	s.known = true
	for _, id := range l.live {
		// The key may be almost as old as it can get; the next renewal tells.
		if p := s.peer(id); now.Sub(p.beat) >= keyLife && !p.lost {
			p.beat = now
		}
	}
	for id, p := range s.peers {
		p.noted = slices.Contains(l.noted, id)
		if !p.noted && !p.asked && !p.rescuing && now.Sub(p.beat) > 2*keyLife {
			delete(s.peers, id)
		}
	}
	for _, id := range l.noted {
		s.peer(id).noted = true
	}
}

// ask pings a worker if that is due.
func (s *supervisor) ask(ctx context.Context, id string, p *peer, now time.Time) {
	if p == nil || id == s.w.cfg.ID || p.asked || now.Before(p.next) {
		return
	}
	p.asked = true
	p.next = now.Add(pingShare * time.Duration(len(s.peers)))
	s.work.Go(func() {
		pctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		tell(ctx, s.signs, sign{id, s.w.reg.Ping(pctx, id)})
	})
}

// sign takes the answer to a ping.
func (s *supervisor) sign(ctx context.Context, sg sign, now time.Time) {
	p := s.peer(sg.id)
	p.asked = false
	switch {
	case ctx.Err() != nil:
		return
	case sg.err == nil:
		p.missed, p.lost = 0, false
		return
	case errors.Is(sg.err, ErrNobody):
	default:
		if p.missed++; p.missed < maxMissed {
			s.ask(ctx, sg.id, p, now.Add(pingEvery)) // at once
			return
		}
	}
	p.missed, p.lost, p.next = 0, true, now.Add(lostEvery)
	if s.supervises(now) && !p.rescuing {
		p.rescuing = true
		s.work.Go(func() {
			s.w.rescue(ctx, sg.id)
			tell(ctx, s.done, sg.id)
		})
	}
}

// rescue wakes the sessions of a lost worker and then removes the notes that it
// found, so that a supervisor that dies in between leaves them to the next. If the
// worker lives after all, it notes its ownership again when it gets the wake-up, and
// that note stays.
func (w *Worker) rescue(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	refs, at, err := w.reg.Marked(ctx, id)
	if err != nil {
		w.log.Warn("list the sessions of a lost worker", "lost", id, "error", err)
		return
	}
	if len(refs) == 0 {
		return
	}
	w.log.Info("waking the sessions of a lost worker", "lost", id, "sessions", len(refs))
	limit := make(chan struct{}, 32)
	for _, ref := range refs {
		limit <- struct{}{}
		go func(ref holdfast.SessionRef) {
			defer func() { <-limit }()
			if !w.wake(ref) {
				return // the note stays, and with it the worker among the lost
			}
			if err := w.reg.UnmarkAt(ctx, id, ref, at); err != nil {
				w.log.Debug("remove the mark of a lost worker", "lost", id, "error", err)
			}
		}(ref)
	}
	for range cap(limit) { // wait for all
		limit <- struct{}{}
	}
}

// sweep wakes sessions that the archive says are running although their worker
// is not alive: those whose mark was lost with a stream, or never stored.
func (w *Worker) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	live, _, err := w.reg.Workers(ctx)
	if err != nil {
		return // the pings will say what is wrong
	}
	orphans, err := w.cfg.Orphans(ctx, orphanAge, 200)
	if err != nil {
		w.log.Debug("look for orphans", "error", err)
		return
	}
	for _, o := range orphans {
		if !slices.Contains(live, o.Worker) {
			w.log.Info("waking a session whose worker is gone", "session", o.Session.String(), "lost", o.Worker)
			w.wake(o.Session)
		}
	}
}
