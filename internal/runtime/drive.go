package runtime

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// drive is one ownership of one session.
type drive struct {
	e     *Engine
	w     *events.Writer
	in    events.Inbox
	since uint64 // seq of the newest snapshot
	// life is the ownership's context for what goes on beside the loop; end ends the
	// loop for a reason.
	life context.Context
	end  context.CancelCauseFunc

	boxes map[string]*toolbox // by agent; only the loop's goroutine
	title *titleCall          // only the loop's goroutine
	// absent is what the run waits for; only the loop's goroutine.
	absent absence

	taking sync.Mutex // held while commands are taken, so that they keep their order

	deliveries sync.WaitGroup // of answers of authorization servers
	delivered  chan struct{}  // capacity 1; receives when one came to its end

	mu      sync.Mutex // guards what follows: the loop and the commands take turns
	s       *State
	blocked uint64                  // seq at which every call was found to wait for a human
	closed  bool                    // no command is accepted any more
	deliver map[string]bool         // the commands whose answer is being kept, by id
	cancel  context.CancelCauseFunc // of the work under way, nil if none
	// asking are the calls that hold for an answer of the user, by question.
	asking map[string]chan tool.InputAnswer
	traced *traced // the run under way as a span; only the loop's goroutine
}

// errRunCanceled is the cause with which a user's cancellation ends the work
// under way.
var errRunCanceled = errors.New("the run was canceled")

// How long commands wait that could not be taken, because the bus or the store is
// away: longer with each failure in a row.
const (
	minTakePause = 50 * time.Millisecond
	maxTakePause = time.Second
)

// step is one thing to do; it is performed without the lock.
type step func(ctx context.Context) error

func (d *drive) run(ctx context.Context) error {
	cctx, stop := context.WithCancel(ctx)
	lctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	d.life, d.end = cctx, end
	defer d.deliveries.Wait()
	defer stop()
	if err := d.takeCommands(lctx); err != nil {
		return err
	}
	// Commands are taken while a step is under way.
	commands := make(chan struct{})
	go func() {
		defer close(commands)
		defer func() { // what a panic leaves behind is not to be gone on with
			if r := recover(); r != nil {
				end(d.e.panicked("take commands", r))
			}
		}()
		pause := minTakePause
		for {
			select {
			case <-cctx.Done():
				return
			case <-d.in.Wake():
			}
			err := d.takeCommands(cctx)
			switch {
			case err == nil:
				pause = minTakePause
				continue
			case cctx.Err() != nil || errors.Is(err, events.ErrLost):
				return // and the loop sees it too
			}
			d.e.log.Warn("take commands", "session", d.s.Ref.String(), "again_in", pause, "error", err)
			select { // they are still there, and so is what failed
			case <-cctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxTakePause)
		}
	}()
	defer func() {
		stop()
		<-commands
	}()
	return d.loop(lctx)
}

