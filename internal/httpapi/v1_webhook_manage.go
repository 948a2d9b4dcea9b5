package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

const (
	// overlap is how long the secret before a new one signs too, if nothing is said.
	overlap     = 24 * time.Hour
	mostOverlap = 7 * 24 * time.Hour
)

// WebhookChange is the body of a change.
type WebhookChange struct {
	URL         *string  `json:"url,omitempty" maxLength:"2000" doc:"Where to POST to."`
	Events      []string `json:"events,omitempty" maxItems:"10" doc:"What to hear of."`
	Description *string  `json:"description,omitempty" maxLength:"1000" doc:"For people."`
	Disabled    *bool    `json:"disabled,omitempty" doc:"true lets it rest: what is pending waits for a week, what happens meanwhile is not said. false is as enable."`
}

// NewSecret is the body of a change of the secret.
type NewSecret struct {
	Overlap string `json:"overlap,omitempty" doc:"How long the secret before signs too, as a duration up to 168h; 0s ends it at once. Default 24h."`
}

// Redelivery is the body of a request to send again what was given up.
type Redelivery struct {
	Since time.Time `json:"since,omitzero" doc:"Of which time on. Default: all that there is, which is a week."`
}

func (a *API) webhookManagement(api huma.API) {
	const tag = "webhooks"
	huma.Register(api, a.operation("get-webhook", http.MethodGet, "/v1/webhooks/{webhook}", tag, "Get a subscription", "", http.StatusNotFound, http.StatusNotImplemented), a.getWebhook)
	huma.Register(api, a.operation("change-webhook", http.MethodPatch, "/v1/webhooks/{webhook}", tag, "Change a subscription",
		"What is absent stays. What is pending goes to the new URL.", http.StatusNotFound, http.StatusNotImplemented, http.StatusRequestEntityTooLarge), a.changeWebhook)
	huma.Register(api, a.operation("rotate-webhook-secret", http.MethodPost, "/v1/webhooks/{webhook}/secret", tag, "Change the secret",
		"Makes a new secret, which is only in the answer. For a while the one before counts, too: webhook-signature then has two signatures with a space between, of which a receiver accepts either. "+
			"With an Idempotency-Key the same request again returns the secret that it made. Two changes at the same moment are a conflict.",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented, http.StatusRequestEntityTooLarge), a.rotateWebhook)
	huma.Register(api, a.operation("redeliver", http.MethodPost, "/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver", tag, "Send a delivery again",
		"Whatever became of it, under its webhook-id, with all attempts; one that is pending is tried now. If the webhook is disabled, it is a conflict.",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented), a.redeliver)
	huma.Register(api, a.operation("redeliver-failed", http.MethodPost, "/v1/webhooks/{webhook}/redeliver", tag, "Send again what was given up",
		"All failed deliveries since a time. If the webhook is disabled, it is a conflict.",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented, http.StatusRequestEntityTooLarge), a.redeliverFailed)
	huma.Register(api, a.operation("list-deliveries", http.MethodGet, "/v1/webhooks/{webhook}/deliveries", tag, "List deliveries",
		"The newest first. Those that are settled are kept for a week.", http.StatusNotFound, http.StatusNotImplemented), a.listDeliveries)
}

