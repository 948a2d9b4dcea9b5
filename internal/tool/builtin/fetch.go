package builtin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html/charset"

	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	defaultFetchTimeout = 30 * time.Second
	maxFetchTimeout     = 2 * time.Minute
	maxFetchURLs        = 10
	maxFetchBody        = 2 << 20 // bytes of a page that are read
	maxFetchRedirects   = 5
	maxRobots           = 500 << 10 // bytes of robots.txt, as RFC 9309 section 2.5 says
	// robotsToken is the product token that robots.txt files know us by.
	robotsToken = "holdfast"
)

// FetchOptions configure fetch. The zero value works.
type FetchOptions struct {
	// Timeout is for calls that name none, for each URL; 0 is 30 seconds.
	Timeout time.Duration
	// AllowHosts are "host:port" that may be reached although their address is a
	// private one: for development. They are compared with what the URL says.
	AllowHosts []string
	// Version is what the User-Agent says; "" is "dev".
	Version string
	// Allowed and Blocked are the hosts that may and those that may not be
	// fetched, as [hosts] reads them; blocked ones win, and with no allowed ones
	// all others may. They count for redirects as well.
	Allowed, Blocked []string
	// Headers go with every request to the host that a call names, and with none
	// that a redirect leads to elsewhere.
	Headers map[string]string
}

type fetchArguments struct {
	URLs    list[string] `json:"urls"`
	Format  string       `json:"format"`
	Timeout whole        `json:"timeout"`
}

// answerError is a page that is an error: servers often say in it what is wrong.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return fmt.Sprintf("the server answered HTTP %d", e.status) }

// accepts is what is asked for: some sites have their pages in Markdown, which needs no
// conversion.
var accepts = map[string]string{
	"markdown": "text/markdown, text/html;q=0.9, text/plain;q=0.8, application/json;q=0.8, text/*;q=0.7, application/xml;q=0.6",
	"text":     "text/plain, text/html;q=0.9, application/json;q=0.9, text/*;q=0.8, application/xml;q=0.7",
	"html":     "text/html, application/xhtml+xml, text/plain;q=0.8, application/json;q=0.8, text/*;q=0.7, application/xml;q=0.6",
}

// maxErrorPage is how much of such a page is shown, in bytes.
const maxErrorPage = 4 << 10

type fetcher struct {
	opts FetchOptions

	allowed, blocked hosts
	guard            *egress.Guard
	agent            string
}

