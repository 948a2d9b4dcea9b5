package scripted

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// text is a string with places to fill in. A text without any is handed out as
// it is, without an allocation.
type text struct {
	static string
	parts  []part // nil for a static text
}

// part is a literal or a field.
type part struct {
	literal string
	field   field
	key     string // group of a match, by number or name
}

type field int

const (
	fieldNone field = iota
	fieldUser
	fieldTool
	fieldToolName
	fieldTurn
	fieldImages
	fieldMessages
	fieldModel
	fieldMatch
	fieldOutput
)

// fields are the names that a script may use, in the order of the
// documentation.
var fields = []struct {
	name  string
	field field
}{
	{"User", fieldUser},
	{"Tool", fieldTool},
	{"ToolName", fieldToolName},
	{"Turn", fieldTurn},
	{"Images", fieldImages},
	{"Messages", fieldMessages},
	{"Model", fieldModel},
	{"Match", fieldMatch},
	{"Output", fieldOutput},
}

// values is what the places of a text are filled with.
type values struct {
	model          string
	conv           *conversation
	match, output  []string
	matches, outRE *regexp.Regexp
}

// placeholder finds {{.Name}} and {{.Name.key}}. What only resembles one is
// refused by parseText, so that a slip of the pen is not streamed to a user.
var placeholder = regexp.MustCompile(`\\\{\{|\{\{[^{}]*\}\}|\{\{`)

// parseText compiles s. `\{{` stands for `{{`.
func parseText(s string) (*text, error) {
	locs := placeholder.FindAllStringIndex(s, -1)
	if locs == nil {
		return &text{static: s}, nil
	}
	t := &text{}
	end := 0
	for _, loc := range locs {
		if loc[0] > end {
			t.parts = append(t.parts, part{literal: s[end:loc[0]]})
		}
		end = loc[1]
		token := s[loc[0]:loc[1]]
		switch token {
		case `\{{`:
			t.parts = append(t.parts, part{literal: "{{"})
			continue
		case "{{":
			return nil, fmt.Errorf(`"{{" without "}}"; write "\{{" for the characters themselves`)
		}
		p, err := parsePlaceholder(strings.TrimSpace(token[2 : len(token)-2]))
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
	}
	if end < len(s) {
		t.parts = append(t.parts, part{literal: s[end:]})
	}
	return t, nil
}

func parsePlaceholder(expr string) (part, error) {
	name, key, keyed := strings.Cut(strings.TrimPrefix(expr, "."), ".")
	if strings.HasPrefix(expr, ".") {
		for _, f := range fields {
			if f.name != name {
				continue
			}
			takesKey := f.field == fieldMatch || f.field == fieldOutput
			switch {
			case takesKey && (!keyed || key == ""):
				return part{}, fmt.Errorf("{{.%s}} needs a group: {{.%s.1}} or {{.%s.name}}", name, name, name)
			case !takesKey && keyed:
				return part{}, fmt.Errorf("{{.%s}} has no part %q", name, key)
			}
			return part{field: f.field, key: key}, nil
		}
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = "{{." + f.name + "}}"
	}
	return part{}, fmt.Errorf("unknown placeholder {{%s}}; known are %s", expr, strings.Join(known, ", "))
}

// checkGroups refuses placeholders whose regular expression or group does not
// exist in the turn's condition.
func (t *text) checkGroups(w *when) error {
	if t == nil {
		return nil
	}
	for _, p := range t.parts {
		re, what := w.matches, "matches"
		switch p.field {
		case fieldOutput:
			re, what = w.output, "output"
		case fieldMatch:
		default:
			continue
		}
		if re == nil {
			return fmt.Errorf("the group %q is used, but `when` has no `%s`", p.key, what)
		}
		if groupIndex(re, p.key) < 0 {
			return fmt.Errorf("`%s` has no group %q", what, p.key)
		}
	}
	return nil
}

// groupIndex is the number of a group by number or name, -1 if there is none.
func groupIndex(re *regexp.Regexp, key string) int {
	if n, err := strconv.Atoi(key); err == nil {
		if n < 0 || n > re.NumSubexp() {
			return -1
		}
		return n
	}
	return re.SubexpIndex(key)
}

// fill returns the text with its places filled in.
func (t *text) fill(v *values) string {
	if t.parts == nil {
		return t.static
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch p.field {
		case fieldNone:
			b.WriteString(p.literal)
		case fieldUser:
			b.WriteString(v.conv.user)
		case fieldTool:
			b.WriteString(v.conv.toolOutput)
		case fieldToolName:
			b.WriteString(v.conv.toolName)
		case fieldTurn:
			b.WriteString(strconv.Itoa(v.conv.turn))
		case fieldImages:
			b.WriteString(strconv.Itoa(v.conv.images))
		case fieldMessages:
			b.WriteString(strconv.Itoa(v.conv.messages))
		case fieldModel:
			b.WriteString(v.model)
		case fieldMatch:
			b.WriteString(v.match[groupIndex(v.matches, p.key)])
		case fieldOutput:
			b.WriteString(v.output[groupIndex(v.outRE, p.key)])
		}
	}
	return b.String()
}

// value is a JSON value whose strings may have places to fill in.
type value struct {
	scalar json.RawMessage // a number, true, false or null
	str    *text
	list   []*value
	keys   []string // with list: an object, in the order of the script
	object bool
}

// appendJSON appends the value with its places filled in.
func (v *value) appendJSON(b []byte, vals *values) []byte {
	switch {
	case v.scalar != nil:
		return append(b, v.scalar...)
	case v.str != nil:
		return appendString(b, v.str.fill(vals))
	case v.object:
		b = append(b, '{')
		for i, e := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, v.keys[i]), ':')
			b = e.appendJSON(b, vals)
		}
		return append(b, '}')
	}
	b = append(b, '[')
	for i, e := range v.list {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.appendJSON(b, vals)
	}
	return append(b, ']')
}

// walk calls f for every text within.
func (v *value) walk(f func(*text) error) error {
	if v == nil {
		return nil
	}
	if v.str != nil {
		return f(v.str)
	}
	for _, e := range v.list {
		if err := e.walk(f); err != nil {
			return err
		}
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	// Marshalling a string cannot fail: invalid UTF-8 becomes U+FFFD.
	q, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("scripted: a string as JSON: %v", err))
	}
	return append(b, q...)
}
