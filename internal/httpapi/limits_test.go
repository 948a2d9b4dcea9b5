package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// lifted is a listener whose connections say when their limit for reading was
// taken away.
type lifted struct {
	net.Listener
	free chan struct{}
}

func (l lifted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return liftedConn{c, l.free}, err
}

type liftedConn struct {
	net.Conn
	free chan struct{}
}

func (c liftedConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if t.IsZero() {
		select {
		case c.free <- struct{}{}:
		default:
		}
	}
	return err
}

// A long poll, and an import that is being stored, outlive the server's limit for
// reading a request, which would end their context.
func TestLongRequestsOutliveTheReadLimit(t *testing.T) {
	w := newWorld(t)
	w.mustCall("POST", "/v1/sessions", `{"id":"s","agent":"demo"}`, nil)
	_, file := w.call("GET", "/v1/sessions/s/export", "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := make(chan struct{}, 100)
	srv := httpapi.NewServer(w.api)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(lifted{ln, free}) }) // it ends with Close
	defer wg.Wait()
	defer srv.Close()
	ask := func(request string) (answer chan string) {
		t.Helper()
		for len(free) > 0 {
			<-free
		}
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answer = make(chan string, 1)
		go func() {
			defer conn.Close()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				answer <- err.Error()
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				answer <- err.Error()
				return
			}
			answer <- resp.Status + " " + string(body)
		}()
		return answer
	}
	wait := func(what string, ch <-chan struct{}) {
		t.Helper()
		select {
		case <-ch:
		case <-time.After(time.Minute):
			t.Fatalf("%s: the limit stays", what)
		}
	}
	_, log := w.call("GET", "/v1/sessions/s/events?wait=false", "")
	seq := strings.Count(log, "\nid: ")
	poll := ask("GET /v1/sessions/s/events?wait=5m&after=" + strconv.Itoa(seq) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	wait("a long poll", free)
	w.mustCall("POST", "/v1/sessions/s/messages", `{"messages":[{"content":"hello"}]}`, nil)
	if got := <-poll; !strings.HasPrefix(got, "200 OK") || !strings.Contains(got, "command_accepted") {
		t.Errorf("the long poll: %s", got)
	}
	imported := ask("POST /v1/sessions/import?id=copy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(file)) + "\r\n\r\n" + file)
	wait("an import", free)
	if got := <-imported; !strings.HasPrefix(got, "201 Created") {
		t.Errorf("the import: %s", got)
	}
}
