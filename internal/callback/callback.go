// Package callback is the service to which authorization servers send browsers
// back. It has no database and remembers nothing: everything that it needs to know
// is in the state, which it checks, and everything that it learns goes, sealed, to
// the command subject of the session that waits. Any number of it may run.
//
// Nothing is consumed by HEAD, by a prefetch, or by a browser that is not the one
// which began. An answer that comes twice finds its flow used, and gets the same
// page as one that is unknown or has expired. A code is never logged, never in a
// page and never in a redirect.
package callback

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/time/rate"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/oauth"
	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
)

// Commands makes a command durable and waits for what becomes of it.
type Commands interface {
	// Request returns an error with CodeTimeout if the command is durable and nobody
	// has answered yet; any other error means that it may not have been stored.
	Request(ctx context.Context, c events.Command) (events.Answer, error)
}

// Config configures a [Handler]. Ring and Commands must be set.
type Config struct {
	Ring     *state.Ring
	Commands Commands
	// CallbackURL is the address of this service, without a path at the end.
	CallbackURL string
	// Document makes the client id metadata document; nil serves none.
	Document func(documentURL string, redirectURIs ...string) oauth.ClientMetadata
	// ReturnURL is where the application of a tenant waits for its user, "" if the
	// user ends here.
	ReturnURL func(tenant string) string
	// PerSecond is how many answers with a true state are taken per second and
	// connection, and from all together twenty times as many. Default 100.
	PerSecond int
	// Wait is how long an answer may take to be accepted by a worker before the user
	// is told that it has come. Default 3 s.
	Wait   time.Duration
	Logger *slog.Logger
	Meter  metric.Meter
	Now    func() time.Time
}

// Handler serves the callback, the result pages and the documents.
type Handler struct {
	cfg     Config
	mux     *http.ServeMux
	answers metric.Int64Counter

	all *rate.Limiter

	mu      sync.Mutex // guards limits
	limits  map[string]*rate.Limiter
	limited time.Time // when limits was made
}

// New returns the handler of the routes below /oauth/.
func New(cfg Config) (*Handler, error) {
	if cfg.Ring == nil || cfg.Commands == nil || cfg.Meter == nil {
		return nil, errors.New("callback: keys, commands and meter must be configured")
	}
	if cfg.PerSecond <= 0 {
		cfg.PerSecond = 100
	}
	if cfg.Wait <= 0 {
		cfg.Wait = 3 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ReturnURL == nil {
		cfg.ReturnURL = func(string) string { return "" }
	}
	h := &Handler{
		cfg: cfg, mux: http.NewServeMux(), limits: map[string]*rate.Limiter{},
		all: rate.NewLimiter(rate.Limit(20*cfg.PerSecond), 20*cfg.PerSecond),
	}
	var err error
	h.answers, err = cfg.Meter.Int64Counter("holdfast.oauth.callbacks", metric.WithDescription("Redirects of authorization servers, by what became of them."))
	if err != nil {
		return nil, err
	}
	h.mux.HandleFunc("GET "+flow.CallbackPath+"/{connection}", h.callback)
	// The mode form_post is not asked for, and a browser would bring no cookie.
	h.mux.HandleFunc(flow.CallbackPath+"/{connection}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", "GET, HEAD")
		h.count(r.Context(), "refused")
		Page(w, http.StatusMethodNotAllowed, Expired)
	})
	h.mux.HandleFunc("GET "+flow.DocumentPath+"/{connection}", h.document)
	h.mux.HandleFunc("GET "+ResultPath+"/{result}", h.result)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { Page(w, http.StatusNotFound, Expired) })
	return h, nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	h.mux.ServeHTTP(w, r)
}

// harden sets what every answer of the service has.
func harden(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Content-Security-Policy", policy)
}

// prefetched reports whether a browser only looks ahead (Fetch, section 3.8;
// older browsers have names of their own).
func prefetched(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"} {
		v := strings.ToLower(r.Header.Get(name))
		if strings.Contains(v, "prefetch") || strings.Contains(v, "preview") || strings.Contains(v, "prerender") {
			return true
		}
	}
	return false
}

// callback takes an authorization server's answer (RFC 6749 section 4.1.2).
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
		return
	case prefetched(r):
		w.WriteHeader(http.StatusNoContent)
		return
	}
	connection := r.PathValue("connection")
	data, answer, ok := h.read(r, connection)
	if !ok {
		h.end(w, r, "refused", Expired)
		return
	}
	// Only answers that may be true count: who forges states cannot use up the limit
	// of those who do not.
	if !h.allow(connection) {
		w.Header().Set("Retry-After", "1")
		h.count(r.Context(), "limited")
		Page(w, http.StatusTooManyRequests, Busy)
		return
	}
	sealed, err := h.cfg.Ring.Seal(data, answer)
	if err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "seal an answer", "error", err)
		Page(w, http.StatusInternalServerError, Busy)
		return
	}
	c, err := events.NewCommand(data.Ref(), events.KindAnswer, holdfast.DeriveID(data.Tenant, data.SessionID, "oauth answer", data.Flow),
		events.AnswerBody{Flow: data.Flow, Sealed: sealed})
	if err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "make a command", "error", err)
		Page(w, http.StatusInternalServerError, Busy)
		return
	}
	// Whether the answer gets through must not depend on the browser's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.cfg.Wait)
	defer cancel()
	ans, err := h.cfg.Commands.Request(ctx, c)
	switch {
	case err != nil && holdfast.CodeOf(err) != holdfast.CodeTimeout:
		h.cfg.Logger.WarnContext(r.Context(), "an answer cannot be passed on", "session", data.Ref().String(), "flow", data.Flow, "error", err)
		w.Header().Set("Retry-After", "5")
		h.count(r.Context(), "unavailable")
		Page(w, http.StatusServiceUnavailable, Busy)
		return
	case err == nil && ans.Code != "" && ans.Code != holdfast.CodeTimeout:
		h.cfg.Logger.InfoContext(r.Context(), "an answer was not wanted", "session", data.Ref().String(), "flow", data.Flow, "code", ans.Code)
		h.end(w, r, "unwanted", Expired)
		return
	}
	h.cfg.Logger.InfoContext(r.Context(), "an answer was passed on", "session", data.Ref().String(), "flow", data.Flow)
	if data.Binding == state.BindConfirm {
		if to, ok := h.returnTo(data); ok {
			h.count(r.Context(), "returned")
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusSeeOther)
			return
		}
	}
	http.SetCookie(w, &http.Cookie{Name: state.CookieName(data.Flow), Path: flow.CallbackPath, MaxAge: -1, HttpOnly: true})
	if answer.Error != "" {
		h.end(w, r, "denied", Denied)
		return
	}
	h.end(w, r, "received", Success)
}

