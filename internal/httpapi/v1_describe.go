package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describe adds a route that is no handler of huma's, with its answer for success
// and its refusals.
func describe(api huma.API, op huma.Operation, content map[string]*huma.MediaType) {
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: content}}
	for _, st := range op.Errors {
		op.Responses[strconv.Itoa(st)] = &huma.Response{
			Description: http.StatusText(st),
			Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
		}
	}
	api.OpenAPI().AddOperation(&op)
}

// requests are the names of the schemas of bodies that are sent to us: in them a
// member that is not known is a mistake. Answers may get new members at any time.
func requests(doc *huma.OpenAPI) map[string]bool {
	names := map[string]bool{}
	var walk func(s *huma.Schema)
	walk = func(s *huma.Schema) {
		if s == nil {
			return
		}
		if s.Ref != "" {
			name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
			if names[name] {
				return
			}
			names[name] = true
			walk(doc.Components.Schemas.Map()[name])
			return
		}
		walk(s.Items)
		for _, p := range s.Properties {
			walk(p)
		}
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				walk(media.Schema)
			}
		}
	}
	return names
}

// made are the operations that answer 201 when they have made something, and 200
// when it was there before.
var made = []string{"create-session", "fork-session", "create-schedule", "create-webhook", "put-agent", "pull-agent"}

// sameAlways are the operations with an Idempotency-Key that cannot be asked for
// something else under the same key: all that they say is in the path, and once
// they have had an effect the path names nothing any more or names the same.
var sameAlways = []string{"delete-session", "compact", "cancel-active-run"}

// open says in the description what all handlers have in common: that answers may
// grow, and the answers that do not depend on what a route does.
func open(doc *huma.OpenAPI) {
	sent := requests(doc)
	for name, schema := range doc.Components.Schemas.Map() {
		if schema.Type == huma.TypeObject && !sent[name] {
			schema.AdditionalProperties = true
		}
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				common(op)
			}
		}
	}
}

func common(op *huma.Operation) {
	refused := func(st int) {
		if key := strconv.Itoa(st); op.Responses[key] == nil {
			op.Responses[key] = &huma.Response{Description: http.StatusText(st), Content: op.Responses["400"].Content}
		}
	}
	if op.RequestBody != nil {
		refused(http.StatusRequestEntityTooLarge)
		if op.RequestBody.Content["application/json"] != nil && op.RequestBody.Content["application/yaml"] == nil {
			refused(http.StatusUnsupportedMediaType)
		}
	}
	keyed := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == "Idempotency-Key" })
	switch {
	case !keyed || slices.Contains(sameAlways, op.OperationID):
		delete(op.Responses, strconv.Itoa(http.StatusUnprocessableEntity))
	default:
		refused(http.StatusUnprocessableEntity)
	}
	ok := op.Responses["200"]
	if slices.Contains(made, op.OperationID) {
		op.Responses["201"] = &huma.Response{Description: http.StatusText(http.StatusCreated), Content: ok.Content, Headers: ok.Headers}
		ok.Description = "It was there already."
	}
	if ok != nil && ok.Content["application/json"] != nil && strings.HasSuffix(ok.Content["application/json"].Schema.Ref, "/Settled") {
		op.Responses["202"] = &huma.Response{Description: "Stored; the outcome is not known yet.", Content: ok.Content}
	}
}
