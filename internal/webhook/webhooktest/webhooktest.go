// Package webhooktest checks what a webhook.Store promises, and that what is in
// it reaches a receiver: a crash between an event and its delivery loses nothing.
package webhooktest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// Archive is a store under test.
type Archive interface {
	events.Store
	webhook.Store
}

var begin = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// Store runs the suite. The function returns an empty store.
func Store(t *testing.T, open func(t *testing.T) Archive) {
	t.Run("subscriptions", func(t *testing.T) { subscriptions(t, open(t)) })
	t.Run("deliveries", func(t *testing.T) { deliveries(t, open(t)) })
	t.Run("turns", func(t *testing.T) { turns(t, open(t)) })
	t.Run("slow", func(t *testing.T) { slow(t, open(t)) })
	t.Run("limits", func(t *testing.T) { limits(t, open(t)) })
	t.Run("order", func(t *testing.T) { order(t, open(t)) })
	t.Run("shelf life", func(t *testing.T) { shelfLife(t, open(t)) })
	t.Run("again", func(t *testing.T) { again(t, open(t)) })
	t.Run("changes", func(t *testing.T) { changes(t, open(t)) })
	t.Run("replicas", func(t *testing.T) { replicas(t, open(t)) })
	t.Run("stuck", func(t *testing.T) { stuck(t, open(t)) })
	t.Run("failures", func(t *testing.T) { failures(t, open(t)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hook(tenant, id, url string, kinds ...string) webhook.Hook {
	return webhook.Hook{Tenant: tenant, ID: id, URL: url, Kinds: kinds, Nonce: []byte{0, 1, 0xff}, CreatedAt: begin}
}

func subscriptions(t *testing.T, s Archive) {
	ctx := t.Context()
	a, b := hook("acme", "a", "https://a.example", events.NoticeKinds...), hook("bolt", "a", "https://b.example", events.NoticeRunFinished)
	must(t, s.PutWebhook(ctx, a, 10))
	must(t, s.PutWebhook(ctx, b, 10))
	if err := s.PutWebhook(ctx, a, 10); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("the same id again: %v", err)
	}
	for tenant, want := range map[string][]webhook.Hook{"acme": {a}, "bolt": {b}, "*": nil, "": nil} {
		got, err := s.Webhooks(ctx, tenant)
		must(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("webhooks of %q:\n%s", tenant, d)
		}
	}
	for _, err := range []error{s.DeleteWebhook(ctx, "acme", "none"), s.EnableWebhook(ctx, "none", "a")} {
		if holdfast.CodeOf(err) != holdfast.CodeNotFound {
			t.Errorf("a webhook that is not there: %v", err)
		}
	}
	must(t, s.DeleteWebhook(ctx, "acme", "a"))
	if got, err := s.Webhooks(ctx, "bolt"); err != nil || len(got) != 1 {
		t.Errorf("the webhook of another tenant: %v, %v", got, err)
	}
}

// log is the log of one session as the recorder stores it.
type log struct {
	t   *testing.T
	s   Archive
	ref holdfast.SessionRef
	seq uint64
	now time.Time
}

func (l *log) record(evs ...holdfast.Event) {
	l.t.Helper()
	var list []events.Envelope
	for _, ev := range evs {
		p, err := holdfast.MarshalPayload(ev)
		must(l.t, err)
		l.seq++
		list = append(list, events.Envelope{Seq: l.seq, Time: l.now, Type: ev.EventType(), V: 1, Payload: p})
	}
	at, err := l.s.Cursor(l.t.Context(), "s")
	must(l.t, err)
	must(l.t, l.s.Record(l.t.Context(), events.Batch{Stream: "s", From: at, To: at + 1, Sessions: []events.SessionEvents{{Session: l.ref, Events: list}}}))
}

// receiver is an address that hears of events.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex // guards what follows
	status int
	wait   string // what it says as Retry-After
	got    []received
}

type received struct {
	ID, Timestamp, Signature, Body string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), req.Header.Get("webhook-signature"), string(body)})
		w.Header().Set("Location", "/elsewhere") // is not followed
		w.Header().Set("Retry-After", r.wait)
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func deliverer(t *testing.T, s Archive, now func() time.Time) (*webhook.Deliverer, *webhook.Signer) {
	t.Helper()
	signer, err := webhook.NewSigner(make([]byte, 32))
	must(t, err)
	return webhook.New(webhook.Config{Store: s, Signer: signer, Transport: http.DefaultTransport, Now: now}), signer
}

