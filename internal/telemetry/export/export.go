// Package export sends traces, metrics and logs where the OTEL_* variables say:
// OTLP over HTTP or gRPC, Prometheus (metrics, scraped on a port of its own),
// or the console. Only signals that the environment asks for are set up.
//
// It is apart from package telemetry because of what it links, see there; only
// the server programs import it.
package export

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/holdfast-run/holdfast/internal/telemetry"
)

// FromEnv starts the exporters that the environment asks for. It is a
// [telemetry.Config].Exporters.
func FromEnv(ctx context.Context, service telemetry.Service) (telemetry.Exporters, error) {
	var e telemetry.Exporters
	var ends []func(context.Context) error
	e.Shutdown = func(ctx context.Context) error {
		var errs []error
		for _, end := range ends {
			errs = append(errs, end(ctx))
		}
		return errors.Join(errs...)
	}
	if len(telemetry.Requested(os.Environ())) == 0 {
		return e, nil
	}
	err := func() error {
		res, err := describe(ctx, service)
		if err != nil {
			return err
		}
		if asked(telemetry.SignalTraces) {
			exporter, err := autoexport.NewSpanExporter(ctx)
			if err != nil {
				return fmt.Errorf("traces: %w", err)
			}
			p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
			e.Traces, ends = p, append(ends, p.Shutdown)
		}
		if asked(telemetry.SignalMetrics) {
			reader, err := autoexport.NewMetricReader(ctx)
			if err != nil {
				return fmt.Errorf("metrics: %w", err)
			}
			p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res))
			e.Metrics, ends = p, append(ends, p.Shutdown)
		}
		if asked(telemetry.SignalLogs) {
			exporter, err := autoexport.NewLogExporter(ctx)
			if err != nil {
				return fmt.Errorf("logs: %w", err)
			}
			p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)), sdklog.WithResource(res))
			e.Logs = otelslog.NewHandler(service.Name, otelslog.WithLoggerProvider(p))
			ends = append(ends, p.Shutdown)
		}
		return nil
	}()
	if err != nil {
		return telemetry.Exporters{}, errors.Join(fmt.Errorf("OTEL_* variables: %w", err), e.Shutdown(ctx))
	}
	return e, nil
}

func asked(signal string) bool { return telemetry.RequestedBy(signal, os.Getenv) != "" }

// describe puts the environment last, so that it overrides the service.
func describe(ctx context.Context, s telemetry.Service) (*resource.Resource, error) {
	var attrs []attribute.KeyValue
	for key, value := range map[attribute.Key]string{
		"service.name": s.Name, "service.version": s.Version, "service.instance.id": s.Instance,
	} {
		if value != "" {
			attrs = append(attrs, key.String(value))
		}
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attrs...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("resource: %w", err)
	}
	return res, nil
}
