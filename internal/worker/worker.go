package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Driver does the work of a session that this worker owns.
type Driver interface {
	// Drive returns nil when the session is parked (session_parked is stored),
	// events.ErrHandedOver when it was left on purpose in the middle,
	// events.ErrLost when another worker has it, and any other error when it could
	// not go on. When ctx ends it returns soon, with ctx's cause.
	Drive(ctx context.Context, w *events.Writer, in events.Inbox) error
}

// Config configures a [Worker]. The zero value works.
type Config struct {
	// ID names this process. It must never have been used before: two processes
	// with one ID could take each other's claims for their own. Default: a new one.
	ID string
	// MaxSessions is how many sessions the worker owns at the same time; it takes
	// no more commands while it has as many. Default 1000.
	MaxSessions int
	// Pullers is how many commands it waits for at the same time. Default 4.
	Pullers int
	// DrainGrace is how long Run waits, when it is told to stop, for sessions to
	// reach a safe point, before it leaves them in the middle. Default 20 s.
	DrainGrace time.Duration
	// Orphans, if not nil, finds sessions that run and got no event for longer than
	// the given time: the last net under pings and marks. Every [events.Maintainer]
	// has it.
	Orphans func(ctx context.Context, olderThan time.Duration, limit int) ([]events.SessionInfo, error)
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Worker takes commands, claims sessions and drives them.
type Worker struct {
	cfg    Config
	bus    Bus
	reg    Registry
	store  events.HeadReader
	driver Driver
	log    *slog.Logger

	draining chan struct{} // closed when no more work is taken
	slots    chan struct{} // one token per owned session
	active   atomic.Int64

	mu     sync.Mutex // guards owned and inHand
	owned  map[holdfast.SessionRef]*owned
	inHand map[uint64]bool // positions of the commands that are being dispatched

	work sync.WaitGroup // dispatches and sessions
}

// Timings of the hand-over protocol.
const (
	// askTimeout is how long a live owner may take to store an acceptance before
	// it counts as frozen.
	askTimeout = 600 * time.Millisecond
	// askOrphan is the same for a session whose owner was found dead or frozen.
	askOrphan = 100 * time.Millisecond
	// fullPause slows down a worker that has no room; fullRetry is when a command
	// that it had no room for is delivered again.
	fullPause = 20 * time.Millisecond
	fullRetry = 300 * time.Millisecond
	// awayDelay is how long a session rests whose bus or store is away, retryDelay one
	// that could not be driven for another reason.
	awayDelay  = 200 * time.Millisecond
	retryDelay = 2 * time.Second
	// panicDelay is how long a session rests that a panic has released.
	panicDelay = 200 * time.Millisecond
	// lastWords is how long leaving a session may take.
	lastWords = 3 * time.Second
	// brokenRetry is when a command to a session is tried again that nobody could
	// go on with.
	brokenRetry = time.Minute
)

// New returns a worker. Nothing runs before Run.
func New(bus Bus, reg Registry, store events.HeadReader, driver Driver, cfg Config) *Worker {
	if cfg.ID == "" {
		cfg.ID = "w-" + holdfast.NewID()
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 1000
	}
	if cfg.Pullers == 0 {
		cfg.Pullers = 4
	}
	if cfg.DrainGrace == 0 {
		cfg.DrainGrace = 20 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Worker{
		cfg: cfg, bus: bus, reg: reg, store: store, driver: driver,
		log:      cfg.Logger.With("worker", cfg.ID),
		draining: make(chan struct{}), slots: make(chan struct{}, cfg.MaxSessions),
		owned: map[holdfast.SessionRef]*owned{}, inHand: map[uint64]bool{},
	}
}

// ID returns the worker's identity, as session_claimed events name it.
func (w *Worker) ID() string { return w.cfg.ID }

// Active returns how many sessions the worker owns now.
func (w *Worker) Active() int { return int(w.active.Load()) }

// Run works until ctx ends, then drains: it takes no more, brings each session
// to its next safe point or hands it over, and returns when nothing of its own
// is left.
func (w *Worker) Run(ctx context.Context) error {
	gone, err := w.announce(ctx)
	if err != nil {
		return err
	}
	defer gone()

	hard, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	var pullers sync.WaitGroup
	for n := range w.cfg.Pullers {
		pullers.Go(func() { w.pull(ctx, hard, n == 0) })
	}
	pullers.Go(func() {
		for ctx.Err() == nil {
			w.watch(ctx)
		}
	})
	<-ctx.Done()
	close(w.draining)
	pullers.Wait()

	left := make(chan struct{})
	go func() {
		w.work.Wait()
		close(left)
	}()
	grace := time.NewTimer(w.cfg.DrainGrace)
	defer grace.Stop()
	select {
	case <-left:
	case <-grace.C:
		w.log.Info("drain: leaving sessions in the middle of a step", "sessions", w.Active())
		kill(errDrained)
		<-left
	}
	return nil
}

var errDrained = errors.New("the worker is shutting down")

// announce makes the worker known, however long the bus takes to be there.
func (w *Worker) announce(ctx context.Context) (func(), error) {
	for {
		stop, err := w.reg.Announce(context.WithoutCancel(ctx), w.cfg.ID)
		if err == nil {
			return stop, nil
		}
		w.log.Warn("announce the worker", "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("announce the worker: %w", err)
		case <-time.After(time.Second):
		}
	}
}

// watch supervises until ctx ends. A panic begins it anew, after a pause.
func (w *Worker) watch(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("panic", "in", "supervise", "panic", r, "stack", string(debug.Stack()))
			w.pause(ctx, retryDelay)
		}
	}()
	w.supervise(ctx)
}

