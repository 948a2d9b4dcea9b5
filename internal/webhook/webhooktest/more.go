package webhooktest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// order: what a webhook hears of is decided by what was recorded first, whatever the
// clocks of those who made it and of those who made the event say.
func order(t *testing.T, s Archive) {
	ctx := t.Context()
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin}
	l.record(&holdfast.SessionCreatedEvent{}, &holdfast.RunFinishedEvent{Run: "before", Reason: "stop"})
	must(t, s.PutWebhook(ctx, hook("acme", "h", "https://a.example", events.NoticeKinds...), 10))
	for run, at := range map[string]time.Time{
		"imported": begin.Add(-webhook.History - time.Second), "slow clock": begin.Add(-webhook.History + time.Second), "fast clock": time.Now().Add(time.Hour),
	} {
		l.now = at
		l.record(&holdfast.RunFinishedEvent{Run: run, Reason: "stop"})
	}
	// The archive has a clock of its own, which may be later than that of the test.
	now := time.Now().Add(time.Minute)
	if now.Before(begin) {
		now = begin
	}
	list, err := s.TakeDeliveries(ctx, now, time.Minute, webhook.Share{Limit: 10, OfTenant: 10, OfHook: 10})
	must(t, err)
	var runs []string
	for _, d := range list {
		runs = append(runs, d.Notice.Run)
	}
	slices.Sort(runs)
	if !slices.Equal(runs, []string{"fast clock", "slow clock"}) {
		t.Errorf("heard of %q", runs)
	}
}

// shelfLife: what is pending for a disabled webhook waits for a week, and is not lost
// without a trace; of a deleted one nothing stays.
func shelfLife(t *testing.T, s Archive) {
	ctx := t.Context()
	for _, id := range []string{"rests", "goes"} {
		must(t, s.PutWebhook(ctx, hook("acme", id, "https://a.example", events.NoticeRunFinished), 10))
	}
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin}
	l.record(&holdfast.SessionCreatedEvent{}, &holdfast.RunFinishedEvent{Run: "old", Reason: "stop"})
	l.now = begin.Add(24 * time.Hour)
	l.record(&holdfast.RunFinishedEvent{Run: "young", Reason: "stop"})
	off, on := "tired", ""
	must(t, s.ChangeWebhook(ctx, "acme", "rests", webhook.Change{Disabled: &off}))
	l.record(&holdfast.RunFinishedEvent{Run: "meanwhile", Reason: "stop"})
	must(t, s.DeleteWebhook(ctx, "acme", "goes"))
	now := begin.Add(webhook.Keep + time.Hour)
	must(t, s.ForgetDeliveries(ctx, now))
	states := func(id string) string {
		t.Helper()
		list, err := s.Deliveries(ctx, "acme", id, webhook.Query{Limit: 10})
		must(t, err)
		var say []string
		for _, d := range list {
			say = append(say, strings.TrimSpace(d.Notice.Run+" "+d.State+" "+d.Problem))
		}
		return strings.Join(say, ", ")
	}
	if got, want := states("rests"), "young pending, old failed "+webhook.GivenUp; got != want {
		t.Errorf("of the disabled one: %s; want %s", got, want)
	}
	if got := states("goes"); got != "" {
		t.Errorf("of the deleted one: %s", got)
	}
	take := func() (runs []string) {
		t.Helper()
		list, err := s.TakeDeliveries(ctx, now, time.Minute, webhook.Share{Limit: 10, OfTenant: 10, OfHook: 10})
		must(t, err)
		for _, d := range list {
			runs = append(runs, d.Notice.Run)
		}
		return runs
	}
	if got := take(); len(got) > 0 {
		t.Errorf("while it is disabled: %q", got)
	}
	must(t, s.ChangeWebhook(ctx, "acme", "rests", webhook.Change{Disabled: &on}))
	if got := take(); !slices.Equal(got, []string{"young"}) {
		t.Errorf("when it is enabled: %q", got)
	}
	// A new one with the name of an old one has nothing of it.
	must(t, s.PutWebhook(ctx, hook("acme", "goes", "https://a.example", events.NoticeRunFinished), 10))
	if got := states("goes"); got != "" {
		t.Errorf("of its successor: %s", got)
	}
}

