package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Source holds agent files by name. Implementations are safe for concurrent use
// and answer from what is there at the time of the call, not at start.
type Source interface {
	// List returns the files, sorted by name. One that cannot be parsed is listed
	// with its problem.
	List(ctx context.Context) ([]Summary, error)
	// Load returns a file by its name, with or without .yaml or .yml, unparsed.
	// An unknown one is an error with CodeNotFound that lists the known ones.
	Load(ctx context.Context, ref string) (name string, source []byte, err error)
}

// Summary is what a list of agents shows of a file.
type Summary struct {
	Name        string `json:"name"` // of the file, such as pirate.yaml
	Description string `json:"description"`
	Multi       bool   `json:"multi"` // several agents
	// Problem is why the file cannot be used, "" if it can.
	Problem string `json:"problem,omitempty"`
}

// summarize parses a file for a list.
func summarize(name string, source []byte, opt Options) Summary {
	team, err := Parse(name, source, opt)
	if err != nil {
		return Summary{Name: name, Problem: holdfast.PublicMessage(err)}
	}
	return Summary{
		Name:        name,
		Description: cmp.Or(team.Root().Description, team.Metadata.Description),
		Multi:       len(team.Agents) > 1,
	}
}

// Dir is a folder of agent files: those in it, not in its subfolders, whose name
// ends in .yaml or .yml and does not begin with a dot. What is asked for by name
// cannot lead out of the folder, not by .. and not by symbolic links.
type Dir struct {
	root *os.Root
	opt  Options

	mu    sync.Mutex
	cache map[string]cached // by name; guarded by mu
}

// cached is the summary of a file as it was at a time.
type cached struct {
	changed time.Time
	size    int64
	summary Summary
}

// OpenDir opens a folder of agent files. opt is for the problems in List.
func OpenDir(dir string, opt Options) (*Dir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of agent files: %w", err)
	}
	return &Dir{root: root, opt: opt, cache: map[string]cached{}}, nil
}

// Close releases the folder.
func (d *Dir) Close() error { return d.root.Close() }

// List implements [Source]. Files are parsed again only if their size or time
// changed.
func (d *Dir) List(ctx context.Context) ([]Summary, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	out := make([]Summary, 0, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list agent files: %w", err)
		}
		out = append(out, d.summary(name))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.cache, func(name string, _ cached) bool { return !slices.Contains(names, name) })
	return out, nil
}

func (d *Dir) summary(name string) Summary {
	info, err := d.root.Stat(name)
	if err != nil {
		return Summary{Name: name, Problem: "the file cannot be read"}
	}
	d.mu.Lock()
	c, ok := d.cache[name]
	d.mu.Unlock()
	if ok && c.changed.Equal(info.ModTime()) && c.size == info.Size() {
		return c.summary
	}
	source, err := d.read(name)
	if err != nil {
		return Summary{Name: name, Problem: holdfast.PublicMessage(err)}
	}
	s := summarize(name, source, d.opt)
	d.mu.Lock()
	d.cache[name] = cached{info.ModTime(), info.Size(), s}
	d.mu.Unlock()
	return s
}

// names returns the names of the files, sorted.
func (d *Dir) names() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, holdfast.WrapError(holdfast.CodeUnavailable, err, "the folder of agent files cannot be read")
	}
	var names []string
	for _, e := range entries {
		if isAgentFile(e.Name()) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Load implements [Source].
func (d *Dir) Load(_ context.Context, ref string) (string, []byte, error) {
	if err := checkRef(ref); err != nil {
		return "", nil, err
	}
	names, err := d.names()
	if err != nil {
		return "", nil, err
	}
	name := resolve(ref, names)
	if name == "" {
		return "", nil, unknown(ref, names)
	}
	source, err := d.read(name)
	return name, source, err
}

// read reads a file whole.
func (d *Dir) read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, unreadable(name, errors.New("not a regular file"))
	}
	source, err := io.ReadAll(io.LimitReader(f, MaxSource+1))
	if err != nil {
		return nil, unreadable(name, err)
	}
	if len(source) > MaxSource {
		return nil, holdfast.Errorf(holdfast.CodeTooLarge, "agent file %s has more than %d bytes", name, MaxSource)
	}
	return source, nil
}

