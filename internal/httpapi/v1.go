package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	holdfast "github.com/holdfast-run/holdfast"
)

// humaErrors makes huma's own refusals (validation, size) problems of ours. Huma
// has one function for all APIs of a process.
var humaErrors = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false // an empty list is [], never null
	refuse := func(st int, msg string, errs ...error) *Problem {
		code := codeOfStatus(st)
		if limit, ok := strings.CutPrefix(msg, "request body is too large limit="); ok {
			msg = "the body is too large: it may have fewer than " + limit
		}
		if msg == "cannot read request body" { // huma takes what ails a connection for a failure of ours
			code, msg, errs = holdfast.CodeInvalid, "the body could not be read to its end", nil
		}
		p := &Problem{Status: status(code), Title: http.StatusText(status(code)), Detail: msg, Code: code}
		if st == http.StatusRequestTimeout {
			p.Status, p.Title, p.Detail = st, http.StatusText(st), lateBody
			return p
		}
		if st == http.StatusUnsupportedMediaType {
			p.Status, p.Title = st, http.StatusText(st)
			p.Detail = "the body is of a type that this route does not take; send JSON with the header Content-Type: application/json"
			return p
		}
		for _, err := range errs {
			if err == nil {
				continue
			}
			var e *holdfast.Error
			if errors.As(err, &e) { // from decodeJSON: it says it better
				p.Code, p.Status, p.Title, p.Detail = e.Code, status(e.Code), http.StatusText(status(e.Code)), e.Message
				continue
			}
			if d, ok := err.(huma.ErrorDetailer); ok { //nolint:errorlint // huma passes details, not chains
				detail := d.ErrorDetail()
				p.Errors = append(p.Errors, ProblemDetail{Message: detail.Message, Location: detail.Location})
				continue
			}
			p.Errors = append(p.Errors, ProblemDetail{Message: err.Error()})
		}
		if len(p.Errors) > 0 && p.Code == holdfast.CodeInvalid {
			first := p.Errors[0]
			p.Detail = strings.TrimPrefix(first.Location+": "+first.Message, ": ")
		}
		return p
	}
	huma.NewError = func(st int, msg string, errs ...error) huma.StatusError { return refuse(st, msg, errs...) }
	huma.NewErrorWithContext = func(ctx huma.Context, st int, msg string, errs ...error) huma.StatusError {
		p := refuse(st, msg, errs...)
		if ctx != nil {
			p.RequestID = requestID(ctx.Context())
		}
		return p
	}
})

// codeOfStatus is the code of a refusal that huma makes by status.
func codeOfStatus(st int) holdfast.Code {
	switch st {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		return holdfast.CodeInvalid
	case http.StatusRequestTimeout:
		return holdfast.CodeTimeout
	case http.StatusRequestEntityTooLarge:
		return holdfast.CodeTooLarge
	case http.StatusNotFound:
		return holdfast.CodeNotFound
	}
	return holdfast.CodeInternal
}

