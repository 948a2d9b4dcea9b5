package events

import (
	"context"
	"fmt"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Timer is a timer of a session that is set and has neither fired nor been
// canceled.
type Timer struct {
	Session holdfast.SessionRef
	// ID is unique in its session, and the id of the command with which the timer
	// fires, so that it fires once however often it is sent.
	ID   string
	At   time.Time
	Kind string
}

// Kinds of timers.
const (
	TimerApproval = "approval" // a tool call waits for a decision until then
	TimerRun      = "run"      // a run is queued then
)

// TimerStore is what every [Store] keeps of timers: a projection of the log,
// written in the transaction that records timer_set and timer_fired. So a timer
// that is in the log fires, whatever died after it was set, and with a deleted
// session its timers are gone.
type TimerStore interface {
	// TakeTimers returns at most limit timers of all tenants that are due at now, the
	// oldest first, and puts each of them off, by [TimerRetry], so that nobody else
	// gets it meanwhile. They stay until timer_fired is recorded. next is when the
	// first of the others is due, zero if there is none.
	TakeTimers(ctx context.Context, now time.Time, limit int) (due []Timer, next time.Time, err error)
	// PendingTimers returns at most limit timers of a tenant in the order of their
	// times.
	PendingTimers(ctx context.Context, tenant string, limit int) ([]Timer, error)
}

// TimerRetry is after how long a timer is sent once more that was sent n times
// before and has not fired.
func TimerRetry(n int) time.Duration {
	return min(5*time.Second<<min(max(n, 0), 6), 5*time.Minute)
}

// TimerChange is a timer that a batch sets or takes away.
type TimerChange struct {
	Timer
	// Gone says that the timer fired or was canceled; At and Kind are then not set.
	Gone bool
}

// Notice is something that happened in a session and that somebody outside may
// want to hear of.
type Notice struct {
	Session holdfast.SessionRef
	// Seq is the event that says so.
	Seq  uint64
	Kind string
	Time time.Time
	// Run is the run that it is about, Agent that run's file, Detail the reason of a
	// finished run, or what a waiting session waits for.
	Run, Agent, Detail string
}

// Kinds of notices.
const (
	NoticeRunFinished = "run.finished"
	NoticeNeedsHuman  = "session.needs_human"
)

// NoticeKinds are all kinds of notices.
var NoticeKinds = []string{NoticeRunFinished, NoticeNeedsHuman}

// UsageKey says whose usage it is.
type UsageKey struct {
	Session holdfast.SessionRef
	// Day is the day in UTC, at midnight.
	Day time.Time
	// Agent is the agent file, AgentName the agent in it, Model "provider/model".
	Agent, AgentName, Model string
}

// UsageSum is what model calls took.
type UsageSum struct {
	Calls, InputTokens, OutputTokens, CachedInputTokens, ReasoningTokens int64
	// Cost is in US dollars.
	Cost float64
}

func (s *UsageSum) add(u holdfast.Usage) {
	s.Calls++
	s.InputTokens += u.InputTokens
	s.OutputTokens += u.OutputTokens
	s.CachedInputTokens += u.CachedInputTokens
	s.ReasoningTokens += u.ReasoningTokens
	s.Cost += u.CallCost
}

// project works out what an event changes beside the row, which has it
// already; waited is what the row waited for before.
func (p *Plan) project(row *Row, waited string, e *Envelope) error {
	switch e.Type {
	case holdfast.TypeTimerSet, holdfast.TypeTimerFired, holdfast.TypeRunFinished, holdfast.TypeSessionParked,
		holdfast.TypeTokenUsage, holdfast.TypeModelCallFinished:
	default:
		return nil
	}
	ev, err := e.Event()
	if err != nil {
		return fmt.Errorf("project event %d (%s): %w", e.Seq, e.Type, err)
	}
	ref := row.Session
	switch ev := ev.(type) {
	case *holdfast.TimerSetEvent:
		p.Timers = append(p.Timers, TimerChange{Timer: Timer{Session: ref, ID: withoutNUL(ev.Timer), At: storableTime(ev.At), Kind: withoutNUL(ev.Kind)}})
	case *holdfast.TimerFiredEvent:
		p.Timers = append(p.Timers, TimerChange{Timer: Timer{Session: ref, ID: withoutNUL(ev.Timer)}, Gone: true})
	case *holdfast.RunFinishedEvent:
		p.notice(row, e, NoticeRunFinished, ev.Run, ev.Reason)
	case *holdfast.SessionParkedEvent:
		if needsHuman(ev.Waiting) && (waited != ev.Waiting || ev.Waiting == WaitingIterations) {
			p.notice(row, e, NoticeNeedsHuman, row.Run, ev.Waiting)
		}
	case *holdfast.TokenUsageEvent:
		p.usage(row, e, ev.Model, ev.Usage)
	case *holdfast.ModelCallFinishedEvent:
		if ev.Usage != nil {
			p.usage(row, e, ev.Model, *ev.Usage)
		}
	}
	return nil
}

// needsHuman reports whether a session that waits for that waits for a person.
func needsHuman(waiting string) bool {
	switch waiting {
	case WaitingApproval, WaitingAuthorization, WaitingInput, WaitingIterations:
		return true
	}
	return false
}

func (p *Plan) notice(row *Row, e *Envelope, kind, run, detail string) {
	p.Notices = append(p.Notices, Notice{
		Session: row.Session, Seq: e.Seq, Kind: kind, Time: storableTime(e.Time),
		Run: withoutNUL(run), Agent: withoutNUL(row.Agent), Detail: withoutNUL(detail),
	})
}

func (p *Plan) usage(row *Row, e *Envelope, model string, u holdfast.Usage) {
	if p.Usage == nil {
		p.Usage = map[UsageKey]UsageSum{}
	}
	day := storableTime(e.Time).Truncate(24 * time.Hour)
	k := UsageKey{Session: row.Session, Day: day, Agent: withoutNUL(row.Agent), AgentName: withoutNUL(e.Agent), Model: withoutNUL(model)}
	sum := p.Usage[k]
	sum.add(u)
	p.Usage[k] = sum
}

// storableTime brings a time into what every database can keep.
func storableTime(t time.Time) time.Time {
	switch {
	case t.Before(minTime):
		return minTime
	case t.After(maxTime):
		return maxTime
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}
