package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Config configures a [Deliverer]. Store, Signer and Transport must be set.
type Config struct {
	Store  Store
	Signer *Signer
	// Transport makes the requests; it must refuse addresses that are not for
	// tenants to reach.
	Transport http.RoundTripper
	// Look is how often the store is asked for what is due. Default 500 ms.
	Look time.Duration
	// Timeout bounds one request. Default 15 s.
	Timeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger is for operators; nil discards.
	Logger *slog.Logger
}

// Deliverer sends what is due.
type Deliverer struct {
	cfg    Config
	client *http.Client
	// freed has a value after a delivery has ended.
	freed chan struct{}
	wg    sync.WaitGroup // of the deliveries under way

	mu     sync.Mutex     // guards what follows
	active int            // deliveries under way
	hooks  map[string]int // of them, by webhook
	owners map[string]int // of them, by tenant
	failed error          // why some could not be settled
}

const (
	sending = 64 // deliveries at the same time
	// ofHook and ofTenant are how many of one webhook and of one tenant are taken at
	// once. A webhook gets more when all that it got are done, a tenant when it has
	// fewer than ofTenant under way: so a tenant whose addresses are all slow holds
	// fewer than twice ofTenant, and the rest is for the others.
	ofHook   = 4
	ofTenant = 8
	// lease is after how long a delivery is tried again whose sender died.
	lease       = time.Minute
	forgetEvery = time.Hour
)

// New returns a deliverer. Nothing runs before Run.
func New(cfg Config) *Deliverer {
	if cfg.Look == 0 {
		cfg.Look = 500 * time.Millisecond
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
	return &Deliverer{cfg: cfg, freed: make(chan struct{}, 1), hooks: map[string]int{}, owners: map[string]int{}, client: &http.Client{
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
		}
		err := events.Guard(d.cfg.Logger, "deliver to webhooks", func() error { _, err := d.begin(ctx); return err })
		err = errors.Join(err, d.problems())
		if now := d.cfg.Now(); err == nil && now.Sub(forgot) > forgetEvery {
			forgot = now
			err = d.cfg.Store.ForgetDeliveries(ctx, now.Add(-Keep))
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
		began, err := d.begin(ctx)
		n += began
		if err == nil && began == 0 && d.underWay() > 0 {
			<-d.freed // each delivery ends: requests have a time, and ctx
			continue
		}
		if err != nil || began == 0 || ctx.Err() != nil {
			d.wg.Wait()
			return n, errors.Join(err, d.problems())
		}
	}
}

// begin takes what is due, as far as there is room, and begins to send it.
func (d *Deliverer) begin(ctx context.Context) (n int, err error) {
	s := d.room()
	if s.Limit <= 0 {
		return 0, nil
	}
	due, err := d.cfg.Store.TakeDeliveries(ctx, d.cfg.Now(), lease, s)
	if err != nil {
		return 0, err
	}
	for _, one := range due {
		d.count(&one.Hook, 1)
		d.wg.Go(func() {
			err := events.Guard(d.cfg.Logger, "deliver to a webhook", func() error { return d.one(ctx, &one) })
			d.ended(&one.Hook, err)
		})
	}
	return len(due), nil
}

// room says what may be taken now. Only one goroutine begins deliveries, so that
// what is free stays free until it has.
func (d *Deliverer) room() Share {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Share{Limit: sending - d.active, OfTenant: ofTenant, OfHook: ofHook}
	for name := range d.hooks {
		s.WithoutHooks = append(s.WithoutHooks, name)
	}
	for tenant, n := range d.owners {
		if n >= ofTenant {
			s.WithoutTenants = append(s.WithoutTenants, tenant)
		}
	}
	return s
}

func (d *Deliverer) underWay() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.active
}

// problems returns what went wrong since it was asked before.
func (d *Deliverer) problems() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.failed
	d.failed = nil
	return err
}