// again: what was given up is found by page and state, and is sent again, one or all.
func again(t *testing.T, s Archive) {
	ctx := t.Context()
	r := newReceiver(t)
	r.set(http.StatusGone)
	must(t, s.PutWebhook(ctx, hook("acme", "h", r.URL, events.NoticeRunFinished), 10))
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin}
	l.record(&holdfast.SessionCreatedEvent{})
	on, now := "", begin.Add(time.Hour)
	d, _ := deliverer(t, s, func() time.Time { return now })
	for i := range 5 {
		l.now = begin.Add(time.Duration(i) * time.Minute)
		must(t, s.ChangeWebhook(ctx, "acme", "h", webhook.Change{Disabled: &on}))
		l.record(&holdfast.RunFinishedEvent{Run: fmt.Sprint(i), Reason: "stop"})
		if n, err := d.Deliver(ctx); err != nil || n != 1 {
			t.Fatalf("%d deliveries, %v", n, err)
		}
		if i == 0 {
			r.set(http.StatusNoContent)
			list, err := s.Deliveries(ctx, "acme", "h", webhook.Query{Limit: 1})
			must(t, err)
			must(t, s.ChangeWebhook(ctx, "acme", "h", webhook.Change{Disabled: &on}))
			must(t, s.Redeliver(ctx, list[0], now))
			if n, err := d.Deliver(ctx); err != nil || n != 1 {
				t.Fatalf("again: %d deliveries, %v", n, err)
			}
			r.set(http.StatusGone)
		}
	}
	first := r.take()
	if len(first) != 6 || first[0].ID != first[1].ID {
		t.Fatalf("the same delivery again: %+v", first)
	}
	// By page: the failed ones, the newest first, and none of others.
	var runs, ids []string
	q := webhook.Query{State: webhook.Failed, Limit: 3}
	for {
		list, err := s.Deliveries(ctx, "acme", "h", q)
		must(t, err)
		for i := range list {
			runs, ids = append(runs, list[i].Notice.Run), append(ids, list[i].ID())
			q.Before = &list[i].Notice
		}
		if len(list) < q.Limit {
			break
		}
	}
	if !slices.Equal(runs, []string{"4", "3", "2", "1"}) {
		t.Errorf("given up: %q", runs)
	}
	one, err := s.FindDelivery(ctx, "acme", "h", ids[2])
	if err != nil || one.Notice.Run != "2" || one.Attempts != 1 {
		t.Errorf("found: %+v, %v", one, err)
	}
	for tenant, id := range map[string]string{"acme": "msg_none", "bolt": ids[2]} {
		if _, err := s.FindDelivery(ctx, tenant, "h", id); holdfast.CodeOf(err) != holdfast.CodeNotFound {
			t.Errorf("%s finds %s: %v", tenant, id, err)
		}
	}
	// All since a time, with all their attempts.
	r.set(http.StatusNoContent)
	must(t, s.ChangeWebhook(ctx, "acme", "h", webhook.Change{Disabled: &on}))
	if n, err := s.RedeliverFailed(ctx, "acme", "h", begin.Add(2*time.Minute), now); err != nil || n != 3 {
		t.Errorf("again: %d, %v; want 3", n, err)
	}
	if n, err := d.Deliver(ctx); err != nil || n != 3 {
		t.Errorf("again: %d deliveries, %v", n, err)
	}
	one, err = s.FindDelivery(ctx, "acme", "h", ids[2])
	if err != nil || one.State != webhook.Delivered || one.Attempts != 1 {
		t.Errorf("delivered again: %+v, %v", one, err)
	}
	// An address that asks for time gets it.
	l.record(&holdfast.RunFinishedEvent{Run: "busy", Reason: "stop"})
	r.set(http.StatusTooManyRequests)
	r.mu.Lock()
	r.wait = "7200"
	r.mu.Unlock()
	if n, err := d.Deliver(ctx); err != nil || n != 1 {
		t.Errorf("%d deliveries, %v", n, err)
	}
	list, err := s.Deliveries(ctx, "acme", "h", webhook.Query{State: webhook.Pending, Limit: 1})
	if err != nil || len(list) != 1 || !list[0].Due.Equal(now.Add(2*time.Hour)) {
		t.Errorf("after Retry-After: %+v, %v", list, err)
	}
}