// NewFetch returns the fetch toolset: GET of pages, turned into text. It goes
// to public addresses only, and checks the address that it connects to, so that
// neither a name that resolves to a private one nor a redirect gets around it.
// It uses no proxy, keeps no cookies and does what robots.txt says (RFC 9309).
func NewFetch(o FetchOptions) *Toolset {
	if o.Timeout <= 0 {
		o.Timeout = defaultFetchTimeout
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	f := &fetcher{
		opts:    o,
		allowed: newHosts(o.Allowed), blocked: newHosts(o.Blocked),
		agent: "holdfast-fetch/" + o.Version + " (+https://holdfast.run)",
		guard: egress.New(egress.Policy{AllowHosts: o.AllowHosts, AllowHTTP: true}),
	}
	return &Toolset{
		name: "fetch",
		close: func() error {
			f.guard.Close()
			return nil
		},
		entries: []entry{{
			def: tool.Definition{
				Name: "fetch", Title: "Fetch", Description: "Get web pages by http or https and give back their text.",
				Parameters: object([]string{"urls"}, texts("urls", "The URLs, at most 10"),
					choice("format", "How pages in HTML come back; the default is markdown", "text", "markdown", "html"),
					number("timeout", "Seconds for each URL, at most 120; the default is 30")),
				Effect: tool.EffectReadOnly, Concurrent: true,
			},
			run: run(f.fetch),
		}},
	}
}

func (f *fetcher) fetch(ctx context.Context, _ tool.Call, a fetchArguments) (tool.Result, error) {
	switch {
	case len(a.URLs) == 0:
		return failed("There is no URL."), nil
	case len(a.URLs) > maxFetchURLs:
		return failed("There are more than %d URLs.", maxFetchURLs), nil
	case a.Format == "":
		a.Format = "markdown"
	case !slices.Contains([]string{"text", "markdown", "html"}, a.Format):
		return failed("The format %q does not exist; use text, markdown or html.", a.Format), nil
	}
	timeout := f.opts.Timeout
	if a.Timeout < 0 || a.Timeout > whole(maxFetchTimeout/time.Second) {
		return failed("The timeout must be between 1 and %d seconds.", int(maxFetchTimeout/time.Second)), nil
	} else if a.Timeout > 0 {
		timeout = time.Duration(a.Timeout) * time.Second
	}
	visit := &visit{fetcher: f, robots: make(map[string]*robots)}
	var out strings.Builder
	failures := 0
	for i, u := range a.URLs {
		if i > 0 {
			out.WriteString("\n\n")
		}
		page, err := visit.page(ctx, u, a.Format, timeout)
		if errors.Is(ctx.Err(), context.Canceled) {
			return tool.Result{}, fmt.Errorf("fetching %s: %w", u, ctx.Err())
		}
		if err != nil {
			failures++
			page = "Error: " + describeFetch(err, timeout) + "."
			if answer := (*answerError)(nil); errors.As(err, &answer) && answer.text != "" {
				page += "\n" + tool.BoundTo(answer.text, maxErrorPage)
			}
		}
		if len(a.URLs) > 1 {
			fmt.Fprintf(&out, "=== %s ===\n", u)
		}
		out.WriteString(page)
	}
	return tool.Result{Output: out.String(), IsError: failures == len(a.URLs)}, nil
}

// describeFetch says why a page could not be had, without the addresses that
// names resolve to.
func describeFetch(err error, timeout time.Duration) string {
	switch {
	case errors.Is(err, egress.ErrRefused):
		return "the address is not a public one, which is refused"
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no complete answer within %v", timeout)
	}
	return tool.DescribeNetwork(err)
}

// visit is one call: robots.txt of a host is read once for it.
type visit struct {
	*fetcher
	named  *url.URL // what the call names, whose host gets the configured headers
	robots map[string]*robots
}

func (v *visit) page(ctx context.Context, address, format string, timeout time.Duration) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("this is no URL")
	}
	v.named = u
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := v.mayFetch(ctx, u); err != nil {
		return "", err
	}
	client := &http.Client{Transport: v.guard, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxFetchRedirects {
			return fmt.Errorf("there are more than %d redirects", maxFetchRedirects)
		}
		v.leave(req)
		return v.mayFetch(ctx, req.URL)
	}}
	resp, err := v.get(ctx, client, u, accepts[format])
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, cut, err := readText(resp)
	if resp.StatusCode >= 400 {
		if err != nil {
			body = "" // the status says enough
		}
		body, err = shownPage(resp, body, format)
		return "", errors.Join(&answerError{resp.StatusCode, strings.TrimSpace(body)}, err)
	}
	if err != nil {
		return "", err
	}
	if body, err = shownPage(resp, body, format); err != nil {
		return "", err
	}
	if cut {
		body += fmt.Sprintf("\n[page cut: only the first %d bytes were read]", maxFetchBody)
	}
	return body, nil
}

// shownPage turns a page into the format that was asked for.
func shownPage(resp *http.Response, body, format string) (string, error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "text/html" && kind != "application/xhtml+xml" && (kind != "" || !strings.Contains(strings.ToLower(body[:min(len(body), 512)]), "<html")) {
		return body, nil
	}
	switch format {
	case "text":
		return htmlText(body, resp.Request.URL, false)
	case "markdown":
		return htmlText(body, resp.Request.URL, true)
	}
	return body, nil
}

func (v *visit) get(ctx context.Context, client *http.Client, u *url.URL, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("this is no URL")
	}
	req.Header.Set("User-Agent", v.agent)
	req.Header.Set("Accept", accept)
	if v.atNamed(u) {
		for name, value := range v.opts.Headers {
			req.Header.Set(name, value)
		}
	}
	return client.Do(req)
}

