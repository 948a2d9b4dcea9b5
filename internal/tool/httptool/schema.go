package httptool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxSchemaNodes bounds the schema of one operation with all that it refers to.
	maxSchemaNodes = 20_000
	// maxSchema bounds the same in bytes: it goes into every model call.
	maxSchema = 256 << 10
	// maxSchemaDepth bounds how deep schemas stand in each other.
	maxSchemaDepth = 100
)

// schemas makes the schemas of one operation stand alone: what they refer to
// comes along under $defs. Schemas of OpenAPI 3.0, which are a dialect, become
// JSON Schema 2020-12.
type schemas struct {
	doc   *document
	defs  map[string]any
	names map[string]string // of defs, by reference
	used  map[string]bool
	nodes int
}

var (
	errSchemaTooLarge = fmt.Errorf("its schema has more than %d parts", maxSchemaNodes)
	errSchemaTooDeep  = fmt.Errorf("its schema is nested deeper than %d", maxSchemaDepth)
)

// keywords that hold schemas, and how.
var (
	schemaKeys     = []string{"items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
	schemaListKeys = []string{"allOf", "anyOf", "oneOf", "prefixItems"}
	schemaMapKeys  = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
	// droppedKeys say nothing to a model, or would give a part another address
	// than the whole has.
	droppedKeys = []string{"discriminator", "xml", "externalDocs", "example", "nullable", "$id", "$schema", "$anchor", "$dynamicAnchor", "$comment"}
)

// convert returns a schema that refers to nothing but $defs.
func (s *schemas) convert(v any, depth int) (any, error) {
	if s.nodes++; s.nodes > maxSchemaNodes {
		return nil, errSchemaTooLarge
	}
	if depth > maxSchemaDepth {
		return nil, errSchemaTooDeep
	}
	in, ok := v.(map[string]any)
	if !ok {
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, errors.New("a schema is no object")
	}
	if ref, ok := in["$ref"].(string); ok {
		name, err := s.define(ref, depth)
		if err != nil {
			return nil, err
		}
		out := map[string]any{"$ref": "#/$defs/" + name}
		if s.doc.old {
			return out, nil // what stands beside a reference does not count in 3.0
		}
		for k, v := range in {
			if k == "description" || k == "title" || k == "default" {
				out[k] = v
			}
		}
		return out, nil
	}
	if in["$dynamicRef"] != nil {
		return nil, errors.New("its schema has a $dynamicRef, which is not offered")
	}
	out := make(map[string]any, len(in))
	for k, v := range in {
		converted, err := s.keyword(k, v, depth)
		if err != nil {
			return nil, err
		}
		if converted != nil {
			out[k] = converted
		}
	}
	if s.doc.old {
		modernize(in, out)
	}
	return out, nil
}

// keyword converts the value of one keyword, nil to leave it out.
func (s *schemas) keyword(k string, v any, depth int) (any, error) {
	switch {
	case slices.Contains(droppedKeys, k), strings.HasPrefix(k, "x-"):
		return nil, nil
	case slices.Contains(schemaKeys, k):
		if list, ok := v.([]any); ok { // items of older drafts
			return s.list(list, depth)
		}
		return s.convert(v, depth+1)
	case slices.Contains(schemaListKeys, k):
		list, ok := v.([]any)
		if !ok {
			return nil, fmt.Errorf("%s of a schema is no list", k)
		}
		return s.list(list, depth)
	case slices.Contains(schemaMapKeys, k):
		in, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s of a schema is no object", k)
		}
		out := make(map[string]any, len(in))
		for name, one := range in {
			converted, err := s.convert(one, depth+1)
			if err != nil {
				return nil, err
			}
			out[name] = converted
		}
		return out, nil
	}
	return v, nil
}

func (s *schemas) list(in []any, depth int) (any, error) {
	out := make([]any, len(in))
	for i, one := range in {
		var err error
		if out[i], err = s.convert(one, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// define puts what a reference points to under $defs and returns its name there.
func (s *schemas) define(ref string, depth int) (string, error) {
	if name, ok := s.names[ref]; ok {
		return name, nil
	}
	target, err := s.doc.at(ref)
	if err != nil {
		return "", err
	}
	if s.defs == nil {
		s.defs, s.names, s.used = map[string]any{}, map[string]string{}, map[string]bool{}
	}
	name := tool.ModelName(ref[strings.LastIndexByte(ref, '/')+1:], s.used)
	s.names[ref], s.used[name] = name, true // before its parts, which may point back
	converted, err := s.convert(target, depth+1)
	if err != nil {
		return "", err
	}
	s.defs[name] = converted
	return name, nil
}

// modernize turns what OpenAPI 3.0 writes its own way (section 4.7.24) into JSON
// Schema 2020-12: nullable, and bounds that are exclusive.
func modernize(in, out map[string]any) {
	for exclusive, bound := range map[string]string{"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"} {
		flag, ok := out[exclusive].(bool)
		if !ok {
			continue
		}
		delete(out, exclusive)
		if limit, given := out[bound]; flag && given {
			out[exclusive] = limit
			delete(out, bound)
		}
	}
	if nullable, _ := in["nullable"].(bool); !nullable {
		return
	}
	if name, ok := out["type"].(string); ok {
		out["type"] = []any{name, "null"}
		if enum, ok := out["enum"].([]any); ok && !slices.Contains(enum, nil) {
			out["enum"] = append(slices.Clone(enum), nil)
		}
		return
	}
	if len(out) > 0 {
		plain := maps.Clone(out)
		clear(out)
		out["anyOf"] = []any{plain, map[string]any{"type": "null"}}
	}
}

// object returns the schema of the arguments as JSON.
func (s *schemas) object(properties map[string]any, required []string) (json.RawMessage, error) {
	if required == nil {
		required = []string{}
	}
	schema := map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	if len(s.defs) > 0 {
		schema["$defs"] = s.defs
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("its schema is no JSON: %w", err)
	}
	if len(raw) > maxSchema {
		return nil, fmt.Errorf("its schema has more than %d bytes", maxSchema)
	}
	return raw, nil
}
