package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/client"
	"github.com/holdfast-run/holdfast/internal/testenv"
)

// BenchmarkCancel measures the time from the request that cancels a run until the
// request that the run has open is closed at the other end: at the model's
// provider in the middle of its answer, and at the HTTP endpoint of a tool; and
// until a reader of the session has the run's end. Two workers hold the sessions,
// which all wait at the same time, and each is canceled on its own. The peer is a
// caller that closes such a request itself.
func BenchmarkCancel(b *testing.B) {
	const sessions = 200
	if *inProcess {
		b.Fatal("the workers are processes of their own")
	}
	w := newServers(b)
	up := newUpstream(b)
	w.env = append(w.env, "HOLDFAST_MODEL_KEYS_FROM_ENV=true", "BENCH_KEY=bench", "HOLDFAST_EGRESS_ALLOW="+up.Listener.Addr().String())
	w.addr = listenAddr(testenv.Start(b, testenv.Build(b, "./cmd/api"), w.env))
	w.addWorker()
	w.addWorker()
	w.connect()
	w.file("answering.yaml", fmt.Sprintf(`version: "2"
agents:
  root: {model: far, description: Is answered slowly., instruction: Answer.}
models:
  far: {provider: openai, model: m, base_url: %q, token_key: BENCH_KEY}
`, up.URL+"/v1"))
	w.file("calling.yaml", fmt.Sprintf(`version: "2"
agents:
  root:
    model: m
    description: Waits for a tool.
    instruction: Call.
    toolsets:
      - type: api
        api_config:
          name: slow
          instruction: Takes its time.
          endpoint: "%s/slow/${text}"
          method: GET
          args: {text: {type: string, description: Which one.}}
          required: [text]
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        title: Slow
        turns:
          - call: [{name: slow, arguments: {text: "{{.User}}"}}]
`, up.URL))

	b.Run("peer=close", func(b *testing.B) {
		var took []time.Duration
		for i := range sessions {
			name := fmt.Sprintf("bare%d", i)
			call := up.expect(name)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, up.URL+"/slow/"+name, nil)
				if err != nil {
					b.Error(err)
					return
				}
				if resp, err := w.http.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			<-call.open
			begin := time.Now()
			cancel()
			took = append(took, (<-call.closed).Sub(begin))
			<-done
		}
		reportLatency(b, "", took)
	})
	for _, what := range []string{"answering", "calling"} {
		b.Run("holdfast/"+what, func(b *testing.B) {
			ids := w.create(sessions, what)
			calls := make([]*held, sessions)
			w.each(sessions, 16, func(i int) error {
				calls[i] = up.expect(ids[i])
				_, err := w.client.StartRun(b.Context(), ids[i], client.NewRun{
					Messages: []client.Message{{Content: ids[i]}}, // the message names the call
				})
				return err
			})
			for _, c := range calls {
				select {
				case <-c.open:
				case <-time.After(time.Minute):
					b.Fatal("a run has not reached the other end")
				}
			}
			var closed, ended []time.Duration
			before := used(b)
			for i, id := range ids {
				begin := time.Now()
				done := make(chan error, 1)
				go func() {
					done <- w.stream(b.Context(), id, 0, func(e *entry) bool {
						if !e.is("run_finished") {
							return true
						}
						ended = append(ended, e.got.Sub(begin))
						return false
					})
				}()
				if _, err := w.client.CancelBecause(b.Context(), id, "", "a benchmark"); err != nil {
					b.Fatal(err)
				}
				select {
				case at := <-calls[i].closed:
					closed = append(closed, at.Sub(begin))
				case <-time.After(time.Minute):
					b.Fatal("the request is still open")
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			before.report(b, sessions, "cancel")
			reportLatency(b, "", closed)
			reportLatency(b, "ended", ended)
		})
	}
}

// upstream is the other end: each request that names a call is answered in part,
// and held until the caller closes it.
type upstream struct {
	*httptest.Server

	mu    sync.Mutex
	calls map[string]*held
}

// held is a request that the other end keeps.
type held struct {
	open   chan struct{}
	closed chan time.Time
}

// expect says that a request with that name will come.
func (u *upstream) expect(name string) *held {
	u.mu.Lock()
	defer u.mu.Unlock()
	h := &held{open: make(chan struct{}, 1), closed: make(chan time.Time, 1)}
	u.calls[name] = h
	return h
}

func newUpstream(b *testing.B) *upstream {
	b.Helper()
	u := &upstream{calls: map[string]*held{}}
	hold := func(w http.ResponseWriter, r *http.Request, name string) {
		u.mu.Lock()
		h := u.calls[name]
		u.mu.Unlock()
		if h == nil {
			b.Errorf("an unexpected request for %q", name)
			return
		}
		w.(http.Flusher).Flush()
		h.open <- struct{}{}
		<-r.Context().Done()
		h.closed <- time.Now()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /slow/{name}", func(w http.ResponseWriter, r *http.Request) { hold(w, r, r.PathValue("name")) })
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct {
				Role    string `json:"role"`
				Content string `json:"content"`
			} `json:"messages"`
			Stream bool `json:"stream"`
		}
		if err := json.NewDecoder(bufio.NewReader(r.Body)).Decode(&in); err != nil || !in.Stream {
			http.Error(w, "no title today", http.StatusBadRequest) // what is asked beside the run
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		name := in.Messages[len(in.Messages)-1].Content
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"I begin "}}]}`+"\n\n")
		hold(w, r, strings.TrimSpace(name))
	})
	u.Server = httptest.NewServer(mux)
	b.Cleanup(u.Close)
	return u
}
