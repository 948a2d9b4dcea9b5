package webhooktest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/webhook"
)

// slow: an address that answers nothing holds up neither other tenants nor the
// other addresses of its own, however much there is to be said to it, and has only
// a few requests at the same time.
func slow(t *testing.T, s Archive) {
	const much = 24 // more than all that is sent to one tenant at once
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex // guards now and most
	var now, most int
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
	}))
	defer stuck.Close()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	heard := make(chan string, 10*much)
	quick := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.URL.Path }))
	defer quick.Close()
	for _, h := range []webhook.Hook{
		hook("acme", "stuck", stuck.URL, events.NoticeRunFinished), hook("acme", "quick", quick.URL+"/acme", events.NoticeRunFinished),
		hook("bolt", "quick", quick.URL+"/bolt", events.NoticeRunFinished),
	} {
		must(t, s.PutWebhook(ctx, h, 10))
	}
	for _, tenant := range []string{"acme", "bolt"} {
		l := &log{t: t, s: s, ref: holdfast.SessionRef{Tenant: tenant, Session: tenant}, now: begin}
		evs := []holdfast.Event{&holdfast.SessionCreatedEvent{}}
		for range much {
			evs = append(evs, &holdfast.RunFinishedEvent{Run: "r", Reason: "stop"})
		}
		l.record(evs...)
	}
	signer, err := webhook.NewSigner(make([]byte, 32))
	must(t, err)
	d := webhook.New(webhook.Config{
		Store: s, Signer: signer, Transport: http.DefaultTransport, Now: func() time.Time { return begin.Add(time.Second) },
		Look: time.Millisecond, Timeout: time.Hour,
	})
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	got := map[string]int{}
	patience := time.After(time.Minute)
	for got["/acme"] < much || got["/bolt"] < much {
		select {
		case path := <-heard:
			got[path]++
		case <-patience:
			t.Fatalf("while one address is stuck, the others have heard %v of %d each", got, much)
		}
	}
	mu.Lock()
	if now == 0 || most > 4 {
		t.Errorf("the address that is stuck has %d requests, at most %d; want some and 4 at most", now, most)
	}
	mu.Unlock()
	cancel()
	letGo()
	must(t, <-done)
}

// limits: a tenant has only so many webhooks, also if they are made at once.
func limits(t *testing.T, s Archive) {
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i := range cap(errs) {
		wg.Go(func() { errs <- s.PutWebhook(t.Context(), hook("acme", fmt.Sprint(i), "https://a.example"), 3) })
	}
	wg.Wait()
	close(errs)
	refused := 0
	for err := range errs {
		if err != nil && holdfast.CodeOf(err) != holdfast.CodeConflict {
			t.Error(err)
		}
		if err != nil {
			refused++
		}
	}
	list, err := s.Webhooks(t.Context(), "acme")
	must(t, err)
	if len(list) != 3 || refused != cap(errs)-3 {
		t.Errorf("%d webhooks, %d refused", len(list), refused)
	}
	must(t, s.PutWebhook(t.Context(), hook("bolt", "h", "https://a.example"), 3))
}
