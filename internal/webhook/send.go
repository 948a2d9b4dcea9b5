package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// lastWords is how long the outcome of a delivery that was made may take to be stored
// when the process is told to end.
const lastWords = 5 * time.Second

// one makes one attempt, which ends with sent, and settles it. What could not be
// settled comes again after the lease, under the same id.
func (d *Deliverer) one(ctx, sent context.Context, one *Delivery) (Outcome, error) {
	o := d.attempt(sent, one)
	if ctx.Err() != nil {
		if o.State != Delivered {
			return o, nil // the end of this process says nothing of the address
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
	}
	return o, d.cfg.Store.SettleDelivery(ctx, *one, o)
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
	status, wait, err := d.post(ctx, one)
	now := d.cfg.Now()
	o := Outcome{State: Delivered, Status: status, At: now}
	if err == nil {
		return o
	}
	o.Problem = holdfast.PublicMessage(err)
	if pause, ok := Retry(one.Attempts); ok {
		o.State, o.Due = Pending, now.Add(max(pause, wait))
	} else {
		o.State = Failed
	}
	if wait > 0 {
		o.Rest = now.Add(wait)
	}
	switch since := one.Hook.FailingSince; {
	case status == http.StatusGone:
		o.State, o.Disable = Failed, "the address answered 410"
	case !since.IsZero() && now.Sub(since) > DisableAfter:
		o.Disable = "it has failed since " + since.UTC().Format(time.RFC3339)
	}
	return o
}

// post makes the request. wait is how long the address asks not to be asked again.
func (d *Deliverer) post(ctx context.Context, one *Delivery) (status int, wait time.Duration, err error) {
	payload, err := body(&one.Notice)
	if err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, one.Hook.URL, bytes.NewReader(payload))
	if err != nil {
		return 0, 0, holdfast.WrapError(holdfast.CodeInvalid, err, "the URL cannot be asked")
	}
	id, now := one.ID(), d.cfg.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "holdfast-webhook/1")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", Timestamp(now))
	req.Header.Set("webhook-signature", d.cfg.Signer.Sign(&one.Hook, id, now, payload))
	resp, err := d.client.Do(req)
	if err != nil {
		var own *holdfast.Error
		var network net.Error
		switch {
		case errors.Is(context.Cause(ctx), errCut):
			return 0, 0, holdfast.WrapError(holdfast.CodeTimeout, err, "the address did not answer quickly, and was given up early because so many others do not either")
		case errors.As(err, &own):
			return 0, 0, err
		case errors.As(err, &network) && network.Timeout():
			return 0, 0, holdfast.WrapError(holdfast.CodeTimeout, err, "the address did not answer in "+d.cfg.Timeout.String())
		}
		return 0, 0, holdfast.WrapError(holdfast.CodeUnavailable, err, "the address cannot be reached")
	}
	// Read a little, so that the connection can be used again; what it says is nobody's.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	if err := resp.Body.Close(); err != nil {
		d.cfg.Logger.Debug("close an answer", "error", err)
	}
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), now), holdfast.Errorf(holdfast.CodeUnavailable, "the address answered %d", resp.StatusCode)
	}
	return resp.StatusCode, 0, nil
}

// mostWait is the longest that an address can ask to be left alone.
const mostWait = 24 * time.Hour

// retryAfter reads the header of that name (RFC 9110 section 10.2.3), 0 if it says
// nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, mostWait)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), mostWait)
	}
	return 0
}