func (d *drive) loop(ctx context.Context) error {
	defer d.endTrace()
	for {
		select {
		case <-d.w.Lost():
			return events.ErrLost
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		next, waiting := d.next()
		if next == nil {
			// What came since the last look is cheaper to take now than by another claim.
			select {
			case <-d.in.Wake():
				if err := d.takeCommands(ctx); err != nil {
					return err
				}
				continue
			default:
			}
			if d.isDelivering() {
				if err := d.attend(ctx); err != nil {
					return err
				}
				continue
			}
			parked, err := d.park(ctx, waiting)
			if parked || err != nil {
				return err
			}
			continue
		}
		select {
		case <-d.in.Draining():
			return d.handOver(ctx)
		default:
		}
		if err := d.overfull(ctx, next(d.inRun(ctx))); err != nil {
			return err
		}
	}
}

// next decides what comes next from the state alone. A nil step means that the
// session waits.
func (d *drive) next() (next step, waiting string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.s
	switch {
	case s.Deleted:
		return nil, events.WaitingIdle
	case len(s.Timers) > 0 && len(s.stale()) > 0:
		return d.cancelTimers, ""
	case s.givenUp():
		return d.giveUp, ""
	case s.Run == nil && (s.Compacting != nil || s.CompactWanted):
		return d.compactStep, ""
	case s.Run == nil && len(s.Queue) == 0:
		return nil, events.WaitingIdle
	case s.Run == nil:
		return d.startRun, ""
	case s.Run.Stopped != "":
		return d.finishRun, ""
	}
	if m := d.due(); m != nil {
		return d.runHooks(m), ""
	}
	switch {
	case s.Run.Canceled:
		return d.cancelRun, ""
	case s.Run.Declined != "":
		return d.declinedRun, ""
	case s.Run.ready() != nil:
		return d.finishAuthorization, ""
	case s.Run.AtLimit:
		return nil, events.WaitingIterations
	}
	t := s.top()
	switch {
	case t == nil:
		return d.openStream, ""
	case t.Open != nil:
		return d.voidCall, ""
	case s.Run.Failed && len(t.Calls) > 0:
		return d.answerFailed, ""
	case s.Run.Failed && len(s.Run.Steer) > 0 && t.Task == nil:
		return d.steer, "" // it was accepted: the next run answers it
	case s.Run.Failed:
		return d.stopThread("error"), ""
	case t.Unauthorized != "":
		return d.unauthorized, ""
	case s.Compacting != nil:
		return d.compactStep, ""
	case t.Awaits != "":
		return nil, events.WaitingAuthorization
	case len(t.Calls) > 0:
		if !d.callsToDo(t) || d.blocked == s.Seq {
			return nil, t.waitsFor()
		}
		return d.toolStep, ""
	case len(s.Run.Steer) > 0 && t.Task == nil:
		return d.steer, ""
	}
	msgs := *s.messages(t)
	n := len(msgs)
	answered := n > 0 && msgs[n-1].Role == holdfast.RoleAssistant && t.Iterations > 0
	switch {
	case s.mustCompact(!d.e.cfg.NoCompaction && (t.Task == nil || !answered)):
		return d.compactStep, ""
	case s.window(t).Overflow:
		return d.overflown, ""
	case answered:
		return d.endTurn, ""
	case t.Repeats.Count >= maxRepeats, t.Repeats.Count >= tellRepeats && !t.Repeats.Told:
		return d.repeating, ""
	}
	return d.modelStep, ""
}

// callsToDo reports whether any call of the thread can go on without a human.
func (d *drive) callsToDo(t *Thread) bool {
	for _, c := range t.Calls {
		if c.Status == CallDeferred || c.asks() {
			continue
		}
		if c.Status != CallWaiting || (d.s.ToolsApproved && !c.AskedUnknown) {
			return true
		}
	}
	return false
}

// add appends a group of events and folds them. The caller holds mu.
func (d *drive) add(ctx context.Context, evs ...holdfast.Event) error {
	run := ""
	if d.s.Run != nil {
		run = d.s.Run.ID
	} else if len(evs) > 0 {
		if st, ok := evs[0].(*holdfast.RunStartedEvent); ok {
			run = st.Run
		}
	}
	return d.addTo(ctx, run, evs...)
}

func (d *drive) addTo(ctx context.Context, run string, evs ...holdfast.Event) error {
	envs, err := d.w.Add(ctx, run, evs...)
	if err != nil {
		return err
	}
	for i := range envs {
		if err := d.s.foldEvent(&envs[i], evs[i]); err != nil {
			return err
		}
	}
	return nil
}

// append is add and flush: it returns when the events are stored. The caller
// does not hold mu.
func (d *drive) append(ctx context.Context, evs ...holdfast.Event) error {
	var err error
	d.locked(func() { err = d.add(ctx, evs...) })
	if err != nil {
		return err
	}
	return d.w.Flush(ctx)
}

// takeCommands accepts or refuses what came, in order.
func (d *drive) takeCommands(ctx context.Context) error {
	d.taking.Lock()
	defer d.taking.Unlock()
	cmds, err := d.in.Pending(ctx)
	if err != nil {
		return err
	}
	for _, c := range cmds {
		if err := d.take(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (d *drive) take(ctx context.Context, c events.Command) error {
	var src source
	var b events.RunBody
	var isRun bool
	var view *State
	d.locked(func() {
		b, isRun = d.s.runOf(c)
		view = &State{Ref: d.s.Ref, DefaultAgent: d.s.DefaultAgent, Pinned: maps.Clone(d.s.Pinned)}
	})
	if isRun {
		src = d.e.resolve(ctx, view, b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if c.Kind == events.KindAnswer && d.beginDelivery(c) {
		return nil // it is taken when the answer is kept, and holds nothing up until then
	}
	return d.takeWith(ctx, c, src)
}

// takeWith takes a command whose needs are there. The caller holds taking.
func (d *drive) takeWith(ctx context.Context, c events.Command, src source) error {
	answer, taken, err := d.settle(ctx, c, src)
	if err != nil || !taken {
		return err
	}
	if err := d.w.Flush(ctx); err != nil {
		return err
	}
	d.in.Settle(ctx, c, answer)
	return nil
}

// settle adds the acceptance or the refusal of a command with its effect. It
// reports false if it is left in the queue for the next owner.
func (d *drive) settle(ctx context.Context, c events.Command, src source) (events.Answer, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return events.Answer{}, false, nil
	}
	evs, answer := d.accept(c, src)
	err := d.addTo(ctx, answer.Run, evs...)
	if err == nil {
		d.answered(evs)
	}
	if errors.Is(err, events.ErrTooLarge) {
		evs, answer = d.s.refuseTooLarge(c)
		err = d.addTo(ctx, "", evs...)
	}
	stop := d.s.Deleted || (d.s.Run != nil && d.s.Run.Canceled)
	if stop && d.cancel != nil {
		d.cancel(errRunCanceled)
	}
	return answer, true, err
}

// accept decides about a command. One over which the decision panics is refused:
// nothing has happened yet, and each owner would meet it again. The caller holds mu.
func (d *drive) accept(c events.Command, src source) (evs []holdfast.Event, answer events.Answer) {
	if err := d.e.guarded("decide about a "+c.Kind+" command", func() error {
		evs, answer = d.s.accept(c, src)
		return nil
	}); err != nil {
		return d.s.refuse(c, err)
	}
	return evs, answer
}

// park appends session_parked unless a command changed the state meanwhile.
func (d *drive) park(ctx context.Context, waiting string) (bool, error) {
	var seq uint64
	d.locked(func() { seq = d.s.Seq })
	if next, now := d.next(); next != nil || now != waiting {
		return false, nil
	}
	var err error
	d.locked(func() {
		if d.s.Seq != seq {
			return
		}
		d.closed = true
		if !d.s.Deleted { // nothing follows session_deleted
			err = d.addTo(ctx, "", &holdfast.SessionParkedEvent{Waiting: waiting})
		}
	})
	if err != nil || !d.closed {
		return false, err
	}
	if err := d.w.Flush(ctx); err != nil {
		return false, err
	}
	d.e.snapshot(d.s, d.since)
	return true, nil
}

// handOver leaves the session in the middle of its work, at a safe point.
func (d *drive) handOver(ctx context.Context) error {
	var err error
	d.locked(func() {
		d.closed = true
		err = d.addTo(ctx, "", &holdfast.SessionHandedOverEvent{Reason: "draining"})
	})
	if err != nil {
		return err
	}
	if err := d.w.Flush(ctx); err != nil {
		return err
	}
	d.e.snapshot(d.s, d.since)
	return events.ErrHandedOver
}

func (d *drive) close() {
	d.locked(func() { d.closed = true })
	if d.title != nil {
		d.title.stop()
	}
	for _, b := range d.boxes {
		b.close(d.e.log)
	}
	d.bury()
}

// working runs fn with a context that a cancellation of the run, the loss of the
// session or the end of ctx cancels.
func (d *drive) working(ctx context.Context, fn func(ctx context.Context)) {
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.locked(func() {
		d.cancel = cancel
		if d.s.Deleted || (d.s.Run != nil && d.s.Run.Canceled) {
			cancel(errRunCanceled)
		}
	})
	defer d.locked(func() { d.cancel = nil })
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-d.w.Lost():
			cancel(events.ErrLost)
		case <-done:
		}
	}()
	defer func() { // also if fn panics
		close(done)
		<-watched
	}()
	fn(wctx)
}

// startRun begins the next queued run: its messages enter the conversation.
func (d *drive) startRun(ctx context.Context) error {
	var q Queued
	var team *agent.Team
	d.locked(func() {
		q = *d.s.Queue[0]
		q.AgentInFile, team = d.startsWith(&q)
	})
	said, to, err := d.said(ctx, team, q.AgentInFile, q.Messages)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.s.Deleted || len(d.s.Queue) == 0 || d.s.Queue[0].Run != q.Run:
		return nil // a command was quicker
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return d.refuseRun(ctx, &q, err)
	}
	evs := []holdfast.Event{&holdfast.RunStartedEvent{Run: q.Run, Agent: q.Agent, AgentInFile: q.AgentInFile}}
	evs = append(evs, said...)
	evs = append(evs, &holdfast.StreamStartedEvent{AgentContext: holdfast.AgentContext{AgentName: q.AgentInFile}})
	if to != "" {
		evs = append(evs, switched(q.AgentInFile, to))
	}
	err = d.add(ctx, evs...)
	if errors.Is(err, events.ErrTooLarge) { // accepted by a program that did not look
		return d.refuseRun(ctx, &q, errTooMany(q.Messages))
	}
	return err
}

// startsWith is the agent that a queued run starts with: the one that was named, else
// the one to which the conversation was handed over, if the file still has it. The
// team is nil if the file cannot be used. The caller holds mu.
func (d *drive) startsWith(q *Queued) (string, *agent.Team) {
	p, ok := d.s.fileOf(&Run{Agent: q.Agent, File: q.File})
	if !ok {
		return q.AgentInFile, nil
	}
	team, err := d.e.team(q.Agent, p)
	if err != nil {
		return q.AgentInFile, nil
	}
	if q.Named || d.s.HandedTo == "" || d.s.HandedIn != q.Agent || team.Agent(d.s.HandedTo) == nil {
		return q.AgentInFile, team
	}
	return d.s.HandedTo, team
}

// openStream is needed only where a log ends between run_started and
// stream_started, which one frame holds together.
func (d *drive) openStream(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, &holdfast.StreamStartedEvent{AgentContext: holdfast.AgentContext{AgentName: d.s.Run.AgentInFile}})
}

// steer lets a message that came during the run into the conversation.
func (d *drive) steer(ctx context.Context) error {
	var team *agent.Team
	var name string
	var first []holdfast.Message
	d.locked(func() {
		if len(d.s.Run.Steer) > 0 {
			team, _, _ = d.team() // without it the message is what was written
			name, first = d.s.top().Agent, d.s.Run.Steer[:1:1]
		}
	})
	evs, to, err := d.said(ctx, team, name, first)
	if err != nil || len(evs) == 0 {
		return err
	}
	if to != "" {
		evs = append(evs, switched(name, to))
	}
	return d.append(ctx, evs...)
}

// stopThread closes the innermost stream; a sub-agent's last words answer the
// call that started it.
func (d *drive) stopThread(reason string) step {
	return func(ctx context.Context) error {
		if reason == "stop" {
			if m := d.stops(); m != nil {
				return d.runHooks(m)(ctx)
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		t := d.s.top()
		if reason == "stop" && t.Task == nil && len(d.s.Run.Steer) > 0 {
			return nil // it came since the loop has looked: it goes into this run
		}
		evs := []holdfast.Event{&holdfast.StreamStoppedEvent{AgentContext: holdfast.AgentContext{AgentName: t.Agent}, Reason: reason}}
		if t.Task != nil {
			parent := d.s.Run.Threads[len(d.s.Run.Threads)-2]
			text, failed := wieldy(lastWords(t.Messages), maxLastWords), false
			if reason == "error" {
				text, failed = "The agent "+t.Agent+" failed before it finished the task. "+text, true
			}
			evs = append(evs, response(parent.Agent, t.Task.ToolCall, text, failed, nil))
		}
		return d.add(ctx, evs...)
	}
}

// lastWords returns the newest text of an assistant.
func lastWords(msgs []holdfast.Message) string {
	for i := len(msgs) - 1; i >= 0; i-- {
		if msgs[i].Role == holdfast.RoleAssistant && msgs[i].Content != "" {
			return msgs[i].Content
		}
	}
	return ""
}

// finishRun gives the session its title, if it comes in time, and ends the run.
func (d *drive) finishRun(ctx context.Context) error {
	want := false
	d.locked(func() {
		reason := d.s.Run.Stopped
		want = d.s.Title == "" && !d.s.Run.Rollback && (reason == "stop" || reason == "max_iterations")
	})
	if want {
		if err := d.finishTitle(ctx); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finish(ctx)
}

// finish ends the run whose streams are closed. The caller holds mu.
func (d *drive) finish(ctx context.Context) error {
	reason := d.s.Run.Stopped
	if d.s.Run.Rollback {
		reason = "rolled_back"
	}
	return d.add(ctx, &holdfast.RunFinishedEvent{Run: d.s.Run.ID, Reason: reason})
}

// team returns the files and the agent that the innermost thread runs. The
// caller holds mu.
func (d *drive) team() (*agent.Team, *agent.Agent, error) {
	p, ok := d.s.fileOf(d.s.Run)
	if !ok {
		return nil, nil, holdfast.Errorf(holdfast.CodeInternal, "the log has no agent file %q", d.s.Run.Agent)
	}
	team, err := d.e.team(d.s.Run.Agent, p)
	if err != nil {
		return nil, nil, err
	}
	name := d.s.Run.AgentInFile
	if t := d.s.top(); t != nil {
		name = t.Agent
	}
	a := team.Agent(name)
	if a == nil {
		return nil, nil, holdfast.Errorf(holdfast.CodeNotFound, "agent file %s has no agent %q", d.s.Run.Agent, name)
	}
	return team, a, nil
}

// fail puts an error into the innermost stream; the loop then closes it.
func (d *drive) fail(ctx context.Context, name string, err error) error {
	d.e.log.Info("a step failed", "session", d.s.Ref.String(), "agent", name, "error", err)
	code := holdfast.CodeOf(err)
	failed(trace.SpanFromContext(ctx), err)
	return d.append(ctx, &holdfast.ErrorEvent{
		AgentContext: holdfast.AgentContext{AgentName: name},
		Error:        holdfast.PublicMessage(err), Code: code, Retryable: code.Retryable(),
	})
}
