package e2e_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// cutter stands between clients and the API processes and breaks connections
// off, each after so many bytes of the answer: in the middle of a header, of an
// event, of a character. After limit of them it cuts no more.
type cutter struct {
	t     testing.TB
	ln    net.Listener
	apis  []*node
	mean  int // bytes
	limit int
	work  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	cuts  int
	over  chan struct{} // closed at the last cut
	conns map[net.Conn]bool
	ended bool
}

// newCutter listens until the test ends.
func newCutter(t testing.TB, apis []*node, mean, limit int, rng *rand.Rand) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, ln: ln, apis: apis, mean: mean, limit: limit, rng: rng, over: make(chan struct{}), conns: map[net.Conn]bool{}}
	c.work.Go(c.accept)
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		c.ended = true
		for conn := range c.conns {
			_ = conn.Close() // it may be closed already
		}
		c.mu.Unlock()
		c.work.Wait()
	})
	return c
}

func (c *cutter) url() string { return "http://" + c.ln.Addr().String() }

func (c *cutter) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return // closed at the end of the test
		}
		c.work.Go(func() { c.serve(conn) })
	}
}

// keep remembers a connection, to be closed with the test.
func (c *cutter) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = conn.Close()
		return false
	}
	c.conns[conn] = true
	return true
}

func (c *cutter) drop(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
	_ = conn.Close() // it may be closed already
}

// draw is how the next connection goes: to which API process, after how many
// bytes it ends, and whether by a reset.
func (c *cutter) draw() (api *node, bytes int64, reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.apis[c.rng.IntN(len(c.apis))], int64(c.rng.IntN(2 * c.mean)), c.rng.IntN(2) == 0
}

// cut counts a cut and reports whether it is to be made.
func (c *cutter) cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts == c.limit {
		return false
	}
	if c.cuts++; c.cuts == c.limit {
		close(c.over)
	}
	return true
}

func (c *cutter) serve(conn net.Conn) {
	if !c.keep(conn) {
		return
	}
	defer c.drop(conn)
	api, bytes, reset := c.draw()
	up, err := net.Dial("tcp", api.address)
	if err != nil {
		c.t.Errorf("dial %s: %v", api.name, err)
		return
	}
	if !c.keep(up) {
		return
	}
	defer c.drop(up)
	c.work.Go(func() {
		_, _ = io.Copy(up, conn) // ends with either connection
		c.drop(up)
	})
	if _, err := io.CopyN(conn, up, bytes); err != nil {
		return // the client has gone, or the answer was shorter
	}
	if c.cut() {
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0) // fails only if it is closed
		}
		return
	}
	_, _ = io.Copy(conn, up)
}
