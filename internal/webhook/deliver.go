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
}

const (
	sending = 16 // deliveries at the same time
	taken   = 32 // deliveries at once
	// ofOne is how many of them may be one tenant's: its addresses may be slow, and
	// leave at least half of what is sent at the same time to the others.
	ofOne = 8
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
	return &Deliverer{cfg: cfg, client: &http.Client{
		Transport: cfg.Transport, Timeout: cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Run delivers until ctx ends.
func (d *Deliverer) Run(ctx context.Context) error {
	tick := time.NewTicker(d.cfg.Look)
	defer tick.Stop()
	var forgot time.Time
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := events.Guard(d.cfg.Logger, "deliver to webhooks", func() error { _, err := d.Deliver(ctx); return err })
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

// Deliver sends everything that is due now and returns how much that was.
func (d *Deliverer) Deliver(ctx context.Context) (n int, err error) {
	for {
		due, err := d.cfg.Store.TakeDeliveries(ctx, d.cfg.Now(), lease, taken, ofOne)
		if err != nil {
			return n, err
		}
		n += len(due)
		var wg sync.WaitGroup
		var mu sync.Mutex // guards failed
		var failed error
		slots := make(chan struct{}, sending)
		for _, one := range due {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := events.Guard(d.cfg.Logger, "deliver to a webhook", func() error { return d.one(ctx, &one) }); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if failed != nil || len(due) == 0 || ctx.Err() != nil {
			return n, failed
		}
	}
}

// one makes one attempt and settles it. What could not be settled comes again
// after the lease, under the same id.
func (d *Deliverer) one(ctx context.Context, one *Delivery) error {
	o := d.attempt(ctx, one)
	if ctx.Err() != nil {
		return nil
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
