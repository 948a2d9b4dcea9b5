package agent

import (
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// mark is a place in the file.
type mark struct{ line, column int }

// decoder fills structs from a tree and collects what is wrong.
type decoder struct {
	opt      Options
	problems []Problem
	at       map[string]mark              // path → where it is, for checks that come later
	models   map[string]*[]*ModelSettings // those under models, resolved; nil while at it
}

// custom is what types implement whose YAML form is not their Go form.
type custom interface {
	decodeYAML(d *decoder, n *yaml.Node, path string)
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		Line: n.Line, Column: n.Column, Key: path,
		Message: fmt.Sprintf(format, args...),
	})
}

// problemAt reports a problem of something that was decoded before, by its path.
func (d *decoder) problemAt(path, format string, args ...any) {
	d.problem(d.placeOf(path), path, format, args...)
}

// placeOf returns a node where a path is in the file or, for something that was
// left out, where it would be.
func (d *decoder) placeOf(path string) *yaml.Node {
	for {
		if m, ok := d.at[path]; ok || path == "" {
			return &yaml.Node{Line: m.line, Column: m.column}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// notOffered reports that something is known and not offered. what is how the
// user wrote it.
func (d *decoder) notOffered(n *yaml.Node, path, what, instead string) {
	msg := "not offered in this deployment: " + what
	if instead != "" {
		msg += "; " + instead
	}
	d.problems = append(d.problems, Problem{Line: n.Line, Column: n.Column, Key: path, Message: msg, NotOffered: true})
}

// notOfferedAt is notOffered for something that was decoded before.
func (d *decoder) notOfferedAt(path, what, instead string) {
	d.notOffered(d.placeOf(path), path, what, instead)
}

// reported reports whether something is already said to be wrong at a path.
func (d *decoder) reported(path string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == path })
}

const needsSandbox = "it touches the host and needs a sandbox, which is not configured here; it works with `holdfast run` and `holdfast dev`"

// value decodes n into v. f carries the limits of the key that n belongs to.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, f field) {
	d.at[path] = mark{n.Line, n.Column}
	if v.CanAddr() {
		if c, ok := v.Addr().Interface().(custom); ok {
			c.decodeYAML(d, n, path)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), path, f)
		v.Set(p)
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, f)
	case reflect.Map:
		d.object(n, v, path, f)
	case reflect.Interface:
		if x := d.plain(n, path); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		d.scalar(n, v, path, f)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, f field) {
	want := map[reflect.Kind]string{
		reflect.String: "a text", reflect.Bool: "true or false",
		reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Float64: "a number",
	}[v.Kind()]
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!binary" {
		d.problem(n, path, "`%s` takes %s, not %s", lastKey(path), want, describe(n))
		return
	}
	var number float64
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		d.text(n, n.Value, path, f)
		return
	case reflect.Bool:
		if n.Tag != "!!bool" {
			d.problem(n, path, "`%s` takes true or false, not %s", lastKey(path), describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
		return
	case reflect.Int, reflect.Int64:
		var i int64
		if n.Tag != "!!int" || n.Load(&i) != nil {
			d.problem(n, path, "`%s` takes a whole number, not %s", lastKey(path), describe(n))
			return
		}
		v.SetInt(i)
		number = float64(i)
	case reflect.Float64:
		if n.Tag != "!!int" && n.Tag != "!!float" || n.Load(&number) != nil || math.IsNaN(number) || math.IsInf(number, 0) {
			d.problem(n, path, "`%s` takes a number, not %s", lastKey(path), describe(n))
			return
		}
		v.SetFloat(number)
	}
	if f.min != nil && number < *f.min {
		d.problem(n, path, "`%s` is %s; the least is %v", lastKey(path), n.Value, *f.min)
	}
	if f.max != nil && number > *f.max {
		d.problem(n, path, "`%s` is %s; the most is %v", lastKey(path), n.Value, *f.max)
	}
}

// text checks a text against the limits of its key.
func (d *decoder) text(n *yaml.Node, s, path string, f field) {
	if what := calculated(s); what != "" {
		d.notOffered(n, path, "`"+shorten(what)+"`, which is calculated", "write ${env.NAME} or ${env.NAME || \"text\"}")
	}
	if f.enum != nil && !slices.Contains(f.enum, s) {
		d.problem(n, path, "`%s` is `%s`; it takes one of %s", lastKey(path), s, strings.Join(f.enum, ", "))
	}
	// A URL with references is complete only once they are expanded.
	if f.format == "uri" && !strings.ContainsRune(s, '$') {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			d.problem(n, path, "`%s` takes a URL that begins with http:// or https://, not `%s`", lastKey(path), s)
		}
	}
}

