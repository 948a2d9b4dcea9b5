package callback_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/holdfast-run/holdfast/internal/callback"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

const canary = "canary-code"

// service is a callback service with NATS behind it, and a worker behind that,
// which takes every answer.
type service struct {
	*httptest.Server
	t    *testing.T
	ring *state.Ring
	logs *log
}

type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func ring(t *testing.T, id, b string) *state.Ring {
	t.Helper()
	r, err := state.NewRing(state.Key{ID: id, Secret: []byte(strings.Repeat(b, 32))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func start(t *testing.T, perSecond int) *service {
	t.Helper()
	s := &service{t: t, ring: ring(t, "k1", "a"), logs: &log{}}
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	nc, err := natsbus.Connect(testenv.NATS(t).URL(), "test", logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx, end := context.WithCancel(t.Context())
	bus, err := natsbus.Open(t.Context(), nc, natsbus.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	var worker sync.WaitGroup
	worker.Go(func() {
		for ctx.Err() == nil {
			d, err := bus.NextCommand(ctx)
			if err != nil {
				continue
			}
			if err := errors.Join(bus.Answer(d.Command, events.Answer{Command: d.Command.ID}), d.Ack(ctx)); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(worker.Wait)
	t.Cleanup(end)
	h, err := callback.New(callback.Config{
		Ring: s.ring, Commands: bus, CallbackURL: "https://cb.example", PerSecond: perSecond, Wait: time.Minute, Logger: logger, Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func data(change func(*state.Data)) state.Data {
	d := state.Data{
		Tenant: "t", SessionID: "s", Connection: "conn", Flow: state.NewRandom(), Random: state.NewRandom(), Binding: state.BindCookie,
		Expires: time.Now().Add(time.Minute),
	}
	if change != nil {
		change(&d)
	}
	return d
}

func encode(t *testing.T, r *state.Ring, d state.Data) string {
	t.Helper()
	s, err := r.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask makes a request as the browser that began the flow of d.
func (s *service) ask(method, path string, q string, d state.Data, body io.Reader) *http.Response {
	s.t.Helper()
	resp, err := s.try(method, path, q, d, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// try is ask where the server may cut the connection.
func (s *service) try(method, path string, q string, d state.Data, body io.Reader) (*http.Response, error) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path+"?"+q, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: state.CookieName(d.Flow), Value: s.ring.Cookie(d)})
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(page)+resp.Header.Get("Location"), canary) {
		s.t.Errorf("the code is in the answer: %s\n%s", resp.Header, page)
	}
	return resp, nil
}

// TestHostileAnswers: what a redirect may look like that is none, each with a true
// one beside it that differs in nothing else.
func TestHostileAnswers(t *testing.T) {
	s := start(t, 0)
	other, unknown := ring(t, "k1", "b"), ring(t, "k2", "a")
	good := data(nil)
	st := encode(t, s.ring, good)
	code := "&code=" + canary
	flip := func(at int) string {
		b := []byte(st)
		if b[at]++; b[at] == 'z'+1 || b[at] == 'Z'+1 || b[at] == '9'+1 || b[at] == '-'+1 || b[at] == '_'+1 {
			b[at] = 'A'
		}
		return string(b)
	}
	expired := data(func(d *state.Data) { d.Expires = time.Now().Add(-time.Second) })
	stranger := data(nil) // whose cookie is not the one that comes
	for name, c := range map[string]struct {
		query string
		path  string // "" is that of the connection
		want  string // "" is refused
	}{
		"true":                             {query: "state=" + st + code, want: "success"},
		"true, with more":                  {query: "state=" + st + code + "&iss=https%3A%2F%2Fas.example&session_state=x&scope=a+b", want: "success"},
		"denied":                           {query: "state=" + st + "&error=access_denied&error_description=" + canary, want: "denied"},
		"nothing":                          {},
		"no state":                         {query: code},
		"empty state":                      {query: "state=" + code},
		"no code":                          {query: "state=" + st},
		"empty code":                       {query: "state=" + st + "&code="},
		"empty error":                      {query: "state=" + st + "&error="},
		"code and error":                   {query: "state=" + st + code + "&error=access_denied"},
		"two states":                       {query: "state=" + st + code + "&state=" + st},
		"two codes":                        {query: "state=" + st + code + code},
		"two issuers":                      {query: "state=" + st + code + "&iss=a&iss=b"},
		"a query that cannot be read":      {query: "state=" + st + code + "&x=%zz"},
		"semicolons":                       {query: "state=" + st + ";code=" + canary},
		"first byte changed":               {query: "state=" + flip(0) + code},
		"middle byte changed":              {query: "state=" + flip(len(st)/2) + code},
		"truncated":                        {query: "state=" + st[:len(st)-1] + code},
		"half":                             {query: "state=" + st[:len(st)/2] + code},
		"padded":                           {query: "state=" + st + "%3D" + code},
		"with a line break":                {query: "state=" + st + "%0A" + code},
		"twice as long":                    {query: "state=" + st + st + code},
		"unsigned":                         {query: "state=eyJzZXNzaW9uX2lkIjoicyIsInJhbmRvbSI6InIifQ" + code},
		"another key of the same name":     {query: "state=" + encode(t, other, good) + code},
		"a key of another name":            {query: "state=" + encode(t, unknown, good) + code},
		"expired":                          {query: "state=" + encode(t, s.ring, expired) + code},
		"another browser":                  {query: "state=" + encode(t, s.ring, stranger) + code},
		"another connection":               {query: "state=" + st + code, path: flow.CallbackPath + "/other"},
		"a path below":                     {query: "state=" + st + code, path: flow.CallbackPath + "/conn/x"},
		"no connection":                    {query: "state=" + st + code, path: flow.CallbackPath + "/"},
		"a longer query than is looked at": {query: "state=" + st + code + "&pad=" + strings.Repeat("a", 17<<10)},
	} {
		path := c.path
		if path == "" {
			path = flow.CallbackPath + "/conn"
		}
		resp := s.ask(http.MethodGet, path, c.query, good, nil)
		to := resp.Header.Get("Location")
		switch {
		case c.want != "" && (resp.StatusCode != http.StatusSeeOther || to != callback.ResultPath+"/"+c.want):
			t.Errorf("%s: HTTP %d to %q", name, resp.StatusCode, to)
		case c.want == "" && to != callback.ResultPath+"/expired" && resp.StatusCode != http.StatusNotFound:
			t.Errorf("%s: HTTP %d to %q", name, resp.StatusCode, to)
		}
		for h, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"} {
			if got := resp.Header.Get(h); got != want {
				t.Errorf("%s: %s is %q", name, h, got)
			}
		}
	}
	// More than a server reads at all. It answers, waits half a second and cuts the
	// connection; who has not read the answer by then finds only that.
	var resp *http.Response
	err := errors.New("not asked")
	for try := 0; err != nil && try < 20; try++ {
		resp, err = s.try(http.MethodGet, flow.CallbackPath+"/conn", "state="+st+code+"&pad="+strings.Repeat("a", 2<<20), good, nil)
	}
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("2 MB of query: %v, %v", resp, err)
	}
	form := url.Values{"state": {st}, "code": {canary}}.Encode()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		resp := s.ask(method, flow.CallbackPath+"/conn", "state="+st+code, good, strings.NewReader(form))
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
			t.Errorf("%s: HTTP %d", method, resp.StatusCode)
		}
	}
	if text := s.logs.String(); strings.Contains(text, canary) || strings.Contains(text, st) {
		t.Error("the code, or the state, is in the log")
	}
}

// TestForgedStatesCostNoLimit: only answers with a true state use up the limit of
// their connection, and another connection has a limit of its own.
func TestForgedStatesCostNoLimit(t *testing.T) {
	s := start(t, 1)
	good, next := data(nil), data(func(d *state.Data) { d.Connection = "next" })
	forged := encode(t, ring(t, "k1", "b"), good)
	for range 200 {
		if resp := s.ask(http.MethodGet, flow.CallbackPath+"/conn", "state="+forged+"&code=x", good, nil); resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("a forged state: HTTP %d", resp.StatusCode)
		}
	}
	true1 := "state=" + encode(t, s.ring, good) + "&code=x"
	if resp := s.ask(http.MethodGet, flow.CallbackPath+"/conn", true1, good, nil); resp.Header.Get("Location") != callback.ResultPath+"/success" {
		t.Errorf("a true state after forged ones: HTTP %d", resp.StatusCode)
	}
	var limited *http.Response
	for range 100 {
		if resp := s.ask(http.MethodGet, flow.CallbackPath+"/conn", true1, good, nil); resp.StatusCode == http.StatusTooManyRequests {
			limited = resp
			break
		}
	}
	if limited == nil || limited.Header.Get("Retry-After") == "" {
		t.Error("one connection may have as many answers as it likes")
	}
	if resp := s.ask(http.MethodGet, flow.CallbackPath+"/next", "state="+encode(t, s.ring, next)+"&code=x", next, nil); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("another connection: HTTP %d", resp.StatusCode)
	}
}
