package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

func serve(t *testing.T, h http.HandlerFunc, opts ...Option) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefuses(t *testing.T) {
	for name, f := range map[string]func() (*Client, error){
		"no scheme":    func() (*Client, error) { return New("localhost:8080") },
		"no host":      func() (*Client, error) { return New("http://") },
		"ftp":          func() (*Client, error) { return New("ftp://x") },
		"control":      func() (*Client, error) { return New("http://a\x7f") },
		"with timeout": func() (*Client, error) { return New("http://x", WithHTTPClient(&http.Client{Timeout: time.Second})) },
		"no time":      func() (*Client, error) { return New("http://x", WithTimeout(0)) },
		"no silence":   func() (*Client, error) { return New("http://x", WithIdleTimeout(-1)) },
		"nil client":   func() (*Client, error) { return New("http://x", WithHTTPClient(nil)) },
	} {
		if c, err := f(); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestKey(t *testing.T) {
	for base, opts := range map[string][]Option{"http://any:secret@": nil, "http://": {WithAPIKey("secret")}} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get("Authorization")
			_, _ = io.WriteString(w, `{"agents":[]}`)
		}))
		c, err := New(base+strings.TrimPrefix(s.URL, "http://"), opts...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.GetAgents(t.Context()); err != nil || got != "Bearer secret" {
			t.Errorf("%s: %q, %v", base, got, err)
		}
		s.Close()
	}
}

// A request whose answer is lost comes again, with the same key.
func TestRepeats(t *testing.T) {
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		switch len(keys) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, `{"session":"s","run":"r","seq":3,"status":"accepted"}`)
		}
	})
	s, err := c.StartRun(t.Context(), "s", NewRun{Messages: []Message{{Content: "x"}}})
	if err != nil || s.Run != "r" || len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("%+v, %v, keys %q", s, err, keys)
	}
}

// Nothing that a server answers makes the client panic or succeed by mistake.
func TestStrangeAnswers(t *testing.T) {
	type answer struct {
		status int
		body   string
	}
	var now atomic.Pointer[answer] // a request that timed out may still be answered
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		a := now.Load()
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}, WithTimeout(50*time.Millisecond))
	for _, a := range []answer{
		{200, ""},
		{200, "null"},
		{200, "[]"},
		{200, `"x"`},
		{200, `{"id":5}`},
		{200, "<html>"},
		{200, `{"id":`},
		{400, ""},
		{404, "<html>not here</html>"},
		{418, `{"detail":5}`},
		{500, `null`},
		{503, ``},
		{302, ``},
	} {
		now.Store(&a)
		if s, err := c.GetSession(t.Context(), "s"); err == nil {
			t.Errorf("%d %q: GetSession = %+v", a.status, a.body, s)
		}
		if s, err := c.Cancel(t.Context(), "s", "r"); err == nil {
			t.Errorf("%d %q: Cancel = %+v", a.status, a.body, s)
		}
		if tok, err := c.GetDesktopToken(t.Context()); err == nil {
			t.Errorf("%d %q: GetDesktopToken = %q", a.status, a.body, tok)
		}
	}
}

func event(seq int) string {
	return fmt.Sprintf("id: %d\ndata: {\"type\":\"agent_choice\",\"agent_name\":\"root\",\"content\":\"x\",\"seq\":%d}\n\n", seq, seq)
}

func stream(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, text)
	w.(http.Flusher).Flush()
}

func collect(ctx context.Context, c *Client, n int) (seqs []uint64, err error) {
	for e, err := range c.Events(ctx, "s", 0) {
		if err != nil {
			return seqs, err
		}
		if seqs = append(seqs, e.Seq); len(seqs) == n {
			return seqs, nil
		}
	}
	return seqs, nil
}

