package agent

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
)

func TestMerge(t *testing.T) {
	const file = `# The crew.
version: "2" # since summer
agents:
  # The captain.
  root: &captain
    model: openai/gpt-4o # cheap
    instruction: |
      Talk like
      a pirate.
    toolsets: &tools
      - type: think
  mate:
    <<: *captain
    description: Second
  cook:
    model: openai/gpt-4o
    toolsets: *tools
`
	for _, tc := range []struct{ name, patch, want string }{
		{"nothing", `{}`, file},
		{"value keeps its comment", `{"agents":{"root":{"model":"openai/gpt-5"}}}`, `# The crew.
version: "2" # since summer
agents:
  # The captain.
  root: &captain
    model: openai/gpt-5 # cheap
    instruction: |
      Talk like
      a pirate.
    toolsets: &tools
      - type: think
  mate:
    <<: *captain
    description: Second
  cook:
    model: openai/gpt-4o
    toolsets: *tools
`},
		{"merged key becomes own", `{"agents":{"mate":{"model":"openai/o4"}}}`, `# The crew.
version: "2" # since summer
agents:
  # The captain.
  root: &captain
    model: openai/gpt-4o # cheap
    instruction: |
      Talk like
      a pirate.
    toolsets: &tools
      - type: think
  mate:
    description: Second
    model: openai/o4
    instruction: |
      Talk like
      a pirate.
    toolsets:
      - type: think
  cook:
    model: openai/gpt-4o
    toolsets: *tools
`},
		{"anchor moves to its first use", `{"agents":{"mate":null,"root":{"toolsets":null}}}`, `# The crew.
version: "2" # since summer
agents:
  # The captain.
  root: &captain
    model: openai/gpt-4o # cheap
    instruction: |
      Talk like
      a pirate.
  cook:
    model: openai/gpt-4o
    toolsets: &tools
      - type: think
`},
		{"new values", `{"agents":{"boy":{"model":"openai/gpt-4o","instruction":"a\nb\n","max_iterations":3,"toolsets":[{"type":"todo"}]}},"version":"3"}`, `# The crew.
version: "3" # since summer
agents:
  # The captain.
  root: &captain
    model: openai/gpt-4o # cheap
    instruction: |
      Talk like
      a pirate.
    toolsets: &tools
      - type: think
  mate:
    <<: *captain
    description: Second
  cook:
    model: openai/gpt-4o
    toolsets: *tools
  boy:
    instruction: |
      a
      b
    max_iterations: 3
    model: openai/gpt-4o
    toolsets:
      - type: todo
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var patch map[string]any
			if err := json.Unmarshal([]byte(tc.patch), &patch); err != nil {
				t.Fatal(err)
			}
			got, err := Merge([]byte(file), patch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := Parse("merged.yaml", got, Options{}); err != nil {
				t.Errorf("the result is not an agent file: %v", err)
			}
		})
	}
}

// A name that is an anchor twice stands for the nearer one before it. What a
// patch moves behind another anchor of the same name keeps its meaning.
func TestMergeAnchorsOfOneName(t *testing.T) {
	const file = `a: &x [1]
b: &y {k: *x, l: 1}
c: &x [2]
d: *y
e: *x
`
	got, err := Merge([]byte(file), map[string]any{"d": map[string]any{"l": 2}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `a: &x [1]
b: &y {k: *x, l: 1}
c: &x [2]
d: {k: [1], l: 2}
e: *x
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		patch      map[string]any
	}{
		{"broken YAML", "a: [", nil},
		{"a list", "[]", nil},
		{"a cycle", "a: &a [*a]", nil},
		{"not JSON", "a: 1", map[string]any{"a": func() {}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Merge([]byte(tc.file), tc.patch)
			if holdfast.CodeOf(err) != holdfast.CodeInvalid {
				t.Errorf("error %v, want one with code invalid", err)
			}
		})
	}
}
