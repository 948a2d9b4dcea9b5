package sqlitestore_test

import (
	"path/filepath"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// TestDiskFull: a batch for which there is no room fails as a whole with an error
// that may pass, everything before it stays readable, also for who opens the file
// then, and the same batch is taken when there is room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.db")
	s, err := sqlitestore.Open(t.Context(), path, sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	script := eventstest.NewScript(t, 400)
	if err := s.SetRoom(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for err == nil && n < uint64(script.Len()) {
		if err = s.Record(t.Context(), script.Batch(n)); err == nil {
			n++
		}
	}
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("after %d batches: %v, want %s", n, err, holdfast.CodeUnavailable)
	}
	for range 3 { // it does not get in bit by bit
		if err := s.Record(t.Context(), script.Batch(n)); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
			t.Fatalf("again: %v", err)
		}
	}
	script.Check(t, s, n)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	script.Check(t, s, n)
	if err := s.SetRoom(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 * script.Len() { // full again: what is in the file has a little room left
		if err = s.Record(t.Context(), script.Batch(n)); err != nil {
			break
		}
		n++
	}
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("after %d batches: %v, want %s", n, err, holdfast.CodeUnavailable)
	}
	if err := s.SetRoom(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	for ; n < uint64(script.Len()); n++ {
		if err := s.Record(t.Context(), script.Batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	script.Check(t, s, n)
}
