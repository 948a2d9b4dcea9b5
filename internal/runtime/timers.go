package runtime

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// maxTimers bounds the runs that a session has scheduled at one time.
const maxTimers = 1000

// reasonTimedOut is the reason of a rejection that no human made.
const reasonTimedOut = "timed out"

// Timer is a timer of the session that is set. Nothing in a worker waits for it:
// what is in the log is sent as a command when its time has come, and decided
// about here.
type Timer struct {
	At   time.Time
	Kind string
	// Call is the tool call that waits until then, "" if none does.
	Call string `json:",omitempty"`
	// Run is queued then, nil if the timer is for something else.
	Run *Scheduled `json:",omitempty"`
}

// Scheduled is a run that is to be queued later.
type Scheduled struct {
	Run, Command, Agent, AgentInFile, Mode string
	Messages                               []holdfast.Message
}

// applyTimer folds the events of timers.
func (s *State) applyTimer(ev holdfast.Event) {
	if s.Timers == nil {
		s.Timers = map[string]*Timer{}
	}
	switch ev := ev.(type) {
	case *holdfast.RunScheduledEvent:
		s.Timers[ev.Timer] = &Timer{At: ev.At, Kind: events.TimerRun, Run: &Scheduled{
			Run: ev.Run, Command: ev.Command, Agent: ev.Agent, AgentInFile: ev.AgentInFile, Mode: ev.Mode, Messages: ev.Messages,
		}}
	case *holdfast.TimerSetEvent:
		t := s.Timers[ev.Timer]
		if t == nil {
			t = &Timer{}
			s.Timers[ev.Timer] = t
		}
		t.At, t.Kind, t.Call = ev.At, ev.Kind, ev.ToolCallID
	case *holdfast.TimerFiredEvent:
		delete(s.Timers, ev.Timer)
	}
}

// stale returns the timers of calls that do not wait any more, sorted.
func (s *State) stale() []string {
	var ids []string
	for id, t := range s.Timers {
		if t.Kind == events.TimerApproval && !s.waits(t.Call) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// overdue reports whether the command is of a timer that has fired or was
// canceled: it comes too late to change anything.
func (s *State) overdue(c events.Command) (timer string, over bool) {
	var b events.TimerBody
	if c.Kind != events.KindTimer || unmarshalBody(c, &b) != nil {
		return "", false
	}
	return b.Timer, s.Timers[b.Timer] == nil
}

// waits reports whether the call waits for a decision.
func (s *State) waits(call string) bool {
	return slices.ContainsFunc(s.waiting(), func(c *Call) bool { return c.ID == call })
}

// scheduled returns the timer of a run that is to be queued later, "" if there
// is none.
func (s *State) scheduled(run string) string {
	for _, id := range slices.Sorted(maps.Keys(s.Timers)) {
		if t := s.Timers[id]; t.Run != nil && t.Run.Run == run {
			return id
		}
	}
	return ""
}

// acceptSchedule notes a run for later.
func (s *State) acceptSchedule(c events.Command, b events.ScheduleBody) ([]holdfast.Event, string, error) {
	if b.Delay != "" {
		delay, err := time.ParseDuration(b.Delay)
		if err != nil {
			return nil, "", holdfast.WrapError(holdfast.CodeInvalid, err, "delay "+strconv.Quote(b.Delay)+": want a duration such as 10m")
		}
		// Counted from the request, which may have waited for an owner.
		b.At = c.Time.Add(delay)
	}
	if b.At.IsZero() {
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "a scheduled run needs a time")
	}
	if len(b.Messages) == 0 {
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "a run needs at least one message")
	}
	if err := userRoles(b.Messages); err != nil {
		return nil, "", err
	}
	if tooMany(b.Messages) {
		return nil, "", errTooMany(b.Messages)
	}
	pending := 0
	for _, t := range s.Timers {
		if t.Run != nil {
			pending++
		}
	}
	if pending >= maxTimers {
		return nil, "", holdfast.Errorf(holdfast.CodeRateLimited, "the session has %d scheduled runs already; no more are possible at one time", pending)
	}
	run := b.Run
	if run == "" {
		run = holdfast.DeriveID("run", c.ID)
	}
	id, at := holdfast.DeriveID("timer", c.ID), b.At.UTC()
	return []holdfast.Event{
		&holdfast.RunScheduledEvent{
			Run: run, Command: c.ID, Timer: id, At: at,
			Agent: b.Agent, AgentInFile: b.AgentInFile, Mode: b.Mode, Messages: b.Messages,
		},
		&holdfast.TimerSetEvent{Timer: id, At: at, Kind: events.TimerRun},
	}, run, nil
}