// read checks everything that can be checked here.
func (h *Handler) read(r *http.Request, connection string) (data state.Data, a state.Answer, ok bool) {
	if len(r.URL.RawQuery) > maxQuery {
		return data, a, false
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return data, a, false
	}
	one := func(name string) (string, bool) { // nothing may come twice (RFC 6749 section 3.1)
		v := q[name]
		if len(v) > 1 {
			ok = false
		}
		if len(v) != 1 {
			return "", false
		}
		return v[0], true
	}
	ok = true
	st, _ := one("state")
	code, hasCode := one("code")
	failure, hasError := one("error")
	description, _ := one("error_description")
	iss, hasIssuer := one("iss")
	if !ok || hasCode == hasError || (hasCode && code == "") || (hasError && failure == "") {
		return data, a, false
	}
	data, err = h.cfg.Ring.Decode(st, h.cfg.Now())
	if err != nil || data.Connection != connection {
		return data, a, false
	}
	if data.Binding == state.BindCookie && !h.began(r, data) {
		return data, a, false
	}
	a = state.Answer{State: st, Code: code, Error: failure, ErrorDescription: description}
	if hasIssuer {
		a.Issuer = &iss
	}
	return data, a, true
}

// maxQuery is the most bytes of a query that is looked at.
const maxQuery = 16 << 10

// began reports whether this browser opened the start URL of the flow.
func (h *Handler) began(r *http.Request, data state.Data) bool {
	for _, c := range r.CookiesNamed(state.CookieName(data.Flow)) {
		if h.cfg.Ring.IsCookie(data, c.Value) {
			return true
		}
	}
	return false
}

// returnTo is where the tenant's application takes over; only addresses of the
// deployment's configuration are used.
func (h *Handler) returnTo(data state.Data) (string, bool) {
	u, err := url.Parse(h.cfg.ReturnURL(data.Tenant))
	if err != nil || u.Host == "" {
		return "", false
	}
	q := u.Query()
	q.Set("session_id", data.SessionID)
	q.Set("flow_id", data.Flow)
	q.Set("random", data.Random)
	q.Set("connection", data.Connection)
	q.Set("verifier", h.cfg.Ring.Verifier(data))
	u.RawQuery = q.Encode()
	return u.String(), true
}

// end sends the browser to a page whose address says nothing of the flow.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, outcome string, result Result) {
	h.count(r.Context(), outcome)
	w.Header().Set("Location", ResultPath+"/"+string(result))
	w.WriteHeader(http.StatusSeeOther)
}

func (h *Handler) count(ctx context.Context, outcome string) {
	h.answers.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}

// allow is the rate limit: one connection does not use up what all others need.
func (h *Handler) allow(connection string) bool {
	if !h.all.Allow() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	// Who invents connections must not fill the memory.
	if now := h.cfg.Now(); len(h.limits) > 10_000 || now.Sub(h.limited) > time.Minute {
		clear(h.limits)
		h.limited = now
	}
	l := h.limits[connection]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(h.cfg.PerSecond), 5*h.cfg.PerSecond)
		h.limits[connection] = l
	}
	return l.Allow()
}

// document serves the client id metadata document of a connection
// (draft-ietf-oauth-client-id-metadata-document). It follows from the path alone.
func (h *Handler) document(w http.ResponseWriter, r *http.Request) {
	connection := r.PathValue("connection")
	if h.cfg.Document == nil || holdfast.ValidateID("connection", connection) != nil {
		Page(w, http.StatusNotFound, Expired)
		return
	}
	doc := h.cfg.Document(DocumentURL(h.cfg.CallbackURL, connection), flow.RedirectURI(h.cfg.CallbackURL, connection))
	body, err := json.Marshal(doc)
	if err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "encode a client id metadata document", "error", err)
		Page(w, http.StatusInternalServerError, Busy)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(body) // a client that is gone is nobody's error
}

// DocumentURL is where the document of a connection is.
func DocumentURL(callbackURL, connection string) string {
	return strings.TrimSuffix(callbackURL, "/") + flow.DocumentPath + "/" + connection
}

func (h *Handler) result(w http.ResponseWriter, r *http.Request) {
	switch result := Result(r.PathValue("result")); result {
	case Success, Denied, Expired:
		Page(w, http.StatusOK, result)
	default:
		Page(w, http.StatusNotFound, Expired)
	}
}
