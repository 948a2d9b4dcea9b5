package scripted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

const (
	maxScript = 4 << 20   // bytes of a script
	maxWords  = 1_000_000 // say_words
	maxDepth  = 100       // nesting of arguments
	maxNodes  = 100_000   // nodes with every alias followed
)

// readScript finds the script of a configuration: inline as a mapping or a text
// of several lines, or the path of a file below cfg.BaseDir.
func readScript(cfg model.Config, opt Options) (name string, data []byte, err error) {
	for key := range cfg.ProviderOpts {
		if key != "script" {
			return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: unknown provider option %q; known is script", key)
		}
	}
	switch s := cfg.ProviderOpts["script"].(type) {
	case nil:
		return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: provider_opts.script is missing: a path beside the agent file, or the script itself")
	case map[string]any:
		data, err := yaml.Dump(s)
		if err != nil {
			return "", nil, holdfast.WrapError(holdfast.CodeInvalid, err, "scripted model: the inline script cannot be read")
		}
		return "script", data, nil
	case string:
		if strings.Contains(s, "\n") {
			return "script", []byte(s), nil
		}
		data, err := opt.readFile(cfg.BaseDir, s)
		if err != nil {
			return "", nil, err
		}
		return s, data, nil
	default:
		return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: provider_opts.script must be a path or a script, not %T", s)
	}
}

func (o Options) readFile(baseDir, path string) ([]byte, error) {
	read := o.ReadFile
	if read == nil {
		read = readBelow
	}
	data, err := read(baseDir, path)
	switch {
	case err == nil:
		return data, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("scripted model: there is no script %q beside the agent file", path))
	default:
		return nil, holdfast.WrapError(holdfast.CodeInvalid, err, fmt.Sprintf("scripted model: the script %q cannot be read; it must lie in the folder of the agent file", path))
	}
}

// readBelow reads a file that lies in dir: os.Root refuses every other one,
// through symbolic links too.
func readBelow(dir, path string) ([]byte, error) {
	if dir == "" {
		return nil, errors.New("the agent has no folder")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxScript+1))
}

// parse loads a script. Errors say where in the script they are.
func parse(name string, data []byte) (*script, error) {
	if len(data) > maxScript {
		return nil, holdfast.Errorf(holdfast.CodeTooLarge, "scripted model: %s is larger than %d MiB", name, maxScript>>20)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: %s is empty", name)
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: %s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	l := &loader{}
	s := l.script(root)
	if l.err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "scripted model: %s:%s", name, l.err)
	}
	return s, nil
}

// loader walks the nodes of a script and keeps the first error.
type loader struct {
	err   error
	nodes int
}

func (l *loader) fail(n *yaml.Node, format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("%d: %s", n.Line, fmt.Sprintf(format, args...))
	}
}

// mapping calls f for every key of a mapping. f reports whether it knows the
// key; keys are those it knows, for the error.
func (l *loader) mapping(n *yaml.Node, where string, keys []string, f func(key string, v *yaml.Node) bool) {
	n = l.resolve(n)
	if n.Kind != yaml.MappingNode {
		l.fail(n, "%s must be a mapping with the keys %s", where, strings.Join(keys, ", "))
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && l.err == nil; i += 2 {
		key := n.Content[i].Value
		if seen[key] {
			l.fail(n.Content[i], "%s: the key %q comes twice", where, key)
			return
		}
		seen[key] = true
		if !f(key, l.resolve(n.Content[i+1])) {
			l.fail(n.Content[i], "%s: unknown key %q; known are %s", where, key, strings.Join(keys, ", "))
		}
	}
}

// resolve follows an alias. It counts, because a few aliases can stand for
// billions of nodes.
func (l *loader) resolve(n *yaml.Node) *yaml.Node {
	if l.nodes++; l.nodes > maxNodes {
		l.fail(n, "the script has more than %d nodes, aliases counted as often as they are used", maxNodes)
	}
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func (l *loader) list(n *yaml.Node, where string, f func(i int, v *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		l.fail(n, "%s must be a list", where)
		return
	}
	for i := range n.Content {
		if l.err != nil {
			return
		}
		f(i, l.resolve(n.Content[i]))
	}
}

func (l *loader) str(n *yaml.Node, where string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		l.fail(n, "%s must be a text", where)
		return ""
	}
	return n.Value
}

func (l *loader) text(n *yaml.Node, where string) *text {
	t, err := parseText(l.str(n, where))
	if err != nil {
		l.fail(n, "%s: %s", where, err)
	}
	return t
}

// integer reads a whole number from least to most.
func (l *loader) integer(n *yaml.Node, where string, least, most int64) int64 {
	v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
	if n.Kind != yaml.ScalarNode || err != nil || v < least || v > most {
		l.fail(n, "%s must be a whole number from %d to %d", where, least, most)
	}
	return v
}

func (l *loader) boolean(n *yaml.Node, where string) bool {
	if n.Kind == yaml.ScalarNode {
		switch n.Value {
		case "true":
			return true
		case "false":
			return false
		}
	}
	l.fail(n, "%s must be true or false", where)
	return false
}

func (l *loader) duration(n *yaml.Node, where string) time.Duration {
	d, err := time.ParseDuration(l.str(n, where))
	if err != nil || d < 0 {
		l.fail(n, "%s must be a duration such as 20ms or 1.5s", where)
	}
	return d
}

func (l *loader) regexp(n *yaml.Node, where string) *regexp.Regexp {
	re, err := regexp.Compile(l.str(n, where))
	if err != nil {
		l.fail(n, "%s: %s", where, err)
	}
	return re
}

// nonEmpty is a text that selects something: empty it would select all.
func (l *loader) nonEmpty(n *yaml.Node, where string) string {
	s := strings.TrimSpace(l.str(n, where))
	if s == "" {
		l.fail(n, "%s is empty", where)
	}
	return s
}

// value turns a node into a JSON value.
func (l *loader) value(n *yaml.Node, where string, depth int) *value {
	n = l.resolve(n)
	if depth > maxDepth {
		l.fail(n, "%s is nested deeper than %d", where, maxDepth)
		return &value{}
	}
	switch n.Kind {
	case yaml.MappingNode:
		v := &value{object: true}
		for i := 0; i+1 < len(n.Content) && l.err == nil; i += 2 {
			key := n.Content[i].Value
			if slices.Contains(v.keys, key) {
				l.fail(n.Content[i], "%s: the key %q comes twice", where, key)
			}
			v.keys = append(v.keys, key)
			v.list = append(v.list, l.value(n.Content[i+1], where+"."+key, depth+1))
		}
		return v
	case yaml.SequenceNode:
		v := &value{}
		for i := range n.Content {
			if l.err != nil {
				break
			}
			v.list = append(v.list, l.value(n.Content[i], where, depth+1))
		}
		return v
	}
	switch n.Tag {
	case "!!null":
		return &value{scalar: []byte("null")}
	case "!!bool":
		return &value{scalar: []byte(strconv.FormatBool(l.boolean(n, where)))}
	case "!!int":
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
		if err != nil {
			l.fail(n, "%s: %q is not a whole number that fits 64 bits", where, n.Value)
		}
		return &value{scalar: strconv.AppendInt(nil, i, 10)}
	case "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || f-f != 0 {
			l.fail(n, "%s: %q is not a number that JSON has", where, n.Value)
			return &value{}
		}
		return &value{scalar: strconv.AppendFloat(nil, f, 'g', -1, 64)}
	}
	return &value{str: l.text(n, where)}
}
