package vaulttest

import (
	"bytes"
	"context"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// crowded is a store in which a tenant has many more entries than were made.
type crowded struct {
	Stores
	more int
}

func (c crowded) Entries(ctx context.Context, tenant, kind, owner string) ([]vault.Entry, error) {
	list, err := c.Stores.Entries(ctx, tenant, kind, owner)
	return append(list, make([]vault.Entry, c.more)...), err
}

// limits: a tenant has so many secrets and clients; those that are there may change.
func limits(t *testing.T, s Stores) {
	ctx := t.Context()
	keys, err := vault.NewLocalKeys(vault.NamedKey{ID: "k", Secret: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	client := func(v *vault.Vault, name string) error {
		return v.PutClient(ctx, "full", vault.ClientInfo{Name: name}, oauth.Registration{ClientID: "c"})
	}
	roomy := vault.New(s, keys)
	for _, err := range []error{roomy.PutSecret(ctx, "full", "OLD", "a"), client(roomy, "old")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	full := vault.New(crowded{s, vault.MaxSecrets - 1}, keys)
	for what, err := range map[string]error{"a secret": full.PutSecret(ctx, "full", "NEW", "a"), "a client": client(full, "new")} {
		if holdfast.CodeOf(err) != holdfast.CodeRateLimited {
			t.Errorf("%s too many: %v", what, err)
		}
	}
	for what, err := range map[string]error{"a secret": full.PutSecret(ctx, "full", "OLD", "b"), "a client": client(full, "old")} {
		if err != nil {
			t.Errorf("%s that is there: %v", what, err)
		}
	}
	for name, ok := range map[string]bool{
		"A": true, "_a9": true, "ID_TOKEN_ann-lee": true, strings.Repeat("a", 255): true,
		"": false, "9a": false, "-a": false, "a.b": false, "a b": false, "ID_{user}": false, strings.Repeat("a", 256): false,
	} {
		if err := roomy.PutSecret(ctx, "full", name, "v"); (err == nil) != ok {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	for _, c := range []struct{ name, user, want string }{
		{"A", "", "A"}, {"A_{user}", "ann-lee", "A_ann-lee"}, {"{user}_{user}", "x", "x_x"}, {"A_{user}", "", ""}, {"{user}", "9x", ""}, {"A_{user}", "a.b", ""},
	} {
		if got, err := vault.SecretOfUser(c.name, c.user); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s of %q: %q, %v", c.name, c.user, got, err)
		}
	}
	for _, name := range []string{"a b", "{users}", "-{user}"} {
		info := vault.ClientInfo{Name: "m", ServerURL: "https://h/mcp", Machine: &vault.MachineInfo{Grant: vault.GrantWorkloadIdentity, Assertion: name}}
		if err := roomy.PutClient(ctx, "full", info, oauth.Registration{}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("a client with the assertion %q: %v", name, err)
		}
	}
}