// pull takes one command after the other. ctx ends the taking, hard the work. A
// worker that owns as many sessions as it may still takes commands, one at a
// time: they may be for those sessions.
func (w *Worker) pull(ctx, hard context.Context, first bool) {
	for ctx.Err() == nil {
		if full := len(w.slots) == cap(w.slots); full {
			w.pause(ctx, fullPause)
			if !first {
				continue
			}
		}
		d, err := w.bus.NextCommand(ctx)
		if err != nil {
			if !errors.Is(err, ErrNoCommand) && ctx.Err() == nil {
				w.log.Warn("take a command", "error", err)
				w.pause(ctx, 250*time.Millisecond)
			}
			continue
		}
		if !w.takeUp(d) {
			continue
		}
		w.work.Go(func() {
			defer w.putDown(d)
			defer func() {
				if r := recover(); r != nil {
					w.log.Error("panic", "in", "dispatch", "session", d.Command.Session.String(), "panic", r, "stack", string(debug.Stack()))
					w.retry(d, brokenRetry)
				}
			}()
			w.dispatch(hard, d)
		})
	}
}

// takeUp reports whether the command is new in this worker's hands. One that comes
// again while its dispatch still waits, because an owner is slow, gets no second one:
// each would wait and acknowledge for itself, and the slower the machine the more there
// would be of them, until it does nothing else.
func (w *Worker) takeUp(d Delivery) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inHand[d.Pos] {
		if o := w.owned[d.Command.Session]; o != nil {
			o.signal() // it may look once more
		}
		return false
	}
	w.inHand[d.Pos] = true
	return true
}

func (w *Worker) putDown(d Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.inHand, d.Pos)
}

// dispatch brings a delivered command to the session's owner, or becomes it.
func (w *Worker) dispatch(ctx context.Context, d Delivery) {
	c := d.Command
	defer d.Hold()()
	for attempt := range 20 {
		if ctx.Err() != nil {
			break
		}
		accepted, err := w.ask(ctx, c)
		switch {
		case err == nil && accepted:
			w.ack(ctx, d)
			return
		case err == nil:
			// The owner is leaving: it is gone in a moment.
			w.pause(ctx, time.Duration(attempt)*5*time.Millisecond)
			continue
		}
		if w.isDraining() {
			break
		}
		select {
		case w.slots <- struct{}{}:
		default:
			w.retry(d, fullRetry) // another worker may have room
			return
		}
		o, err := w.claim(ctx, c)
		if err != nil {
			<-w.slots
		}
		switch {
		case errors.Is(err, events.ErrConflict):
			w.pause(ctx, time.Duration(attempt)*5*time.Millisecond)
			continue // somebody else was quicker: it is the owner now
		case errors.Is(err, errNothingToDo):
			w.ack(ctx, d)
			return
		case errors.Is(err, errDeleted):
			w.answer(c, deletedAnswer(c))
			w.ack(ctx, d)
			return
		case errors.Is(err, events.ErrNoSession):
			w.answer(c, events.Answer{Command: c.ID, Code: holdfast.CodeNotFound, Message: "no session " + c.SessionID})
			w.ack(ctx, d)
			return
		case err != nil:
			w.log.Warn("claim a session", "session", c.Session.String(), "error", err)
			w.retry(d, time.Second)
			return
		}
		settled := o.offer(c)
		w.work.Go(func() {
			defer func() { <-w.slots }()
			w.own(ctx, o)
		})
		if <-settled {
			w.ack(ctx, d)
			return
		}
		if o.broken.Load() {
			w.answer(c, events.Answer{Command: c.ID, Code: holdfast.CodeUnavailable, Message: "the session cannot go on: internal error; the request is kept and tried again"})
			w.retry(d, brokenRetry)
			return
		}
	}
	w.retry(d, 50*time.Millisecond)
}

