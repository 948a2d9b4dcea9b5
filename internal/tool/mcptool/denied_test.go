package mcptool_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest/mcptest"
)

// denying answers 401 to requests of one kind while it is closed: the method of a
// message, or "GET".
type denying struct {
	inner  http.Handler
	place  string
	closed atomic.Bool
	let    chan struct{} // gets one for each request of that kind that was let through
	denied atomic.Int64
}

func (d *denying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := r.Method
	if m, ok := peek(r); ok {
		what = m.Method
	}
	if what == d.place {
		if d.closed.Load() {
			d.denied.Add(1)
			w.Header().Set("WWW-Authenticate", `Bearer`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		select {
		case d.let <- struct{}{}:
		default:
		}
	}
	d.inner.ServeHTTP(w, r)
}

// Wherever a server wants an authorization, whoever uses the toolset next hears of
// it; once the user has agreed, all goes on.
func TestHTTPAuthorizationInEveryPlace(t *testing.T) {
	modern := func(t *testing.T) http.Handler {
		return server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()))
	}
	older := func(t *testing.T) http.Handler {
		return legacy(server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()), server.WithStateful(true)))
	}
	sse := func(t *testing.T) http.Handler { return server.NewSSEServer(mcptest.NewServer(t.Context())) }
	for _, tc := range []struct {
		name, place, transport, path string
		server                       func(*testing.T) http.Handler
	}{
		{"newest: discover", "server/discover", "", "", modern},
		{"newest: list", "tools/list", "", "", modern},
		{"newest: call", "tools/call", "", "", modern},
		{"newest: listen", "subscriptions/listen", "", "", modern},
		{"older: initialize", "initialize", "", "", older},
		{"older: initialized", "notifications/initialized", "", "", older},
		{"older: list", "tools/list", "", "", older},
		{"older: call", "tools/call", "", "", older},
		{"older: listen", "GET", "", "", older},
		{"sse: stream", "GET", mcptool.TransportSSE, "/sse", sse},
		{"sse: initialize", "initialize", mcptool.TransportSSE, "/sse", sse},
		{"sse: list", "tools/list", mcptool.TransportSSE, "/sse", sse},
		{"sse: call", "tools/call", mcptool.TransportSSE, "/sse", sse},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &denying{inner: tc.server(t), place: tc.place, let: make(chan struct{}, 1)}
			d.closed.Store(true)
			ts := remote(t, serve(t, d).URL+tc.path, tc.transport, mcptool.Options{})
			echo := tooltest.Call(tool.Call{Name: "echo", Arguments: `{"text":"x"}`})
			var err error
			for until := time.Now().Add(20 * time.Second); err == nil && time.Now().Before(until); {
				// What goes on beside the calls is denied some time after the start.
				if _, err = ts.Tools(t.Context()); err == nil {
					_, err = ts.Call(t.Context(), echo)
				}
			}
			var need *tool.AuthorizationError
			if !errors.As(err, &need) || need.Status != http.StatusUnauthorized {
				t.Fatalf("error %v, want an AuthorizationError", err)
			}
			d.closed.Store(false)
			definitions(t, ts)
			wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"text":"x"}`}, "x")
			select {
			case <-d.let:
			case <-t.Context().Done():
			}
			if n := d.denied.Load(); n > 2 {
				t.Errorf("asked %d times in vain", n)
			}
		})
	}
}

// A list of tools is asked for again when it is old, and no earlier.
func TestHTTPListGrowsOld(t *testing.T) {
	for name, tc := range map[string]struct {
		age   time.Duration
		hint  int64 // of the server, in milliseconds
		tells bool  // of changes
		least int64 // how often it is asked
		most  int64
	}{
		"good": {time.Hour, 3_600_000, false, 1, 1},
		// The list from before the server began to tell may be asked for again.
		"good, and it would tell": {time.Hour, 0, true, 1, 2},
		"old":                     {time.Nanosecond, 3_600_000, true, 3, 4},
		"old, says the server":    {time.Hour, 0, false, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var lists atomic.Int64
			inner := server.NewStreamableHTTPServer(mcptest.NewServer(t.Context(),
				server.WithCacheHints(tc.hint, mcp.CacheScopePrivate), server.WithToolCapabilities(tc.tells)))
			s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if m, ok := peek(r); ok && m.Method == "tools/list" {
					lists.Add(1)
				}
				inner.ServeHTTP(w, r)
			}))
			ts := remote(t, s.URL, "", mcptool.Options{ListAge: tc.age})
			for range 3 {
				definitions(t, ts)
			}
			// A call needs the list, of whatever age.
			wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"text":"x"}`}, "x")
			if got := lists.Load(); got < tc.least || got > tc.most {
				t.Errorf("asked %d times, want %d to %d", got, tc.least, tc.most)
			}
		})
	}
}