func deliveries(t *testing.T, s Archive) {
	ctx := t.Context()
	r := newReceiver(t)
	all, one := hook("acme", "all", r.URL, events.NoticeKinds...), hook("acme", "one", r.URL, events.NoticeNeedsHuman)
	other := hook("bolt", "all", r.URL, events.NoticeKinds...)
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin.Add(-time.Second)}
	// What was recorded before is not said.
	l.record(&holdfast.SessionCreatedEvent{}, &holdfast.RunFinishedEvent{Run: "r0", Reason: "stop"})
	for _, h := range []webhook.Hook{all, one, other} {
		must(t, s.PutWebhook(ctx, h, 10))
	}
	l.now = begin.Add(time.Second)
	l.record(&holdfast.RunQueuedEvent{Run: "r1"}, &holdfast.RunStartedEvent{Run: "r1", Agent: "pirate.yaml"},
		&holdfast.SessionParkedEvent{Waiting: events.WaitingApproval})
	l.record(&holdfast.ToolCallDecidedEvent{ToolCallID: "c"}, &holdfast.RunFinishedEvent{Run: "r1", Reason: "error"},
		&holdfast.SessionParkedEvent{Waiting: events.WaitingIdle})
	d, signer := deliverer(t, s, func() time.Time { return l.now })
	if n, err := d.Deliver(ctx); err != nil || n != 3 {
		t.Fatalf("%d deliveries, %v; want 3", n, err)
	}
	got := r.take()
	ids := map[string]bool{}
	var bodies []string
	for _, g := range got {
		ids[g.ID] = true
		bodies = append(bodies, g.Body)
		signed := false
		for _, h := range []webhook.Hook{all, one} {
			signed = signed || signer.Sign(&h, g.ID, l.now, []byte(g.Body)) == g.Signature
		}
		if !signed || signer.Sign(&other, g.ID, l.now, []byte(g.Body)) == g.Signature {
			t.Errorf("the signature of %s is not right", g.ID)
		}
	}
	waits := `{"type":"session.needs_human","timestamp":"2026-11-22T10:00:01Z","data":{"session":"s","seq":5,"run":"r1","agent":"pirate.yaml","waiting":"approval"}}`
	ends := `{"type":"run.finished","timestamp":"2026-11-22T10:00:01Z","data":{"session":"s","seq":7,"run":"r1","agent":"pirate.yaml","reason":"error"}}`
	slices.Sort(bodies)
	if d := cmp.Diff([]string{ends, waits, waits}, bodies); d != "" || len(ids) != 3 {
		t.Errorf("%d ids; bodies (-want +got):\n%s", len(ids), d)
	}
	if !json.Valid([]byte(ends)) {
		t.Error("the test is wrong")
	}
	list, err := s.Deliveries(ctx, "acme", "all", webhook.Query{Limit: 10})
	must(t, err)
	if len(list) != 2 || list[0].State != webhook.Delivered || list[0].Status != 204 || list[0].Attempts != 1 || !ids[list[0].ID()] {
		t.Errorf("the list: %+v", list)
	}
	if n, err := d.Deliver(ctx); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
	must(t, s.ForgetDeliveries(ctx, l.now.Add(webhook.Keep+time.Second)))
	if list, err := s.Deliveries(ctx, "acme", "all", webhook.Query{Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("after a week: %d, %v", len(list), err)
	}
}

// turns: a tenant that has much to be told does not keep others waiting, and what
// one sender has settled another one that was slow does not change.
func turns(t *testing.T, s Archive) {
	ctx := t.Context()
	for i, tenant := range []string{"acme", "bolt"} {
		must(t, s.PutWebhook(ctx, hook(tenant, "h", "https://a.example", events.NoticeKinds...), 10))
		l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: tenant, Session: tenant}, now: begin.Add(time.Duration(i) * time.Second)}
		evs := []holdfast.Event{&holdfast.SessionCreatedEvent{}}
		for range []int{20, 2}[i] {
			evs = append(evs, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
		}
		l.record(evs...)
	}
	now := begin.Add(time.Minute)
	count := func(want ...int) []webhook.Delivery {
		t.Helper()
		list, err := s.TakeDeliveries(ctx, now, time.Minute, webhook.Share{Limit: 6, OfTenant: 4, OfHook: 4})
		must(t, err)
		n := map[string]int{}
		for _, d := range list {
			n[d.Hook.Tenant]++
		}
		if n["acme"] != want[0] || n["bolt"] != want[1] {
			t.Errorf("taken: %v, want %v", n, want)
		}
		return list
	}
	first := count(4, 2)
	count(4, 0)
	for what, share := range map[string]webhook.Share{
		"of one webhook": {Limit: 6, OfTenant: 4, OfHook: 2}, "without the webhook": {Limit: 6, OfTenant: 4, OfHook: 4, WithoutHooks: []string{"acme/h"}},
		"without the tenant": {Limit: 6, OfTenant: 4, OfHook: 4, WithoutTenants: []string{"bolt", "acme"}},
	} {
		list, err := s.TakeDeliveries(ctx, now, time.Minute, share)
		must(t, err)
		if want := map[bool]int{true: 2}[share.OfHook == 2]; len(list) != want {
			t.Errorf("%s: %d, want %d", what, len(list), want)
		}
	}
	one := first[0]
	must(t, s.SettleDelivery(ctx, one, webhook.Outcome{State: webhook.Delivered, Status: 204, At: now}))
	must(t, s.SettleDelivery(ctx, one, webhook.Outcome{State: webhook.Pending, Status: 500, Problem: "late", At: now, Due: now.Add(time.Second), Disable: "late"}))
	list, err := s.Deliveries(ctx, one.Hook.Tenant, "h", webhook.Query{Limit: 100})
	must(t, err)
	i := slices.IndexFunc(list, func(d webhook.Delivery) bool { return d.ID() == one.ID() })
	hooks, err := s.Webhooks(ctx, one.Hook.Tenant)
	must(t, err)
	if list[i].State != webhook.Delivered || list[i].Status != 204 || hooks[0].Disabled != "" || !hooks[0].FailingSince.IsZero() {
		t.Errorf("settled twice: %+v, %+v", list[i], hooks[0])
	}
}

