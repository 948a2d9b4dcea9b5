package httpapi

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// Webhooks is what the routes of webhooks need.
type Webhooks struct {
	Store  webhook.Store
	Signer *webhook.Signer
	// Check refuses URLs that may not be asked.
	Check func(u *url.URL) error
}

const (
	maxWebhooks   = 50 // of a tenant
	maxWebhookURL = 2000
	maxDeliveries = 100 // in a list
)

// NewWebhook is the body of a subscription.
type NewWebhook struct {
	ID          string   `json:"id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_-]+$" doc:"Id of the webhook. Without it, a new one."`
	URL         string   `json:"url" maxLength:"2000" doc:"Where to POST to: https, and no private address."`
	Events      []string `json:"events,omitempty" maxItems:"10" doc:"What to hear of: run.finished (a run has ended, for whatever reason), session.needs_human (a session waits for a decision, an authorization, an input or leave to go on). Default: all."`
	Description string   `json:"description,omitempty" maxLength:"1000" doc:"For people."`
}

// WebhookDoc is a webhook.
type WebhookDoc struct {
	ID           string    `json:"id"`
	URL          string    `json:"url"`
	Events       []string  `json:"events"`
	Description  string    `json:"description,omitempty"`
	Secret       string    `json:"secret,omitempty" doc:"What deliveries are signed with, as Standard Webhooks has it. Only in the answer to the creation."`
	CreatedAt    time.Time `json:"created_at"`
	FailingSince time.Time `json:"failing_since,omitzero" doc:"Since when nothing gets through; absent while it works."`
	Disabled     string    `json:"disabled,omitempty" doc:"Why nothing is sent any more, absent while it is."`
}

// DeliveryDoc is a delivery.
type DeliveryDoc struct {
	ID        string    `json:"id" doc:"Its webhook-id, the same on every attempt."`
	Type      string    `json:"type"`
	Session   string    `json:"session"`
	Seq       uint64    `json:"seq" doc:"The event that it is about."`
	Time      time.Time `json:"time"`
	State     string    `json:"state" enum:"pending,delivered,failed"`
	Attempts  int       `json:"attempts"`
	Status    int       `json:"status,omitempty" doc:"HTTP status of the newest answer, absent if there was none."`
	Problem   string    `json:"problem,omitempty"`
	NextAt    time.Time `json:"next_at,omitzero" doc:"When it is tried next."`
	SettledAt time.Time `json:"settled_at,omitzero"`
}

func newWebhookDoc(h webhook.Hook) WebhookDoc {
	return WebhookDoc{ID: h.ID, URL: h.URL, Events: h.Kinds, Description: h.Description, CreatedAt: h.CreatedAt, FailingSince: h.FailingSince, Disabled: h.Disabled}
}

// WebhookPath names a webhook.
type WebhookPath struct {
	ID string `path:"webhook" maxLength:"128" doc:"Id of the webhook."`
}

func (a *API) webhookRoutes(api huma.API) {
	const tag = "webhooks"
	create := a.operation("create-webhook", http.MethodPost, "/v1/webhooks", tag, "Subscribe to events",
		"Every event of the chosen kinds from now on, in any session of the tenant, is sent as a POST with a JSON body, signed by the scheme of Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature). "+
			"An answer of 2xx settles it; else it is tried again for about a day. It may come more than once, always with the same webhook-id. The secret is shown once.",
		http.StatusConflict, http.StatusNotImplemented, http.StatusRequestEntityTooLarge)
	create.DefaultStatus = http.StatusCreated
	huma.Register(api, create, a.createWebhook)
	huma.Register(api, a.operation("list-webhooks", http.MethodGet, "/v1/webhooks", tag, "List subscriptions", "", http.StatusNotImplemented), a.listWebhooks)
	del := a.operation("delete-webhook", http.MethodDelete, "/v1/webhooks/{webhook}", tag, "Delete a subscription", "", http.StatusNotFound, http.StatusNotImplemented)
	del.DefaultStatus = http.StatusNoContent
	huma.Register(api, del, a.deleteWebhook)
	huma.Register(api, a.operation("enable-webhook", http.MethodPost, "/v1/webhooks/{webhook}/enable", tag, "Enable a subscription",
		"Lets one that was disabled after a long failure work again. What is pending is sent; what happened meanwhile is not.", http.StatusNotFound, http.StatusNotImplemented), a.enableWebhook)
	huma.Register(api, a.operation("list-deliveries", http.MethodGet, "/v1/webhooks/{webhook}/deliveries", tag, "List deliveries",
		"The newest 100. Those that are settled are kept for a week.", http.StatusNotFound, http.StatusNotImplemented), a.listDeliveries)
}

func (a *API) hooks() (*Webhooks, error) {
	if a.cfg.Webhooks == nil {
		return nil, holdfast.Errorf(holdfast.CodeNotOffered, "webhooks are not offered in this deployment: HOLDFAST_WEBHOOK_KEY is not set")
	}
	return a.cfg.Webhooks, nil
}

