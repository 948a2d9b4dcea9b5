package tool_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool"
)

func TestValidate(t *testing.T) {
	const person = `{"type":"object","properties":{"age":{"type":"integer"},"mail":{"type":"string","format":"email"}},"required":["age"]}`
	for _, tc := range []struct{ schema, content, want string }{
		{person, `{"age":7}`, ""},
		{person, `{"age":"x"}`, "at /age: got string, want integer"},
		{person, `{}`, "at the top: missing property 'age'"},
		{person, `{"age":1,"mail":"no"}`, "at /mail:"},
		{person, `{`, "it is not JSON"},
		{`{"$ref":"file:///etc/passwd"}`, `{}`, "references to other documents are not followed"},
		{`{"type":7}`, `{}`, "the schema cannot be used"},
		{`true`, `1`, ""},
	} {
		err := tool.Validate(json.RawMessage(tc.schema), json.RawMessage(tc.content))
		if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s for %s: %v, want %q", tc.content, tc.schema, err, tc.want)
		}
	}
}
