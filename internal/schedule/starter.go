package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Commands makes a command durable and waits for what becomes of it. Every
// [events.Bus] of a program does. When ctx ends after the command is durable and
// before an owner answered, the error has CodeTimeout.
type Commands interface {
	Request(ctx context.Context, c events.Command) (events.Answer, error)
}

// StarterConfig configures a [Starter]. Schedules, Bus, Log and Commands must be
// set.
type StarterConfig struct {
	Schedules Store
	// Bus and Log are where sessions are made and looked up.
	Bus      events.Bus
	Log      events.Store
	Commands Commands
	// Admit, if not nil, says whether a tenant may have one more session. Its refusals
	// are those of Commands: CodeRateLimited is tried again, CodeQuota is the outcome.
	Admit func(ctx context.Context, tenant string) error
	// Look is how often the store is asked for what others have set. Default 500 ms.
	Look time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Starter starts the runs of schedules.
//
// A firing is a command whose id, like that of the session it may make, is
// derived from the schedule and the time: however many processes come to it, and
// however often one dies on the way, there is one session and one run of it.
type Starter struct {
	cfg StarterConfig
	log *slog.Logger
}

const (
	// taken is how many schedules are taken at once, starting how many fire at the
	// same time.
	taken    = 100
	starting = 16
	// lease is after how long a schedule is tried again whose process died, or that
	// could not be fired.
	lease = 20 * time.Second
	// startTime bounds a firing: less than the lease.
	startTime = 12 * time.Second
)

// NewStarter returns a starter. Nothing runs before Run.
func NewStarter(cfg StarterConfig) *Starter {
	if cfg.Look == 0 {
		cfg.Look = 500 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Starter{cfg: cfg, log: cfg.Logger}
}

// Run fires what is due until ctx ends.
func (s *Starter) Run(ctx context.Context) error {
	return rounds{what: "schedules", look: s.cfg.Look, now: s.cfg.Now, log: s.log, fire: s.Fire}.run(ctx)
}

// Fire starts everything that is due now and returns when something is next, zero
// if nothing is set.
func (s *Starter) Fire(ctx context.Context) (next time.Time, err error) {
	for {
		due, next, err := s.cfg.Schedules.TakeSchedules(ctx, s.cfg.Now(), lease, taken)
		if err != nil {
			return time.Time{}, err
		}
		var wg sync.WaitGroup
		var mu sync.Mutex // guards failed
		var failed error
		slots := make(chan struct{}, starting)
		for _, one := range due {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := events.Guard(s.log, "fire a schedule", func() error { return s.one(ctx, &one) }); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("fire schedule %s of %s: %w", one.ID, one.Tenant, err))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if failed != nil {
			return time.Time{}, failed
		}
		if len(due) < taken {
			return next, nil
		}
	}
}

// one fires one schedule and settles that. A failure leaves it as it was: it
// comes again after the lease.
func (s *Starter) one(ctx context.Context, sch *Schedule) error {
	now := s.cfg.Now()
	at := sch.Spec.newest(sch.Next, now)
	o := Settled{Taken: sch.Next, Next: sch.Spec.Next(now), Firing: Firing{At: at, Began: stored(now), Session: sch.Last.Session, Run: sch.Last.Run}}
	if _, err := sch.Spec.times(); err != nil { // of a newer program, or of another database of time zones
		o.Firing.Outcome, o.Firing.Detail, o.Pause = Refused, holdfast.PublicMessage(err), holdfast.PublicMessage(err)
	} else if now.Sub(at) > Tolerance && sch.Spec.Missed == MissedSkip {
		o.Firing.Outcome, o.Firing.Detail = Missed, "nobody could fire when it was time"
	} else {
		fctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		if err := s.start(fctx, sch, &o); holdfast.CodeOf(err) == holdfast.CodeRateLimited {
			// There is no place for the run: the lease ends, and it is tried again.
			s.log.Debug("a schedule waits for its tenant's quota", "tenant", sch.Tenant, "schedule", sch.ID, "error", err)
			return nil
		} else if err != nil {
			return err
		}
	}
	if err := s.cfg.Schedules.SettleFiring(ctx, sch.Tenant, sch.ID, o); err != nil {
		return err
	}
	s.log.Debug("a schedule fired", "tenant", sch.Tenant, "schedule", sch.ID, "at", at, "outcome", o.Firing.Outcome, "session", o.Firing.Session, "detail", o.Firing.Detail)
	return nil
}

// start starts the run of a firing, unless it overlaps with another one.
func (s *Starter) start(ctx context.Context, sch *Schedule, o *Settled) error {
	f := &o.Firing
	// A schedule that is made again under its id has other runs.
	id := func(what string) string {
		return holdfast.DeriveID(sch.Tenant, what, sch.ID, strconv.FormatInt(sch.CreatedAt.UnixMicro(), 10), strconv.FormatInt(f.At.UnixMicro(), 10))
	}
	ref := holdfast.SessionRef{Tenant: sch.Tenant, Session: sch.Spec.Session}
	mode := events.ModeEnqueue
	switch {
	case ref.Session != "":
		if sch.Spec.Overlap == OverlapSkip {
			mode = events.ModeReject // the session's owner knows what is active
		}
		there, err := s.there(ctx, ref)
		if err != nil {
			return err
		}
		if !there {
			f.Outcome, f.Detail = Refused, "the session is gone"
			o.Pause = f.Detail
			return nil
		}
	default:
		if sch.Spec.Overlap == OverlapSkip && sch.Last.Session != "" && !sch.Last.At.Equal(f.At) {
			busy, err := s.busy(ctx, holdfast.SessionRef{Tenant: sch.Tenant, Session: sch.Last.Session})
			if err != nil {
				return err
			}
			if busy {
				f.Outcome, f.Detail = Skipped, "the run before is not over"
				return nil
			}
		}
		ref.Session = id("schedule-session")
		if s.cfg.Admit != nil {
			if there, err := s.there(ctx, ref); err != nil {
				return err
			} else if !there { // a firing that is tried again has its session already
				if err := s.cfg.Admit(ctx, sch.Tenant); holdfast.CodeOf(err) == holdfast.CodeQuota {
					f.Outcome, f.Detail = Refused, holdfast.PublicMessage(err)
					return nil
				} else if err != nil {
					return err
				}
			}
		}
		if err := s.create(ctx, ref, sch, f.At, id("schedule-session-command")); err != nil {
			return err
		}
	}
	run := id("schedule-run")
	c, err := events.NewCommand(ref, events.KindRun, id("schedule-command"), events.RunBody{
		Run: run, Agent: sch.Spec.Agent, AgentInFile: sch.Spec.AgentName, Messages: sch.Spec.Messages, Mode: mode,
	})
	if err != nil {
		return err
	}
	ans, err := s.cfg.Commands.Request(ctx, c)
	switch {
	case holdfast.CodeOf(err) == holdfast.CodeTimeout || err == nil && ans.Code == holdfast.CodeTimeout:
		f.Outcome, f.Session, f.Run, f.Detail = Started, ref.Session, run, "the run is stored and nobody has taken it yet"
	case holdfast.CodeOf(err) == holdfast.CodeQuota:
		f.Outcome, f.Detail = Refused, holdfast.PublicMessage(err)
	case err != nil:
		return err
	case ans.Code == holdfast.CodeConflict && mode == events.ModeReject:
		f.Outcome, f.Detail = Skipped, ans.Message
	case ans.Code.Retryable():
		return ans.Err()
	case ans.Code != "":
		f.Outcome, f.Detail = Refused, ans.Message
	default:
		f.Outcome, f.Session, f.Run = Started, ref.Session, ans.Run
	}
	return nil
}

// there reports whether there is such a session.
func (s *Starter) there(ctx context.Context, ref holdfast.SessionRef) (bool, error) {
	tail, err := events.ReadTail(ctx, s.cfg.Bus, s.cfg.Log, ref)
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", ref, err)
	}
	return tail.Seq > 0 && tail.Type != holdfast.TypeSessionDeleted, nil
}

// busy reports whether something is not over in a session that a firing made. One
// that the archive does not have yet is so new that it is.
func (s *Starter) busy(ctx context.Context, ref holdfast.SessionRef) (bool, error) {
	info, err := s.cfg.Log.Session(ctx, ref)
	switch {
	case errors.Is(err, events.ErrNoSession):
		return s.there(ctx, ref)
	case err != nil:
		return false, fmt.Errorf("look for %s: %w", ref, err)
	}
	return !info.Deleted && info.Status != events.StatusIdle, nil
}

// Labels of the sessions that schedules make.
const (
	LabelSchedule = "schedule"      // the id of the schedule
	LabelTime     = "scheduled_for" // the time, as RFC 3339 has it
)

// create makes the session of a firing, once.
func (s *Starter) create(ctx context.Context, ref holdfast.SessionRef, sch *Schedule, at time.Time, command string) error {
	labels := maps.Clone(sch.Spec.Metadata)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelSchedule], labels[LabelTime] = sch.ID, at.Format(time.RFC3339)
	_, err := events.Create(ctx, s.cfg.Bus, s.cfg.Log, ref, &holdfast.SessionCreatedEvent{
		Agent: sch.Spec.Agent, Title: sch.Spec.Title, User: sch.Spec.User, ToolsApproved: sch.Spec.ToolsApproved, Metadata: labels, Command: command,
	})
	if err != nil && !errors.Is(err, events.ErrConflict) { // that one is ours: the id is derived
		return fmt.Errorf("create %s: %w", ref, err)
	}
	return nil
}
