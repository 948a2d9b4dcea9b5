// Package agenttest checks that adapters keep the promises of package agent.
package agenttest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// Store runs the suite of [agent.Store]. open returns an empty store.
func Store(t *testing.T, open func(t *testing.T) agent.Store) {
	s := open(t)
	ctx := t.Context()
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)
	revision := func(name, source string) agent.Revision {
		return agent.Revision{Name: name, Source: []byte(source), Digest: agent.Digest([]byte(source)), CreatedAt: at, Origin: "put"}
	}
	put := func(t *testing.T, tenant string, r agent.Revision, after int64) {
		t.Helper()
		if err := s.PutRevision(ctx, tenant, r, after); err != nil {
			t.Fatal(err)
		}
	}
	wantCode := func(t *testing.T, err error, code holdfast.Code) {
		t.Helper()
		if err == nil || holdfast.CodeOf(err) != code {
			t.Fatalf("error %v, want code %s", err, code)
		}
	}

	t.Run("revisions", func(t *testing.T) {
		const odd = "a: \"\x00\xff\"\r\n# tail"
		put(t, "one", revision("b.yaml", odd), 0)
		put(t, "one", revision("b.yaml", "second"), 1)
		put(t, "one", revision("a.yaml", "another"), 0)
		got, err := s.Revision(ctx, "one", "b.yaml", 1)
		if err != nil || !bytes.Equal(got.Source, []byte(odd)) || got.Number != 1 || got.Digest != agent.Digest([]byte(odd)) ||
			!got.CreatedAt.Equal(at) || got.Origin != "put" || got.Deleted || got.Name != "b.yaml" {
			t.Fatalf("revision 1: %+v, %v", got, err)
		}
		if got, err = s.Revision(ctx, "one", "b.yaml", 0); err != nil || got.Number != 2 || string(got.Source) != "second" {
			t.Fatalf("newest: %+v, %v", got, err)
		}
		_, err = s.Revision(ctx, "one", "b.yaml", 3)
		wantCode(t, err, holdfast.CodeNotFound)
		_, err = s.Revision(ctx, "one", "nobody.yaml", 0)
		wantCode(t, err, holdfast.CodeNotFound)
		list, err := s.Newest(ctx, "one")
		if err != nil || len(list) != 2 || list[0].Name != "a.yaml" || list[1].Number != 2 || list[1].Source != nil {
			t.Fatalf("list %+v, %v", list, err)
		}
	})
	t.Run("wrong number", func(t *testing.T) {
		for _, after := range []int64{0, 1, 3} {
			wantCode(t, s.PutRevision(ctx, "one", revision("b.yaml", "x"), after), holdfast.CodeConflict)
		}
		wantCode(t, s.PutRevision(ctx, "one", revision("new.yaml", "x"), 1), holdfast.CodeConflict)
	})
	t.Run("deletion", func(t *testing.T) {
		put(t, "one", agent.Revision{Name: "a.yaml", CreatedAt: at, Origin: "delete", Deleted: true}, 1)
		if got, err := s.Revision(ctx, "one", "a.yaml", 0); err != nil || !got.Deleted || got.Number != 2 {
			t.Fatalf("newest: %+v, %v", got, err)
		}
		if list, err := s.Newest(ctx, "one"); err != nil || len(list) != 1 {
			t.Fatalf("list %+v, %v", list, err)
		}
		put(t, "one", revision("a.yaml", "back"), 2)
		if list, err := s.Newest(ctx, "one"); err != nil || len(list) != 2 || list[0].Number != 3 {
			t.Fatalf("list %+v, %v", list, err)
		}
	})
	t.Run("versions", func(t *testing.T) {
		numbers := func(before int64, limit int) string {
			list, err := s.Revisions(ctx, "one", "a.yaml", before, limit)
			if err != nil {
				t.Fatal(err)
			}
			var out []int64
			for _, r := range list {
				if r.Source != nil {
					t.Errorf("version %d came with its source", r.Number)
				}
				out = append(out, r.Number)
			}
			return fmt.Sprint(out)
		}
		if got := numbers(0, 2) + numbers(2, 2) + numbers(1, 2); got != "[3 2][1][]" {
			t.Errorf("pages %s", got)
		}
	})
	t.Run("tenants", func(t *testing.T) {
		_, err := s.Revision(ctx, "two", "b.yaml", 0)
		wantCode(t, err, holdfast.CodeNotFound)
		put(t, "two", revision("b.yaml", "mine"), 0)
		if got, err := s.Revision(ctx, "one", "b.yaml", 0); err != nil || string(got.Source) != "second" {
			t.Fatalf("%+v, %v", got, err)
		}
		if list, err := s.Revisions(ctx, "two", "a.yaml", 0, 10); err != nil || len(list) != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		wantCode(t, s.PutRevision(ctx, "", revision("b.yaml", "x"), 0), holdfast.CodeInvalid)
	})
	t.Run("race", func(t *testing.T) {
		var wg sync.WaitGroup
		won := make([]bool, 8)
		for i := range won {
			wg.Go(func() {
				err := s.PutRevision(ctx, "one", revision("race.yaml", fmt.Sprint(i)), 0)
				won[i] = err == nil
				if err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if !slices.Contains(won, true) || slices.Index(won, true) != lastTrue(won) {
			t.Errorf("winners %v, want one", won)
		}
	})
}

func lastTrue(list []bool) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] {
			return i
		}
	}
	return -1
}
