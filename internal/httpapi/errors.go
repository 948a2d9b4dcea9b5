package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
)

// statusOf is the one table from code to HTTP status. A code that is not in it
// is answered with 500.
var statusOf = map[holdfast.Code]int{
	holdfast.CodeInvalid:      http.StatusBadRequest,
	holdfast.CodeInvalidInput: http.StatusUnprocessableEntity,
	holdfast.CodeUnauthorized: http.StatusUnauthorized,
	holdfast.CodeForbidden:    http.StatusForbidden,
	holdfast.CodeNotFound:     http.StatusNotFound,
	holdfast.CodeConflict:     http.StatusConflict,
	holdfast.CodeStale:        http.StatusPreconditionFailed,
	holdfast.CodeKeyReused:    http.StatusUnprocessableEntity,
	holdfast.CodeGone:         http.StatusGone,
	holdfast.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	holdfast.CodeRateLimited:  http.StatusTooManyRequests,
	holdfast.CodeQuota:        http.StatusForbidden,
	holdfast.CodeNotOffered:   http.StatusNotImplemented,
	holdfast.CodeUnavailable:  http.StatusServiceUnavailable,
	holdfast.CodeUpstream:     http.StatusBadGateway,
	holdfast.CodeTimeout:      http.StatusGatewayTimeout,
	holdfast.CodeCanceled:     http.StatusConflict,
	holdfast.CodeInternal:     http.StatusInternalServerError,
	holdfast.CodeModelAuth:    http.StatusBadGateway,
	holdfast.CodeModelRate:    http.StatusServiceUnavailable,
	holdfast.CodeModelContext: http.StatusConflict,
	holdfast.CodeModelFilter:  http.StatusConflict,
	holdfast.CodeModelFailed:  http.StatusBadGateway,
	holdfast.CodeMaxTurns:     http.StatusConflict,
}

