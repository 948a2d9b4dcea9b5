package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

const (
	// importStall is how long the sender of an import may pause.
	importStall = 30 * time.Second
	// importRate is how many bytes a second an import must have on average, but for
	// [Config.BodyTime]: nobody holds a place for days.
	importRate = 128 << 10
)

// Imports at the same time, of all and of one tenant: each may fill a file of
// MaxImport bytes.
const (
	maxImports      = 8
	maxImportsOfOne = 2
)

// gate counts the imports that are under way.
type gate struct {
	mu  sync.Mutex // guards all and of
	all int
	of  map[string]int
}

// enter reports whether one more of a tenant may begin; then leave must follow.
func (g *gate) enter(tenantID string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= maxImports || g.of[tenantID] >= maxImportsOfOne {
		return false
	}
	if g.of == nil {
		g.of = map[string]int{}
	}
	g.all++
	g.of[tenantID]++
	return true
}

func (g *gate) leave(tenantID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.of[tenantID]--; g.of[tenantID] == 0 {
		delete(g.of, tenantID)
	}
}

// Imported is what an import made.
type Imported struct {
	ID  string `json:"id" doc:"Id of the session."`
	Seq uint64 `json:"seq" doc:"Its newest event."`
}

// copyRoutes mounts the routes that move sessions as files. They stream, so they
// are plain handlers and are described by hand.
func (a *API) copyRoutes(mux *router, api huma.API) {
	mux.HandleFunc("GET /v1/sessions/{id}/export", a.noQuery(a.export))
	mux.HandleFunc("POST /v1/sessions/import", a.importSession)
	str := &huma.Schema{Type: "string"}
	add := func(op huma.Operation, ok string, content map[string]*huma.MediaType) {
		op.Responses = map[string]*huma.Response{ok: {Description: "OK", Content: content}}
		for _, st := range op.Errors {
			op.Responses[strconv.Itoa(st)] = &huma.Response{
				Description: http.StatusText(st),
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
			}
		}
		api.OpenAPI().AddOperation(&op)
	}
	lines := map[string]*huma.MediaType{typeNDJSON: {Schema: str}}
	op := a.operation("export-session", http.MethodGet, "/v1/sessions/{id}/export", "sessions", "Export a session",
		"All events that the session has now with their whole envelopes, as JSON lines: a line that says what the file is, one for each event, and one with their number and SHA-256, without which the file is not whole. What a fork shares with another session is in its file.",
		http.StatusNotFound)
	op.Parameters = []*huma.Param{{Name: "id", In: "path", Required: true, Description: "Id of the session.", Schema: str}}
	add(op, "200", lines)
	op = a.operation("import-session", http.MethodPost, "/v1/sessions/import", "sessions", "Import a session",
		"Makes a session of an exported file, event for event the same: numbers, times, epochs and payloads. A damaged file is refused as a whole, with the number of the line. "+
			"The session can then go on like any other; timers in it fire, a run that was active in it goes on with the next command or after a minute, and its usage counts. "+
			"The same file again changes nothing (200), and finishes an import that broke off; another session with the id is a conflict. At most 4 GiB. The file must come at 128 KiB a second on average after the first minute, with no pause of more than 30 seconds; else it is refused with 408.",
		http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests)
	op.Parameters = []*huma.Param{{Name: "id", In: "query", Description: "Id of the new session. Default: the one in the file.", Schema: str}}
	op.RequestBody = &huma.RequestBody{Required: true, Content: lines}
	api.OpenAPI().Components.Schemas.Map()["Imported"] = &huma.Schema{
		Type: huma.TypeObject, Required: []string{"id", "seq"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{"id": {Type: "string", Description: "Id of the session."}, "seq": {Type: "integer", Format: "int64", Description: "Its newest event."}},
	}
	done := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Imported"}}}
	add(op, "201", done)
	api.OpenAPI().Paths["/v1/sessions/import"].Post.Responses["200"] = &huma.Response{Description: "The session was there already.", Content: done}
}

func (a *API) export(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: r.PathValue("id")}
	if err := a.exists(ctx, ref); err != nil {
		a.writeProblem(w, r, err)
		return
	}
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": ref.Session + ".jsonl"}))
	out, err := a.startWire(w, typeNDJSON, beatNDJSON)
	if err == nil {
		err = a.writeCopy(ctx, out, ref)
	}
	if err != nil && ctx.Err() == nil {
		a.logError(ctx, "an export broke off", err)
		panic(http.ErrAbortHandler) // what was sent has no last line
	}
}

