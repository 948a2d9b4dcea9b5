package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

// What could cost much more than its size is refused, and soon.
func TestLimits(t *testing.T) {
	bomb := func(levels int, first, list string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "a0: &a0 %s\n", first)
		for i := 1; i <= levels; i++ {
			fmt.Fprintf(&b, "a%d: &a%d %s\n", i, i, strings.ReplaceAll(list, "x", fmt.Sprintf("*a%d", i-1)))
		}
		return b.String()
	}
	alloys := func(levels int) string {
		var b strings.Builder
		b.WriteString("agents: {root: {model: m0}}\nmodels:\n")
		for i := range levels {
			fmt.Fprintf(&b, "  m%d: {model: \"m%d,m%d\"}\n", i, i+1, i+1)
		}
		fmt.Fprintf(&b, "  m%d: {provider: openai, model: x}\n", levels)
		return b.String()
	}
	for _, tc := range []struct{ name, source, want string }{
		{"size", strings.Repeat("#", MaxSource+1), "the file has 1048577 bytes; at most 1048576 are read"},
		{"aliases", bomb(30, "v", "[x, x, x, x]"), "once its aliases are followed (more than 100000 values)"},
		{"merge keys", bomb(30, "{k: v}", "{<<: [x, x, x, x]}"), "once its aliases are followed (more than 100000 values)"},
		{"long aliases", bomb(5, strings.Repeat("v", 10_000), "[x, x, x, x]"), "once its aliases are followed (more than 8388608 bytes)"},
		{"depth", "a: " + strings.Repeat("[", 300) + strings.Repeat("]", 300), "nested more than 200 levels deep"},
		{"alias to itself", "a: &a {b: *a}", "alias *a contains itself"},
		{"key that is a list", "? [a]\n: b", "a key must be a text"},
		{"not UTF-8", "a: \xff", "not UTF-8"},
		{"lists of models", alloys(40), "the list stands for more than 64 models"},
		{"one long list of models", "agents: {root: {model: \"" + strings.Repeat("openai/x,", 5000) + "\"}}", "the list stands for more than 64 models"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tc.source), Options{})
			if holdfast.CodeOf(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %.300q, want %q", fmt.Sprint(err), tc.want)
			}
		})
	}
}

func TestMarshalAgentList(t *testing.T) {
	team, err := Parse("f.yaml", []byte("version: '2'\nagents: {b: {model: openai/x}, a: {model: openai/y, name: Ann}}\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := team.MarshalAgentList()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":"2","agents":[{"Name":"b","model":"openai/x"},{"Name":"a","name":"Ann","model":"openai/y"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err = json.Marshal(team); err != nil || !strings.Contains(string(got), `"agents":{"b":{`) {
		t.Errorf("%s, %v", got, err)
	}
	if team.Root().Name != "b" || team.Agent("a") == nil || team.Agent("c") != nil {
		t.Error("the first agent is not the one to start with, or an agent is not found")
	}
}

// Files that name no version, and those that name a strange one.
func TestVersions(t *testing.T) {
	const v0, all = "agents: {root: {model: m, think: true}}\nmodels: {m: {type: openai, model: x}}\n", "agents: {root: {model: openai/x}}\n"
	for _, tc := range []struct {
		source string
		want   Version // "" for refused
		given  bool
	}{
		{all, Newest, false},
		{"version:\n" + all, Newest, false},
		{"version: ''\n" + all, Newest, false},
		{v0, "0", false},
		{"version: 0\n" + v0, "0", true},
		{"version: '1'\n" + v0, "", true},
		{"version: 1\n" + all, "1", true},
		{"version: '15'\n" + all, "15", true},
		{"version: '17'\n" + all, "", true},
		{"version: v2\n" + all, "", true},
		{"version: 1.5\n" + all, "", true},
		{"version: [1]\n" + all, "", true},
		{"version: -1\n" + all, "", true},
	} {
		team, err := Parse("f.yaml", []byte(tc.source), Options{})
		switch {
		case tc.want == "" && err == nil:
			t.Errorf("%q was taken as %s", tc.source, team.Version)
		case tc.want != "" && err != nil:
			t.Errorf("%q: %v", tc.source, err)
		case tc.want != "" && (team.Version != tc.want || team.VersionGiven != tc.given):
			t.Errorf("%q: version %s, given %t; want %s, %t", tc.source, team.Version, team.VersionGiven, tc.want, tc.given)
		}
	}
}
