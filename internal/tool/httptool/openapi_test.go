package httptool_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/httptool"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// openAPI serves a document beside a mirror and returns its toolset.
func openAPI(t *testing.T, document string, tools ...string) *httptool.Toolset {
	t.Helper()
	m := newMirror(t)
	mux := http.NewServeMux()
	mux.Handle("/", m.Config.Handler)
	mux.HandleFunc("/openapi", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, document) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	ts, err := httptool.NewOpenAPI(httptool.OpenAPI{
		URL: s.URL + "/openapi", Name: "shop", Headers: map[string]string{"X-Secret": "s"}, Tools: tools,
	}, httptool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ts.Close() })
	return ts
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestOpenAPIKeepsThePromises(t *testing.T) {
	tooltest.Toolset(t, tooltest.Case{
		New:  func(t *testing.T) tool.Toolset { return openAPI(t, readFile(t, "testdata/shop31.yaml")) },
		Good: []tool.Call{{Name: "listItems"}, {Name: "createItem", Arguments: `{"body":{"name":"x"}}`}},
		Bad: []tool.Call{
			{Name: "createItem"},
			{Name: "getItem", Arguments: `{"id":".."}`},
			{Name: "getItem", Arguments: `{"id":"1","other":2}`},
			{Name: "getItem"},
		},
	})
}

