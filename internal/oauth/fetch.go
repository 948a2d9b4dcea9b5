package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// maxDocument is the most bytes of a metadata document or an answer of an
	// authorization server.
	maxDocument  = 256 << 10
	maxRedirects = 3
)

// answer is what a server said, whole and bounded.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer. What a guard or the network says is
// wrapped without the addresses that it names.
func (c *Client) do(ctx context.Context, req *http.Request, redirects bool, local bool) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	var misled error
	client := &http.Client{Transport: c.opts.Transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if !redirects {
			return http.ErrUseLastResponse
		}
		if _, misled = checkEndpoint("target of its redirect", next.URL.String(), local); misled == nil && len(via) > maxRedirects {
			misled = errors.New("it redirects too often")
		}
		return misled
	}}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req.WithContext(ctx))
	if misled != nil {
		return nil, fmt.Errorf("%s: %w", origin(req.URL), misled)
	}
	if err != nil {
		return nil, unavailable(req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, unavailable(req.URL, err)
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("%s answered with more than %d bytes", origin(req.URL), maxDocument)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// UnavailableError is that a server could not be asked, or was too busy. The
// same request may work later.
type UnavailableError struct {
	Origin string
	// RetryAfter is how long the server asked to be left alone; 0 if it did not.
	RetryAfter time.Duration
	cause      string
	// answered says that the server did answer, with an error.
	answered bool
}

func (e *UnavailableError) Error() string { return e.Origin + " cannot be used: " + e.cause }

// Unwrap gives the error its code and the text that a tenant may read.
func (e *UnavailableError) Unwrap() error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "%s cannot be used at the moment", e.Origin)
}

// unavailable keeps of an error of the network what says nothing of the inside:
// no address, and no URL, whose query may have a secret.
func unavailable(u *url.URL, err error) error {
	cause := "the connection failed"
	var dns *net.DNSError
	var ue *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		cause = "no complete answer in time"
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("asking %s: %w", origin(u), context.Canceled)
	case errors.As(err, &dns):
		cause = "the host cannot be found"
	case errors.As(err, &ue):
		var op *net.OpError
		if !errors.As(err, &op) {
			cause = ue.Err.Error()
		}
	}
	return &UnavailableError{Origin: origin(u), cause: cause}
}

// busy is the error for 429 and 5xx.
func busy(u *url.URL, a *answer) error {
	e := &UnavailableError{Origin: origin(u), cause: fmt.Sprintf("HTTP %d", a.status), answered: true}
	if s, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = min(time.Duration(s)*time.Second, time.Hour)
	} else if at, err := http.ParseTime(a.header.Get("Retry-After")); err == nil {
		e.RetryAfter = min(max(time.Until(at), 0), time.Hour)
	}
	return e
}

func isBusy(status int) bool { return status == http.StatusTooManyRequests || status >= 500 }

// errAbsent is that there is no document at a URL.
var errAbsent = errors.New("there is no such document")

// document gets a metadata document. errAbsent is for all answers that mean that
// this place has none, pages for humans included.
func (c *Client) document(ctx context.Context, at string, local bool) (object, error) {
	u, err := checkEndpoint("URL of the metadata", at, local)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("the URL of the metadata at %s cannot be asked", origin(u))
	}
	a, err := c.do(ctx, req, true, local)
	switch {
	case err != nil:
		return nil, err
	case isBusy(a.status):
		return nil, busy(u, a)
	case a.status != http.StatusOK:
		return nil, errAbsent
	}
	o, err := parseObject(a.body)
	if err != nil {
		return nil, fmt.Errorf("%w: the answer is no JSON object", errAbsent)
	}
	return o, nil
}

// object is a JSON object whose names count as they are written; those of
// encoding/json structs would match in any case.
type object map[string]json.RawMessage

// parseObject reads one object. A member that comes twice with different values
// makes it none: readers that take the first and readers that take the last would
// believe different things.
func parseObject(b []byte) (object, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	none := errors.New("this is no JSON object")
	if !json.Valid(b) {
		return nil, none
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, none
	}
	o := object{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, none
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, none
		}
		key, _ := name.(string) // names are always strings
		if old, twice := o[key]; twice && !bytes.Equal(old, value) {
			return nil, errors.New("a member comes twice with different values")
		}
		o[key] = value
	}
	return o, nil
}

// wrongTypeError is a member of a document that has another type than it must.
type wrongTypeError struct{ name string }

func (e *wrongTypeError) Error() string { return "the member " + e.name + " has a wrong type" }

// get reads a member into its place; one that is absent or null leaves it as it is.
func (o object) get(name string, into any) error {
	raw, ok := o[name]
	if !ok || string(raw) == "null" {
		return nil
	}
	if json.Unmarshal(raw, into) != nil {
		return &wrongTypeError{name}
	}
	return nil
}

// list reads a list of strings. Some servers write one string instead, as in the
// parameter scope, with spaces between several.
func (o object) list(name string, into *[]string) error {
	var one string
	if raw := o[name]; len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &one) == nil {
		*into = strings.Fields(one)
		return nil
	}
	return o.get(name, into)
}

// seconds reads a length of time, which some servers write as a string. One that
// is negative, or no number, says nothing: servers write that for "never".
func (o object) seconds(name string) (n int64, known bool) {
	f, err := strconv.ParseFloat(string(bytes.Trim(o[name], `" `)), 64)
	if err != nil || f < 0 || f != f {
		return 0, false
	}
	const tenYears = 10 * 366 * 24 * 3600
	return int64(min(f, tenYears)), true
}