// Repeated events are given out once; a stream that ends, breaks off in an event
// or falls silent is read on from where it was.
func TestEventsGoOn(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	// By place and not by number of request: on a busy machine the client may find
	// any answer silent.
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("Last-Event-ID")
		if after := r.URL.Query().Get("after"); after != id && after+id != "0" {
			t.Errorf("Last-Event-ID %s, %s", id, r.URL.RawQuery)
		}
		switch id {
		case "", "0":
			stream(w, ": hello\n\nevent: position\ndata: {\"type\":\"stream_position\",\"head\":2}\n\n"+event(1)+event(2)) // and the end
		case "1", "2":
			stream(w, event(2)+event(3)+"id: 4\ndata: {\"type\":")
		case "3":
			stream(w, event(4))
			<-r.Context().Done() // silence
		case "4":
			if away.Swap(false) {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			stream(w, event(5))
		default:
			t.Errorf("Last-Event-ID %s", id)
		}
	}, WithIdleTimeout(100*time.Millisecond))
	seqs, err := collect(t.Context(), c, 5)
	if err != nil || fmt.Sprint(seqs) != "[1 2 3 4 5]" {
		t.Errorf("%v, %v", seqs, err)
	}
}

func TestEventsEndWithAnError(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"gap":      func(w http.ResponseWriter, _ *http.Request) { stream(w, event(1)+event(3)) },
		"no seq":   func(w http.ResponseWriter, _ *http.Request) { stream(w, "data: {\"type\":\"x\"}\n\n") },
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { stream(w, "data: hello\n\n") },
		"bad type": func(w http.ResponseWriter, _ *http.Request) { stream(w, "data: {\"type\":5,\"seq\":1}\n\n") },
		"usage null": func(w http.ResponseWriter, _ *http.Request) {
			stream(w, "data: {\"type\":\"token_usage\",\"usage\":[],\"seq\":1}\n\n")
		},
		"bad id":       func(w http.ResponseWriter, _ *http.Request) { stream(w, "id: x\ndata: {}\n\n") },
		"not a stream": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"not found":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			stream(w, "data: ")
			for range maxEvent>>20 + 1 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if seqs, err := collect(ctx, serve(t, h), 100); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, %v; want an error", seqs, err)
			}
		})
	}
}

func TestSSE(t *testing.T) {
	r := newSSEReader(strings.NewReader(": c\r\n\r\nid: 7\r\nevent: x\r\ndata: a\r\ndata:b\r\n\r\ndata\n\nretry: 5\n\nid\n\n\ndata: lost"))
	var got []string
	for {
		seq, data, err := r.next(func() {})
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "not a number") {
				t.Error(err)
			}
			break
		}
		got = append(got, fmt.Sprintf("%d %q", seq, data))
	}
	if want := `[7 "a\nb" 0 ""]`; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func FuzzSSE(f *testing.F) {
	f.Add("id: 1\ndata: {\"type\":\"x\",\"seq\":1}\n\n")
	f.Add("data: a\ndata: b\n\n: c\n\r\n")
	f.Fuzz(func(_ *testing.T, s string) {
		r := newSSEReader(strings.NewReader(s))
		for {
			_, data, err := r.next(func() {})
			if err != nil {
				return
			}
			_, _ = decodeEntry(data)
		}
	})
}

// The types that RunAgent leaves out are those that the server calls internal.
func TestInternalTypes(t *testing.T) {
	for typ := range internal {
		if !events.Internal(typ) {
			t.Errorf("%s is not internal", typ)
		}
	}
	n := 0
	for _, typ := range []string{
		holdfast.TypeSessionCreated, holdfast.TypeSessionClaimed, holdfast.TypeSessionParked, holdfast.TypeSessionHandedOver,
		holdfast.TypeSessionDeleted, holdfast.TypeCommandAccepted, holdfast.TypeCommandRefused, holdfast.TypeAgentPinned,
		holdfast.TypeRunQueued, holdfast.TypeRunStarted, holdfast.TypeRunFinished, holdfast.TypeRunCanceled, holdfast.TypeRunContinued,
		holdfast.TypeModelCallStarted, holdfast.TypeModelCallFinished, holdfast.TypeModelCallVoided, holdfast.TypeToolCallsStarted,
		holdfast.TypeToolCallDecided, holdfast.TypeToolOutcomeUnknown, holdfast.TypeToolState, holdfast.TypePayloadPart,
		holdfast.TypeTimerSet, holdfast.TypeTimerFired, holdfast.TypeUserMessage, holdfast.TypeAgentChoice, holdfast.TypeWarning,
	} {
		if events.Internal(typ) {
			n++
			if !internal[typ] {
				t.Errorf("%s is internal", typ)
			}
		}
	}
	if n != len(internal) {
		t.Errorf("%d types, want %d", len(internal), n)
	}
}
