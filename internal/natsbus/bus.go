package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-run/holdfast/internal/events"
)

// headRoom is what a message may have beside the frame: subject, headers, and
// that the server's answers repeat them.
const headRoom = 4 << 10

// Bus is an installation's streams on one connection.
type Bus struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	log   *slog.Logger
	names names
	mux   *mux
	// ackWait is as configured, the same in all processes.
	ackWait time.Duration

	noted sync.Map // workers with a note in the stream of marks, see renew

	lost   chan nats.Status
	stop   context.CancelFunc
	ctx    context.Context // of everything that the bus runs by itself
	closed sync.Once
	wg     sync.WaitGroup // of goroutines that the bus started
}

// Open makes sure that the streams exist as this program needs them and returns
// the bus. It waits until a server answers, saying so in the log, until ctx
// ends; streams that do not fit are an error at once. ctx is only for opening.
// The connection stays the caller's, to be closed after the bus.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Bus, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure the bus: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	b := &Bus{nc: nc, js: js, log: cfg.Logger, names: names{prefix: cfg.Prefix}, ackWait: cfg.AckWait}
	if err := b.setup(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	if have := nc.MaxPayload(); have < events.MaxFrame+headRoom {
		return nil, fmt.Errorf("open the bus: the NATS server takes messages of at most %d bytes, frames need %d: raise its max_payload", have, events.MaxFrame+headRoom)
	}
	if b.mux, err = newMux(nc); err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	b.ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.lost = nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	b.wg.Go(b.watch)
	return b, nil
}

// watch tells who waits when the connection is lost.
func (b *Bus) watch() {
	for {
		select {
		case _, ok := <-b.lost:
			if !ok {
				return
			}
			b.mux.fail(errConnectionLost)
		case <-b.ctx.Done():
			return
		}
	}
}

// Shards returns the number of event streams.
func (b *Bus) Shards() int { return b.names.shards }

// Close ends what the bus runs by itself: answers to pings, handlers of [Bus.Own].
// Whoever still waits for an answer gets an error. It does not close the connection.
func (b *Bus) Close() error {
	var err error
	b.closed.Do(func() {
		b.stop()
		err = b.mux.sub.Unsubscribe()
		if b.nc.IsClosed() {
			err = nil
		}
		b.mux.fail(nats.ErrConnectionClosed)
		b.nc.RemoveStatusListener(b.lost)
		b.wg.Wait()
	})
	if err != nil {
		return fmt.Errorf("close the bus: %w", err)
	}
	return nil
}
