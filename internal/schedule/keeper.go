package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// Sender makes commands durable. Every [events.Bus] does.
type Sender interface {
	Send(ctx context.Context, c events.Command) error
}

// Config configures a [Keeper]. Timers and Sender must be set.
type Config struct {
	Timers events.TimerStore
	Sender Sender
	// Admit, if not nil, says whether a timer may fire now. One that may not comes again
	// ([events.TimerRetry]).
	Admit func(ctx context.Context, t *events.Timer) error
	// Look is how long a timer that was set for a moment from now may go unnoticed:
	// how often the store is asked. Default 150 ms.
	Look time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Keeper fires what is due.
type Keeper struct {
	cfg Config
	log *slog.Logger
}

const (
	// batch is how many timers are taken at once, sending how many are sent at the
	// same time.
	batch   = 500
	sending = 32
	// sendTimeout is how long one command may take; the timer comes again by itself.
	sendTimeout = 5 * time.Second
)

// New returns a keeper. Nothing runs before Run.
func New(cfg Config) *Keeper {
	if cfg.Look == 0 {
		cfg.Look = 150 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, log: cfg.Logger}
}

// Run fires what is due until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	return rounds{what: "timers", look: k.cfg.Look, now: k.cfg.Now, log: k.log, fire: k.Fire}.run(ctx)
}

// Fire sends everything that is due now and returns when something is next, zero
// if nothing is set.
func (k *Keeper) Fire(ctx context.Context) (next time.Time, err error) {
	for {
		due, next, err := k.cfg.Timers.TakeTimers(ctx, k.cfg.Now(), batch)
		if err != nil {
			return time.Time{}, err
		}
		if err := k.send(ctx, due); err != nil {
			return time.Time{}, err
		}
		if len(due) < batch {
			return next, nil
		}
	}
}

// send makes commands of timers. One that could not be sent comes again.
func (k *Keeper) send(ctx context.Context, due []events.Timer) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	var failed error
	slots := make(chan struct{}, sending)
	for _, t := range due {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := events.Guard(k.log, "fire a timer", func() error { return k.one(ctx, &t) }); err != nil {
				mu.Lock()
				failed = errors.Join(failed, fmt.Errorf("fire timer %s of %s: %w", t.ID, t.Session, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// one sends the command of one timer.
func (k *Keeper) one(ctx context.Context, t *events.Timer) error {
	c, err := events.NewCommand(t.Session, events.KindTimer, t.ID, events.TimerBody{Timer: t.ID})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if k.cfg.Admit != nil {
		if err := k.cfg.Admit(ctx, t); err != nil {
			k.log.DebugContext(ctx, "a timer waits", "timer", t.ID, "session", t.Session, "reason", err)
			return nil
		}
	}
	return k.cfg.Sender.Send(ctx, c)
}
