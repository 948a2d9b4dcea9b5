package httpapi

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// createTimeout is how long a session may take to be stored.
const createTimeout = 5 * time.Second

// freshTimeout is how long a list waits for a store that is behind.
const freshTimeout = 100 * time.Millisecond

// errDeleted is in the chain of the error for a session that was deleted.
var errDeleted = errors.New("the session was deleted")

func errNoSession(ref holdfast.SessionRef) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is no session %s", ref.Session)
}

// exists returns nil if there is such a session. Its errors have CodeInvalid for
// an id that cannot be one, CodeNotFound, or CodeUnavailable.
func (a *API) exists(ctx context.Context, ref holdfast.SessionRef) error {
	_, err := a.end(ctx, ref)
	return err
}

// end returns where the log of a session ends, with the errors of exists.
func (a *API) end(ctx context.Context, ref holdfast.SessionRef) (events.End, error) {
	if err := ref.Validate(); err != nil {
		return events.End{}, err
	}
	end, err := events.ReadEnd(ctx, a.cfg.Bus, a.cfg.Store, ref)
	switch {
	case errors.Is(err, events.ErrCorrupt):
		return events.End{}, err
	case err != nil:
		return events.End{}, unavailable(err)
	case end.Seq == 0:
		return events.End{}, errNoSession(ref)
	case end.Type == holdfast.TypeSessionDeleted: // the last event that a session gets
		return events.End{}, holdfast.WrapError(holdfast.CodeNotFound, errDeleted, "there is no session "+ref.Session+"; it was deleted")
	}
	return end, nil
}

// create stores a new session and returns its document. An id that is taken is
// events.ErrConflict; made says that the caller has just made the id.
func (a *API) create(ctx context.Context, ref holdfast.SessionRef, made bool, ev *holdfast.SessionCreatedEvent) (*View, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if err := a.admitSession(ctx, ref, made); err != nil {
		return nil, err
	}
	// A client that hangs up must not leave it open whether the session exists.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	var first events.Envelope
	var err error
	switch {
	case ev.ForkOf != "":
		err = events.Fork(cctx, a.reader, holdfast.SessionRef{Tenant: ref.Tenant, Session: ev.ForkOf}, ev.ForkSeq, ref.Session, ev)
	case made:
		first, err = events.CreateNew(cctx, a.cfg.Bus, a.cfg.Store, ref, ev)
	default:
		first, err = events.Create(cctx, a.cfg.Bus, a.cfg.Store, ref, ev)
	}
	if err != nil {
		if errors.Is(err, events.ErrConflict) {
			return nil, err
		}
		return nil, unavailable(fmt.Errorf("create %s: %w", ref, err))
	}
	var v *View
	if ev.ForkOf == "" {
		v = NewView(ref) // as it was created, whatever others do to it by now
		err = v.Apply(&first)
	} else {
		v, err = a.view(cctx, ref, 0)
	}
	if err != nil {
		return nil, err
	}
	a.recent.created(v.Info)
	return v, nil
}

// ensure creates the session if it does not exist: clients of the legacy routes
// run on ids that they made up.
func (a *API) ensure(ctx context.Context, ref holdfast.SessionRef) error {
	err := a.exists(ctx, ref)
	if errors.Is(err, errDeleted) {
		return holdfast.Errorf(holdfast.CodeGone, "session %s was deleted; take another id", ref.Session)
	}
	if holdfast.CodeOf(err) != holdfast.CodeNotFound {
		return err
	}
	_, err = a.create(ctx, ref, false, &holdfast.SessionCreatedEvent{})
	if errors.Is(err, events.ErrConflict) {
		return nil // somebody else was quicker
	}
	return err
}

// list returns a page of the tenant's sessions, newest first, and what this
// process did to them in the last moments included.
func (a *API) list(ctx context.Context, tenantID string, p events.Page) ([]events.SessionInfo, error) {
	a.fresh(ctx)
	rows, err := a.cfg.Store.Sessions(ctx, tenantID, p)
	if err != nil {
		return nil, unavailable(fmt.Errorf("list sessions of %s: %w", tenantID, err))
	}
	if p.Filter.Selects() {
		// Whether what was made a moment ago is among them is for the archive to say.
		return slices.DeleteFunc(rows, func(s events.SessionInfo) bool { return a.recent.gone(s.Session) }), nil
	}
	return a.recent.merge(tenantID, rows, p, func(ref holdfast.SessionRef) bool { return a.exists(ctx, ref) == nil }), nil
}

// fresh gives a store that is behind a moment to come up.
func (a *API) fresh(ctx context.Context) {
	if a.cfg.Fresh != nil {
		ctx, cancel := context.WithTimeout(ctx, freshTimeout)
		defer cancel()
		a.cfg.Fresh(ctx)
	}
}

