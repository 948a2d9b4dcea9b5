package httptool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// bodyArgument is the argument that holds the body of a request.
const bodyArgument = "body"

// call is what an operation needs to make a request of arguments.
type call struct {
	method string
	server *url.URL
	path   string // with {name} for parameters
	params []parameter
	names  map[string]bool // arguments, so that no two have one name

	// bodyKind is the media type of the body, "" for none.
	bodyKind     string
	bodyName     string // its argument
	bodySchema   any
	bodyRequired bool
}

// parameters reads the parameters of an operation, which come before those of
// its path (OpenAPI 3.1 section 4.8.9).
func (c *call) parameters(s *schemas, shared, own any) error {
	type key struct{ in, name string }
	found := map[key]bool{}
	for _, list := range []any{own, shared} {
		items, _ := list.([]any)
		for _, v := range items {
			o, err := s.doc.object(v)
			if err != nil {
				return fmt.Errorf("its parameters: %w", err)
			}
			p, err := readParameter(o)
			if err != nil {
				return err
			}
			if p == nil || found[key{p.in, p.name}] {
				continue
			}
			found[key{p.in, p.name}] = true
			if err := p.describe(s, o); err != nil {
				return fmt.Errorf("parameter %q: %w", p.name, err)
			}
			p.arg = tool.ModelName(p.name, nil)
			if c.names[p.arg] {
				p.arg = tool.ModelName(p.in+"_"+p.name, c.names)
			}
			c.names[p.arg] = true
			c.params = append(c.params, *p)
		}
	}
	return nil
}

// requestBody takes the first type of body that can be made of JSON.
func (c *call) requestBody(s *schemas, v any) error {
	o, err := s.doc.object(v)
	if err != nil {
		return fmt.Errorf("its body: %w", err)
	}
	content, _ := o["content"].(map[string]any)
	kinds := slices.Sorted(maps.Keys(content))
	i := -1
	for _, good := range []func(string) bool{isJSON, isForm, isText} {
		if i = slices.IndexFunc(kinds, good); i >= 0 {
			break
		}
	}
	if i < 0 {
		return fmt.Errorf("a body of the type %s is not offered, only JSON, form and text", strings.Join(kinds, ", "))
	}
	c.bodyKind, c.bodyName = kinds[i], tool.ModelName(bodyArgument, c.names)
	if strings.Contains(c.bodyKind, "*") {
		c.bodyKind = "application/json"
	}
	c.names[c.bodyName] = true
	c.bodyRequired, _ = o["required"].(bool)
	media, _ := content[kinds[i]].(map[string]any)
	schema := media["schema"]
	if schema == nil {
		schema = map[string]any{}
	}
	if c.bodySchema, err = s.convert(schema, 0); err != nil {
		return fmt.Errorf("its body: %w", err)
	}
	if text, _ := o["description"].(string); text != "" {
		c.bodySchema = described(c.bodySchema, text)
	}
	return nil
}

