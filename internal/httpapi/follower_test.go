package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

func TestChunk(t *testing.T) {
	for _, n := range []int{1, 15, 16, 255, 4096, 1 << 20} {
		data := bytes.Repeat([]byte("x"), n)
		got, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(string(httpapi.AsChunk(data)) + "0\r\n\r\n")))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("a chunk of %d bytes is read as %d bytes, error %v", n, len(got), err)
		}
	}
}

// log is the session's events as a stream that does not follow gives them out.
func (w *world) log(id string) string {
	w.t.Helper()
	status, body := w.call("GET", "/v1/sessions/"+id+"/events?wait=false&position=false", "")
	if status != http.StatusOK {
		w.t.Fatalf("the log: %d %s", status, body)
	}
	return body
}

// following waits until the feeds write so many streams.
func (w *world) following(n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%d streams to be written by their feeds", n), func() bool { return w.api.Followers() == n })
}

// finished waits until so many runs of a session are over.
func (w *world) finished(id string, runs int) {
	w.t.Helper()
	w.until("the runs to finish", func() bool {
		n := 0
		for _, e := range w.stored(id) {
			if e.Type == holdfast.TypeRunFinished {
				n++
			}
		}
		return n == runs
	})
}

// TestFollowers: what feeds write themselves is, byte for byte, what anybody
// reads, whatever the streams have asked for, and a stream that has ended leaves
// its connection fit for the next request.
func TestFollowers(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Heartbeat = time.Hour }) // a heartbeat is no event
	id := w.newSession()
	const plain = 600 // so that more than one goroutine writes
	var wg sync.WaitGroup
	bodies := make([]string, plain)
	for i := range plain {
		resp := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?position=false&until=idle", "")
		wg.Go(func() {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
			bodies[i] = string(body)
		})
	}
	// These leave out or change something, so that each writes for itself.
	lines := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?position=false&until=idle", "", "Accept", "application/x-ndjson")
	defer lines.Body.Close()
	some := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?position=false&until=idle&types=run_finished,agent_choice", "")
	defer some.Body.Close()
	w.following(plain)
	w.startRun(id, "hello")
	wg.Wait()
	log := w.log(id)
	for i, body := range bodies {
		if body != log {
			t.Fatalf("stream %d has %d bytes, the log %d", i, len(body), len(log))
		}
	}
	all, err := io.ReadAll(lines.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(all, []byte("\n")); n != strings.Count(log, "\ndata: ") {
		t.Errorf("%d lines for %d events", n, strings.Count(log, "\ndata: "))
	}
	for _, e := range readEvents(t, some.Body, nil) {
		if e.Type != holdfast.TypeRunFinished && e.Type != "agent_choice" {
			t.Errorf("a %s that nobody asked for", e.Type)
		}
	}
	w.following(0)
}

// TestFollowerKeepsConnection: a connection that a feed has written to carries the
// next request.
func TestFollowerKeepsConnection(t *testing.T) {
	w := newWorld(t)
	id := w.newSession()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range 3 {
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
		req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/v1/sessions/%s/events?until=run&after=%d", w.srv.URL, id, len(w.stored(id))), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		w.following(1)
		w.startRun(id, "hello")
		all := readEvents(t, resp.Body, nil)
		resp.Body.Close()
		if len(all) == 0 || all[len(all)-1].Type != holdfast.TypeRunFinished {
			t.Fatalf("stream %d has %d events", i, len(all))
		}
		if reused != (i > 0) {
			t.Errorf("request %d: reused is %v", i, reused)
		}
		w.until("the session to rest", func() bool {
			evs := w.stored(id)
			return evs[len(evs)-1].Type == holdfast.TypeSessionParked
		})
	}
}

// raw opens a stream on a connection of its own that takes little at once, and
// reads its header.
func (w *world) raw(path string) (net.Conn, *http.Response) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.srv.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return conn, resp
}

// narrow leaves the connections of streams hardly any buffer.
func narrow(c *httpapi.Config) {
	c.Conn = func(ctx context.Context) net.Conn {
		conn := httpapi.ConnOf(ctx)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(4 << 10) // it is gone otherwise
		}
		return conn
	}
}

// TestFollowerFallsBehind: a reader that stops reading is written by its own
// stream from the byte on that its socket did not take, and gets every byte of the
// log when it goes on; those beside it do not wait for it.
func TestFollowerFallsBehind(t *testing.T) {
	w := newWorld(t, narrow, func(c *httpapi.Config) { c.Heartbeat, c.WriteTimeout = time.Hour, time.Hour })
	id := w.newSession()
	_, slow := w.raw("/v1/sessions/" + id + "/events?position=false")
	w.following(1)
	fast := w.open(t.Context(), "GET", "/v1/sessions/"+id+"/events?position=false&until=idle", "")
	defer fast.Body.Close()
	w.following(2)
	w.startRun(id, "big")
	if n, err := io.Copy(io.Discard, fast.Body); err != nil || n < bigSize {
		t.Fatalf("the other reader: %d bytes, error %v", n, err)
	}
	w.following(0) // one has ended, one is behind
	log := w.log(id)
	got := make([]byte, len(log))
	if _, err := io.ReadFull(slow.Body, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != log {
		t.Fatal("what was read is not the log")
	}
	// It is level again and goes on as before.
	w.following(1)
	w.startRun(id, "hello")
	readEvents(t, slow.Body, ofType(holdfast.TypeSessionParked))
}

// TestFollowerIsCut: one that does not go on is cut, in the middle of a chunk.
func TestFollowerIsCut(t *testing.T) {
	w := newWorld(t, narrow, func(c *httpapi.Config) { c.WriteTimeout, c.FeedLinger = 300*time.Millisecond, time.Millisecond })
	id := w.newSession()
	_, slow := w.raw("/v1/sessions/" + id + "/events")
	w.following(1)
	w.startRun(id, "big")
	w.until("the slow client to be cut", func() bool { return w.api.LiveFeeds() == 0 })
	if _, err := io.Copy(io.Discard, slow.Body); err == nil {
		t.Error("what was cut looks whole")
	}
}

// TestFollowerBeats: a stream that its feed writes is kept alive in between.
func TestFollowerBeats(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Heartbeat = 20 * time.Millisecond })
	id := w.newSession()
	_, resp := w.raw("/v1/sessions/" + id + "/events?position=false&after=1")
	r := bufio.NewReader(resp.Body)
	for range 3 {
		for beats := 0; beats < 3; {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == ": alive\n" {
				beats++
			}
		}
		w.startRun(id, "hello")
		readEvents(t, r, ofType(holdfast.TypeSessionParked))
	}
}

// TestFollowerGap: followers read for themselves what their feed has not got.
func TestFollowerGap(t *testing.T) {
	w := newWorld(t, func(c *httpapi.Config) { c.Heartbeat = time.Hour })
	id := w.newSession()
	ref := holdfast.SessionRef{Tenant: "default", Session: id}
	_, resp := w.raw("/v1/sessions/" + id + "/events?position=false")
	w.following(1)
	w.faults.set(func() { w.faults.dropLive = true })
	w.startRun(id, "hello")
	w.finished(id, 1)
	w.faults.set(func() { w.faults.dropLive = false })
	w.startRun(id, "hello")
	w.finished(id, 2)
	evs := w.stored(id)
	var want bytes.Buffer
	for i := range evs {
		fmt.Fprintf(&want, "id: %d\ndata: %s\n\n", evs[i].Seq, evs[i].AppendWire(nil, ref.Session))
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(resp.Body, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Fatal("what was read is not the log")
	}
}
