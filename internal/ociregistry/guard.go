package ociregistry

import (
	"errors"
	"fmt"
	"net/http"
)

// errPlain says that a registry sends its client where nothing is encrypted.
var errPlain = errors.New("the registry names an address without TLS")

// guard lets no request leave without TLS, wherever a registry redirects it to and
// whatever realm its challenge names (Distribution Specification, token
// authentication): both are the registry's words, and credentials follow the latter.
// Registries on loopback addresses are excepted outside of a hosted deployment.
type guard struct {
	hosted bool
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && (g.hosted || !isLoopback(r.URL.Host)) {
		return nil, fmt.Errorf("%w: %s", errPlain, r.URL.Host)
	}
	return g.next.RoundTrip(r)
}

// CloseIdleConnections closes those of the transport behind.
func (g *guard) CloseIdleConnections() {
	if c, ok := g.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
