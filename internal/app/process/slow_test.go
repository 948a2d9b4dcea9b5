package process

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTimedBodies: whoever does not send the body that was announced is cut, even
// where nobody wants it; a body that has come does not end its request.
func TestTimedBodies(t *testing.T) {
	const limit = 50 * time.Millisecond
	srv := httptest.NewServer(timedBodies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case <-r.Context().Done():
			t.Errorf("the request ended: %v", r.Context().Err())
		case <-time.After(4 * limit):
		}
		_, _ = w.Write(body)
	}), limit))
	defer srv.Close()
	for _, path := range []string{"/refused", "/read"} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx", path); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); err != nil {
			t.Errorf("%s: the connection is held: %v", path, err)
		}
		_ = conn.Close()
	}
	resp, err := http.Post(srv.URL+"/read", "text/plain", strings.NewReader("whole"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
}
