package agent

import (
	"errors"
	"strings"
	"testing"
)

// What no editor writes, or only some: taken as it is meant, or refused with a
// place and a word that helps.
func TestOddFiles(t *testing.T) {
	const good = "agents:\n  root:\n    model: openai/x\n"
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'h'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Repeat(p+", *", 9) + p + "]\n"
	}
	for name, c := range map[string]struct{ source, want string }{
		"BOM":                   {"\uFEFF" + good, ""},
		"CRLF":                  {strings.ReplaceAll(good, "\n", "\r\n"), ""},
		"a start of document":   {"%YAML 1.2\n---\n" + good + "...\n", ""},
		"a comment first":       {"# --- not a document\n---\n" + good, ""},
		"no end of line":        {strings.TrimSuffix(good, "\n"), ""},
		"JSON":                  {`{"agents":{"root":{"model":"openai/x"}}}`, ""},
		"merge keys":            {"x-base: &b {model: openai/x}\nagents: {root: {<<: *b}}\n", "odd.yaml:1:1: unknown key `x-base`"},
		"empty":                 {"", "odd.yaml:1:1: the file is empty"},
		"spaces":                {" \n\n", "odd.yaml:1:1: the file is empty"},
		"comments alone":        {"# nothing\n", "odd.yaml:1:1: "},
		"null":                  {"~\n", "odd.yaml:1:1: "},
		"a list":                {"- agents\n", "odd.yaml:1:1: an agent file holds keys and values"},
		"a text":                {"agents", "odd.yaml:1:1: an agent file holds keys and values"},
		"two documents":         {good + "---\n" + good, "odd.yaml:4:1: the file holds several YAML documents"},
		"two empty documents":   {"---\n---\n", "odd.yaml:1:1: "},
		"tabs":                  {"agents:\n\troot:\n\t\tmodel: openai/x\n", "odd.yaml:2:1: "},
		"a tab in the middle":   {"agents:\n  root:\n    model:\topenai/x\n", ""},
		"not UTF-8":             {"agents:\n  r\u00f6\xff: {}\n", "odd.yaml:2:5: the file is not UTF-8"},
		"UTF-16":                {"\xff\xfea\x00g\x00", "odd.yaml:1:1: the file is not UTF-8"},
		"a NUL":                 {"agents:\n  ro\x00ot: {}\n", "odd.yaml:"},
		"the same key twice":    {good + "agents: {}\n", "odd.yaml:4:1: key `agents` is given twice; it was first given in line 1"},
		"an alias of nothing":   {"agents: *none\n", "odd.yaml:1:"},
		"an alias in itself":    {"agents: &a {root: *a}\n", "odd.yaml:1:19: alias *a contains itself"},
		"an alias bomb":         {bomb, "too large once its aliases are followed"},
		"a bracket left open":   {"agents: {root: {model: openai/x}\n", "odd.yaml:"},
		"a quote left open":     {"agents: {root: {model: \"openai/x}}\n", "odd.yaml:"},
		"deep":                  {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "odd.yaml:1:"},
		"huge":                  {good + "#" + strings.Repeat("x", MaxSource), "odd.yaml:1:1: the file has 10486"},
		"a key that is a list":  {"? [a]\n: b\n", "odd.yaml:1:3: a key must be a text"},
		"a number for a key":    {"agents:\n  1: {model: openai/x}\n", ""},
		"an octal":              {"agents: {root: {model: openai/x, max_iterations: 0o17}}\n", ""},
		"a float for a number":  {"agents: {root: {model: openai/x, max_iterations: 1.5}}\n", "odd.yaml:1:50: `max_iterations` takes a whole number"},
		"yes":                   {"agents: {root: {model: openai/x, add_date: yes}}\n", "odd.yaml:1:44: `add_date` takes true or false, not the text `yes`"},
		"a number beyond int64": {"agents: {root: {model: openai/x, max_iterations: 99999999999999999999}}\n", "odd.yaml:1:50: "},
		"infinity":              {"agents: {root: {model: m}}\nmodels: {m: {provider: openai, model: x, temperature: .inf}}\n", "odd.yaml:2:55: `temperature` takes a number"},
		"a date":                {"agents: {root: {model: openai/x, description: 2026-01-02}}\n", ""},
		"binary":                {"agents: {root: {model: openai/x, description: !!binary aGk=}}\n", "odd.yaml:1:47: the tag"},
	} {
		team, err := Parse("odd.yaml", []byte(c.source), Options{})
		if c.want == "" {
			if err != nil || team.Root().Models[0].Provider != "openai" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.200v, want %s", name, err, c.want)
			continue
		}
		for _, p := range fe.Problems {
			if p.Line == 0 || p.Column == 0 {
				t.Errorf("%s: no place: %+v", name, p)
			}
		}
	}
}
