// Package egress is the guard of outgoing connections: it carries every request
// to a URL that a tenant, a model or a remote document can choose.
//
// It promises that a request reaches a public address, whatever its URL says and
// whatever the name in it resolves to: the address is checked when the connection
// is made, after DNS, so that a name which changes its mind is caught. Private,
// loopback, link-local, shared, multicast, reserved and documentation ranges are
// refused, those of cloud metadata services with them, and of IPv6 all that is
// not global unicast or that stands for an IPv4 address. A redirect is a request
// of its own and checked again. Requests are https, unless the policy says
// otherwise; a proxy of the environment is never used; headers of answers are
// bounded.
//
// What is allowed beyond that is for development: hosts by exact name and port,
// and this machine.
package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	holdfast "github.com/holdfast-run/holdfast"
)

// Policy says what a [Guard] lets through. The zero value is for production.
type Policy struct {
	// AllowHosts are "host:port" that may be reached by http and https although
	// their address is none of the public ones. They are compared with what the URL
	// says, lower case, the port written out.
	AllowHosts []string
	// AllowLoopback lets requests reach this machine, by http and https, whatever
	// the name. For development on one's own machine.
	AllowLoopback bool
	// AllowHTTP lets http through to public addresses: for pages, never for
	// credentials.
	AllowHTTP bool
	// DialTimeout bounds a connection until it is made, HeaderTimeout an answer
	// until its header is there; 0 is 10 seconds for the first, and no limit but the
	// request's context for the second.
	DialTimeout   time.Duration
	HeaderTimeout time.Duration
	// MaxBody is the most bytes of an answer's body, after decompression; 0 leaves
	// it to who reads.
	MaxBody int64
}

const (
	defaultDialTimeout = 10 * time.Second
	maxHeader          = 64 << 10
)

// ErrRefused is in the chain of every error of the guard itself.
var ErrRefused = errors.New("the guard of outgoing connections refuses it")

// Guard is an http.RoundTripper. It is safe for concurrent use and keeps idle
// connections.
type Guard struct {
	policy    Policy
	transport *http.Transport
}

// New returns a guard. Close it when nothing uses it any more.
func New(p Policy) *Guard {
	p.AllowHosts = slices.Clone(p.AllowHosts)
	if p.DialTimeout <= 0 {
		p.DialTimeout = defaultDialTimeout
	}
	g := &Guard{policy: p}
	guarded := &net.Dialer{Timeout: p.DialTimeout, KeepAlive: 30 * time.Second, Control: g.control}
	open := &net.Dialer{Timeout: p.DialTimeout, KeepAlive: 30 * time.Second}
	g.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if slices.Contains(p.AllowHosts, strings.ToLower(address)) {
				return open.DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   p.DialTimeout,
		ResponseHeaderTimeout: p.HeaderTimeout,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		// No limit for one host: the answers of models and the streams of MCP servers are
		// open for minutes, and whoever comes after the last one allowed would wait for a
		// stranger's to end. How many there are is bounded by the sessions of a worker.
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    32,
		MaxResponseHeaderBytes: maxHeader,
	}
	return g
}

// addresses knows the ranges of the special-purpose registries of IANA.
var addresses = ssrf.New(ssrf.WithAnyPort())

// control is called for each address that a name resolved to, right before the
// connection is made.
func (g *Guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: it is no TCP", ErrRefused)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: the address cannot be read", ErrRefused)
	}
	ip := at.Addr().Unmap().WithZone("")
	if g.policy.AllowLoopback && ip.IsLoopback() {
		return nil
	}
	if addresses.SafeAddr(ip) != nil {
		return fmt.Errorf("%w: the address is not a public one", ErrRefused)
	}
	return nil
}

// Check says whether a URL may be asked at all, as far as can be told without
// asking. Its error has the code invalid.
func (g *Guard) Check(u *url.URL) error {
	refuse := func(reason string) error {
		return holdfast.WrapError(holdfast.CodeInvalid, ErrRefused, reason)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("only http and https URLs can be asked")
	case u.Hostname() == "":
		return refuse("the URL names no host")
	case u.User != nil:
		return refuse("a URL with a user or a password is refused")
	case u.Scheme == "https" || g.policy.AllowHTTP || slices.Contains(g.policy.AllowHosts, hostPort(u)):
		return nil
	case g.policy.AllowLoopback && isLoopback(u.Hostname()):
		return nil
	}
	return refuse("the URL must begin with https, unless the operator allows " + hostPort(u) + " (HOLDFAST_EGRESS_ALLOW)")
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "443"; u.Scheme == "http" {
			port = "80"
		}
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// RoundTrip implements http.RoundTripper. As http.Client calls it for each hop,
// redirects are checked too.
func (g *Guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.Check(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // nobody reads it
		}
		return nil, err
	}
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		if errors.Is(err, ErrRefused) {
			// What the name resolved to is not for whoever chose the name.
			return nil, holdfast.WrapError(holdfast.CodeInvalid, ErrRefused,
				fmt.Sprintf("the host %q has no public address, which is refused", req.URL.Hostname()))
		}
		return nil, err
	}
	if g.policy.MaxBody > 0 {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: g.policy.MaxBody}
	}
	return resp, nil
}

// Close ends idle connections.
func (g *Guard) Close() { g.transport.CloseIdleConnections() }

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the guard.
func (g *Guard) CloseIdleConnections() { g.transport.CloseIdleConnections() }

// ErrTooLong is the error of reading a body beyond [Policy.MaxBody].
var ErrTooLong = errors.New("the answer is too long")

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooLong
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, ErrTooLong
	}
	return n, err
}
