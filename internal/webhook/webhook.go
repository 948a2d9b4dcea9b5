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
// An address that is slow holds up nobody else: webhooks whose addresses answer
// quickly, those of which nothing is known, and slow ones have each their own share
// of what is sent at the same time ([Deliverer]).
//
// What a webhook hears of is decided by order and not by clocks: whatever is
// recorded after it was made and before it was disabled or deleted. Only what the
// event itself says to be older than the webhook by more than [History] is not
// said: that is the past of an imported session.
//
// No secret is stored: a webhook's signing secret is derived from the
// deployment's key and what is random in the webhook's row. A new secret does not
// end the one before at once: for a while both sign.
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

// Hook is an address that hears of what happens in a tenant's sessions since it
// was made.
type Hook struct {
	Tenant, ID, URL, Description string
	// Kinds are those of the notices that it wants.
	Kinds []string
	// Nonce is what its secret is derived from. Before is that of the secret before,
	// which signs beside it until BeforeUntil; nil if there is none.
	Nonce, Before []byte
	BeforeUntil   time.Time
	CreatedAt     time.Time
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
	// Rest is until when the address asked to be left alone, zero if it did not. It is
	// for who sends and is not stored.
	Rest time.Time
}

// Share is how many deliveries somebody takes, and of whom.
type Share struct {
	// Limit is the most deliveries of all, OfTenant of one tenant, OfHook of one
	// webhook. All must be set.
	Limit, OfTenant, OfHook int
	// Only, if it has any, are the webhooks that get a turn. WithoutTenants and
	// WithoutHooks get none. A webhook is named by [Hook.Name].
	Only, WithoutTenants, WithoutHooks []string
}

// Change is what becomes different of a webhook; nil stays.
type Change struct {
	URL, Description *string
	Kinds            []string
	// Disabled says why nothing is sent any more; "" enables it.
	Disabled *string
}

// Query selects deliveries of a webhook.
type Query struct {
	// State, if not "", is the one that they are in.
	State string
	// Before, if not nil, is the last one of the page before.
	Before *events.Notice
	Limit  int
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
	// work again, ChangeWebhook changes one. CodeNotFound says that there is none.
	DeleteWebhook(ctx context.Context, tenant, id string) error
	EnableWebhook(ctx context.Context, tenant, id string) error
	ChangeWebhook(ctx context.Context, tenant, id string, c Change) error
	// RotateWebhook gives a webhook, as it was read, a new nonce and keeps the one
	// that it has until a time. CodeConflict says that it has another one meanwhile.
	RotateWebhook(ctx context.Context, h Hook, nonce []byte, until time.Time) error
	Outbox
}

// Outbox keeps deliveries. Its cost does not grow with how much is pending.
type Outbox interface {
	// TakeDeliveries returns a share of the deliveries that are due, of webhooks that
	// are not disabled, the oldest of every tenant first. It counts an attempt and puts
	// each off by lease, so that nobody else gets it meanwhile.
	TakeDeliveries(ctx context.Context, now time.Time, lease time.Duration, s Share) ([]Delivery, error)
	// SettleDelivery notes what became of an attempt, and in the webhook since when it
	// fails. Of a delivery that is settled already it notes nothing.
	SettleDelivery(ctx context.Context, d Delivery, o Outcome) error
	// Deliveries returns deliveries of a webhook, the newest first.
	Deliveries(ctx context.Context, tenant, id string, q Query) ([]Delivery, error)
	// FindDelivery returns one by its [Delivery.ID]; CodeNotFound says that there is none.
	FindDelivery(ctx context.Context, tenant, id, delivery string) (Delivery, error)
	// Redeliver makes one due at now, with all its attempts if it was settled.
	Redeliver(ctx context.Context, d Delivery, now time.Time) error
	// RedeliverFailed makes all due at now that were given up and are of since or
	// later, and returns how many these are.
	RedeliverFailed(ctx context.Context, tenant, id string, since, now time.Time) (int, error)
	// ForgetDeliveries removes what was settled longer than [Keep] ago, and what is
	// pending for webhooks that are no more. It gives up what has been pending for so
	// long for a webhook that is disabled.
	ForgetDeliveries(ctx context.Context, now time.Time) error
}

// DisableAfter is how long a webhook may fail before it is disabled, Keep how
// long settled deliveries are listed, and those of a disabled webhook wait. History
// is how much older than a webhook an event is that it does not hear of: more than
// clocks of machines differ, less than the age of what is imported.
const (
	DisableAfter = 3 * 24 * time.Hour
	Keep         = 7 * 24 * time.Hour
	History      = time.Hour
)

// GivenUp is the problem of a delivery that a disabled webhook never got.
const GivenUp = "the webhook was disabled for too long"

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

func (s *Signer) secret(h *Hook, nonce []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	for _, part := range []string{"holdfast webhook", h.Tenant, h.ID, string(nonce)} {
		m.Write([]byte(part))
		m.Write([]byte{0})
	}
	return m.Sum(nil)
}

// Secret is what the receiver verifies with, in the form of Standard Webhooks.
func (s *Signer) Secret(h *Hook) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(s.secret(h, h.Nonce))
}

// Sign returns the value of webhook-signature for a moment: while two secrets count,
// two signatures with a space between, the newer one first.
func (s *Signer) Sign(h *Hook, id string, at time.Time, body []byte) string {
	sign := func(nonce []byte) string {
		m := hmac.New(sha256.New, s.secret(h, nonce))
		m.Write([]byte(id + "." + Timestamp(at) + "."))
		m.Write(body)
		return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	if len(h.Before) > 0 && at.Before(h.BeforeUntil) {
		return sign(h.Nonce) + " " + sign(h.Before)
	}
	return sign(h.Nonce)
}

// Timestamp is the value of webhook-timestamp for a moment.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
