package client

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// said is an event as a line of a stream.
func said(seq int, more string) string {
	return fmt.Sprintf(`{"type":"agent_choice","agent_name":"root","content":"x","seq":%d%s}`, seq, more)
}

// Whatever a server writes into a stream, the client gives out the events that it
// has, each once, in order and whole, or says that it cannot.
func TestStreamsThatLie(t *testing.T) {
	long := func(n int) string { return strings.Repeat("y", n) }
	for name, c := range map[string]struct {
		text string
		want int    // events from 1 on
		say  string // of the error; "" for none
	}{
		"LF":                        {"data: " + said(1, "") + "\n\n", 1, ""},
		"CRLF":                      {"data: " + said(1, "") + "\r\n\r\ndata: " + said(2, "") + "\r\n\r\n", 2, ""},
		"CR":                        {"data: " + said(1, "") + "\r\rdata: " + said(2, "") + "\r\r", 2, ""},
		"all ends":                  {"data: " + said(1, "") + "\r\n\rdata: " + said(2, "") + "\n\r\n:\r", 2, ""},
		"a byte order mark":         {"\ufeffdata: " + said(1, "") + "\n\n", 1, ""},
		"comments":                  {":\n: data: 7\n\n:" + long(1<<20) + "\ndata: " + said(1, "") + "\n:x\n\n", 1, ""},
		"data in several lines":     {"data: {\"type\":\"agent_choice\",\ndata:\"agent_name\":\"root\",\ndata:  \"content\":\"x\",\"seq\":1}\n\n", 1, ""},
		"members that nobody knows": {"retry: 99999999999999999999\nfoo: bar\nfoo\ndata: " + said(1, `,"new":{"a":[1,null]}`) + "\n\n", 1, ""},
		"no space after the colon":  {"id:1\ndata:" + said(1, "") + "\n\n", 1, ""},
		"its own name":              {"event: message\ndata: " + said(1, "") + "\n\n", 1, ""},
		"another name":              {"event: position\ndata: {]\n\ndata: " + said(1, "") + "\n\n", 1, ""},
		"an event of 10 MB":         {"data: " + said(1, `,"more":"`+long(10<<20)+`"`) + "\n\n", 1, ""},
		"each event three times":    {strings.Repeat("data: "+said(1, "")+"\n\n", 3) + strings.Repeat("data: "+said(2, "")+"\n\n", 3), 2, ""},
		"backwards":                 {"data: " + said(1, "") + "\n\ndata: " + said(2, "") + "\n\ndata: " + said(1, "") + "\n\n", 2, ""},
		"an unfinished event":       {"data: " + said(1, "") + "\n\ndata: " + said(2, "") + "\n", 1, ""},
		"a hole":                    {"data: " + said(1, "") + "\n\ndata: " + said(3, "") + "\n\n", 1, "left out"},
		"a line of 17 MB":           {"data: " + long(17<<20) + "\n\n", 0, "too long"},
		"a comment of 17 MB":        {":" + long(17<<20) + "\n\n", 0, "too long"},
		"17 MB in short lines":      {strings.Repeat("data: "+long(1<<20)+"\n", 17), 0, "too long"},
		"JSON that ends early":      {"data: " + said(1, "")[:40] + "\n\n", 0, "cannot be read"},
		"null":                      {"data: null\n\n", 0, "no seq"},
		"a list":                    {"data: [" + said(1, "") + "]\n\n", 0, "cannot be read"},
		"two in one":                {"data: " + said(1, "") + said(2, "") + "\n\n", 0, "cannot be read"},
		"two in two lines":          {"data: " + said(1, "") + "\ndata: " + said(2, "") + "\n\n", 0, "cannot be read"},
		"a text for a seq":          {`data: {"type":"agent_choice","seq":"1"}` + "\n\n", 0, "cannot be read"},
		"a seq below 0":             {`data: {"type":"agent_choice","seq":-1}` + "\n\n", 0, "cannot be read"},
		"a seq with a fraction":     {`data: {"type":"agent_choice","seq":1.5}` + "\n\n", 0, "cannot be read"},
		"no type":                   {`data: {"seq":1}` + "\n\n", 0, "cannot be read"},
		"a number for a type":       {`data: {"type":7,"seq":1}` + "\n\n", 0, "cannot be read"},
		"a text for usage":          {`data: {"type":"token_usage","usage":"none","seq":1}` + "\n\n", 0, "cannot be read"},
		"an id that is no number":   {"id: one\ndata: " + said(1, "") + "\n\n", 0, "not a number"},
		"very deep JSON":            {"data: " + strings.Repeat("[", 1<<20) + "\n\n", 0, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Holdfast-Seq", fmt.Sprint(c.want))
				if r.URL.Query().Get("after") != "0" { // again, since it ended early
					stream(w, "")
					return
				}
				stream(w, c.text)
			}), func(t *testing.T, cl *Client) {
				got := 0
				var failed error
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // else it would ask for ever
				defer cancel()
				for e, err := range cl.Log(ctx, "s", 0) {
					if failed = err; err == nil {
						if got++; e.Seq != uint64(got) {
							t.Errorf("event %d is %d", got, e.Seq)
						}
					}
				}
				if got != c.want || (failed == nil) != (c.say == "") || failed != nil && (!strings.Contains(failed.Error(), c.say) || len(failed.Error()) > 1000) {
					t.Errorf("%d events, %.1000v; want %d, %q", got, failed, c.want, c.say)
				}
			})
		})
	}
}