// recent remembers the sessions that this process created and deleted and that
// the archive may not know of yet: it follows the log by some 10 to 15 ms, by
// more when it was away.
//
// The other way to read one's own writes would be a barrier: to hold a creation
// or a list back until the archive has caught up. It would cost every creation
// those milliseconds and several queries, and would hold lists up whenever the
// archive is behind. The price of the overlay is that another process of this
// API lists the session those milliseconds later.
type recent struct {
	mu      sync.Mutex
	entries map[holdfast.SessionRef]recentEntry
	order   []holdfast.SessionRef // oldest first; may name entries that are gone
}

type recentEntry struct {
	info    events.SessionInfo
	deleted bool
	at      time.Time
}

const (
	// maxRecent and recentAge bound what is remembered.
	maxRecent = 4096
	recentAge = 5 * time.Minute
	// recentSure is how long an entry is shown without a look at the log: in that
	// time hardly another process deletes it.
	recentSure = time.Second
)

func newRecent() *recent {
	return &recent{entries: map[holdfast.SessionRef]recentEntry{}}
}

// created remembers a new session.
func (r *recent) created(info events.SessionInfo) {
	r.put(info.Session, recentEntry{info: info, at: time.Now()})
}

// deleted remembers that a session is gone.
func (r *recent) deleted(ref holdfast.SessionRef) {
	r.put(ref, recentEntry{deleted: true, at: time.Now()})
}

// gone reports whether this process has deleted a session a moment ago.
func (r *recent) gone(ref holdfast.SessionRef) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[ref].deleted
}

func (r *recent) put(ref holdfast.SessionRef, e recentEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[ref] = e
	r.order = append(r.order, ref)
	for len(r.order) > 0 {
		oldest := r.order[0]
		if len(r.order) <= maxRecent && e.at.Sub(r.entries[oldest].at) < recentAge {
			return
		}
		r.order = r.order[1:]
		if oldest != ref {
			delete(r.entries, oldest)
		}
	}
}

// merge puts what is remembered into a page of the archive. alive looks an older
// entry up in the log.
func (r *recent) merge(tenantID string, rows []events.SessionInfo, p events.Page, alive func(holdfast.SessionRef) bool) []events.SessionInfo {
	limit := cmp.Or(p.Limit, defaultPage)
	full := len(rows) >= limit
	r.mu.Lock()
	out := rows[:0:0]
	for _, row := range rows {
		e, known := r.entries[row.Session]
		if known && !e.deleted {
			delete(r.entries, row.Session) // the archive knows it now
		}
		if !known || !e.deleted {
			out = append(out, row)
		}
	}
	var missing []recentEntry
	for _, e := range r.entries {
		switch {
		case e.deleted || e.info.Session.Tenant != tenantID:
		case full && !newer(e.info, rows[len(rows)-1]):
		case !p.BeforeTime.IsZero() && !newer(events.SessionInfo{CreatedAt: p.BeforeTime, Session: holdfast.SessionRef{Session: p.BeforeID}}, e.info):
		default:
			missing = append(missing, e)
		}
	}
	r.mu.Unlock()
	for _, e := range missing {
		if time.Since(e.at) > recentSure && !alive(e.info.Session) {
			r.forget(e.info.Session)
			continue
		}
		out = append(out, e.info)
	}
	slices.SortFunc(out, func(a, b events.SessionInfo) int {
		if newer(a, b) {
			return -1
		}
		return 1
	})
	return out[:min(len(out), limit)]
}

func (r *recent) forget(ref holdfast.SessionRef) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, ref)
}

// newer reports whether a comes before b in a list.
func newer(a, b events.SessionInfo) bool {
	if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
		return c > 0
	}
	return a.Session.Session > b.Session.Session
}

// Sizes of a page of sessions.
const (
	defaultPage = 100
	maxPage     = 1000
)

// pageCursor makes the cursor of the page behind a row.
func pageCursor(last events.SessionInfo) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(last.CreatedAt.UnixMicro(), 10) + ":" + last.Session.Session))
}

// parsePageCursor reads what pageCursor made; "" is the first page.
func parsePageCursor(s string) (events.Page, error) {
	if s == "" {
		return events.Page{}, nil
	}
	bad := holdfast.Errorf(holdfast.CodeInvalid, "cursor: not one that a list of sessions gave out")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return events.Page{}, bad
	}
	micros, id, ok := strings.Cut(string(raw), ":")
	at, err := strconv.ParseInt(micros, 10, 64)
	if !ok || err != nil || at <= 0 || holdfast.ValidateID("session id", id) != nil {
		return events.Page{}, bad
	}
	return events.Page{BeforeTime: time.UnixMicro(at), BeforeID: id}, nil
}

// sameCreation reports whether two requests would create the same session.
func sameCreation(a, b *holdfast.SessionCreatedEvent) bool {
	return a.ToolsApproved == b.ToolsApproved && a.Title == b.Title && a.Agent == b.Agent && maps.Equal(a.Metadata, b.Metadata) &&
		a.User == b.User && a.ForkOf == b.ForkOf && a.ForkSeq == b.ForkSeq
}