// ask hands the command to the session's owner, here or elsewhere. ErrNobody or
// a time-out says that there is none to be reached.
func (w *Worker) ask(ctx context.Context, c events.Command) (accepted bool, err error) {
	timeout := askTimeout
	if c.Kind == events.KindWake {
		timeout = askOrphan
	}
	actx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w.mu.Lock()
	o := w.owned[c.Session]
	w.mu.Unlock()
	if o != nil {
		if !o.noticed(actx, c) {
			return false, nil
		}
		select {
		case accepted := <-o.offer(c):
			return accepted, nil
		case <-o.gone:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return w.bus.AskOwner(actx, c)
}

// deletedAnswer is what becomes of a command to a deleted session: the deletion
// itself has been done, everything else finds nothing.
func deletedAnswer(c events.Command) events.Answer {
	a := events.Answer{Command: c.ID}
	if c.Kind != events.KindDelete {
		a.Code, a.Message = holdfast.CodeNotFound, "session "+c.SessionID+" was deleted"
	}
	return a
}

var errDeleted = errors.New("the session was deleted")

var errNothingToDo = errors.New("nothing to do")

// claim makes this worker the session's owner.
func (w *Worker) claim(ctx context.Context, c events.Command) (*owned, error) {
	ref := c.Session
	o := newOwned(w, ref)
	w.mu.Lock()
	if w.owned[ref] != nil {
		w.mu.Unlock()
		return nil, events.ErrConflict
	}
	w.owned[ref] = o
	w.mu.Unlock()
	ok := false
	defer func() {
		if !ok {
			w.forget(o)
		}
	}()
	tail, err := events.ReadTail(ctx, w.bus, w.store, ref)
	if err != nil {
		return nil, err
	}
	switch {
	case tail.Seq == 0:
		return nil, events.ErrNoSession
	case tail.Type == holdfast.TypeSessionDeleted:
		return nil, errDeleted // nothing follows session_deleted, not even a claim
	}
	reason := "command"
	if c.Kind == events.KindWake {
		reason = "orphaned"
		if parked, err := w.restsParked(ctx, ref, tail); err != nil {
			return nil, err
		} else if parked {
			return nil, errNothingToDo
		}
	}
	// The note of ownership and the claim travel together; both are stored before
	// anything is accepted.
	marked := make(chan error, 1)
	go func() { marked <- w.reg.Mark(ctx, w.cfg.ID, ref) }()
	writer, _, err := events.Claim(ctx, w.bus, w.store, ref, tail, w.cfg.ID, reason)
	if merr := <-marked; err == nil && merr != nil {
		w.leave(writer)
		err = fmt.Errorf("note the ownership: %w", merr)
	}
	if err != nil {
		w.unmark(ref)
		return nil, err
	}
	o.writer, o.claim, o.panics = writer, writer.Stored(), tail.Panics
	if o.stop, err = w.bus.Own(ref, o.ask); err != nil {
		w.leave(writer)
		w.unmark(ref)
		return nil, fmt.Errorf("listen for the session's commands: %w", err)
	}
	w.active.Add(1)
	ok = true
	return o, nil
}

// restsParked reports whether the session's last event says that it is parked
// and no command waits for it: then there is nothing to wake it for.
func (w *Worker) restsParked(ctx context.Context, ref holdfast.SessionRef, tail events.Tail) (bool, error) {
	pending, err := w.bus.Commands(ctx, ref, 0)
	if err != nil {
		return false, err
	}
	for _, q := range pending {
		if q.Command.Kind != events.KindWake {
			return false, nil
		}
	}
	switch tail.Type {
	case holdfast.TypeSessionParked, holdfast.TypeSessionCreated:
		return true, nil
	}
	return false, nil
}

// own drives a claimed session until it is parked, handed over or lost.
func (w *Worker) own(ctx context.Context, o *owned) {
	err := w.drive(ctx, o)
	wake := false
	if errors.Is(err, events.ErrPanicked) {
		o.broken.Store(w.panicked(ctx, o, err))
		wake = !o.broken.Load()
	}
	o.leave()
	switch {
	case err == nil, errors.Is(err, events.ErrPanicked):
	case errors.Is(err, events.ErrLost):
		w.log.Info("another worker has the session", "session", o.ref.String())
	case errors.Is(err, events.ErrHandedOver):
		wake = true
	case ctx.Err() != nil:
		wake = true
		w.handOver(o)
	case holdfast.CodeOf(err) == holdfast.CodeUnavailable, errors.Is(err, events.ErrBusy), errors.Is(err, events.ErrClosed):
		w.log.Warn("a session waits for what it needs", "session", o.ref.String(), "error", err)
		w.pause(ctx, awayDelay)
		wake = true
	default:
		w.log.Error("a session cannot go on", "session", o.ref.String(), "error", err)
		w.pause(ctx, retryDelay)
		wake = true
	}
	w.leave(o.writer)
	w.active.Add(-1)
	if wake && !w.wake(o.ref) {
		// The note stays, so that supervisors find the session when this worker is gone;
		// until then the sweep does.
		w.forget(o)
		return
	}
	// The note goes before the session is free for this worker to claim again: its
	// next note must not be removed with the last one.
	w.unmark(o.ref)
	w.forget(o)
}

// drive calls the driver. A panic ends neither the worker nor its other sessions.
func (w *Worker) drive(ctx context.Context, o *owned) (err error) {
	defer func() {
		if r := recover(); r != nil {
			w.log.Error("panic", "in", "drive", "session", o.ref.String(), "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("drive %s: %w: %v", o.ref, events.ErrPanicked, r)
		}
	}()
	return w.driver.Drive(ctx, o.writer, o)
}

// panicked says in the log that the owner panicked, so that whoever takes the
// session up knows. If nothing was done for the session since the last one did,
// too many times in a row, it parks the session instead and reports true: what
// panics before anything else would do so for ever.
func (w *Worker) panicked(ctx context.Context, o *owned, cause error) (broken bool) {
	w.log.Error("a session is released by a panic", "session", o.ref.String(), "error", cause)
	words, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	n := 1
	if err := o.writer.Flush(words); err != nil {
		w.log.Warn("release a session", "session", o.ref.String(), "error", err)
		return false // somebody has it already, or will
	}
	if o.writer.Stored() == o.claim {
		n = o.panics + 1
	}
	var last holdfast.Event = &holdfast.SessionHandedOverEvent{Worker: w.cfg.ID, Reason: events.LeftPanicked, Panics: n}
	if broken = n >= events.MaxPanics; broken {
		last = &holdfast.SessionParkedEvent{Waiting: events.WaitingError}
	}
	_, err := o.writer.Add(words, "", last)
	if err == nil {
		err = o.writer.Flush(words)
	}
	if err != nil {
		w.log.Warn("release a session", "session", o.ref.String(), "error", err)
		return false
	}
	if !broken {
		w.pause(ctx, panicDelay)
	}
	return broken
}

// handOver writes the last words of a session that is left in mid-step.
func (w *Worker) handOver(o *owned) {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if _, err := o.writer.Add(ctx, "", &holdfast.SessionHandedOverEvent{Worker: w.cfg.ID, Reason: "shutting_down"}); err != nil {
		return // somebody has it already
	}
	if err := o.writer.Flush(ctx); err != nil {
		w.log.Warn("hand a session over", "session", o.ref.String(), "error", err)
	}
}

// wake makes some worker look at the session and reports whether that is durable.
func (w *Worker) wake(ref holdfast.SessionRef) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	c, err := events.NewCommand(ref, events.KindWake, "", nil)
	if err == nil {
		err = w.bus.Send(ctx, c)
	}
	if err != nil {
		w.log.Warn("wake a session", "session", ref.String(), "error", err)
	}
	return err == nil
}

func (w *Worker) leave(writer *events.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := writer.Close(ctx); err != nil && !errors.Is(err, events.ErrLost) {
		w.log.Warn("close a session's log", "session", writer.Ref().String(), "error", err)
	}
}

func (w *Worker) unmark(ref holdfast.SessionRef) {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := w.reg.Unmark(ctx, w.cfg.ID, ref); err != nil {
		w.log.Warn("remove the note of ownership", "session", ref.String(), "error", err)
	}
}

func (w *Worker) forget(o *owned) {
	w.mu.Lock()
	if w.owned[o.ref] == o {
		delete(w.owned, o.ref)
	}
	w.mu.Unlock()
	o.close()
}

func (w *Worker) isDraining() bool {
	select {
	case <-w.draining:
		return true
	default:
		return false
	}
}

func (w *Worker) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *Worker) ack(ctx context.Context, d Delivery) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := d.Ack(ctx); err != nil {
		w.log.Debug("acknowledge a command; it will come again", "session", d.Command.Session.String(), "error", err)
	}
}

func (w *Worker) retry(d Delivery, delay time.Duration) {
	if err := d.Retry(delay); err != nil {
		w.log.Debug("give a command back; it will come again", "session", d.Command.Session.String(), "error", err)
	}
}

func (w *Worker) answer(c events.Command, a events.Answer) {
	if c.Reply == "" {
		return
	}
	if err := w.bus.Answer(c, a); err != nil {
		w.log.Debug("answer a command; the caller will ask again", "session", c.Session.String(), "error", err)
	}
}
