package simtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// settleTime is how long, in the bubble's time, commands may take to be accepted
// once nothing fails any more.
const settleTime = 5 * time.Minute

// RunDispatch simulates the way of commands: clients send them, real workers
// take them, claim, accept, park, crash and freeze. Every command must be
// accepted exactly once and in the order in which it was sent.
func (w *World) RunDispatch() {
	w.startServer()
	w.openStore()
	defer w.store.Close()
	defer w.stopServer()

	ctx, cancel := context.WithTimeout(context.Background(), w.Duration)
	defer cancel()
	calm, end := context.WithCancel(context.Background())
	rng := w.dice()
	var background, clients sync.WaitGroup
	background.Go(func() { w.recorders(ctx, calm, 0) })
	for i := range 2 + rng.IntN(3) {
		background.Go(func() { w.places(ctx, calm, i) })
	}
	if rng.IntN(4) == 0 {
		clients.Go(func() { w.restarts(ctx) })
	}
	sent := make([][]string, len(w.sessions))
	for i, ref := range w.sessions {
		clients.Go(func() { sent[i] = w.client(ctx, ref) })
	}
	clients.Wait()
	<-ctx.Done()
	if !w.t.Failed() {
		for i, ref := range w.sessions {
			w.judgeCommands(ref, sent[i])
		}
	}
	end()
	background.Wait()
}

