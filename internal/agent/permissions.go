package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Permissions say which tool calls run without asking, which always ask and
// which are refused.
//
// A rule is a pattern for the tool's name, which may be followed by conditions
// on arguments: tool:arg=pattern:arg=pattern. In a pattern * stands for any
// text, ? for one character, [abc] and [a-z] for one of several, and \ takes the
// meaning from what follows. Case does not count.
type Permissions struct {
	Allow []string `json:"allow,omitempty" doc:"Calls that run without asking, as tool or tool:arg=pattern; * stands for any text."`
	Ask   []string `json:"ask,omitempty" doc:"Calls that always ask, even of tools that otherwise run without."`
	Deny  []string `json:"deny,omitempty" doc:"Calls that are refused, whatever else allows them."`

	allow, ask, deny []rule
}

// Verdict is what permissions say of a call.
type Verdict string

// The verdicts. Unset means that no rule matches: what the tool itself and the
// session say decides.
const (
	Unset Verdict = ""
	Allow Verdict = "allow"
	Ask   Verdict = "ask"
	Deny  Verdict = "deny"
)

// Decide returns what the rules say of a call and the rule that said it. Deny is
// looked at first, then allow, then ask, as in cagent; a caller must let Deny win
// over every approval that a session or a user has given. arguments is the JSON
// object of the call; rules with conditions in ask and deny also match if it
// cannot be read. names are the names of the tool, such as get_issue and
// mcp:github:get_issue; a rule matches if it matches one of them.
//
// Names of arguments are compared as tools read them, without regard to case, and
// cmd and command, path and paths are the same argument. Where it is there twice, or
// the value is a list, allow wants all of them to match, and ask and deny one of them.
//
// In allow, a condition with wildcards on the argument cmd or command matches
// only a single command: ls* does not allow "ls; rm -rf /".
//
// Decide may be called on nil.
func (p *Permissions) Decide(arguments string, names ...string) (Verdict, string) {
	if p == nil {
		return Unset, ""
	}
	call := call{names: names}
	call.args, call.readable = readArguments(arguments)
	for _, list := range []struct {
		verdict Verdict
		rules   []rule
	}{{Deny, p.deny}, {Allow, p.allow}, {Ask, p.ask}} {
		for _, r := range list.rules {
			if r.matches(call, list.verdict) {
				return list.verdict, r.source
			}
		}
	}
	return Unset, ""
}

type call struct {
	names    []string
	args     map[string]any // by the name as fold writes it
	readable bool
}

// readArguments reads the members of an object. One that has two members whose names
// are the same but for case cannot be read: a tool may take either.
func readArguments(arguments string) (args map[string]any, readable bool) {
	if strings.TrimSpace(arguments) == "" {
		return nil, true
	}
	dec := json.NewDecoder(strings.NewReader(arguments))
	dec.UseNumber()
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, false
	}
	args = map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, false
		}
		var v any
		if dec.Decode(&v) != nil {
			return nil, false
		}
		if _, twice := args[fold(name)]; twice {
			return nil, false
		}
		args[fold(name)] = v
	}
	_, err := dec.Token()
	return args, err == nil
}

// fold returns the same text for all that Go takes for equal when it reads the members
// of an object (strings.EqualFold).
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// otherNames are arguments of the same tool that mean the same.
var otherNames = map[string]string{"cmd": "command", "command": "cmd", "path": "paths", "paths": "path"}

// value is an argument that a condition looks at.
type value struct {
	whole any
	parts []any // of a list
	text  bool  // the list is one that a model wrote as text
}

// values are what the call has of an argument, under all its names.
func (c call) values(arg string) (out []value) {
	for _, name := range []string{arg, otherNames[strings.ToLower(arg)]} {
		v, ok := c.args[fold(name)]
		if !ok || name == "" {
			continue
		}
		one := value{whole: v}
		one.parts, _ = v.([]any)
		if text, ok := v.(string); ok && strings.HasPrefix(strings.TrimSpace(text), "[") {
			one.text = json.Unmarshal([]byte(text), &one.parts) == nil
		}
		out = append(out, one)
	}
	return out
}

type rule struct {
	source string
	tool   *regexp.Regexp
	args   []condition
}

type condition struct {
	arg     string
	pattern *regexp.Regexp
	// single is set where, in an allow rule, only one simple command may match.
	single bool
}

