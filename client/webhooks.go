package client

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// WebhookChange is what becomes different of a webhook; nil and empty stay.
type WebhookChange struct {
	URL         *string  `json:"url,omitempty"`
	Events      []string `json:"events,omitempty"`
	Description *string  `json:"description,omitempty"`
	// Disabled lets it rest or work again.
	Disabled *bool `json:"disabled,omitempty"`
}

// DeliveryQuery selects deliveries of a webhook.
type DeliveryQuery struct {
	// State is "pending", "delivered" or "failed", "" for all.
	State string
	// Limit is how many there are on a page, 0 for as many as possible, which is 100.
	Limit int
	// Cursor is the next of the page before, "" for the first one.
	Cursor string
}

// Webhook returns a subscription.
func (c *Client) Webhook(ctx context.Context, id string) (*Webhook, error) {
	var w Webhook
	if err := c.do(ctx, "GET", path("v1", "webhooks", id), nil, nil, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// ChangeWebhook changes a subscription.
func (c *Client) ChangeWebhook(ctx context.Context, id string, change WebhookChange) (*Webhook, error) {
	var w Webhook
	if err := c.do(ctx, "PATCH", path("v1", "webhooks", id), nil, change, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// RotateWebhookSecret makes a new secret, which the answer has. The one before counts
// beside it for overlap, at most 168 h; 0 ends it at once.
func (c *Client) RotateWebhookSecret(ctx context.Context, id string, overlap time.Duration) (*Webhook, error) {
	var w Webhook
	if err := c.do(ctx, "POST", path("v1", "webhooks", id, "secret"), nil, map[string]string{"overlap": overlap.String()}, &w); err != nil {
		return nil, err
	}
	return &w, nil
}

// FindDeliveries returns a page of the deliveries to a webhook, the newest first, and
// the cursor of the next one, "" on the last.
func (c *Client) FindDeliveries(ctx context.Context, id string, q DeliveryQuery) (list []Delivery, next string, err error) {
	query := url.Values{}
	if q.State != "" {
		query.Set("state", q.State)
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Cursor != "" {
		query.Set("cursor", q.Cursor)
	}
	var out struct {
		Deliveries []Delivery `json:"deliveries"`
		Next       string     `json:"next"`
	}
	err = c.do(ctx, "GET", path("v1", "webhooks", id, "deliveries"), query, nil, &out)
	return out.Deliveries, out.Next, err
}

// Redeliver sends a delivery again, whatever became of it.
func (c *Client) Redeliver(ctx context.Context, id, delivery string) (*Delivery, error) {
	var d Delivery
	if err := c.do(ctx, "POST", path("v1", "webhooks", id, "deliveries", delivery, "redeliver"), nil, nil, &d); err != nil {
		return nil, err
	}
	return &d, nil
}

// RedeliverFailed sends all again that was given up since a time, zero for all, and
// returns how many these are.
func (c *Client) RedeliverFailed(ctx context.Context, id string, since time.Time) (int, error) {
	body := struct {
		Since time.Time `json:"since,omitzero"`
	}{since}
	var out struct {
		Deliveries int `json:"deliveries"`
	}
	err := c.do(ctx, "POST", path("v1", "webhooks", id, "redeliver"), nil, body, &out)
	return out.Deliveries, err
}

// WebhookTolerance is how far the time of a delivery may be from now: what somebody
// has recorded cannot be sent again later.
const WebhookTolerance = 5 * time.Minute

// VerifyWebhook checks that a request to a receiver comes from a webhook with one of
// the secrets, as Standard Webhooks asks for, and that it is not older or newer than
// [WebhookTolerance]. body is all of its body, as it came. A receiver that must not
// act twice remembers the header webhook-id, which is the same whenever a delivery
// is repeated. The error has the code unauthorized.
func VerifyWebhook(header http.Header, body []byte, secrets ...string) error {
	return verifyWebhook(header, body, time.Now(), secrets)
}

func verifyWebhook(header http.Header, body []byte, now time.Time, secrets []string) error {
	refuse := func(reason string) error {
		return holdfast.Errorf(holdfast.CodeUnauthorized, "verify a webhook: %s", reason)
	}
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || err != nil {
		return refuse("a header webhook-id or webhook-timestamp is missing or none")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > WebhookTolerance || age < -WebhookTolerance {
		return refuse("it is not of now")
	}
	var signatures [][]byte
	for _, s := range strings.Fields(header.Get("webhook-signature")) {
		if text, ok := strings.CutPrefix(s, "v1,"); ok {
			if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
				signatures = append(signatures, raw)
			}
		}
	}
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return holdfast.Errorf(holdfast.CodeInvalid, "verify a webhook: a secret is none; want whsec_ and base64")
		}
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + stamp + "."))
		m.Write(body)
		want := m.Sum(nil)
		for _, have := range signatures {
			if hmac.Equal(want, have) {
				return nil
			}
		}
	}
	return refuse("no signature is right")
}
