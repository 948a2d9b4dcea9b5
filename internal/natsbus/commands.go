package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/worker"
)

var (
	_ worker.Bus      = (*Bus)(nil)
	_ worker.Registry = (*Bus)(nil)
)

const (
	// pullSlack is how much longer than the server a pull waits.
	pullSlack = 500 * time.Millisecond
	// pullPause keeps a loop that asks for commands from spinning while nothing
	// answers.
	pullPause = 250 * time.Millisecond
	// sendAttempt is how long one attempt of Request to store its command may take.
	sendAttempt = 2 * time.Second
	sendPause   = 100 * time.Millisecond
	// holdMost is about how long a worker may hold a command that it is working on;
	// then another one gets it as well and asks the session's owner.
	holdMost = 2 * time.Second
)

// Send makes a command durable.
func (b *Bus) Send(ctx context.Context, c events.Command) error {
	if err := b.send(ctx, c); err != nil {
		return fmt.Errorf("send a command to %s: %w", c.Session, err)
	}
	return nil
}

func (b *Bus) send(ctx context.Context, c events.Command) error {
	if err := c.Session.Validate(); err != nil {
		return err
	}
	c.Tenant, c.SessionID = c.Session.Tenant, c.Session.Session
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if most := int(b.nc.MaxPayload()) - headRoom; len(body) > most {
		return holdfast.Errorf(holdfast.CodeTooLarge, "the request has %d bytes, %d are possible", len(body), most)
	}
	_, err = b.store(ctx, &nats.Msg{Subject: b.names.command(c.Session), Data: body})
	return err
}

// Request makes a command durable and waits until some worker has answered it.
// An error with CodeTimeout says that the command is in the queue and will take
// effect, one with CodeUnavailable that it could not be stored or that this is
// not known; asking again with the same id is right in both cases.
func (b *Bus) Request(ctx context.Context, c events.Command) (events.Answer, error) {
	queued := false
	for {
		a, sent, err := b.request(ctx, c)
		queued = queued || sent
		if err == nil {
			return a, nil
		}
		switch {
		case ctx.Err() != nil && queued:
			return events.Answer{}, holdfast.WrapError(holdfast.CodeTimeout, err, "the request is accepted into the queue; its outcome is not known yet")
		case ctx.Err() != nil:
			return events.Answer{}, holdfast.WrapError(holdfast.CodeUnavailable, err, "the request could not be queued in time")
		case !queued && holdfast.CodeOf(err) != holdfast.CodeInternal:
			return events.Answer{}, fmt.Errorf("request of %s: %w", c.Session, err)
		}
		// The outcome is unknown, or the answer was lost with the connection. The id
		// makes it harmless to ask again.
		select {
		case <-ctx.Done():
		case <-time.After(sendPause):
		}
	}
}

func (b *Bus) request(ctx context.Context, c events.Command) (a events.Answer, queued bool, err error) {
	token, reply, ch := b.mux.expect()
	c.Reply = reply
	attempt, cancel := context.WithTimeout(ctx, sendAttempt)
	err = b.send(attempt, c)
	cancel()
	if err != nil {
		b.mux.forget(token, ch)
		return events.Answer{}, false, err
	}
	var got answer
	select {
	case got = <-ch:
		b.mux.chans.Put(ch)
	case <-ctx.Done():
		var ok bool
		if got, ok = b.mux.forget(token, ch); !ok {
			return events.Answer{}, true, context.Cause(ctx)
		}
	}
	if got.err != nil {
		return events.Answer{}, true, got.err
	}
	if err := json.Unmarshal(got.msg.Data, &a); err != nil {
		return events.Answer{}, true, fmt.Errorf("read the answer to command %s: %w", c.ID, err)
	}
	return a, true, nil
}

// Answer tells whoever waits for the command what became of it.
func (b *Bus) Answer(c events.Command, a events.Answer) error {
	if c.Reply == "" {
		return nil
	}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the answer to command %s: %w", c.ID, err)
	}
	if err := b.nc.Publish(c.Reply, body); err != nil {
		return fmt.Errorf("answer command %s: %w", c.ID, err)
	}
	return nil
}