// hook returns one webhook of the tenant.
func (a *API) hook(ctx context.Context, id string) (*Webhooks, webhook.Hook, error) {
	w, err := a.hooks()
	if err != nil {
		return nil, webhook.Hook{}, err
	}
	list, err := w.Store.Webhooks(ctx, tenantOf(ctx))
	if err != nil {
		return nil, webhook.Hook{}, unavailable(err)
	}
	for _, h := range list {
		if h.ID == id {
			return w, h, nil
		}
	}
	return nil, webhook.Hook{}, holdfast.Errorf(holdfast.CodeNotFound, "there is no webhook %s", id)
}

type webhookOut struct{ Body WebhookDoc }

func (a *API) createWebhook(ctx context.Context, in *struct{ Body NewWebhook }) (*webhookOut, error) {
	h, secret, err := a.newWebhook(ctx, in.Body)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	doc := newWebhookDoc(h)
	doc.Secret = secret
	return &webhookOut{doc}, nil
}

func (a *API) newWebhook(ctx context.Context, n NewWebhook) (h webhook.Hook, secret string, err error) {
	w, err := a.hooks()
	if err != nil {
		return h, "", err
	}
	u, err := url.Parse(n.URL)
	if err != nil || len(n.URL) > maxWebhookURL {
		return h, "", holdfast.WrapError(holdfast.CodeInvalid, err, "url: cannot be read")
	}
	if err := w.Check(u); err != nil {
		return h, "", err
	}
	if len(n.Events) == 0 {
		n.Events = events.NoticeKinds
	}
	for _, kind := range n.Events {
		if !slices.Contains(events.NoticeKinds, kind) {
			return h, "", holdfast.Errorf(holdfast.CodeInvalid, "events: %q is none; there are: %v", kind, events.NoticeKinds)
		}
	}
	have, err := w.Store.Webhooks(ctx, tenantOf(ctx))
	if err != nil {
		return h, "", unavailable(err)
	}
	if len(have) >= maxWebhooks {
		return h, "", holdfast.Errorf(holdfast.CodeConflict, "there are %d webhooks already, as many as are possible; delete one", len(have))
	}
	if n.ID == "" {
		n.ID = holdfast.NewID()
	}
	nonce := make([]byte, 16)
	rand.Read(nonce) //nolint:errcheck // it never fails: crypto/rand
	kinds := slices.Clone(n.Events)
	slices.Sort(kinds)
	h = webhook.Hook{
		Tenant: tenantOf(ctx), ID: n.ID, URL: n.URL, Kinds: slices.Compact(kinds), Description: n.Description,
		Nonce: nonce, CreatedAt: time.UnixMicro(time.Now().UnixMicro()).UTC(),
	}
	if err := w.Store.PutWebhook(ctx, h); err != nil {
		return h, "", unavailable(err)
	}
	return h, w.Signer.Secret(&h), nil
}

func (a *API) listWebhooks(ctx context.Context, _ *struct{}) (*struct {
	Body struct {
		Webhooks []WebhookDoc `json:"webhooks"`
	}
}, error,
) {
	out := &struct {
		Body struct {
			Webhooks []WebhookDoc `json:"webhooks"`
		}
	}{}
	w, err := a.hooks()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	list, err := w.Store.Webhooks(ctx, tenantOf(ctx))
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	out.Body.Webhooks = make([]WebhookDoc, len(list))
	for i, h := range list {
		out.Body.Webhooks[i] = newWebhookDoc(h)
	}
	return out, nil
}

func (a *API) deleteWebhook(ctx context.Context, in *WebhookPath) (*struct{}, error) {
	w, err := a.hooks()
	if err == nil {
		err = unavailable(w.Store.DeleteWebhook(ctx, tenantOf(ctx), in.ID))
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &struct{}{}, nil
}

func (a *API) enableWebhook(ctx context.Context, in *WebhookPath) (*webhookOut, error) {
	w, err := a.hooks()
	if err == nil {
		err = unavailable(w.Store.EnableWebhook(ctx, tenantOf(ctx), in.ID))
	}
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	_, h, err := a.hook(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	return &webhookOut{newWebhookDoc(h)}, nil
}

func (a *API) listDeliveries(ctx context.Context, in *WebhookPath) (*struct {
	Body struct {
		Deliveries []DeliveryDoc `json:"deliveries"`
	}
}, error,
) {
	out := &struct {
		Body struct {
			Deliveries []DeliveryDoc `json:"deliveries"`
		}
	}{}
	w, h, err := a.hook(ctx, in.ID)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	list, err := w.Store.Deliveries(ctx, h.Tenant, h.ID, maxDeliveries)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	out.Body.Deliveries = make([]DeliveryDoc, len(list))
	for i := range list {
		d := &list[i]
		doc := DeliveryDoc{
			ID: d.ID(), Type: d.Notice.Kind, Session: d.Notice.Session.Session, Seq: d.Notice.Seq, Time: d.Notice.Time,
			State: d.State, Attempts: d.Attempts, Status: d.Status, Problem: d.Problem, SettledAt: d.SettledAt,
		}
		if d.State == webhook.Pending {
			doc.NextAt = d.Due
		}
		out.Body.Deliveries[i] = doc
	}
	return out, nil
}
