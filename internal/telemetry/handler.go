package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// withSpan adds the ids of the context's span to each record, in the names of
// https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/
type withSpan struct{ slog.Handler }

func (h withSpan) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h withSpan) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withSpan{h.Handler.WithAttrs(attrs)}
}

func (h withSpan) WithGroup(name string) slog.Handler { return withSpan{h.Handler.WithGroup(name)} }

// atLevel keeps records under a level from a handler.
type atLevel struct {
	slog.Handler
	level slog.Leveler
}

func (h atLevel) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() && h.Handler.Enabled(ctx, l)
}

func (h atLevel) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLevel{h.Handler.WithAttrs(attrs), h.level}
}

func (h atLevel) WithGroup(name string) slog.Handler {
	return atLevel{h.Handler.WithGroup(name), h.level}
}