// NextCommand waits for a command, for a second or so. While JetStream does not
// answer it returns an error after a short pause, so that it can be called in a loop.
func (b *Bus) NextCommand(ctx context.Context) (worker.Delivery, error) {
	body := fmt.Appendf(nil, `{"batch":1,"expires":%d}`, pullExpiry.Nanoseconds())
	wait, cancel := context.WithTimeout(ctx, pullExpiry+pullSlack)
	defer cancel()
	msg, err := b.next(wait, body)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			b.giveBack(msg)
		}
		return worker.Delivery{}, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return worker.Delivery{}, worker.ErrNoCommand
	case err == nil:
		switch s := status(msg); s {
		case "":
			return b.delivery(ctx, msg)
		case statusNoMessages, statusTimeout:
			return worker.Delivery{}, worker.ErrNoCommand
		default:
			err = fmt.Errorf("status %s %s", s, msg.Header.Get("Description"))
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(pullPause):
	}
	return worker.Delivery{}, fmt.Errorf("ask for a command: %w", err)
}

// next asks the consumer for one message. The message comes under the subject
// that it was stored with, not under that of the request, so that it needs a
// subscription of its own.
func (b *Bus) next(ctx context.Context, body []byte) (*nats.Msg, error) {
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() {
		// A server gives nothing to a pull that nobody listens to any more. What is on
		// its way at this moment comes again after the consumer's AckWait.
		for {
			late, err := sub.NextMsg(0)
			if err != nil {
				break
			}
			b.giveBack(late)
		}
		_ = sub.Unsubscribe() // fails only if the connection is closed
	}()
	subject := "$JS.API.CONSUMER.MSG.NEXT." + b.names.commandStream() + "." + workersConsumer
	if err := b.nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, err
	}
	return sub.NextMsgWithContext(ctx)
}

func (b *Bus) delivery(ctx context.Context, msg *nats.Msg) (worker.Delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return worker.Delivery{}, fmt.Errorf("read a delivery: %w", err)
	}
	ackSubject := msg.Reply
	c, err := events.DecodeCommand(msg.Data)
	if err == nil && b.names.command(c.Session) != msg.Subject {
		err = fmt.Errorf("decode command: it names %s", c.Session)
	}
	if err != nil {
		// It can never take effect. It is kept aside, then it may go.
		b.log.Error("a command cannot be read and is put aside", "subject", msg.Subject, "position", meta.Sequence.Stream, "error", err)
		if err := b.bury(ctx, 0, msg.Subject, meta.Sequence.Stream, msg.Data, err); err != nil {
			return worker.Delivery{}, err
		}
		if err := b.nc.Publish(ackSubject, []byte("+TERM")); err != nil {
			return worker.Delivery{}, fmt.Errorf("end a delivery: %w", err)
		}
		return worker.Delivery{}, worker.ErrNoCommand
	}
	return worker.Delivery{
		Queued: worker.Queued{Pos: meta.Sequence.Stream, Command: c},
		Ack: func(ctx context.Context) error {
			// Confirmed, so that Commands does not return it to this process again.
			if _, err := b.mux.do(ctx, &nats.Msg{Subject: ackSubject, Data: []byte("+ACK")}); err != nil {
				return fmt.Errorf("acknowledge command %s: %w", c.ID, err)
			}
			return nil
		},
		Hold: func() func() { return b.hold(ackSubject) },
		Retry: func(delay time.Duration) error {
			if err := b.nc.Publish(ackSubject, nak(delay)); err != nil {
				return fmt.Errorf("give command %s back: %w", c.ID, err)
			}
			return nil
		},
	}, nil
}

