package httpapi

import (
	"bytes"
	"cmp"
	"fmt"
	htmltemplate "html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	holdfast "github.com/holdfast-run/holdfast"
)

// pagePolicy is the content security policy of the readable page: its own style
// and nothing from anywhere.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

// page is the OpenAPI document as a page for people, in one piece and without a
// script.
var page = htmltemplate.Must(htmltemplate.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} API</title>
<style>
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
h1{line-height:1.2}a{color:LinkText}
h2{margin-top:3rem;border-bottom:1px solid #8888}
h3{margin:2rem 0 .3rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0;display:block;overflow-x:auto}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}
.m{display:inline-block;min-width:4rem;font-weight:700}
p{white-space:pre-line;margin:.3rem 0}
nav{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:0 1.5rem;margin-top:1.5rem}
nav ul{list-style:none;margin:0 0 .8rem;padding:0 0 0 .8rem}summary{cursor:pointer;font-weight:600;padding:.2rem 0}
:target{background:#fc03}
</style></head><body>
<h1>{{.Title}} API</h1><p>{{.Description}}</p>
<p>Version {{.Version}}. The same as <a href="openapi.json">JSON</a> and <a href="openapi.yaml">YAML</a> (OpenAPI 3.1).</p>
<nav aria-label="Contents">{{range .Tags}}<details{{if .Open}} open{{end}}><summary>{{.Name}}</summary><ul>{{range .Operations}}<li><a href="#{{.ID}}">{{.Summary}}</a>{{end}}</ul></details>{{end}}
<details><summary>errors and schemas</summary><ul><li><a href="#error-codes">Error codes</a><li><a href="#schemas">Schemas</a></ul></details></nav>
{{range .Tags}}<h2>{{.Name}}</h2>
{{range .Operations}}<h3 id="{{.ID}}"><span class="m">{{.Method}}</span> <code>{{.Path}}</code></h3>
<p><b>{{.Summary}}.</b> {{.Description}}</p>
{{if .Params}}<table><tr><th>Parameter<th>In<th>Type<th>Meaning</tr>{{range .Params}}<tr><td><code>{{.Name}}</code>{{if .Required}} *{{end}}<td>{{.In}}<td>{{.Type}}<td>{{.Doc}}</tr>{{end}}</table>{{end}}
{{range .Bodies}}<p>Body, <code>{{.Media}}</code>: {{if .Schema}}<a href="#schema-{{.Schema}}">{{.Schema}}</a>{{else}}{{.Type}}{{end}}</p>{{end}}
<table><tr><th>Status<th>Answer<th>Meaning</tr>{{range .Answers}}<tr><td>{{.Status}}<td>{{if .Schema}}<a href="#schema-{{.Schema}}">{{.Type}}</a>{{else}}{{.Type}}{{end}}<td>{{.Doc}}</tr>{{end}}</table>
{{end}}{{end}}
<h2 id="error-codes">Error codes</h2><table><tr><th>Code<th>Status<th>May be repeated</tr>{{range .Codes}}<tr><td><code>{{.Code}}</code><td>{{.Status}}<td>{{if .Retryable}}yes{{end}}</tr>{{end}}</table>
<h2 id="schemas">Schemas</h2>
{{range .Schemas}}<h3 id="schema-{{.Name}}">{{.Name}}</h3><p>{{.Doc}}</p>
<table><tr><th>Member<th>Type<th>Meaning</tr>{{range .Members}}<tr><td><code>{{.Name}}</code>{{if .Required}} *{{end}}<td>{{if .Schema}}<a href="#schema-{{.Schema}}">{{.Type}}</a>{{else}}{{.Type}}{{end}}<td>{{.Doc}}</tr>{{end}}</table>
{{end}}<p>* required</p></body></html>
`))

// These are what the page shows.
type (
	pageDoc struct {
		Title, Description, Version string
		Tags                        []pageTag
		Codes                       []pageCode
		Schemas                     []pageSchema
	}
	pageTag struct {
		Name       string
		Open       bool // in the contents
		Operations []pageOperation
	}
	pageOperation struct {
		ID, Method, Path, Summary, Description string
		Params, Bodies, Answers                []pageMember
	}
	// pageMember is a parameter, a body, an answer or a member of a schema.
	pageMember struct {
		Name, In, Media, Status, Type, Schema, Doc string
		Required                                   bool
	}
	pageCode struct {
		Code      holdfast.Code
		Status    int
		Retryable bool
	}
	pageSchema struct {
		Name, Doc string
		Members   []pageMember
	}
)

// renderPage makes the readable page of a description.
func renderPage(doc *huma.OpenAPI) ([]byte, error) {
	p := pageDoc{Title: doc.Info.Title, Description: doc.Info.Description, Version: doc.Info.Version}
	byTag := map[string][]pageOperation{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op != nil {
				tag := strings.Join(op.Tags, ", ")
				byTag[tag] = append(byTag[tag], pageOperationOf(path, op))
			}
		}
	}
	// What everybody needs comes first, then the rest by name.
	first := []string{"sessions", "runs", "events", "agents"}
	tags := slices.SortedFunc(maps.Keys(byTag), func(a, b string) int {
		place := func(tag string) int {
			if i := slices.Index(first, tag); i >= 0 {
				return i
			}
			return len(first)
		}
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	for _, tag := range tags {
		p.Tags = append(p.Tags, pageTag{tag, slices.Contains(first, tag), byTag[tag]})
	}
	for _, code := range slices.Sorted(maps.Keys(statusOf)) {
		p.Codes = append(p.Codes, pageCode{code, statusOf[code], code.Retryable()})
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		s := schemas[name]
		out := pageSchema{Name: name, Doc: s.Description}
		for _, member := range slices.Sorted(maps.Keys(s.Properties)) {
			m := typed(s.Properties[member])
			m.Name, m.Doc, m.Required = member, s.Properties[member].Description, slices.Contains(s.Required, member)
			out.Members = append(out.Members, m)
		}
		p.Schemas = append(p.Schemas, out)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render the page of the API: %w", err)
	}
	return b.Bytes(), nil
}

func pageOperationOf(path string, op *huma.Operation) pageOperation {
	out := pageOperation{ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary, Description: op.Description}
	for _, param := range op.Parameters {
		m := typed(param.Schema)
		m.Name, m.In, m.Doc, m.Required = param.Name, param.In, param.Description, param.Required
		out.Params = append(out.Params, m)
	}
	if op.RequestBody != nil {
		for _, media := range slices.Sorted(maps.Keys(op.RequestBody.Content)) {
			m := typed(op.RequestBody.Content[media].Schema)
			m.Media = media
			out.Bodies = append(out.Bodies, m)
		}
	}
	for _, st := range slices.Sorted(maps.Keys(op.Responses)) {
		answer := op.Responses[st]
		m := pageMember{Status: st, Doc: answer.Description}
		for _, media := range slices.Sorted(maps.Keys(answer.Content)) {
			t := typed(answer.Content[media].Schema)
			m.Type, m.Schema = cmp.Or(t.Type, media), t.Schema
		}
		out.Answers = append(out.Answers, m)
	}
	return out
}

// typed names the type of a schema and the component that it refers to.
func typed(s *huma.Schema) pageMember {
	switch {
	case s == nil:
		return pageMember{}
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return pageMember{Type: name, Schema: name}
	case s.Type == huma.TypeArray:
		m := typed(s.Items)
		m.Type = "list of " + m.Type
		return m
	case len(s.AnyOf) > 0:
		m := typed(s.AnyOf[0])
		for _, other := range s.AnyOf[1:] {
			m.Type += " or " + typed(other).Type
		}
		return m
	case len(s.Enum) > 0:
		return pageMember{Type: strings.Trim(fmt.Sprint(s.Enum), "[]")}
	}
	return pageMember{Type: cmp.Or(s.Format, s.Type)}
}