// status returns the HTTP status of a code.
func status(c holdfast.Code) int {
	if s, ok := statusOf[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// errMediaType is in the chain of the error for a body of a type that a route does
// not take.
var errMediaType = errors.New("unsupported media type")

// errSlowBody is in the chain of the error for a body that does not come in time.
var errSlowBody = errors.New("the body does not come in time")

// statusOfError is the status of an error: that of its code but for bodies of a
// wrong type, which are CodeInvalid, and such as do not come, which are CodeTimeout,
// with statuses of their own.
func statusOfError(err error) int {
	switch {
	case errors.Is(err, errMediaType):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, errSlowBody):
		return http.StatusRequestTimeout
	}
	return status(holdfast.CodeOf(err))
}

// retryAfter is what Retry-After says on answers that may be repeated, in
// seconds.
const retryAfter = 1

// unavailable makes an error of the log or the archive fit for a tenant: an
// error that already is one stays, anything else becomes CodeUnavailable.
func unavailable(err error) error {
	var e *holdfast.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return holdfast.WrapError(holdfast.CodeUnavailable, err, "the log of sessions cannot be reached now; try again")
}

// Problem is the body of an error on /v1 (RFC 9457), with a code of ours.
type Problem struct {
	Title  string        `json:"title" doc:"Text of the HTTP status."`
	Status int           `json:"status" doc:"HTTP status."`
	Detail string        `json:"detail" doc:"What is wrong and what to do about it."`
	Code   holdfast.Code `json:"code" doc:"What kind of error this is: the member to decide by."`
	// Head is set for a cursor that is beyond the end of the session.
	Head      *uint64         `json:"head,omitempty" doc:"Sequence number of the newest event, where a cursor was beyond it."`
	RequestID string          `json:"request_id,omitempty" doc:"Id of the request, as in the header X-Request-Id."`
	Errors    []ProblemDetail `json:"errors,omitempty" doc:"The single mistakes in a request."`
	// Quota is set for what the tenant has used up.
	Quota *ProblemQuota `json:"quota,omitempty" doc:"The limit of the tenant that the request was over."`
}

// ProblemDetail is one mistake in a request.
type ProblemDetail struct {
	Message  string `json:"message" doc:"What is wrong."`
	Location string `json:"location,omitempty" doc:"Where, such as body.messages[0].role."`
	Line     int    `json:"line,omitempty" doc:"Line in an agent file, from 1."`
	Column   int    `json:"column,omitempty" doc:"Column in an agent file, from 1."`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the content type of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns what the answer says beside its body.
func (p *Problem) GetHeaders() http.Header {
	if p.Code.Retryable() && p.Status != http.StatusRequestTimeout { // to send it again as slowly is of no use
		return http.Header{"Retry-After": {strconv.Itoa(max(retryAfter, p.Quota.retryAfter()))}}
	}
	return nil
}

// problem makes the body of an error.
func problem(ctx context.Context, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	code := holdfast.CodeOf(err)
	st := statusOfError(err)
	p = &Problem{Title: http.StatusText(st), Status: st, Detail: holdfast.PublicMessage(err), Code: code, RequestID: requestID(ctx)}
	var c *cursorError
	if errors.As(err, &c) {
		p.Head = &c.head
	}
	p.Quota = quotaOf(err)
	for _, d := range agent.Problems(err) {
		p.Errors = append(p.Errors, ProblemDetail{Message: d.Message, Location: d.Key, Line: d.Line, Column: d.Column})
	}
	return p
}

// cursorError is a cursor beyond the end of a session.
type cursorError struct{ after, head uint64 }

func (e *cursorError) Error() string {
	return "the cursor " + strconv.FormatUint(e.after, 10) + " is beyond the end of the session, which is " +
		strconv.FormatUint(e.head, 10) + ": it is not of this session's log; read again from 0"
}

func (e *cursorError) Unwrap() error {
	return &holdfast.Error{Code: holdfast.CodeGone, Message: e.Error()}
}

// logError notes what a tenant does not get to read.
func (a *API) logError(ctx context.Context, doing string, err error) {
	code := holdfast.CodeOf(err)
	level := slog.LevelDebug
	switch status(code) {
	case http.StatusInternalServerError:
		level = slog.LevelError
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		level = slog.LevelWarn
	}
	a.logger.Log(ctx, level, doing, "error", err, "code", code, "request", requestID(ctx), "tenant", tenantOf(ctx))
}

// writeProblem answers an error in the manner of /v1.
func (a *API) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	a.logError(r.Context(), "request failed", err)
	p := problem(r.Context(), err)
	h := w.Header()
	for k, v := range p.GetHeaders() {
		h[k] = v
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	writeJSON(w, p.Status, p.ContentType(""), p)
}

// legacyError is the body of an error on the legacy routes: older clients read
// error, newer ones message.
type legacyError struct {
	Error   string        `json:"error"`
	Message string        `json:"message"`
	Code    holdfast.Code `json:"code"`
}

// writeLegacyError answers an error in the manner of /api.
func (a *API) writeLegacyError(w http.ResponseWriter, r *http.Request, err error) {
	a.logError(r.Context(), "request failed", err)
	code := holdfast.CodeOf(err)
	st := statusOfError(err)
	if code.Retryable() && st != http.StatusRequestTimeout {
		w.Header().Set("Retry-After", strconv.Itoa(max(retryAfter, quotaOf(err).retryAfter())))
	}
	if st == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="holdfast"`)
	}
	msg := holdfast.PublicMessage(err)
	writeJSON(w, st, "application/json", legacyError{Error: msg, Message: msg, Code: code})
}

// legacyPath reports whether a path belongs to the original contract.
func legacyPath(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/v2/")
}

// writeError answers in the manner of the mount that the path belongs to.
func (a *API) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if legacyPath(r.URL.Path) {
		a.writeLegacyError(w, r, err)
		return
	}
	if openAIPath(r.URL.Path) {
		a.writeOpenAIError(w, r, err)
		return
	}
	if a2aRESTPath.MatchString(r.URL.Path) {
		a.logError(r.Context(), "request failed", err)
		writeA2AStatus(w, err)
		return
	}
	a.writeProblem(w, r, err)
}

// writeJSON writes v. A failure to write is the client's; it has gone.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // nobody takes JSON for HTML: see nosniff
	if err := enc.Encode(v); err != nil {
		// Only structs of this package and documents that were checked to be JSON get
		// here.
		panic("httpapi: encode an answer: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}
