package model

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// noParameters is the schema of a tool that takes nothing.
const noParameters = `{"type":"object","properties":{}}`

// schemaRoot is what of a schema's root decides whether it can be sent as it is.
type schemaRoot struct {
	Type       json.RawMessage `json:"type"`
	Properties json.RawMessage `json:"properties"`
	Ref        json.RawMessage `json:"$ref"`
	AllOf      json.RawMessage `json:"allOf"`
	AnyOf      json.RawMessage `json:"anyOf"`
	OneOf      json.RawMessage `json:"oneOf"`
	Enum       json.RawMessage `json:"enum"`
	Not        json.RawMessage `json:"not"`
}

// Schema returns the tool's parameters in a form that every provider takes: a JSON
// schema of type object with properties, and without alternatives or a reference
// at its root. OpenAI and Anthropic refuse others ("schema must have type 'object'
// and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level", "object
// schema missing properties"; "input_schema does not support oneOf, allOf, or anyOf
// at the top level"), and tool servers do send them. What is below the root stays
// as it is. A schema that needs no change comes back to the byte. The error is
// CodeInvalid.
func (t *Tool) Schema() ([]byte, error) {
	s := bytes.TrimSpace(t.Parameters)
	switch string(s) {
	case "", "null", "true", "{}":
		return []byte(noParameters), nil
	}
	var r schemaRoot
	if err := json.Unmarshal(s, &r); err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the parameters of the tool \""+t.Name+"\" are not a JSON schema of an object")
	}
	if string(r.Type) == `"object"` && len(r.Properties) > 0 && r.Properties[0] == '{' &&
		r.Ref == nil && r.AllOf == nil && r.AnyOf == nil && r.OneOf == nil && r.Enum == nil && r.Not == nil {
		return t.Parameters, nil
	}
	root, err := decodeObject(s)
	if err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the parameters of the tool \""+t.Name+"\" are not a JSON schema of an object")
	}
	flatten(root, root, 0)
	root["type"] = "object"
	if _, ok := root["properties"].(map[string]any); !ok {
		root["properties"] = map[string]any{}
	}
	return json.Marshal(root)
}

func decodeObject(s []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(s))
	dec.UseNumber()
	var v map[string]any
	err := dec.Decode(&v)
	return v, err
}

// maxNesting bounds how deep references and alternatives are followed; a schema
// may refer to itself.
const maxNesting = 8

// flatten merges what the root of a schema says by reference or by alternatives
// into the schema itself: all properties of all alternatives, and as required what
// each of them requires. It admits more than the schema did; a call is still held
// against the schema that the tool has.
func flatten(schema, root map[string]any, depth int) {
	delete(schema, "enum")
	delete(schema, "not")
	if ref, ok := schema["$ref"].(string); ok {
		delete(schema, "$ref")
		if target := lookUp(root, ref); target != nil && depth < maxNesting {
			part := cloneRoot(target)
			flatten(part, root, depth+1)
			merge(schema, part, true)
		}
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		list, ok := schema[keyword].([]any)
		delete(schema, keyword)
		if !ok || depth >= maxNesting {
			continue
		}
		var common []string
		seen := false
		for _, e := range list {
			m, ok := e.(map[string]any)
			if !ok {
				continue
			}
			part := cloneRoot(m)
			flatten(part, root, depth+1)
			if keyword == "allOf" {
				merge(schema, part, true)
				continue
			}
			required := strs(part["required"])
			if !seen {
				common, seen = required, true
			} else {
				common = slices.DeleteFunc(common, func(s string) bool { return !slices.Contains(required, s) })
			}
			merge(schema, part, false)
		}
		addRequired(schema, common)
	}
}

// cloneRoot copies a schema as far as flatten changes it.
func cloneRoot(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// lookUp resolves a reference within the schema, nil if it leads nowhere (RFC
// 6901 in a fragment).
func lookUp(root map[string]any, ref string) map[string]any {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := root
	for _, name := range strings.Split(path, "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		if at, ok = at[name].(map[string]any); !ok {
			return nil
		}
	}
	return at
}

// merge adds to a schema what part says of properties and what the schema itself
// does not say. all says that part's requirements hold too.
func merge(schema, part map[string]any, all bool) {
	if more, ok := part["properties"].(map[string]any); ok {
		have, ok := schema["properties"].(map[string]any)
		if ok {
			have = cloneRoot(have)
		} else {
			have = map[string]any{}
		}
		for k, v := range more {
			if _, ok := have[k]; !ok {
				have[k] = v
			}
		}
		schema["properties"] = have
	}
	if all {
		addRequired(schema, strs(part["required"]))
	}
	for k, v := range part {
		_, have := schema[k]
		switch {
		case have, k == "properties", k == "required", k == "type":
		case !all: // an alternative's title, default or additionalProperties is not the whole's
		default:
			schema[k] = v
		}
	}
}

func addRequired(schema map[string]any, names []string) {
	required := strs(schema["required"])
	for _, n := range names {
		if !slices.Contains(required, n) {
			required = append(required, n)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
}

// strs are the texts of a list.
func strs(v any) []string {
	switch l := v.(type) {
	case []string:
		return slices.Clone(l)
	case []any:
		var out []string
		for _, e := range l {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
