// Package webhook tells addresses of a tenant's choice what happens in its
// sessions: that a run has finished, that a session waits for a person.
//
// What is to be said is written by the store in the transaction that records the
// event, one delivery for each webhook that wants it, so that no crash loses it.
// It is said at least once, in no order that may be relied on, with the same
// webhook-id each time, and signed as Standard Webhooks asks for (version 1 of
// that specification): webhook-id, webhook-timestamp, and webhook-signature with
// HMAC-SHA256 over "id.timestamp.body".
//
// Any answer of 2xx settles a delivery; redirects are not followed. Others are
// tried again after growing pauses, for about a day ([Retry]); a webhook that has
// had nothing but failures for [DisableAfter], or that answers 410, is disabled
// until somebody enables it.
//
// An address that is slow holds up nobody else: of each webhook, and of each tenant,
// only so many deliveries are under way at the same time, and who is at that limit
// is passed over ([Share]).
//
// No secret is stored: a webhook's signing secret is derived from the
// deployment's key and what is random in the webhook's row.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Hook is an address that hears of what happens in a tenant's sessions since
// CreatedAt.
type Hook struct {
	Tenant, ID, URL, Description string
	// Kinds are those of the notices that it wants.
	Kinds []string
	// Nonce is what its secret is derived from.
	Nonce     []byte
	CreatedAt time.Time
	// FailingSince is when it began to fail, zero while it works; Disabled is why
	// nothing is sent any more, "" while it is.
	FailingSince time.Time
	Disabled     string
}

// States of a [Delivery].
const (
	Pending   = "pending"
	Delivered = "delivered"
	Failed    = "failed"
)

// Delivery is a notice on its way to a webhook.
type Delivery struct {
	// Hook is whose it is; lists have only its Tenant and ID.
	Hook   Hook
	Notice events.Notice
	State  string
	// Attempts counts those that began. Status is the newest answer's, 0 for none,
	// Problem what was wrong with it.
	Attempts int
	Status   int
	Problem  string
	// Due is when it is tried next, SettledAt when it was delivered or given up.
	Due, SettledAt time.Time
}

// ID is the delivery's webhook-id.
func (d *Delivery) ID() string {
	n := &d.Notice
	return "msg_" + holdfast.DeriveID("webhook", d.Hook.Tenant, d.Hook.ID, n.Session.Session, strconv.FormatUint(n.Seq, 10), n.Kind)
}

// Outcome is what became of an attempt.
type Outcome struct {
	State   string
	Status  int
	Problem string
	// At is now, Due the next attempt of one that is still pending.
	At, Due time.Time
	// Disable says why the webhook gets nothing any more, "" if it does.
	Disable string
}

// Share is how many deliveries somebody takes, and of whom.
type Share struct {
	// Limit is the most deliveries of all, OfTenant of one tenant, OfHook of one
	// webhook. All must be set.
	Limit, OfTenant, OfHook int
	// WithoutTenants and WithoutHooks get no turn; a webhook is named by [Hook.Name].
	WithoutTenants, WithoutHooks []string
}

// Name names a webhook among those of all tenants: neither part can have a slash.
func (h *Hook) Name() string { return h.Tenant + "/" + h.ID }

// Store keeps webhooks and their deliveries.
type Store interface {
	// PutWebhook keeps a new webhook. CodeConflict says that there is one with its id,
	// or that the tenant has most already.
	PutWebhook(ctx context.Context, h Hook, most int) error
	// Webhooks returns those of a tenant, the oldest first.
	Webhooks(ctx context.Context, tenant string) ([]Hook, error)
	// DeleteWebhook removes one with its deliveries, EnableWebhook lets a disabled one
	// work again. CodeNotFound says that there is none.
	DeleteWebhook(ctx context.Context, tenant, id string) error
	EnableWebhook(ctx context.Context, tenant, id string) error
	// TakeDeliveries returns a share of the deliveries that are due, of webhooks that
	// are not disabled, the oldest of every tenant first. It counts an attempt and puts
	// each off by lease, so that nobody else gets it meanwhile.
	TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, s Share) ([]Delivery, error)
	// SettleDelivery notes what became of an attempt, and in the webhook since when it
	// fails. Of a delivery that is settled already it notes nothing.
	SettleDelivery(ctx context.Context, d Delivery, o Outcome) error
	// Deliveries returns the newest deliveries of a webhook.
	Deliveries(ctx context.Context, tenant, id string, limit int) ([]Delivery, error)
	// ForgetDeliveries removes what was settled before a time.
	ForgetDeliveries(ctx context.Context, before time.Time) error
}

// DisableAfter is how long a webhook may fail before it is disabled, Keep how
// long settled deliveries are listed.
const (
	DisableAfter = 3 * 24 * time.Hour
	Keep         = 7 * 24 * time.Hour
)

var pauses = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour,
}

// Retry returns the pause after the n-th attempt failed, false if it was the
// last one.
func Retry(n int) (time.Duration, bool) {
	if n < 1 || n > len(pauses) {
		return 0, false
	}
	return pauses[n-1], true
}

// Signer derives secrets and signs with them. The zero value cannot; make one of
// a key of at least 32 bytes.
type Signer struct{ key []byte }

// NewSigner returns a signer with the deployment's key.
func NewSigner(key []byte) (*Signer, error) {
	if len(key) < 32 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the key of webhooks has %d bytes, 32 are needed", len(key))
	}
	return &Signer{append([]byte(nil), key...)}, nil
}

func (s *Signer) secret(h *Hook) []byte {
	m := hmac.New(sha256.New, s.key)
	for _, part := range []string{"holdfast webhook", h.Tenant, h.ID, string(h.Nonce)} {
		m.Write([]byte(part))
		m.Write([]byte{0})
	}
	return m.Sum(nil)
}

// Secret is what the receiver verifies with, in the form of Standard Webhooks.
func (s *Signer) Secret(h *Hook) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(s.secret(h))
}

// Sign returns the value of webhook-signature.
func (s *Signer) Sign(h *Hook, id, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, s.secret(h))
	m.Write([]byte(id + "." + timestamp + "."))
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}