// client makes a session and sends commands to it, one after the other, and
// returns their ids. A command whose outcome is unknown is sent again.
func (w *World) client(ctx context.Context, ref holdfast.SessionRef) (sent []string) {
	rng := w.dice()
	background := context.Background() // a client does not give up
	p, err := w.newProcess(background, "client")
	if err != nil {
		w.t.Errorf("open a client's bus: %v", err)
		return nil
	}
	defer p.crash()
	for {
		_, err := events.Create(background, p.bus, w.store, ref, &holdfast.SessionCreatedEvent{Title: "sim"})
		if err == nil || errors.Is(err, events.ErrConflict) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for ctx.Err() == nil {
		id := fmt.Sprintf("%s-c%d", ref.Session, len(sent))
		c, err := events.NewCommand(ref, events.KindRun, id, events.RunBody{Run: id})
		if err != nil {
			w.t.Error(err)
			return sent
		}
		for {
			attempt, cancel := context.WithTimeout(background, time.Second)
			err = p.bus.Send(attempt, c)
			cancel()
			if err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		sent = append(sent, id)
		if rng.IntN(4) == 0 {
			sleep(ctx, upTo(rng, 2*time.Second))
		} else {
			sleep(ctx, upTo(rng, 100*time.Millisecond))
		}
	}
	return sent
}

// places runs worker processes one after the other, each until it crashes,
// drains, or is frozen and then crashes; after the faults one goes on.
func (w *World) places(ctx, calm context.Context, place int) {
	rng := w.dice()
	for n := 0; calm.Err() == nil; n++ {
		g := newGate()
		p, err := w.newProcessThrough(calm, fmt.Sprintf("worker-%d-%d", place, n), dialer{w, g})
		if err != nil {
			if calm.Err() == nil {
				w.t.Errorf("open a worker's bus: %v", err)
			}
			return
		}
		name := fmt.Sprintf("w%d-%d", place, n)
		wk := worker.New(p.bus, p.bus, w.store, &driver{w, p}, worker.Config{ID: name, DrainGrace: time.Second, MaxSessions: 1 + rng.IntN(3)})
		life, stop := context.WithCancel(calm)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := wk.Run(life); err != nil && life.Err() == nil {
				w.t.Errorf("worker %s: %v", name, err)
			}
		}()
		if ctx.Err() == nil {
			sleep(ctx, upTo(rng, 6*time.Second))
		}
		switch {
		case ctx.Err() != nil:
			<-calm.Done()
		case rng.IntN(3) == 0: // SIGTERM
		case rng.IntN(2) == 0: // SIGSTOP, later SIGCONT
			w.note(func(s *Stats) { s.Frozen++ })
			g.shut()
			sleep(ctx, upTo(rng, 4*retention))
			g.reopen()
			sleep(ctx, upTo(rng, time.Second))
		default: // SIGKILL
			w.note(func(s *Stats) { s.Crashes++ })
			p.nc.Close()
		}
		stop()
		<-done
		p.crash()
	}
}

// driver accepts commands, one frame each, and parks. It knows what was accepted
// before from the log, as the real one does.
type driver struct {
	w *World
	p *process
}

func (d *driver) Drive(ctx context.Context, wr *events.Writer, in events.Inbox) error {
	d.w.note(func(s *Stats) { s.Claims++ })
	accepted := map[string]bool{}
	r := events.Reader{Bus: d.p.bus, Store: d.w.store}
	check := eventstest.NewCheck()
	_, err := r.Read(ctx, wr.Ref(), 0, func(e events.Envelope) error {
		if err := check.Event(e); err != nil {
			d.w.t.Errorf("who takes %s over sees: %v", wr.Ref(), err)
		}
		if id := acceptedCommand(&e); id != "" {
			accepted[id] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for {
		commands, err := in.Pending(ctx)
		if err != nil {
			return err
		}
		for _, c := range commands {
			if c.Kind != events.KindWake && !accepted[c.ID] {
				_, err := wr.Add(ctx, "", &holdfast.CommandAcceptedEvent{Command: c.ID, Kind: c.Kind}, &holdfast.AgentChoiceEvent{Content: c.ID})
				if err == nil {
					err = wr.Flush(ctx)
				}
				if err != nil {
					return err
				}
				accepted[c.ID] = true
			}
			in.Settle(ctx, c, events.Answer{Command: c.ID})
		}
		if len(commands) > 0 {
			continue
		}
		select {
		case <-in.Wake():
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wr.Lost():
			return events.ErrLost
		case <-in.Draining():
			return d.last(ctx, wr)
		case <-time.After(200 * time.Millisecond):
			return d.last(ctx, wr)
		}
	}
}

// last parks the session.
func (d *driver) last(ctx context.Context, wr *events.Writer) error {
	if _, err := wr.Add(ctx, "", &holdfast.SessionParkedEvent{Waiting: events.WaitingIdle}); err != nil {
		return err
	}
	return wr.Flush(ctx)
}

func acceptedCommand(e *events.Envelope) string {
	if e.Type != holdfast.TypeCommandAccepted {
		return ""
	}
	var p struct {
		Command string `json:"command"`
	}
	if json.Unmarshal(e.Payload, &p) != nil {
		return ""
	}
	return p.Command
}

// judgeCommands waits until the session has accepted what was sent and checks
// that it did so once each and in order.
func (w *World) judgeCommands(ref holdfast.SessionRef, sent []string) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	p, err := w.newProcess(ctx, "judge")
	if err != nil {
		w.t.Errorf("open the judge's bus: %v", err)
		return
	}
	defer p.crash()
	r := events.Reader{Bus: p.bus, Store: w.store}
	for {
		check := eventstest.NewCheck()
		var have []string
		var log []events.Envelope
		_, err := r.Read(ctx, ref, 0, func(e events.Envelope) error {
			log = append(log, e)
			if id := acceptedCommand(&e); id != "" {
				have = append(have, id)
			}
			return check.Event(e)
		})
		if err != nil {
			w.t.Errorf("%s: %v\n%s", ref, err, dump(log))
			return
		}
		for i, id := range have {
			if i >= len(sent) || id != sent[i] {
				w.t.Errorf("%s: command %d to be accepted is %s, sent were %v\n%s", ref, i, id, sent, dump(log))
				return
			}
		}
		if len(have) == len(sent) {
			w.note(func(s *Stats) { s.Events += len(log); s.Acked += len(have) })
			return
		}
		if !sleep(ctx, time.Second) {
			w.t.Errorf("%s is stuck: %d of %d commands are accepted %s after all faults\n%s", ref, len(have), len(sent), settleTime, dump(log))
			return
		}
	}
}
