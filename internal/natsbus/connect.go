package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	reconnectWait = 100 * time.Millisecond
	// pingInterval × maxPings is how long a connection that is silently dead goes
	// unnoticed.
	pingInterval = 5 * time.Second
	maxPings     = 2
	// writeTimeout bounds a write to a server that does not read.
	writeTimeout = 5 * time.Second
	// syncQueue is the room of a subscription that is read message by message. Each
	// pull of a command has one, of a message or two; the client's default of 65,536
	// places would cost half a megabyte a pull.
	syncQueue = 16
)

// Options are the connection options that the promises of this package need:
// reconnect for ever, buffer nothing while there is no connection, say in the
// log what happens. Pass them to whatever opens the connection.
func Options(name string, logger *slog.Logger) []nats.Option {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, 2*reconnectWait),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(writeTimeout),
		nats.SyncQueueLen(syncQueue),
		nats.RetryOnFailedConnect(true),
		nats.ConnectHandler(func(nc *nats.Conn) {
			logger.Info("connected to NATS", "server", nc.ConnectedUrlRedacted())
		}),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil && !nc.IsClosed() {
				logger.Warn("lost the connection to NATS, reconnecting", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			logger.Info("reconnected to NATS", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			logger.Warn("NATS reports an error", "subject", subject, "error", err)
		}),
	}
}

// Connect opens a connection to the servers of url (several are separated by
// commas). If none can be reached it says so in the log and goes on trying in
// the background for as long as the connection lives; [Bus.Ready] and [Open]
// tell whether there is one. An error means that the url or an option is wrong.
func Connect(url, name string, logger *slog.Logger) (*nats.Conn, error) {
	nc, err := nats.Connect(url, Options(name, logger)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if !nc.IsConnected() && logger != nil {
		logger.Warn("no NATS server can be reached yet, still trying", "servers", redacted(nc), "error", nc.LastError())
	}
	return nc, nil
}

func redacted(nc *nats.Conn) []string {
	var urls []string
	for _, u := range nc.Servers() {
		urls = append(urls, redactURL(u))
	}
	return urls
}

// notSent reports whether a publish failed before anything was handed to a
// server.
func notSent(err error) bool {
	for _, known := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrConnectionClosed,
		nats.ErrConnectionDraining, nats.ErrInvalidConnection, nats.ErrMaxPayload, nats.ErrBadSubject,
		nats.ErrHeadersNotSupported,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// unavailable is an error that says: known not to have happened, try again.
func unavailable(message string, cause error) error {
	return holdfast.WrapError(holdfast.CodeUnavailable, fmt.Errorf("%w: %w", events.ErrBusy, cause), message)
}

// Ready returns nil if the bus can be used: connected, and the streams have
// leaders that answer.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return holdfast.Errorf(holdfast.CodeUnavailable, "there is no connection to NATS")
	}
	for shard := range b.names.shards {
		// Nobody can have asked for a position that high, so the answer is short.
		_, err := b.getMessage(ctx, b.names.eventStream(shard), msgGet{Seq: ^uint64(0), NextBySubject: b.names.prefix + ".e.>"})
		if err != nil && !errors.Is(err, events.ErrNoFrame) {
			return holdfast.WrapError(holdfast.CodeUnavailable, err, "the event streams do not answer")
		}
	}
	return nil
}

func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
