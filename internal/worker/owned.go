package worker

import (
	"context"
	"sync"
	"sync/atomic"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// owned is a session that this worker owns; to its driver it is the inbox.
type owned struct {
	w      *Worker
	ref    holdfast.SessionRef
	writer *events.Writer
	stop   func()        // ends the listening for other workers' questions
	panics int           // owners in a row, before this one, that panicked at once
	claim  uint64        // seq of this ownership's claim
	broken atomic.Bool   // nobody can go on with the session
	gone   chan struct{} // closed when the worker has left the session
	wake   chan struct{} // capacity 1

	mu      sync.Mutex // guards what follows
	left    bool
	after   uint64                 // position of the last command that Pending gave
	given   map[string]bool        // id: false = given to the driver, true = settled
	waiters map[string][]chan bool // by command id: who wants to know
}

func newOwned(w *Worker, ref holdfast.SessionRef) *owned {
	return &owned{
		w: w, ref: ref, gone: make(chan struct{}), wake: make(chan struct{}, 1),
		given: map[string]bool{}, waiters: map[string][]chan bool{},
	}
}

// offer tells the owner of a command. The channel receives true when the
// command is settled and false when the owner leaves before.
func (o *owned) offer(c events.Command) <-chan bool {
	ch := make(chan bool, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left {
		ch <- false
		return ch
	}
	// Even an id that is settled goes through the queue: who sent the command again
	// waits for an answer, and it may have another body this time.
	o.waiters[c.ID] = append(o.waiters[c.ID], ch)
	o.signal()
	return ch
}

func (o *owned) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// noticed notes the ownership again when a wake-up comes for a session that is
// owned: a supervisor took this worker for lost and removed its note, and if it
// is lost for real next time, somebody must know.
func (o *owned) noticed(ctx context.Context, c events.Command) bool {
	if c.Kind != events.KindWake {
		return true
	}
	if err := o.w.reg.Mark(ctx, o.w.cfg.ID, o.ref); err != nil {
		o.w.log.Warn("note the ownership again", "session", o.ref.String(), "error", err)
		return false
	}
	return true
}

// ask answers another worker that was given a command of this session.
func (o *owned) ask(ctx context.Context, c events.Command) bool {
	if !o.noticed(ctx, c) {
		return false
	}
	select {
	case accepted := <-o.offer(c):
		return accepted
	case <-o.gone:
		return false
	case <-ctx.Done():
		return false
	}
}

// Wake implements [events.Inbox].
func (o *owned) Wake() <-chan struct{} { return o.wake }

// Draining implements [events.Inbox].
func (o *owned) Draining() <-chan struct{} { return o.w.draining }

// Pending implements [events.Inbox].
func (o *owned) Pending(ctx context.Context) ([]events.Command, error) {
	o.mu.Lock()
	after := o.after
	asked := make(map[string]bool, len(o.waiters))
	for id := range o.waiters {
		asked[id] = true
	}
	o.mu.Unlock()
	queued, err := o.w.bus.Commands(ctx, o.ref, after)
	if err != nil {
		if len(asked) > 0 {
			o.signal() // look again: somebody waits
		}
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []events.Command
	for _, q := range queued {
		if q.Pos > o.after {
			o.after = q.Pos
		}
		delete(asked, q.Command.ID)
		o.given[q.Command.ID] = false
		out = append(out, q.Command)
	}
	// A command that somebody asked about, that is not in the queue and that is not
	// being settled has been: by this owner or by one before.
	for id := range asked {
		if settled, given := o.given[id]; settled || !given {
			o.settle(id)
		}
	}
	return out, nil
}

// Settle implements [events.Inbox].
func (o *owned) Settle(_ context.Context, c events.Command, a events.Answer) {
	o.w.answer(c, a)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settle(c.ID)
}

// settle tells everybody who asked. The caller holds mu.
func (o *owned) settle(id string) {
	o.given[id] = true
	for _, ch := range o.waiters[id] {
		ch <- true
	}
	delete(o.waiters, id)
}

// leave takes no more questions: those who asked find another owner.
func (o *owned) leave() {
	if o.stop != nil {
		o.stop()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left = true
	for id, chs := range o.waiters {
		for _, ch := range chs {
			ch <- false
		}
		delete(o.waiters, id)
	}
}

// close says that the worker has left the session for good.
func (o *owned) close() {
	o.leave()
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.gone:
	default:
		close(o.gone)
	}
}
