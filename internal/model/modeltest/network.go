package modeltest

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// network is a network in memory with one server on it, which plays a
// recording. It lives in one synctest bubble.
type network struct {
	t     *testing.T
	conns chan net.Conn
	done  chan struct{}
	open  atomic.Int64 // connections that the client has not closed

	mu       sync.Mutex
	rec      *Recording
	next     int
	first    []byte
	inflight int
	gone     int // requests whose client left before the answer was written

	transport *http.Transport
}

func newNetwork(t *testing.T, rec *Recording) *network {
	n := &network{t: t, rec: rec, conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: n, ErrorLog: log.New(io.Discard, "", 0)}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := srv.Serve(n); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server: %v", err)
		}
	}()
	n.transport = &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: 1}
	t.Cleanup(func() {
		n.transport.CloseIdleConnections()
		if err := srv.Close(); err != nil {
			t.Errorf("server: %v", err)
		}
		<-stopped
		synctest.Wait()
	})
	return n
}

func (n *network) client() *http.Client { return &http.Client{Transport: n.transport} }

// countedConn knows when the client closed it.
type countedConn struct {
	net.Conn
	once sync.Once
	n    *network
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.n.open.Add(-1) })
	return c.Conn.Close()
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.open.Add(1)
	return &countedConn{Conn: client, n: n}, nil
}

// Accept, Close and Addr make the network the server's listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.done:
	default:
		close(n.done)
	}
	return nil
}

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "provider.test" }

func (n *network) Addr() net.Addr { return address{} }

func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		n.t.Errorf("reading a request: %v", err)
		return
	}
	n.mu.Lock()
	i := n.next
	n.next++
	if i == 0 {
		n.first = body
	}
	first := n.first
	n.inflight++
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.inflight--
		if r.Context().Err() != nil {
			n.gone++
		}
		n.mu.Unlock()
	}()
	if i >= len(n.rec.Exchanges) {
		n.t.Errorf("request %d, although the recording has only %d", i+1, len(n.rec.Exchanges))
		w.WriteHeader(http.StatusTeapot)
		return
	}
	e := &n.rec.Exchanges[i]
	e.checkRequest(n.t, i+1, r, body, first)
	if err := e.play(w, r); err != nil {
		n.t.Errorf("response %d: %v", i+1, err)
	}
}

// check reports requests that did not come.
func (n *network) check(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next < len(n.rec.Exchanges) {
		t.Errorf("%d requests, want %d", n.next, len(n.rec.Exchanges))
	}
}