// v1 mounts our own routes and describes them.
func (a *API) v1(mux *router) {
	humaErrors()
	jsonFormat := huma.Format{
		Marshal: func(w io.Writer, v any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		},
		// The first of the two readings of a body: it says where a mistake is.
		Unmarshal: func(data []byte, v any) error {
			if _, first := v.(*any); first {
				return decodeStrict(data, v)
			}
			return decodeJSON(data, v)
		},
	}
	cfg := huma.DefaultConfig("Holdfast", a.cfg.Version)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	cfg.RejectUnknownQueryParameters = true
	cfg.CreateHooks = nil // no "$schema" member in answers
	cfg.Info.Description = apiDescription
	cfg.Info.License = &huma.License{Name: "Apache License 2.0", Identifier: "Apache-2.0"}
	cfg.Servers = []*huma.Server{{URL: cmp.Or(a.cfg.PublicURL, "/")}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An API key as a Bearer token. The same key is taken as the password of Basic authentication and in the header X-API-Key."},
	}
	cfg.Security = []map[string][]string{{"bearer": {}}, {}}
	api := humago.New(mux, cfg)
	a.sessionRoutes(api)
	a.runRoutes(api)
	a.usageRoutes(api)
	a.quotaRoutes(api)
	a.searchRoutes(api)
	a.agentRoutes(api)
	a.authorizationRoutes(api)
	a.eventRoutes(mux, api)
	a.scheduledRoutes(api)
	a.scheduleRoutes(api)
	a.copyRoutes(mux, api)
	a.webhookRoutes(api)
	a.openAIRoutes(mux, api)
	a.mcpRoutes(mux, api)
	a.a2aRoutes(mux, api)
	a.aguiRoutes(mux, api)
	open(api.OpenAPI())
	// The document is made once and never changes.
	a.spec = sync.OnceValues(api.OpenAPI().YAML)
	asJSON := sync.OnceValues(func() ([]byte, error) { return json.Marshal(api.OpenAPI()) })
	serve := func(contentType string, doc func() ([]byte, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := doc()
			if err != nil {
				a.writeProblem(w, r, err)
				return
			}
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(body) // a failure is the client's; it has gone
		}
	}
	asPage := sync.OnceValues(func() ([]byte, error) { return renderPage(api.OpenAPI()) })
	for _, at := range []string{"/", "/v1/"} {
		mux.HandleFunc("GET "+at+"openapi.json", serve("application/vnd.oai.openapi+json", asJSON))
		mux.HandleFunc("GET "+at+"openapi.yaml", serve("application/vnd.oai.openapi", a.spec))
		mux.HandleFunc("GET "+at+"docs", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", pagePolicy)
			serve("text/html; charset=utf-8", asPage)(w, r)
		})
	}
}

const apiDescription = "Sessions of LLM agents that survive any crash.\n\n" +
	"A session is a log of events, numbered from 1 without gaps. Requests that change something store a command; " +
	"its acceptance or refusal is an event. An answer with status 200 says that the command has taken effect, one with 202 that it is stored and that its outcome is not known yet: " +
	"the event stream will tell, and the same request with the same Idempotency-Key asks again.\n\n" +
	"Errors are application/problem+json; decide by their member code. What is no HTTP that can be read is answered so, too: 431 with too_large for a header of more than 64 KiB, 400 with invalid, 501 and 505 with not_offered.\n\n" +
	"A body must come within a minute, an import at 128 KiB a second on average after its first minute and without a pause of more than 30 seconds; one that does not is refused with 408 and the code timeout."

// errorsOf lists the statuses that routes share beside their own.
func errorsOf(own ...int) []int {
	return append(own, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable)
}

// operation describes a route.
func (a *API) operation(id, method, path, tag, summary, description string, statuses ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary, Description: description,
		MaxBodyBytes: a.cfg.MaxBody, BodyReadTimeout: a.cfg.BodyTime, Errors: errorsOf(statuses...),
	}
}

// respond makes an error of a handler a problem.
func (a *API) respond(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	a.logError(ctx, "request failed", err)
	return problem(ctx, err)
}

// SessionPath is the part of inputs that names a session.
type SessionPath struct {
	ID string `path:"id" doc:"Id of the session: letters, digits, '-' and '_', at most 128." example:"0194f2a0-7d3e-7cc1-9d0c-0a4d2f9b1c55"`
}

func (p SessionPath) ref(ctx context.Context) holdfast.SessionRef {
	return holdfast.SessionRef{Tenant: tenantOf(ctx), Session: p.ID}
}

// KeyHeader is the part of inputs that makes a request idempotent.
type KeyHeader struct {
	Key string `header:"Idempotency-Key" maxLength:"255" doc:"Makes the request safe to repeat: the same key with the same body has its effect once and gets the same answer, with another body it is refused with 422."`
}
