package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Defaults and limits.
const (
	// DefaultTimeout is how long a request that is no stream may take, attempts to
	// repeat it included.
	DefaultTimeout = 30 * time.Second
	// maxAnswer bounds the answer of a request that is no stream.
	maxAnswer = 256 << 20
	// attempts is how often a request is sent whose answer gets lost.
	attempts = 4
	firstGap = 100 * time.Millisecond
	maxGap   = 5 * time.Second
	// maxAsked bounds the pause that a server asks for: what stands between us and
	// it must not be able to stop a stream for a day.
	maxAsked = time.Minute
)

// Client is a connection to a server. Make it with [New].
type Client struct {
	base    *url.URL
	http    *http.Client
	key     string
	timeout time.Duration
	idle    time.Duration
	most    int64 // bytes of an answer that is no stream
	notice  func(Connection)
}

// Option configures a [Client].
type Option func(*Client)

// WithHTTPClient sets the HTTP client to use. Its Timeout must be 0: it would cut
// streams. Default: one with Go's default transport.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithAPIKey sets the key that says who is calling. Default: none, or the
// password in the server's URL.
func WithAPIKey(key string) Option { return func(c *Client) { c.key = key } }

// WithTimeout sets how long a request that is no stream may take. Default
// [DefaultTimeout]; streams have no limit.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithIdleTimeout sets after how much silence a stream's connection counts as
// lost. The server says something at least every 10 s. Default 30 s.
func WithIdleTimeout(d time.Duration) Option { return func(c *Client) { c.idle = d } }

// Connection is what becomes of the connection of a stream.
type Connection struct {
	Session string
	// Up is false when the connection was lost, and true when it is there again.
	Up bool
	// Err is why it was lost; nil if the server ended the stream in order, as one
	// does that is restarted.
	Err error
}

// WithConnectionNotice sets a function that is told of every connection of a
// stream that was lost, and of when there is one again: an interface may show it.
// It is called from whoever reads the stream and must not block. Default: nobody
// is told.
func WithConnectionNotice(fn func(Connection)) Option {
	return func(c *Client) { c.notice = fn }
}

// NewClient is [New] under the name that users of the original know.
func NewClient(baseURL string, opts ...Option) (*Client, error) { return New(baseURL, opts...) }

// New returns a client of the server at baseURL, such as http://localhost:8080.
func New(baseURL string, opts ...Option) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(baseURL, "/"))
	if err != nil {
		return nil, fmt.Errorf("the server's URL: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the server's URL %q: want http://host or https://host", u.Redacted())
	}
	c := &Client{base: u, http: &http.Client{}, timeout: DefaultTimeout, idle: 30 * time.Second, most: maxAnswer}
	if p, ok := u.User.Password(); ok {
		c.key = p
	}
	u.User = nil
	for _, o := range opts {
		o(c)
	}
	if c.timeout <= 0 || c.idle <= 0 {
		return nil, errors.New("WithTimeout and WithIdleTimeout want more than 0")
	}
	if c.http == nil || c.http.Timeout != 0 {
		return nil, errors.New("the HTTP client must be set and must have no Timeout: it would cut streams; use WithTimeout")
	}
	if c.http.CheckRedirect == nil {
		h := *c.http
		h.CheckRedirect = checkRedirect
		c.http = &h
	}
	return c, nil
}

// checkRedirect follows a redirect only to the same server, and from http to https at
// the same host: what is sent, and the key with it, is for nobody else. Only reading
// is sent twice, since anything else would arrive as another request. Other redirects
// are the answer.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	same := r.URL.Scheme == first.Scheme && r.URL.Host == first.Host ||
		first.Scheme == "http" && r.URL.Scheme == "https" && r.URL.Hostname() == first.Hostname()
	if !same || len(via) > 5 || via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	return nil
}

// ErrorResponse is the body with which the original API says that something went
// wrong.
type ErrorResponse struct {
	Error string `json:"error"`
}

// Error is an answer of the server that says that something went wrong.
type Error struct {
	// Status is the HTTP status.
	Status  int
	Code    holdfast.Code
	Message string
	// RequestID names the request in the server's log.
	RequestID string
	// RetryAfter is how long the server asks to wait, 0 if it does not say.
	RetryAfter time.Duration
}

// Error returns the message and the code.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s (HTTP status %d)", e.Message, e.Status)
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

