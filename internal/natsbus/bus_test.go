package natsbus_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/events/eventstest"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/natsbus/server"
	"github.com/holdfast-run/holdfast/internal/natsbus/server/servertest"
)

func startServer(t testing.TB) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{SyncInterval: servertest.SyncInterval, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("stop the server: %v", err)
		}
	})
	return s
}

func connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(natsbus.Options(t.Name(), nil)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func open(t testing.TB, nc *nats.Conn, cfg natsbus.Config) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.Open(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

func forgetAll(b *natsbus.Bus) eventstest.ForgetFunc {
	return func(t testing.TB) {
		t.Helper()
		for _, stream := range b.Streams() {
			info, err := b.Info(t.Context(), stream)
			if err == nil {
				err = b.Trim(t.Context(), stream, info.Last)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]natsbus.Config{
		"OneShard":   {},
		"FourShards": {Shards: 4, Prefix: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, connect(t, startServer(t)), cfg)
			eventstest.Bus(t, func(*testing.T) (events.Bus, eventstest.ForgetFunc) { return b, forgetAll(b) })
		})
	}
}
