package mcptool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

const (
	// writeTimeout is how long a server may leave its standard input unread.
	writeTimeout = 10 * time.Second
	// maxUnsolicited is how many bytes a server may send without one that answers
	// a request: notifications, text that is no message, late answers.
	maxUnsolicited = 8 << 20
	// maxServerRequests is how many requests of a server wait for our answer.
	// While that many wait, nothing more is read from it.
	maxServerRequests = 32
)

// stdio is the transport to a command: one JSON message per line. Unlike the
// one of mcp-go it bounds what the server may send, gives up on a server that
// does not read, runs no goroutine that Close does not wait for, and ends the
// process group.
type stdio struct {
	proc   *process
	log    io.Writer   // gets lines that are no messages
	onFail func(error) // told why the connection ends, before any request is

	writing chan struct{} // cap 1; holds a token while a line is written

	mu       sync.Mutex
	pending  map[string]chan *transport.JSONRPCResponse
	onNotify func(mcp.JSONRPCNotification)
	err      error // why done is closed

	done     chan struct{}
	requests chan []byte // of the server, to be answered
	// ask takes requests that are questions to the user.
	ask func(ctx context.Context, raw []byte, send func(*reply)) bool
	wg  sync.WaitGroup
}

var _ transport.Interface = (*stdio)(nil)

var errClosed = errors.New("the connection was closed")

func startStdio(cfg *Config, inherit bool, log io.Writer, onFail func(error), ask func(context.Context, []byte, func(*reply)) bool) (*stdio, error) {
	proc, err := startProcess(cfg, inherit, log)
	if err != nil {
		return nil, err
	}
	s := &stdio{
		proc: proc, log: log, onFail: onFail, ask: ask,
		writing:  make(chan struct{}, 1),
		pending:  make(map[string]chan *transport.JSONRPCResponse),
		done:     make(chan struct{}),
		requests: make(chan []byte, maxServerRequests),
	}
	s.wg.Go(func() { s.fail(s.read()) })
	s.wg.Go(s.answer)
	return s, nil
}

// Start implements transport.Interface; the process is running already.
func (s *stdio) Start(context.Context) error { return nil }

// GetSessionId implements transport.Interface; there are no sessions.
func (s *stdio) GetSessionId() string { return "" }

// SetNotificationHandler implements transport.Interface.
func (s *stdio) SetNotificationHandler(h func(mcp.JSONRPCNotification)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onNotify = h
}

// Close ends the server and waits until nothing of it is left.
func (s *stdio) Close() error {
	s.fail(errClosed)
	s.wg.Wait()
	s.proc.stop()
	return nil
}

// reason is why the connection ended, nil while it has not.
func (s *stdio) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail gives up on the connection, for the first reason that comes.
func (s *stdio) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.onFail(err)
	close(s.done)
	// The reader needs the end of the process to come back, and whoever fails the
	// connection must not wait for it.
	s.wg.Go(s.proc.stop)
}

// SendRequest implements transport.Interface.
func (s *stdio) SendRequest(ctx context.Context, req transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	key := req.ID.String()
	ch := make(chan *transport.JSONRPCResponse, 1)
	s.mu.Lock()
	s.pending[key] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, key)
		s.mu.Unlock()
	}()
	if err := s.write(ctx, req); err != nil {
		return nil, err
	}
	select {
	case resp := <-ch:
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
		select {
		case resp := <-ch: // it came just before the end
			return resp, nil
		default:
			return nil, s.reason()
		}
	}
}

// SendNotification implements transport.Interface.
func (s *stdio) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	return s.write(ctx, n)
}

// write sends one line. A line that was begun and could not be finished, because
// the server does not read, makes the connection useless.
func (s *stdio) write(ctx context.Context, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	line = append(line, '\n')
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.reason()
	}
	defer func() { <-s.writing }()

	if err := s.proc.stdin.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("writing to the server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.proc.stdin.SetWriteDeadline(time.Now()) })
	defer stop()
	n, err := s.proc.stdin.Write(line)
	if err == nil {
		return nil
	}
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		s.fail(s.writeFailure(err))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.writeFailure(err)
}

func (s *stdio) writeFailure(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not read its standard input")
	}
	return s.proc.ending()
}

// read takes lines until the server ends or breaks a rule, and says why.
func (s *stdio) read() error {
	r := bufio.NewReaderSize(s.proc.stdout, 64<<10)
	unsolicited := 0
	for {
		line, err := readLine(r)
		if err != nil {
			if errors.Is(err, errTooLong) {
				return fmt.Errorf("the server sent %w", err)
			}
			return s.proc.ending()
		}
		if s.dispatch(line) {
			unsolicited = 0
			continue
		}
		if unsolicited += len(line) + 1; unsolicited > maxUnsolicited {
			return fmt.Errorf("the server sent %d MiB that nobody asked for", maxUnsolicited>>20)
		}
	}
}

var errTooLong = fmt.Errorf("a message longer than %d MiB", MaxMessage>>20)

// readLine returns the next line without its end, and with an error what there
// was of the line. The slice is the caller's.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxMessage {
			return nil, errTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return line, err
		}
	}
}

// dispatch handles one line and reports whether it answered a request.
func (s *stdio) dispatch(line []byte) bool {
	var head struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		if len(bytes.TrimSpace(line)) > 0 {
			// Servers that log to standard output break the protocol; the text helps
			// whoever looks for the reason.
			_, _ = fmt.Fprintf(s.log, "stdout: %.1024s\n", line)
		}
		return false
	}
	hasID := len(head.ID) > 0 && string(head.ID) != "null"
	switch {
	case head.Method != "" && hasID:
		select {
		case s.requests <- line:
		case <-s.done:
		}
		return false
	case head.Method != "":
		var n mcp.JSONRPCNotification
		if heeded(head.Method) && json.Unmarshal(line, &n) == nil {
			s.mu.Lock()
			h := s.onNotify
			s.mu.Unlock()
			if h != nil {
				h(n)
			}
		}
		return false
	}
	var resp transport.JSONRPCResponse
	if err := json.Unmarshal(line, &resp); err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, ok := s.pending[resp.ID.String()]
	if ok {
		delete(s.pending, resp.ID.String())
		ch <- &resp
	}
	return ok
}

// answer replies to the server's requests, one after the other.
func (s *stdio) answer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case raw := <-s.requests:
			send := func(r *reply) {
				if err := s.write(ctx, r); err != nil && ctx.Err() == nil {
					s.fail(err)
				}
			}
			if s.ask(ctx, raw, send) {
				continue
			}
			if reply := answerServer(raw); reply != nil {
				if err := s.write(ctx, reply); err != nil {
					s.fail(err)
					return
				}
			}
		case <-s.done:
			return
		}
	}
}
