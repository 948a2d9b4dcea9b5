package agent

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// beyondSchema is what the loader says that a JSON schema cannot: that a name
// leads nowhere, that a key needs another one, how a rule or a host is written.
var beyondSchema = regexp.MustCompile("^(unknown provider |not offered in this deployment: (agent|model) |there is no (model|MCP server|agent) " +
	"|not offered in this deployment: ((models of )?provider `|`.*`, which is calculated|`.*` in a command)|model `.*` (needs `provider`|leads back to itself)|`ref` under `mcps` takes |`.*` is not a rule|the header `.*` holds a secret |`(allowed|blocked)_domains` takes " +
	"|`.*` is not a model; |provider `.*` needs `base_url`|agent `.*` lists itself |`.*` is listed twice |`.*` is `.*`; the |`(args|env|config|working_dir)` goes with " +
	"|a toolset of type mcp needs |`.*` takes a duration |command `.*` is given twice|an agent's name must )")

var allMutants = flag.Bool("mutants", false, "hold all mutants of the public files against the JSON schema, not one in 199")

// What the loader takes of the public files the schema takes, and the other way
// round. Files of version 0 are the loader's alone.
func TestSchemaAgrees(t *testing.T) {
	valid := schemaSays(t)
	for _, f := range wild(t) {
		if strings.HasPrefix(f.Name, "includes-") {
			continue // its tags are beyond what a schema sees
		}
		said := valid(f.Data)
		team, err := Parse(f.Name, f.Data, Options{MCPCatalog: true})
		if err == nil {
			if team.Version != "0" && said != nil {
				t.Errorf("%s loads, and the schema says %v", f.Name, said)
			}
			continue
		}
		var fe *FileError
		if !errors.As(err, &fe) {
			t.Fatal(err)
		}
		beyond := true
		for _, p := range fe.Problems {
			beyond = beyond && beyondSchema.MatchString(p.Message)
		}
		if beyond != (said == nil) {
			t.Errorf("%s: the schema says %v, the loader\n%v", f.Name, said, err)
		}
	}
}

// The same for files with one mistake: a value of another kind, a key that is
// missing or misspelt. Every refusal has its place.
func TestSchemaAgreesOnMistakes(t *testing.T) {
	valid := schemaSays(t)
	stride, n := 199, 0
	if *allMutants {
		stride = 1
	}
	for _, f := range wild(t) {
		team, err := Parse(f.Name, f.Data, Options{MCPCatalog: true})
		if err != nil || team.Version == "0" {
			continue
		}
		var root map[string]any
		if err := yaml.Load(f.Data, &root); err != nil {
			t.Fatal(err)
		}
		mutate("", root, nil, func(what string) {
			if n++; n%stride != 0 {
				return
			}
			source, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			said := valid(source)
			_, err = Parse("mutant.yaml", source, Options{MCPCatalog: true})
			if err == nil {
				if said != nil {
					t.Errorf("%s, %s: loads, and the schema says %v", f.Name, what, said)
				}
				return
			}
			var fe *FileError
			if !errors.As(err, &fe) {
				t.Fatal(err)
			}
			beyond := true
			for _, p := range fe.Problems {
				beyond = beyond && beyondSchema.MatchString(p.Message)
				if p.Line == 0 || p.Column == 0 {
					t.Errorf("%s, %s: no place: %+v", f.Name, what, p)
				}
			}
			if said == nil && !beyond {
				t.Errorf("%s, %s: the schema takes it, the loader says\n%v", f.Name, what, err)
			}
		})
	}
	if n < 10_000 {
		t.Errorf("%d mutants, want at least 10,000", n)
	}
}

// mutate makes one mistake after the other in a value, has each looked at and
// takes it back. set replaces the value where it is.
func mutate(path string, v any, set func(any), look func(what string)) {
	if set != nil {
		for _, x := range []any{"text", 7, -3, 1.5, true, nil, []any{}, []any{"x"}, []any{1}, map[string]any{}, map[string]any{"a": 1}, ""} {
			set(x)
			look(fmt.Sprintf("%s = %#v", path, x))
		}
		set(v)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			old := v[key]
			delete(v, key)
			look(path + " without " + key)
			v[key+"x"] = old
			look(path + " with " + key + "x")
			delete(v, key+"x")
			v[key] = old
			mutate(path+"."+key, old, func(x any) { v[key] = x }, look)
		}
	case []any:
		for i := range v {
			mutate(fmt.Sprintf("%s[%d]", path, i), v[i], func(x any) { v[i] = x }, look)
		}
	}
}
