package agent

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// JSONSchema returns the JSON schema (draft 2020-12) of agent files of the
// newest version, for editors. It is made from the tags and tables that the
// decoder uses. It does not know references between the parts of a file, which
// [Parse] checks too.
func JSONSchema() []byte {
	defs := object{}
	for _, t := range slices.SortedFunc(maps.Keys(sections), func(a, b reflect.Type) int {
		return strings.Compare(sections[a].name, sections[b].name)
	}) {
		if t != reflect.TypeFor[Team]() {
			defs.set(sections[t].name, sectionSchema(t))
		}
	}
	root := object{}
	root.set("$schema", "https://json-schema.org/draft/2020-12/schema")
	root.set("title", "Holdfast agent file")
	root.set("description", "A team of agents, schema versions 1 to "+string(Newest)+".")
	body := sectionSchema(reflect.TypeFor[Team]())
	root = append(root, body...)
	root.set("$defs", defs)
	out, err := json.Marshal(root)
	if err != nil {
		panic("agent: the JSON schema cannot be encoded: " + err.Error())
	}
	var b bytes.Buffer
	if err := json.Indent(&b, out, "", "  "); err != nil {
		panic("agent: the JSON schema cannot be indented: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// object is a JSON object whose members stay in order.
type object []objectMember

type objectMember struct {
	key   string
	value any
}

func (o *object) set(key string, value any) { *o = append(*o, objectMember{key, value}) }

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		writeText(&b, m.key)
		b.WriteByte(':')
		v, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// sectionSchema describes a mapping with fixed keys.
func sectionSchema(t reflect.Type) object {
	props := object{}
	var required []string
	for _, f := range fieldsOf[t] {
		props.set(f.key, fieldSchema(f))
		if f.required || f.nonempty {
			required = append(required, f.key)
		}
	}
	out := object{}
	out.set("type", "object")
	out.set("additionalProperties", false)
	if required != nil {
		out.set("required", required)
	}
	out.set("properties", props)
	if t == reflect.TypeFor[Toolset]() {
		out.set("allOf", toolsetRules())
	}
	return out
}

// toolsetRules says, for each type of toolset, which keys it takes.
func toolsetRules() []any {
	var rules []any
	for _, name := range ToolsetTypes() {
		typ := toolsetTypes[name]
		cond, then, rule := object{}, object{}, object{}
		cond.set("properties", map[string]any{"type": map[string]any{"const": name}})
		cond.set("required", []string{"type"})
		then.set("propertyNames", map[string]any{"enum": slices.Concat(commonKeys, typ.keys)})
		if typ.need != nil {
			then.set("required", typ.need)
			given := object{}
			for _, key := range typ.need {
				given.set(key, map[string]any{"not": map[string]any{"type": "null"}})
			}
			then.set("properties", given)
		}
		if name == "mcp" {
			var one []any
			for _, key := range []string{"command", "remote", "ref"} {
				one = append(one, map[string]any{"required": []string{key}})
			}
			then.set("oneOf", one)
		}
		rule.set("if", cond)
		rule.set("then", then)
		rules = append(rules, rule)
	}
	return rules
}

// fieldSchema describes the value of a key.
func fieldSchema(f field) object {
	out := object{}
	if f.doc != "" {
		out.set("description", f.doc)
	}
	s := typeSchema(f.typ, f)
	if !f.required && !f.nonempty {
		s = orNothing(s)
	}
	return append(out, s...)
}

// orNothing adds what a key without a value is, which counts as not given.
func orNothing(s object) object {
	for i, m := range s {
		switch m.key {
		case "type":
			list, ok := m.value.([]string)
			if !ok {
				list = []string{m.value.(string)}
			}
			s[i].value = append(slices.Clone(list), "null")
		case "enum":
			list, ok := m.value.([]any)
			if !ok {
				for _, v := range m.value.([]string) {
					list = append(list, v)
				}
			}
			s[i].value = append(slices.Clone(list), nil)
		case "anyOf":
			s[i].value = append(slices.Clone(m.value.([]any)), map[string]any{"type": "null"})
		case "$ref":
			return object{{"anyOf", []any{s, map[string]any{"type": "null"}}}}
		}
	}
	return s
}

// webAddress is what the decoder takes for a URL, which may hold references.
const webAddress = `^[hH][tT][tT][pP][sS]?://[^/]|\$`

// scalars are what the decoder takes for a text: nobody quotes numbers.
var scalars = []string{"string", "number", "boolean"}

func typeSchema(t reflect.Type, f field) object {
	out := object{}
	text := map[string]any{"type": scalars}
	switch t {
	case reflect.TypeFor[Version]():
		var all []any
		for v := range newest + 1 {
			all = append(all, strconv.Itoa(v), v)
		}
		all = append(all, "")
		out.set("enum", all)
		return out
	case reflect.TypeFor[Object]():
		out.set("type", "object")
		if f.key == "schema" { // of structured_output
			out.set("required", []string{"type"})
			out.set("properties", map[string]any{"type": map[string]any{"const": "object"}})
		}
		return out
	case reflect.TypeFor[AgentList]():
		out.set("type", "object")
		out.set("minProperties", 1)
		out.set("additionalProperties", ref("agent"))
		return out
	case reflect.TypeFor[CommandList]():
		one := map[string]any{"type": "object", "additionalProperties": map[string]any{"anyOf": []any{text, ref("command")}}}
		out.set("anyOf", []any{one, map[string]any{"type": "array", "items": one}})
		return out
	case reflect.TypeFor[*ThinkingBudget]():
		out.set("anyOf", []any{map[string]any{"type": "integer", "minimum": -1}, map[string]any{"enum": efforts}})
		return out
	case reflect.TypeFor[*Duration]():
		out.set("anyOf", []any{map[string]any{"type": "integer", "minimum": 0}, text})
		return out
	case reflect.TypeFor[*Defer]():
		out.set("anyOf", []any{map[string]any{"type": "boolean"}, map[string]any{"type": "array", "items": text}})
		return out
	case reflect.TypeFor[map[string]*Toolset]():
		// The type of what is under mcps goes without saying, so the rules for a
		// toolset do not fit it as they are.
		out.set("type", "object")
		out.set("additionalProperties", mcpSchema())
		return out
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem(), f)
	case reflect.Struct:
		return ref(sections[t].name)
	case reflect.Slice:
		out.set("type", "array")
		out.set("items", elementSchema(t.Elem()))
	case reflect.Map:
		out.set("type", "object")
		if e := elementSchema(t.Elem()); len(e) > 0 {
			out.set("additionalProperties", e)
		}
	case reflect.Bool:
		out.set("type", "boolean")
	case reflect.Int, reflect.Int64:
		out.set("type", "integer")
	case reflect.Float64:
		out.set("type", "number")
	case reflect.String:
		out.set("type", scalars)
		if f.nonempty {
			out.set("minLength", 1)
		}
		if f.format == "uri" {
			out.set("type", "string")
			out.set("pattern", webAddress)
		}
	}
	if f.enum != nil {
		out.set("type", "string")
	}
	if f.key == "type" && f.enum == nil {
		out.set("type", "string")
		out.set("enum", ToolsetTypes())
	}
	if f.enum != nil {
		out.set("enum", f.enum)
	}
	if f.min != nil {
		out.set("minimum", *f.min)
	}
	if f.max != nil {
		out.set("maximum", *f.max)
	}
	return out
}

// elementSchema describes an element of a list or a value under a free name.
// Texts there are arguments and variables, where nobody quotes numbers.
func elementSchema(t reflect.Type) object {
	if t.Kind() == reflect.String {
		return object{{"type", scalars}}
	}
	return typeSchema(t, field{})
}

func ref(name string) object { return object{{"$ref", "#/$defs/" + name}} }

// mcpSchema describes a definition under mcps.
func mcpSchema() object {
	props := object{}
	for _, f := range fieldsOf[reflect.TypeFor[Toolset]()] {
		if slices.Contains(commonKeys, f.key) || slices.Contains(toolsetTypes["mcp"].keys, f.key) {
			s := fieldSchema(f)
			if f.key == "type" && f.enum == nil {
				s = object{{"const", "mcp"}}
			}
			if f.key == "ref" {
				s.set("pattern", "^docker:")
			}
			props.set(f.key, s)
		}
	}
	out := object{}
	out.set("type", "object")
	out.set("additionalProperties", false)
	out.set("properties", props)
	return out
}
