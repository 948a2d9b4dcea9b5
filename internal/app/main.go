package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/telemetry"
)

// Main is the main function of the server programs: environment to
// configuration to roles. It returns the exit code: 0 after a clean stop on
// SIGTERM or SIGINT, 1 otherwise.
func Main(name, version string, exporters func(context.Context, telemetry.Service) (telemetry.Exporters, error), roles func(config.Config) Roles) int {
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
		err = needServers(cfg, roles(cfg))
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
	err = Run(ctx, cfg, roles(cfg), Options{
		Name: name, Version: version, Logger: log, Meter: tel.Meter("github.com/holdfast-run/holdfast"), Hosted: true,
		Ready: func(addr string) { log.Info("ready", "program", name, "version", version, "listen", addr) },
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

// needServers refuses a process of a hosted deployment without addresses: it
// would start servers of its own that nobody else reaches.
func needServers(cfg config.Config, roles Roles) error {
	if roles == (Roles{Callback: true}) {
		if cfg.StateKeys != "" && cfg.NATSURL == "" {
			return errors.New("HOLDFAST_NATS_URL must be set: the callback hands what it receives to the workers")
		}
		return nil
	}
	var missing []string
	if cfg.NATSURL == "" {
		missing = append(missing, "HOLDFAST_NATS_URL")
	}
	if cfg.DatabaseURL == "" {
		missing = append(missing, "HOLDFAST_DATABASE_URL")
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s must be set; for one process with everything embedded use: holdfast dev", strings.Join(missing, " and "))
	}
	return nil
}