func unreadable(name string, err error) error {
	return holdfast.WrapError(holdfast.CodeUnavailable, err, "agent file "+name+" cannot be read")
}

// builtin is a source in memory.
type builtin struct {
	files     map[string][]byte
	names     []string
	summaries []Summary
}

// Builtin returns a source of files that are part of the program, by name
// (demo.yaml). The map is not to be changed afterwards.
func Builtin(files map[string][]byte, opt Options) Source {
	b := &builtin{files: files, names: slices.Sorted(maps.Keys(files))}
	for _, name := range b.names {
		b.summaries = append(b.summaries, summarize(name, files[name], opt))
	}
	return b
}

func (b *builtin) List(context.Context) ([]Summary, error) { return slices.Clone(b.summaries), nil }

func (b *builtin) Load(_ context.Context, ref string) (string, []byte, error) {
	if err := checkRef(ref); err != nil {
		return "", nil, err
	}
	name := resolve(ref, b.names)
	if name == "" {
		return "", nil, unknown(ref, b.names)
	}
	return name, slices.Clone(b.files[name]), nil
}

// chain is several sources as one.
type chain []Source

// Sources returns a source that asks each of list in turn; the first that has a
// file wins. Names that differ only in .yaml and .yml are the same.
func Sources(list ...Source) Source { return chain(list) }

func (c chain) List(ctx context.Context) ([]Summary, error) {
	seen := map[string]bool{}
	var out []Summary
	for _, s := range c {
		list, err := s.List(ctx)
		if err != nil {
			return nil, err
		}
		before := maps.Clone(seen)
		for _, e := range list {
			if !before[stem(e.Name)] {
				seen[stem(e.Name)] = true
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Summary) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (c chain) Load(ctx context.Context, ref string) (string, []byte, error) {
	for _, s := range c {
		name, source, err := s.Load(ctx, ref)
		if err == nil || holdfast.CodeOf(err) != holdfast.CodeNotFound {
			return name, source, err
		}
	}
	list, err := c.List(ctx)
	if err != nil {
		return "", nil, err
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	return "", nil, unknown(ref, names)
}

// isAgentFile reports whether a name is one of an agent file.
func isAgentFile(name string) bool {
	return stem(name) != name && stem(name) != "" && !strings.HasPrefix(name, ".")
}

// stem is a name without .yaml or .yml.
func stem(name string) string {
	switch ext := path.Ext(name); ext {
	case ".yaml", ".yml":
		return strings.TrimSuffix(name, ext)
	}
	return name
}

// resolve returns the name that ref stands for: itself, or with .yaml, or with
// .yml. "" if there is none.
func resolve(ref string, names []string) string {
	for _, name := range []string{ref, ref + ".yaml", ref + ".yml"} {
		if slices.Contains(names, name) {
			return name
		}
	}
	return ""
}

// checkRef refuses what cannot be the plain name of a file.
func checkRef(ref string) error {
	if ref == "" || strings.HasPrefix(ref, ".") || strings.ContainsAny(ref, "/\\:\x00") {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not the name of an agent file; names have no folders", shorten(ref))
	}
	return nil
}

// maxListed is how many known names an error lists.
const maxListed = 30

func unknown(ref string, names []string) error {
	if len(names) == 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q, nor any other", shorten(ref))
	}
	hint := ""
	if n := nearest(ref, names); n != "" {
		hint = fmt.Sprintf("did you mean %s? ", n)
	}
	more := ""
	if len(names) > maxListed {
		more = fmt.Sprintf(" and %d more", len(names)-maxListed)
		names = names[:maxListed]
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q; %sknown: %s%s", shorten(ref), hint, strings.Join(names, ", "), more)
}
