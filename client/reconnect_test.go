package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// pipes is a listener whose connections do not leave a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// inBubble serves h in a bubble of virtual time and gives fn a client of it.
func inBubble(t *testing.T, h http.Handler, fn func(t *testing.T, c *Client), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(l)
		}()
		tr := &http.Transport{DialContext: l.dial}
		c, err := New("http://server", append(opts, WithHTTPClient(&http.Client{Transport: tr}))...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			tr.CloseIdleConnections()
			_ = srv.Close()
			<-served
		}()
		fn(t, c)
	})
}

// unreliable is a server, and what is between it and the client, that holds a log
// and does to its readers whatever may happen.
type unreliable struct {
	rng    *rand.Rand
	events [][]byte // the JSON of each
	head   bool     // says where the session stands

	mu       sync.Mutex // guards what follows, and rng
	there    int        // events that have happened
	streams  int        // answers that were streams
	mishaps  map[string]int
	requests int
}

func (u *unreliable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests++
	after, err := strconv.Atoi(r.URL.Query().Get("after"))
	if err != nil || r.Header.Get("Last-Event-ID") != strconv.Itoa(after) {
		http.Error(w, "what cursor?", http.StatusBadRequest)
		return
	}
	live := r.URL.Query().Get("wait") != "false"
	what := func(name string) { u.mishaps[name]++ }
	switch n := u.rng.IntN(12); {
	case n == 0:
		what("502")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>the server is away</html>")
		return
	case n == 1:
		what("429")
		w.Header().Set("Retry-After", []string{"1", "86400", "Fri, 31 Dec 1999 23:59:59 GMT", "soon"}[u.rng.IntN(4)])
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case n == 2 && u.streams > 0:
		what("200 with a page")
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>we will be back soon</html>")
		return
	case n == 3:
		what("no answer")
		panic(http.ErrAbortHandler)
	case n == 4:
		what("silence before the answer")
		u.mu.Unlock()
		<-r.Context().Done()
		u.mu.Lock()
		return
	}
	u.streams++
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if u.head || !live {
		w.Header().Set("Holdfast-Seq", strconv.Itoa(len(u.events)))
	}
	if live {
		u.there = min(len(u.events), u.there+u.rng.IntN(40))
	} else {
		u.there = len(u.events)
	}
	text := u.text(after)
	cut := len(text)
	if u.rng.IntN(4) > 0 {
		cut = u.rng.IntN(len(text) + 1)
	}
	_, _ = w.Write(text[:cut])
	w.(http.Flusher).Flush()
	switch u.rng.IntN(3) {
	case 0:
		what("cut")
		panic(http.ErrAbortHandler)
	case 1:
		what("silence")
		u.mu.Unlock()
		<-r.Context().Done()
		u.mu.Lock()
	default:
		what("an end in order, in the middle of whatever it was")
	}
}

// text is what is behind after, some of what was before, some of it twice, and
// whatever else a stream may have.
func (u *unreliable) text(after int) []byte {
	var b bytes.Buffer
	b.WriteString([]string{"", ": hello\n\n", "retry: 1000\n\n", "event: position\ndata: {\"type\":\"stream_position\"}\n\n", "\n\r\n", "\ufeff"}[u.rng.IntN(6)])
	for i := max(0, after-u.rng.IntN(4)); i < u.there; i++ {
		end := []string{"\n", "\r\n", "\r"}[u.rng.IntN(3)]
		for range 1 + u.rng.IntN(5)/4 {
			fmt.Fprintf(&b, "id: %d%sdata: %s%s%s", i+1, end, u.events[i], end, end)
		}
		if u.rng.IntN(10) == 0 {
			b.WriteString(":\n\n")
		}
	}
	return b.Bytes()
}

// TestReconnects: whatever happens to connections, what the client gives out is
// the log, byte for byte: nothing is lost and nothing comes twice, from any place,
// of a log that is whole and of one that grows.
func TestReconnects(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			u := &unreliable{rng: rng, mishaps: map[string]int{}, head: seed%3 == 0}
			for i := range 40 + rng.IntN(160) {
				text := strings.Repeat("x", rng.IntN(60))
				if rng.IntN(60) == 0 {
					text = strings.Repeat("<y>", 30_000) // beyond 64 KiB
				}
				u.events = append(u.events, fmt.Appendf(nil, `{"type":"agent_choice","agent_name":"root","content":"%s","seq":%d,"run":"r"}`, text, i+1))
			}
			after := uint64(rng.IntN(len(u.events)))
			live := seed%2 == 0
			down, up, wasUp := 0, 0, true
			inBubble(t, u, func(t *testing.T, c *Client) {
				read := c.Log
				if live {
					read = c.Events
				}
				at := after
				for e, err := range read(t.Context(), "s", after) {
					if err != nil {
						t.Fatalf("after event %d: %v", at, err)
					}
					if at++; e.Seq != at || !bytes.Equal(e.Raw, u.events[at-1]) || e.Run != "r" {
						t.Fatalf("event %d is %d: %.100s", at, e.Seq, e.Raw)
					}
					if live && at == uint64(len(u.events)) {
						break
					}
				}
				if at != uint64(len(u.events)) {
					t.Errorf("%d of %d events from %d on", at, len(u.events), after)
				}
			}, WithConnectionNotice(func(n Connection) {
				if n.Up && wasUp {
					t.Error("up twice")
				}
				if wasUp = n.Up; n.Up {
					up++
				} else {
					down++
				}
			}))
			if down < up || u.requests < up {
				t.Errorf("lost %d times, back %d times, %d requests", down, up, u.requests)
			}
			for k, v := range u.mishaps {
				all[k] += v
			}
		})
	}
	if len(all) < 8 {
		t.Errorf("the server did only this: %v", all)
	}
}