// changes: what is changed of a webhook counts from then on, and a new secret does
// not end the one before at once.
func changes(t *testing.T, s Archive) {
	ctx := t.Context()
	r := newReceiver(t)
	must(t, s.PutWebhook(ctx, hook("acme", "h", "https://a.example", events.NoticeKinds...), 10))
	read := func() webhook.Hook {
		t.Helper()
		list, err := s.Webhooks(ctx, "acme")
		must(t, err)
		return list[0]
	}
	what := "for people"
	must(t, s.ChangeWebhook(ctx, "acme", "h", webhook.Change{URL: &r.URL, Kinds: []string{events.NoticeRunFinished}, Description: &what}))
	h := read()
	if h.URL != r.URL || h.Description != what || len(h.Kinds) != 1 || h.Disabled != "" {
		t.Errorf("changed: %+v", h)
	}
	until := begin.Add(time.Hour)
	must(t, s.RotateWebhook(ctx, h, []byte("another"), until))
	if err := s.RotateWebhook(ctx, h, []byte("a third"), until); holdfast.CodeOf(err) != holdfast.CodeConflict {
		t.Errorf("a change that knows nothing of the one before: %v", err)
	}
	for _, err := range []error{s.ChangeWebhook(ctx, "bolt", "h", webhook.Change{Description: &what}), s.ChangeWebhook(ctx, "acme", "none", webhook.Change{})} {
		if holdfast.CodeOf(err) != holdfast.CodeNotFound {
			t.Errorf("a webhook that is not there: %v", err)
		}
	}
	rotated := read()
	if string(rotated.Nonce) != "another" || !slices.Equal(rotated.Before, h.Nonce) || !rotated.BeforeUntil.Equal(until) {
		t.Errorf("rotated: %+v", rotated)
	}
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "s"}, now: begin}
	d, signer := deliverer(t, s, func() time.Time { return l.now })
	l.record(&holdfast.SessionCreatedEvent{})
	for at, want := range map[time.Time]int{begin: 2, until: 1} {
		l.now = at
		l.record(&holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
		if n, err := d.Deliver(ctx); err != nil || n != 1 {
			t.Fatalf("%d deliveries, %v", n, err)
		}
		got := r.take()[0]
		alone := rotated
		alone.Before = nil
		signatures := strings.Fields(got.Signature)
		if len(signatures) != want || signatures[0] != signer.Sign(&alone, got.ID, at, []byte(got.Body)) ||
			want == 2 && signatures[1] != signer.Sign(&h, got.ID, at, []byte(got.Body)) {
			t.Errorf("signatures at %v: %q", at, signatures)
		}
	}
}

