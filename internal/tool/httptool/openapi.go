package httptool

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// MaxDocument is the most bytes of an OpenAPI document that are read.
	MaxDocument = 16 << 20
	// MaxOperations is how many operations of a document may become tools: all of
	// them go into every model call.
	MaxOperations = 1000
	// documentAge is how old a document may be before it is read again.
	documentAge = time.Hour
	// maxDescription bounds what the document says of one operation, in bytes.
	maxDescription = 4 << 10
)

// OpenAPI says where a description of an API is.
type OpenAPI struct {
	// URL of the document, JSON or YAML, of version 3.0, 3.1 or 3.2. Required.
	URL string
	// Name is the name of the toolset; "" is the URL.
	Name string
	// Headers go with the reading of the document and with each call.
	Headers map[string]string
	// Tools are the operations to offer, by operationId or by the tool's name; none
	// means all.
	Tools []string
	// Logger gets which operations cannot be offered and why; nil discards.
	Logger *slog.Logger
}

// NewOpenAPI returns the toolset of a document, which is read at the first use
// and again after an hour. An operation becomes a tool named by its operationId,
// or by its method and path. Parameters in path, query, header and cookie keep
// their names; a body is the argument "body". Operations that cannot be offered
// (a body of a type other than JSON, form or text; references to other documents)
// are left out. The error has the code invalid.
func NewOpenAPI(a OpenAPI, o Options) (*Toolset, error) {
	u, err := absolute(a.URL)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "OpenAPI document: %v", err)
	}
	c, err := newClient(o, "headers", a.Headers, u)
	if err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "OpenAPI document: "+holdfast.PublicMessage(err))
	}
	if a.Logger == nil {
		a.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Toolset{name: cmp.Or(a.Name, a.URL), client: c, loading: make(chan struct{}, 1)}
	t.load = func(ctx context.Context) ([]operation, error) {
		ops, err := a.read(ctx, c, u)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("reading the OpenAPI document: %w", ctx.Err())
		case err != nil:
			return nil, holdfast.WrapError(holdfast.CodeUnavailable, err, fmt.Sprintf("the OpenAPI document %s cannot be used: %s", u.Redacted(), tool.DescribeNetwork(err)))
		}
		return ops, nil
	}
	return t, nil
}

// read fetches the document and makes its operations.
func (a *OpenAPI) read(ctx context.Context, c *client, u *url.URL) ([]operation, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.do(limited, &request{method: http.MethodGet, url: u, header: http.Header{
		"Accept": {"application/vnd.oai.openapi+json, application/json, application/yaml, text/yaml, */*;q=0.5"},
	}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("the server answered HTTP %d. %s", resp.StatusCode, strings.TrimSuffix(c.unauthorized(resp), "."))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered HTTP %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	if len(raw) > MaxDocument {
		return nil, fmt.Errorf("it has more than %d bytes", MaxDocument)
	}
	doc, err := parseDocument(raw, resp.Request.URL)
	if err != nil {
		return nil, err
	}
	return doc.operations(a.Tools, a.Logger)
}

// document is a parsed OpenAPI document.
type document struct {
	root map[string]any
	url  *url.URL // where it came from
	// old says that it is of version 3.0, whose schemas are a dialect of their own.
	old bool
}

func parseDocument(raw []byte, from *url.URL) (*document, error) {
	var root any
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '{' {
		d := json.NewDecoder(bytes.NewReader(trimmed))
		d.UseNumber()
		if err := d.Decode(&root); err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
	} else {
		if err := yaml.Unmarshal(raw, &root); err != nil {
			return nil, errors.New("it is neither JSON nor YAML")
		}
		root = jsonable(root)
	}
	object, ok := root.(map[string]any)
	if !ok {
		return nil, errors.New("it is no object")
	}
	version, _ := object["openapi"].(string)
	switch {
	case strings.HasPrefix(version, "3.0."):
		return &document{root: object, url: from, old: true}, nil
	case strings.HasPrefix(version, "3.1."), strings.HasPrefix(version, "3.2."):
		return &document{root: object, url: from}, nil
	case object["swagger"] != nil:
		return nil, errors.New("it is of version 2 (Swagger), and only 3.0 to 3.2 are offered; convert it")
	}
	return nil, fmt.Errorf("it says openapi: %q, and only 3.0 to 3.2 are offered", version)
}

// jsonable makes of what YAML gives what JSON would have given: keys are text.
func jsonable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = jsonable(e)
		}
		return v
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[fmt.Sprint(k)] = jsonable(e)
		}
		return out
	case []any:
		for i, e := range v {
			v[i] = jsonable(e)
		}
		return v
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return v
}

// methods are what a path item may have, in the order of the tools.
var methods = []string{"get", "head", "options", "trace", "post", "put", "patch", "delete"}

// unbraced makes of a path what can be a name.
var unbraced = strings.NewReplacer("{", "", "}", "", "/", "_")

// plainName is a name as agent files of others spell it in filters: "_" for what divides
// words, never two in a row.
func plainName(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("/-._{}", r) }), "_")
}

