package agent

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

const (
	// MaxSource is the size in bytes above which a file is refused unread.
	MaxSource = 1 << 20

	// maxNodes bounds the tree after its aliases were followed. The largest of
	// the public agent files has a few thousand nodes.
	maxNodes = 100_000
	// maxBytes bounds the text in that tree.
	maxBytes = 8 << 20
	// maxDepth bounds nesting; schemas of structured output nest most.
	maxDepth = 200
)

// readTree parses the one YAML document of source and follows aliases and merge
// keys, so that what it returns is a tree of mappings, sequences and scalars
// whose nodes are shared by nobody. Nodes know the line and column they were
// written at. A problem is returned instead of a tree if there is none.
func readTree(source []byte) (*yaml.Node, *Problem) {
	switch {
	case len(source) > MaxSource:
		return nil, &Problem{Line: 1, Column: 1, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", len(source), MaxSource)}
	case !utf8.Valid(source):
		line, column := placeOfByte(source, validUTF8(source))
		return nil, &Problem{Line: line, Column: column, Message: "the file is not UTF-8 text"}
	case len(strings.TrimSpace(string(source))) == 0:
		return nil, &Problem{Line: 1, Column: 1, Message: "the file is empty; an agent file has at least `agents`"}
	}
	if directive.Match(source) {
		// The parser refuses to be told of YAML 1.2, which it reads all the same.
		source = bytes.Replace(source, []byte("%"), []byte("#"), 1)
	}
	var doc yaml.Node
	if err := yaml.Load(source, &doc); err != nil {
		p := yamlProblem(err)
		if p.Line == 0 {
			p.Line, p.Column = 1, 1
			if m := nextDocument.FindIndex(source); m != nil {
				p.Line, p.Column = placeOfByte(source, m[1]-len("---"))
			}
		}
		return nil, p
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, &Problem{Line: 1, Column: 1, Message: "the file holds no YAML document"}
	}
	x := expander{left: maxNodes, open: map[*yaml.Node]bool{}}
	tree := x.expand(doc.Content[0], 0)
	if x.problem != nil {
		return nil, x.problem
	}
	return tree, nil
}

// directive finds the line that says which YAML a file is.
var directive = regexp.MustCompile(`^\x{FEFF}?%YAML 1\.[0-9]+[ \t]*(#[^\n]*)?\r?\n`)

// nextDocument finds where a second document begins: after something that is not
// a comment.
var nextDocument = regexp.MustCompile(`(?m)^[^#\s-][^\n]*\n(?:[^\n]*\n)*?---`)

// validUTF8 returns how many bytes of source are UTF-8.
func validUTF8(source []byte) int {
	n := 0
	for n < len(source) {
		r, size := utf8.DecodeRune(source[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// placeOfByte returns the line and the column, in characters, of a byte.
func placeOfByte(source []byte, at int) (line, column int) {
	before := source[:at]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[1+bytes.LastIndexByte(before, '\n'):])
}

// yamlProblem says what the YAML parser found wrong.
func yamlProblem(err error) *Problem {
	if le, ok := err.(*yaml.LoadError); ok {
		p := &Problem{Line: le.Mark.Line, Column: le.Mark.Column, Message: "not valid YAML: " + le.Message}
		if le.ContextMsg != "" {
			p.Message += " (" + le.ContextMsg + ")"
		}
		if p.Line == 0 {
			p.Line, p.Column = le.ContextMark.Line, le.ContextMark.Column
		}
		return p
	}
	var list *yaml.LoadErrors
	if errors.As(err, &list) && len(list.Errors) > 0 {
		if strings.Contains(list.Errors[0].Message, "found multiple") {
			return &Problem{Message: "the file holds several YAML documents (---); an agent file is one"}
		}
		return yamlProblem(list.Errors[0])
	}
	return &Problem{Message: "not valid YAML: " + err.Error()}
}

// expander copies a node graph into a tree. The YAML library's own check on
// aliases works on what it decodes; as this package walks nodes itself, it keeps
// its own count.
type expander struct {
	left    int
	bytes   int
	open    map[*yaml.Node]bool // aliases that are being followed
	problem *Problem
}

func (x *expander) fail(n *yaml.Node, format string, args ...any) {
	if x.problem == nil {
		x.problem = &Problem{Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...)}
	}
}

func (x *expander) expand(n *yaml.Node, depth int) *yaml.Node {
	if x.problem != nil {
		return n
	}
	if x.left--; x.left < 0 {
		x.fail(n, "the file is too large once its aliases are followed (more than %d values)", maxNodes)
		return n
	}
	if depth > maxDepth {
		x.fail(n, "the file is nested more than %d levels deep", maxDepth)
		return n
	}
	if n.Kind == yaml.AliasNode {
		if x.open[n.Alias] {
			x.fail(n, "alias *%s contains itself", n.Value)
			return n
		}
		x.open[n.Alias] = true
		defer delete(x.open, n.Alias)
		return x.expand(n.Alias, depth+1)
	}
	if x.bytes += len(n.Value); x.bytes > maxBytes {
		x.fail(n, "the file is too large once its aliases are followed (more than %d bytes)", maxBytes)
		return n
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.ShortTag(), Value: n.Value, Line: n.Line, Column: n.Column}
	if !strings.HasPrefix(out.Tag, "!!") || out.Tag == "!!binary" {
		// A tag such as !include means something to the program that knows it; taken
		// as plain text the value would say something else.
		instead := "remove it"
		if n.Tag == "!include" {
			instead = "put what the other file holds in its place"
		}
		x.fail(n, "the tag %s is not known; %s", n.Tag, instead)
		return n
	}
	switch n.Kind {
	case yaml.MappingNode:
		x.mapping(n, out, depth)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			out.Content = append(out.Content, x.expand(c, depth+1))
		}
	}
	return out
}

// mapping copies the pairs of n to out: first those that n itself has, then, for
// merge keys (<<), those of the merged mappings that are not there yet.
func (x *expander) mapping(n, out *yaml.Node, depth int) {
	seen := map[string]*yaml.Node{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		key := x.expand(n.Content[i], depth+1)
		if key.Kind != yaml.ScalarNode {
			x.fail(key, "a key must be a text, not a list or a mapping")
			return
		}
		if first := seen[key.Value]; first != nil {
			x.fail(key, "key `%s` is given twice; it was first given in line %d", key.Value, first.Line)
			return
		}
		seen[key.Value] = key
		out.Content = append(out.Content, key, x.expand(n.Content[i+1], depth+1))
	}
	for _, m := range merged {
		tree := x.expand(m, depth+1)
		if x.problem != nil {
			return
		}
		sources := []*yaml.Node{tree}
		if tree.Kind == yaml.SequenceNode {
			sources = tree.Content
		}
		for _, s := range sources {
			if s.Kind != yaml.MappingNode {
				x.fail(m, "<< takes a mapping or a list of mappings")
				return
			}
			for i := 0; i+1 < len(s.Content); i += 2 {
				if key := s.Content[i]; seen[key.Value] == nil {
					seen[key.Value] = key
					out.Content = append(out.Content, key, s.Content[i+1])
				}
			}
		}
	}
}

// member returns the key node and the value of a key in a mapping, nil if it is
// not there.
func member(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// removeMember takes a key out of a mapping.
func removeMember(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return
		}
	}
}

// isNull reports whether a value was left empty or given as null.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
