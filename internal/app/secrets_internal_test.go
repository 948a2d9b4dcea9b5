package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// faultyStore is a store that does not answer at times: it fails at once, or hangs.
type faultyStore struct {
	*sqlitestore.Store
	away, hangs atomic.Bool
	asked       atomic.Int64
}

func (s *faultyStore) Entry(ctx context.Context, tenant, kind, id string) (vault.Entry, error) {
	s.asked.Add(1)
	if s.hangs.Load() {
		<-ctx.Done()
		return vault.Entry{}, ctx.Err()
	}
	if s.away.Load() {
		return vault.Entry{}, errors.New("dial db.internal")
	}
	return s.Store.Entry(ctx, tenant, kind, id)
}

// TestVaultAway: while the vault does not answer, what it said a short time ago counts;
// what is not known is CodeUnavailable and says no value. While it answers it is asked.
func TestVaultAway(t *testing.T) {
	db, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys, err := vault.NewLocalKeys(vault.NamedKey{ID: "k", Secret: make([]byte, vault.KeyLength)})
	if err != nil {
		t.Fatal(err)
	}
	store := &faultyStore{Store: db}
	v := vault.New(store, keys)
	a := &agents{auth: &authorizations{vault: v}, keys: true}
	t.Setenv("OF_THE_ENVIRONMENT", "env")
	put := func(value string) {
		t.Helper()
		if err := v.PutSecret(t.Context(), "acme", "KEY", value); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what, name, want string, code holdfast.Code) {
		t.Helper()
		got, err := a.ExpandPrompt(t.Context(), "acme", "${env."+name+"}", false)
		if got != want || holdfast.CodeOf(err) != code {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		if err != nil && strings.Contains(holdfast.PublicMessage(err), "db.internal") {
			t.Errorf("%s says of the inside: %v", what, err)
		}
	}
	put("one")
	wants("the first time", "KEY", "one", "")
	put("two")
	wants("replaced", "KEY", "two", "")
	wants("not in the vault", "OF_THE_ENVIRONMENT", "env", "")

	store.away.Store(true)
	wants("away", "KEY", "two", "")
	asked := store.asked.Load()
	wants("away, at once again", "KEY", "two", "")
	wants("away, not in the vault", "OF_THE_ENVIRONMENT", "env", "")
	if now := store.asked.Load(); now != asked {
		t.Errorf("a vault that is away was asked %d times more", now-asked)
	}
	wants("away and never read", "OTHER", "", holdfast.CodeUnavailable)
	if _, err := a.secret(t.Context(), "another", "KEY"); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Errorf("another tenant: %v", err)
	}
	of := secretOf{"acme", "KEY"}
	old := a.secrets.said[of]
	old.at = old.at.Add(-secretGrace - time.Second)
	a.secrets.said[of] = old
	wants("away for long", "KEY", "", holdfast.CodeUnavailable)

	store.away.Store(false)
	put("three")
	wants("back", "KEY", "three", "")

	// Who asks is gone: nobody waits for the vault.
	store.hangs.Store(true)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	done := make(chan error, 1)
	go func() {
		_, err := a.secret(ctx, "acme", "KEY")
		done <- err
	}()
	cancel(gone)
	select {
	case err := <-done:
		if !errors.Is(err, gone) {
			t.Errorf("canceled: %v", err)
		}
	case <-time.After(secretWait / 2):
		t.Error("a look-up outlives who asked")
	}
}
