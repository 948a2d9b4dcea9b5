package modeltest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast/internal/model"
)

// retries checks how often and when an adapter asks again: by [model.Retry] alone,
// whatever its SDK would do on top of that.
func retries(t *testing.T, p *Provider) {
	for _, c := range []struct {
		name   string
		status int // 0: the connection breaks before an answer
		header http.Header
		again  bool
		// at is when the second request comes, within a tenth and 10 ms; 0 leaves that
		// to the back-off.
		at time.Duration
	}{
		{name: "reset before an answer", again: true},
		{name: "408", status: 408, again: true},
		{name: "409", status: 409, again: true},
		{name: "429", status: 429, again: true},
		{name: "500", status: 500, again: true},
		{name: "502", status: 502, again: true},
		{name: "503", status: 503, again: true},
		{name: "504", status: 504, again: true},
		{name: "529", status: 529, again: true},
		{name: "400", status: 400},
		{name: "401", status: 401},
		{name: "403", status: 403},
		{name: "404", status: 404},
		{name: "413", status: 413},
		{name: "422", status: 422},
		{name: "seconds", status: 503, header: http.Header{"Retry-After": {"20"}}, again: true, at: 20 * time.Second},
		{name: "milliseconds", status: 429, header: http.Header{"Retry-After-Ms": {"12500"}, "Retry-After": {"40"}}, again: true, at: 12500 * time.Millisecond},
		// The clock of the bubble begins at midnight of the first day of 2000.
		{name: "date", status: 529, header: http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:30 GMT"}}, again: true, at: 30 * time.Second},
		{name: "told to", status: 400, header: http.Header{"X-Should-Retry": {"true"}}, again: true},
		{name: "told not to", status: 500, header: http.Header{"X-Should-Retry": {"false"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Duration
				start := time.Now()
				client := &http.Client{Transport: Transport(func(r *http.Request) (*http.Response, error) {
					at = append(at, time.Since(start))
					if c.status == 0 {
						return nil, syscall.ECONNRESET
					}
					header := c.header.Clone()
					if header == nil {
						header = http.Header{}
					}
					header.Set("Content-Type", "application/json")
					return &http.Response{
						StatusCode: c.status, Request: r, ProtoMajor: 1, ProtoMinor: 1, Header: header,
						Body: io.NopCloser(strings.NewReader(`{"message":"no"}`)),
					}, nil
				})}
				cfg := p.Config
				cfg.BaseURL, cfg.APIKey, cfg.MaxRetries = "http://provider.test"+p.BasePath, Key, 1
				m, err := p.New(cfg, client)
				if err != nil {
					t.Fatal(err)
				}
				err = m.Stream(t.Context(), Hello(), func(model.Chunk) error { return errors.New("a chunk of nothing") })
				want := 1
				if c.again {
					want = 2
				}
				if err == nil || len(at) != want {
					t.Fatalf("%d requests at %v, want %d: %v", len(at), at, want, err)
				}
				if c.at > 0 && (at[1] < c.at || at[1] > c.at+c.at/10+10*time.Millisecond) {
					t.Errorf("the second request came after %s, want %s", at[1], c.at)
				}
			})
		})
	}
}
