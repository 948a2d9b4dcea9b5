package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/internal/telemetry"
	"github.com/holdfast-run/holdfast/internal/telemetry/export"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
)

// collector takes what OTLP over HTTP sends.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]string // by path
}

func newCollector(t *testing.T) *collector {
	c := &collector{bodies: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := read(r)
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies[r.URL.Path] += body
	}))
	t.Cleanup(c.Close)
	return c
}

func read(r *http.Request) (string, error) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return "", err
		}
		in = z
	}
	b, err := io.ReadAll(in)
	return string(b), err
}

func TestAllSignalsReachTheCollector(t *testing.T) {
	c := newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_SERVICE_NAME", "renamed")
	var out bytes.Buffer
	tel, err := telemetry.Start(t.Context(), telemetry.Config{
		Service:   telemetry.Service{Name: "worker", Version: "v1.2.3", Instance: "w-1"},
		Output:    &out,
		Exporters: export.FromEnv,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tel.Tracer("test").Start(t.Context(), "a-span")
	tel.Logger().InfoContext(ctx, "a-record")
	tel.Logger().DebugContext(ctx, "below-the-level")
	span.End()
	counter, err := tel.Meter("test").Int64Counter("a-counter")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(ctx, 1)
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := tel.Shutdown(end); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, want := range map[string]string{"/v1/traces": "a-span", "/v1/metrics": "a-counter", "/v1/logs": "a-record"} {
		body := c.bodies[path]
		for _, part := range []string{want, "renamed", "v1.2.3", "w-1"} {
			if !strings.Contains(body, part) {
				t.Errorf("%s was sent nothing with %q", path, part)
			}
		}
		if strings.Contains(body, "below-the-level") {
			t.Errorf("%s was sent a record under the level", path)
		}
	}
	if !strings.Contains(out.String(), "a-record") || !strings.Contains(out.String(), span.SpanContext().TraceID().String()) {
		t.Errorf("the log itself lacks the record or its trace: %s", &out)
	}
}

func TestOnlyWhatIsAskedForIsStarted(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	leaks := goleak.IgnoreCurrent()
	e, err := export.FromEnv(t.Context(), telemetry.Service{})
	if err != nil {
		t.Fatal(err)
	}
	if e.Traces != nil || e.Metrics != nil || e.Logs != nil {
		t.Errorf("exporters without being asked: %+v", e)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := leaktest.Find(leaks); err != nil {
		t.Error(err)
	}
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	if e, err = export.FromEnv(t.Context(), telemetry.Service{}); err != nil {
		t.Fatal(err)
	}
	if e.Traces == nil || e.Metrics != nil || e.Logs != nil {
		t.Errorf("want traces alone: %+v", e)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBadEnvironmentIsAnError(t *testing.T) {
	t.Setenv("OTEL_METRICS_EXPORTER", "carrier-pigeon")
	if _, err := telemetry.Start(t.Context(), telemetry.Config{Exporters: export.FromEnv}); err == nil || !strings.Contains(err.Error(), "OTEL_") {
		t.Errorf("error %v", err)
	}
}