// replicas: several senders share the deliveries out among them, and what one that
// was killed in the middle had, another one sends, under the same id.
func replicas(t *testing.T, s Archive) {
	const much = 40
	var killed atomic.Bool
	begun, heard := make(chan string, 1), make(chan string, 10*much)
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/held" && !killed.Swap(true) {
			begun <- req.Header.Get("webhook-id")
			_, _ = io.Copy(io.Discard, req.Body) // so that the server sees the client go
			<-req.Context().Done()
			return
		}
		heard <- req.URL.Path + " " + req.Header.Get("webhook-id")
	}))
	defer r.Close()
	must(t, s.PutWebhook(t.Context(), hook("acme", "held", r.URL+"/held", events.NoticeNeedsHuman), 10))
	for _, id := range []string{"a", "b", "c"} {
		must(t, s.PutWebhook(t.Context(), hook("bolt", id, r.URL+"/"+id, events.NoticeRunFinished), 10))
	}
	held := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "acme", Session: "held"}, now: begin}
	held.record(&holdfast.SessionCreatedEvent{}, &holdfast.SessionParkedEvent{Waiting: events.WaitingApproval})

	var mu sync.Mutex // guards now
	now := begin.Add(time.Second)
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	signer, err := webhook.NewSigner(make([]byte, 32))
	must(t, err)
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		d := webhook.New(webhook.Config{Store: s, Signer: signer, Transport: http.DefaultTransport, Now: clock, Look: 20 * time.Millisecond, Timeout: time.Hour})
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		return func() {
			cancel()
			must(t, <-done)
		}
	}
	patience := time.After(time.Minute)
	kill := start()
	var id string
	select {
	case id = <-begun:
	case <-patience:
		t.Fatal("nobody began")
	}
	kill()
	l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: "bolt", Session: "s"}, now: begin}
	evs := []holdfast.Event{&holdfast.SessionCreatedEvent{}}
	for range much {
		evs = append(evs, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
	}
	l.record(evs...)
	for range 2 {
		defer start()()
	}
	times := map[string]int{}
	hear := func() string {
		t.Helper()
		select {
		case what := <-heard:
			times[what]++
			return what
		case <-patience:
			t.Fatalf("%d of %d were heard", len(times), 3*much+1)
			return ""
		}
	}
	for range 3 * much {
		hear()
	}
	if len(times) != 3*much {
		t.Errorf("%d deliveries were heard, want %d, each once", len(times), 3*much)
	}
	// The lease of the one that was killed ends, and that of what is not settled yet.
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	for hear() != "/held "+id {
	}
}

// stuck: hundreds of addresses that take connections and answer nothing, of many
// tenants, hold up no other, neither one of a tenant that has none of them nor one of
// theirs.
func stuck(t *testing.T, s Archive) {
	const tenants, each = 40, 5
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	never := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer never.Close()
	defer letGo()
	heard := make(chan string, 1000)
	quick := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.URL.Path }))
	defer quick.Close()
	logs := map[string]*log{}
	for i := range tenants + 1 {
		tenant := fmt.Sprintf("t%d", i)
		logs[tenant] = &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: tenant, Session: tenant}, now: begin}
		logs[tenant].record(&holdfast.SessionCreatedEvent{})
		if i < tenants {
			for n := range each {
				must(t, s.PutWebhook(ctx, hook(tenant, fmt.Sprint(n), fmt.Sprintf("%s/%d/%d", never.URL, i, n), events.NoticeRunFinished), 50))
			}
		}
		if i == 0 || i == tenants {
			must(t, s.PutWebhook(ctx, hook(tenant, "quick", quick.URL+"/"+tenant, events.NoticeRunFinished), 50))
		}
	}
	signer, err := webhook.NewSigner(make([]byte, 32))
	must(t, err)
	d := webhook.New(webhook.Config{
		Store: s, Signer: signer, Transport: http.DefaultTransport, Now: func() time.Time { return begin.Add(time.Hour) },
		Look: 50 * time.Millisecond, Patience: 20 * time.Millisecond, Timeout: time.Hour,
	})
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	patience := time.After(time.Minute)
	last := fmt.Sprintf("t%d", tenants)
	for round := range 2 {
		for i := range tenants + 1 {
			logs[fmt.Sprintf("t%d", i)].record(&holdfast.RunFinishedEvent{Run: "r", Reason: "stop"}, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
		}
		for got := map[string]int{}; got["/t0"] < 2 || got["/"+last] < 2; {
			select {
			case path := <-heard:
				got[path]++
			case <-patience:
				t.Fatalf("round %d: while %d addresses are stuck, the others have heard %v of 2 each", round, tenants*each, got)
			}
		}
	}
	cancel()
	letGo()
	must(t, <-done)
}
