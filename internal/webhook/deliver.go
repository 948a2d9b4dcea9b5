package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/events"
)

// Config configures a [Deliverer]. Store, Signer and Transport must be set.
type Config struct {
	Store  Outbox
	Signer *Signer
	// Transport makes the requests; it must refuse addresses that are not for
	// tenants to reach, and must not let one wait for another's end.
	Transport http.RoundTripper
	// Look is how often the store is asked for what is due. Default 500 ms.
	Look time.Duration
	// Patience is how long a request may take until it counts as slow. Default 1 s.
	Patience time.Duration
	// Timeout bounds one request. Default 15 s.
	Timeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Deliverer sends what is due. It promises that addresses which are slow, or do not
// answer at all, hold up no others, of their own tenant neither, however many they
// are. For that it knows of each webhook how its address did the last time, and
// gives four kinds each a share of what it sends at the same time:
//
//   - webhooks that answered within the patience: several deliveries of each;
//   - those of which it knows nothing yet: one of each;
//   - those that answered, but later: one of each;
//   - those that did not answer: one of each, and the webhook rests after each attempt,
//     longer each time.
//
// A request of the first two kinds that takes longer than the patience gives its
// place to others. There is a share for these too; if it is full, one is cut off of
// the tenant that has most there, the one that has had most time, and comes again
// like any that got no answer. What is known is of this process; another one learns
// it anew, at the price of one patience for each address.
type Deliverer struct {
	cfg    Config
	client *http.Client
	// freed has a value after there is room again.
	freed chan struct{}
	wg    sync.WaitGroup // of the deliveries under way

	mu     sync.Mutex // guards what follows
	lanes  lanes
	failed error // why some could not be settled
}

const (
	// lease is after how long a delivery is tried again whose sender died.
	lease       = time.Minute
	forgetEvery = time.Hour
	gather      = 5 * time.Millisecond
)

// New returns a deliverer. Nothing runs before Run.
func New(cfg Config) *Deliverer {
	if cfg.Look == 0 {
		cfg.Look = 500 * time.Millisecond
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Deliverer{cfg: cfg, freed: make(chan struct{}, 1), lanes: newLanes(), client: &http.Client{
		Transport: cfg.Transport, Timeout: cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run delivers until ctx ends, and returns when nothing of its own is left.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.wg.Wait()
	tick := time.NewTicker(d.cfg.Look)
	defer tick.Stop()
	var forgot time.Time
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-d.freed:
			// Those that end at nearly the same time are worth one look.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(gather):
			}
		}
		err := events.Guard(d.cfg.Logger, "deliver to webhooks", func() error { _, err := d.begin(ctx); return err })
		err = errors.Join(err, d.problems())
		if now := d.cfg.Now(); err == nil && now.Sub(forgot) > forgetEvery {
			forgot = now
			err = d.cfg.Store.ForgetDeliveries(ctx, now)
		}
		if err != nil && ctx.Err() == nil && !failing {
			d.cfg.Logger.Warn("webhooks cannot be served, trying again", "error", err)
		}
		failing = err != nil
	}
}

// Deliver sends everything that is due now and returns how much that was. It is
// for callers that have no Run beside it.
func (d *Deliverer) Deliver(ctx context.Context) (n int, err error) {
	for {
		busy := d.underWay() > 0
		began, err := d.begin(ctx)
		n += began
		if err == nil && began == 0 && busy { // what has ended meanwhile has made room
			if d.underWay() > 0 {
				<-d.freed // each delivery ends: requests have a time, and ctx
			}
			continue
		}
		if err != nil || began == 0 || ctx.Err() != nil {
			d.wg.Wait()
			return n, errors.Join(err, d.problems())
		}
	}
}

// begin takes what is due, of each kind as far as there is room, and begins to send
// it. Only one goroutine does so, so that what is free stays free until it has.
func (d *Deliverer) begin(ctx context.Context) (n int, err error) {
	for kind := range moved {
		now := d.cfg.Now()
		d.mu.Lock()
		s, ok := d.lanes.room(kind, now)
		d.mu.Unlock()
		if !ok {
			continue
		}
		due, err := d.cfg.Store.TakeDeliveries(ctx, now, lease, s)
		if err != nil {
			return n, err
		}
		n += len(due)
		for _, one := range due {
			sent, cut := context.WithCancelCause(ctx)
			d.mu.Lock()
			w := d.lanes.begin(kind, &one.Hook, cut)
			d.mu.Unlock()
			slow := time.AfterFunc(d.cfg.Patience, func() { d.tooSlow(w) })
			d.wg.Go(func() {
				var o Outcome
				err := events.Guard(d.cfg.Logger, "deliver to a webhook", func() (err error) { o, err = d.one(ctx, sent, &one); return err })
				slow.Stop()
				cut(nil)
				d.ended(w, o, err)
			})
		}
	}
	return n, nil
}

func (d *Deliverer) underWay() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lanes.active)
}

// problems returns what went wrong since it was asked before.
func (d *Deliverer) problems() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.failed
	d.failed = nil
	return err
}

func (d *Deliverer) tooSlow(w *underWay) {
	d.mu.Lock()
	d.lanes.slow(w)
	d.mu.Unlock()
	d.wake()
}

func (d *Deliverer) ended(w *underWay, o Outcome, err error) {
	d.mu.Lock()
	d.lanes.end(w, o, d.cfg.Now())
	d.failed = errors.Join(d.failed, err)
	d.mu.Unlock()
	d.wake()
}

// wake says that there is room again.
func (d *Deliverer) wake() {
	select {
	case d.freed <- struct{}{}:
	default: // it is known already
	}
}
