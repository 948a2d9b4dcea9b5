package httptool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	defaultTimeout = time.Minute
	maxRedirects   = 5
	// keyHeader carries a call's idempotency key, as the draft of RFC
	// draft-ietf-httpapi-idempotency-key-header names it and most services read it.
	keyHeader = "Idempotency-Key"
)

// reservedHeaders belong to net/http or to the body.
var reservedHeaders = []string{"Connection", "Content-Length", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// request is a call as it goes out.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte // nil for none
	key    string // idempotency key, "" for none
}

// client carries the requests of one toolset.
type client struct {
	http    http.Client
	release func()
	headers map[string]string
	// home is the origin that the headers may go to without TLS.
	home    *url.URL
	timeout time.Duration
	agent   string
	// key is where the agent file gives the headers.
	key string
}

func newClient(o Options, key string, headers map[string]string, home *url.URL) (*client, error) {
	for name, value := range headers {
		switch {
		case slices.Contains(reservedHeaders, textproto.CanonicalMIMEHeaderKey(name)), !isToken(name):
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the header %q cannot be set", name)
		case !isFieldValue(value):
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the value of the header %q has characters that no header takes", name)
		}
	}
	c := &client{
		key: key, headers: headers, home: home, timeout: cmp.Or(max(o.Timeout, 0), defaultTimeout),
		agent: "holdfast/" + cmp.Or(o.Version, "dev"), release: func() {},
	}
	c.http.Transport = o.Transport
	if o.Transport == nil {
		own := tool.NewTransport()
		c.http.Transport, c.release = own, own.CloseIdleConnections
	}
	c.http.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		first := via[0]
		switch {
		case first.Method != http.MethodGet && first.Method != http.MethodHead:
			return http.ErrUseLastResponse
		case !sameOrigin(next.URL, first.URL):
			return fmt.Errorf("the server redirects to another origin, %s://%s, which is refused", next.URL.Scheme, next.URL.Host)
		case len(via) > maxRedirects:
			return fmt.Errorf("there are more than %d redirects", maxRedirects)
		}
		return nil
	}
	return c, nil
}

func (c *client) close() { c.release() }

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// do sends a request. The body of the answer has to be closed.
func (c *client) do(ctx context.Context, r *request) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.agent)
	if r.key != "" {
		req.Header.Set(keyHeader, r.key)
	}
	if r.url.Scheme == "https" || sameOrigin(r.url, c.home) {
		for name, value := range c.headers {
			req.Header.Set(name, value)
		}
	}
	return c.http.Do(req)
}

// call makes a request and a result of its answer.
func (c *client) call(ctx context.Context, r *request) (tool.Result, error) {
	callCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.do(callCtx, r)
	if err != nil {
		return c.failure(ctx, callCtx, r, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := readAnswer(resp)
	if err != nil {
		return c.failure(ctx, callCtx, r, err)
	}
	status := fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return tool.ErrorResult(tool.Bound(strings.TrimRight("The server answered "+status+". "+c.unauthorized(resp)+"\n"+text, "\n"))), nil
	case resp.StatusCode >= 400:
		return tool.ErrorResult(tool.Bound(strings.TrimRight("The server answered "+status+".\n"+text, "\n"))), nil
	case resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified:
		return tool.ErrorResult(tool.Bound(fmt.Sprintf("The server answered %s and points to %q, which was not followed: only reading follows redirects.",
			status, resp.Header.Get("Location")))), nil
	case text == "":
		return tool.Result{Output: status + ", without content."}, nil
	}
	return tool.Result{Output: tool.Bound(text)}, nil
}

// unauthorized says what to do about an answer that wants credentials, or others. It is
// a matter of the agent file: nobody is asked for them in the middle of a run.
func (c *client) unauthorized(resp *http.Response) string {
	var schemes []string
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		if scheme, _, _ := strings.Cut(strings.TrimSpace(challenge), " "); isToken(scheme) && len(schemes) < 5 {
			schemes = append(schemes, scheme)
		}
	}
	wants := ""
	if len(schemes) > 0 {
		wants = " (" + strings.Join(schemes, ", ") + ")"
	}
	if len(c.headers) > 0 && (resp.Request.URL.Scheme == "https" || sameOrigin(resp.Request.URL, c.home)) {
		return "It did not take the credentials" + wants + " that the agent file gives under `" + c.key + "`."
	}
	return "It wants credentials" + wants + ", which the agent file can give under `" + c.key + "`, for example Authorization: Bearer ${env.TOKEN}."
}

// failure says what became of a request without an answer.
func (c *client) failure(ctx, callCtx context.Context, r *request, err error) (tool.Result, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return tool.Result{}, fmt.Errorf("calling %s: %w", r.url.Host, ctx.Err())
	}
	what := "The request failed: " + tool.DescribeNetwork(err) + "."
	if callCtx.Err() != nil {
		what = fmt.Sprintf("The server gave no complete answer in time (limit %v).", c.timeout)
	}
	if r.method != http.MethodGet && r.method != http.MethodHead {
		what += " Whether it changed anything is unknown."
	}
	return tool.ErrorResult(what), nil
}

// readAnswer reads a body as text. What is no text leaves a line that names it.
func readAnswer(resp *http.Response) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, tool.MaxOutput+1))
	if err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	cut := len(raw) > tool.MaxOutput
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		kind = "unknown type"
	}
	sample := raw
	for cut && len(raw)-len(sample) < utf8.UTFMax && !utf8.Valid(sample) {
		sample = sample[:len(sample)-1] // the cut may go through a character
	}
	if !utf8.Valid(sample) || bytes.IndexByte(sample, 0) >= 0 {
		size := fmt.Sprintf("%d bytes", len(raw))
		if cut {
			size = fmt.Sprintf("more than %d bytes", tool.MaxOutput)
		}
		return fmt.Sprintf("[content that is no text: %s, %s]", kind, size), nil
	}
	return string(raw), nil
}

// isToken reports whether s may be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for _, r := range s {
		if r > 0x7e || r <= ' ' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r) {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s may be the value of a header: no line ends and
// no other control characters.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' && s[i] != '\t') || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// absolute parses a URL that requests may go to.
func absolute(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, fmt.Errorf("%q is no absolute URL with http or https", text)
	case u.User != nil:
		return nil, errors.New("the URL holds a user or a password; use a header")
	}
	return u, nil
}

// effectOf says what RFC 9110 section 9.2 promises of a method.
func effectOf(method string) tool.Effect {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return tool.EffectReadOnly
	case http.MethodPut, http.MethodDelete:
		return tool.EffectIdempotent
	}
	return tool.EffectUnkeyed
}
