package callback

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/holdfast-run/holdfast/internal/oauth/flow"
	"github.com/holdfast-run/holdfast/internal/oauth/state"
	"github.com/holdfast-run/holdfast/internal/tenant"
)

// Starter serves the start URLs, from which users are sent to authorization
// servers. It needs the database, and is therefore a part of the API's process.
type Starter struct {
	// Open returns a flow that may begin: flow.ErrNotFound and flow.ErrSettled say
	// that there is none.
	Open func(ctx context.Context, tenantID, id string) (flow.Opened, error)
	Ring *state.Ring
	// Keys says who may begin a flow that ends with the browser's cookie: who has a
	// key of the tenant. Without keys everybody who reaches the port may.
	Keys *tenant.Keyring
	// Secure marks cookies for https alone.
	Secure bool
	Logger *slog.Logger
}

// ServeHTTP answers GET /oauth/start/{tenant}/{flow}.
func (s *Starter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, HEAD")
		Page(w, http.StatusMethodNotAllowed, Expired)
		return
	case prefetched(r):
		w.WriteHeader(http.StatusNoContent)
		return
	}
	opened, err := s.Open(r.Context(), r.PathValue("tenant"), r.PathValue("flow"))
	switch {
	case errors.Is(err, flow.ErrNotFound), errors.Is(err, flow.ErrSettled):
		Page(w, http.StatusNotFound, Expired)
		return
	case err != nil:
		s.Logger.WarnContext(r.Context(), "an authorization cannot be begun", "error", err)
		w.Header().Set("Retry-After", "5")
		Page(w, http.StatusServiceUnavailable, Busy)
		return
	}
	if opened.State.Binding == state.BindCookie {
		// The browser must be one of the tenant's: an attacker's link in a stranger's
		// browser ends here.
		caller, err := s.Keys.Authenticate(tenant.KeyOf(r))
		if err != nil || caller.Tenant != opened.Record.Tenant {
			w.Header().Set("WWW-Authenticate", `Basic realm="Holdfast", charset="UTF-8"`)
			Page(w, http.StatusUnauthorized, Expired)
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: state.CookieName(opened.Record.ID), Value: s.Ring.Cookie(opened.State), Path: flow.CallbackPath,
			MaxAge: max(1, int(time.Until(opened.Record.Expires).Seconds())), HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode,
		})
	}
	w.Header().Set("Location", opened.URL)
	w.WriteHeader(http.StatusSeeOther)
}
