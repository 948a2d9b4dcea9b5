package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

func (o *Object) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "`%s` takes keys and values, not %s", lastKey(path), describe(n))
		return
	}
	var b bytes.Buffer
	d.writeJSON(&b, n, path)
	*o = b.Bytes()
}

// writeJSON writes n as JSON, members in their order.
func (d *decoder) writeJSON(b *bytes.Buffer, n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			writeText(b, n.Content[i].Value)
			b.WriteByte(':')
			d.writeJSON(b, n.Content[i+1], join(path, n.Content[i].Value))
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			d.writeJSON(b, c, fmt.Sprintf("%s[%d]", path, i))
		}
		b.WriteByte(']')
	default:
		v := d.plain(n, path)
		if s, ok := v.(string); ok {
			writeText(b, s)
			return
		}
		out, err := json.Marshal(v)
		if err != nil { // numbers that JSON cannot write were reported by plain
			out = []byte("null")
		}
		b.Write(out)
	}
}

func writeText(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("agent: a text cannot be written as JSON: " + err.Error())
	}
	b.Truncate(b.Len() - 1) // the newline that Encode adds
}

func (l *AgentList) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "`agents` takes names and agents, not %s", describe(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		sub := join(path, key.Value)
		a := &Agent{Name: key.Value}
		if strings.TrimSpace(key.Value) == "" || strings.TrimSpace(key.Value) != key.Value {
			d.problem(key, sub, "an agent's name must not be empty nor begin or end with a space")
		}
		d.value(value, reflect.ValueOf(a).Elem(), sub, field{})
		d.at[sub] = mark{key.Line, key.Column}
		if value.Kind == yaml.MappingNode {
			*l = append(*l, a)
		}
	}
	if len(n.Content) == 0 {
		d.problem(n, path, "`agents` is empty; a file needs at least one agent")
	}
}

// decodeYAML looks at the type first: what else is in a toolset of a type that is
// not offered does not matter.
func (t *Toolset) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		key, typ := member(n, "type")
		switch {
		case key == nil && strings.HasPrefix(path, "mcps."):
			n.Content = append(n.Content, toolsetNode(n, "mcp", nil).Content...)
		case typ != nil && !isNull(typ):
			if !d.offeredType(typ, join(path, "type")) {
				return
			}
			if typ.Value != "mcp" && strings.HasPrefix(path, "mcps.") {
				d.problem(typ, join(path, "type"), "what is under `mcps` has type mcp, not `%s`", shorten(typ.Value))
				return
			}
		}
	}
	d.mapping(n, reflectElem(t), path)
}

// reflectElem is what a pointer points to.
func reflectElem(p any) reflect.Value { return reflect.ValueOf(p).Elem() }

// offeredType reports whether a type of toolset is offered, and why not.
func (d *decoder) offeredType(n *yaml.Node, path string) bool {
	what := "toolset of type `" + n.Value + "`"
	typ, ok := toolsetTypes[n.Value]
	if !ok {
		if instead, known := refusedTypes[n.Value]; known {
			d.notOffered(n, path, what, instead)
		} else {
			d.problem(n, path, "unknown type of toolset `%s`%s", shorten(n.Value), didYouMean(n.Value, ToolsetTypes()))
		}
		return false
	}
	if instead, no := d.opt.NotOffered["toolset:"+n.Value]; no {
		d.notOffered(n, path, what, instead)
		return false
	}
	if typ.sandbox && d.opt.Hosted && !d.opt.Sandbox {
		d.notOffered(n, path, what, needsSandbox)
		return false
	}
	return true
}

func (l *CommandList) decodeYAML(d *decoder, n *yaml.Node, path string) {
	groups := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		groups = n.Content
	}
	for _, g := range groups {
		if g.Kind != yaml.MappingNode {
			d.problem(g, path, "`commands` takes names and prompts, not %s", describe(g))
			continue
		}
		for i := 0; i+1 < len(g.Content); i += 2 {
			key, value := g.Content[i], g.Content[i+1]
			sub := join(path, key.Value)
			if slices.ContainsFunc(*l, func(c *Command) bool { return c.Name == key.Value }) {
				d.problem(key, sub, "command `%s` is given twice", key.Value)
			}
			c := &Command{Name: key.Value}
			if value.Kind == yaml.MappingNode {
				d.mapping(value, reflect.ValueOf(c).Elem(), sub)
			} else {
				d.value(value, reflect.ValueOf(&c.Instruction).Elem(), sub, field{})
			}
			if what := refusedIn(c.Instruction); what != "" {
				d.notOffered(value, sub, "`"+shorten(what)+"` in a command", "say in the prompt which tool the agent is to use")
			}
			*l = append(*l, c)
		}
	}
}

// efforts are the words that a thinking_budget may be.
var efforts = []string{
	"none", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive",
	"adaptive/low", "adaptive/medium", "adaptive/high", "adaptive/xhigh", "adaptive/max",
}

func (b *ThinkingBudget) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		var tokens int64
		if n.Tag == "!!int" && n.Load(&tokens) == nil && tokens >= -1 {
			*b = ThinkingBudget(strconv.FormatInt(tokens, 10))
			return
		}
		if slices.Contains(efforts, n.Value) {
			*b = ThinkingBudget(n.Value)
			return
		}
	}
	d.problem(n, path, "`%s` takes a number of tokens (0 is none, -1 as the model likes) or one of %s, not %s",
		lastKey(path), strings.Join(efforts, ", "), describe(n))
}

func (v *Duration) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode {
		var seconds int64
		if n.Tag == "!!int" && n.Load(&seconds) == nil && seconds >= 0 && seconds <= math.MaxInt64/int64(time.Second) {
			*v = Duration(time.Duration(seconds) * time.Second)
			return
		}
		if x, err := time.ParseDuration(n.Value); err == nil && x >= 0 {
			*v = Duration(x)
			return
		}
	}
	d.problem(n, path, "`%s` takes a duration such as 30s or 2m, not %s", lastKey(path), describe(n))
}

func (v *Defer) decodeYAML(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		v.All = strings.EqualFold(n.Value, "true")
		return
	}
	if n.Kind == yaml.SequenceNode {
		d.list(n, reflect.ValueOf(&v.Tools).Elem(), path, field{})
		return
	}
	d.problem(n, path, "`defer` takes true, false or a list of tools, not %s", describe(n))
}
