package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

// start runs everything in this process on a folder and returns the API's
// address and what stops it.
func start(t *testing.T, data string, env ...string) (base string, stop func()) {
	t.Helper()
	cfg, err := config.Load(append([]string{"HOLDFAST_DATA=" + data, "HOLDFAST_LISTEN=127.0.0.1:0"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "test", Logger: slog.New(slog.DiscardHandler), DrainGrace: time.Second,
			Ready: func(addr string) { ready <- addr },
		})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	select {
	case addr := <-ready:
		return "http://" + addr, stop
	case err := <-done:
		stopped = true
		t.Fatal(err)
	}
	return "", nil
}

// call makes a request and decodes the answer into out.
func call(t *testing.T, method, url, body string, want int, out any, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d: %s", method, url, resp.Status, want, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, url, err, data)
		}
	}
	return string(data)
}

type document struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Seq      uint64 `json:"seq"`
	ForkOf   string `json:"fork_of"`
	ForkSeq  uint64 `json:"fork_seq"`
	Messages []struct {
		Seq     uint64
		Message struct{ Role, Content string }
	} `json:"messages"`
}

// run says something to the demo and returns what the stream of the run was.
func run(t *testing.T, base, session, text string) string {
	t.Helper()
	body, err := json.Marshal([]map[string]string{{"role": "user", "content": text}})
	if err != nil {
		t.Fatal(err)
	}
	return call(t, http.MethodPost, base+"/api/sessions/"+session+"/agent/demo", string(body), http.StatusOK, nil)
}

// TestDemo: the built-in agent goes through the whole pipeline, the process is
// stopped and started on the same folder, the session is there and goes on, it
// is forked in the middle, and the log keeps every rule.
func TestDemo(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	base, stop := start(t, data)
	var s document
	call(t, http.MethodPost, base+"/v1/sessions", `{"tools_approved":true}`, http.StatusCreated, &s)
	stream := run(t, base, s.ID, "hello")
	for _, want := range []string{`"type":"user_message"`, `"type":"tool_call"`, `"type":"agent_choice"`, `"type":"stream_stopped"`, `"type":"session_title"`} {
		if !strings.Contains(stream, want) {
			t.Errorf("the stream has no %s:\n%s", want, stream)
		}
	}
	var first document
	call(t, http.MethodGet, base+"/v1/sessions/"+s.ID, "", http.StatusOK, &first)
	stop()

	base, stop = start(t, data)
	var again document
	call(t, http.MethodGet, base+"/v1/sessions/"+s.ID, "", http.StatusOK, &again)
	if len(again.Messages) != len(first.Messages) || again.Title != "Demo: hello" {
		t.Fatalf("after a restart: %d messages, title %q; before: %d", len(again.Messages), again.Title, len(first.Messages))
	}
	run(t, base, s.ID, "please plan something")

	// A fork behind the first run knows nothing of the second.
	var fork, whole document
	body, err := json.Marshal(map[string]any{"seq": first.Seq})
	if err != nil {
		t.Fatal(err)
	}
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/forks", string(body), http.StatusCreated, &fork)
	if fork.ForkOf != s.ID || fork.ForkSeq != first.Seq || len(fork.Messages) != len(first.Messages) {
		t.Errorf("fork: %+v", fork)
	}
	run(t, base, fork.ID, "something else")
	call(t, http.MethodGet, base+"/v1/sessions/"+fork.ID, "", http.StatusOK, &fork)
	call(t, http.MethodGet, base+"/v1/sessions/"+s.ID, "", http.StatusOK, &whole)
	if text := call(t, http.MethodGet, base+"/v1/sessions/"+fork.ID, "", http.StatusOK, nil); strings.Contains(text, "please plan") || !strings.Contains(text, "something else") {
		t.Errorf("the fork has: %s", text)
	}
	if text := call(t, http.MethodGet, base+"/v1/sessions/"+s.ID, "", http.StatusOK, nil); strings.Contains(text, "something else") {
		t.Errorf("the forked session has: %s", text)
	}
	// A fork in the middle of a run does not inherit the run.
	var middle document
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/forks", `{"seq":12}`, http.StatusCreated, &middle)
	if stream := run(t, base, middle.ID, "go on"); !strings.Contains(stream, `"reason":"stop"`) {
		t.Errorf("a fork in the middle of a run: %s", stream)
	}
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/forks", `{"seq":100000}`, http.StatusGone, nil)
	call(t, http.MethodPost, base+"/v1/sessions/nobody/forks", `{}`, http.StatusNotFound, nil)

	// The list shows what happened, at once.
	if text := call(t, http.MethodGet, base+"/api/sessions", "", http.StatusOK, nil); strings.Count(text, `"id"`) != 3 || !strings.Contains(text, `"title":"Demo: hello"`) {
		t.Errorf("list: %s", text)
	}
	stop()
	verify(t, data, 3, 0)
}

func verify(t *testing.T, data string, sessions, violations int) {
	t.Helper()
	cfg, err := config.Load([]string{"HOLDFAST_DATA=" + data})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, err := app.Verify(t.Context(), cfg, app.VerifyOptions{}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sessions != sessions || r.Violations != violations || r.Events == 0 {
		t.Errorf("verify: %+v\n%s", r, out.String())
	}
}
