package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The description keeps the rules that generators of clients depend on: ids of
// operations are unique, everything is described, what is in a path is declared,
// every reference resolves, every schema is one (JSON Schema 2020-12, which is
// what OpenAPI 3.1 uses), and errors are problems.
func TestOpenAPILint(t *testing.T) {
	w := newWorld(t)
	var doc map[string]any
	w.mustCall("GET", "/openapi.json", "", &doc)
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") || len(schemas) < 20 {
		t.Errorf("version %v", doc["openapi"])
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("https://holdfast.test/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if _, err := c.Compile("https://holdfast.test/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	var refs func(at string, v any)
	refs = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if name, local := strings.CutPrefix(ref, "#/components/schemas/"); !local || schemas[name] == nil {
					t.Errorf("%s: %s is nowhere", at, ref)
				}
			}
			for k, m := range v {
				refs(at+"."+k, m)
			}
		case []any:
			for i, m := range v {
				refs(fmt.Sprintf("%s[%d]", at, i), m)
			}
		}
	}
	refs("doc", doc)

	ids := map[string]string{}
	inPath := regexp.MustCompile(`\{(\w+)\}`)
	for path, item := range doc["paths"].(map[string]any) {
		for method, o := range item.(map[string]any) {
			raw, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			var op struct {
				OperationID, Summary string
				Tags                 []string
				Parameters           []struct {
					Name, In, Description string
					Required              bool
					Schema                map[string]any
				}
				Responses map[string]struct {
					Description string
					Content     map[string]any
				}
			}
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			at := strings.ToUpper(method) + " " + path
			if was := ids[op.OperationID]; op.OperationID == "" || was != "" {
				t.Errorf("%s: operation id %q, also of %s", at, op.OperationID, was)
			}
			ids[op.OperationID] = at
			if op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s: summary %q, tags %v", at, op.Summary, op.Tags)
			}
			declared := map[string]bool{}
			for _, p := range op.Parameters {
				declared[p.In+" "+p.Name] = true
				if p.Description == "" || p.Schema == nil || p.In == "path" && !p.Required {
					t.Errorf("%s: parameter %s is not described, has no schema or is not required", at, p.Name)
				}
			}
			for _, m := range inPath.FindAllStringSubmatch(path, -1) {
				if !declared["path "+m[1]] {
					t.Errorf("%s: {%s} is not declared", at, m[1])
				}
			}
			good := false
			for st, r := range op.Responses {
				good = good || st[0] == '2'
				if r.Description == "" {
					t.Errorf("%s: status %s is not described", at, st)
				}
				refusal := "application/problem+json"
				if op.Tags[0] == "openai" || a2aREST.MatchString(path) {
					refusal = "application/json" // errors have the dialect's form
				}
				if st[0] >= '4' && r.Content[refusal] == nil {
					t.Errorf("%s: status %s is no problem: %v", at, st, slices.Collect(maps.Keys(r.Content)))
				}
			}
			if !good || op.Responses["401"].Description == "" {
				t.Errorf("%s: no answer for success, or none without a key", at)
			}
		}
	}
}
