package tool

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// NewTransport returns what carries the requests of a toolset if the deployment
// brings nothing of its own. It uses no proxy: whoever can set the environment
// must not get to see tokens. It reaches every address that the worker reaches,
// so a deployment for strangers brings a guarded one instead.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    15 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    32, // and no limit in use: see internal/egress
		MaxResponseHeaderBytes: 256 << 10,
		ExpectContinueTimeout:  time.Second,
		// Answers may take as long as the call may, so nothing bounds the headers.
	}
}

// DescribeNetwork says in words why a request got no answer, without addresses
// of the inside: what a host resolved to is not for whoever chose the host.
func DescribeNetwork(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var ue *url.Error
	switch {
	case errors.As(err, &dns):
		return "the host \"" + dns.Name + "\" cannot be found"
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	case errors.As(err, &ue):
		return ue.Err.Error()
	}
	return err.Error()
}
