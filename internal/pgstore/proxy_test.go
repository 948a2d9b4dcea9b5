package pgstore_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// cut says where a [proxy] cuts the next connection that commits.
type cut int

const (
	cutNever  cut = iota
	cutBefore     // the server does not hear that it is to commit
	cutAfter      // the server has committed and the client does not hear of it
)

// proxy stands between a store and its server.
type proxy struct {
	t      *testing.T
	server string
	dsn    string

	mu   sync.Mutex // guards what follows
	next cut
	open map[net.Conn]struct{}
}

func newProxy(t *testing.T, dsn string) *proxy {
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, server: u.Host, open: map[net.Conn]struct{}{}}
	u.Host = l.Addr().String()
	p.dsn = u.String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Errorf("proxy: %v", err)
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *proxy) arm(c cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = c
}

// talk is what a client has said so far.
type talk struct {
	statements map[string]string // text by name
	begun      bool              // in a transaction of its own
	write      bool              // it has changed something since the last Sync
}

// take looks at a message of a client and returns where to cut the connection:
// when the statement COMMIT is bound or, outside a transaction, at the Sync that
// ends a batch with a write, which commits it.
func (p *proxy) take(kind byte, body []byte, said *talk) cut {
	first, rest, _ := bytes.Cut(body, []byte{0})
	second, _, _ := bytes.Cut(rest, []byte{0})
	switch kind {
	case 'P': // name, query
		said.statements[string(first)] = string(second)
	case 'B': // portal, name
		switch q := said.statements[string(second)]; {
		case q == "begin":
			said.begun = true
		case q == "commit":
			said.begun = false
			return p.fire()
		case !said.begun && (strings.Contains(q, "INSERT INTO ") || strings.Contains(q, "UPDATE ") || strings.Contains(q, "DELETE FROM ")):
			said.write = true
		}
	case 'Q': // query, for which nothing is prepared
		if string(first) == "rollback" {
			said.begun = false
		}
	case 'S':
		if said.write {
			said.write = false
			return p.fire()
		}
	}
	return cutNever
}

// fire returns what the proxy is armed with, once.
func (p *proxy) fire() cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.next
	p.next = cutNever
	return c
}

// message reads one message of a client; the first one has no type.
func message(r *bufio.Reader, first bool) (kind byte, whole []byte, err error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	if !first {
		kind = head[0]
	}
	size := binary.BigEndian.Uint32(head[len(head)-4:])
	body := make([]byte, size-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return kind, append(head, body...), nil
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		p.t.Errorf("proxy: %v", err)
		client.Close()
		return
	}
	p.mu.Lock()
	p.open[client], p.open[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	hangUp := func() {
		client.Close()
		server.Close()
	}
	deaf := make(chan struct{}) // closed when the client is to hear nothing any more
	var wg sync.WaitGroup
	wg.Go(func() {
		defer hangUp()
		buf := make([]byte, 64<<10)
		var tail []byte
		for {
			n, err := server.Read(buf)
			select {
			case <-deaf:
				// ReadyForQuery, outside a transaction: the commit is done.
				if tail = append(tail, buf[:n]...); bytes.HasSuffix(tail, []byte("Z\x00\x00\x00\x05I")) {
					return
				}
			default:
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	r := bufio.NewReaderSize(client, 64<<10)
	said := talk{statements: map[string]string{}}
	for first := true; ; first = false {
		kind, whole, err := message(r, first)
		if err != nil {
			break
		}
		c := cutNever
		if !first {
			c = p.take(kind, whole[5:], &said)
		}
		if c == cutBefore {
			break
		}
		if c == cutAfter {
			close(deaf)
		}
		if _, err := server.Write(whole); err != nil {
			break
		}
	}
	hangUpAfter(deaf, hangUp)
	wg.Wait()
}

// hangUpAfter closes the connections, unless the client is being deceived: then
// the other direction does it when the server has committed.
func hangUpAfter(deaf chan struct{}, hangUp func()) {
	select {
	case <-deaf:
	default:
		hangUp()
	}
}