// fire decides what a timer brings about whose time has come.
func (s *State) fire(c events.Command, id string, src source) (evs []holdfast.Event, run string, err error) {
	t := s.Timers[id]
	evs = []holdfast.Event{&holdfast.TimerFiredEvent{Timer: id}}
	switch {
	case t.Run != nil:
		made, run, err := s.acceptRun(events.Command{ID: t.Run.Command}, t.Run.body(), src)
		if holdfast.CodeOf(err) == holdfast.CodeUnavailable {
			return nil, "", err // the timer stays set and is sent again: nobody else would ask once more
		}
		if err != nil {
			// Who scheduled the run is told by its end; the answer to the timer tells nobody.
			return append(evs, &holdfast.WarningEvent{Code: holdfast.CodeOf(err), Message: "A scheduled run could not begin: " + holdfast.PublicMessage(err)},
				&holdfast.RunFinishedEvent{Run: t.Run.Run, Reason: "error"}), t.Run.Run, nil
		}
		return append(evs, made...), run, nil
	case t.Kind == events.TimerApproval && s.waits(t.Call):
		evs = append(evs, &holdfast.ToolCallDecidedEvent{ToolCallID: t.Call, Decision: DecisionReject, Reason: reasonTimedOut, Command: c.ID})
	}
	if s.Run != nil {
		run = s.Run.ID
	}
	return evs, run, nil
}

// body is the run as a command would ask for it now.
func (r *Scheduled) body() events.RunBody {
	return events.RunBody{Run: r.Run, Agent: r.Agent, AgentInFile: r.AgentInFile, Mode: r.Mode, Messages: slices.Clone(r.Messages)}
}

// runOf returns the run that a command asks for, if it asks for one.
func (s *State) runOf(c events.Command) (b events.RunBody, ok bool) {
	switch c.Kind {
	case events.KindRun:
		return b, unmarshalBody(c, &b) == nil // accept refuses what cannot be read
	case events.KindTimer:
		var tb events.TimerBody
		if unmarshalBody(c, &tb) != nil {
			return b, false
		}
		if t := s.Timers[tb.Timer]; t != nil && t.Run != nil {
			return t.Run.body(), true
		}
	}
	return b, false
}

// cancelTimers takes away the timers that have lost their reason.
func (d *drive) cancelTimers(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b bundle
	for _, id := range d.s.stale() {
		if !b.put(&holdfast.TimerFiredEvent{Timer: id, Canceled: true}) {
			break
		}
	}
	return d.add(ctx, b.evs...) // nothing if a command was quicker
}

// confirmation asks a human about a call and sets the timer that decides if
// nobody does. The caller holds mu.
func (d *drive) confirmation(a *agent.Agent, c *Call, reason string) []holdfast.Event {
	ask := &holdfast.ToolCallConfirmationEvent{AgentContext: holdfast.AgentContext{AgentName: a.Name}, ToolCall: shown(c.ToolCall), Reason: reason}
	timeout := d.e.cfg.ApprovalTimeout
	if a.ApprovalTimeout != nil {
		timeout = time.Duration(*a.ApprovalTimeout)
	}
	if timeout <= 0 {
		return []holdfast.Event{ask}
	}
	ask.ExpiresAt = d.s.Now.Add(timeout).UTC()
	return []holdfast.Event{ask, &holdfast.TimerSetEvent{
		Timer: holdfast.DeriveID("approval", d.s.Ref.Tenant, d.s.Ref.Session, c.ID, strconv.FormatUint(d.s.Seq, 10)),
		At:    ask.ExpiresAt, Kind: events.TimerApproval, ToolCallID: c.ID,
	}}
}
