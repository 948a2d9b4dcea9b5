package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// What Parse takes, it can show, and what it shows it takes again and shows the
// same. What it refuses has a problem with a message.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source, false)
	}
	for _, s := range samples {
		f.Add([]byte(s.yaml), true)
	}
	f.Add([]byte("a: &a [*a]"), false)
	f.Add([]byte("<<: &x {<<: *x}\nagents: {}"), false)
	f.Add([]byte("? [a]\n: b"), false)
	f.Add([]byte("agents: {1: {model: openai/x}, ~: {model: openai/x}}"), false)
	f.Fuzz(func(t *testing.T, source []byte, hosted bool) {
		opt := Options{Hosted: hosted, MCPCatalog: true}
		team, err := Parse("fuzz.yaml", source, opt)
		if err != nil {
			var fe *FileError
			if !errors.As(err, &fe) || len(fe.Problems) == 0 || team != nil {
				t.Fatalf("refused without a problem: %v", err)
			}
			for _, p := range fe.Problems {
				if p.Message == "" || p.Line < 0 || p.Line > len(source)+2 {
					t.Fatalf("a bad problem: %+v", p)
				}
			}
			if c := holdfast.CodeOf(err); c != holdfast.CodeInvalid && c != holdfast.CodeNotOffered {
				t.Fatalf("code %q", c)
			}
			return
		}
		if team.Root() == nil || len(team.Root().Models) == 0 {
			t.Fatal("a team without an agent to start with, or one without a model")
		}
		view, err := json.Marshal(team)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := team.MarshalAgentList(); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("fuzz.yaml", view, opt)
		if err != nil {
			t.Fatalf("the view does not parse: %v\n%s", err, view)
		}
		view2, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if string(view) != string(view2) {
			t.Fatalf("the view changed:\n%s\n%s", view, view2)
		}
	})
}

// Merge never panics, and an empty patch changes nothing that Parse sees.
func FuzzMerge(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source, []byte(`{"agents":{"root":{"model":"openai/y","toolsets":null}}}`))
		f.Add(source, []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, source, patch []byte) {
		var p map[string]any
		if json.Unmarshal(patch, &p) != nil {
			return
		}
		before, err := Parse("fuzz.yaml", source, Options{})
		if err != nil {
			before = nil
		}
		out, err := Merge(source, p)
		if err != nil || before == nil || len(p) > 0 {
			return
		}
		after, err := Parse("fuzz.yaml", out, Options{})
		if err != nil {
			t.Fatalf("the merged file does not parse: %v\n%s", err, out)
		}
		a, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(after)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Fatalf("an empty patch changed the file:\n%s\n%s", a, b)
		}
	})
}