// mapping decodes a mapping with fixed keys.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	s := sections[v.Type()]
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "%s takes keys and values, not %s", s.article, describe(n))
		return
	}
	fields := fieldsOf[v.Type()]
	allowed := d.allowedKeys(n, v.Type())
	given := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		sub := join(path, key.Value)
		given[key.Value] = true
		at := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		if at < 0 || !allowed(key.Value) {
			d.badKey(key, sub, v.Type(), n, at >= 0)
			continue
		}
		f := fields[at]
		id := s.name + "." + f.key
		if instead, no := d.opt.NotOffered[id]; no {
			d.notOffered(key, sub, "`"+f.key+"`", instead)
			continue
		}
		if f.sandbox && d.opt.Hosted && !d.opt.Sandbox {
			d.notOffered(key, sub, "`"+f.key+"`", needsSandbox)
		}
		if isNull(value) {
			d.at[sub] = mark{value.Line, value.Column}
			given[key.Value] = !f.required
			continue
		}
		d.value(value, v.Field(f.index), sub, f)
	}
	for _, f := range fields {
		if f.required && !given[f.key] {
			d.problem(n, join(path, f.key), "%s needs `%s`", s.article, f.key)
		}
	}
}

// allowedKeys returns which of a section's keys may be given in n: all, except
// in a toolset, where it depends on the type.
func (d *decoder) allowedKeys(n *yaml.Node, t reflect.Type) func(string) bool {
	if t != reflect.TypeFor[Toolset]() {
		return func(string) bool { return true }
	}
	name := ""
	if _, v := member(n, "type"); v != nil {
		name = v.Value
	}
	typ, ok := toolsetTypes[name]
	if !ok {
		return func(string) bool { return true } // the type is what is wrong
	}
	return func(key string) bool {
		return slices.Contains(commonKeys, key) || slices.Contains(typ.keys, key)
	}
}

// badKey says what is wrong with a key that a section does not take.
func (d *decoder) badKey(key *yaml.Node, path string, t reflect.Type, parent *yaml.Node, known bool) {
	s := sections[t]
	if instead, ok := s.refused[key.Value]; ok && !known {
		d.notOffered(key, path, "`"+key.Value+"`", instead)
		return
	}
	if t == reflect.TypeFor[Toolset]() {
		_, typ := member(parent, "type")
		if typ != nil && !isNull(typ) {
			takes := toolsetTypes[typ.Value]
			if known {
				d.problem(key, path, "`%s` is not a key of a toolset of type %s, which takes %s", key.Value, typ.Value,
					strings.Join(slices.Concat(commonKeys, takes.keys), ", "))
				return
			}
			d.problem(key, path, "unknown key `%s` in a toolset of type %s%s", key.Value, typ.Value,
				didYouMean(key.Value, slices.Concat(commonKeys, takes.keys)))
			return
		}
	}
	if t == reflect.TypeFor[Agent]() || t == reflect.TypeFor[ModelSettings]() {
		if now, ok := versionZero[s.name+"."+key.Value]; ok {
			d.problem(key, path, "`%s` is a key of schema version 0 only: %s, or set version: \"0\"", key.Value, now)
			return
		}
	}
	if instead := slips[s.name+"."+key.Value]; instead != "" {
		d.problem(key, path, "unknown key `%s` in %s; %s", key.Value, s.article, instead)
		return
	}
	keys := keysOf(t)
	hint := nearest(key.Value, keys)
	if hint == "" {
		for other, so := range sections {
			if other != t && (so.name == "agent" || so.name == "model" || so.name == "file") && slices.Contains(keysOf(other), key.Value) {
				d.problem(key, path, "unknown key `%s` in %s; it is a key of %s", key.Value, s.article, so.article)
				return
			}
		}
	}
	d.problem(key, path, "unknown key `%s` in %s%s", key.Value, s.article, didYouMean(key.Value, keys))
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, f field) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "`%s` takes a list, not %s", lastKey(path), describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		d.value(c, out.Index(i), fmt.Sprintf("%s[%d]", path, i), f)
	}
	v.Set(out)
}

// object decodes a mapping with free keys.
func (d *decoder) object(n *yaml.Node, v reflect.Value, path string, f field) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "`%s` takes names and values, not %s", lastKey(path), describe(n))
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(value, elem, join(path, key.Value), f)
		out.SetMapIndex(reflect.ValueOf(key.Value), elem)
	}
	v.Set(out)
}

// plain returns n as nil, bool, int, float64, string, []any or map[string]any:
// what JSON can say.
func (d *decoder) plain(n *yaml.Node, path string) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = d.plain(n.Content[i+1], join(path, n.Content[i].Value))
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = d.plain(c, fmt.Sprintf("%s[%d]", path, i))
		}
		return out
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		var i int
		if n.Load(&i) == nil {
			return i
		}
		fallthrough
	case "!!float":
		var x float64
		if n.Load(&x) != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			d.problem(n, path, "`%s` takes a number that JSON can write, not %s", lastKey(path), n.Value)
			return nil
		}
		return x
	}
	return n.Value
}

// describe says what a node is, for a message.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!str":
		return "the text `" + shorten(n.Value) + "`"
	}
	return "`" + shorten(n.Value) + "`"
}

func shorten(s string) string {
	const most = 40
	s, _, cut := strings.Cut(s, "\n")
	if r := []rune(s); len(r) > most {
		s, cut = string(r[:most]), true
	}
	if cut {
		s += "…"
	}
	return s
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func lastKey(path string) string {
	return path[strings.LastIndexByte(path, '.')+1:]
}
