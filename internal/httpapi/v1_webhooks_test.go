package httpapi_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

func TestWebhookRoutes(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) {
		c.MaxBody = 16 << 10
		signer, err := webhook.NewSigner(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		c.Webhooks = &httpapi.Webhooks{Store: c.Store.(storeFaults).f.Store.(webhook.Store), Signer: signer, Check: func(u *url.URL) error {
			if u.Scheme != "https" {
				return holdfast.Errorf(holdfast.CodeInvalid, "the URL must begin with https")
			}
			return nil
		}}
	})
	w.refusals(
		[5]string{"POST", "/v1/webhooks", `{"url":"http://a.example"}`, "400", "https"},
		[5]string{"POST", "/v1/webhooks", `{"url":"https://a.example","events":["run.begun"]}`, "400", "run.begun"},
		[5]string{"POST", "/v1/webhooks", `{"url":"https://a.example","secret":"mine"}`, "400", "secret"},
		[5]string{"POST", "/v1/webhooks", `{"url":"https://a.example","description":"` + strings.Repeat("x", 17<<10) + `"}`, "413", "too_large"},
		[5]string{"DELETE", "/v1/webhooks/none", "", "404", "none"},
		[5]string{"POST", "/v1/webhooks/none/enable", "", "404", "none"},
		[5]string{"GET", "/v1/webhooks/none/deliveries", "", "404", "none"},
	)
	var made httpapi.WebhookDoc
	w.mustCall("POST", "/v1/webhooks", `{"id":"h","url":"https://a.example/x"}`, &made)
	if made.ID != "h" || !strings.HasPrefix(made.Secret, "whsec_") || len(made.Events) != 2 {
		t.Errorf("created: %+v", made)
	}
	w.refusals([5]string{"POST", "/v1/webhooks", `{"id":"h","url":"https://b.example"}`, "409", "already"})
	// The same request again is the same webhook with the same secret, also when its
	// answer was lost; another one is refused.
	again := func(key, body string, want int) (doc httpapi.WebhookDoc) {
		t.Helper()
		st, answer := w.call("POST", "/v1/webhooks", body, "Idempotency-Key", key)
		if st != want {
			t.Errorf("%s: %d %s, want %d", body, st, answer, want)
		}
		if st < 300 {
			if err := json.Unmarshal([]byte(answer), &doc); err != nil {
				t.Error(err)
			}
		}
		return doc
	}
	first := again("k", `{"url":"https://a.example/k","events":["session.needs_human","run.finished","run.finished"]}`, 201)
	if second := again("k", `{"url":"https://a.example/k"}`, 200); second.ID != first.ID || second.Secret != first.Secret || first.Secret == made.Secret {
		t.Errorf("again: %+v, first %+v", second, first)
	}
	again("k", `{"url":"https://a.example/other"}`, 422)
	again("k", `{"url":"https://a.example/k","events":["run.finished"]}`, 422)
	again("k2", `{"id":"h2","url":"https://a.example/2"}`, 201)
	again("k2", `{"id":"h2","url":"https://a.example/2"}`, 200)
	again("k3", `{"id":"h2","url":"https://a.example/2"}`, 409) // the secret is for who made it
	again("k", `{"id":"h","url":"https://a.example/x"}`, 409)
	again(strings.Repeat("k", 256), `{"url":"https://a.example/k"}`, 400)
	again("k", `{"url":"https://a.example/k","description":"a\u0000b"}`, 400)
	if _, body := w.call("GET", "/v1/webhooks", ""); !strings.Contains(body, "https://a.example/x") || strings.Contains(body, "whsec_") {
		t.Errorf("list: %s", body)
	}
	id := w.newSession()
	w.mustCall("POST", "/v1/sessions/"+id+"/runs", `{"agent":"demo","messages":[{"content":"hello"}]}`, nil)
	w.mustCall("GET", "/v1/sessions/"+id+"/events?until=run", "", nil)
	w.until("the delivery", func() bool {
		_, body := w.call("GET", "/v1/webhooks/h/deliveries", "")
		return strings.Contains(body, `"type":"run.finished","session":"`+id+`"`) && strings.Contains(body, `"state":"pending"`)
	})
	w.mustCall("POST", "/v1/webhooks/h/enable", "", nil)
	w.mustCall("DELETE", "/v1/webhooks/h", "", nil)
	w.refusals([5]string{"GET", "/v1/webhooks/h/deliveries", "", "404", "h"})

	without := newWorld(t)
	without.refusals(
		[5]string{"POST", "/v1/webhooks", `{"url":"https://a.example"}`, "501", "HOLDFAST_WEBHOOK_KEY"},
		[5]string{"GET", "/v1/webhooks", "", "501", "not_offered"},
	)
}
