package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/a2awire"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

type requestKey struct{}

// requestInfo is what a request says of itself.
type requestInfo struct {
	id string
	// trace is its W3C trace context, "" if it has none.
	trace string
}

// requestID returns the id of the request, "" outside of one.
func requestID(ctx context.Context) string {
	info, _ := ctx.Value(requestKey{}).(requestInfo)
	return info.id
}

// traceOf returns the trace context of the request, "" if there is none.
func traceOf(ctx context.Context) string {
	info, _ := ctx.Value(requestKey{}).(requestInfo)
	return info.trace
}

// traceparent is the header of W3C Trace Context, section 3.2.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// tenantOf returns whose request it is. The middleware lets none through without.
func tenantOf(ctx context.Context) string {
	c, _ := tenant.From(ctx)
	return c.Tenant
}

// wrap puts around all routes what every request gets.
func (a *API) wrap(next http.Handler) http.Handler {
	// A browser must not let a foreign page act in a user's name. Clients that are no
	// browsers send none of the headers that this looks at.
	cop := http.NewCrossOriginProtection()
	for _, origin := range a.cfg.CORSOrigins {
		if err := cop.AddTrustedOrigin(origin); err != nil {
			panic("httpapi: a configured origin: " + err.Error())
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if holdfast.ValidateID("request id", id) != nil {
			id = holdfast.NewID()
		}
		info := requestInfo{id: id}
		if t := r.Header.Get("Traceparent"); traceparent.MatchString(t) {
			info.trace = t
		}
		ctx := context.WithValue(r.Context(), requestKey{}, info)
		r = r.WithContext(ctx)
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		rec := &recorder{ResponseWriter: w, rc: http.NewResponseController(w), timeout: a.cfg.WriteTimeout}
		defer a.finish(rec, r, start)

		if a.cors(rec, r) {
			return
		}
		if err := cop.Check(r); err != nil {
			a.writeError(rec, r, holdfast.WrapError(holdfast.CodeForbidden, err, "a page of another origin may not do this"))
			return
		}
		if err := readable(r); err != nil {
			a.writeError(rec, r, err)
			return
		}
		if !public(r.URL.Path) {
			caller, err := a.cfg.Keys.Authenticate(tenant.KeyOf(r))
			if err != nil {
				a.writeError(rec, r, err)
				return
			}
			if caller.Operator != operated(r.URL.Path) {
				a.writeError(rec, r, a.notYours(caller))
				return
			}
			r = r.WithContext(tenant.With(ctx, caller))
			if err := a.admitRequest(rec, r, caller); err != nil {
				a.writeError(rec, r, err)
				return
			}
		}
		next.ServeHTTP(rec, r)
	})
}

// public reports whether a path answers everybody.
func public(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/health", "/v2/health", "/ready", "/v2/ready", "/ping", "/api/ping", "/v2/api/ping", "/v2/ping", "/v1/openapi.json", "/v1/openapi.yaml", "/v1/docs", "/openapi.json", "/openapi.yaml", "/docs":
		return true
	}
	return false
}

// finish turns a panic into an answer without internals and notes the request.
func (a *API) finish(rec *recorder, r *http.Request, start time.Time) {
	ctx := r.Context()
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler { //nolint:errorlint // the value itself is the signal
			panic(v)
		}
		a.logger.ErrorContext(ctx, "a handler panicked", "panic", fmt.Sprint(v), "path", r.URL.Path, "request", requestID(ctx), "stack", string(debug.Stack()))
		if rec.status != 0 {
			// The answer has begun; only a broken connection says that it is not whole.
			panic(http.ErrAbortHandler)
		}
		a.writeError(rec, r, holdfast.Errorf(holdfast.CodeInternal, "internal error"))
	}
	a.logger.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Int64("bytes", rec.bytes), slog.Duration("took", time.Since(start)), slog.String("request", requestID(ctx)))
}

// recorder notes status and size of an answer, and gives each piece of it a time:
// a client that does not take its answer is cut, and holds nothing.
type recorder struct {
	http.ResponseWriter
	status  int
	bytes   int64
	rc      *http.ResponseController
	timeout time.Duration
	set     time.Time // when the deadline was set
}

// piece is how many bytes of an answer have a time of their own.
const piece = 64 << 10

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// deadline gives the client time from now on. Deadlines that a stream sets for
// itself are no later.
func (w *recorder) deadline() error {
	now := time.Now()
	if now.Sub(w.set) < w.timeout/10 {
		return nil
	}
	w.set = now
	if err := w.rc.SetWriteDeadline(now.Add(w.timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("limit the time of a write: %w", err)
	}
	return nil
}

// WriteHeader notes the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	// An answer without a body is written when its handler is done. A connection that
	// is gone says so at the next write.
	_ = w.deadline()
	w.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (w *recorder) Write(p []byte) (n int, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	for first := true; first || len(p) > 0; first = false {
		if err := w.deadline(); err != nil {
			return n, err
		}
		part := p[:min(len(p), piece)]
		wrote, err := w.ResponseWriter.Write(part)
		n += wrote
		w.bytes += int64(wrote)
		if err != nil {
			return n, err
		}
		p = p[len(part):]
	}
	return n, nil
}

// fallback answers what no route of a mount takes: 405 where another method
// would fit, else 404, both with the mount's body.
func (a *API) fallback(mux *router) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			probe := r.Clone(r.Context())
			probe.Method = m
			if _, pattern := mux.Handler(probe); strings.HasPrefix(pattern, m+" ") {
				allowed = append(allowed, m)
			}
		}
		if len(allowed) == 0 || slices.Contains(allowed, r.Method) {
			a.writeError(w, r, holdfast.Errorf(holdfast.CodeNotFound, "there is no route %s %s", r.Method, r.URL.Path))
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		msg := fmt.Sprintf("%s does not take %s, only %s", r.URL.Path, r.Method, strings.Join(allowed, ", "))
		if openAIPath(r.URL.Path) {
			writeJSON(w, http.StatusMethodNotAllowed, "application/json", openAIError{openAIFailure{Message: msg, Type: "invalid_request_error", Code: holdfast.CodeInvalid}})
			return
		}
		if a2aRESTPath.MatchString(r.URL.Path) {
			writeJSON(w, http.StatusMethodNotAllowed, "application/json", a2aStatusOf(http.StatusMethodNotAllowed, msg, a2awire.Kind{Status: "UNIMPLEMENTED", Reason: "METHOD_NOT_ALLOWED"}, holdfast.CodeInvalid))
			return
		}
		if !legacyPath(r.URL.Path) {
			p := &Problem{Title: http.StatusText(http.StatusMethodNotAllowed), Status: http.StatusMethodNotAllowed, Detail: msg, Code: holdfast.CodeInvalid, RequestID: requestID(r.Context())}
			writeJSON(w, p.Status, p.ContentType(""), p)
			return
		}
		writeJSON(w, http.StatusMethodNotAllowed, "application/json", legacyError{Error: msg, Message: msg, Code: holdfast.CodeInvalid})
	}
}
