package model

import (
	"encoding/json"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// TestToolSchema: what providers refuse at the root of a tool's schema is made fit,
// and nothing else is touched.
func TestToolSchema(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":  {``, `{"type":"object","properties":{}}`},
		"null":     {`null`, `{"type":"object","properties":{}}`},
		"true":     {` true `, `{"type":"object","properties":{}}`},
		"empty":    {`{}`, `{"type":"object","properties":{}}`},
		"as it is": {`{ "type":"object", "properties":{"a":{"oneOf":[{"type":"string"}]}},"$defs":{"x":{}} }`, `{ "type":"object", "properties":{"a":{"oneOf":[{"type":"string"}]}},"$defs":{"x":{}} }`},
		"no type":  {`{"properties":{"a":{"type":"string"}}}`, `{"properties":{"a":{"type":"string"}},"type":"object"}`},
		"types":    {`{"type":["object","null"],"properties":{}}`, `{"properties":{},"type":"object"}`},
		"no properties": {
			`{"type":"object","additionalProperties":true}`,
			`{"additionalProperties":true,"properties":{},"type":"object"}`,
		},
		"big numbers": {
			`{"properties":{"n":{"maximum":12345678901234567890}}}`,
			`{"properties":{"n":{"maximum":12345678901234567890}},"type":"object"}`,
		},
		"reference": {
			`{"$ref":"#/$defs/In~1put","$defs":{"In/put":{"type":"object","description":"d","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"]},"A":{"type":"string"}}}`,
			`{"$defs":{"A":{"type":"string"},"In/put":{"description":"d","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"],"type":"object"}},"description":"d","properties":{"a":{"$ref":"#/$defs/A"}},"required":["a"],"type":"object"}`,
		},
		"reference to itself": {`{"$ref":"#"}`, `{"properties":{},"type":"object"}`},
		"circle": {
			`{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/A"}}}`,
			`{"$defs":{"A":{"$ref":"#/$defs/A"}},"properties":{},"type":"object"}`,
		},
		"alternatives": {
			`{"type":"object","oneOf":[{"title":"x","properties":{"id":{"type":"string"},"n":{"type":"integer"}},"required":["id","n"]},{"properties":{"id":{"type":"number"},"q":{}},"required":["q","id"]}]}`,
			`{"properties":{"id":{"type":"string"},"n":{"type":"integer"},"q":{}},"required":["id"],"type":"object"}`,
		},
		"all of": {
			`{"allOf":[{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["b"],"additionalProperties":false}],"enum":[{}],"not":{}}`,
			`{"additionalProperties":false,"properties":{"a":{},"b":{}},"required":["a","b"],"type":"object"}`,
		},
	} {
		got, err := (&Tool{Name: "f", Parameters: json.RawMessage(tc.in)}).Schema()
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, got, tc.want)
		}
	}
	for _, in := range []string{`{`, `[]`, `"x"`, `7`, `false`} {
		if got, err := (&Tool{Name: "f", Parameters: json.RawMessage(in)}).Schema(); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%s: %v %s", in, err, got)
		}
	}
}
