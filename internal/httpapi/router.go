package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
)

// router is the mux of an API. It remembers what is mounted, so that tests can
// tell whether every route is described and tried.
type router struct {
	*http.ServeMux
	patterns []string
}

func newRouter() *router { return &router{ServeMux: http.NewServeMux()} }

// HandleFunc mounts a route.
func (r *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, handler)
}

// noQuery is a route that takes no parameter in its query.
func (a *API) noQuery(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for name := range r.URL.Query() {
			a.writeError(w, r, holdfast.Errorf(holdfast.CodeInvalid, "query %s: unknown; this route takes no parameters", name))
			return
		}
		h(w, r)
	}
}

// readable refuses addresses that no database can look for: what is not UTF-8 (RFC
// 3986 section 2.5 recommends it) and the character NUL; and on our own routes a
// query that is malformed, which would otherwise be passed over in part.
func readable(r *http.Request) error {
	q, qerr := url.ParseQuery(r.URL.RawQuery)
	bad := func(s string) bool { return !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 }
	found := bad(r.URL.Path)
	for name, values := range q {
		found = found || bad(name)
		for _, v := range values {
			found = found || bad(v)
		}
	}
	if found {
		return holdfast.Errorf(holdfast.CodeInvalid, "the address has a character NUL (%%00), or bytes that are no UTF-8")
	}
	if qerr != nil && strings.HasPrefix(r.URL.Path, "/v1/") {
		return holdfast.WrapError(holdfast.CodeInvalid, qerr, "the query of the address is malformed: parameters are NAME=VALUE with & between them, other characters as %XX")
	}
	return nil
}