func (a *API) getWebhook(ctx context.Context, in *WebhookPath) (*webhookOut, error) {
	_, h, err := a.hook(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &webhookOut{newWebhookDoc(h)}, nil
}

func (a *API) changeWebhook(ctx context.Context, in *struct {
	WebhookPath
	Body WebhookChange
},
) (*webhookOut, error) {
	w, h, err := a.hook(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	c := webhook.Change{URL: in.Body.URL, Description: in.Body.Description}
	// The whole of it is checked, as a new one would be.
	whole := NewWebhook{URL: h.URL, Events: in.Body.Events, Description: h.Description}
	if c.URL != nil {
		whole.URL = *c.URL
	}
	if c.Description != nil {
		whole.Description = *c.Description
	}
	kinds, err := whole.check(w)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	if len(in.Body.Events) > 0 {
		c.Kinds = kinds
	}
	if in.Body.Disabled != nil {
		why := ""
		if *in.Body.Disabled {
			why = "by request"
		}
		c.Disabled = &why
	}
	if err := w.Store.ChangeWebhook(ctx, h.Tenant, h.ID, c); err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	return a.getWebhook(ctx, &in.WebhookPath)
}

func (a *API) rotateWebhook(ctx context.Context, in *struct {
	KeyHeader
	WebhookPath
	Body NewSecret
},
) (*webhookOut, error) {
	keep := overlap
	if in.Body.Overlap != "" {
		var err error
		if keep, err = time.ParseDuration(in.Body.Overlap); err != nil || keep < 0 || keep > mostOverlap {
			return nil, a.respond(ctx, holdfast.Errorf(holdfast.CodeInvalid, "overlap: want a duration from 0s to 168h, such as 24h"))
		}
	}
	if err := checkKey(in.Key); err != nil {
		return nil, a.respond(ctx, err)
	}
	w, h, err := a.hook(ctx, in.ID)
	if err == nil && !madeWith(&h, in.Key) {
		nonce := newNonce(in.Key)
		if err = unavailable(w.Store.RotateWebhook(ctx, h, nonce, microNow().Add(keep))); err == nil {
			h.Nonce = nonce
		}
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &webhookOut{newWebhookDoc(h)}
	out.Body.Secret = w.Signer.Secret(&h)
	return out, nil
}

// sendable returns a webhook to which something can be sent.
func (a *API) sendable(ctx context.Context, id string) (*Webhooks, webhook.Hook, error) {
	w, h, err := a.hook(ctx, id)
	if err == nil && h.Disabled != "" {
		err = holdfast.Errorf(holdfast.CodeConflict, "the webhook %s is disabled (%s); enable it first", h.ID, h.Disabled)
	}
	return w, h, err
}

func (a *API) redeliver(ctx context.Context, in *struct {
	WebhookPath
	Delivery string `path:"delivery" maxLength:"128" doc:"Its id, which is its webhook-id."`
},
) (*struct{ Body DeliveryDoc }, error) {
	w, h, err := a.sendable(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	d, err := w.Store.FindDelivery(ctx, h.Tenant, h.ID, in.Delivery)
	now := microNow()
	if err == nil {
		err = w.Store.Redeliver(ctx, d, now)
	}
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	// As the store has it now: another look would read as much again.
	if d.State != webhook.Pending {
		d.Attempts = 0
	}
	d.State, d.Due, d.SettledAt = webhook.Pending, now, time.Time{}
	return &struct{ Body DeliveryDoc }{newDeliveryDoc(&d)}, nil
}

// Redelivered is how much is sent again.
type Redelivered struct {
	Deliveries int `json:"deliveries"`
}

func (a *API) redeliverFailed(ctx context.Context, in *struct {
	WebhookPath
	Body Redelivery
},
) (*struct{ Body Redelivered }, error) {
	w, h, err := a.sendable(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	n, err := w.Store.RedeliverFailed(ctx, h.Tenant, h.ID, in.Body.Since, microNow())
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	return &struct{ Body Redelivered }{Redelivered{n}}, nil
}

func newDeliveryDoc(d *webhook.Delivery) DeliveryDoc {
	doc := DeliveryDoc{
		ID: d.ID(), Type: d.Notice.Kind, Session: d.Notice.Session.Session, Seq: d.Notice.Seq, Time: d.Notice.Time,
		State: d.State, Attempts: d.Attempts, Status: d.Status, Problem: d.Problem, SettledAt: d.SettledAt,
	}
	if d.State == webhook.Pending {
		doc.NextAt = d.Due
	}
	return doc
}

// DeliveryPage is a page of deliveries.
type DeliveryPage struct {
	Deliveries []DeliveryDoc `json:"deliveries"`
	Next       string        `json:"next,omitempty" doc:"Cursor of the next page; absent on the last one."`
}

func (a *API) listDeliveries(ctx context.Context, in *struct {
	WebhookPath
	State  string `query:"state" enum:"pending,delivered,failed" doc:"Only those; failed are those that were given up."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"100" doc:"Deliveries on a page."`
	Cursor string `query:"cursor" doc:"Member next of the page before, with the same state."`
},
) (*struct{ Body DeliveryPage }, error) {
	w, h, err := a.hook(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	q := webhook.Query{State: in.State, Limit: in.Limit + 1}
	if in.Cursor != "" {
		if q.Before, err = parseDeliveryCursor(in.Cursor); err != nil {
			return nil, a.respond(ctx, err)
		}
	}
	list, err := w.Store.Deliveries(ctx, h.Tenant, h.ID, q)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	out := &struct{ Body DeliveryPage }{}
	out.Body.Deliveries = make([]DeliveryDoc, min(len(list), in.Limit))
	for i := range out.Body.Deliveries {
		out.Body.Deliveries[i] = newDeliveryDoc(&list[i])
	}
	if len(list) > in.Limit {
		out.Body.Next = deliveryCursor(&list[in.Limit-1].Notice)
	}
	return out, nil
}

// deliveryPlace is what a cursor says: where in the order of the list a page ended.
type deliveryPlace struct {
	At      int64 // microseconds
	Session string
	Seq     uint64
	Kind    string
}

func deliveryCursor(n *events.Notice) string {
	b, err := json.Marshal(deliveryPlace{n.Time.UnixMicro(), n.Session.Session, n.Seq, n.Kind})
	if err != nil {
		panic("httpapi: encode a cursor: " + err.Error()) // it is numbers and strings
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseDeliveryCursor(s string) (*events.Notice, error) {
	var p deliveryPlace
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	// What a store can keep, so that a cursor that was made up is no failure of ours.
	if err != nil || holdfast.ValidateID("session", p.Session) != nil || p.Seq > 1<<62 || p.At < 0 || p.At > 1<<52 || len(p.Kind) > 100 || strings.ContainsRune(p.Kind, 0) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of deliveries gave out")
	}
	return &events.Notice{Time: time.UnixMicro(p.At).UTC(), Session: holdfast.SessionRef{Session: p.Session}, Seq: p.Seq, Kind: p.Kind}, nil
}
