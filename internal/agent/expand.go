package agent

import (
	"regexp"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// Lookup returns the value of a secret or a variable. One that there is not is
// CodeModelAuth.
type Lookup func(name string) (string, error)

// expression is what may stand for a value: ${…}.
var expression = regexp.MustCompile(`\$\{([^{}]*)\}`)

// term is one of the alternatives of an expression: a name, or a text in quotes.
var term = regexp.MustCompile(`^\s*(?:(env\.)?([A-Za-z_][A-Za-z0-9_]*)|"([^"]*)"|'([^']*)')\s*$`)

// Expand puts values in place of ${env.NAME}, ${NAME}, and of alternatives, of which
// the first that has a value counts: ${env.NAME || env.OTHER || "text"}. What else
// is between ${ and } stays. The error is that of lookup.
func Expand(text string, lookup Lookup) (string, error) { return expand(text, lookup, false, false) }

// ExpandEnv is [Expand] where other things begin with ${ too, such as in what a shell
// reads: only what names env counts.
func ExpandEnv(text string, lookup Lookup) (string, error) { return expand(text, lookup, true, false) }

// ExpandPrompt is [ExpandEnv] for a text that a model reads: what has no value is
// nothing.
func ExpandPrompt(text string, lookup Lookup) (string, error) {
	return expand(text, lookup, true, true)
}

func expand(text string, lookup Lookup, envOnly, prompt bool) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var failed error
	out := expression.ReplaceAllStringFunc(text, func(m string) string {
		terms, env, ok := alternatives(m[2 : len(m)-1])
		if !ok || envOnly && !env {
			return m
		}
		var missing error
		for _, t := range terms {
			if t.name == "" {
				if t.text != "" {
					return t.text
				}
				continue
			}
			value, err := lookup(t.name)
			switch {
			case err == nil && value != "":
				return value
			case err != nil && holdfast.CodeOf(err) != holdfast.CodeModelAuth:
				failed = err
				return ""
			case err != nil && missing == nil:
				missing = err
			}
		}
		if missing != nil && !prompt && len(terms) == 1 {
			failed = missing
		}
		return ""
	})
	if failed != nil {
		return "", failed
	}
	return out, nil
}

type alternative struct{ name, text string }

// alternatives reads what is between ${ and }. env says that the first names env.
func alternatives(body string) (out []alternative, env, ok bool) {
	for i, part := range strings.Split(body, "||") {
		m := term.FindStringSubmatch(part)
		// A name alone is one of ours only if nothing else could be meant.
		if m == nil || m[2] != "" && m[1] == "" && (i > 0 || strings.Contains(body, "||") || body != m[2]) {
			return nil, false, false
		}
		if i == 0 {
			env = m[1] != ""
			if m[2] == "" {
				return nil, false, false
			}
		}
		out = append(out, alternative{name: m[2], text: m[3] + m[4]})
	}
	return out, env, true
}

// calculated finds ${env…} that is more than names and texts: cagent takes any
// JavaScript there.
func calculated(text string) string {
	for _, m := range expression.FindAllStringSubmatch(text, -1) {
		if body := strings.TrimSpace(m[1]); strings.HasPrefix(body, "env.") || strings.HasPrefix(body, "env[") {
			if _, _, ok := alternatives(m[1]); !ok {
				return m[0]
			}
		}
	}
	return ""
}
