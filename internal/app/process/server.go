package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Server serves HTTP from before the program is ready until it has stopped.
type Server struct {
	addr   string
	srv    *http.Server
	front  atomic.Pointer[http.Handler]
	served chan struct{}
}

// Listen opens a port and serves first there. failed is called once if serving
// ends by itself.
func Listen(addr string, first http.Handler, log *slog.Logger, failed func(error)) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s := &Server{addr: ln.Addr().String(), served: make(chan struct{})}
	s.Serve(first)
	s.srv = &http.Server{
		Handler: answers(timedBodies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(*s.front.Load()).ServeHTTP(w, r)
		}), bodyTime)),
		ConnState:         plainState,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		if err := s.srv.Serve(plainListener{ln}); err != nil && !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("serve HTTP: %w", err))
		}
	}()
	return s, nil
}

// maxHeader is the most bytes of a request's header; net/http adds 4 KiB.
const maxHeader = 64 << 10

// connKey is the key of a request's connection in its context.
type connKey struct{}

// Conn returns the connection of a request to a server of this package by the
// request's context, nil for others.
func Conn(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	if p, ok := c.(*plainConn); ok {
		return p.TCPConn
	}
	return c
}

// Addr is the address of the port.
func (s *Server) Addr() string { return s.addr }

// Serve replaces what is served.
func (s *Server) Serve(h http.Handler) { s.front.Store(&h) }

// Stop lets requests end for 5 s and cuts those that do not.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		_ = s.srv.Close() // those who still hang on are cut
	}
	<-s.served
	return nil
}
