package tenant_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

const (
	keyA  = "a-key-of-acme-0001"
	keyA2 = "a-key-of-acme-0002"
	keyB  = "b-key-of-bolt-0001"
)

func TestAuthenticate(t *testing.T) {
	ring, err := tenant.ParseKeys([]string{"acme:" + keyA, " acme:" + keyA2 + "\n", "bolt:" + keyB})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{keyA: "acme", keyA2: "acme", keyB: "bolt"} {
		c, err := ring.Authenticate(key)
		if err != nil || c.Tenant != want {
			t.Errorf("Authenticate(%s) = %v, %v; want tenant %s", key, c, err, want)
		}
		if len(c.Key) != 8 || strings.Contains(key, c.Key) {
			t.Errorf("caller's key id %q", c.Key)
		}
	}
	for _, key := range []string{"", "x", keyA + " ", strings.ToUpper(keyA), "acme:" + keyA} {
		_, err := ring.Authenticate(key)
		if holdfast.CodeOf(err) != holdfast.CodeUnauthorized {
			t.Errorf("Authenticate(%q): %v, want code unauthorized", key, err)
		}
	}
}

func TestOpenKeyring(t *testing.T) {
	empty, err := tenant.ParseKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, ring := range map[string]*tenant.Keyring{"nil": nil, "zero": {}, "parsed": empty} {
		c, err := ring.Authenticate("whatever")
		if err != nil || c.Tenant != tenant.Default {
			t.Errorf("%s keyring: %v, %v; want the default tenant", name, c, err)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	for name, list := range map[string][]string{
		"no colon":    {"acme"},
		"no tenant":   {":" + keyA},
		"bad tenant":  {"ac.me:" + keyA},
		"short key":   {"acme:short"},
		"two tenants": {"acme:" + keyA, "bolt:" + keyA},
	} {
		_, err := tenant.ParseKeys(list)
		if holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%s: %v, want code invalid", name, err)
			continue
		}
		if strings.Contains(err.Error(), keyA) || strings.Contains(err.Error(), "short:") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestKeyOf(t *testing.T) {
	req := func(change func(*http.Request)) *http.Request {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"none":          {req(func(*http.Request) {}), ""},
		"bearer":        {req(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+keyA) }), keyA},
		"bearer, lower": {req(func(r *http.Request) { r.Header.Set("Authorization", "bearer  "+keyA) }), keyA},
		"basic":         {req(func(r *http.Request) { r.SetBasicAuth("anybody", keyA) }), keyA},
		"x-api-key":     {req(func(r *http.Request) { r.Header.Set("X-Api-Key", keyA) }), keyA},
		"digest":        {req(func(r *http.Request) { r.Header.Set("Authorization", "Digest "+keyA) }), ""},
		"bad basic":     {req(func(r *http.Request) { r.Header.Set("Authorization", "Basic !") }), ""},
	} {
		if got := tenant.KeyOf(c.r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestContext(t *testing.T) {
	if _, ok := tenant.From(context.Background()); ok {
		t.Error("a caller in an empty context")
	}
	want := tenant.Caller{Tenant: "acme", Key: "12345678"}
	if got, ok := tenant.From(tenant.With(context.Background(), want)); !ok || got != want {
		t.Errorf("From = %v, %v", got, ok)
	}
}
