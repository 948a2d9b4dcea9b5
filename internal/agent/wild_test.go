package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/tools/txtar"
)

// wild returns the public agent files of testdata/wild.txtar.
func wild(t testing.TB) []txtar.File {
	t.Helper()
	data, err := os.ReadFile("testdata/wild.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := txtar.Parse(data).Files
	if len(files) < 120 {
		t.Fatalf("%d public files, want at least 120", len(files))
	}
	return files
}

// A public agent file loads with every key of it in the team, or is refused with
// the name and the place of every key that is not offered. What becomes of each
// is in testdata/wild.out.
func TestWildFiles(t *testing.T) {
	var out strings.Builder
	for _, f := range wild(t) {
		team, err := Parse(f.Name, f.Data, Options{MCPCatalog: true})
		if err != nil {
			fmt.Fprintf(&out, "%s\n", err)
			var fe *FileError
			if !errors.As(err, &fe) {
				t.Errorf("%s: the error is a %T", f.Name, err)
				continue
			}
			for _, p := range fe.Problems {
				if p.Line == 0 || p.Column == 0 || !strings.Contains(p.Message, "`") && !strings.Contains(p.Message, "!") {
					t.Errorf("%s: a problem without its place or the name of its key: %+v", f.Name, p)
				}
			}
			continue
		}
		fmt.Fprintf(&out, "%s: loads as version %s\n", f.Name, team.Version)
		for _, m := range lost(t, f.Data, team) {
			t.Errorf("%s: lost %s", f.Name, m)
		}
	}
	golden(t, "testdata/wild.out", []byte(out.String()))
}

// lost returns the values of a file that are not in the team's JSON form.
func lost(t *testing.T, source []byte, team *Team) []string {
	t.Helper()
	tree, problem := readTree(source)
	if problem != nil {
		t.Fatal(problem.Message)
	}
	js, err := json.Marshal(team)
	if err != nil {
		t.Fatal(err)
	}
	var view map[string]any
	if err := json.Unmarshal(js, &view); err != nil {
		t.Fatal(err)
	}
	if team.Version == "0" {
		toZero(view)
	}
	return compareTree(tree, view, "")
}

// toZero adds to a view the keys that only version 0 has, from what they became.
func toZero(view map[string]any) {
	for _, a := range view["agents"].(map[string]any) {
		a := a.(map[string]any)
		sets, _ := a["toolsets"].([]any)
		for len(sets) > 0 {
			ts := sets[0].(map[string]any)
			name := ts["type"].(string)
			if !slices.Contains([]string{"todo", "think", "memory"}, name) {
				break
			}
			ts["enabled"] = true
			a[name], sets = ts, sets[1:]
		}
		a["toolsets"] = sets
	}
	models, _ := view["models"].(map[string]any)
	for _, m := range models {
		m := m.(map[string]any)
		m["type"] = m["provider"]
	}
}

func compareTree(n *yaml.Node, v any, path string) []string {
	var out []string
	switch n.Kind {
	case yaml.MappingNode:
		m, ok := v.(map[string]any)
		if !ok && v == true { // todo: {…} of version 0
			return nil
		}
		if !ok && len(n.Content) > 0 {
			return []string{path}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out = append(out, compareTree(n.Content[i+1], m[n.Content[i].Value], join(path, n.Content[i].Value))...)
		}
	case yaml.SequenceNode:
		if m, ok := v.(map[string]any); ok && strings.HasSuffix(path, ".commands") {
			for _, c := range n.Content {
				out = append(out, compareTree(c, m, path)...)
			}
			return out
		}
		list, _ := v.([]any)
		if len(list) != len(n.Content) {
			return []string{fmt.Sprintf("%s: %d of %d", path, len(list), len(n.Content))}
		}
		for i, c := range n.Content {
			out = append(out, compareTree(c, list[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
	default:
		if !sameScalar(n, v, path) {
			out = append(out, fmt.Sprintf("%s: %s became %v", path, n.Value, v))
		}
	}
	return out
}

// sameScalar compares a value as written with the one in the JSON form, in which
// false and nothing may be left out, a duration has its units and a transport
// its one name.
func sameScalar(n *yaml.Node, v any, path string) bool {
	switch v := v.(type) {
	case nil:
		return n.Value == "" || n.Value == "false" || isNull(n)
	case bool:
		return strconv.FormatBool(v) == strings.ToLower(n.Value)
	case float64:
		x, err := strconv.ParseFloat(n.Value, 64)
		return err == nil && x == v
	case map[string]any: // todo: true of version 0
		return n.Value == "true"
	case string:
		if d, err := time.ParseDuration(n.Value); err == nil && d.String() == v {
			return true
		}
		return v == n.Value || strings.HasSuffix(path, ".transport_type") && v == "streamable"
	}
	return false
}

// The comparison finds what is lost: each key taken away from a view is noticed.
func TestLostIsNoticed(t *testing.T) {
	source := []byte("agents: {root: {model: openai/x, add_date: true, commands: [{c: hello}], toolsets: [{type: todo, shared: true}]}}")
	team, err := Parse("x.yaml", source, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := lost(t, source, team); len(got) > 0 {
		t.Errorf("whole: lost %v", got)
	}
	for want, take := range map[string]func(*Agent){
		"agents.root.add_date: true became <nil>":           func(a *Agent) { a.AddDate = false },
		"agents.root.commands.c: hello became <nil>":        func(a *Agent) { a.Commands[0].Name = "d" },
		"agents.root.toolsets: 0 of 1":                      func(a *Agent) { a.Toolsets = nil },
		"agents.root.toolsets[0].shared: true became <nil>": func(a *Agent) { a.Toolsets[0].Shared = false },
	} {
		team, err := Parse("x.yaml", source, Options{})
		if err != nil {
			t.Fatal(err)
		}
		take(team.Root())
		if got := lost(t, source, team); !slices.Equal(got, []string{want}) {
			t.Errorf("lost %q, want %q", got, want)
		}
	}
}