func isJSON(kind string) bool {
	kind, _, err := mime.ParseMediaType(kind)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json") || kind == "*/*" || kind == "application/*")
}

func isForm(kind string) bool { return strings.HasPrefix(kind, "application/x-www-form-urlencoded") }

func isText(kind string) bool {
	return strings.HasPrefix(kind, "text/") && !strings.Contains(kind, "*")
}

// described adds a description to a schema that has none.
func described(schema any, text string) any {
	object, ok := schema.(map[string]any)
	if !ok || object["description"] != nil {
		return schema
	}
	object["description"] = tool.BoundTo(text, maxDescription)
	return object
}

func (c *call) schema(s *schemas) (json.RawMessage, error) {
	properties := map[string]any{}
	var required []string
	for _, p := range c.params {
		properties[p.arg] = p.schema
		if p.required {
			required = append(required, p.arg)
		}
	}
	if c.bodyKind != "" {
		properties[c.bodyName] = c.bodySchema
		if c.bodyRequired {
			required = append(required, c.bodyName)
		}
	}
	return s.object(properties, required)
}

var pathParameter = regexp.MustCompile(`\{([^{}/]+)\}`)

// checkPath finds parameters of the path that are described nowhere.
func (c *call) checkPath() error {
	for _, m := range pathParameter.FindAllStringSubmatch(c.path, -1) {
		if !slices.ContainsFunc(c.params, func(p parameter) bool { return p.in == "path" && p.name == m[1] }) {
			return fmt.Errorf("the parameter %q of its path is not described", m[1])
		}
	}
	return nil
}

// build makes the request.
func (c *call) build(args map[string]json.RawMessage) (*request, error) {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !c.names[name] {
			return nil, fmt.Errorf("there is no argument %q", name)
		}
	}
	r := &request{method: c.method, header: http.Header{}}
	inPath := map[string]string{}
	var query, cookies []string
	for _, p := range c.params {
		raw, ok := args[p.arg]
		if !ok || string(raw) == "null" && p.in != "query" {
			if p.required {
				return nil, fmt.Errorf("the argument %q is missing", p.arg)
			}
			continue
		}
		v, err := decodeValue(raw)
		if err != nil {
			return nil, fmt.Errorf("the argument %q is no JSON", p.arg)
		}
		switch p.in {
		case "path":
			if inPath[p.name] = p.inPath(v); inPath[p.name] == "" {
				// Without it the path would be that of another operation.
				return nil, fmt.Errorf("the argument %q is empty, and stands for a part of the path", p.arg)
			}
		case "query":
			query = append(query, p.inQuery(v)...)
		case "header":
			text := p.simple(v, func(s string) string { return s })
			if !isFieldValue(text) {
				return nil, fmt.Errorf("the argument %q has characters that no header takes", p.arg)
			}
			r.header.Set(p.name, text)
		case "cookie":
			cookies = append(cookies, p.inQuery(v)...)
		}
	}
	if len(cookies) > 0 {
		r.header.Set("Cookie", strings.Join(cookies, "; "))
	}
	path := pathParameter.ReplaceAllStringFunc(c.path, func(m string) string { return inPath[m[1:len(m)-1]] })
	if err := checkPath(path); err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.TrimSuffix(c.server.String(), "/") + "/" + strings.TrimPrefix(path, "/"))
	if err != nil || !sameOrigin(u, c.server) {
		return nil, errors.New("they make no URL")
	}
	u.RawQuery = strings.Trim(u.RawQuery+"&"+strings.Join(query, "&"), "&")
	r.url = u
	return r, c.body(r, args)
}

// body encodes the body's argument.
func (c *call) body(r *request, args map[string]json.RawMessage) error {
	if c.bodyKind == "" {
		return nil
	}
	raw, ok := args[c.bodyName]
	if !ok {
		if c.bodyRequired {
			return fmt.Errorf("the argument %q is missing", c.bodyName)
		}
		return nil
	}
	r.header.Set("Content-Type", c.bodyKind)
	switch {
	case isForm(c.bodyKind):
		var fields map[string]json.RawMessage
		if json.Unmarshal(raw, &fields) != nil || fields == nil {
			return fmt.Errorf("the argument %q must be an object", c.bodyName)
		}
		form := url.Values{}
		for name, v := range fields {
			var list []json.RawMessage
			if json.Unmarshal(v, &list) != nil || list == nil {
				list = []json.RawMessage{v}
			}
			for _, one := range list {
				form.Add(name, plainText(one))
			}
		}
		r.body = []byte(form.Encode())
	case isText(c.bodyKind):
		r.body = []byte(plainText(raw))
	default:
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return fmt.Errorf("the argument %q is no JSON", c.bodyName)
		}
		r.body = b.Bytes()
	}
	return nil
}

// parameter is one parameter of an operation.
type parameter struct {
	arg      string // its name for the model
	name, in string
	style    string
	explode  bool
	required bool
	// reserved leaves characters in the query as they are that mean something in a
	// URL, as far as that does not end the value.
	reserved bool
	asJSON   bool // the value goes as JSON text
	schema   any
}

// readParameter returns nil for headers that OpenAPI says are not parameters.
func readParameter(o map[string]any) (*parameter, error) {
	p := &parameter{}
	p.name, _ = o["name"].(string)
	p.in, _ = o["in"].(string)
	p.required, _ = o["required"].(bool)
	p.reserved, _ = o["allowReserved"].(bool)
	styles := map[string][]string{
		"path": {"simple", "label", "matrix"}, "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
		"header": {"simple"}, "cookie": {"form"},
	}[p.in]
	if p.name == "" || styles == nil {
		return nil, fmt.Errorf("a parameter is in %q, which does not exist", p.in)
	}
	if p.in == "header" {
		switch name := textproto.CanonicalMIMEHeaderKey(p.name); {
		case name == "Accept", name == "Content-Type", name == "Authorization":
			return nil, nil // section 4.8.12.2.1
		case slices.Contains(reservedHeaders, name), name == "Cookie", !isToken(p.name):
			return nil, fmt.Errorf("the header %q cannot be a parameter", p.name)
		}
	}
	if p.style, _ = o["style"].(string); p.style == "" {
		p.style = styles[0]
	}
	if !slices.Contains(styles, p.style) {
		return nil, fmt.Errorf("parameter %q: the style %q does not exist in %s", p.name, p.style, p.in)
	}
	if explode, ok := o["explode"].(bool); ok {
		p.explode = explode
	} else {
		p.explode = p.style == "form"
	}
	p.required = p.required || p.in == "path"
	return p, nil
}

// describe sets the schema.
func (p *parameter) describe(s *schemas, o map[string]any) (err error) {
	schema := o["schema"]
	if content, ok := o["content"].(map[string]any); ok {
		for kind, media := range content { // exactly one
			if !isJSON(kind) {
				return fmt.Errorf("a value of the type %s is not offered", kind)
			}
			typed, _ := media.(map[string]any)
			schema, p.asJSON = typed["schema"], true
		}
	}
	if schema == nil {
		schema = map[string]any{}
	}
	if p.schema, err = s.convert(schema, 0); err != nil {
		return err
	}
	if text, _ := o["description"].(string); text != "" {
		p.schema = described(p.schema, text)
	}
	return nil
}
