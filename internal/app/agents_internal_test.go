package app

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model/catalogue"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// TestSettingsOfDeploymentAreNoSecrets: where agent files are a tenant's, none of
// them gets what the deployment itself is configured with, whatever keys of the
// environment the operator shares.
func TestSettingsOfDeploymentAreNoSecrets(t *testing.T) {
	t.Setenv("HOLDFAST_VAULT_KEYS", "canary")
	t.Setenv("SOME_KEY", "shared")
	a := &agents{keys: true, hosted: true}
	for _, name := range []string{"HOLDFAST_VAULT_KEYS", "holdfast_vault_keys"} {
		got, err := a.expand(t.Context(), "acme", map[string]string{"X-Leak": "${env." + name + "}"})
		if holdfast.CodeOf(err) != holdfast.CodeModelAuth || got["X-Leak"] != "" {
			t.Errorf("%s: %q, %v; want a refusal", name, got, err)
		}
		if _, _, err := a.Model(t.Context(), "acme", nil, &agent.ModelSettings{Kind: "openai", Provider: "openai", Model: "m", TokenKey: name}); holdfast.CodeOf(err) != holdfast.CodeModelAuth {
			t.Errorf("a model with %s: %v; want a refusal", name, err)
		}
	}
	if got, err := a.expand(t.Context(), "acme", map[string]string{"X": "${env.SOME_KEY}"}); err != nil || got["X"] != "shared" {
		t.Errorf("a key that is shared: %q, %v", got, err)
	}
}

// TestDeletedSecretIsForgotten: a model that was built with a secret is not used
// for long after the secret was replaced or deleted, and goes on while nobody can
// say whether it was.
func TestDeletedSecretIsForgotten(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := vault.NewLocalKeys(vault.NamedKey{ID: "k", Secret: make([]byte, vault.KeyLength)})
	if err != nil {
		t.Fatal(err)
	}
	prices, err := catalogue.OpenFile("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	v := vault.New(store, keys)
	a := &agents{auth: &authorizations{vault: v}, hosted: true, prices: prices, models: map[modelOf]builtModel{}}
	m := &agent.ModelSettings{Kind: "openai", Provider: "openai", Model: "m", TokenKey: "KEY"}
	put := func(value string) {
		t.Helper()
		if err := v.PutSecret(t.Context(), "acme", "KEY", value); err != nil {
			t.Fatal(err)
		}
	}
	of := modelOf{"acme", m}
	age := func() {
		b := a.models[of]
		b.at = b.at.Add(-keyAge - time.Second)
		a.models[of] = b
	}
	build := func() any {
		t.Helper()
		built, _, err := a.Model(t.Context(), "acme", nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	put("one")
	first := build()
	put("two")
	if build() != first {
		t.Error("the key was read again at once")
	}
	age()
	second := build()
	if second == first {
		t.Error("a secret that was replaced is still used")
	}
	if err := v.DeleteSecret(t.Context(), "acme", "KEY"); err != nil {
		t.Fatal(err)
	}
	age()
	for range 2 {
		if _, _, err := a.Model(t.Context(), "acme", nil, m); holdfast.CodeOf(err) != holdfast.CodeModelAuth {
			t.Errorf("a secret that was deleted: %v", err)
		}
	}
	put("three")
	third := build()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	age()
	a.secrets.said = nil // what was read is too old
	if build() != third {
		t.Error("another model while the vault is away")
	}
}
