package telemetry_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/telemetry"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
)

func span() context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
}

func TestZeroConfigExportsNothingAndStartsNothing(t *testing.T) {
	unsetOTEL(t)
	leaks := goleak.IgnoreCurrent()
	var out bytes.Buffer
	tel, err := telemetry.Start(t.Context(), telemetry.Config{Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	_, s := tel.Tracer("test").Start(t.Context(), "work")
	if s.IsRecording() {
		t.Error("a span is recorded for nobody")
	}
	s.End()
	counter, err := tel.Meter("test").Int64Counter("n")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 1)
	if counter.Enabled(t.Context()) {
		t.Error("a counter counts for nobody")
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := leaktest.Find(leaks); err != nil {
		t.Error(err)
	}
	if out.Len() > 0 {
		t.Errorf("logged: %s", &out)
	}
}

func TestLog(t *testing.T) {
	unsetOTEL(t)
	var level slog.LevelVar
	for format, want := range map[string]string{
		"text": `level=INFO msg=hello g.a=1 g.trace_id=01000000000000000000000000000000 g.span_id=0200000000000000`,
		"json": `"level":"INFO","msg":"hello","g":{"a":1,"trace_id":"01000000000000000000000000000000","span_id":"0200000000000000"}}`,
	} {
		var out bytes.Buffer
		tel, err := telemetry.Start(t.Context(), telemetry.Config{Format: format, Level: &level, Output: &out})
		if err != nil {
			t.Fatal(err)
		}
		log := tel.Logger().WithGroup("g").With("a", 1)
		log.DebugContext(span(), "quiet")
		log.InfoContext(span(), "hello")
		if got := out.String(); !strings.Contains(got, want) || strings.Contains(got, "quiet") {
			t.Errorf("%s: %s", format, got)
		}
	}
	if _, err := telemetry.Start(t.Context(), telemetry.Config{Format: "xml"}); err == nil {
		t.Error("an unknown format is taken")
	}
}

func TestProgramWithoutExportersSaysSo(t *testing.T) {
	unsetOTEL(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_LOGS_EXPORTER", "none")
	var out bytes.Buffer
	if _, err := telemetry.Start(t.Context(), telemetry.Config{Output: &out}); err != nil {
		t.Fatal(err)
	}
	if want := `variables="OTEL_EXPORTER_OTLP_ENDPOINT OTEL_METRICS_EXPORTER"`; !strings.Contains(out.String(), want) {
		t.Errorf("log %q, want it to contain %q", &out, want)
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if asked := telemetry.Requested(os.Environ()); len(asked) > 0 {
		t.Errorf("asked for although disabled: %v", asked)
	}
}

func TestTraceContextInMessageHeaders(t *testing.T) {
	header := map[string][]string{"Nats-Msg-Id": {"1"}}
	telemetry.Inject(span(), header)
	const want = "00-01000000000000000000000000000000-0200000000000000-01"
	if got := header["traceparent"]; !slices.Equal(got, []string{want}) {
		t.Errorf("headers %v, want traceparent in lower case", header)
	}
	got := trace.SpanContextFromContext(telemetry.Extract(t.Context(), header))
	if got.TraceID() != (trace.TraceID{1}) || got.SpanID() != (trace.SpanID{2}) || !got.IsRemote() {
		t.Errorf("extracted %+v", got)
	}
	empty := map[string][]string{}
	telemetry.Inject(t.Context(), empty)
	if len(empty) > 0 {
		t.Errorf("headers without a span: %v", empty)
	}
	if ctx := telemetry.Extract(t.Context(), map[string][]string{"traceparent": {"garbage"}}); trace.SpanContextFromContext(ctx).IsValid() {
		t.Error("garbage was read")
	}
}

// TestExportersAreNotLinked guards the memory of programs that import this
// package alone.
func TestExportersAreNotLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, heavy := range []string{"google.golang.org/", "go.opentelemetry.io/otel/sdk", "github.com/prometheus/"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("links %s", dep)
			}
		}
	}
}

// unsetOTEL keeps the developer's own variables from the test.
func unsetOTEL(t *testing.T) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
}
