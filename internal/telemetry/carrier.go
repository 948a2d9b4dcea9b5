package telemetry

import (
	"context"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/propagation"
)

// propagator writes and reads the headers of W3C Trace Context
// (https://www.w3.org/TR/trace-context/). Baggage is left out: it would carry
// whatever a client sends to every worker.
var propagator propagation.TraceContext

// Inject writes the span of ctx, if there is one, into the headers of a NATS
// message. Names are lower case: NATS compares them byte for byte, so that the
// canonical form of HTTP would not be found by others.
func Inject(ctx context.Context, header map[string][]string) {
	propagator.Inject(ctx, carrier(header))
}

// Extract returns ctx with the span that [Inject] wrote, ctx itself if there is
// none or it cannot be read.
func Extract(ctx context.Context, header map[string][]string) context.Context {
	return propagator.Extract(ctx, carrier(header))
}

type carrier map[string][]string

func (c carrier) Get(key string) string {
	if values := c[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { c[key] = []string{value} }

func (c carrier) Keys() []string { return slices.Sorted(maps.Keys(c)) }
