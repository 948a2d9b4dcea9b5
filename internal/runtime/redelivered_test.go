package runtime_test

import (
	"context"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// slowBus stores nothing until it is opened, and counts how often a command was
// delivered and acknowledged.
type slowBus struct {
	*natsbus.Bus
	opened chan struct{}
	again  chan struct{} // gets a word for each delivery

	mu   sync.Mutex
	acks int
}

func (b *slowBus) Append(ctx context.Context, s holdfast.SessionRef, prev uint64, frame []byte) (uint64, error) {
	select {
	case <-b.opened:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return b.Bus.Append(ctx, s, prev, frame)
}

func (b *slowBus) NextCommand(ctx context.Context) (worker.Delivery, error) {
	d, err := b.Bus.NextCommand(ctx)
	if err != nil {
		return d, err
	}
	select {
	case b.again <- struct{}{}:
	default:
	}
	ack := d.Ack
	d.Ack = func(ctx context.Context) error {
		b.mu.Lock()
		b.acks++
		b.mu.Unlock()
		return ack(ctx)
	}
	return d, nil
}

// TestRedelivered: a command that comes again and again because its owner is slow
// is not waited for and acknowledged each time. Else a slow machine would be made slower by
// what it has not done yet.
func TestRedelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gated)
	s := ref("s")
	w.create(s, &holdfast.SessionCreatedEvent{Agent: "agent"})
	_, bus := w.connect("worker")
	slow := &slowBus{Bus: bus, opened: make(chan struct{}), again: make(chan struct{}, 64)}
	engine := runtime.NewEngine(runtime.Config{Reader: &events.Reader{Bus: slow, Store: w.store}, Agents: w.agents, Snapshots: w.store, Logger: w.log})
	wk := worker.New(slow, slow, w.store, engine, worker.Config{Logger: w.log, DrainGrace: 100 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := wk.Run(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		engine.Wait()
	})
	defer running.Wait()
	defer cancel()

	c, err := events.NewCommand(s, events.KindRun, "key", events.RunBody{Messages: []holdfast.Message{{Role: holdfast.RoleUser, Content: "hello"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Send(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		select {
		case <-slow.again:
		case <-time.After(time.Minute):
			t.Fatal("the command does not come again")
		}
	}
	close(slow.opened)
	w.waitParked(s, events.WaitingIdle)
	cancel()
	running.Wait() // what is under way ends with it
	slow.mu.Lock()
	defer slow.mu.Unlock()
	if slow.acks > 2 { // it may be on its way once more when it is acknowledged
		t.Errorf("the command was acknowledged %d times", slow.acks)
	}
}
