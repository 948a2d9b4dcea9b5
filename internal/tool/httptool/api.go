package httptool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// API describes one endpoint.
type API struct {
	// Name is that of the tool. Required.
	Name string
	// Instruction is what the model reads of the tool.
	Instruction string
	// Endpoint is an absolute URL. ${name} in its path or query stands for the
	// argument of that name; host and scheme are fixed.
	Endpoint string
	// Method is an HTTP method in capitals.
	Method string
	// Headers go with each request.
	Headers map[string]string
	// Args are the properties of the arguments' JSON schema, as a JSON object; nil
	// means that there are none.
	Args json.RawMessage
	// Required are the arguments that must be given; those in the endpoint's path
	// must in any case.
	Required []string
	// OutputSchema describes the answer to the model; nil says nothing.
	OutputSchema json.RawMessage
}

// placeholder stands for an argument in an endpoint.
var placeholder = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_-]*)\}`)

// template is an endpoint cut at its placeholders.
type template struct {
	base  url.URL // scheme and host
	path  []piece
	query []piece // empty for none
}

// piece is text, or the argument of a name.
type piece struct{ text, arg string }

// NewAPI returns the toolset of one endpoint. Arguments that the endpoint does
// not name go into the query of GET, HEAD and DELETE, and as a JSON object into
// the body of every other method. The error has the code invalid.
func NewAPI(a API, o Options) (*Toolset, error) {
	invalid := func(format string, args ...any) (*Toolset, error) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "API %q: "+format, append([]any{a.Name}, args...)...)
	}
	if a.Name == "" {
		return invalid("it has no name")
	}
	if !isToken(a.Method) || strings.ToUpper(a.Method) != a.Method {
		return invalid("%q is no HTTP method", a.Method)
	}
	tmpl, err := parseTemplate(a.Endpoint)
	if err != nil {
		return invalid("%v", err)
	}
	properties := map[string]json.RawMessage{}
	if len(a.Args) > 0 {
		if err := json.Unmarshal(a.Args, &properties); err != nil || properties == nil {
			return invalid("its args are no JSON object")
		}
	}
	for _, name := range slices.Concat(tmpl.names(), a.Required) {
		if _, ok := properties[name]; !ok {
			return invalid("the argument %q is not described under args", name)
		}
	}
	required := slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.Required, argsOf(tmpl.path)))))
	schema, err := argumentSchema(a.Args, required)
	if err != nil {
		return invalid("its args are no JSON schema: %v", err)
	}
	c, err := newClient(o, "api_config.headers", a.Headers, &tmpl.base)
	if err != nil {
		return invalid("%s", holdfast.PublicMessage(err))
	}
	description := a.Instruction
	if len(a.OutputSchema) > 0 {
		description = strings.TrimSpace(description + "\nThe answer is JSON of this schema: " + string(a.OutputSchema))
	}
	effect := effectOf(a.Method)
	op := operation{
		def: tool.Definition{
			Name: tool.ModelName(a.Name, nil), Title: a.Name, Description: description, Parameters: schema,
			Effect: effect, Concurrent: effect == tool.EffectReadOnly,
		},
		build: func(args map[string]json.RawMessage) (*request, error) {
			if err := checkNames(args, properties, required); err != nil {
				return nil, err
			}
			return tmpl.request(a.Method, args)
		},
	}
	return &Toolset{
		name: a.Name, client: c, ops: []operation{op}, fixed: true, loading: make(chan struct{}, 1),
		load: func(context.Context) ([]operation, error) { return []operation{op}, nil },
	}, nil
}

// argumentSchema is an object with these properties and no others.
func argumentSchema(properties json.RawMessage, required []string) (json.RawMessage, error) {
	if len(properties) == 0 {
		properties = json.RawMessage("{}")
	}
	if required == nil {
		required = []string{}
	}
	return json.Marshal(struct {
		Type       string          `json:"type"`
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
		More       bool            `json:"additionalProperties"`
	}{"object", properties, required, false})
}

// checkNames refuses what the schema does not know, and what it needs and is
// not there. The values are the server's to judge.
func checkNames(args, properties map[string]json.RawMessage, required []string) error {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if _, ok := properties[name]; !ok {
			return fmt.Errorf("there is no argument %q", name)
		}
	}
	for _, name := range required {
		if v, ok := args[name]; !ok || string(v) == "null" {
			return fmt.Errorf("the argument %q is missing", name)
		}
	}
	return nil
}

func parseTemplate(endpoint string) (*template, error) {
	// "?" and "#" in a placeholder's name cannot be, so the URL splits before the
	// placeholders are known.
	rest, _, _ := strings.Cut(endpoint, "#")
	rest, query, _ := strings.Cut(rest, "?")
	scheme, authority, ok := strings.Cut(rest, "://")
	if !ok {
		return nil, fmt.Errorf("the endpoint %q is no absolute URL with http or https", endpoint)
	}
	host, path, _ := strings.Cut(authority, "/")
	if strings.ContainsAny(scheme+host, "${}") {
		return nil, errors.New("scheme and host of the endpoint must be fixed")
	}
	base, err := absolute(scheme + "://" + host)
	if err != nil {
		return nil, err
	}
	t := &template{base: *base, path: cut("/" + path), query: cut(query)}
	for _, p := range slices.Concat(t.path, t.query) {
		if strings.Contains(p.text, "${") {
			return nil, fmt.Errorf("%q in the endpoint is no placeholder; write ${name}", p.text)
		}
	}
	return t, nil
}

func cut(text string) (out []piece) {
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		out = append(out, piece{text: text[at:m[0]]}, piece{arg: text[m[2]:m[3]]})
		at = m[1]
	}
	return append(out, piece{text: text[at:]})
}

func argsOf(pieces []piece) (names []string) {
	for _, p := range pieces {
		if p.arg != "" {
			names = append(names, p.arg)
		}
	}
	return names
}

func (t *template) names() []string { return slices.Concat(argsOf(t.path), argsOf(t.query)) }

// request puts arguments where they belong.
func (t *template) request(method string, args map[string]json.RawMessage) (*request, error) {
	var path, query strings.Builder
	for _, p := range t.path {
		path.WriteString(p.text)
		if p.arg != "" {
			part := plainText(args[p.arg])
			if part == "" {
				return nil, fmt.Errorf("the argument %q is empty, and stands for a part of the path", p.arg)
			}
			path.WriteString(url.PathEscape(part))
		}
	}
	if err := checkPath(path.String()); err != nil {
		return nil, err
	}
	for _, p := range t.query {
		query.WriteString(p.text)
		if p.arg != "" {
			query.WriteString(url.QueryEscape(plainText(args[p.arg])))
		}
	}
	u, err := url.Parse(t.base.String() + path.String())
	if err != nil {
		return nil, errors.New("they make no URL")
	}
	u.RawQuery = query.String()
	r := &request{method: method, url: u, header: http.Header{}}
	rest := maps.Clone(args)
	for _, name := range t.names() {
		delete(rest, name)
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		more := url.Values{}
		for name, v := range rest {
			var list []json.RawMessage
			if json.Unmarshal(v, &list) != nil || list == nil {
				list = []json.RawMessage{v}
			}
			for _, one := range list {
				if string(one) != "null" {
					more.Add(name, plainText(one))
				}
			}
		}
		u.RawQuery = strings.Trim(u.RawQuery+"&"+more.Encode(), "&")
	default:
		if rest == nil {
			rest = map[string]json.RawMessage{}
		}
		if r.body, err = json.Marshal(rest); err != nil {
			return nil, errors.New("they are no JSON")
		}
		r.header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// plainText is how a JSON value stands in a URL or a header: a string without
// its quotes, nothing for null, everything else as JSON.
func plainText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s // "" for null
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return ""
	}
	return b.String()
}

// checkPath refuses a path whose segments climb: what a client or a server makes
// of "a/../b" is another path than the one that was allowed.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if plain, err := url.PathUnescape(segment); err != nil || plain == "." || plain == ".." {
			return fmt.Errorf("%q cannot be a part of the path", segment)
		}
	}
	return nil
}
