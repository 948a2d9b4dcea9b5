package natsbus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// errConnectionLost: the connection was lost while an answer was awaited.
var errConnectionLost = errors.New("the connection to NATS was lost before the answer came")

// mux sends requests whose answers all come through one subscription. Unlike
// the one in nats.go it tells everybody who waits when the connection is lost.
type mux struct {
	nc     *nats.Conn
	prefix string // of reply subjects; a token follows
	sub    *nats.Subscription
	// chans keeps channels of one place: a waiter that has left has either received
	// or was removed under mu, so that its channel is empty.
	chans sync.Pool

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]chan answer
}

type answer struct {
	msg *nats.Msg
	err error
}

func newMux(nc *nats.Conn) (*mux, error) {
	m := &mux{nc: nc, prefix: nc.NewInbox() + ".", waiting: make(map[uint64]chan answer)}
	m.chans.New = func() any { return make(chan answer, 1) }
	var err error
	if m.sub, err = nc.Subscribe(m.prefix+"*", m.receive); err != nil {
		return nil, err
	}
	// An answer must not be dropped because many come at once: what is here was
	// asked for, so that its amount is bounded by who waits.
	return m, m.sub.SetPendingLimits(-1, -1)
}

func (m *mux) receive(msg *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, m.prefix), 36, 64)
	if err != nil {
		return
	}
	m.mu.Lock()
	ch, ok := m.waiting[token]
	delete(m.waiting, token)
	m.mu.Unlock()
	if ok { // else nobody waits any more
		ch <- answer{msg: msg}
	}
}

// expect registers a waiter; reply is where its answer is to be sent. Either
// the answer is taken from ch or the waiter is forgotten.
func (m *mux) expect() (token uint64, reply string, ch chan answer) {
	ch = m.chans.Get().(chan answer)
	m.mu.Lock()
	m.next++
	token = m.next
	m.waiting[token] = ch
	m.mu.Unlock()
	return token, m.prefix + strconv.FormatUint(token, 36), ch
}

// forget removes a waiter that leaves. An answer that came meanwhile is returned.
func (m *mux) forget(token uint64, ch chan answer) (answer, bool) {
	m.mu.Lock()
	_, waiting := m.waiting[token]
	delete(m.waiting, token)
	m.mu.Unlock()
	if waiting {
		m.chans.Put(ch)
		return answer{}, false
	}
	a := <-ch // somebody has taken it out and is about to send
	m.chans.Put(ch)
	return a, true
}

// fail tells everybody who waits that no answer will come.
func (m *mux) fail(err error) {
	m.mu.Lock()
	all := m.waiting
	m.waiting = make(map[uint64]chan answer)
	m.mu.Unlock()
	for _, ch := range all {
		ch <- answer{err: err}
	}
}

// answerTimeout is how long an answer is awaited by who has set no limit. A
// server that is being started may take a message and never answer, on a
// connection that stays.
const answerTimeout = 5 * time.Second

// do sends a request and waits for its answer. notSent tells of an error
// whether the request was never handed to a server. Status messages without a
// body are answers like any other, see [status].
func (m *mux) do(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTimeout)
		defer cancel()
	}
	token, reply, ch := m.expect()
	msg.Reply = reply
	if err := m.nc.PublishMsg(msg); err != nil {
		m.forget(token, ch)
		return nil, err
	}
	select {
	case a := <-ch:
		m.chans.Put(ch)
		return a.msg, a.err
	case <-ctx.Done():
		if a, ok := m.forget(token, ch); ok {
			return a.msg, a.err
		}
		return nil, context.Cause(ctx)
	}
}

// status returns the code of a message that is only a status, "" for others.
func status(msg *nats.Msg) string {
	if len(msg.Data) > 0 {
		return ""
	}
	return msg.Header.Get("Status")
}

const (
	statusNoMessages   = "404"
	statusTimeout      = "408"
	statusConflict     = "409"
	statusNoResponders = "503"
)
