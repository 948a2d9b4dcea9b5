package vaulttest

import (
	"errors"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// Outcomes checks each write whose outcome its caller does not know: no token is
// lost or replaced by an older one, no lease is held by nobody, and nothing is
// sealed with a key that is not stored. fail lets the next write be reported as
// failed with CodeUnavailable, after it has happened or before.
func Outcomes(t *testing.T, s Stores, fail func(happened bool)) {
	for name, happened := range map[string]bool{"failed and did not happen": false, "failed and did happen": true} {
		t.Run(name, func(t *testing.T) { outcomes(t, s, happened, fail) })
	}
}

func outcomes(t *testing.T, s Stores, happened bool, fail func(happened bool)) {
	ctx := t.Context()
	tenant := map[bool]string{false: "acme", true: "bolt"}[happened]
	v := vault.New(s, keys(t, 'a'))
	lost := func(what string, err error) {
		t.Helper()
		if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
			t.Fatalf("%s: %v, want %s", what, err, holdfast.CodeUnavailable)
		}
	}
	secret := func(value string) error { return v.PutSecret(ctx, tenant, "KEY", value) }
	read := func(want string) {
		t.Helper()
		// Another process, which remembers no key.
		if got, ok, err := vault.New(s, keys(t, 'a')).Secret(ctx, tenant, "KEY"); got != want || !ok || err != nil {
			t.Errorf("the secret is %q, %v, %v; want %q", got, ok, err, want)
		}
	}

	// The first write of a tenant is its data key.
	fail(happened)
	lost("a data key", secret("one"))
	if err := secret("one"); err != nil {
		t.Fatal(err)
	}
	read("one")
	if list := must(s.DataKeys(ctx, tenant))(t); len(list) != 1 {
		t.Errorf("%d data keys", len(list))
	}
	fail(happened)
	lost("a secret", secret("two"))
	read(map[bool]string{false: "one", true: "two"}[happened])
	if err := secret("two"); err != nil {
		t.Fatal(err)
	}
	read("two")

	// A rotated refresh token: the old one is worth nothing any more.
	grants := v.Grants()
	key := oauth.GrantKey{Tenant: tenant, User: "ann", Connection: "mcp", ServerURL: "https://mcp.example/"}
	grant := func(token oauth.Secret) oauth.Grant {
		return oauth.Grant{Issuer: "i", TokenType: "Bearer", RefreshToken: token}
	}
	first := must(grants.Put(ctx, key, grant("r0"), 0))(t)
	fail(happened)
	_, err := grants.Lease(ctx, key, time.Hour)
	lost("a lease", err)
	release := must(grants.Lease(ctx, key, time.Hour))(t) // not an hour later
	fail(happened)
	_, err = grants.Put(ctx, key, grant("r1"), first)
	lost("a grant", err)
	// Whoever holds the lease tries again, and is told that the version is another
	// one if it was stored.
	if _, err = grants.Put(ctx, key, grant("r1"), first); errors.Is(err, oauth.ErrConflict) != happened || err != nil && !happened {
		t.Fatalf("a grant again: %v", err)
	}
	g, second, err := grants.Get(ctx, key)
	if err != nil || g.RefreshToken != "r1" || second <= first {
		t.Fatalf("the grant: %q in version %d after %d, %v", g.RefreshToken.Reveal(), second, first, err)
	}
	// One that was late does not put the old token back.
	_, err = grants.Put(ctx, key, grant("r0"), first)
	wantErr(t, "an older version", err, oauth.ErrConflict)
	// A lease that could not be given back is nobody else's meanwhile.
	fail(happened)
	release()
	_, err = grants.Lease(ctx, key, time.Hour)
	if errors.Is(err, oauth.ErrLeaseHeld) == happened || err != nil && happened {
		t.Errorf("after giving back: %v", err)
	}
	fail(happened)
	lost("a deletion", grants.Delete(ctx, key, second))
	if err := grants.Delete(ctx, key, second); err != nil {
		t.Errorf("a deletion again: %v", err)
	}
	_, _, err = grants.Get(ctx, key)
	wantErr(t, "after the deletion", err, oauth.ErrNotFound)
	if third := must(grants.Put(ctx, key, grant("r2"), 0))(t); third <= second {
		t.Errorf("version %d after %d", third, second)
	}

	// A client that was registered dynamically.
	rk := oauth.RegistrationKey{Tenant: tenant, Issuer: "https://as.example", RedirectURI: "https://us.example/cb"}
	reg := oauth.Registration{Issuer: rk.Issuer, ClientID: "c1", Source: oauth.SourceDynamic, RedirectURI: rk.RedirectURI}
	fail(happened)
	_, err = grants.PutRegistration(ctx, rk, reg)
	lost("a registration", err)
	reg.ClientID = "c2" // who starts anew registers another one
	want := map[bool]string{false: "c2", true: "c1"}[happened]
	for range 2 {
		if got := must(grants.PutRegistration(ctx, rk, reg))(t); got.ClientID != want {
			t.Errorf("registered as %s, want %s", got.ClientID, want)
		}
	}
}
