package e2e_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/pgstore"
)

// TestServersDownAtStart starts the processes before NATS and Postgres are
// there: they wait, say so, and answer health checks meanwhile.
func TestServersDownAtStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{
		ownPostgres: true, workers: 1, leaveStopped: true,
		files: map[string]string{"good.yaml": talker(3, time.Millisecond)},
	})
	c.nats.Stop()
	c.pg.Stop()
	for _, n := range c.nodes() {
		n.launch()
	}
	unready := func(when string) {
		t.Helper()
		for _, n := range c.nodes() {
			await(t, n.name+" is alive", func() bool { return n.status("/healthz") == http.StatusOK })
			if got := n.status("/readyz"); got != http.StatusServiceUnavailable {
				t.Errorf("%s: /readyz of %s answers %d", when, n.name, got)
			}
		}
		if a := request(t, "POST", c.apis[0].url()+"/api/sessions", `{}`); a.status != 503 || a.code != holdfast.CodeUnavailable {
			t.Errorf("%s: the API answers %d %s", when, a.status, a.body)
		}
	}
	for _, n := range c.nodes() {
		n.process().WaitLog("no NATS server can be reached yet")
	}
	unready("without NATS and Postgres")
	c.nats.Start()
	for _, n := range c.nodes() {
		n.process().WaitLog("the database is not there yet")
	}
	unready("without Postgres")
	c.pg.Start()
	for _, n := range c.nodes() {
		n.awaitReady()
		awaitHTTP(t, n.url()+"/readyz")
	}
	cl := c.client()
	rec := newSession(t, cl, client.NewSession{})
	run := say(t, cl, rec.session, "good", "count")
	if _, reason := rec.awaitRun(run); reason != "stop" {
		t.Errorf("the run ended with %q", reason)
	}
}

// TestServersDownInMidRun takes NATS, and then Postgres, away from a run that
// streams.
func TestServersDownInMidRun(t *testing.T) {
	t.Parallel()
	const words = 200
	c := newCluster(t, setup{ownPostgres: true, files: map[string]string{"slow.yaml": talker(words, 15*time.Millisecond)}})
	cl := c.client()
	rec := newSession(t, cl, client.NewSession{Title: "outages"})

	whole := func(run string) {
		t.Helper()
		_, reason := rec.awaitRun(run)
		if got := text(rec.entries(), run); reason != "stop" || got != numbered(words) {
			t.Errorf("the run ended with %q, its text is %q:\n%s", reason, got, outline(rec.entries()))
		}
	}

	for _, how := range []struct {
		name string
		down func()
	}{{"NATS killed", c.nats.Kill}, {"NATS stopped", c.nats.Stop}} {
		run := say(t, cl, rec.session, "slow", how.name)
		at := rec.awaitChoices(run, 20)
		how.down()
		down := time.Now()
		await(t, "the API says that it is not ready", func() bool { return c.apis[0].status("/readyz") == http.StatusServiceUnavailable })
		c.nats.Start()
		up := time.Now()
		next := rec.await("more text", at.Seq+60, func(e received) bool { return e.Run == run && e.at.After(up) })
		t.Logf("%s for %s: next event %s after it was back", how.name, up.Sub(down).Round(time.Millisecond), next.at.Sub(up).Round(time.Millisecond))
		whole(run)
	}

	// Postgres away while a stream goes on from its first to its last word.
	run := say(t, cl, rec.session, "slow", "Postgres")
	rec.awaitChoices(run, 10)
	c.pg.Stop()
	stopped := time.Now()
	whole(run)
	t.Logf("without Postgres for %s of the run", time.Since(stopped).Round(time.Millisecond))
	// Another run: commands need no archive where the session is known.
	if a := request(t, "GET", c.apis[0].url()+"/readyz", ""); a.status != 503 {
		t.Errorf("/readyz answers %d without Postgres: %s", a.status, a.body)
	}
	c.pg.Start()
	run = say(t, cl, rec.session, "slow", "and now")
	end, _ := rec.awaitRun(run)
	whole(run)

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
	await(t, "the recorder has caught up", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		info, err := store.Session(ctx, ref)
		return err == nil && info.Head.Seq >= end.Seq
	})

	// A client that comes new gets from the archive what the other one saw live.
	again := follow(t, cl, rec.session)
	again.await("the last event", 0, func(e received) bool { return e.Seq == end.Seq })
	for i, e := range again.entries() {
		was := rec.entries()[i]
		if a, b := marshal(t, e.Event), marshal(t, was.Event); a != b {
			t.Errorf("event %d is %s, was %s", e.Seq, a, b)
		}
	}
}

func marshal(t testing.TB, ev holdfast.Event) string {
	t.Helper()
	b, err := holdfast.MarshalEvent(ev)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
