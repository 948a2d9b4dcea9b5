package httpapi

import (
	"context"
	"testing"
	"testing/synctest"

	holdfast "github.com/holdfast-run/holdfast"
)

// A tenant's third search waits for a place, and for a second at most; another
// tenant's does not.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g turns
		enter := func(tenant string) func() {
			t.Helper()
			leave, err := g.enter(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			return leave
		}
		first, second := enter("acme"), enter("acme")
		if _, err := g.enter(t.Context(), "acme"); holdfast.CodeOf(err) != holdfast.CodeRateLimited {
			t.Fatalf("a third one: %v", err)
		}
		enter("bolt")()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.enter(ctx, "acme"); err == nil {
			t.Fatal("one that nobody waits for has got a place")
		}
		third := make(chan func())
		go func() {
			leave, err := g.enter(t.Context(), "acme")
			if err != nil {
				t.Error(err)
			}
			third <- leave
		}()
		synctest.Wait() // it waits
		first()
		leave := <-third
		leave()
		second()
		if len(g.of) != 0 {
			t.Errorf("%d tenants are remembered", len(g.of))
		}
	})
}
