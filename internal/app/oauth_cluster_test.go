package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/app/redirect"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/pgstore"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// TestAuthorizationInACluster: an API, two callbacks and three workers, none of
// which was there when the run began to wait. 50 deliveries to both callbacks give
// one token request and one effect.
func TestAuthorizationInACluster(t *testing.T) {
	p := newProtected(t, false)
	dsn := testenv.Postgres(t)
	if err := pgstore.Migrate(t.Context(), dsn, pgstore.Options{}); err != nil {
		t.Fatal(err)
	}
	api := fmt.Sprintf("127.0.0.1:%d", testenv.Port(t))
	log := &logged{}
	key := func(b string) string { return "k1:" + strings.Repeat(b, 43) }
	env := []string{
		"HOLDFAST_NATS_URL=" + testenv.NATS(t).URL(), "HOLDFAST_DATABASE_URL=" + dsn,
		"HOLDFAST_VAULT_KEYS=" + key("A"), "HOLDFAST_OAUTH_STATE_KEYS=" + key("Q"), "HOLDFAST_PUBLIC_URL=http://" + api,
	}
	callback := app.Roles{} // of the program that has none of them
	start := func(roles app.Roles, more ...string) (addr string, stop func()) {
		cfg, err := config.Load(append(append([]string{"HOLDFAST_LISTEN=127.0.0.1:0"}, env...), more...))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ready, done := make(chan string, 1), make(chan error, 1)
		go func() {
			if roles == callback {
				done <- redirect.Run(ctx, cfg, redirect.Options{
					Name: "test", Logger: slog.New(slog.NewTextHandler(log, nil)), Ready: func(addr string) { ready <- addr },
				})
				return
			}
			done <- app.Run(ctx, cfg, roles, app.Options{
				Name: "test", Logger: slog.New(slog.NewTextHandler(log, nil)), DrainGrace: time.Second,
				Agents: map[string][]byte{"payer.yaml": []byte(payer(p))}, Ready: func(addr string) { ready <- addr },
			})
		}()
		stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		select {
		case addr = <-ready:
			t.Cleanup(stop)
		case err := <-done:
			t.Fatal(err)
		}
		return addr, stop
	}
	var callbacks []string
	for range 2 {
		addr, _ := start(callback)
		callbacks = append(callbacks, addr)
	}
	env = append(env, "HOLDFAST_OAUTH_CALLBACK_URL=http://"+callbacks[0])
	start(app.Roles{API: true}, "HOLDFAST_LISTEN="+api)
	_, first := start(app.Roles{Worker: true, Recorder: true})
	base := "http://" + api
	session, need, before := pay(t, base)
	first() // who waits holds nothing in a worker
	c := browser(t)
	answer := begin(t, c, need.URL)
	if !strings.HasPrefix(answer, "http://"+callbacks[0]+"/oauth/callback/") {
		t.Fatalf("the answer goes to %s", strings.SplitN(answer, "?", 2)[0])
	}
	for range 3 {
		start(app.Roles{Worker: true, Recorder: true})
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var mu sync.Mutex
	ends := map[string]int{}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			u, err := url.Parse(answer)
			if err != nil {
				t.Error(err)
				return
			}
			u.Host = callbacks[i%2]
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			ends[fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location"))]++
		})
	}
	all.Wait()
	follow(t, base, session, before[len(before)-1].Seq, "run_finished")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tokens != 1 || len(p.calls) != 1 {
		t.Errorf("%d token requests, effects %v; answers %v", p.tokens, p.calls, ends)
	}
	if text := log.String(); strings.Contains(text, canaryCode) || strings.Contains(text, canaryAccess) {
		t.Error("a secret is in the log")
	}
}
