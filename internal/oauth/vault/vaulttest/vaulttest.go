// Package vaulttest is what every store of the vault and of flows must keep: the
// promises of vault.Store and flow.Store, as tests.
package vaulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// Stores is a store of both.
type Stores interface {
	vault.Store
	flow.Store
}

// Run tests a store that open makes anew, empty.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	s := open(t)
	t.Run("entries", func(t *testing.T) { entries(t, s) })
	t.Run("leases", func(t *testing.T) { leases(t, s) })
	t.Run("flows", func(t *testing.T) { flows(t, s) })
	t.Run("sealed", func(t *testing.T) { sealed(t, s) })
	t.Run("rotation", func(t *testing.T) { rotation(t, s) })
	t.Run("limits", func(t *testing.T) { limits(t, s) })
	t.Run("one refresh", func(t *testing.T) { refresh(t, s) })
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func entries(t *testing.T, s vault.Store) {
	ctx := t.Context()
	e := vault.Entry{Tenant: "acme", Kind: "grant", ID: "g1", Owner: "ann", Label: "l", Sealed: []byte{1, 2, 3}}
	_, err := s.Entry(ctx, "acme", "grant", "g1")
	wantErr(t, "an entry that is not there", err, vault.ErrNotFound)
	_, err = s.PutEntry(ctx, e, 7)
	wantErr(t, "a version that is not there", err, vault.ErrConflict)
	v1 := must(s.PutEntry(ctx, e, 0))(t)
	_, err = s.PutEntry(ctx, e, 0)
	wantErr(t, "a second first one", err, vault.ErrConflict)
	got := must(s.Entry(ctx, "acme", "grant", "g1"))(t)
	if got.Version != v1 || !bytes.Equal(got.Sealed, e.Sealed) || got.Owner != "ann" || time.Since(got.Created).Abs() > time.Hour {
		t.Errorf("the entry: %+v", got)
	}
	e.Sealed = []byte{4}
	v2 := must(s.PutEntry(ctx, e, v1))(t)
	if v2 <= v1 {
		t.Errorf("versions %d, %d", v1, v2)
	}
	for _, other := range [][3]string{{"globex", "grant", "g1"}, {"acme", "secret", "g1"}, {"acme", "grant", "g2"}, {"*", "grant", "g1"}} {
		_, err := s.Entry(ctx, other[0], other[1], other[2])
		wantErr(t, fmt.Sprint(other), err, vault.ErrNotFound)
	}
	if list := must(s.Entries(ctx, "acme", "grant", "bob"))(t); len(list) != 0 {
		t.Errorf("bob has %v", list)
	}
	for _, owner := range []string{"", "ann"} {
		if list := must(s.Entries(ctx, "acme", "grant", owner))(t); len(list) != 1 || list[0].Sealed != nil || list[0].Label != "l" {
			t.Errorf("the list of %q: %+v", owner, list)
		}
	}
	wantErr(t, "delete another version", s.DeleteEntry(ctx, "acme", "grant", "g1", v1), vault.ErrConflict)
	if err := s.DeleteEntry(ctx, "acme", "grant", "g1", v2); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "delete again", s.DeleteEntry(ctx, "acme", "grant", "g1", vault.AnyVersion), vault.ErrNotFound)
	_, err = s.Entry(ctx, "acme", "grant", "g1")
	wantErr(t, "a deleted entry", err, vault.ErrNotFound)
	_, err = s.PutEntry(ctx, e, v2)
	wantErr(t, "the version of a deleted entry", err, vault.ErrConflict)
	if v3 := must(s.PutEntry(ctx, e, 0))(t); v3 <= v2 {
		t.Errorf("a version after deletion: %d, before %d", v3, v2)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.PutEntry(ctx, vault.Entry{Tenant: "acme", Kind: "race", ID: "x", Sealed: []byte{1}}, 0); err == nil {
				won.Add(1)
			} else if !errors.Is(err, vault.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 stored the first version", won.Load())
	}
}

