package mcptool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/mcptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest/mcptest"
)

// serve starts an HTTP server that ends with the test, open streams included.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// legacy makes a server of the newest protocol one of the older ones: it does
// not know the request that tells them apart.
func legacy(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := peek(r); ok && m.Method == "server/discover" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
			return
		}
		h.ServeHTTP(w, r)
	})
}

type posted struct {
	ID     json.RawMessage
	Method string
}

// peek reads the message of a POST and leaves it there.
func peek(r *http.Request) (posted, bool) {
	if r.Method != http.MethodPost {
		return posted{}, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return posted{}, false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var m posted
	return m, json.Unmarshal(body, &m) == nil
}

func remote(t *testing.T, url, transport string, opts mcptool.Options) *mcptool.Toolset {
	t.Helper()
	return open(t, mcptool.Config{Name: "test", URL: url, Transport: transport}, opts)
}

func TestStreamable(t *testing.T) {
	suite(t, func(t *testing.T) *mcptool.Toolset {
		return remote(t, serve(t, server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()))).URL+"/mcp", "", mcptool.Options{})
	})
}

func TestStreamableLegacy(t *testing.T) {
	suite(t, func(t *testing.T) *mcptool.Toolset {
		s := serve(t, legacy(server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()), server.WithStateful(true))))
		return remote(t, s.URL+"/mcp", mcptool.TransportStreamable, mcptool.Options{})
	})
}

func TestSSE(t *testing.T) {
	suite(t, func(t *testing.T) *mcptool.Toolset {
		return remote(t, serve(t, server.NewSSEServer(mcptest.NewServer(t.Context()))).URL+"/sse", mcptool.TransportSSE, mcptool.Options{})
	})
}

func TestHTTPHeaders(t *testing.T) {
	var wrong atomic.Int64
	inner := server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()))
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" || r.Header.Get("User-Agent") != "holdfast/9" {
			wrong.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	ts := open(t, mcptool.Config{Name: "test", URL: s.URL, Headers: map[string]string{"Authorization": "Bearer abc"}}, mcptool.Options{Version: "9"})
	definitions(t, ts)
	if err := ts.Close(); err != nil {
		t.Fatal(err)
	}
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d requests without the headers", n)
	}
}

func TestHTTPAuthorization(t *testing.T) {
	for _, transport := range []string{mcptool.TransportStreamable, mcptool.TransportSSE} {
		t.Run(transport, func(t *testing.T) {
			s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Add("WWW-Authenticate", `Bearer resource_metadata="https://x/y", scope="a b"`)
				w.Header().Add("WWW-Authenticate", `Basic`)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			ts := remote(t, s.URL+"/mcp?key=1", transport, mcptool.Options{})
			check := func(err error) {
				t.Helper()
				var ae *tool.AuthorizationError
				if !errors.As(err, &ae) {
					t.Fatalf("error %v, want an AuthorizationError", err)
				}
				if ae.Status != 401 || ae.URL != s.URL+"/mcp" || len(ae.Challenges) != 2 || ae.Toolset != "test" {
					t.Errorf("%+v", ae)
				}
				if holdfast.CodeOf(err) != holdfast.CodeUnauthorized {
					t.Errorf("code %s", holdfast.CodeOf(err))
				}
			}
			_, err := ts.Tools(t.Context())
			check(err)
			_, err = ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "echo"}))
			check(err)
		})
	}
}

// roundTripper is a deployment's: it asks for authorization in words of its own.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHTTPRoundTripperOfTheDeployment(t *testing.T) {
	want := holdfast.WrapError(holdfast.CodeUnauthorized, errors.New("flow 1"), "open the URL")
	ts := remote(t, "https://server.example/mcp", "", mcptool.Options{
		RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) { return nil, want }),
	})
	if _, err := ts.Tools(t.Context()); !errors.Is(err, want) {
		t.Errorf("Tools: %v", err)
	}
	if _, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: "echo"})); !errors.Is(err, want) {
		t.Errorf("Call: %v", err)
	}
}

func TestHTTPAuthorizationInTheMiddle(t *testing.T) {
	var closed atomic.Bool
	inner := server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()))
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed.Load() {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="more"`)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	ts := remote(t, s.URL, "", mcptool.Options{})
	c := tool.Call{Name: "echo", Arguments: `{"text":"x"}`}
	wantOutput(t, ts, c, "x")
	closed.Store(true)
	var ae *tool.AuthorizationError
	if _, err := ts.Call(t.Context(), tooltest.Call(c)); !errors.As(err, &ae) || ae.Status != 403 {
		t.Errorf("error %v", err)
	}
	closed.Store(false)
	wantOutput(t, ts, c, "x")
}

func TestHTTPRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		handler   http.HandlerFunc
		transport string
		want      string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/mcp", http.StatusTemporaryRedirect)
		}, "", "elsewhere.example"},
		"not found": {http.NotFound, "", `"sse"`},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }, "", `"sse"`},
		"broken": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "it hurts", http.StatusInternalServerError)
		}, "", "it hurts"},
		"html": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		}, "", "text/html"},
		"endless error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			flood(w, "x")
		}, "", "500"},
		"endless json": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"x":"`)
			flood(w, "x")
		}, "", "longer than 16 MiB"},
		"endless line": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: ")
			flood(w, "x")
		}, "", "longer than 16 MiB"},
		"endless event": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			flood(w, "data: x\n")
		}, "", "more than 65536 lines"},
		"endless sse": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			flood(w, "data: x\n")
		}, mcptool.TransportSSE, "more than 65536 lines"},
		"sse to another origin": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: endpoint\ndata: https://elsewhere.example/steal\n\n")
		}, mcptool.TransportSSE, "closed the event stream"},
	} {
		t.Run(name, func(t *testing.T) {
			ts := remote(t, serve(t, c.handler).URL, c.transport, mcptool.Options{StartTimeout: 30 * time.Second})
			_, err := ts.Tools(t.Context())
			if msg := holdfast.PublicMessage(err); holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(msg, c.want) || len(msg) > 70<<10 {
				t.Errorf("error %.300q, want one with %q", msg, c.want)
			}
		})
	}
}

