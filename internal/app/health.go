package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/httpapi"
)

// retryable reports whether an error may go away by waiting.
func retryable(err error) bool {
	code := holdfast.CodeOf(err)
	return code == holdfast.CodeUnavailable || code == holdfast.CodeTimeout
}

// processSuffix tells this process from every other that has or had its name:
// two processes with one identity could take each other's claims for their own.
func processSuffix() string { return strings.ToLower(rand.Text()[:10]) }

// healthHandler answers health checks of a process without an API, and of any
// process that has not started yet.
func (p *program) healthHandler(started bool) http.Handler {
	var checks []httpapi.Check
	if started {
		checks = p.checks()
	}
	return p.healthOf(checks, started)
}

// healthOf is healthHandler for what the process depends on.
func (p *program) healthOf(checks []httpapi.Check, started bool) http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /ping", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !started {
			respond(w, http.StatusServiceUnavailable, map[string]string{"status": "starting"})
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
		respond(w, status, body)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if started {
			respond(w, http.StatusNotFound, map[string]string{"error": "this process has no API", "message": "this process has no API", "code": string(holdfast.CodeNotFound)})
			return
		}
		w.Header().Set("Retry-After", "1")
		respond(w, http.StatusServiceUnavailable, map[string]string{"error": "starting", "message": "starting", "code": string(holdfast.CodeUnavailable)})
	})
	return mux
}

// callbackHandler is cmd/oauth-callback of a deployment in which no OAuth client
// is configured: alive, and honest about what it cannot do.
func callbackHandler() http.Handler {
	mux := http.NewServeMux()
	alive := func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /readyz", alive)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = w.Write([]byte("<!doctype html><html lang=en><meta name=viewport content=\"width=device-width\"><title>Not configured</title><h1>Not configured</h1><p>This deployment connects to no server that asks for authorization. Nothing was stored. You may close this window.</p></html>\n"))
	})
	return mux
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone is nobody's error
}