// atNamed reports whether a URL is at the server that the call names.
func (v *visit) atNamed(u *url.URL) bool { return u.Scheme == v.named.Scheme && u.Host == v.named.Host }

// leave takes the configured headers from a redirected request that leaves the
// server that they are for.
func (v *visit) leave(req *http.Request) {
	if v.atNamed(req.URL) {
		return
	}
	for name := range v.opts.Headers {
		req.Header.Del(name)
	}
	req.Header.Set("User-Agent", v.agent)
}

// readText reads a body of text as UTF-8, up to maxFetchBody bytes of it.
func readText(resp *http.Response) (text string, cut bool, err error) {
	header := resp.Header.Get("Content-Type")
	kind, _, _ := mime.ParseMediaType(header)
	body := bufio.NewReader(io.LimitReader(resp.Body, maxFetchBody+1))
	if kind == "" {
		start, err := body.Peek(512)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", false, err
		}
		header = http.DetectContentType(start)
		kind, _, _ = mime.ParseMediaType(header)
	}
	if !isText(kind) {
		return "", false, fmt.Errorf("it is no text but %s", kind)
	}
	r, err := charset.NewReader(body, header)
	if errors.Is(err, io.EOF) {
		return "", false, nil // an empty body
	} else if err != nil {
		return "", false, fmt.Errorf("reading the page: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxFetchBody+1))
	if err != nil {
		return "", false, fmt.Errorf("reading the page: %w", err)
	}
	if len(raw) > maxFetchBody {
		return string(raw[:maxFetchBody]), true, nil
	}
	return string(raw), false, nil
}

func isText(kind string) bool {
	if strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") {
		return true
	}
	return slices.Contains([]string{
		"application/json", "application/xml", "application/javascript", "application/yaml", "application/x-yaml",
		"application/toml", "application/x-ndjson", "application/sql",
	}, kind)
}

// mayFetch says whether a URL may be fetched, reading robots.txt of its host if
// that was not done yet.
func (v *visit) mayFetch(ctx context.Context, u *url.URL) error {
	if err := v.mayAsk(u); err != nil {
		return err
	}
	host := u.Scheme + "://" + u.Host
	rules, ok := v.robots[host]
	if !ok {
		var err error
		if rules, err = v.readRobots(ctx, host); err != nil {
			return err
		}
		v.robots[host] = rules
	}
	if !rules.allow(u) {
		return errors.New("the site's robots.txt does not allow it")
	}
	return nil
}

// mayAsk says whether a URL may be asked at all, for a page or for robots.txt.
func (f *fetcher) mayAsk(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("only absolute URLs with http or https can be fetched")
	}
	if u.User != nil {
		return errors.New("a URL with a user or a password is refused")
	}
	if f.blocked.have(u.Hostname()) || len(f.opts.Allowed) > 0 && !f.allowed.have(u.Hostname()) {
		return errors.New("the agent may not fetch from this host")
	}
	return nil
}

// readRobots follows RFC 9309 section 2.3.1: no such file allows all, a server
// that fails allows nothing.
func (v *visit) readRobots(ctx context.Context, host string) (*robots, error) {
	u, err := url.Parse(host + "/robots.txt")
	if err != nil {
		return nil, errors.New("this is no URL")
	}
	client := &http.Client{Transport: v.guard, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxFetchRedirects {
			return errors.New("robots.txt redirects too often")
		}
		v.leave(req)
		return v.mayAsk(req.URL)
	}}
	resp, err := v.get(ctx, client, u, "text/plain")
	if err != nil {
		return nil, fmt.Errorf("reading robots.txt: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode >= 500:
		return nil, fmt.Errorf("robots.txt cannot be read (HTTP %d), so nothing may be fetched", resp.StatusCode)
	case resp.StatusCode >= 400:
		return &robots{}, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRobots))
	if err != nil {
		return nil, fmt.Errorf("reading robots.txt: %w", err)
	}
	return parseRobots(string(body), robotsToken), nil
}
