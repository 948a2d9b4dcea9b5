package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// wire makes the connections of one client and cuts them where it is told to:
// before the server gets a message, or after it has got it and before the client
// hears of that.
type wire struct {
	mu     sync.Mutex // guards what follows
	mark   []byte     // a message that has it is cut; nil for none
	after  bool
	hidden chan struct{} // closed when the message was let through
	conns  []*wireConn
}

type wireConn struct {
	net.Conn
	w *wire

	mu   sync.Mutex // guards deaf
	deaf bool       // the client is to hear nothing any more
}

// Dial implements nats.CustomDialer.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn := &wireConn{Conn: c, w: w}
	w.mu.Lock()
	w.conns = append(w.conns, conn)
	w.mu.Unlock()
	return conn, nil
}

// arm cuts at the next message that has the mark. passed is closed when the server
// has been sent a message that the client will not hear of.
func (w *wire) arm(mark string, after bool) (passed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mark, w.after, w.hidden = []byte(mark), after, make(chan struct{})
	return w.hidden
}

// cut ends all connections.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close() // it may be closed already
	}
	w.conns = nil
}

var errCut = errors.New("the wire is cut, for the test")

func (c *wireConn) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	hit := c.w.mark != nil && bytes.Contains(p, c.w.mark)
	after, hidden := c.w.after, c.w.hidden
	if hit {
		c.w.mark = nil
	}
	c.w.mu.Unlock()
	switch {
	case hit && !after:
		return 0, errors.Join(errCut, c.Close())
	case hit:
		c.mu.Lock()
		c.deaf = true
		c.mu.Unlock()
		defer close(hidden)
	}
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.mu.Lock()
		deaf := c.deaf
		c.mu.Unlock()
		if !deaf || err != nil {
			return n, err
		}
	}
}

// wired returns a bus on a wire and one beside it, on the same streams.
func wired(t *testing.T) (w *wire, bus, beside *natsbus.Bus) {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{
		SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir(), Listen: fmt.Sprintf("127.0.0.1:%d", testenv.Port(t)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
	w = &wire{}
	nc, err := nats.Connect(s.URL(), append(natsbus.Options(t.Name(), nil), nats.SetCustomDialer(w))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return w, open(t, nc, natsbus.Config{}), open(t, connect(t, s), natsbus.Config{})
}

var halves = map[string]bool{"failed and did not happen": false, "failed and did happen": true}

// lose makes a call whose message has the mark, and lets it fail: with happened,
// when seen says that the server has done it.
func (w *wire) lose(t *testing.T, mark string, happened bool, call func() error, seen func() bool) {
	t.Helper()
	passed := w.arm(mark, happened)
	failed := make(chan error, 1)
	go func() { failed <- call() }()
	if happened {
		await(t, passed, "the message is sent")
		eventually(t, "the server has done it", seen)
		w.cut()
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Fatal("a call whose answer is lost succeeded")
		}
	case <-time.After(patience):
		t.Fatal("a call whose answer is lost does not end")
	}
	if seen() != happened {
		t.Fatalf("it has happened: %v, want %v", !happened, happened)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not after %s: %s", patience, what)
		}
	}
}

// TestMarkOutcomes: a note of ownership, or its removal, whose outcome is unknown
// is made again and is there once, or gone.
func TestMarkOutcomes(t *testing.T) {
	w, b, beside := wired(t)
	for half, happened := range halves {
		t.Run(half, func(t *testing.T) {
			ref, worker := eventstest.NewRef(), holdfast.NewID()
			marked := func() bool {
				t.Helper()
				refs, _, err := beside.Marked(patient(t), worker)
				if err != nil {
					t.Fatal(err)
				}
				if len(refs) > 1 || len(refs) == 1 && refs[0] != ref {
					t.Fatalf("marked: %v", refs)
				}
				return len(refs) == 1
			}
			gone := func() bool { return !marked() }
			mark := func() error { return b.Mark(patient(t), worker, ref) }
			unmark := func() error { return b.Unmark(patient(t), worker, ref) }
			// again makes the same call until the connection is back.
			again := func(call func() error) {
				t.Helper()
				eventually(t, "the call succeeds", func() bool { return call() == nil })
			}
			// Another mark, so that the worker itself is noted already.
			other := eventstest.NewRef()
			again(func() error { return b.Mark(patient(t), worker, other) })
			again(func() error { return b.Unmark(patient(t), worker, other) })
			w.lose(t, ref.Session, happened, mark, marked)
			again(mark)
			if !marked() {
				t.Fatal("it is not marked")
			}
			w.lose(t, ref.Session, happened, unmark, gone)
			again(unmark)
			if !gone() {
				t.Fatal("it is marked")
			}
		})
	}
}

// TestCommandOutcomes: a command whose outcome is unknown is sent again by who
// waits for its answer, under the same id; if it was stored before, it is there
// twice and its owner takes it once. Who does not wait is told.
func TestCommandOutcomes(t *testing.T) {
	w, b, beside := wired(t)
	for half, happened := range halves {
		t.Run(half, func(t *testing.T) {
			ref := eventstest.NewRef()
			stored := func() []string {
				t.Helper()
				q, err := beside.Commands(patient(t), ref, 0)
				if err != nil {
					t.Fatal(err)
				}
				return ids(q)
			}
			sent, asked := holdfast.NewID(), holdfast.NewID()
			eventually(t, "the connection is there", func() bool { return b.Ready(patient(t)) == nil })
			w.lose(t, sent, happened, func() error { return b.Send(patient(t), command(t, ref, sent)) }, func() bool { return len(stored()) == 1 })
			before := len(stored())

			eventually(t, "the connection is there", func() bool { return b.Ready(patient(t)) == nil })
			passed := w.arm(asked, happened)
			type result struct {
				events.Answer
				err error
			}
			got := make(chan result, 1)
			go func() {
				ctx := patient(t)
				for {
					a, err := b.Request(ctx, command(t, ref, asked))
					// Without a connection it says that it does not know, and is asked again.
					if holdfast.CodeOf(err) != holdfast.CodeUnavailable || ctx.Err() != nil {
						got <- result{a, err}
						return
					}
				}
			}()
			want := before + 1
			if happened {
				await(t, passed, "the command is sent")
				eventually(t, "the command is stored", func() bool { return len(stored()) >= want })
				w.cut()
				want++
			}
			eventually(t, "the command is sent again", func() bool { return len(stored()) >= want })
			if list := stored(); slices.ContainsFunc(list[before:], func(id string) bool { return id != asked }) {
				t.Errorf("stored: %v", list)
			}
			var r result
			eventually(t, "the answer is there", func() bool {
				q, err := beside.Commands(patient(t), ref, 0)
				if err != nil {
					t.Fatal(err)
				}
				// The newest one knows where the answer is awaited.
				c := q[len(q)-1].Command
				if err := beside.Answer(c, events.Answer{Command: c.ID, Seq: 7}); err != nil {
					t.Fatal(err)
				}
				select {
				case r = <-got:
					return true
				default:
					return false
				}
			})
			if r.err != nil || r.Seq != 7 {
				t.Errorf("answer %+v, %v", r.Answer, r.err)
			}
		})
	}
}
