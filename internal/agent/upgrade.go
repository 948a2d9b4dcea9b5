package agent

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Newest is the newest schema version that is known. Every version from 0 to it
// is accepted.
const Newest Version = "16"

// newest is Newest as a number.
var newest = func() int {
	n, err := strconv.Atoi(string(Newest))
	if err != nil {
		panic("agent: Newest is not a number: " + string(Newest))
	}
	return n
}()

// steps[n] turns a file of schema version n into one of version n+1, in place.
// Versions without a step differ from the next in keys that were added, and a
// key that is known is taken whatever the version that a file names: nobody is
// served by a refusal of a key that we understand. What a version took away and
// we do not offer either (env, rag, …) is refused by name in every version.
var steps = map[int]func(*decoder, *yaml.Node){
	0: fromZero,
}

// versionZero names, for the keys that only version 0 has, what they became.
var versionZero = map[string]string{
	"agent.think":  "write toolsets: [{type: think}]",
	"agent.todo":   "write toolsets: [{type: todo}]",
	"agent.memory": "write toolsets: [{type: memory}]",
	"model.type":   "write `provider`",
}

// upgrade runs the steps from version to the newest.
func upgrade(d *decoder, root *yaml.Node, version int) {
	for v := version; v < newest; v++ {
		if step := steps[v]; step != nil {
			step(d, root)
		}
	}
}

// givenVersion reads the version of a file. ok is false if it names none.
func givenVersion(d *decoder, root *yaml.Node) (version int, ok bool) {
	_, v := member(root, "version")
	if v == nil || isNull(v) || v.Kind == yaml.ScalarNode && v.Value == "" {
		removeMember(root, "version")
		return newest, false
	}
	if v.Kind == yaml.ScalarNode {
		if n, err := strconv.Atoi(v.Value); err == nil && n >= 0 && n <= newest {
			v.Value = strconv.Itoa(n)
			return n, true
		} else if err == nil && n > newest {
			d.problem(v, "version", "version `%s` is newer than this program knows; the newest is %s", v.Value, Newest)
			return newest, true
		}
	}
	d.problem(v, "version", "version takes a number from 0 to %s, not %s", Newest, describe(v))
	return newest, true
}

// fromZero upgrades version 0: the tools think, todo and memory were keys of an
// agent and became toolsets; a model's type became its provider.
func fromZero(d *decoder, root *yaml.Node) {
	if _, models := member(root, "models"); models != nil && models.Kind == yaml.MappingNode {
		for i := 1; i < len(models.Content); i += 2 {
			if k, _ := member(models.Content[i], "type"); k != nil {
				k.Value = "provider"
				if n := countMember(models.Content[i], "provider"); n > 1 {
					d.problem(k, "models."+models.Content[i-1].Value+".type", "`type` and `provider` are both given; they are the same")
				}
			}
		}
	}
	_, agents := member(root, "agents")
	if agents == nil || agents.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(agents.Content); i += 2 {
		if agents.Content[i+1].Kind == yaml.MappingNode {
			agentFromZero(d, agents.Content[i].Value, agents.Content[i+1])
		}
	}
}

func agentFromZero(d *decoder, name string, a *yaml.Node) {
	path := "agents." + name
	var added []*yaml.Node
	if k, v := member(a, "todo"); k != nil {
		switch {
		case v.Kind == yaml.MappingNode:
			_, on := member(v, "enabled")
			if on != nil && !isBool(on) {
				d.problem(on, path+".todo.enabled", "`enabled` takes true or false, not %s", describe(on))
			}
			if on == nil || strings.EqualFold(on.Value, "true") {
				removeMember(v, "enabled")
				added = append(added, toolsetNode(k, "todo", v.Content))
			}
		case isBool(v) || isNull(v):
			if strings.EqualFold(v.Value, "true") {
				added = append(added, toolsetNode(k, "todo", nil))
			}
		default:
			d.problem(v, path+".todo", "`todo` takes true, false or {shared: true}, not %s", describe(v))
		}
		removeMember(a, "todo")
	}
	if k, v := member(a, "think"); k != nil {
		switch {
		case isBool(v) || isNull(v):
			if strings.EqualFold(v.Value, "true") {
				added = append(added, toolsetNode(k, "think", nil))
			}
		default:
			d.problem(v, path+".think", "`think` takes true or false, not %s", describe(v))
		}
		removeMember(a, "think")
	}
	if k, v := member(a, "memory"); k != nil {
		switch {
		case v.Kind == yaml.MappingNode:
			added = append(added, toolsetNode(k, "memory", v.Content))
		case !isNull(v):
			d.problem(v, path+".memory", "`memory` takes {path: …}, not %s", describe(v))
		}
		removeMember(a, "memory")
	}
	if len(added) == 0 {
		return
	}
	if k, list := member(a, "toolsets"); k != nil {
		if list.Kind == yaml.SequenceNode {
			list.Content = slices.Concat(added, list.Content)
			return
		}
		if !isNull(list) {
			return // reported when it is decoded
		}
		removeMember(a, "toolsets")
	}
	first := added[0]
	a.Content = append(a.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "toolsets", Line: first.Line, Column: first.Column},
		&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: added, Line: first.Line, Column: first.Column})
}

// toolsetNode returns the toolset that a key of version 0 stood for.
func toolsetNode(key *yaml.Node, typ string, pairs []*yaml.Node) *yaml.Node {
	scalar := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: key.Line, Column: key.Column}
	}
	return &yaml.Node{
		Kind: yaml.MappingNode, Tag: "!!map", Line: key.Line, Column: key.Column,
		Content: append([]*yaml.Node{scalar("type"), scalar(typ)}, pairs...),
	}
}

func countMember(n *yaml.Node, key string) int {
	count := 0
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			count++
		}
	}
	return count
}

func isBool(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!bool" }