func failures(t *testing.T, s Archive) {
	ctx := t.Context()
	r := newReceiver(t)
	must(t, s.PutWebhook(ctx, hook("acme", "h", r.URL, events.NoticeKinds...), 10))
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin}
	l.record(&holdfast.SessionCreatedEvent{}, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
	d, _ := deliverer(t, s, func() time.Time { return l.now })
	expect := func(what string, attempts int, state string, disabled bool) webhook.Delivery {
		t.Helper()
		list, err := s.Deliveries(ctx, "acme", "h", webhook.Query{Limit: 1})
		must(t, err)
		hooks, err := s.Webhooks(ctx, "acme")
		must(t, err)
		if list[0].Attempts != attempts || list[0].State != state || (hooks[0].Disabled != "") != disabled {
			t.Fatalf("%s: %d attempts, %s, disabled %q", what, list[0].Attempts, list[0].State, hooks[0].Disabled)
		}
		return list[0]
	}
	// A sender that dies in the attempt: another one takes over after the lease.
	dead, cancel := context.WithCancel(ctx)
	taken, err := s.TakeDeliveries(dead, l.now, time.Minute, webhook.Share{Limit: 10, OfTenant: 10, OfHook: 10})
	cancel()
	if err != nil || len(taken) != 1 {
		t.Fatalf("taken: %v, %v", taken, err)
	}
	if n, err := d.Deliver(ctx); err != nil || n != 0 {
		t.Fatalf("while another has it: %d, %v", n, err)
	}
	l.now = l.now.Add(time.Minute)
	var first string
	for _, status := range []int{500, 302, 404} {
		r.set(status)
		if n, err := d.Deliver(ctx); err != nil || n != 1 {
			t.Fatalf("%d: %d deliveries, %v", status, n, err)
		}
		got := r.take()
		if len(got) != 1 || first != "" && got[0].ID != first {
			t.Fatalf("%d: %+v", status, got)
		}
		first = got[0].ID
		list, err := s.Deliveries(ctx, "acme", "h", webhook.Query{Limit: 1})
		must(t, err)
		if list[0].Status != status || list[0].Problem == "" || !list[0].Due.After(l.now) {
			t.Errorf("after %d: %+v", status, list[0])
		}
		l.now = list[0].Due
	}
	expect("three failures", 4, webhook.Pending, false)
	r.set(204)
	if _, err := d.Deliver(ctx); err != nil {
		t.Fatal(err)
	}
	expect("it works again", 5, webhook.Delivered, false)
	hooks, err := s.Webhooks(ctx, "acme")
	must(t, err)
	if !hooks[0].FailingSince.IsZero() {
		t.Error("a webhook that works is said to fail")
	}
	// Given up after the last attempt, disabled after days of nothing else.
	r.set(503)
	l.record(&holdfast.RunFinishedEvent{Run: "r2", Reason: "stop"})
	for n := 1; ; n++ {
		if _, err := d.Deliver(ctx); err != nil {
			t.Fatal(err)
		}
		pause, more := webhook.Retry(n)
		if !more {
			expect("the last attempt", n, webhook.Failed, false)
			break
		}
		expect("an attempt", n, webhook.Pending, false)
		l.now = l.now.Add(pause)
	}
	l.now = l.now.Add(webhook.DisableAfter)
	l.record(&holdfast.RunFinishedEvent{Run: "r3", Reason: "stop"})
	if _, err := d.Deliver(ctx); err != nil {
		t.Fatal(err)
	}
	expect("after days", 1, webhook.Pending, true)
	l.now = l.now.Add(time.Hour)
	l.record(&holdfast.RunFinishedEvent{Run: "not said", Reason: "stop"})
	if n, err := d.Deliver(ctx); err != nil || n != 0 {
		t.Fatalf("disabled: %d, %v", n, err)
	}
	must(t, s.EnableWebhook(ctx, "acme", "h"))
	r.set(410)
	if n, err := d.Deliver(ctx); err != nil || n != 1 {
		t.Fatalf("enabled: %d, %v", n, err)
	}
	expect("410", 2, webhook.Failed, true)
}
