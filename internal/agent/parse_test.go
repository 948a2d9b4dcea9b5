package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, or rewrites it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestFiles parses each file of testdata. The .out beside it holds what came of
// it: the problems, or the JSON view and what the references resolve to.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			opt := Options{Hosted: strings.HasPrefix(name, "hosted")}
			golden(t, strings.TrimSuffix(file, ".yaml")+".out", []byte(outcome(t, name, source, opt)))
		})
	}
}

func outcome(t *testing.T, name string, source []byte, opt Options) string {
	team, err := Parse(name, source, opt)
	if err != nil {
		var fe *FileError
		if !errors.As(err, &fe) {
			t.Fatalf("error is a %T, not a *FileError", err)
		}
		return fmt.Sprintf("refused: %s\n%s\n", holdfast.CodeOf(err), err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(team); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "\nversion %s, given %t, starts with %s\n", team.Version, team.VersionGiven, team.Root().Name)
	show := func(m *ModelSettings) string {
		js, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s kind=%s api=%q notoken=%t %s", m.Name, m.Kind, m.APIType, m.NoToken, js)
	}
	for _, a := range team.Agents {
		for _, m := range a.Models {
			fmt.Fprintf(&b, "%s calls %s\n", a.Name, show(m))
		}
		for _, m := range a.FallbackModels {
			fmt.Fprintf(&b, "%s falls back on %s\n", a.Name, show(m))
		}
		for i, ts := range a.Toolsets {
			if ts.MCP != "" {
				type plain Toolset
				js, err := json.Marshal((*plain)(ts))
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s toolset %d is mcps.%s: %s\n", a.Name, i, ts.MCP, js)
			}
			for _, m := range ts.Models {
				fmt.Fprintf(&b, "%s toolset %d is read by %s\n", a.Name, i, show(m))
			}
		}
	}
	return b.String()
}
