package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// Announce answers pings for the worker and keeps its key alive until stop.
func (b *Bus) Announce(ctx context.Context, name string) (func(), error) {
	if err := holdfast.ValidateID("worker", name); err != nil {
		return nil, err
	}
	sub, err := b.nc.Subscribe(b.names.ping(name), func(msg *nats.Msg) {
		// A ping that cannot be answered is a time-out of who asks.
		_ = msg.Respond(nil)
	})
	if err != nil {
		return nil, fmt.Errorf("announce worker %s: %w", name, err)
	}
	if err := b.renew(ctx, name); err != nil {
		return nil, errors.Join(fmt.Errorf("announce worker %s: %w", name, err), sub.Unsubscribe())
	}
	beat, cancel := context.WithCancel(b.ctx)
	done := make(chan struct{})
	b.wg.Go(func() {
		defer close(done)
		b.keepAlive(beat, name)
	})
	return func() {
		cancel()
		<-done
		// Both only make the news travel faster: the key expires by itself.
		_ = sub.Unsubscribe()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), workerBeat)
		defer cancel()
		err := b.purge(last, b.names.workerStream(), purgeRequest{Filter: b.names.worker(name)})
		if err == nil {
			_, _, err = b.Marked(last, name)
		}
		if err != nil {
			b.log.Debug("the key of a leaving worker expires by itself", "worker", name, "error", err)
		}
	}, nil
}

func (b *Bus) keepAlive(ctx context.Context, name string) {
	tick := time.NewTicker(workerBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, workerTTL)
		err := b.renew(attempt, name)
		cancel()
		if err != nil && ctx.Err() == nil {
			b.log.Warn("the key of this worker was not renewed", "worker", name, "error", err)
		}
	}
}

// renew stores the worker's key and the note that it may have marks. The note
// is a message of its own, since the marks themselves are as many as the
// sessions that run and supervisors look often.
func (b *Bus) renew(ctx context.Context, name string) error {
	if _, err := b.store(ctx, &nats.Msg{Subject: b.names.worker(name)}); err != nil {
		return err
	}
	if _, err := b.store(ctx, &nats.Msg{Subject: b.names.markNote(name)}); err != nil {
		return err
	}
	b.noted.Store(name, true)
	return nil
}

// Beats tells of each renewal of a worker's key.
func (b *Bus) Beats(fn func(name string)) (func(), error) {
	prefix := b.names.worker("")
	sub, err := b.nc.Subscribe(b.names.worker("*"), func(msg *nats.Msg) {
		fn(strings.TrimPrefix(msg.Subject, prefix))
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the keys of workers: %w", err)
	}
	return func() {
		// The only failure is a connection or subscription that is closed already.
		_ = sub.Unsubscribe()
	}, nil
}

// Workers returns the workers that have a live key and those that have marks.
func (b *Bus) Workers(ctx context.Context) (live, marked []string, err error) {
	keys, err := b.subjects(ctx, b.names.workerStream(), b.names.worker("*"))
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		live = append(live, strings.TrimPrefix(k, b.names.worker("")))
	}
	notes, err := b.subjects(ctx, b.names.markStream(), b.names.markNote("*"))
	if err != nil {
		return nil, nil, err
	}
	for _, m := range notes {
		name, _, _ := strings.Cut(strings.TrimPrefix(m, b.names.prefix+".m."), ".")
		marked = append(marked, name)
	}
	return live, marked, nil
}

// Ping asks the worker for a sign of life.
func (b *Bus) Ping(ctx context.Context, name string) error {
	msg, err := b.mux.do(ctx, &nats.Msg{Subject: b.names.ping(name)})
	if err != nil {
		return fmt.Errorf("ping worker %s: %w", name, err)
	}
	if status(msg) == statusNoResponders {
		return worker.ErrNobody
	}
	return nil
}

// Mark notes durably that the worker owns the session.
func (b *Bus) Mark(ctx context.Context, name string, s holdfast.SessionRef) error {
	subjects := []string{b.names.mark(name, s)}
	if _, ok := b.noted.Load(name); !ok {
		subjects = []string{b.names.markNote(name), subjects[0]}
	}
	for _, subject := range subjects {
		if _, err := b.store(ctx, &nats.Msg{Subject: subject}); err != nil {
			return fmt.Errorf("note that worker %s owns %s: %w", name, s, err)
		}
	}
	return nil
}

// Unmark removes the note.
func (b *Bus) Unmark(ctx context.Context, name string, s holdfast.SessionRef) error {
	return b.unmark(ctx, name, s, 0)
}

// UnmarkAt removes the note unless it was made after [Bus.Marked] returned at.
func (b *Bus) UnmarkAt(ctx context.Context, name string, s holdfast.SessionRef, at uint64) error {
	return b.unmark(ctx, name, s, at+1)
}

// unmark removes the note if it is before a position of the stream, 0 for anywhere.
func (b *Bus) unmark(ctx context.Context, name string, s holdfast.SessionRef, before uint64) error {
	if err := b.purge(ctx, b.names.markStream(), purgeRequest{Sequence: before, Filter: b.names.mark(name, s)}); err != nil {
		return fmt.Errorf("remove the note that worker %s owns %s: %w", name, s, err)
	}
	return nil
}

// Marked lists the sessions that the worker is noted to own, as of at. A worker that has
// neither sessions nor a live key is forgotten; if it was only asleep, it notes
// itself again with its next key.
func (b *Bus) Marked(ctx context.Context, name string) (refs []holdfast.SessionRef, at uint64, err error) {
	marks, at, err := b.subjectsAt(ctx, b.names.markStream(), b.names.marks(name))
	if err != nil {
		return nil, 0, err
	}
	note := b.names.markNote(name)
	refs = make([]holdfast.SessionRef, 0, len(marks))
	for _, m := range marks {
		if ref, ok := lastTwo(m); ok && m != note {
			refs = append(refs, ref)
		}
	}
	if len(refs) > 0 || len(marks) == 0 {
		return refs, at, nil
	}
	keys, err := b.subjects(ctx, b.names.workerStream(), b.names.worker(name))
	if err != nil {
		return nil, 0, err
	}
	if len(keys) == 0 {
		b.noted.Delete(name)
		if err := b.purge(ctx, b.names.markStream(), purgeRequest{Filter: note}); err != nil {
			return nil, 0, fmt.Errorf("forget worker %s: %w", name, err)
		}
	}
	return refs, at, nil
}
