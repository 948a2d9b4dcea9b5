package simtest

import (
	"bytes"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// gate is what the bytes of a process go through. While it is shut the process
// neither hears nor says anything, as one that is stopped by a signal, and what
// it has sent arrives when the gate opens again.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		return false
	default:
		return true
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// gatedConn is a connection through a gate. What is written while the gate is
// shut waits in a buffer, as in that of a socket.
type gatedConn struct {
	net.Conn
	gate *gate

	mu      sync.Mutex // guards what follows
	pending [][]byte
	closed  bool
	more    chan struct{} // capacity 1: pending or closed has changed
}

func newGatedConn(conn net.Conn, g *gate) *gatedConn {
	c := &gatedConn{Conn: conn, gate: g, more: make(chan struct{}, 1)}
	go c.pump()
	return c
}

// pump writes what is pending until the connection is closed.
func (c *gatedConn) pump() {
	for range c.more {
		c.gate.pass()
		for {
			c.mu.Lock()
			pending, closed := c.pending, c.closed
			c.pending = nil
			c.mu.Unlock()
			if closed {
				return
			}
			if len(pending) == 0 {
				break
			}
			for _, p := range pending {
				if _, err := c.Conn.Write(p); err != nil {
					return // the reading side of nats.go sees it too
				}
			}
		}
	}
}

func (c *gatedConn) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *gatedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.pass()
	return n, err
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	c.pending = append(c.pending, bytes.Clone(p))
	c.mu.Unlock()
	c.signal()
	return len(p), nil
}

func (c *gatedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.signal()
	return c.Conn.Close()
}

// dialer connects to the world's server through a gate.
type dialer struct {
	world *World
	gate  *gate
}

func (d dialer) InProcessConn() (net.Conn, error) {
	if d.gate.isShut() {
		// Who is stopped does not dial. (The library holds a lock while it does, on
		// which the rest of the process would wait in a way that stops the bubble.)
		return nil, nats.ErrNoServers
	}
	conn, err := d.world.InProcessConn()
	if err != nil {
		return nil, err
	}
	return newGatedConn(conn, d.gate), nil
}
