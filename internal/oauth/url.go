package oauth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	holdfast "github.com/holdfast-run/holdfast"
)

const maxURL = 4 << 10

// CanonicalURL writes the URL of an MCP server in one way: scheme and host in
// lower case, no default port, no fragment, no "/" as the whole path (MCP,
// canonical server URI). The error has the code invalid.
func CanonicalURL(serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(serverURL) > maxURL {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the URL of the MCP server is no absolute http or https URL")
	}
	if u.User != nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the URL of the MCP server must not have a user or a password in it")
	}
	u.Host = hostPort(u)
	u.Fragment, u.RawFragment = "", ""
	if u.Path == "/" {
		u.Path, u.RawPath = "", ""
	}
	return u.String(), nil
}

// hostPort is the host in lower case, with the port unless it is the default.
func hostPort(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return host
	}
	return host + ":" + port
}

func origin(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

// isLoopback reports whether a host name can only be this machine.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// checkEndpoint checks a URL that a remote document names: absolute, https, or
// http to this machine if local allows that. It returns the parsed URL.
func checkEndpoint(what, raw string, local bool) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("the %s is too long", what)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("the %s is no absolute URL", what)
	case u.User != nil:
		return nil, fmt.Errorf("the %s has a user or a password in it", what)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("the %s has a fragment", what)
	case u.Scheme == "https":
	case u.Scheme == "http" && local && isLoopback(u.Hostname()):
	default:
		return nil, fmt.Errorf("the %s is not https", what)
	}
	if p := u.Port(); p != "" {
		if _, err := net.LookupPort("tcp", p); err != nil {
			return nil, fmt.Errorf("the %s has no port that exists", what)
		}
	}
	return u, nil
}

// covers reports whether a resource identifier is that of a URL, or of something
// that contains it: same origin, and a path that is the same or a whole number
// of segments above it. A query must be the same.
func covers(resource, u *url.URL) bool {
	if origin(resource) != origin(u) || resource.User != nil || resource.Fragment != "" {
		return false
	}
	if resource.RawQuery != "" && resource.RawQuery != u.RawQuery {
		return false
	}
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if plain, err := url.PathUnescape(segment); err != nil || plain == ".." || plain == "." {
			return false // what this means is up to the server
		}
	}
	have, want := strings.TrimSuffix(u.EscapedPath(), "/"), strings.TrimSuffix(resource.EscapedPath(), "/")
	return have == want || strings.HasPrefix(have, want+"/")
}

// sameSite reports whether two hosts belong to the same owner, as far as names
// tell: equal, both this machine, or below the same registrable domain.
func sameSite(a, b *url.URL) bool {
	x, y := strings.ToLower(a.Hostname()), strings.ToLower(b.Hostname())
	if x == y || isLoopback(x) && isLoopback(y) {
		return true
	}
	if _, err := netip.ParseAddr(x); err == nil {
		return false
	}
	dx, errX := publicsuffix.EffectiveTLDPlusOne(x)
	dy, errY := publicsuffix.EffectiveTLDPlusOne(y)
	return errX == nil && errY == nil && dx == dy
}

// wellKnown inserts a well-known name before the path of an identifier (RFC 8414
// section 3.1, RFC 9728 section 3.1). The query of a resource stays.
func wellKnown(id *url.URL, name string) string {
	u := url.URL{Scheme: id.Scheme, Host: id.Host, RawQuery: id.RawQuery}
	path := strings.TrimSuffix(id.EscapedPath(), "/")
	return strings.TrimSuffix(u.Scheme+"://"+u.Host+"/.well-known/"+name+path+"?"+u.RawQuery, "?")
}

// resourceMetadataURLs are the places of a resource's metadata without a
// challenge that names one.
func resourceMetadataURLs(server *url.URL) []string {
	at := []string{wellKnown(server, "oauth-protected-resource")}
	root := (&url.URL{Scheme: server.Scheme, Host: server.Host})
	if r := wellKnown(root, "oauth-protected-resource"); r != at[0] {
		at = append(at, r)
	}
	return at
}

// serverMetadataURLs are the places of an issuer's metadata.
func serverMetadataURLs(issuer *url.URL) []string {
	bare := *issuer
	bare.RawQuery = ""
	at := []string{wellKnown(&bare, "oauth-authorization-server"), wellKnown(&bare, "openid-configuration")}
	if path := strings.TrimSuffix(bare.EscapedPath(), "/"); path != "" {
		at = append(at, bare.Scheme+"://"+bare.Host+path+"/.well-known/openid-configuration")
	}
	return at
}

// addQuery appends parameters to an endpoint's URL and keeps the query that it
// has (RFC 6749 section 3.1). A parameter must not be there twice.
func addQuery(endpoint *url.URL, params url.Values) (string, error) {
	have, err := url.ParseQuery(endpoint.RawQuery)
	if err != nil {
		return "", errors.New("the query of the authorization endpoint cannot be read")
	}
	for name := range params {
		if have.Has(name) {
			return "", fmt.Errorf("the authorization endpoint has a parameter %s of its own", name)
		}
	}
	u := *endpoint
	u.RawQuery = strings.TrimPrefix(strings.TrimSuffix(u.RawQuery, "&")+"&"+params.Encode(), "&")
	return u.String(), nil
}
