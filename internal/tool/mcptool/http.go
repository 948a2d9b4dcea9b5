package mcptool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// maxErrorBody is how much of an answer with an error status is read.
const maxErrorBody = 64 << 10

// guard is between mcp-go's HTTP transports and the RoundTripper that carries
// the requests. It keeps requests at the origin of the server, bounds what comes
// back, and says in typed errors what the transports would lose.
type guard struct {
	base    http.RoundTripper
	name    string // of the toolset
	origin  *url.URL
	headers map[string]string
	agent   string // User-Agent
	// onRequest answers requests that the server sends within a stream.
	onRequest func(ctx context.Context, raw []byte) error
	// onStale is called when the server does not know the session of a request.
	onStale func()
	// onGet is called when a GET, by which streams are opened, was answered or failed.
	onGet func()
	// onListen is called when a stream opens in which the server tells of changes:
	// those from before it may have been missed.
	onListen func()
	// onDenied is told when the server wants an authorization for such a stream, and
	// denied is what it was told: the transport would try again every second.
	onDenied func(error)
	denied   func() error
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != g.origin.Scheme || req.URL.Host != g.origin.Host {
		return nil, fmt.Errorf("the server points to another origin, %s://%s, which is refused", req.URL.Scheme, req.URL.Host)
	}
	if req.Method == http.MethodGet {
		defer func() {
			if req.Context().Err() == nil { // a new session begins with a new GET
				g.onGet()
			}
		}()
		if err := g.denied(); err != nil {
			return nil, err
		}
	}
	req = req.Clone(req.Context())
	for k, v := range g.headers {
		req.Header.Set(k, v)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", g.agent)
	}
	resp, err := g.base.RoundTrip(req)
	if err == nil {
		err = g.unauthorized(resp)
	}
	if err != nil {
		if req.Method == http.MethodGet {
			g.onDenied(err)
		}
		return nil, err
	}
	broken := captureOf(req.Context()).setBroken
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the server redirects (HTTP %d) to %q, which is refused; if that is the right place, use it as the URL",
			resp.StatusCode, resp.Header.Get("Location"))
	case resp.StatusCode >= 400:
		if (resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusNotFound) && req.Header.Get("Mcp-Session-Id") != "" {
			g.onStale()
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxErrorBody), resp.Body}
	case isEventStream(resp.Header):
		if req.Method == http.MethodGet {
			g.onListen()
		}
		ctx := req.Context()
		resp.Body = newEventStream(resp.Body, func(raw []byte) error { return g.onRequest(ctx, raw) }, broken)
	default:
		resp.Body = newBoundedBody(resp.Body, MaxMessage, fmt.Errorf("the server sent %w", errTooLong), broken)
	}
	return resp, nil
}

// unauthorized returns what an answer wants that another authorization would
// change, nil if it is none of these. The answer is closed then.
func (g *guard) unauthorized(resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized && (resp.StatusCode != http.StatusForbidden || !wantsMoreScope(resp.Header)) {
		return nil
	}
	_ = resp.Body.Close() // the answer is the status
	return &tool.AuthorizationError{
		Toolset: g.name, URL: g.origin.Scheme + "://" + g.origin.Host + g.origin.EscapedPath(),
		Status: resp.StatusCode, Challenges: resp.Header.Values("WWW-Authenticate"),
	}
}

func isEventStream(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}

// wantsMoreScope reports whether a 403 is one that another authorization would
// change (RFC 6750 section 3.1).
func wantsMoreScope(h http.Header) bool {
	for _, v := range h.Values("WWW-Authenticate") {
		if strings.Contains(strings.ToLower(v), "insufficient_scope") {
			return true
		}
	}
	return false
}

// plain takes from an error what names addresses of the inside: what a host
// resolved to is not for whoever chose the host.
func plain(err error) string {
	switch {
	case errors.Is(err, transport.ErrLegacySSEServer):
		return "the server refused the handshake; if it speaks the older HTTP with SSE, set the transport to \"sse\""
	case errors.Is(err, transport.ErrSessionTerminated):
		return "the server answered that there is nothing at this URL (HTTP 404)"
	}
	return strings.TrimPrefix(tool.DescribeNetwork(err), "transport error: ")
}
