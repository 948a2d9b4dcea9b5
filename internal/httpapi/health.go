package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// readyTimeout is how long the checks of /readyz may take.
const readyTimeout = 2 * time.Second

// health serves what a supervisor asks.
func (a *API) health(mux *router) {
	ok := func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /ping", ok)
	mux.HandleFunc("GET /v2/ping", ok)
	mux.HandleFunc("GET /readyz", a.ready)
	// As clients of 2026 ask, beside the routes of the contract and before their mount.
	for _, mount := range []string{"", "/v2"} {
		mux.HandleFunc("GET "+mount+"/health", ok)
		mux.HandleFunc("GET "+mount+"/ready", a.ready)
	}
}

// ready answers 200 if everything that the API needs is there, else 503, and
// says what is not. The causes go to the log only.
func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	results := make([]string, len(a.cfg.Checks))
	var wg sync.WaitGroup
	for i, c := range a.cfg.Checks {
		wg.Go(func() {
			results[i] = "ok"
			if err := c.Check(ctx); err != nil {
				results[i] = "unreachable"
				a.logger.WarnContext(ctx, "not ready", "dependency", c.Name, "error", err)
			}
		})
	}
	wg.Wait()
	answer := struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
		// As clients of 2026 read it: they know of one store, and no other dependency.
		Ready bool `json:"ready"`
		Store bool `json:"store_connected"`
	}{"ok", map[string]string{}, true, true}
	code := http.StatusOK
	for i, c := range a.cfg.Checks {
		answer.Checks[c.Name] = results[i]
		if results[i] != "ok" {
			answer.Status, code = "unavailable", http.StatusServiceUnavailable
			answer.Ready, answer.Store = false, false
		}
	}
	writeJSON(w, code, "application/json", answer)
}
