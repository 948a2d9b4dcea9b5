package runtime

import (
	"context"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// Pauses between attempts to keep an answer while the store is away, and how long
// that may take: the user can begin again.
const (
	deliverPause = 100 * time.Millisecond
	deliverMost  = 20 * time.Second
)

// beginDelivery keeps the answer of an authorization server that a command
// brings, beside the loop, and takes the command then: other commands of the
// session do not wait for a store that is away. It reports false if there is
// nothing to keep.
func (d *drive) beginDelivery(c events.Command) bool {
	var b events.AnswerBody
	if unmarshalBody(c, &b) != nil {
		return false // accept says so
	}
	under, wanted := false, false
	d.locked(func() {
		a := d.s.flow(b.Flow)
		_, settled := d.s.Commands[c.ID]
		under = d.deliver[c.ID]
		if wanted = !settled && a != nil && !a.Received && !under && !d.closed; wanted {
			if d.deliver == nil {
				d.deliver = map[string]bool{}
			}
			d.deliver[c.ID] = true
		}
	})
	if under {
		return true // the same command again: it is settled with the first
	}
	if !wanted {
		return false
	}
	d.deliveries.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				d.end(d.e.panicked("keep an authorization's answer", r))
			}
			d.locked(func() { delete(d.deliver, c.ID) })
			select {
			case d.delivered <- struct{}{}:
			default:
			}
		}()
		src := source{err: d.keep(d.life, b)}
		if d.life.Err() != nil {
			return // it stays in the queue for the next owner
		}
		d.taking.Lock()
		defer d.taking.Unlock()
		if err := d.takeWith(d.life, c, src); err != nil && d.life.Err() == nil {
			d.e.log.Warn("take an authorization's answer", "session", d.w.Ref().String(), "error", err)
		}
	})
	return true
}

// keep keeps an answer with its flow.
func (d *drive) keep(ctx context.Context, b events.AnswerBody) error {
	if d.e.cfg.Authorizer == nil {
		return holdfast.Errorf(holdfast.CodeNotOffered, "this deployment has no OAuth client")
	}
	ctx, cancel := context.WithTimeout(ctx, deliverMost)
	defer cancel()
	for pause := deliverPause; ; pause = min(2*pause, 2*time.Second) {
		err := d.e.cfg.Authorizer.Deliver(ctx, d.w.Ref(), b.Flow, b.Sealed)
		if code := holdfast.CodeOf(err); err == nil || (code != holdfast.CodeUnavailable && code != holdfast.CodeTimeout) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (d *drive) isDelivering() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.deliver) > 0
}

// attend waits, while nothing else is to be done, until an answer is kept or a
// command comes. A session that is to be left is left with the command in the queue.
func (d *drive) attend(ctx context.Context) error {
	select {
	case <-d.delivered:
		return nil
	case <-d.in.Wake():
		return d.takeCommands(ctx)
	case <-d.in.Draining():
		return d.handOver(ctx)
	case <-d.w.Lost():
		return events.ErrLost
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