// operations makes tools of the operations that the filter lets through, by path.
func (d *document) operations(filter []string, log *slog.Logger) ([]operation, error) {
	paths, _ := d.root["paths"].(map[string]any)
	var out []operation
	used := map[string]bool{}
	found, problem := 0, error(nil)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item, err := d.object(paths[path])
		if err != nil { // one path that cannot be read does not take the others away
			found++
			problem = fmt.Errorf("path %s: %w", path, err)
			log.Warn("path of an OpenAPI document is not offered", "document", d.url.Redacted(), "path", path, "reason", err)
			continue
		}
		for _, key := range []string{"query", "additionalOperations"} { // of 3.2
			if item[key] != nil {
				log.Warn("operations of an OpenAPI document are not offered: their method is none of the usual ones", "document", d.url.Redacted(), "path", path, "key", key)
			}
		}
		for _, method := range methods {
			spec, ok := item[method].(map[string]any)
			if !ok {
				continue
			}
			name, _ := spec["operationId"].(string)
			if name == "" {
				name = method + "_" + unbraced.Replace(strings.Trim(path, "/"))
			}
			modelName := tool.ModelName(name, used)
			if len(filter) > 0 && !slices.Contains(filter, name) && !slices.Contains(filter, modelName) && !slices.Contains(filter, plainName(name)) {
				continue
			}
			found++
			op, err := d.operation(strings.ToUpper(method), path, item, spec)
			if err != nil {
				problem = fmt.Errorf("operation %s: %w", name, err)
				log.Warn("operation of an OpenAPI document is not offered", "document", d.url.Redacted(), "operation", name, "reason", err)
				continue
			}
			used[modelName] = true
			if op.def.Name = modelName; name != modelName {
				op.def.Remote = name
			}
			if out = append(out, *op); len(out) > MaxOperations {
				return nil, fmt.Errorf("it has more than %d operations; list those that are needed under `tools`", MaxOperations)
			}
		}
	}
	switch {
	case found == 0 && len(filter) > 0:
		return nil, errors.New("it has none of the operations that are listed under `tools`")
	case found == 0:
		return nil, errors.New("it has no operations")
	case len(out) == 0:
		return nil, fmt.Errorf("none of its operations can be offered; %w", problem)
	}
	return out, nil
}

// operation makes the tool of one operation; its name is the caller's to give.
func (d *document) operation(method, path string, item, spec map[string]any) (*operation, error) {
	server, err := d.server(item, spec)
	if err != nil {
		return nil, err
	}
	s := &schemas{doc: d}
	call := &call{method: method, server: server, path: path, names: map[string]bool{}}
	if err := call.parameters(s, item["parameters"], spec["parameters"]); err != nil {
		return nil, err
	}
	if spec["requestBody"] != nil {
		if err := call.requestBody(s, spec["requestBody"]); err != nil {
			return nil, err
		}
	}
	if err := call.checkPath(); err != nil {
		return nil, err
	}
	schema, err := call.schema(s)
	if err != nil {
		return nil, err
	}
	summary, _ := spec["summary"].(string)
	description, _ := spec["description"].(string)
	effect := effectOf(method)
	return &operation{
		def: tool.Definition{
			Title:       summary,
			Description: tool.BoundTo(strings.TrimSpace(strings.Join(distinct(summary, description), "\n\n")), maxDescription),
			Parameters:  schema, Effect: effect, Concurrent: effect == tool.EffectReadOnly,
		},
		build: call.build,
	}, nil
}

func distinct(summary, description string) []string {
	if strings.HasPrefix(description, summary) {
		return []string{description}
	}
	return []string{summary, description}
}

// server returns the URL that an operation's path is appended to: the first of
// the nearest list of servers, with the defaults of its variables (OpenAPI 3.1
// section 4.8.5), relative to the document.
func (d *document) server(item, spec map[string]any) (*url.URL, error) {
	text := "/"
	for _, owner := range []map[string]any{spec, item, d.root} {
		list, _ := owner["servers"].([]any)
		if len(list) == 0 {
			continue
		}
		first, _ := list[0].(map[string]any)
		text, _ = first["url"].(string)
		variables, _ := first["variables"].(map[string]any)
		for name, v := range variables {
			variable, _ := v.(map[string]any)
			text = strings.ReplaceAll(text, "{"+name+"}", fmt.Sprint(variable["default"]))
		}
		break
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("its server %q is no URL", text)
	}
	if u, err = absolute(d.url.ResolveReference(u).String()); err != nil {
		return nil, fmt.Errorf("its server: %w", err)
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// maxReferences is how many references in a row are followed.
const maxReferences = 32

// object returns v as an object, following references to other places of the
// document.
func (d *document) object(v any) (map[string]any, error) {
	for range maxReferences {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, errors.New("there is no object where one belongs")
		}
		ref, ok := o["$ref"].(string)
		if !ok {
			return o, nil
		}
		var err error
		if v, err = d.at(ref); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("a reference leads back to itself")
}

// at returns what a reference points to (RFC 6901). References to other
// documents are refused: what they name would be fetched unseen.
func (d *document) at(ref string) (any, error) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil, fmt.Errorf("the reference %q to another document is not followed", ref)
	}
	pointer, err := url.PathUnescape(pointer)
	if err != nil || (pointer != "" && pointer[0] != '/') {
		return nil, fmt.Errorf("the reference %q leads nowhere", ref)
	}
	var at any = d.root
	for segment := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		segment = strings.ReplaceAll(strings.ReplaceAll(segment, "~1", "/"), "~0", "~")
		switch in := at.(type) {
		case map[string]any:
			at, ok = in[segment]
		case []any:
			i, err := strconv.Atoi(segment)
			if ok = err == nil && i >= 0 && i < len(in); ok {
				at = in[i]
			}
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("the reference %q leads nowhere", ref)
		}
	}
	return at, nil
}
