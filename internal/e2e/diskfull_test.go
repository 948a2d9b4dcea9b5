package e2e_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/pgstore/pgstoretest"
)

// TestDatabaseFull: the disk of the database is full in the middle of a run. The
// run goes on, what only the database can store is refused with a clear error,
// and when there is room again the archive gets everything, once.
func TestDatabaseFull(t *testing.T) {
	t.Parallel()
	const words = 60
	source := talker(words, 5*time.Millisecond)
	c := newCluster(t, setup{workers: 1, files: map[string]string{"slow.yaml": source}})
	disk := pgstoretest.NewDisk(t, c.dsn)
	cl := c.client()
	rec := newSession(t, cl, client.NewSession{Title: "full"})
	whole := func(run string) received {
		t.Helper()
		end, reason := rec.awaitRun(run)
		if got := text(rec.entries(), run); reason != "stop" || got != numbered(words) {
			t.Errorf("the run ended with %q, its text is %q:\n%s", reason, got, outline(rec.entries()))
		}
		return end
	}
	run := say(t, cl, rec.session, "slow", "while it fills up")
	rec.awaitChoices(run, 5)
	disk.Full()
	whole(run)
	end := whole(say(t, cl, rec.session, "slow", "while it is full"))
	put := func() answer {
		return request(t, http.MethodPut, c.apis[0].url()+"/v1/agents/mine", source, "Content-Type", "application/yaml")
	}
	if a := put(); a.status != http.StatusServiceUnavailable || a.code != holdfast.CodeUnavailable {
		t.Errorf("a write without room: %d %s", a.status, a.body)
	}
	store, err := pgstore.Open(t.Context(), c.dsn, pgstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ref := holdfast.SessionRef{Tenant: "default", Session: rec.session}
	recorded := func() uint64 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		info, err := store.Session(ctx, ref)
		if err != nil {
			t.Logf("read the session: %v", err)
		}
		return info.Head.Seq
	}
	if recorded() >= end.Seq {
		t.Error("the disk was not full")
	}
	disk.Room()
	await(t, "the recorder has caught up", func() bool { return recorded() >= end.Seq })
	if a := put(); a.status != http.StatusCreated {
		t.Errorf("the same write with room: %d %s", a.status, a.body)
	}
	again := follow(t, cl, rec.session)
	again.await("the last event", 0, func(e received) bool { return e.Seq == end.Seq })
	for i, e := range again.entries() {
		if a, b := marshal(t, e.Event), marshal(t, rec.entries()[i].Event); e.Seq != uint64(i+1) || a != b {
			t.Errorf("event %d is %s, was %s", e.Seq, a, b)
		}
	}
}
