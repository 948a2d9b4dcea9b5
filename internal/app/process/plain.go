package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	holdfast "github.com/holdfast-run/holdfast"
)

// plainListener gives connections on which also those answers are
// application/problem+json that net/http gives without asking a handler: to a
// header that is too large, to what is no HTTP, to an expectation that nobody knows.
// The one thing that net/http says nothing to is a header that does not come in time:
// there it closes the connection.
type plainListener struct{ net.Listener }

// Accept implements net.Listener.
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &plainConn{TCPConn: tcp}, nil
	}
	return c, err
}

// plainConn is one of its connections. What net/http says by itself it writes at
// once and whole, and before a handler is called.
type plainConn struct {
	*net.TCPConn
	// answering is from when a handler is called until its answer is written: what is
	// written then is never touched, whatever it looks like.
	answering atomic.Bool
}

// plainState is the ConnState of a server of such connections.
func plainState(c net.Conn, st http.ConnState) {
	if p, ok := c.(*plainConn); ok && st == http.StateIdle {
		p.answering.Store(false)
	}
}

// answers tells the connections of a handler that it is called.
func answers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, ok := r.Context().Value(connKey{}).(*plainConn); ok {
			p.answering.Store(true)
		}
		h.ServeHTTP(w, r)
	})
}

// The header of these answers, and that of an unknown expectation, as net/http
// writes them. A test asks for each of them.
var (
	plainHeader = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	expectation = []byte("HTTP/1.1 417 ")
)

// Write implements net.Conn.
func (c *plainConn) Write(p []byte) (int, error) {
	if c.answering.Load() {
		return c.TCPConn.Write(p)
	}
	said := problemFor(p)
	if said == nil {
		return c.TCPConn.Write(p)
	}
	if n, err := c.TCPConn.Write(said); err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

// problemFor returns what is written in the place of an answer of net/http's own, nil
// for every other.
func problemFor(p []byte) []byte {
	const proto = "HTTP/1.1 "
	if len(p) < len(proto)+4 || !bytes.HasPrefix(p, []byte(proto)) || p[len(proto)] != '4' && p[len(proto)] != '5' {
		return nil
	}
	line, rest, _ := bytes.Cut(p, []byte("\r\n"))
	if !bytes.HasPrefix(p[len(line):], plainHeader) && !(bytes.HasPrefix(p, expectation) && bytes.Contains(rest, []byte("Content-Length: 0\r\n"))) {
		return nil
	}
	st, err := strconv.Atoi(string(line[len(proto) : len(proto)+3]))
	if err != nil {
		return nil
	}
	detail, code := "the request is no HTTP that can be read", holdfast.CodeInvalid
	switch st {
	case http.StatusRequestHeaderFieldsTooLarge:
		detail, code = fmt.Sprintf("the header of the request is larger than %d KiB", maxHeader>>10), holdfast.CodeTooLarge
	case http.StatusExpectationFailed:
		detail = "the header Expect can only be 100-continue"
	case http.StatusNotImplemented:
		detail, code = "the transfer encoding of the body is not offered; chunked is", holdfast.CodeNotOffered
	case http.StatusHTTPVersionNotSupported:
		detail, code = "this version of HTTP is not offered; HTTP/1.1 is", holdfast.CodeNotOffered
	default:
		// "400 Bad Request: text"; the text is net/http's own, and nothing of the request.
		if _, text, ok := bytes.Cut(line, []byte(": ")); ok {
			detail += ": " + string(text)
		}
	}
	body, err := json.Marshal(map[string]any{"title": http.StatusText(st), "status": st, "detail": detail, "code": code})
	if err != nil {
		return nil
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		st, http.StatusText(st), len(body), body)
}
