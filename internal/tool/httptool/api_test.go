package httptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/testenv/leaktest"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/httptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// mirror answers with the request that it got, or does what the path says.
type mirror struct {
	*httptest.Server
	hanging chan struct{}
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{hanging: make(chan struct{}, 8)}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s\n", r.Method, r.RequestURI)
		for _, name := range []string{"Content-Type", "Cookie", "X-Trace", "X-Secret", "Idempotency-Key"} {
			if v := r.Header.Get(name); v != "" {
				fmt.Fprintf(w, "%s: %s\n", name, v)
			}
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = io.WriteString(w, "because")
		}
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://other.invalid/", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/binary", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write([]byte{0x89, 'P', 'N', 'G', 0, 0xff})
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("é", tool.MaxOutput))
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the end of the client shows only after the body
		m.hanging <- struct{}{}
		<-r.Context().Done()
	})
	mux.HandleFunc("/hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	m.Server = httptest.NewServer(mux)
	t.Cleanup(m.Close)
	return m
}

func newAPI(t *testing.T, a httptool.API, o httptool.Options) tool.Toolset {
	t.Helper()
	ts, err := httptool.NewAPI(a, o)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

// call makes a call whose Go error is nil.
func call(t *testing.T, ts tool.Toolset, name, args string) tool.Result {
	t.Helper()
	res, err := ts.Call(t.Context(), tooltest.Call(tool.Call{Name: name, Arguments: args}))
	if err != nil {
		t.Fatalf("%s %s: %v", name, args, err)
	}
	return res
}

func TestAPIKeepsThePromises(t *testing.T) {
	m := newMirror(t)
	tooltest.Toolset(t, tooltest.Case{
		New: func(t *testing.T) tool.Toolset {
			return newAPI(t, httptool.API{
				Name: "get", Method: "GET", Endpoint: m.URL + "/${what}",
				Args: json.RawMessage(`{"what":{"type":"string"},"more":{"type":"string"}}`),
			}, httptool.Options{})
		},
		Good: []tool.Call{{Name: "get", Arguments: `{"what":"thing"}`}, {Name: "get", Arguments: `{"what":"thing","more":"of it"}`}},
		Bad: []tool.Call{
			{Name: "get", Arguments: `{}`},
			{Name: "get", Arguments: `{"what":null}`},
			{Name: "get", Arguments: `{"what":"x","other":1}`},
			{Name: "get", Arguments: `{"what":".."}`},
			{Name: "get", Arguments: `{"what":"hangup"}`},
			{Name: "get", Arguments: `{"what":"loop"}`},
			{Name: "get", Arguments: `{"what":"away"}`},
		},
		Big:      tool.Call{Name: "get", Arguments: `{"what":"big"}`},
		Blocking: tool.Call{Name: "get", Arguments: `{"what":"hang"}`},
		Started:  func(*testing.T) { <-m.hanging },
	})
}

// What an API sends is what its description and the arguments say.
func TestAPIRequests(t *testing.T) {
	m := newMirror(t)
	args := json.RawMessage(`{"id":{"type":"string"},"q":{},"tags":{"type":"array"},"note":{"type":"object"}}`)
	for _, c := range []struct {
		name   string
		api    httptool.API
		args   string
		want   string // of the answer, after which nothing comes
		effect tool.Effect
	}{
		{
			"path and query",
			httptool.API{Method: "GET", Endpoint: m.URL + "/users/${id}?fixed=1&q=${q}"},
			`{"id":"a/b c","q":"x&y=z","tags":["one","two"]}`,
			"GET /users/a%2Fb%20c?fixed=1&q=x%26y%3Dz&tags=one&tags=two\nX-Secret: s\n", tool.EffectReadOnly,
		},
		{
			"query of delete",
			httptool.API{Method: "DELETE", Endpoint: m.URL + "/users/${id}"},
			`{"id":"7","q":true}`,
			"DELETE /users/7?q=true\nX-Secret: s\nIdempotency-Key: key_call_1\n", tool.EffectIdempotent,
		},
		{
			"body",
			httptool.API{Method: "POST", Endpoint: m.URL + "/users/${id}"},
			`{"id":7,"note":{"b":1.50,"a":null},"q":"é"}`,
			"POST /users/7\nContent-Type: application/json\nX-Secret: s\nIdempotency-Key: key_call_1\n" + `{"note":{"b":1.50,"a":null},"q":"é"}`, tool.EffectUnkeyed,
		},
		{
			"empty body",
			httptool.API{Method: "PUT", Endpoint: m.URL + "/x"},
			``,
			"PUT /x\nContent-Type: application/json\nX-Secret: s\nIdempotency-Key: key_call_1\n{}", tool.EffectIdempotent,
		},
		{
			"key of one's own",
			httptool.API{Method: "PATCH", Endpoint: m.URL, Headers: map[string]string{"idempotency-key": "mine"}},
			`{}`,
			"PATCH /\nContent-Type: application/json\nIdempotency-Key: mine\n{}", tool.EffectUnkeyed,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.api.Name, c.api.Args = "tool", args
			if c.api.Headers == nil {
				c.api.Headers = map[string]string{"X-Secret": "s"}
			}
			ts := newAPI(t, c.api, httptool.Options{})
			defer func() { _ = ts.Close() }()
			if got := call(t, ts, "tool", c.args); got.IsError || got.Output != c.want {
				t.Errorf("%+v\nwant %q", got, c.want)
			}
			defs, err := ts.Tools(t.Context())
			if err != nil || defs[0].Effect != c.effect || defs[0].Concurrent != (c.effect == tool.EffectReadOnly) {
				t.Errorf("%+v, %v", defs, err)
			}
		})
	}
}

