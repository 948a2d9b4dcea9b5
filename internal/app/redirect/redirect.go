// Package redirect is the program cmd/oauth-callback: the service to which
// authorization servers send browsers back, on a port and a connection to NATS. It
// links no database, no model and no tool, so that it starts in no time, wherever a
// redirect may come, and has little that could be attacked.
package redirect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/holdfast-run/holdfast/internal/app/process"
	"github.com/holdfast-run/holdfast/internal/callback"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/oauth/vault"
)

// Options are what a program gives beside its configuration.
type Options struct {
	// Name is the program's, for its connection.
	Name   string
	Logger *slog.Logger
	// Meter makes the instruments; nil measures nothing.
	Meter metric.Meter
	// Ready, if not nil, is called once with the address that HTTP is served on.
	Ready func(addr string)
}

// Main is the main function. It returns the exit code.
func Main(name, version string, exporters process.Exporters) int {
	return process.Main(name, version, exporters, check, func(ctx context.Context, p process.Program) error {
		return Run(ctx, p.Config, Options{Name: name, Logger: p.Logger, Meter: p.Meter, Ready: p.Ready})
	})
}

func check(cfg config.Config) error {
	if cfg.StateKeys != "" && cfg.NATSURL == "" {
		return errors.New("HOLDFAST_NATS_URL must be set: the callback hands what it receives to the workers")
	}
	return nil
}

// Run serves the callback until ctx ends or something fails that cannot be mended.
// NATS that is not there yet is waited for. Without keys for states the program is
// alive, and says to browsers that nothing is configured.
func Run(ctx context.Context, cfg config.Config, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Meter == nil {
		o.Meter = metricnoop.Meter{}
	}
	cfg = cfg.WithDefaults()
	failed := make(chan error, 1)
	srv, err := process.Listen(cfg.Listen, process.Health(nil, false), o.Logger, func(err error) { failed <- err })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	stop, err := start(ctx, cfg, o, srv)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if o.Ready != nil {
		o.Ready(srv.Addr())
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// start puts the callback on the port. stop ends what it started.
func start(ctx context.Context, cfg config.Config, o Options, srv *process.Server) (stop func() error, err error) {
	ring, err := readKeys(cfg.StateKeys.Reveal())
	if err != nil {
		return nil, err
	}
	if ring == nil {
		srv.Serve(unconfigured())
		return func() error { return nil }, nil
	}
	nc, err := natsbus.Connect(cfg.NATSURL.Reveal(), o.Name, o.Logger)
	if err != nil {
		return nil, err
	}
	bus, err := natsbus.Open(ctx, nc, natsbus.Config{Shards: cfg.EventStreams, Replicas: cfg.Replicas, Logger: o.Logger})
	if err != nil {
		nc.Close()
		return nil, err
	}
	stop = func() error {
		err := bus.Close()
		nc.Close()
		return err
	}
	at := cfg.CallbackURL.Reveal()
	if at == "" {
		at = strings.TrimSuffix(cfg.PublicURL.Reveal(), "/")
	}
	// It composes documents and asks nobody.
	client, err := oauth.NewClient(oauth.Options{Transport: http.DefaultTransport})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	h, err := callback.New(callback.Config{
		Ring: ring, Commands: bus, CallbackURL: at, Document: client.Document, ReturnURL: cfg.ReturnURL, Logger: o.Logger, Meter: o.Meter,
	})
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	mux := http.NewServeMux()
	mux.Handle("/", process.Health([]process.Check{{Name: "nats", Check: bus.Ready}}, true))
	mux.Handle("/oauth/", h)
	srv.Serve(mux)
	return stop, nil
}

// readKeys returns nil if there are none.
func readKeys(text string) (*state.Ring, error) {
	if text == "" {
		return nil, nil
	}
	const name = "HOLDFAST_OAUTH_STATE_KEYS"
	named, err := vault.ParseKeys(config.List(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	keys := make([]state.Key, len(named))
	for i, k := range named {
		keys[i] = state.Key{ID: k.ID, Secret: k.Secret}
	}
	ring, err := state.NewRing(keys...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return ring, nil
}

// unconfigured is the program of a deployment in which no OAuth client
// is configured: alive, and honest about what it cannot do.
func unconfigured() http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		process.Respond(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", alive)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = w.Write([]byte("<!doctype html><html lang=en><meta name=viewport content=\"width=device-width\"><title>Not configured</title><h1>Not configured</h1><p>This deployment connects to no server that asks for authorization. Nothing was stored. You may close this window.</p></html>\n"))
	})
	return mux
}
