package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// answer is what came back of a request that is no stream.
type answer struct {
	status int
	body   string
	// code and message are those of an error, in whichever form the route has it.
	code    holdfast.Code
	message string
}

// request makes a request as curl does, without the client's help.
func request(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, body: string(data)}
	var e struct {
		Code            holdfast.Code
		Detail, Message string
	}
	if json.Unmarshal(data, &e) == nil {
		a.code, a.message = e.Code, e.Detail+e.Message
	}
	return a
}

// line is one event of a stream as it is on the wire.
type line struct {
	id   uint64
	data string
	ev   holdfast.Event
}

// stream is an event stream that somebody reads by hand.
type stream struct {
	t    testing.TB
	body io.ReadCloser
	r    *bufio.Scanner
}

// openStream makes a request whose answer is an event stream.
func openStream(t testing.TB, ctx context.Context, method, url, body string, lastID uint64) *stream {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if lastID > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(lastID, 10))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(ct, "text/event-stream") {
		data, err := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s, %s: %s %v", method, url, resp.Status, ct, data, err)
	}
	s := &stream{t: t, body: resp.Body, r: bufio.NewScanner(resp.Body)}
	s.r.Buffer(nil, 1<<20)
	return s
}

// next returns the next event; false is the end of the stream.
func (s *stream) next() (l line, ok bool) {
	s.t.Helper()
	named := false // what has a name of its own is no event of the log
	for s.r.Scan() {
		text := s.r.Text()
		switch name, value, _ := strings.Cut(text, ": "); name {
		case "event":
			named = true
		case "id":
			id, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				s.t.Fatalf("id of an event: %v", err)
			}
			l.id = id
		case "data":
			if named {
				continue
			}
			ev, err := holdfast.UnmarshalEvent([]byte(value))
			if err != nil {
				s.t.Fatalf("event %q: %v", value, err)
			}
			l.data, l.ev = value, ev
		case "":
			if strings.HasPrefix(text, ":") || l.ev == nil {
				named = named && text != ""
				continue // a heartbeat, or what was named
			}
			return l, true
		default:
			s.t.Fatalf("line of a stream: %q", text)
		}
	}
	if err := s.r.Err(); err != nil {
		s.t.Fatalf("the stream broke off: %v", err)
	}
	return line{}, false
}

func (s *stream) close() {
	s.t.Helper()
	if err := s.body.Close(); err != nil {
		s.t.Error(err)
	}
}

// types are the names of a stream's events, repetitions left out.
func types(lines []line) string {
	var names []string
	for _, l := range lines {
		if typ := l.ev.EventType(); len(names) == 0 || names[len(names)-1] != typ {
			names = append(names, typ)
		}
	}
	return strings.Join(names, " ")
}
