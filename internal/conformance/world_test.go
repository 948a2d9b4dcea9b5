package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/app"
	"github.com/holdfast-run/holdfast/internal/config"
)

// together starts the product in this process: API, worker, recorder and callback.
func together(t *testing.T) *product {
	t.Helper()
	cfg, err := config.Load([]string{"HOLDFAST_DATA=" + filepath.Join(t.TempDir(), "data"), "HOLDFAST_LISTEN=127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.Run(ctx, cfg, app.Roles{API: true, Worker: true, Recorder: true}, app.Options{
			Name: "conformance", Logger: slog.New(slog.DiscardHandler), DrainGrace: time.Second,
			Ready: func(addr string) { ready <- addr },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case addr := <-ready:
		return newProduct(t, "http://"+addr)
	case err := <-done:
		done <- nil
		t.Fatalf("the product does not start: %v", err)
	}
	return nil
}

func newProduct(t *testing.T, api string) *product {
	t.Helper()
	p := &product{api: api, echo: echo(t)}
	if err := p.send(t.Context(), http.MethodPut, "/v1/secrets/ECHO_KEY", map[string]string{"value": "none"}, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// echo is a model, spoken to as OpenAI's are, that calls json_schema_echo with the
// schema of json_schema_2020_12_tool as it came in the request: what a model gets
// to see of a tool.
func echo(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct {
				Role string `json:"role"`
			} `json:"messages"`
			Tools []struct {
				Function struct {
					Name       string          `json:"name"`
					Parameters json.RawMessage `json:"parameters"`
				} `json:"function"`
			} `json:"tools"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		delta, finish := any(map[string]any{"content": "done"}), "stop"
		if n := len(in.Messages); n > 0 && in.Messages[n-1].Role == "user" {
			for _, tool := range in.Tools {
				if tool.Function.Name != "json_schema_2020_12_tool" {
					continue
				}
				args, err := json.Marshal(map[string]any{"schema": tool.Function.Parameters})
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				delta, finish = map[string]any{"tool_calls": []any{map[string]any{
					"index": 0, "id": "call-1", "type": "function", "function": map[string]any{"name": "json_schema_echo", "arguments": string(args)},
				}}}, "tool_calls"
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, choice := range []map[string]any{{"index": 0, "delta": delta}, {"index": 0, "delta": map[string]any{}, "finish_reason": finish}} {
			chunk, err := json.Marshal(map[string]any{"id": "c", "object": "chat.completion.chunk", "model": "echo", "choices": []any{choice}})
			if err != nil {
				return
			}
			fmt.Fprintf(w, "data: %s\n\n", chunk)
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1"
}