// What never was a stream is an error at once, and what a server forbids is not
// asked for again.
func TestFinalAnswers(t *testing.T) {
	for _, status := range []int{200, 204, 301, 400, 401, 403, 404, 410, 500} {
		requests := 0
		inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
		}), func(t *testing.T, c *Client) {
			for _, err := range c.Events(t.Context(), "s", 0) {
				if err == nil {
					t.Errorf("%d: an event", status)
				}
			}
		})
		if requests != 1 {
			t.Errorf("%d: %d requests", status, requests)
		}
	}
}

// A caller's context ends whatever is under way, at once, and its cause is the
// error.
func TestContextEnds(t *testing.T) {
	errEnough := errors.New("enough")
	inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			stream(w, event(1))
		}
		<-r.Context().Done()
	}), func(t *testing.T, c *Client) {
		for name, call := range map[string]func(ctx context.Context, enough func()) error{
			"a stream": func(ctx context.Context, enough func()) error {
				for _, err := range c.Events(ctx, "s", 0) {
					if err != nil {
						return err
					}
					enough()
				}
				return nil
			},
			"a request": func(ctx context.Context, enough func()) error {
				time.AfterFunc(time.Second, enough)
				_, err := c.GetSession(ctx, "s")
				return err
			},
			"a list": func(ctx context.Context, enough func()) error {
				time.AfterFunc(time.Second, enough)
				for _, err := range c.Sessions(ctx, 10) {
					return err
				}
				return nil
			},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			began := time.Now()
			err := call(ctx, func() { cancel(errEnough) })
			if took := time.Since(began); !errors.Is(err, errEnough) && !errors.Is(err, context.Canceled) || took > time.Second {
				t.Errorf("%s: %v after %s", name, err, took)
			}
		}
	})
}

// A dial that times out is no end of the caller's context: a stream goes on. A
// certificate that nobody trusts stays as it is.
func TestFailedConnections(t *testing.T) {
	for err, want := range map[error]bool{
		&net.OpError{Op: "dial", Err: dialTimeout{}}:             true,
		io.ErrUnexpectedEOF:                                      true,
		&tls.CertificateVerificationError{Err: errors.New("no")}: false,
	} {
		lost := &lostError{err}
		if temporary(lost) != want || holdfast.CodeOf(lost) != holdfast.CodeUnavailable || !errors.Is(lost, err) {
			t.Errorf("%v: temporary %v, code %s", err, temporary(lost), holdfast.CodeOf(lost))
		}
	}
}

// dialTimeout is what package net says of a dial that timed out.
type dialTimeout struct{}

func (dialTimeout) Error() string        { return "i/o timeout" }
func (dialTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// An id that is none asks the server nothing: the request would be another one.
func TestIDsAreSegments(t *testing.T) {
	inBubble(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL) }), func(t *testing.T, c *Client) {
		for _, id := range []string{"", ".", ".."} {
			err := c.DeleteSession(t.Context(), id)
			_, gerr := c.GetSession(t.Context(), id)
			for _, serr := range c.Events(t.Context(), id, 0) {
				gerr = errors.Join(gerr, serr)
			}
			if holdfast.CodeOf(err) != holdfast.CodeInvalid || holdfast.CodeOf(gerr) != holdfast.CodeInvalid {
				t.Errorf("%q: %v, %v", id, err, gerr)
			}
		}
	})
}

// A request has its time-out, all attempts together; a pause that would outlast it
// is not begun.
func TestTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		most   time.Duration
		least  time.Duration
	}{
		"silence":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 8 * time.Second, 8 * time.Second},
		"a body that stops":    {func(w http.ResponseWriter, r *http.Request) { stream(w, `{"id":`); <-r.Context().Done() }, 8 * time.Second, 8 * time.Second},
		"later than we wait":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "60"); w.WriteHeader(503) }, 0, 0},
		"soon, and then again": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "2"); w.WriteHeader(429) }, 6 * time.Second, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.answer, func(t *testing.T, cl *Client) {
				began := time.Now()
				s, err := cl.GetSession(t.Context(), "s")
				if took := time.Since(began); err == nil || took < c.least || took > c.most {
					t.Errorf("%+v, %v after %s", s, err, took)
				}
			}, WithTimeout(8*time.Second))
		})
	}
}

// Pages are asked for one by one, an empty one and one that names itself end them,
// and who has enough asks for no more.
func TestPages(t *testing.T) {
	asked := 0
	inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch q := r.URL.Query(); {
		case q.Get("cursor") == "" && q.Get("limit") == "2":
			_, _ = io.WriteString(w, `{"sessions":[{"id":"a"},{"id":"b"}],"next":"2"}`)
		case q.Get("cursor") == "2":
			_, _ = io.WriteString(w, `{"sessions":[{"id":"c"}],"next":"2"}`)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}), func(t *testing.T, c *Client) {
		var ids []string
		for s, err := range c.Sessions(t.Context(), 2) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		if fmt.Sprint(ids) != "[a b c]" || asked != 2 {
			t.Errorf("%v, %d requests", ids, asked)
		}
		for range c.Sessions(t.Context(), 2) {
			break
		}
		if asked != 3 {
			t.Errorf("%d requests", asked)
		}
		for s, err := range c.Sessions(t.Context(), 3) {
			if err == nil {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "x": 0, "99999999999999999999": 0,
		"Sun, 22 Nov 2026 10:00:30 GMT": 30 * time.Second, "Sun, 22 Nov 2026 09:00:00 GMT": 0,
	} {
		h := http.Header{"Date": {"Sun, 22 Nov 2026 10:00:00 GMT"}, "Retry-After": {v}}
		if got := retryAfter(h); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}
