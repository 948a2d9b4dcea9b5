package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

type lookup func(holdfast.SessionRef) error

func (l lookup) Session(_ context.Context, s holdfast.SessionRef) (events.SessionInfo, error) {
	return events.SessionInfo{}, l(s)
}

// TestSweep: folders of sessions that the archive does not have are removed, once they
// are old; others, and all while the archive cannot be asked, stay.
func TestSweep(t *testing.T) {
	b, err := openSandboxes("/bin/sh", filepath.Join(t.TempDir(), "w"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, id := range []string{"gone", "kept", "young"} {
		box, err := b.of(holdfast.SessionRef{Tenant: "acme", Session: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(box.Dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if id != "young" {
			if err := os.Chtimes(box.Dir, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func(want ...string) {
		t.Helper()
		got, err := os.ReadDir(filepath.Join(b.root, "acme"))
		if err != nil || len(got) != len(want) {
			t.Fatalf("left are %v, %v; want %v", got, err, want)
		}
		for i, e := range got {
			if e.Name() != want[i] {
				t.Errorf("left are %v; want %v", got, want)
			}
		}
	}
	away := errors.New("the archive is away")
	if err := b.sweep(t.Context(), lookup(func(holdfast.SessionRef) error { return away }), time.Now().Add(-sweepAge)); !errors.Is(err, away) {
		t.Errorf("a sweep without the archive: %v", err)
	}
	left("gone", "kept", "young")
	known := lookup(func(s holdfast.SessionRef) error {
		if s.Session == "kept" {
			return nil
		}
		return events.ErrNoSession
	})
	if err := b.sweep(t.Context(), known, time.Now().Add(-sweepAge)); err != nil {
		t.Error(err)
	}
	left("kept", "young")

	if _, err := openSandboxes("/bin/sh", b.root, b.log); err != nil {
		t.Errorf("the same folder again: %v", err)
	}
	foreign := t.TempDir()
	if err := os.MkdirAll(filepath.Join(foreign, "ann", "letters"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := openSandboxes("/bin/sh", foreign, b.log); err == nil {
		t.Error("a folder with something else in it is taken for workspaces")
	}

	for _, program := range []string{"/nonexistent", "/etc/passwd", "/"} {
		if _, err := openSandboxes(program, t.TempDir(), b.log); err == nil {
			t.Errorf("%s is a sandbox", program)
		}
	}
}
