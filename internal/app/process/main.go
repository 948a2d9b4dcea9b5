// Package process is what all server programs have in common, whatever they do: the
// way from the environment to a running program and to its exit code, the HTTP port,
// and the answers about health. It knows nothing of what runs, so that a small
// program stays small.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/telemetry"
)

// Program is a program on its way up.
type Program struct {
	Name    string
	Version string
	Config  config.Config
	Logger  *slog.Logger
	Meter   metric.Meter
	Tracer  trace.Tracer
	// Ready says in the log that the program does its work.
	Ready func(addr string)
}

// Exporters opens what telemetry is sent to.
type Exporters = func(context.Context, telemetry.Service) (telemetry.Exporters, error)

// Main is the main function of the server programs: environment to
// configuration to run. It returns the exit code: 0 after a clean stop on SIGTERM
// or SIGINT, 1 otherwise. check refuses a configuration before anything starts.
func Main(name, version string, exporters Exporters, check func(config.Config) error, run func(context.Context, Program) error) int {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "version", "--version", "-version":
			fmt.Println(name, version)
			return 0
		}
		fmt.Fprintf(os.Stderr, "%s takes no arguments: it is configured by HOLDFAST_* variables (docs/operations.md)\n", name)
		return 2
	}
	cfg, err := config.Load(os.Environ())
	if err == nil {
		err = check(cfg)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	tel, err := telemetry.Start(ctx, telemetry.Config{
		Service: telemetry.Service{Name: "holdfast-" + name, Version: version, Instance: cfg.WorkerID},
		Level:   cfg.LogLevel, Format: cfg.LogFormat, Exporters: exporters,
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	log := tel.Logger()
	err = run(ctx, Program{
		Name: name, Version: version, Config: cfg, Logger: log, Meter: tel.Meter("github.com/holdfast-run/holdfast"),
		Tracer: tel.Tracer("github.com/holdfast-run/holdfast"),
		Ready:  func(addr string) { log.Info("ready", "program", name, "version", version, "listen", addr) },
	})
	code := 0
	if err != nil {
		log.Error("stopped", "error", err)
		code = 1
	} else {
		log.Info("stopped")
	}
	sctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := tel.Shutdown(sctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: send the last telemetry: %v\n", name, err)
	}
	return code
}
