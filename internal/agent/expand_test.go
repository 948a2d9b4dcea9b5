package agent

import (
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
)

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, error) {
		switch name {
		case "A":
			return "a", nil
		case "EMPTY":
			return "", nil
		case "AWAY":
			return "", holdfast.Errorf(holdfast.CodeUnavailable, "away")
		}
		return "", holdfast.Errorf(holdfast.CodeModelAuth, "no %s", name)
	}
	for _, c := range []struct {
		text, want, prompt string // "!" is an error
	}{
		{"plain $A $", "plain $A $", "plain $A $"},
		{"x ${env.A}-${A}", "x a-a", "x a-${A}"},
		{"${env.B}", "!", ""},
		{"${B}", "!", "${B}"},
		{`${env.B || "the user"}`, "the user", "the user"},
		{`${env.A || 'd'}`, "a", "a"},
		{`${ env.EMPTY || env.B || env.A }`, "a", "a"},
		{`${env.EMPTY || 'd'}`, "d", "d"},
		{`${env.B || ""}`, "", ""},
		{`${env.AWAY || 'd'}`, "!", "!"},
		{"${q} ${args[0]} ${tool({})} ${", "!", "${q} ${args[0]} ${tool({})} ${"},
		{`${a || "b"}`, `${a || "b"}`, `${a || "b"}`},
	} {
		for i, f := range []func(string, Lookup) (string, error){Expand, ExpandPrompt} {
			got, err := f(c.text, lookup)
			if err != nil {
				got = "!"
			}
			if want := []string{c.want, c.prompt}[i]; got != want {
				t.Errorf("%q (prompt: %v): %q, want %q", c.text, i == 1, got, want)
			}
		}
	}
	for text, want := range map[string]string{
		`${env.A}`: "", `${env.A || "x"}`: "", `${env.A ? 1 : 2}`: `${env.A ? 1 : 2}`, `${env.A.trim()}`: `${env.A.trim()}`,
		"${env['A']}": "${env['A']}", "${q}": "", "${environment}": "",
	} {
		if got := calculated(text); got != want {
			t.Errorf("calculated %q: %q", text, got)
		}
	}
}

func TestCommands(t *testing.T) {
	list := CommandList{{Name: "ls", Instruction: "List."}, {Name: "fix-it", Instruction: "Fix $1."}}
	for message, want := range map[string]string{
		"/ls": "ls|", "/ls a b": "ls|a b", "/fix-it\nall of it": "fix-it|all of it", "/lsx": "", "ls": "", " /ls": "", "/": "", "//ls": "",
	} {
		got := ""
		if c, rest := list.Find(message); c != nil {
			got = c.Name + "|" + rest
		}
		if got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
	for _, c := range []struct{ instruction, typed, want string }{
		{"List.", "", "List."},
		{"List.", "the files", "List. the files"},
		{"", "the files", "the files"},
		{"Explain $1 to a child.", "tea", "Explain tea to a child."},
		{"Explain $1 to $2.", `"black tea" 'a child'`, "Explain black tea to a child."},
		{"It costs $5, or $100.", "now", "It costs $5, or $100. now"},
		{"Say ${args}.", "a  b", "Say a b."},
		{`Say ${args.join(", ")} (${args.length}).`, "a b", "Say a, b (2)."},
		{"Say ${args[0]}${args[7]}.", "it's", "Say it's."},
		{"Say ${args}.", "${env.KEY} $1", "Say ${env.KEY} $1."},
	} {
		if got := Fill(c.instruction, c.typed); got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.instruction, c.typed, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"Do ${args.join(' ')} now!": "", "Run !shell(cmd=ls).": "!shell(", "Say ${shell({cmd: 'ls'})}": "${shell({cmd: 'ls'}",
	} {
		if got := refusedIn(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