// Lines are the same however a connection cuts them.
func TestSSEInPieces(t *testing.T) {
	const text = "\ufeff:c\r\nid: 7\rdata: a\r\ndata: b\n\r\ndata:c\r\r\n\rid: 9\ndata: d\n\n"
	read := func(r io.Reader) (got []string) {
		s := newSSEReader(r)
		for {
			seq, data, err := s.next(func() {})
			if err != nil {
				return append(got, err.Error())
			}
			got = append(got, fmt.Sprintf("%d %q", seq, data))
		}
	}
	want := `[7 "a\nb" 0 "c" 9 "d" EOF]`
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(text), "bytes": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		if got := fmt.Sprint(read(r)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// An event is given out as soon as its empty line has ended, be it by a CR after
	// which nothing comes.
	near, far := io.Pipe()
	defer near.Close()
	go func() { _, _ = io.WriteString(far, "data: a\r\r") }()
	if _, data, err := newSSEReader(near).next(func() {}); err != nil || string(data) != "a" {
		t.Errorf("%q, %v", data, err)
	}
}

// zeros is a gzip file of n bytes.
func zeros(t *testing.T, begin string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, begin)
	for chunk := bytes.Repeat([]byte("0"), 1<<20); err == nil && n > 0; n -= len(chunk) {
		_, err = z.Write(chunk)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An answer that grows when it is unpacked is cut off where an answer ends.
func TestBombs(t *testing.T) {
	for name, c := range map[string]struct {
		media, begin string
		status       int
		call         func(ctx context.Context, c *Client) error
		say          string
	}{
		"a stream": {"text/event-stream", "data: ", 200, func(ctx context.Context, c *Client) error {
			_, err := collect(ctx, c, 1)
			return err
		}, "too long"},
		"a document": {"application/json", `{"id":"`, 200, func(ctx context.Context, c *Client) error {
			_, err := c.GetSession(ctx, "s")
			return err
		}, "larger than"},
		"an error": {"application/problem+json", `{"detail":"`, 404, func(ctx context.Context, c *Client) error {
			_, err := c.GetSession(ctx, "s")
			return err
		}, "Not Found"},
	} {
		bomb := zeros(t, c.begin, 24<<20)
		inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "gzip" {
				t.Error("nothing packed is asked for")
			}
			w.Header().Set("Content-Type", c.media)
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(c.status)
			_, _ = w.Write(bomb)
		}), func(t *testing.T, cl *Client) {
			cl.most = 8 << 20
			if err := c.call(t.Context(), cl); err == nil || !strings.Contains(err.Error(), c.say) || len(err.Error()) > 1000 {
				t.Errorf("%s: %.1000v, want %q", name, err, c.say)
			}
		})
	}
}

// A redirect is followed to the same server alone, and the key goes nowhere else. What
// changes something is not sent again.
func TestRedirects(t *testing.T) {
	var hosts []string
	to, status := "", 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Method+" "+r.Host+r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/moved") {
			_, _ = io.WriteString(w, `{"id":"s","status":"accepted"}`)
			return
		}
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
	for _, c := range []struct {
		to       string
		post, ok bool
	}{
		{"/moved", false, true},
		{"http://server/moved", false, true},
		{"http://other/moved", false, false},
		{"http://server:81/moved", false, false},
		{"http://sub.server/moved", false, false},
		{"//other/moved", false, false},
		{"file:///etc/passwd", false, false},
		{"/v1/sessions/s", false, false}, // for ever
		{"/moved", true, false},
		{"http://other/moved", true, false},
	} {
		for _, status = range []int{301, 302, 303, 307, 308} {
			hosts, to = nil, c.to
			inBubble(t, h, func(t *testing.T, cl *Client) {
				var err error
				if c.post {
					_, err = cl.Cancel(t.Context(), "s", "r")
				} else {
					_, err = cl.GetSession(t.Context(), "s")
				}
				if (err == nil) != c.ok || len(hosts) > 8 {
					t.Errorf("%d to %s: %v after %q", status, c.to, err, hosts)
				}
				for _, h := range hosts {
					if !strings.Contains(h, " server/") {
						t.Errorf("%d to %s: the key went to %s", status, c.to, h)
					}
				}
				var e *Error
				if !c.ok && !strings.HasPrefix(c.to, "file:") && (!errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, "redirects to")) {
					t.Errorf("%d to %s: %v", status, c.to, err)
				}
			}, WithAPIKey("secret"))
		}
	}
	for target, ok := range map[string]bool{"https://a/x": true, "https://a:8443/x": true, "https://b/x": false, "http://a:81/x": false} {
		first := httptest.NewRequest("GET", "http://a/y", nil)
		next := httptest.NewRequest("GET", "http://a/", nil)
		var err error
		if next.URL, err = url.Parse(target); err != nil {
			t.Fatal(err)
		}
		if err := checkRedirect(next, []*http.Request{first}); (err == nil) != ok {
			t.Errorf("from http://a to %s: %v", target, err)
		}
		first.URL.Scheme = "https"
		if next.URL.Scheme == "http" && checkRedirect(next, []*http.Request{first}) == nil {
			t.Errorf("out of TLS to %s", target)
		}
	}
}