// The definitions of a document of 3.0 and of one of 3.1, and what calls of them
// send.
func TestOpenAPIDefinitions(t *testing.T) {
	for _, name := range []string{"shop30", "shop31"} {
		t.Run(name, func(t *testing.T) {
			defs, err := openAPI(t, readFile(t, "testdata/"+name+".yaml")).Tools(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, d := range defs {
				b.WriteString(d.Name + " (" + d.Remote + ", " + string(d.Effect) + "): " + d.Description + "\n")
				var schema any
				if err := json.Unmarshal(d.Parameters, &schema); err != nil {
					t.Fatal(err)
				}
				pretty, err := json.MarshalIndent(schema, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				b.WriteString(string(pretty) + "\n")
			}
			golden := "testdata/" + name + ".tools.txt"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(readFile(t, golden), b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenAPIRequests(t *testing.T) {
	ts := openAPI(t, readFile(t, "testdata/shop31.yaml"))
	for _, c := range []struct{ name, args, want string }{
		{
			"listItems", `{"tag":["a b","c"],"filter":{"max":5,"min":1},"page":2}`,
			"GET /v1/items?tag=a+b&tag=c&filter[max]=5&filter[min]=1&page=2\nX-Secret: s\n",
		},
		{"getItem", `{"id":"a/b?","X-Trace":"t","session":"c"}`, "GET /v1/items/a%2Fb%3F\nCookie: session=c\nX-Trace: t\nX-Secret: s\n"},
		{
			"createItem", `{"body":{"name":"x","price":1.10}}`,
			"POST /v1/items\nContent-Type: application/json\nX-Secret: s\nIdempotency-Key: key_call_1\n" + `{"name":"x","price":1.10}`,
		},
		{"put_items_id", `{"id":"1","body":"plain"}`, "PUT /v1/items/1\nContent-Type: text/plain\nX-Secret: s\nIdempotency-Key: key_call_1\nplain"},
		{
			"login", `{"body":{"user":"a b","roles":["x","y"]}}`,
			"POST /v1/login\nContent-Type: application/x-www-form-urlencoded\nX-Secret: s\nIdempotency-Key: key_call_1\nroles=x&roles=y&user=a+b",
		},
		{
			"styles", `{"label":["a","b"],"matrix":{"x":1,"y":"ü"},"space":["a","b"],"pipe":[1,2],"plain":{"a":1},"json":{"a":[1]},"open":"a/b&c"}`,
			"GET /v1/s/.a.b/;x=1;y=%C3%BC?space=a%20b&pipe=1%7C2&plain=a,1&json=%7B%22a%22%3A%5B1%5D%7D&open=a/b%26c\nX-Secret: s\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := call(t, ts, c.name, c.args); got.IsError || got.Output != c.want {
				t.Errorf("%+v\nwant %q", got, c.want)
			}
		})
	}
}

func TestOpenAPIFilter(t *testing.T) {
	ts := openAPI(t, readFile(t, "testdata/shop31.yaml"), "getItem", "put_items_id", "dotted.name")
	defs, err := ts.Tools(t.Context())
	if err != nil || len(defs) != 2 || defs[0].Name != "getItem" || defs[1].Name != "put_items_id" || defs[1].Remote != "" {
		t.Errorf("%+v, %v", defs, err)
	}
	if _, err := openAPI(t, readFile(t, "testdata/shop31.yaml"), "nothing").Tools(t.Context()); err == nil || !strings.Contains(err.Error(), "none of the operations") {
		t.Errorf("%v", err)
	}
}

func TestBadDocuments(t *testing.T) {
	one := func(operation string) string {
		return `{"openapi":"3.1.0","paths":{"/x":{"get":` + operation + `}},"components":{"schemas":{"A":{"$ref":"#/components/schemas/A"}}}}`
	}
	deep := `{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"name":"a","in":"query","schema":` +
		strings.Repeat(`{"items":`, 2000) + `{}` + strings.Repeat(`}`, 2000) + `}]}}}}`
	for name, c := range map[string]struct{ document, want string }{
		"swagger":          {`{"swagger":"2.0","paths":{}}`, "version 2 (Swagger)"},
		"future":           {"openapi: 4.0.0", "only 3.0 to 3.2"},
		"no object":        {"[1]", "no object"},
		"garbage":          {"{", "no JSON"},
		"html":             {"<html>: [", "neither JSON nor YAML"},
		"alias bomb":       {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "neither JSON nor YAML"},
		"empty":            {`{"openapi":"3.1.0"}`, "no operations"},
		"too long":         {`{"openapi":"3.1.0","x":"` + strings.Repeat("x", httptool.MaxDocument) + `"}`, "more than"},
		"deep":             {deep, "nested deeper"},
		"other document":   {one(`{"parameters":[{"name":"a","in":"query","schema":{"$ref":"http://169.254.169.254/x"}}]}`), "another document"},
		"nowhere":          {one(`{"parameters":[{"$ref":"#/components/parameters/x"}]}`), "leads nowhere"},
		"back to itself":   {one(`{"parameters":[{"$ref":"#/components/schemas/A"}]}`), "leads back to itself"},
		"multipart":        {one(`{"requestBody":{"content":{"multipart/form-data":{}}}}`), "multipart/form-data is not offered"},
		"reserved header":  {one(`{"parameters":[{"name":"Host","in":"header"}]}`), "cannot be a parameter"},
		"server elsewhere": {one(`{"servers":[{"url":"file:///etc"}]}`), "no absolute URL"},
		"bad path":         {`{"openapi":"3.2.0","paths":{"/x":{"$ref":"#/nowhere"}}}`, "leads nowhere"},
		"index":            {one(`{"parameters":[{"$ref":"#/paths/~1x/get/parameters/9"}]}`), "leads nowhere"},
		"path parameter":   {`{"openapi":"3.1.0","paths":{"/{x}":{"get":{}}}}`, "not described"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openAPI(t, c.document).Tools(t.Context())
			if holdfast.CodeOf(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one that says %q", err, c.want)
			}
		})
	}
}

// One operation that cannot be offered does not take the others away.
func TestOpenAPILeavesOut(t *testing.T) {
	ts := openAPI(t, `{"openapi":"3.0.3","paths":{"/x":{"get":{"operationId":"good"},"post":{"operationId":"bad","requestBody":{"content":{"multipart/form-data":{}}}}}}}`)
	defs, err := ts.Tools(t.Context())
	if err != nil || len(defs) != 1 || defs[0].Name != "good" {
		t.Errorf("%+v, %v", defs, err)
	}
}

// What a document says in one place, and another points to; and an operation of another
// path, which an argument must not reach.
func TestOpenAPIOddButGood(t *testing.T) {
	ts := openAPI(t, `{"openapi":"3.2.0","paths":{
		"/broken":{"$ref":"#/nowhere"},
		"/items/{id}":{"delete":{"operationId":"remove","parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string"}}]}},
		"/other/{id}":{"get":{"operationId":"other","parameters":[{"$ref":"#/paths/~1items~1{id}/delete/parameters/0"}]}}}}`)
	if got := call(t, ts, "other", `{"id":"7"}`); got.Output != "GET /other/7\nX-Secret: s\n" && !strings.HasPrefix(got.Output, "GET /other/7\n") {
		t.Errorf("%+v", got)
	}
	for _, id := range []string{`""`, `[]`, `{}`} {
		if got := call(t, ts, "remove", `{"id":`+id+`}`); !got.IsError || !strings.Contains(got.Output, "a part of the path") {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// Files of others spell names of operations in their own way.
func TestOpenAPIFilterNames(t *testing.T) {
	ts := openAPI(t, `{"openapi":"3.1.0","paths":{"/a":{"get":{"operationId":"list-all.items"},"put":{"operationId":"put"}}}}`, "list_all_items")
	defs, err := ts.Tools(t.Context())
	if err != nil || len(defs) != 1 || defs[0].Name != "list-all_items" || defs[0].Remote != "list-all.items" {
		t.Errorf("%+v, %v", defs, err)
	}
}

// Who has no credentials is told where they belong.
func TestCredentialsAreAMatterOfTheFile(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi" && r.Header.Get("Authorization") != "" {
			_, _ = io.WriteString(w, `{"openapi":"3.1.0","paths":{"/x":{"get":{"operationId":"x"}}}}`)
			return
		}
		w.Header().Add("WWW-Authenticate", `Bearer realm="x", error="invalid_token"`)
		w.Header().Add("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "who are you?")
	}))
	t.Cleanup(srv.Close)
	open := func(headers map[string]string) *httptool.Toolset {
		ts, err := httptool.NewOpenAPI(httptool.OpenAPI{URL: srv.URL + "/openapi", Headers: headers}, httptool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ts.Close() })
		return ts
	}
	if _, err := open(nil).Tools(t.Context()); err == nil || !strings.Contains(err.Error(), "It wants credentials (Bearer, Basic), which the agent file can give under `headers`") {
		t.Errorf("%v", err)
	}
	if got := call(t, open(map[string]string{"Authorization": "Bearer old"}), "x", ""); !got.IsError ||
		got.Output != "The server answered HTTP 401 Unauthorized. It did not take the credentials (Bearer, Basic) that the agent file gives under `headers`.\nwho are you?" {
		t.Errorf("%+v", got)
	}
	ts, err := httptool.NewAPI(httptool.API{Name: "n", Endpoint: srv.URL + "/x/${id}", Method: "GET", Args: json.RawMessage(`{"id":{}}`)}, httptool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ts.Close() })
	if got := call(t, ts, "n", `{"id":1}`); !got.IsError || !strings.Contains(got.Output, "can give under `api_config.headers`, for example Authorization: Bearer ${env.TOKEN}.") {
		t.Errorf("%+v", got)
	}
	if got := call(t, ts, "n", `{"id":""}`); !got.IsError || !strings.Contains(got.Output, "a part of the path") {
		t.Errorf("%+v", got)
	}
}

// Headers hold secrets: a document must not send them to another origin without
// TLS. It is read once for many calls.
func TestHeadersStayHome(t *testing.T) {
	api := newMirror(t)
	var reads atomic.Int32
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads.Add(1)
		if r.Header.Get("X-Secret") != "s" {
			t.Error("the document was asked for without the header")
		}
		_, _ = io.WriteString(w, `{"openapi":"3.1.0","servers":[{"url":"`+api.URL+`/{v}","variables":{"v":{"default":"v2"}}}],"paths":{"/x":{"get":{}}}}`)
	}))
	t.Cleanup(home.Close)
	ts, err := httptool.NewOpenAPI(httptool.OpenAPI{URL: home.URL, Headers: map[string]string{"X-Secret": "s"}}, httptool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ts.Close() }()
	for range 2 {
		if got := call(t, ts, "get_x", ""); got.Output != "GET /v2/x\n" {
			t.Errorf("%+v", got)
		}
	}
	if reads.Load() != 1 {
		t.Errorf("the document was read %d times", reads.Load())
	}
}
