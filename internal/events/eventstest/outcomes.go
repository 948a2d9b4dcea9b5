package eventstest

import (
	"bytes"
	"fmt"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Outcomes are the two halves of a write whose outcome its caller does not know.
var Outcomes = map[string]bool{"failed and did not happen": false, "failed and did happen": true}

// SnapshotOutcomes checks that a snapshot whose outcome is unknown does no harm:
// what is read is whole, the old one or the new one, and storing it again is
// right. fail lets the next write be reported as failed, after it has happened or
// before; it has CodeUnavailable then.
func SnapshotOutcomes(t *testing.T, s events.Store, fail func(happened bool)) {
	for name, happened := range Outcomes {
		t.Run(name, func(t *testing.T) {
			ref := NewRef()
			snap := func(seq uint64) events.Snapshot {
				return events.Snapshot{Seq: seq, Format: "f", Data: fmt.Appendf(nil, "state at %d", seq)}
			}
			put := func(seq uint64) error { return s.PutSnapshot(t.Context(), ref, snap(seq)) }
			want := func(when string, seq uint64) {
				t.Helper()
				got, err := s.Snapshot(t.Context(), ref, 0)
				if w := snap(seq); err != nil || got.Seq != w.Seq || got.Format != w.Format || !bytes.Equal(got.Data, w.Data) {
					t.Fatalf("%s: %d %q, %v; want that at %d", when, got.Seq, got.Data, err, seq)
				}
			}
			if err := put(1); err != nil {
				t.Fatal(err)
			}
			fail(happened)
			if err := put(2); holdfast.CodeOf(err) != holdfast.CodeUnavailable {
				t.Fatalf("a write that fails: %v", err)
			}
			if happened {
				want("stored without an answer", 2)
			} else {
				want("not stored", 1)
			}
			for _, seq := range []uint64{2, 3} {
				if err := put(seq); err != nil {
					t.Fatal(err)
				}
				want("stored", seq)
			}
			// One that came twice counts once: the two newest are there, and no third.
			for limit, seq := range map[uint64]uint64{2: 2, 1: 0} {
				if got, err := s.Snapshot(t.Context(), ref, limit); err != nil || got.Seq != seq {
					t.Errorf("the newest up to %d is that at %d, %v; want %d", limit, got.Seq, err, seq)
				}
			}
		})
	}
}
