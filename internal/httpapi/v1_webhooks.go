package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
			"An answer of 2xx settles it; else it is tried again for about a day. It may come more than once, always with the same webhook-id. The secret is only in the answer to this request: "+
			"201, or 200 if the Idempotency-Key made the webhook before. An id that is taken is a conflict, as is a webhook beyond the fiftieth.",
		http.StatusConflict, http.StatusNotImplemented, http.StatusRequestEntityTooLarge)
	huma.Register(api, create, a.createWebhook)
	huma.Register(api, a.operation("list-webhooks", http.MethodGet, "/v1/webhooks", tag, "List subscriptions", "", http.StatusNotImplemented), a.listWebhooks)
	del := a.operation("delete-webhook", http.MethodDelete, "/v1/webhooks/{webhook}", tag, "Delete a subscription", "", http.StatusNotFound, http.StatusNotImplemented)
	del.DefaultStatus = http.StatusNoContent
	huma.Register(api, del, a.deleteWebhook)
	huma.Register(api, a.operation("enable-webhook", http.MethodPost, "/v1/webhooks/{webhook}/enable", tag, "Enable a subscription",
		"Lets one that was disabled after a long failure work again. What is pending is sent; what happened meanwhile is not.", http.StatusNotFound, http.StatusNotImplemented), a.enableWebhook)
	a.webhookManagement(api)
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

type webhookMade struct {
	Status int
	Body   WebhookDoc
}

func (a *API) createWebhook(ctx context.Context, in *struct {
	KeyHeader
	Body NewWebhook
},
) (*webhookMade, error) {
	w, err := a.hooks()
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	h, created, err := a.newWebhook(ctx, w, in.Key, in.Body)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := &webhookMade{http.StatusOK, newWebhookDoc(h)}
	if created {
		out.Status = http.StatusCreated
	}
	out.Body.Secret = w.Signer.Secret(&h)
	return out, nil
}

// check reads what somebody says of a webhook.
func (n *NewWebhook) check(w *Webhooks) (kinds []string, err error) {
	u, err := url.Parse(n.URL)
	switch {
	case err != nil:
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "url: cannot be read")
	case len(n.URL) > maxWebhookURL:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "url: longer than %d bytes", maxWebhookURL)
	case strings.ContainsRune(n.Description, 0):
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "description: it has a character NUL (U+0000)")
	}
	if err := w.Check(u); err != nil {
		return nil, err
	}
	if len(n.Events) == 0 {
		return slices.Sorted(slices.Values(events.NoticeKinds)), nil
	}
	for _, kind := range n.Events {
		if !slices.Contains(events.NoticeKinds, kind) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "events: %q is none; there are: %v", kind, events.NoticeKinds)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(n.Events))), nil
}

// noncePart is the random part of a webhook's nonce.
const noncePart = 16

// newNonce makes the nonce of a webhook. With an Idempotency-Key it ends with what
// proves that the key made it.
func newNonce(key string) []byte {
	nonce := make([]byte, noncePart)
	rand.Read(nonce) //nolint:errcheck // it never fails: crypto/rand
	if key == "" {
		return nonce
	}
	return append(nonce, proof(nonce, key)...)
}

func proof(random []byte, key string) []byte {
	sum := sha256.Sum256(append(slices.Clone(random), key...))
	return sum[:noncePart]
}

// madeWith reports whether a key made a webhook.
func madeWith(h *webhook.Hook, key string) bool {
	return key != "" && len(h.Nonce) == 2*noncePart && bytes.Equal(h.Nonce[noncePart:], proof(h.Nonce[:noncePart], key))
}

// newWebhook creates a webhook, once for the same key: with a key that was used
// before it returns what the key made then.
func (a *API) newWebhook(ctx context.Context, w *Webhooks, key string, n NewWebhook) (h webhook.Hook, created bool, err error) {
	if err := checkKey(key); err != nil {
		return h, false, err
	}
	kinds, err := n.check(w)
	if err != nil {
		return h, false, err
	}
	h = webhook.Hook{
		Tenant: tenantOf(ctx), ID: n.ID, URL: n.URL, Kinds: kinds, Description: n.Description, Nonce: newNonce(key), CreatedAt: microNow(),
	}
	switch {
	case h.ID == "" && key == "":
		h.ID = holdfast.NewID()
	case h.ID == "":
		h.ID = holdfast.DeriveID(h.Tenant, "webhook", key)
	}
	err = w.Store.PutWebhook(ctx, h, maxWebhooks)
	if err == nil || holdfast.CodeOf(err) != holdfast.CodeConflict || key == "" {
		return h, err == nil, unavailable(err)
	}
	_, was, werr := a.hook(ctx, h.ID)
	switch {
	case werr != nil && holdfast.CodeOf(werr) != holdfast.CodeNotFound:
		return h, false, werr
	case werr != nil || !madeWith(&was, key):
		return h, false, err
	case was.URL != h.URL || was.Description != h.Description || !slices.Equal(was.Kinds, kinds):
		return h, false, holdfast.Errorf(holdfast.CodeKeyReused, "the Idempotency-Key was used before with another body")
	}
	return was, false, nil
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