// hold tells the consumer that a delivery is being worked on, for as long as a
// worker that lives may take. One that was killed or frozen does not, and the
// command comes again after the consumer's AckWait.
func (b *Bus) hold(ackSubject string) (release func()) {
	var mu sync.Mutex
	var timer *time.Timer
	left := int(holdMost/b.ackWait)*2 - 1
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(b.ackWait/2, func() {
		mu.Lock()
		defer mu.Unlock()
		if left--; left < 0 || b.ctx.Err() != nil {
			return
		}
		if err := b.nc.Publish(ackSubject, []byte("+WPI")); err == nil {
			timer.Reset(b.ackWait / 2)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		left = 0
		timer.Stop()
	}
}

func nak(delay time.Duration) []byte {
	if delay <= 0 {
		return []byte("-NAK")
	}
	return fmt.Appendf(nil, `-NAK {"delay":%d}`, delay.Nanoseconds())
}

// giveBack returns a delivery that came when its asker had left.
func (b *Bus) giveBack(msg *nats.Msg) {
	if !strings.HasPrefix(msg.Reply, "$JS.ACK.") {
		return
	}
	if err := b.nc.Publish(msg.Reply, nak(0)); err != nil {
		b.log.Warn("a late delivery could not be given back, it comes again by itself", "subject", msg.Subject, "error", err)
	}
}

// Commands returns the session's unacknowledged commands after a position.
func (b *Bus) Commands(ctx context.Context, s holdfast.SessionRef, after uint64) ([]worker.Queued, error) {
	var all []worker.Queued
	for {
		m, err := b.getMessage(ctx, b.names.commandStream(), msgGet{Seq: after + 1, NextBySubject: b.names.command(s)})
		if errors.Is(err, events.ErrNoFrame) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the commands of %s: %w", s, err)
		}
		after = m.Seq
		c, err := events.DecodeCommand(m.Data)
		if err != nil {
			b.log.Error("a command cannot be read and is passed over", "subject", m.Subject, "position", m.Seq, "error", err)
			continue // its delivery puts it aside
		}
		all = append(all, worker.Queued{Pos: m.Seq, Command: c})
	}
}

// Own makes this process the one that AskOwner reaches for the session. After
// stop no new request is taken, and the context of those that run is ended.
func (b *Bus) Own(s holdfast.SessionRef, fn func(ctx context.Context, c events.Command) bool) (func(), error) {
	ctx, cancel := context.WithCancel(b.ctx)
	var mu sync.Mutex // orders the start of handlers with stop
	stopped := false
	sub, err := b.nc.Subscribe(b.names.own(s), func(msg *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if stopped || ctx.Err() != nil {
			b.respond(msg, false)
			return
		}
		b.wg.Go(func() {
			c, err := events.DecodeCommand(msg.Data)
			if err != nil {
				b.log.Error("a command to an owner cannot be read", "subject", msg.Subject, "error", err)
				b.respond(msg, false)
				return
			}
			b.respond(msg, fn(ctx, c))
		})
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("own %s: %w", s, err)
	}
	return func() {
		mu.Lock()
		stopped = true
		mu.Unlock()
		cancel()
		// What has come already is answered, so that who asks need not wait. The only
		// failure is a connection or subscription that is closed already.
		_ = sub.Drain()
	}, nil
}

func (b *Bus) respond(msg *nats.Msg, accepted bool) {
	body := "leaving"
	if accepted {
		body = "accepted"
	}
	if err := msg.Respond([]byte(body)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Warn("an owner's answer could not be sent, the command comes again", "subject", msg.Subject, "error", err)
	}
}

// AskOwner hands a command to the session's owner.
func (b *Bus) AskOwner(ctx context.Context, c events.Command) (bool, error) {
	c.Tenant, c.SessionID = c.Session.Tenant, c.Session.Session
	body, err := json.Marshal(c)
	if err != nil {
		return false, fmt.Errorf("encode command %s: %w", c.ID, err)
	}
	msg, err := b.mux.do(ctx, &nats.Msg{Subject: b.names.own(c.Session), Data: body})
	if err != nil {
		return false, fmt.Errorf("ask the owner of %s: %w", c.Session, err)
	}
	if status(msg) == statusNoResponders {
		return false, worker.ErrNobody
	}
	return string(msg.Data) == "accepted", nil
}
