package webhooktest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// Outcomes checks each write whose outcome its caller does not know: the rows of
// the outbox, which are stored with the events that they are about, the taking of
// a delivery and its settlement. Nothing that happened stays unsaid, and what is
// said twice has one id. fail lets the next write be reported as failed with
// CodeUnavailable, after it has happened or before. The store is empty.
func Outcomes(t *testing.T, s Archive, fail func(happened bool)) {
	for name, happened := range map[string]bool{"failed and did not happen": false, "failed and did happen": true} {
		t.Run(name, func(t *testing.T) { outcomes(t, s, happened, fail) })
	}
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if holdfast.CodeOf(err) != holdfast.CodeUnavailable {
		t.Fatalf("%s: %v, want %s", what, err, holdfast.CodeUnavailable)
	}
}

func outcomes(t *testing.T, s Archive, happened bool, fail func(happened bool)) {
	ctx := t.Context()
	tenant := map[bool]string{false: "acme", true: "bolt"}[happened]
	// The settlement is the write that follows the request.
	var settle atomic.Bool
	heard := make(chan string, 10)
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if settle.Swap(false) {
			fail(happened)
		}
		heard <- req.Header.Get("webhook-id")
		w.WriteHeader(http.StatusNoContent)
	}))
	defer r.Close()

	h := hook(tenant, "h", r.URL, events.NoticeKinds...)
	fail(happened)
	wantUnavailable(t, "subscribe", s.PutWebhook(ctx, h, 10))
	if err := s.PutWebhook(ctx, h, 10); (err != nil) != happened || err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("subscribe again: %v", err)
	}

	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: tenant, Session: "s"}, now: begin}
	l.record(&holdfast.SessionCreatedEvent{})
	p, err := holdfast.MarshalPayload(&holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
	must(t, err)
	at, err := s.Cursor(ctx, "s")
	must(t, err)
	b := events.Batch{Stream: "s", From: at, To: at + 1, Sessions: []events.SessionEvents{{Session: l.ref, Events: []events.Envelope{
		{Seq: l.seq + 1, Time: begin, Type: holdfast.TypeRunFinished, V: 1, Payload: p},
	}}}}
	fail(happened)
	wantUnavailable(t, "record", s.Record(ctx, b))
	if now, err := s.Cursor(ctx, "s"); err != nil || (now == b.To) != happened {
		t.Fatalf("the cursor is at %d, %v", now, err)
	}
	if err := s.Record(ctx, b); errors.Is(err, events.ErrCursorMoved) != happened || err != nil && !happened {
		t.Fatalf("record again: %v", err)
	}

	now := begin.Add(time.Second)
	d, _ := deliverer(t, s, func() time.Time { return now })
	deliver := func(what string, want int) {
		t.Helper()
		if n, err := d.Deliver(ctx); err != nil || n != want {
			t.Fatalf("%s: %d deliveries, %v; want %d", what, n, err, want)
		}
	}
	fail(happened)
	_, err = s.TakeDeliveries(ctx, now, time.Minute, webhook.Share{Limit: 10, OfTenant: 10, OfHook: 10})
	wantUnavailable(t, "take", err)
	if happened { // nobody knows who has it
		deliver("before the lease has ended", 0)
		now = now.Add(time.Minute)
	}
	settle.Store(true)
	_, err = d.Deliver(ctx)
	wantUnavailable(t, "settle", err)
	deliver("while the lease lasts", 0)
	now = now.Add(time.Minute)
	again := 1
	if happened {
		again = 0
	}
	deliver("after the lease", again)
	now = now.Add(time.Hour)
	deliver("when all is said", 0)
	var ids []string
	for range again + 1 {
		ids = append(ids, <-heard)
	}
	list, err := s.Deliveries(ctx, tenant, "h", webhook.Query{Limit: 10})
	must(t, err)
	if len(heard) > 0 || len(slices.Compact(ids)) != 1 || len(list) != 1 || list[0].ID() != ids[0] || list[0].State != webhook.Delivered {
		t.Errorf("heard %v and %d more; the list: %+v", ids, len(heard), list)
	}
}