func (a *API) writeCopy(ctx context.Context, out *wire, ref holdfast.SessionRef) error {
	c, err := events.NewCopyWriter(writerFunc(out.write), ref.Session)
	if err != nil {
		return err
	}
	if _, err := a.reader.Read(ctx, ref, 0, func(e events.Envelope) error { return c.Event(&e) }); err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	return out.flush()
}

// writerFunc makes a writer of a function that takes all or fails.
type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (a *API) importSession(w http.ResponseWriter, r *http.Request) {
	done, created, err := a.importBody(w, r)
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	st := http.StatusOK
	if created {
		st = http.StatusCreated
	}
	writeJSON(w, st, "application/json", done)
}

func (a *API) importBody(w http.ResponseWriter, r *http.Request) (done Imported, created bool, err error) {
	ctx := r.Context()
	for name := range r.URL.Query() {
		if name != "id" {
			return done, false, holdfast.Errorf(holdfast.CodeInvalid, "query %s: unknown; want id", name)
		}
	}
	if !a.imports.enter(tenantOf(ctx)) {
		return done, false, holdfast.Errorf(holdfast.CodeRateLimited, "%d imports at the same time are possible, %d of one tenant; try again when one is done", maxImports, maxImportsOfOne)
	}
	defer a.imports.leave(tenantOf(ctx))
	spool, err := os.CreateTemp("", "holdfast-import-*")
	if err != nil {
		return done, false, fmt.Errorf("import: %w", err)
	}
	defer func() {
		// Nobody needs the file any more; what cannot be removed is the system's to clean.
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}()
	// All of it is checked before any of it is stored.
	body := &patientReader{r: http.MaxBytesReader(w, r.Body, a.cfg.MaxImport), rc: http.NewResponseController(w), stall: min(importStall, a.cfg.BodyTime), spare: a.cfg.BodyTime}
	c, err := events.NewCopyReader(io.TeeReader(body, spool))
	for err == nil {
		_, err = c.Next()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return done, false, holdfast.Errorf(holdfast.CodeTooLarge, "the file is larger than %d bytes", a.cfg.MaxImport)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return done, false, holdfast.WrapError(holdfast.CodeTimeout, errSlowBody, fmt.Sprintf("the file did not come in time: an import may pause for %v, and must have %d KiB a second on average but for its first %v",
			body.stall, importRate>>10, a.cfg.BodyTime))
	case !errors.Is(err, io.EOF):
		return done, false, err
	}
	ref := holdfast.SessionRef{Tenant: tenantOf(ctx), Session: cmp.Or(r.URL.Query().Get("id"), c.Session)}
	if err := ref.Validate(); err != nil {
		return done, false, err
	}
	before, err := events.ReadTail(ctx, a.cfg.Bus, a.cfg.Store, ref)
	if err != nil {
		return done, false, unavailable(err)
	}
	if before.Seq == 0 {
		if err := a.admitSession(ctx, ref, true); err != nil {
			return done, false, err
		}
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return done, false, fmt.Errorf("import: %w", err)
	}
	if c, err = events.NewCopyReader(spool); err != nil {
		return done, false, err
	}
	// A long file takes its time to be stored; a reading deadline would end ctx.
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})); err != nil {
		return done, false, fmt.Errorf("import: %w", err)
	}
	head, err := events.Import(ctx, a.reader, ref, c.Next)
	switch {
	case errors.Is(err, events.ErrConflict):
		return done, false, holdfast.WrapError(holdfast.CodeConflict, err, "there is another session "+ref.Session+" already; import under another id")
	case err != nil:
		return done, false, unavailable(err)
	}
	return Imported{ID: ref.Session, Seq: head.Seq}, before.Seq < head.Seq, nil
}

// patientReader lets a body take the time that its length deserves: it may pause for
// stall, and in all wait for spare longer than importRate asks for. Only the time in
// which the sender is waited for counts.
type patientReader struct {
	r            io.Reader
	rc           *http.ResponseController
	stall, spare time.Duration
	n            int64
	waited       time.Duration
}

// Read implements io.Reader. The error of a sender that is too slow is
// os.ErrDeadlineExceeded.
func (p *patientReader) Read(b []byte) (int, error) {
	left := p.spare + time.Duration(p.n)*(time.Second/importRate) - p.waited
	if left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	begin := time.Now()
	if err := p.rc.SetReadDeadline(begin.Add(min(p.stall, left))); err != nil {
		return 0, err
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	p.waited += time.Since(begin)
	return n, err
}