func TestAPIAnswers(t *testing.T) {
	m := newMirror(t)
	for path, want := range map[string]tool.Result{
		"GET /status/404":  {Output: "The server answered HTTP 404 Not Found.\nbecause", IsError: true},
		"GET /status/401":  {Output: "The server answered HTTP 401 Unauthorized. It wants credentials, which the agent file can give under `api_config.headers`, for example Authorization: Bearer ${env.TOKEN}.\nbecause", IsError: true},
		"GET /status/204":  {Output: "HTTP 204 No Content, without content."},
		"GET /status/302":  {Output: "GET /elsewhere\n"},
		"GET /binary":      {Output: "[content that is no text: image/png, 6 bytes]"},
		"POST /status/307": {Output: `The server answered HTTP 307 Temporary Redirect and points to "/elsewhere", which was not followed: only reading follows redirects.`, IsError: true},
		"POST /hangup":     {Output: "The request failed: EOF. Whether it changed anything is unknown.", IsError: true},
		"GET /away":        {Output: "The request failed: the server redirects to another origin, http://other.invalid, which is refused.", IsError: true},
	} {
		t.Run(path, func(t *testing.T) {
			method, rest, _ := strings.Cut(path, " ")
			ts := newAPI(t, httptool.API{Name: "x", Method: method, Endpoint: m.URL + rest}, httptool.Options{})
			defer func() { _ = ts.Close() }()
			if got := call(t, ts, "x", ""); got.Output != want.Output || got.IsError != want.IsError {
				t.Errorf("%+v\nwant %+v", got, want)
			}
		})
	}
}

func TestAPITimeout(t *testing.T) {
	m := newMirror(t)
	ts := newAPI(t, httptool.API{Name: "x", Method: "POST", Endpoint: m.URL + "/hang"}, httptool.Options{Timeout: 50 * time.Millisecond})
	defer func() { _ = ts.Close() }()
	want := "The server gave no complete answer in time (limit 50ms). Whether it changed anything is unknown."
	if got := call(t, ts, "x", ""); got.Output != want || !got.IsError {
		t.Errorf("%+v", got)
	}
}

// The guard of outgoing connections is the RoundTripper's: what it refuses is
// not sent.
func TestGuardRefuses(t *testing.T) {
	refuse := roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("the address is refused") })
	ts := newAPI(t, httptool.API{Name: "x", Method: "GET", Endpoint: "http://10.0.0.1/"}, httptool.Options{Transport: refuse})
	if got := call(t, ts, "x", ""); !got.IsError || !strings.Contains(got.Output, "the address is refused") {
		t.Errorf("%+v", got)
	}
	doc, err := httptool.NewOpenAPI(httptool.OpenAPI{URL: "http://10.0.0.1/"}, httptool.Options{Transport: refuse})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := doc.Tools(t.Context()); holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), "the address is refused") {
		t.Errorf("%v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBadAPIs(t *testing.T) {
	for want, a := range map[string]httptool.API{
		"has no name":             {Method: "GET", Endpoint: "https://x.example"},
		"no HTTP method":          {Name: "x", Method: "get", Endpoint: "https://x.example"},
		"no absolute URL":         {Name: "x", Method: "GET", Endpoint: "x.example/y"},
		"http or https":           {Name: "x", Method: "GET", Endpoint: "file:///etc/passwd"},
		"user or a password":      {Name: "x", Method: "GET", Endpoint: "https://u:p@x.example"},
		"must be fixed":           {Name: "x", Method: "GET", Endpoint: "https://${host}/"},
		"is no placeholder":       {Name: "x", Method: "GET", Endpoint: "https://x.example/${a b}"},
		"not described":           {Name: "x", Method: "GET", Endpoint: "https://x.example/${a}"},
		"args are no JSON object": {Name: "x", Method: "GET", Endpoint: "https://x.example", Args: json.RawMessage(`[]`)},
		"cannot be set":           {Name: "x", Method: "GET", Endpoint: "https://x.example", Headers: map[string]string{"host": "y"}},
		"no header takes":         {Name: "x", Method: "GET", Endpoint: "https://x.example", Headers: map[string]string{"A": "b\r\nC: d"}},
	} {
		if _, err := httptool.NewAPI(a, httptool.Options{}); holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
}

func TestOutputSchemaIsForTheModel(t *testing.T) {
	ts := newAPI(t, httptool.API{Name: "a name", Method: "GET", Endpoint: "https://x.example", Instruction: "Read.", OutputSchema: json.RawMessage(`{"type":"array"}`)}, httptool.Options{})
	defs, err := ts.Tools(context.Background())
	if err != nil || defs[0].Name != "a_name" || defs[0].Description != "Read.\nThe answer is JSON of this schema: {\"type\":\"array\"}" {
		t.Errorf("%+v, %v", defs, err)
	}
}
