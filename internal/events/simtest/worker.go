package simtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
)

// forgivable fails the test if an error of a call without injected faults is
// not one of those that a restart of the server explains.
func (w *World) forgivable(what string, err error) {
	for _, never := range []error{events.ErrCorrupt, events.ErrGap} {
		if errors.Is(err, never) {
			w.t.Errorf("%s: %v", what, err)
		}
	}
}

// worker is one place where worker processes live and crash, one after the other.
func (w *World) worker(ctx context.Context, place int) {
	rng := w.dice()
	for life := 0; ctx.Err() == nil; life++ {
		name := fmt.Sprintf("w%d-%d", place, life)
		w.live(ctx, name, rng)
	}
}

// live is the life of one worker process.
func (w *World) live(ctx context.Context, name string, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, upTo(rng, 12*time.Second))
	defer cancel()
	p, err := w.newProcess(ctx, name)
	if err != nil {
		return // its life ended before a server was there
	}
	faults := eventstest.Faults{
		Lost: rng.IntN(100), Done: rng.IntN(100), Late: rng.IntN(60), Twice: rng.IntN(60), Busy: rng.IntN(60), Slow: rng.IntN(100),
		MaxDelay: upTo(rng, 4*retention),
	}
	if rng.IntN(3) == 0 {
		faults = eventstest.Faults{}
	}
	bus := eventstest.NewFaultyBus(p.bus, rng.Uint64(), faults)
	// What a crashed process has sent already may still arrive.
	defer func() { bus.Wait(); p.crash() }()
	store := eventstest.NewFaultyStore(w.store, rng.Uint64(), eventstest.Faults{Lost: rng.IntN(100)})
	for ctx.Err() == nil {
		ref := w.sessions[rng.IntN(len(w.sessions))]
		w.own(ctx, p, bus, store, ref, name, rng)
		sleep(ctx, upTo(rng, 500*time.Millisecond))
	}
}

// own claims a session, writes to it for a while, and leaves it in one of
// several ways.
func (w *World) own(ctx context.Context, p *process, bus events.Bus, store events.Store, ref holdfast.SessionRef, name string, rng *rand.Rand) {
	tail, err := events.ReadTail(ctx, bus, store, ref)
	if err != nil {
		w.forgivable("read the tail", err)
		return
	}
	if tail.Seq == 0 {
		_, err := events.Create(ctx, bus, store, ref, &holdfast.SessionCreatedEvent{Title: ref.Session})
		if err != nil && !errors.Is(err, events.ErrConflict) {
			w.forgivable("create", err)
			return
		}
		if tail, err = events.ReadTail(ctx, bus, store, ref); err != nil || tail.Seq == 0 {
			w.forgivable("read the tail", err)
			return
		}
	}
	if rng.IntN(4) == 0 {
		sleep(ctx, upTo(rng, 2*retention)) // frozen with what it has read
	}
	wr, env, err := events.Claim(ctx, bus, store, ref, tail, name, "sim")
	if err != nil {
		if errors.Is(err, events.ErrConflict) {
			w.note(func(s *Stats) { s.Conflicts++ })
		} else {
			w.forgivable("claim", err)
		}
		return
	}
	w.note(func(s *Stats) {
		s.Claims++
		if tail.Pos == 0 {
			s.Aged++
		}
	})
	if env.Epoch != wr.Epoch() || env.Seq != tail.Seq+1 {
		w.t.Errorf("claimed after %+v: %+v", tail, env)
	}
	if rng.IntN(2) == 0 {
		w.takeOver(ctx, p, ref, env)
	}
	for steps := rng.IntN(30); steps > 0 && ctx.Err() == nil; steps-- {
		if err := w.write(ctx, wr, ref, name, rng); err != nil {
			if errors.Is(err, events.ErrLost) {
				w.note(func(s *Stats) { s.Lost++ })
			} else if !errors.Is(err, events.ErrClosed) && ctx.Err() == nil {
				w.t.Errorf("write to %s: %v", ref, err)
			}
			break
		}
		switch rng.IntN(10) {
		case 0:
			sleep(ctx, upTo(rng, 2*retention)) // frozen for longer than its frames are kept
		case 1, 2, 3:
			sleep(ctx, upTo(rng, 50*time.Millisecond))
		}
	}
	end := ctx
	if rng.IntN(2) == 0 { // crash
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		end = ended
		w.note(func(s *Stats) { s.Crashes++ })
	}
	_ = wr.Close(end) // what could not be stored was never acknowledged
}

// takeOver reads what a new owner reads: the log up to its claim.
func (w *World) takeOver(ctx context.Context, p *process, ref holdfast.SessionRef, claim events.Envelope) {
	r := events.Reader{Bus: p.bus, Store: w.store}
	check := eventstest.NewCheck()
	_, err := r.Read(ctx, ref, 0, func(e events.Envelope) error {
		if err := check.Event(e); err != nil {
			w.t.Errorf("who takes %s over sees: %v", ref, err)
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			w.forgivable("read at take-over", err)
		}
		return
	}
	if check.Seq() < claim.Seq {
		w.t.Errorf("the owner of %s reads up to %d, its claim is %d", ref, check.Seq(), claim.Seq)
	}
}

// write adds some groups and waits, or not, until they are stored.
func (w *World) write(ctx context.Context, wr *events.Writer, ref holdfast.SessionRef, name string, rng *rand.Rand) error {
	var contents []string
	for range 1 + rng.IntN(4) {
		size := 1 + rng.IntN(3)
		w.mu.Lock()
		w.count++
		group := w.count
		w.mu.Unlock()
		var evs []holdfast.Event
		for i := range size {
			content := fmt.Sprintf("%s %s group %d %d/%d", ref.Session, name, group, i+1, size)
			w.mu.Lock()
			w.tried[ref][content] = true
			w.mu.Unlock()
			contents = append(contents, content)
			evs = append(evs, &holdfast.AgentChoiceEvent{Content: content})
		}
		envs, err := wr.Add(ctx, "run", evs...)
		if err != nil {
			return err
		}
		if len(envs) != size || envs[0].Epoch != wr.Epoch() {
			w.t.Errorf("Add gives %+v", envs)
		}
	}
	if rng.IntN(3) == 0 {
		return nil // nobody hears of them
	}
	if err := wr.Flush(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range contents {
		w.acked[ref][c] = name
		w.stats.Acked++
	}
	return nil
}