func (d *Deliverer) count(h *Hook, by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active += by
	bump := func(m map[string]int, name string) {
		if m[name] += by; m[name] == 0 {
			delete(m, name)
		}
	}
	bump(d.hooks, h.Name())
	bump(d.owners, h.Tenant)
}

func (d *Deliverer) ended(h *Hook, err error) {
	d.count(h, -1)
	if err != nil {
		d.mu.Lock()
		d.failed = errors.Join(d.failed, err)
		d.mu.Unlock()
	}
	select {
	case d.freed <- struct{}{}:
	default: // it is known already
	}
}

// lastWords is how long the outcome of a delivery that was made may take to be stored
// when the process is told to end.
const lastWords = 5 * time.Second

// one makes one attempt and settles it. What could not be settled comes again
// after the lease, under the same id.
func (d *Deliverer) one(ctx context.Context, one *Delivery) error {
	o := d.attempt(ctx, one)
	if ctx.Err() != nil {
		if o.State != Delivered {
			return nil // the end of this process says nothing of the address
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
	}
	return d.cfg.Store.SettleDelivery(ctx, *one, o)
}

// Body is what a webhook gets.
type Body struct {
	// Type is the kind of the notice, Timestamp when it happened.
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		Session string `json:"session"`
		Seq     uint64 `json:"seq"`
		Run     string `json:"run,omitempty"`
		Agent   string `json:"agent,omitempty"`
		// Reason is why the run finished, Waiting what the session waits for.
		Reason  string `json:"reason,omitempty"`
		Waiting string `json:"waiting,omitempty"`
	} `json:"data"`
}

func body(n *events.Notice) ([]byte, error) {
	var b Body
	b.Type, b.Timestamp = n.Kind, n.Time.UTC()
	b.Data.Session, b.Data.Seq, b.Data.Run, b.Data.Agent = n.Session.Session, n.Seq, n.Run, n.Agent
	if n.Kind == events.NoticeRunFinished {
		b.Data.Reason = n.Detail
	} else {
		b.Data.Waiting = n.Detail
	}
	return json.Marshal(b)
}

// attempt makes one request and says what follows.
func (d *Deliverer) attempt(ctx context.Context, one *Delivery) Outcome {
	status, err := d.post(ctx, one)
	now := d.cfg.Now()
	o := Outcome{State: Delivered, Status: status, At: now}
	if err == nil {
		return o
	}
	o.Problem = holdfast.PublicMessage(err)
	if pause, ok := Retry(one.Attempts); ok {
		o.State, o.Due = Pending, now.Add(pause)
	} else {
		o.State = Failed
	}
	switch since := one.Hook.FailingSince; {
	case status == http.StatusGone:
		o.State, o.Disable = Failed, "the address answered 410"
	case !since.IsZero() && now.Sub(since) > DisableAfter:
		o.Disable = "it has failed since " + since.UTC().Format(time.RFC3339)
	}
	return o
}

func (d *Deliverer) post(ctx context.Context, one *Delivery) (status int, err error) {
	payload, err := body(&one.Notice)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, one.Hook.URL, bytes.NewReader(payload))
	if err != nil {
		return 0, holdfast.WrapError(holdfast.CodeInvalid, err, "the URL cannot be asked")
	}
	id, stamp := one.ID(), strconv.FormatInt(d.cfg.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "holdfast-webhook/1")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", stamp)
	req.Header.Set("webhook-signature", d.cfg.Signer.Sign(&one.Hook, id, stamp, payload))
	resp, err := d.client.Do(req)
	if err != nil {
		if e := (*holdfast.Error)(nil); errors.As(err, &e) {
			return 0, err
		}
		return 0, holdfast.WrapError(holdfast.CodeUnavailable, err, "the address cannot be reached")
	}
	// Read a little, so that the connection can be used again; what it says is nobody's.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if err := resp.Body.Close(); err != nil {
		d.cfg.Logger.Debug("close an answer", "error", err)
	}
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode, holdfast.Errorf(holdfast.CodeUnavailable, "the address answered %s", fmt.Sprint(resp.StatusCode))
	}
	return resp.StatusCode, nil
}