// A problem is an error, whatever its status says, and a document of something else is
// none.
func TestProblemsWithSuccess(t *testing.T) {
	for _, c := range []struct{ media, body string }{
		{"application/problem+json", `{"status":503,"code":"unavailable","detail":"the log cannot be reached"}`},
		{"application/problem+json; charset=utf-8", `{"id":"s","sessions":[],"agents":[],"status":"accepted"}`},
		{"application/json", `{}`},
		{"application/json", `{"error":"away","message":"away","code":"unavailable"}`},
	} {
		cl := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.media)
			_, _ = io.WriteString(w, c.body)
		})
		for name, call := range map[string]func() error{
			"GetSession":  func() error { _, err := cl.GetSession(t.Context(), "s"); return err },
			"GetSessions": func() error { _, err := cl.GetSessions(t.Context()); return err },
			"GetAgents":   func() error { _, err := cl.GetAgents(t.Context()); return err },
			"GetRun":      func() error { _, err := cl.GetRun(t.Context(), "s", "r"); return err },
			"Cancel":      func() error { _, err := cl.Cancel(t.Context(), "s", "r"); return err },
			"GetEvent":    func() error { _, err := cl.GetEvent(t.Context(), "s", 1); return err },
		} {
			err := call()
			if err == nil {
				t.Errorf("%s takes %s for an answer", name, c.body)
			}
			if strings.HasPrefix(c.media, "application/problem+json") && strings.Contains(c.body, "503") && holdfast.CodeOf(err) != holdfast.CodeUnavailable {
				t.Errorf("%s: %v, want its code", name, err)
			}
		}
	}
}

// A connection that dies in the middle of an answer, or that says too much before it,
// ends in an error in time, and leaves nothing behind: a bubble waits for all that
// was begun in it.
func TestHalfAnswers(t *testing.T) {
	for name, wire := range map[string]func(w io.Writer){
		"nothing":       func(io.Writer) {},
		"half a status": func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 2") },
		"no HTTP":       func(w io.Writer) { _, _ = io.WriteString(w, "SSH-2.0-OpenSSH_9.6\r\n") },
		"half a header": func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Ty") },
		"half a body":   func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"id\":") },
		"half a chunk": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"id\":\"s\"}")
		},
		"a chunk of -1": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
		},
		"half a gzip": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00")
		},
		"no gzip": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n{\"id\":\"s\"}")
		},
		"hints for ever": func(w io.Writer) { repeat(w, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n") },
		"headers for ever": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			repeat(w, "X: "+strings.Repeat("x", 64<<10)+"\r\n")
		},
		"a line for ever": func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 "); repeat(w, strings.Repeat("x", 64<<10)) },
		"two content sizes": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 4\r\n\r\n{\"id\":\"s\"}")
		},
	} {
		for _, silent := range []bool{false, true} { // afterwards
			t.Run(fmt.Sprint(name, ", then silent ", silent), func(t *testing.T) {
				inBubble(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					wire(conn)
					if silent {
						_, _ = bufio.NewReader(conn).ReadByte() // until the client goes
					}
				}), func(t *testing.T, c *Client) {
					// Go's own limit is 10 MB, which takes its time.
					c.http.Transport.(*http.Transport).MaxResponseHeaderBytes = 256 << 10
					began := time.Now()
					if s, err := c.GetSession(t.Context(), "s"); err == nil {
						t.Errorf("GetSession = %+v", s)
					}
					if took := time.Since(began); took > DefaultTimeout {
						t.Errorf("it took %v", took)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					defer cancel()
					if seqs, err := collect(ctx, c, 1); err == nil {
						t.Errorf("events %v", seqs)
					}
				})
			})
		}
	}
}

// repeat writes until nobody listens, at most 1 MB.
func repeat(w io.Writer, s string) {
	s = strings.Repeat(s, max(1, 64<<10/len(s)))
	for range 1 << 20 / len(s) {
		if _, err := io.WriteString(w, s); err != nil {
			return
		}
	}
}
