package client_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// TestVerifyWebhook: what a deployment signs is verified, with each of two secrets
// while both count; nothing else is, and nothing old.
func TestVerifyWebhook(t *testing.T) {
	signer, err := webhook.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	before := webhook.Hook{Tenant: "acme", ID: "h", Nonce: []byte("before")}
	after := webhook.Hook{Tenant: "acme", ID: "h", Nonce: []byte("after"), Before: before.Nonce, BeforeUntil: time.Now().Add(time.Hour)}
	other := webhook.Hook{Tenant: "acme", ID: "other", Nonce: []byte("other")}
	body := []byte(`{"type":"run.finished"}`)
	header := func(at time.Time) http.Header {
		h := http.Header{}
		h.Set("webhook-id", "msg_1")
		h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		h.Set("webhook-signature", signer.Sign(&after, "msg_1", at, body))
		return h
	}
	old, unsigned, renamed := header(time.Now().Add(-time.Hour)), header(time.Now()), header(time.Now())
	unsigned.Del("webhook-signature")
	renamed.Set("webhook-id", "msg_2")
	for name, c := range map[string]struct {
		header http.Header
		body   string
		secret []string
		code   holdfast.Code
	}{
		"the new secret":        {header(time.Now()), string(body), []string{signer.Secret(&after)}, ""},
		"the secret before":     {header(time.Now()), string(body), []string{signer.Secret(&before)}, ""},
		"one of two":            {header(time.Now()), string(body), []string{signer.Secret(&other), signer.Secret(&after)}, ""},
		"another's secret":      {header(time.Now()), string(body), []string{signer.Secret(&other)}, holdfast.CodeUnauthorized},
		"no secret":             {header(time.Now()), string(body), nil, holdfast.CodeUnauthorized},
		"a secret that is none": {header(time.Now()), string(body), []string{"whsec_?"}, holdfast.CodeInvalid},
		"another body":          {header(time.Now()), string(body) + " ", []string{signer.Secret(&after)}, holdfast.CodeUnauthorized},
		"of an hour ago":        {old, string(body), []string{signer.Secret(&after)}, holdfast.CodeUnauthorized},
		"without signature":     {unsigned, string(body), []string{signer.Secret(&after)}, holdfast.CodeUnauthorized},
		"another id":            {renamed, string(body), []string{signer.Secret(&after)}, holdfast.CodeUnauthorized},
		"without any header":    {http.Header{}, string(body), []string{signer.Secret(&after)}, holdfast.CodeUnauthorized},
	} {
		err := client.VerifyWebhook(c.header, []byte(c.body), c.secret...)
		if c.code == "" && err != nil || c.code != "" && holdfast.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
	}
}
