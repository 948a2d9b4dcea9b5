package pgstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
)

// TestGatheredLookups looks many things of several tenants up at once, among them
// what does not exist, what another tenant has, and what the database refuses.
// Each gets what he would have got alone.
func TestGatheredLookups(t *testing.T) {
	s := open(t, database(t))
	script := eventstest.NewScript(t, 30)
	for n := range script.Len() {
		if err := s.Record(t.Context(), script.Batch(uint64(n))); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.All(t.Context(), holdfast.SessionRef{}, 1000)
	if err != nil || len(rows) < 2 {
		t.Fatalf("%d sessions, error %v", len(rows), err)
	}
	for i, tenant := range []string{"tenant-0", "tenant-1"} {
		r := agent.Revision{Name: "mine.yaml", Number: 1, Source: fmt.Appendf(nil, "# of %s", tenant), Digest: tenant}
		if err := s.PutRevision(t.Context(), tenant, r, 0); err != nil {
			t.Fatal(i, err)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		for _, row := range rows {
			wg.Go(func() {
				got, err := s.Session(t.Context(), row.Session)
				if err != nil || !reflect.DeepEqual(got, row) {
					t.Errorf("session %s: %+v, error %v, want %+v", row.Session, got, err, row)
				}
			})
			wg.Go(func() {
				other := holdfast.SessionRef{Tenant: "somebody-else", Session: row.Session.Session}
				if _, err := s.Session(t.Context(), other); !errors.Is(err, events.ErrNoSession) {
					t.Errorf("session %s: error %v, want ErrNoSession", other, err)
				}
			})
			wg.Go(func() {
				everyone := holdfast.SessionRef{Tenant: "*", Session: row.Session.Session}
				if _, err := s.Session(t.Context(), everyone); !errors.Is(err, events.ErrNoSession) {
					t.Errorf("session %s: error %v, want ErrNoSession", everyone, err)
				}
			})
		}
		for _, tenant := range []string{"tenant-0", "tenant-1"} {
			wg.Go(func() {
				r, err := s.Revision(t.Context(), tenant, "mine.yaml", 0)
				if err != nil || string(r.Source) != "# of "+tenant {
					t.Errorf("revision of %s: %q, error %v", tenant, r.Source, err)
				}
			})
		}
		wg.Go(func() {
			refused := holdfast.SessionRef{Tenant: rows[0].Session.Tenant, Session: "a\x00b"}
			if _, err := s.Session(t.Context(), refused); err == nil || errors.Is(err, events.ErrNoSession) {
				t.Errorf("a text that the database does not take: error %v", err)
			}
		})
		wg.Go(func() {
			if _, err := s.Revision(t.Context(), "tenant-0", "missing.yaml", 0); holdfast.CodeOf(err) != holdfast.CodeNotFound {
				t.Errorf("a missing revision: error %v", err)
			}
		})
	}
	wg.Wait()
}
