package redirect_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/app/redirect"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// run starts the program and returns its address.
func run(t *testing.T, env ...string) (base string, logs *log) {
	t.Helper()
	cfg, err := config.Load(append([]string{"HOLDFAST_LISTEN=127.0.0.1:0"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	logs = &log{}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- redirect.Run(ctx, cfg, redirect.Options{
			Name: "test", Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Ready: func(addr string) { ready <- addr },
		})
	}()
	select {
	case addr := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return "http://" + addr, logs
	case err := <-done:
		cancel()
		t.Fatalf("the program does not start: %v", err)
	}
	return "", nil
}

func get(t *testing.T, at string, cookie *http.Cookie) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != nil {
		req.AddCookie(cookie)
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(page)
}

func TestUnconfigured(t *testing.T) {
	base, _ := run(t)
	if resp, _ := get(t, base+"/readyz", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: HTTP %d", resp.StatusCode)
	}
	if resp, page := get(t, base+"/oauth/callback/x?code=c&state=s", nil); resp.StatusCode != http.StatusNotImplemented || !strings.Contains(page, "Not configured") {
		t.Errorf("HTTP %d\n%s", resp.StatusCode, page)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	cfg, err := config.Load([]string{"HOLDFAST_LISTEN=127.0.0.1:0", "HOLDFAST_OAUTH_STATE_KEYS=k1:short", "HOLDFAST_NATS_URL=nats://127.0.0.1:1"})
	if err == nil {
		err = redirect.Run(t.Context(), cfg, redirect.Options{})
	}
	if err == nil || !strings.Contains(err.Error(), "HOLDFAST_OAUTH_STATE_KEYS") {
		t.Errorf("error %v", err)
	}
}

// TestNATSIsAway: an answer that cannot be passed on is not lost for the user: a
// page asks to reload, and the same redirect works when NATS is back.
func TestNATSIsAway(t *testing.T) {
	nats := testenv.NewNATSProcess(t)
	base, logs := run(t, "HOLDFAST_NATS_URL="+nats.URL(), "HOLDFAST_OAUTH_STATE_KEYS=k1:"+strings.Repeat("Q", 43))
	ring, err := state.NewRing(state.Key{ID: "k1", Secret: bytes.Repeat([]byte{0x41, 0x04, 0x10}, 11)[:32]})
	if err != nil {
		t.Fatal(err)
	}
	d := state.Data{
		Tenant: "t", SessionID: "s", Connection: "conn", Flow: state.NewRandom(), Random: state.NewRandom(), Binding: state.BindCookie,
		Expires: time.Now().Add(state.Lifetime),
	}
	st, err := ring.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	cookie := &http.Cookie{Name: state.CookieName(d.Flow), Value: ring.Cookie(d)}
	answer := base + flow.CallbackPath + "/conn?code=canary-code&state=" + st
	nats.Kill()
	for range 2 {
		resp, page := get(t, answer, cookie)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(page, "try again") {
			t.Fatalf("without NATS: HTTP %d, Retry-After %q\n%s", resp.StatusCode, resp.Header.Get("Retry-After"), page)
		}
		if strings.Contains(page, "canary") {
			t.Error("the code is in the page")
		}
	}
	if resp, _ := get(t, base+"/readyz", nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz without NATS: HTTP %d", resp.StatusCode)
	}
	nats.Start()
	deadline := time.Now().Add(time.Minute)
	for {
		resp, page := get(t, answer, cookie)
		if resp.StatusCode == http.StatusSeeOther && resp.Header.Get("Location") == "/oauth/done/success" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with NATS again: HTTP %d to %q\n%s", resp.StatusCode, resp.Header.Get("Location"), page)
		}
	}
	if strings.Contains(logs.String(), "canary") {
		t.Error("the code is in the log")
	}
}
