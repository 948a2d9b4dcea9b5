package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// pingEvery is how often an active supervisor asks every worker for a sign of
	// life, pingTimeout how long it waits for one.
	pingEvery   = 100 * time.Millisecond
	pingTimeout = 150 * time.Millisecond
	// maxMissed is how many unanswered pings in a row make a worker count as frozen.
	maxMissed = 3
	// listEvery is how often the list of workers is read.
	listEvery = time.Second
	// sweepEvery is how often the archive is searched for sessions that run, got no
	// event for orphanAge and whose worker is not alive.
	sweepEvery = 30 * time.Second
	orphanAge  = time.Minute
	// supervisors is how many workers supervise the others at the same time.
	supervisors = 2
)

// supervise watches the other workers while this one is among the first, by
// name, of those that live. A worker that is gone or frozen loses its sessions:
// each gets a wake-up, and the chain of compare-and-sets decides who has it.
func (w *Worker) supervise(ctx context.Context) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	var watched []string
	var listed time.Time
	swept := time.Now()
	missed := map[string]int{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if time.Since(listed) > listEvery {
			var err error
			if watched, err = w.watched(ctx); err != nil {
				if ctx.Err() == nil {
					w.log.Debug("list the workers", "error", err)
				}
				continue
			}
			listed = time.Now()
		}
		if watched != nil && w.cfg.Orphans != nil && time.Since(swept) > sweepEvery {
			swept = time.Now()
			w.sweep(ctx)
		}
		if lost := w.ping(ctx, watched, missed); len(lost) > 0 {
			for _, id := range lost {
				delete(missed, id)
				w.rescue(ctx, id)
			}
			listed = time.Time{}
		}
	}
}

// watched returns the workers that this one is to watch: all others, if it is
// one of the first, else none.
func (w *Worker) watched(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	live, marked, err := w.reg.Workers(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(live)
	if at := slices.Index(live, w.cfg.ID); at < 0 || at >= supervisors {
		return nil, nil
	}
	all := append(live, marked...)
	slices.Sort(all)
	all = slices.Compact(all)
	if all == nil {
		all = []string{} // an active supervisor, even if there is nobody to watch
	}
	return slices.DeleteFunc(all, func(id string) bool { return id == w.cfg.ID }), nil
}

// ping asks all at the same time and returns those that count as lost.
func (w *Worker) ping(ctx context.Context, workers []string, missed map[string]int) (lost []string) {
	type sign struct {
		id  string
		err error
	}
	signs := make(chan sign, len(workers))
	for _, id := range workers {
		go func() {
			pctx, cancel := context.WithTimeout(ctx, pingTimeout)
			defer cancel()
			signs <- sign{id, w.reg.Ping(pctx, id)}
		}()
	}
	for range workers {
		s := <-signs
		switch {
		case ctx.Err() != nil:
		case s.err == nil:
			delete(missed, s.id)
		case errors.Is(s.err, ErrNobody):
			lost = append(lost, s.id)
		default:
			if missed[s.id]++; missed[s.id] >= maxMissed {
				lost = append(lost, s.id)
			}
		}
	}
	return lost
}

// rescue wakes the sessions of a lost worker. The note goes first: if the worker
// lives after all, it notes its ownership again when it gets the wake-up, and no
// later removal may take that away. A supervisor that dies in between leaves a
// session to the sweep.
func (w *Worker) rescue(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	refs, err := w.reg.Marked(ctx, id)
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
			if err := w.reg.Unmark(ctx, id, ref); err != nil {
				w.log.Debug("remove the mark of a lost worker", "lost", id, "error", err)
			}
			if !w.wake(ref) {
				if err := w.reg.Mark(ctx, id, ref); err != nil {
					w.log.Warn("a session is left to the sweep", "session", ref.String(), "error", err)
				}
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
