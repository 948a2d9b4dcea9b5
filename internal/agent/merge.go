package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
)

// Merge returns source with patch applied as a JSON merge patch (RFC 7396):
// mappings merge, null removes a key, everything else replaces what is there.
// Comments, anchors, the order of keys and the style of values that the patch
// does not touch stay, and so does the indentation if it is the same everywhere;
// blank lines between keys do not.
//
// A value that is an alias becomes a copy of its own before something inside it
// is changed, so that a patch changes only the place that it names. If what is
// replaced carries an anchor that is used elsewhere, the first use becomes the
// anchor.
//
// The result is YAML but need not be an agent file: the caller parses it. The
// error has CodeInvalid.
func Merge(source []byte, patch map[string]any) ([]byte, error) {
	// A full read first refuses what is too large or refers to itself; what follows
	// walks aliases without looking.
	tree, problem := readTree(source)
	if problem == nil && tree.Kind != yaml.MappingNode {
		problem = &Problem{Line: tree.Line, Column: tree.Column, Message: "an agent file holds keys and values"}
	}
	if problem != nil {
		return nil, fmt.Errorf("merge into an agent file: %w", &FileError{File: "file", Problems: []Problem{*problem}})
	}
	var doc yaml.Node
	if err := yaml.Load(source, &doc); err != nil {
		return nil, fmt.Errorf("merge into an agent file: %w", &FileError{File: "file", Problems: []Problem{*yamlProblem(err)}})
	}
	l := layoutOf(&doc)
	root := own(&doc.Content[0])
	if err := mergeInto(root, patch, 0); err != nil {
		return nil, err
	}
	mendAnchors(&doc)
	out, err := yaml.Dump(&doc, yaml.WithIndent(l.indent), yaml.WithCompactSeqIndent(l.compact), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write the merged agent file: %w", err)
	}
	return out, nil
}

// layout is how a file is indented.
type layout struct {
	indent  int
	compact bool // the dashes of a list stand under its key, not to the right of it
}

// layoutOf looks at the first block in a file of each kind.
func layoutOf(doc *yaml.Node) layout {
	l := layout{indent: 2}
	foundMap, foundList := false, false
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if n.Style&yaml.FlowStyle != 0 || v.Style&yaml.FlowStyle != 0 || len(v.Content) == 0 {
				continue
			}
			by := v.Content[0].Column - k.Column
			if v.Kind == yaml.SequenceNode {
				by = v.Column - k.Column
				if !foundList {
					l.compact, foundList = by == 0, true
				}
			}
			if !foundMap && by >= 2 && by <= 8 {
				l.indent, foundMap = by, true
			}
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(doc)
	return l
}

// own returns the node in a slot; an alias there is replaced by a copy of what it
// stands for first.
func own(slot **yaml.Node) *yaml.Node {
	if (*slot).Kind == yaml.AliasNode {
		c := clone((*slot).Alias)
		c.Anchor = ""
		*slot = c
	}
	return *slot
}

// clone copies a node. Anchors inside the copy go: the original keeps them.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = nil
	for _, child := range n.Content {
		if child.Kind != yaml.AliasNode {
			child = clone(child)
			child.Anchor = ""
		} else {
			alias := *child
			child = &alias
		}
		c.Content = append(c.Content, child)
	}
	return &c
}

func mergeInto(n *yaml.Node, patch map[string]any, depth int) error {
	if depth > maxDepth {
		return holdfast.Errorf(holdfast.CodeInvalid, "the patch is nested more than %d levels deep", maxDepth)
	}
	for _, key := range slices.Sorted(maps.Keys(patch)) {
		value := patch[key]
		at := -1
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key && n.Content[i].ShortTag() != "!!merge" {
				at = i
			}
		}
		if at < 0 {
			at = takeMerged(n, key)
		}
		sub, isObject := value.(map[string]any)
		switch {
		case value == nil:
			if at >= 0 {
				n.Content = slices.Delete(n.Content, at, at+2)
			}
		case isObject && at >= 0:
			if old := own(&n.Content[at+1]); old.Kind == yaml.MappingNode {
				if err := mergeInto(old, sub, depth+1); err != nil {
					return err
				}
				continue
			}
			fallthrough
		default:
			fresh, err := toNode(value)
			if err != nil {
				return err
			}
			if at < 0 {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, fresh)
				continue
			}
			old := n.Content[at+1]
			fresh.HeadComment, fresh.LineComment, fresh.FootComment = old.HeadComment, old.LineComment, old.FootComment
			if fresh.Kind == yaml.ScalarNode && old.Kind == yaml.ScalarNode && fresh.Tag == old.ShortTag() && !strings.Contains(fresh.Value, "\n") {
				fresh.Style = old.Style &^ (yaml.LiteralStyle | yaml.FoldedStyle)
			}
			n.Content[at+1] = fresh
		}
	}
	return nil
}

// takeMerged looks for a key in what n merges with <<. If it is there, the merge
// is written out, so that the key becomes n's own, and its index is returned.
func takeMerged(n *yaml.Node, key string) int {
	x := expander{left: maxNodes, open: map[*yaml.Node]bool{}}
	whole := x.expand(n, 0)
	if x.problem != nil {
		return -1
	}
	if k, _ := member(whole, key); k == nil {
		return -1
	}
	have := map[string]bool{}
	var content []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() != "!!merge" {
			have[n.Content[i].Value] = true
			content = append(content, n.Content[i], n.Content[i+1])
		}
	}
	at := -1
	for i := 0; i+1 < len(whole.Content); i += 2 {
		if k := whole.Content[i]; !have[k.Value] {
			if k.Value == key {
				at = len(content)
			}
			content = append(content, k, whole.Content[i+1])
		}
	}
	n.Content = content
	return at
}

// toNode writes a value of a patch as YAML.
func toNode(value any) (*yaml.Node, error) {
	js, err := json.Marshal(value)
	if err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the patch holds a value that JSON cannot write")
	}
	var doc yaml.Node
	if err := yaml.Load(js, &doc); err != nil {
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, "the patch holds a value that YAML cannot write")
	}
	n := doc.Content[0]
	plainStyle(n)
	return n, nil
}

// plainStyle takes the look of JSON from a value: texts are quoted only where
// they must be, and written as blocks if they have several lines.
func plainStyle(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	n.Tag = n.ShortTag()
	n.Style = 0
	if n.Tag == "!!str" && strings.Contains(n.Value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	for _, c := range n.Content {
		plainStyle(c)
	}
}

// mendAnchors sees to it that every alias finds, before it and under its name,
// what it stands for: that may have been in what was removed, or the alias may be
// in a copy that stands behind another anchor of the same name.
func mendAnchors(doc *yaml.Node) {
	moved := map[*yaml.Node]*yaml.Node{} // where an anchor was → where it is now
	named := map[string]*yaml.Node{}     // what a name stands for at this place
	var walk func(slot **yaml.Node)
	walk = func(slot **yaml.Node) {
		n := *slot
		if n.Kind == yaml.AliasNode {
			now := moved[n.Alias]
			if now != nil && named[now.Anchor] == now {
				n.Alias = now
				return
			}
			c := clone(n.Alias)
			c.Anchor = ""
			if now == nil {
				c.Anchor = n.Value
				moved[n.Alias], named[n.Value] = c, c
			}
			*slot, n = c, c
		} else if n.Anchor != "" {
			moved[n], named[n.Anchor] = n, n
		}
		for i := range n.Content {
			walk(&n.Content[i])
		}
	}
	walk(&doc)
}