func leases(t *testing.T, s vault.Store) {
	ctx := t.Context()
	lease := func(holder string, ttl time.Duration) error {
		return s.LeaseEntry(ctx, "acme", "grant", "leased", holder, ttl)
	}
	if err := lease("a", time.Hour); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a second holder", lease("b", time.Hour), vault.ErrLeaseHeld)
	if err := s.ReleaseEntry(ctx, "acme", "grant", "leased", "b"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "after another's release", lease("b", time.Hour), vault.ErrLeaseHeld)
	if err := s.ReleaseEntry(ctx, "acme", "grant", "leased", "a"); err != nil {
		t.Fatal(err)
	}
	if err := lease("b", -time.Second); err != nil { // over at once
		t.Fatal(err)
	}
	if err := lease("c", time.Hour); err != nil {
		t.Errorf("after the end of a lease: %v", err)
	}
	if _, err := s.PutEntry(ctx, vault.Entry{Tenant: "acme", Kind: "grant", ID: "leased", Sealed: []byte{1}}, 0); err != nil {
		t.Errorf("a leased id is no entry: %v", err)
	}
}

func flows(t *testing.T, s flow.Store) {
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Microsecond)
	r := flow.Record{
		ID: "f1", Tenant: "acme", User: "ann", Session: "s", Connection: "c", Name: "n", ServerURL: "u", Issuer: "i", Binding: "cookie",
		Created: now, Expires: now.Add(time.Minute), Sealed: []byte{9},
	}
	if err := s.CreateFlow(ctx, r); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, must(s.Flow(ctx, "acme", "f1"))(t)); d != "" {
		t.Error(d)
	}
	for _, tenant := range []string{"globex", "*"} {
		_, err := s.Flow(ctx, tenant, "f1")
		wantErr(t, "of tenant "+tenant, err, flow.ErrNotFound)
		wantErr(t, "answer of "+tenant, s.AnswerFlow(ctx, tenant, "f1", []byte{1}, now), flow.ErrSettled)
		wantErr(t, "consume of "+tenant, s.ConsumeFlow(ctx, tenant, "f1", now), flow.ErrSettled)
	}
	wantErr(t, "an answer too late", s.AnswerFlow(ctx, "acme", "f1", []byte{1}, now.Add(time.Minute)), flow.ErrSettled)
	for range 2 {
		if err := s.AnswerFlow(ctx, "acme", "f1", []byte{1}, now); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "another answer", s.AnswerFlow(ctx, "acme", "f1", []byte{2}, now), flow.ErrSettled)
	if got := must(s.Flow(ctx, "acme", "f1"))(t); !bytes.Equal(got.Answer, []byte{1}) || !got.Consumed.IsZero() {
		t.Errorf("answered: %+v", got)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := s.ConsumeFlow(ctx, "acme", "f1", now); err == nil {
				won.Add(1)
			} else if !errors.Is(err, flow.ErrSettled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("consumed %d times", won.Load())
	}
	if got := must(s.Flow(ctx, "acme", "f1"))(t); got.Answer != nil || got.Consumed.IsZero() {
		t.Errorf("consumed: %+v", got)
	}
	wantErr(t, "an answer after all", s.AnswerFlow(ctx, "acme", "f1", []byte{1}, now), flow.ErrSettled)
	if n, err := s.PurgeFlows(ctx, now); n != 0 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if n, err := s.PurgeFlows(ctx, now.Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if err := s.DropFlow(ctx, "acme", "f1"); err != nil {
		t.Error(err)
	}
}

func keys(t *testing.T, names ...byte) *vault.LocalKeys {
	t.Helper()
	var list []vault.NamedKey
	for _, n := range names {
		list = append(list, vault.NamedKey{ID: string(n), Secret: bytes.Repeat([]byte{n}, vault.KeyLength)})
	}
	return must(vault.NewLocalKeys(list...))(t)
}

// sealed: nothing is readable in the store, and rows that are moved do not open.
func sealed(t *testing.T, s vault.Store) {
	ctx := t.Context()
	v := vault.New(s, keys(t, 'a'))
	if err := v.PutSecret(ctx, "acme", "KEY", "canary-secret"); err != nil {
		t.Fatal(err)
	}
	if value, ok, err := vault.New(s, keys(t, 'a')).Secret(ctx, "acme", "KEY"); value != "canary-secret" || !ok || err != nil {
		t.Fatalf("Secret = %q, %v, %v", value, ok, err)
	}
	if _, ok, err := v.Secret(ctx, "globex", "KEY"); ok || err != nil {
		t.Errorf("another tenant's secret: %v, %v", ok, err)
	}
	if _, _, err := vault.New(s, keys(t, 'z')).Secret(ctx, "acme", "KEY"); err == nil {
		t.Error("opened with another key")
	}
	grants := v.Grants()
	ann := oauth.GrantKey{Tenant: "acme", User: "ann", Connection: "mcp", ServerURL: "https://mcp.example/"}
	bob := ann
	bob.User = "bob"
	for _, k := range []oauth.GrantKey{ann, bob} {
		g := oauth.Grant{Issuer: "https://as.example", AccessToken: oauth.Secret("canary-token-of-" + k.User), TokenType: "Bearer"}
		if _, err := grants.Put(ctx, k, g, 0); err != nil {
			t.Fatal(err)
		}
	}
	rows := must(s.SealedEntries(ctx, "acme", "", "", 100))(t)
	of := map[string]vault.Entry{}
	for _, e := range rows {
		if bytes.Contains(e.Sealed, []byte("canary")) || bytes.Contains([]byte(e.Label), []byte("canary")) {
			t.Errorf("readable in the store: %s %s", e.Kind, e.ID)
		}
		if e.Kind == vault.KindGrant && e.Owner != "" {
			of[e.Owner] = e
		}
	}
	// Somebody with access to the database gives bob's row the content of ann's.
	if err := s.ResealEntry(ctx, of["bob"], of["ann"].Sealed); err != nil {
		t.Fatal(err)
	}
	if g, _, err := grants.Get(ctx, bob); err == nil {
		t.Errorf("bob got %q", g.AccessToken.Reveal())
	}
	if g, _, err := grants.Get(ctx, ann); err != nil || g.AccessToken.Reveal() != "canary-token-of-ann" {
		t.Errorf("ann: %v", err)
	}
	if err := v.Erase(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := grants.Get(ctx, ann); !errors.Is(err, oauth.ErrNotFound) {
		t.Errorf("after erasure: %v", err)
	}
	if _, err := v.Open(ctx, "acme", vault.KindGrant, of["ann"].ID, of["ann"].Sealed); err == nil {
		t.Error("a row from a backup opens after the erasure of its key")
	}
}

// rotation: the old key-encryption key may go, data keys change, and all of it
// while the vault is written.
func rotation(t *testing.T, s vault.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	old := vault.New(s, keys(t, 'a'))
	for i := range 5 {
		if err := old.PutSecret(ctx, "initech", fmt.Sprintf("KEY_%d", i), fmt.Sprintf("value %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	both := vault.New(s, keys(t, 'b', 'a'))
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		w := vault.New(s, keys(t, 'b', 'a'))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.PutSecret(ctx, "initech", "BUSY", fmt.Sprint(i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	r := must(both.Rotate(ctx, false))(t)
	if r.Wrapped == 0 || r.Added != 0 {
		t.Errorf("rotation: %+v", r)
	}
	r = must(both.Rotate(ctx, true))(t)
	if r.Added == 0 || r.Sealed < 5 {
		t.Errorf("rotation of data keys: %+v", r)
	}
	close(stop)
	writing.Wait()
	fresh := vault.New(s, keys(t, 'b')) // the old key is gone
	for i := range 5 {
		if value, ok, err := fresh.Secret(ctx, "initech", fmt.Sprintf("KEY_%d", i)); value != fmt.Sprintf("value %d", i) || !ok || err != nil {
			t.Errorf("KEY_%d = %q, %v, %v", i, value, ok, err)
		}
	}
	if _, ok, err := fresh.Secret(ctx, "initech", "BUSY"); !ok || err != nil {
		t.Errorf("BUSY: %v, %v", ok, err)
	}
}

// refresh: 40 workers and one rotating grant; whoever has the lease renews it, and
// the others take what he stored.
func refresh(t *testing.T, s vault.Store) {
	ctx := t.Context()
	grants := vault.New(s, keys(t, 'a')).Grants()
	key := oauth.GrantKey{Tenant: "umbrella", User: "ann", Connection: "mcp", ServerURL: "https://mcp.example/"}
	first := must(grants.Put(ctx, key, oauth.Grant{Issuer: "i", TokenType: "Bearer", RefreshToken: "r0"}, 0))(t)
	var refreshes atomic.Int32
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for {
				release, err := grants.Lease(ctx, key, time.Minute)
				if errors.Is(err, oauth.ErrLeaseHeld) {
					if _, v, err := grants.Get(ctx, key); err == nil && v > first {
						return
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				g, v, err := grants.Get(ctx, key)
				if err == nil && v == first {
					refreshes.Add(1)
					g.RefreshToken = "r1"
					_, err = grants.Put(ctx, key, g, v)
				}
				if err != nil {
					t.Error(err)
				}
				release()
				return
			}
		})
	}
	all.Wait()
	if refreshes.Load() != 1 {
		t.Errorf("%d refreshes", refreshes.Load())
	}
}