// flood writes until nobody reads any more.
func flood(w http.ResponseWriter, s string) {
	block := []byte(strings.Repeat(s, 32<<10/len(s)))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestHTTPDoesNotTellWhatAHostResolvesTo(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := remote(t, s.URL, "", mcptool.Options{}).Tools(t.Context())
	if msg := holdfast.PublicMessage(err); !strings.Contains(msg, "connection refused") || strings.Contains(msg, "127.0.0.1") {
		t.Errorf("error %q", msg)
	}
}

func TestStreamableServerThatForgetsTheSession(t *testing.T) {
	var mu sync.Mutex
	var handler http.Handler
	restart := func() {
		mu.Lock()
		defer mu.Unlock()
		handler = legacy(server.NewStreamableHTTPServer(mcptest.NewServer(t.Context()), server.WithStateful(true)))
	}
	restart()
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handler
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	ts := remote(t, s.URL, "", mcptool.Options{})
	c := tool.Call{Name: "echo", Arguments: `{"text":"x"}`}
	for range 3 {
		wantOutput(t, ts, c, "x")
		restart()
	}
	definitions(t, ts)
}

func TestSSEServerThatGoesAway(t *testing.T) {
	s := serve(t, server.NewSSEServer(mcptest.NewServer(t.Context())))
	ts := remote(t, s.URL+"/sse", mcptool.TransportSSE, mcptool.Options{})
	res := call(t, ts, tool.Call{Name: "hang", Progress: func(string) { go s.CloseClientConnections() }})
	wantError(t, res, "the server closed the event stream", "started again")
	wantOutput(t, ts, tool.Call{Name: "echo", Arguments: `{"text":"back"}`}, "back")
}

// asking is a server that asks the client before it answers a call, and answers
// with what it got.
func asking(t *testing.T, sse bool) http.Handler {
	t.Helper()
	answers := make(chan string, 16)
	type stream struct {
		write func(string)
	}
	streams := make(chan stream, 1)
	methods := []string{"ping", "sampling/createMessage", "elicitation/create"}
	result := func(id json.RawMessage, send func(string)) {
		var got []string
		for i, m := range methods {
			send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{}}`, i+1, m))
			got = append(got, <-answers)
		}
		text, err := json.Marshal(strings.Join(got, "\n"))
		if err != nil {
			t.Error(err)
		}
		send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}]}}`, id, text))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event := func(data string) {
			fmt.Fprintf(w, ": comment\nevent: message\ndata: %s\n\n", data)
			w.(http.Flusher).Flush()
		}
		if r.Method == http.MethodGet {
			if !sse {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: endpoint\ndata: /post\n\n")
			w.(http.Flusher).Flush()
			streams <- stream{event}
			<-r.Context().Done()
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var m struct {
			posted
			Result json.RawMessage
			Error  json.RawMessage
		}
		if json.Unmarshal(body, &m) != nil {
			return
		}
		if m.Method == "" {
			if !sse && r.Header.Get("Mcp-Session-Id") != "s1" {
				t.Errorf("an answer without the session: %v", r.Header)
			}
			answers <- fmt.Sprintf("%s %s%s", m.ID, m.Result, m.Error)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		send := func(data string) {
			w.Header().Set("Content-Type", "text/event-stream")
			event(data)
		}
		if sse {
			s := <-streams
			defer func() { streams <- s }()
			send = s.write
			w.WriteHeader(http.StatusAccepted)
			w.(http.Flusher).Flush()
		}
		switch m.Method {
		case "initialize":
			w.Header().Set("Mcp-Session-Id", "s1")
			send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"a","version":"1"}}}`, m.ID))
		case "tools/list":
			// An event of several lines, as some servers indent their JSON.
			send(fmt.Sprintf("{\"jsonrpc\":\"2.0\",\ndata: \"id\":%s,\"result\":\ndata: {\"tools\":[{\"name\":\"t\"}]}}", m.ID))
		case "tools/call":
			result(m.ID, send)
		default:
			if len(m.ID) == 0 { // a notification
				if !sse {
					w.WriteHeader(http.StatusAccepted)
				}
				return
			}
			send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID))
		}
	})
}

func TestHTTPServerAsks(t *testing.T) {
	want := "1 {}\n" + `2 {"code":-32601,"message":"this client does not offer sampling/createMessage"}` + "\n" + `3 {"action":"decline"}`
	for _, transport := range []string{mcptool.TransportStreamable, mcptool.TransportSSE} {
		t.Run(transport, func(t *testing.T) {
			ts := remote(t, serve(t, asking(t, transport == mcptool.TransportSSE)).URL, transport, mcptool.Options{})
			wantOutput(t, ts, tool.Call{Name: "t"}, want)
		})
	}
}

func TestHTTPCanceledStart(t *testing.T) {
	reached := make(chan struct{}, 4)
	s := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body) // so that the end of the client is seen
		<-r.Context().Done()
	}))
	for _, transport := range []string{mcptool.TransportStreamable, mcptool.TransportSSE} {
		t.Run(transport, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-reached
				cancel()
			}()
			if _, err := remote(t, s.URL, transport, mcptool.Options{}).Tools(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}
