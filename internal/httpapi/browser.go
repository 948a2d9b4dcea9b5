package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// What cross-origin pages may send and read (Fetch Standard, CORS protocol).
const (
	corsMethods = "GET, POST, PUT, PATCH, DELETE"
	corsHeaders = "Authorization, Content-Type, Holdfast-Session, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Mcp-Method, Mcp-Name, Mcp-Protocol-Version, Mcp-Session-Id, Traceparent, X-API-Key, X-Request-Id"
	corsExpose  = "ETag, Holdfast-Next, Holdfast-Seq, Holdfast-Session, Mcp-Session-Id, Retry-After, WWW-Authenticate, X-Request-Id"
	corsMaxAge  = "600" // seconds that a browser may remember a preflight
)

// cors answers preflights and adds what a page of an allowed origin needs. It
// reports whether the request is answered. Credentials of a browser (cookies,
// remembered passwords) are never asked for: a page brings its key in a header.
func (a *API) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(a.cfg.CORSOrigins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(a.cfg.CORSOrigins, strings.ToLower(origin)) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsExpose)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// compressed are the content types that are worth it. Streams are not among
// them: a compressor would hold events back.
var compressed = []string{"application/json", "application/problem+json", "application/vnd.oai.openapi+json", "application/vnd.oai.openapi", "text/html", "text/plain"}

// minCompress is the fewest bytes of an answer that is compressed.
const minCompress = 2048

// compress packs the answers of reading requests for clients that accept it.
// Requests for streams do not get near the compressor.
func compress(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompress), gzhttp.ContentTypes(compressed))
	if err != nil {
		panic("httpapi: options of the compressor: " + err.Error()) // they are constants
	}
	packed := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") || strings.HasPrefix(r.URL.Path, "/v1/responses/") || strings.Contains(r.Header.Get("Accept"), typeSSE) ||
			strings.Contains(r.Header.Get("Accept"), typeNDJSON) || r.URL.Query().Has("stream") {
			next.ServeHTTP(w, r)
			return
		}
		packed.ServeHTTP(w, r)
	})
}
