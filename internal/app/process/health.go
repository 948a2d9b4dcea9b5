package process

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Check is whether something that the program depends on is there.
type Check struct {
	Name  string
	Check func(context.Context) error
}

// Health answers health checks of a process without an API, and of any process
// that has not started yet.
func Health(checks []Check, started bool) http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		Respond(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /ping", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !started {
			Respond(w, http.StatusServiceUnavailable, map[string]string{"status": "starting"})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		status, body := http.StatusOK, map[string]string{"status": "ok"}
		for _, c := range checks {
			body[c.Name] = "ok"
			if err := c.Check(ctx); err != nil {
				status, body["status"], body[c.Name] = http.StatusServiceUnavailable, "unavailable", "unreachable"
			}
		}
		Respond(w, status, body)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if started {
			Respond(w, http.StatusNotFound, map[string]string{"error": "this process has no API", "message": "this process has no API", "code": string(holdfast.CodeNotFound)})
			return
		}
		w.Header().Set("Retry-After", "1")
		Respond(w, http.StatusServiceUnavailable, map[string]string{"error": "starting", "message": "starting", "code": string(holdfast.CodeUnavailable)})
	})
	return mux
}

// Respond answers with JSON that nobody keeps.
func Respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone is nobody's error
}
