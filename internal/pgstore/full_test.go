package pgstore_test

import (
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
	"github.com/holdfast-run/holdfast/internal/pgstore/pgstoretest"
	"github.com/holdfast-run/holdfast/internal/schedule"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// TestDiskFull: while there is no room every write fails as a whole, with an error
// that says so and may pass; what is there can be read, and the same writes are
// taken when there is room again.
func TestDiskFull(t *testing.T) {
	dsn := database(t)
	s := open(t, dsn)
	disk := pgstoretest.NewDisk(t, dsn)
	script := eventstest.NewScript(t, 30)
	ref := script.Ref(0)
	now := time.Now().UTC().Truncate(time.Microsecond)
	ctx := t.Context()
	n := uint64(0)
	record := func() error { return s.Record(ctx, script.Batch(n)) }
	for ; n < 10; n++ {
		if err := record(); err != nil {
			t.Fatal(err)
		}
	}
	writes := map[string]func() error{
		"record":       record,
		"put snapshot": func() error { return s.PutSnapshot(ctx, ref, events.Snapshot{Seq: 1, Format: "f", Data: []byte("x")}) },
		"put webhook": func() error {
			return s.PutWebhook(ctx, webhook.Hook{Tenant: "t", ID: "h", URL: "https://a.example", Kinds: events.NoticeKinds, Nonce: []byte{1}, CreatedAt: now}, 10)
		},
		"put schedule": func() error {
			return s.PutSchedule(ctx, schedule.Schedule{Tenant: "t", ID: "s", Revision: 1, CreatedAt: now, UpdatedAt: now, Spec: schedule.Spec{Every: "1h", StartsAt: now}}, 10)
		},
		"put revision": func() error {
			return s.PutRevision(ctx, "t", agent.Revision{Name: "a.yaml", Source: []byte("x"), Digest: "d", CreatedAt: now, Origin: "put"}, 0)
		},
		"put entry": func() error {
			_, err := s.PutEntry(ctx, vault.Entry{Tenant: "t", Kind: "k", ID: "e", Sealed: []byte("x")}, 0)
			return err
		},
		"lease entry": func() error { return s.LeaseEntry(ctx, "t", "k", "l", "holder", time.Minute) },
	}
	for range 2 { // full, room again, and full again
		disk.Full()
		for name, write := range writes {
			err := write()
			wantCode(t, err, holdfast.CodeUnavailable)
			if text := holdfast.PublicMessage(err); !strings.Contains(text, "no room") || strings.Contains(text, "16385") {
				t.Errorf("%s: a tenant reads %q", name, text)
			}
		}
		script.Check(t, s, n)
		disk.Room()
		for stop := n + 10; n < stop; n++ {
			if err := record(); err != nil {
				t.Fatal(err)
			}
		}
		script.Check(t, s, n)
	}
	delete(writes, "record")
	for name, write := range writes {
		if err := write(); err != nil {
			t.Errorf("%s, when there is room: %v", name, err)
		}
	}
	script.Check(t, open(t, dsn), n)
}
