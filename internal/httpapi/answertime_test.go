package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// pipes is a listener whose connections hold nothing: what one side writes waits
// until the other one reads.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// servePipes serves an API without any limit of the server's own. closed says which
// connections are.
func servePipes(t *testing.T, api *httpapi.API) (ln *pipes, closed chan net.Conn) {
	t.Helper()
	ln = &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	closed = make(chan net.Conn, 10)
	srv := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute, ConnState: func(c net.Conn, st http.ConnState) {
		if st == http.StateClosed {
			closed <- c
		}
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = srv.Close(); wg.Wait() })
	return ln, closed
}

// TestAnswerTime: who does not take an answer in one piece is cut, also where the
// server has no limit of its own.
func TestAnswerTime(t *testing.T) {
	ln, closed := servePipes(t, newWorld(t, func(c *httpapi.Config) { c.WriteTimeout = 100 * time.Millisecond }).api)
	stuck := ln.dial()
	defer stuck.Close()
	if _, err := fmt.Fprint(stuck, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-closed // nothing of the answer was read
}

// TestAnswerWhole: who reads gets all of it, and the connection is good for more.
func TestAnswerWhole(t *testing.T) {
	ln, _ := servePipes(t, newWorld(t).api)
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ln.dial(), nil }}}
	defer client.CloseIdleConnections()
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/openapi.json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || n < 100<<10 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
