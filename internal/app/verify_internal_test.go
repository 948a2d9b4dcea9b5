package app

import (
	"bytes"
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/sqlitestore"
)

// between does something after a session's row was read for the first time.
type between struct {
	Store
	then func()
}

func (b *between) Session(ctx context.Context, ref holdfast.SessionRef) (events.SessionInfo, error) {
	row, err := b.Store.Session(ctx, ref)
	b.then()
	return row, err
}

// TestVerifyBesideDeletion: a session that is deleted between the look at its row and
// that at its log is deleted, not damaged.
func TestVerifyBesideDeletion(t *testing.T) {
	store, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), sqlitestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ref := holdfast.SessionRef{Tenant: "acme", Session: "s"}
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	seq := uint64(0)
	record := func(evs ...holdfast.Event) {
		t.Helper()
		var list []events.Envelope
		for _, ev := range evs {
			p, err := holdfast.MarshalPayload(ev)
			if err != nil {
				t.Fatal(err)
			}
			seq++
			list = append(list, events.Envelope{Seq: seq, Time: at, Type: ev.EventType(), V: 1, Payload: p})
		}
		from, err := store.Cursor(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Record(t.Context(), events.Batch{Stream: "s", From: from, To: from + 1, Sessions: []events.SessionEvents{{Session: ref, Events: list}}}); err != nil {
			t.Fatal(err)
		}
	}
	record(&holdfast.SessionCreatedEvent{}, &holdfast.SessionTitleEvent{Title: "a title"})
	var out bytes.Buffer
	v := &verifier{
		store: &between{store, sync.OnceFunc(func() { record(&holdfast.SessionDeletedEvent{}) })},
		out:   &out, reader: &events.Reader{Bus: noBus{}, Store: store},
	}
	if err := v.session(t.Context(), ref); err != nil || v.report.Violations != 0 || v.report.Sessions != 1 {
		t.Errorf("%+v, %v; it says %s", v.report, err, out.String())
	}
}