// Unwrap makes [holdfast.CodeOf] work.
func (e *Error) Unwrap() error { return &holdfast.Error{Code: e.Code, Message: e.Message} }

// readError makes an error of an answer whose status is none of success.
func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, Message: http.StatusText(resp.StatusCode), RequestID: resp.Header.Get("X-Request-Id")}
	e.RetryAfter = retryAfter(resp.Header)
	if at, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		e.Message = "the server redirects to " + at.Redacted() + ": give that address if it is the right one"
	}
	var body struct {
		ErrorResponse
		Detail  string        `json:"detail"`
		Message string        `json:"message"`
		Code    holdfast.Code `json:"code"`
	}
	// What is no JSON comes from something between us and the server.
	if data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err == nil && json.Unmarshal(data, &body) == nil {
		e.Code = body.Code
		for _, m := range []string{body.Detail, body.Message, body.ErrorResponse.Error} {
			if m != "" {
				e.Message = m
				break
			}
		}
	}
	return e
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110, section
// 10.2.3); 0 for none and for what is neither.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now := time.Now()
	if d, err := http.ParseTime(h.Get("Date")); err == nil {
		now = d // the server's clock is what it reckons with
	}
	return max(0, at.Sub(now))
}

// path joins segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// request makes a request to the server.
func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." { // it would lead to another route
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%q is no id and no name", segment)
		}
	}
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return req, nil
}

// do makes a request whose answer is JSON, repeats it while that may help, and
// decodes the answer into out, if that is not nil. Requests that change something
// carry a key, so that repeating them is harmless.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	key := ""
	if method != http.MethodGet {
		key = holdfast.NewID()
	}
	return c.doWithKey(ctx, method, path, query, key, in, out)
}

func (c *Client) doWithKey(ctx context.Context, method, path string, query url.Values, key string, in, out any) error {
	return c.attempt(ctx, c.timeout, attempts, method, path, query, key, in, out)
}

// attempt is doWithKey with limits of its own.
func (c *Client) attempt(ctx context.Context, timeout time.Duration, attempts int, method, path string, query url.Values, key string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
	}
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, method, path, query, body, key, out)
		if err == nil || attempt == attempts || !temporary(err) || !again(ctx, attempt, err) {
			if err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
			return nil
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, key string, out any) error {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &lostError{err}
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	// A problem is one whatever its status: something between us may have changed that.
	if resp.StatusCode < 200 || resp.StatusCode > 299 || strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return readError(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, c.most+1))
	if err != nil {
		return &lostError{err}
	}
	if int64(len(data)) > c.most {
		return fmt.Errorf("the answer is larger than %d bytes", c.most)
	}
	if out == nil {
		return nil
	}
	switch raw := out.(type) {
	case *plainText:
		*raw = plainText(data)
		return nil
	case *json.RawMessage:
		if json.Valid(data) {
			*raw = data
			return nil
		}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	return nil
}

// plainText is an answer that is taken as it is.
type plainText string

// lostError is a connection that broke, or was not made. Its code is
// CodeUnavailable: whether the request had its effect is not known, and the same
// one may work later.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }

// Unwrap returns why it broke, and what has the code.
func (e *lostError) Unwrap() []error {
	return []error{e.err, holdfast.Errorf(holdfast.CodeUnavailable, "the connection to the server was lost")}
}

// temporary reports whether the same request may succeed later. That the caller's
// context has ended is for the caller to see: the time-out of a dial is one of
// context too, and passes.
func temporary(err error) bool {
	var lost *lostError
	if errors.As(err, &lost) {
		var certificate *tls.CertificateVerificationError
		return !errors.As(err, &certificate)
	}
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// gap is the pause before attempt+1: longer each time, and as long as the server
// asks for, but no longer than a minute.
func gap(attempt int, err error) time.Duration {
	d := min(firstGap<<min(attempt-1, 10), maxGap)
	d = d/2 + rand.N(d/2) // so that clients do not come back all at once
	var e *Error
	if errors.As(err, &e) {
		d = max(d, min(e.RetryAfter, maxAsked))
	}
	return d
}

// wait pauses before attempt+1. It returns false if ctx ends first.
func wait(ctx context.Context, attempt int, err error) bool {
	return pause(ctx, gap(attempt, err)) == nil
}

// again is wait, but does not begin a pause that ctx would end.
func again(ctx context.Context, attempt int, err error) bool {
	d := gap(attempt, err)
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return false
	}
	return pause(ctx, d) == nil
}
