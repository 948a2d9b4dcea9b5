package agent

import (
	"context"
	"errors"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// away is a store that answers until it is told not to.
type away struct {
	Store
	gone bool
}

func (a *away) Revision(context.Context, string, string, int64) (Revision, error) {
	if a.gone {
		return Revision{}, holdfast.Errorf(holdfast.CodeUnavailable, "the database is not available")
	}
	src := []byte("version: \"2\"\nagents:\n  root:\n    model: scripted/x\n    description: d\n    instruction: i\n")
	return Revision{Name: "mine.yaml", Number: 3, Source: src, Digest: Digest(src)}, nil
}

func TestFindForRunStoreAway(t *testing.T) {
	s := &away{}
	l := NewLibrary(s, Builtin(nil, Options{}), Options{})
	first, err := l.FindForRun(t.Context(), "one", "mine")
	if err != nil || first.Version != 3 {
		t.Fatalf("%+v, %v", first.Entry, err)
	}
	s.gone = true
	again, err := l.FindForRun(t.Context(), "one", "mine")
	if err != nil || again.Version != 3 || string(again.Source) != string(first.Source) {
		t.Fatalf("with the store away: %+v, %v", again.Entry, err)
	}
	// Another tenant's reference was never looked up: nobody may guess what it is.
	if _, err := l.FindForRun(t.Context(), "two", "mine"); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("unknown reference: %v, want %s", err, holdfast.CodeUnavailable)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.gone = false
	if _, err := l.FindForRun(ctx, "one", "mine"); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
