// Package telemetry is the log, and the way to traces and metrics, of a
// process.
//
// Promises:
//
//   - Without exporters, which is the default, tracers and meters do nothing,
//     cost next to nothing and start no goroutine.
//   - What is exported, and where to, is said by the standard OTEL_* variables
//     alone: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
//   - Nothing global is changed: providers are handed to those who use them.
//   - A record that is logged with a context that carries a span has its
//     trace_id and span_id.
//
// The exporters are in package export and reach [Start] through [Config]: they
// cost a program about 8 MB of resident memory and 10 MB of binary even when
// they are idle (gRPC, protobuf, Prometheus), which `holdfast dev` does without.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Service says whose telemetry it is, as the attributes service.name,
// service.version and service.instance.id. OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES override it.
type Service struct {
	Name     string
	Version  string
	Instance string
}

// Exporters is what a process exports with. A nil field is a signal that is
// not exported.
type Exporters struct {
	Traces  trace.TracerProvider
	Metrics metric.MeterProvider
	// Logs also gets every record that the process logs, at the process's level.
	Logs slog.Handler
	// Shutdown sends what is still held and ends the exporters.
	Shutdown func(context.Context) error
}

// Config says how a process logs and what it exports with. The zero value logs
// text at level info to standard error and exports nothing.
type Config struct {
	Service Service
	// Level is the least level that is logged. Default: info. A *slog.LevelVar can
	// be changed while the process runs.
	Level slog.Leveler
	// Format is "text" or "json". Default: text.
	Format string
	// Output is where the log goes. Default: standard error.
	Output io.Writer
	// Exporters starts the exporters, see package export. Default: there are none,
	// and [Start] warns if the environment asks for some.
	Exporters func(context.Context, Service) (Exporters, error)
}

// Telemetry is the running log and the providers of a process. It may be used
// from any goroutine.
type Telemetry struct {
	logger   *slog.Logger
	traces   trace.TracerProvider
	metrics  metric.MeterProvider
	shutdown func(context.Context) error
}

// Start sets up what cfg says. It fails if the format is unknown or the OTEL_*
// variables cannot be used; it does not wait for a collector to answer.
func Start(ctx context.Context, cfg Config) (*Telemetry, error) {
	handler, err := logHandler(cfg)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{
		traces:   tracenoop.NewTracerProvider(),
		metrics:  metricnoop.NewMeterProvider(),
		shutdown: func(context.Context) error { return nil },
	}
	if cfg.Exporters != nil {
		e, err := cfg.Exporters(ctx, cfg.Service)
		if err != nil {
			return nil, fmt.Errorf("start telemetry: %w", err)
		}
		if e.Traces != nil {
			t.traces = e.Traces
		}
		if e.Metrics != nil {
			t.metrics = e.Metrics
		}
		if e.Logs != nil {
			handler = slog.NewMultiHandler(handler, atLevel{e.Logs, cfg.level()})
		}
		if e.Shutdown != nil {
			t.shutdown = e.Shutdown
		}
	}
	t.logger = slog.New(handler)
	if asked := Requested(os.Environ()); cfg.Exporters == nil && len(asked) > 0 {
		t.logger.WarnContext(ctx, "this program exports no telemetry; the environment is not followed",
			"variables", strings.Join(asked, " "))
	}
	return t, nil
}

func (c Config) level() slog.Leveler {
	if c.Level == nil {
		return slog.LevelInfo
	}
	return c.Level
}

func logHandler(cfg Config) (slog.Handler, error) {
	out := cfg.Output
	if out == nil {
		out = os.Stderr
	}
	opts := &slog.HandlerOptions{Level: cfg.level()}
	switch cfg.Format {
	case "", "text":
		return withSpan{slog.NewTextHandler(out, opts)}, nil
	case "json":
		return withSpan{slog.NewJSONHandler(out, opts)}, nil
	}
	return nil, fmt.Errorf("log format %q: must be text or json", cfg.Format)
}

// Logger is the process's log.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// TracerProvider is for libraries that instrument themselves, and for
// constructors that take a trace.Tracer of it.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.traces }

// MeterProvider is for libraries that instrument themselves, and for
// constructors that take a metric.Meter of it.
func (t *Telemetry) MeterProvider() metric.MeterProvider { return t.metrics }

// Tracer makes spans under the name of the package that makes them.
func (t *Telemetry) Tracer(name string) trace.Tracer { return t.traces.Tracer(name) }

// Meter makes instruments under the name of the package that measures.
func (t *Telemetry) Meter(name string) metric.Meter { return t.metrics.Meter(name) }

// Shutdown sends what is held and ends the exporters. Call it last: what is
// recorded afterwards is lost. It returns when ctx ends at the latest.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if err := t.shutdown(ctx); err != nil {
		return fmt.Errorf("shut telemetry down: %w", err)
	}
	return nil
}

// Signals in the spelling of the OTEL_* variables.
const (
	SignalTraces  = "TRACES"
	SignalMetrics = "METRICS"
	SignalLogs    = "LOGS"
)

// Requested returns the variables of environ, in the form of [os.Environ], that
// ask for an export.
func Requested(environ []string) (names []string) {
	env := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	for _, signal := range []string{SignalTraces, SignalMetrics, SignalLogs} {
		if name := RequestedBy(signal, func(n string) string { return env[n] }); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// RequestedBy returns the variable that asks for the export of a signal, ""
// if none does: OTEL_<signal>_EXPORTER if it is set and not "none", else an
// OTLP endpoint. (The specification would export to localhost by default; a
// process that nobody asked to should not.)
func RequestedBy(signal string, getenv func(string) string) (name string) {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return ""
	}
	exporter := "OTEL_" + signal + "_EXPORTER"
	switch getenv(exporter) {
	case "none":
		return ""
	case "":
	default:
		return exporter
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if getenv(name) != "" {
			return name
		}
	}
	return ""
}