func (r rule) matches(c call, v Verdict) bool {
	named := false
	for _, n := range c.names {
		named = named || r.tool.MatchString(n)
	}
	if !named || len(r.args) == 0 {
		return named
	}
	if !c.readable {
		return v != Allow
	}
	for _, cond := range r.args {
		if !cond.matches(c, v) {
			return false
		}
	}
	return true
}

// matches reports whether an argument of the call is as the condition says.
func (cond condition) matches(c call, v Verdict) bool {
	fits := func(part any) bool {
		text := argumentText(part)
		return cond.pattern.MatchString(text) && !(v == Allow && cond.single && strings.ContainsAny(text, ";&|`$<>()\n\r"))
	}
	values := c.values(cond.arg)
	for _, one := range values {
		all, some := len(one.parts) > 0, false
		for _, part := range one.parts {
			all, some = all && fits(part), some || fits(part)
		}
		whole := fits(one.whole)
		switch {
		case v != Allow:
			if whole || some {
				return true
			}
		case one.text && !(whole && all), !one.text && !whole && !all:
			return false
		}
	}
	return v == Allow && len(values) > 0
}

// argumentText is an argument as a pattern sees it: a text as it is, everything
// else as JSON.
func argumentText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v) // cannot happen: v came from JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// conditionStart finds where a condition begins. A colon alone does not begin
// one: names of MCP tools and values such as URLs have colons too.
var conditionStart = regexp.MustCompile(`:(\w+)=`)

func parseRule(source string) (rule, error) {
	r := rule{source: source}
	starts := conditionStart.FindAllStringSubmatchIndex(source, -1)
	name := source
	if len(starts) > 0 {
		name = source[:starts[0][0]]
	}
	if strings.TrimSpace(name) == "" {
		return rule{}, fmt.Errorf("it names no tool")
	}
	var err error
	if r.tool, err = globRegexp(name); err != nil {
		return rule{}, err
	}
	for i, s := range starts {
		end := len(source)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		arg, pattern := source[s[2]:s[3]], source[s[1]:end]
		re, err := globRegexp(pattern)
		if err != nil {
			return rule{}, err
		}
		r.args = append(r.args, condition{
			arg: arg, pattern: re,
			single: (strings.EqualFold(arg, "cmd") || strings.EqualFold(arg, "command")) && pattern != "*" && strings.ContainsAny(pattern, "*?["),
		})
	}
	return r, nil
}

// globRegexp translates a pattern.
func globRegexp(glob string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?is)\A`)
	runes := []rune(glob)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '\\':
			if i++; i == len(runes) {
				return nil, fmt.Errorf("pattern %q ends with a backslash", glob)
			}
			b.WriteString(regexp.QuoteMeta(string(runes[i])))
		case '[':
			end, class, err := classRegexp(runes, i)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", glob, err)
			}
			b.WriteString(class)
			i = end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("pattern %q: a class in [] is not valid", glob)
	}
	return re, nil
}

// classRegexp translates the class that opens at runes[start] and returns the
// index of its closing bracket.
func classRegexp(runes []rune, start int) (end int, class string, err error) {
	var b strings.Builder
	b.WriteByte('[')
	i := start + 1
	if i < len(runes) && (runes[i] == '^' || runes[i] == '!') {
		b.WriteByte('^')
		i++
	}
	for first := i; i < len(runes); i++ {
		switch c := runes[i]; {
		case c == ']' && i > first:
			b.WriteByte(']')
			return i, b.String(), nil
		case c == '-':
			b.WriteByte('-')
		case c == '\\' && i+1 < len(runes):
			i++
			b.WriteString(classRune(runes[i]))
		default:
			b.WriteString(classRune(c))
		}
	}
	return 0, "", fmt.Errorf("[ without ]")
}

func classRune(r rune) string {
	if strings.ContainsRune(`\]^-[&~`, r) {
		return `\` + string(r)
	}
	return string(r)
}

// checkPermissions compiles the rules.
func (d *decoder) checkPermissions(p *Permissions) {
	for _, list := range []struct {
		key     string
		sources []string
		out     *[]rule
	}{{"allow", p.Allow, &p.allow}, {"ask", p.Ask, &p.ask}, {"deny", p.Deny, &p.deny}} {
		for i, s := range list.sources {
			r, err := parseRule(s)
			if err != nil {
				d.problemAt(fmt.Sprintf("permissions.%s[%d]", list.key, i), "`%s` is not a rule: %v", s, err)
				continue
			}
			*list.out = append(*list.out, r)
		}
	}
}
