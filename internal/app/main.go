package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/internal/app/process"
	"github.com/holdfast-run/holdfast/internal/config"
)

// Main is the main function of the server programs with a database. It returns the
// exit code.
func Main(name, version string, exporters process.Exporters, roles func(config.Config) Roles) int {
	return process.Main(name, version, exporters, needServers, func(ctx context.Context, p process.Program) error {
		return Run(ctx, p.Config, roles(p.Config), Options{
			Name: name, Version: version, Logger: p.Logger, Meter: p.Meter, Tracer: p.Tracer, Hosted: true, Ready: p.Ready,
		})
	})
}

// needServers refuses a process of a hosted deployment without addresses: it
// would start servers of its own that nobody else reaches.
func needServers(cfg config.Config) error {
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
