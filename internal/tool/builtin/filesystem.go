package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	maxListed       = 2000 // entries of a listing, a tree, a search
	maxTreeDepth    = 32
	maxEditFile     = 16 << 20 // bytes of a file that is edited
	maxSearchFile   = 8 << 20  // bytes of a file that is searched
	maxMatches      = 1000     // lines that a search answers with
	maxMatchLine    = 500      // bytes of such a line
	maxAllowed      = 64       // directories added in a session
	postEditTimeout = time.Minute
)

// allowedStateKey is the key under which the session's log keeps the added
// directories. It is stored: it never changes.
const allowedStateKey = "allowed_directories"

// PostEdit is a command that runs after a file was written or edited.
type PostEdit struct {
	// Path is a glob; without a slash it is compared with the name of the file.
	Path string
	// Cmd is run by the shell in the working directory; $path is the file.
	Cmd string
}

// FilesystemOptions configure the filesystem toolset.
type FilesystemOptions struct {
	// Dir is the session's working directory. Required; it must exist.
	Dir string
	// IgnoreVCS leaves out of listings and searches what git ignores.
	IgnoreVCS bool
	// PostEdit are run in order, those whose path matches.
	PostEdit []PostEdit
	// MayAdd lets add_allowed_directory work. It asks for approval each time.
	MayAdd bool
	// Shell is how PostEdit commands run; its Dir is not used.
	Shell ShellOptions
}

type filesystem struct {
	opts     FilesystemOptions
	dir      string // absolute, without links
	named    string // absolute, as configured
	postEdit []globs
	host     *host
}

// NewFilesystem returns the filesystem toolset. Every path is resolved by the
// kernel beneath the working directory (os.Root), so that neither "..", nor a
// link, nor a directory that is swapped in the meantime leads out of it.
// Absolute paths are taken if they lie beneath it. Directories that were added
// in the session, kept in its log, count as well. An error has the code invalid.
func NewFilesystem(o FilesystemOptions) (*Toolset, error) {
	f := &filesystem{opts: o}
	var err error
	if f.named, err = filepath.Abs(o.Dir); err == nil && o.Dir != "" {
		f.dir, err = filepath.EvalSymlinks(f.named)
	}
	if info, statErr := os.Stat(f.dir); err != nil || statErr != nil || !info.IsDir() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "filesystem: the working directory %q is no directory", o.Dir)
	}
	for _, p := range o.PostEdit {
		g, err := newGlobs(p.Path)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "filesystem: post_edit: %v", err)
		}
		f.postEdit = append(f.postEdit, g)
	}
	f.host = newHost(o.Shell)

	path := text("path", "Path of the file, relative to the working directory or absolute")
	dir := text("path", "Path of the directory, relative to the working directory or absolute")
	exclude := texts("excludePatterns", "Globs of what to leave out")
	reads := func(name, title, description string, schema json.RawMessage, h handler) entry {
		return entry{tool.Definition{
			Name: name, Title: title, Description: description, Parameters: schema, Effect: tool.EffectReadOnly, Concurrent: true,
		}, h}
	}
	writes := func(name, title, description string, effect tool.Effect, schema json.RawMessage, h handler) entry {
		return entry{tool.Definition{Name: name, Title: title, Description: description, Parameters: schema, Effect: effect}, h}
	}
	return &Toolset{name: "filesystem", close: f.host.close, instructions: "Relative paths of the file tools start at the working directory. " +
		"Read several files with one read_multiple_files, and part of a long one with line and limit.", entries: []entry{
		reads("read_file", "Read file", "Read a text file, the whole or some of its lines.", object([]string{"path"}, path,
			number("line", "First line to read, counted from 1"), number("limit", "How many lines to read")), run(f.readFile)),
		reads("read_multiple_files", "Read files", "Read several text files.",
			object([]string{"paths"}, texts("paths", "Paths of the files"), flag("json", "Answer in JSON")), run(f.readFiles)),
		writes("write_file", "Write file", "Create a file, or replace all that is in it. Missing directories are made.", tool.EffectIdempotent,
			object([]string{"path", "content"}, path, text("content", "What the file will contain")), run(f.writeFile)),
		writes("edit_file", "Edit file", "Replace pieces of text in a file. Each oldText must be in the file exactly once when its turn comes. All edits are made or none.", tool.EffectUnkeyed,
			object([]string{"path", "edits"}, path, property{"edits", `{"type":"array","minItems":1,"items":{"type":"object","properties":{` +
				`"oldText":{"type":"string","description":"The exact text to replace, with enough around it to be there only once"},"newText":{"type":"string","description":"What comes in its place"}},` +
				`"required":["oldText","newText"],"additionalProperties":false}}`}), run(f.editFile)),
		reads("list_directory", "List directory", "List what is in a directory.", object([]string{"path"}, dir), run(f.list)),
		reads("list_directory_with_sizes", "List directory with sizes", "List what is in a directory, with sizes in bytes.",
			object([]string{"path"}, dir), run(f.listSizes)),
		reads("directory_tree", "Directory tree", "Show a directory and all below it as JSON.",
			object([]string{"path"}, dir, number("max_depth", "How deep to go; 0 is all")), run(f.tree)),
		writes("move_file", "Move file", "Move or rename a file or a directory. What is there already is not replaced.", tool.EffectUnkeyed,
			object([]string{"source", "destination"}, text("source", "Path of what is moved"), text("destination", "Its new path")), run(f.move)),
		writes("create_directory", "Create directories", "Make directories, and those above them.", tool.EffectIdempotent,
			object(nil, texts("paths", "Paths of the directories"), text("path", "Path of a single directory")), run(f.mkdir)),
		writes("remove_directory", "Remove directories", "Remove empty directories.", tool.EffectUnkeyed,
			object([]string{"paths"}, texts("paths", "Paths of the directories")), run(f.rmdir)),
		reads("search_files", "Search files", "Find files below a directory whose name matches a glob. A glob with a slash is compared with the path.",
			object([]string{"path", "pattern"}, dir, text("pattern", "The glob, for example *.go or src/**/*.ts"), exclude), run(f.search)),
		reads("search_files_content", "Search in files", "Find lines of text files below a directory.",
			object([]string{"path", "query"}, dir, text("query", "Text, or a regular expression (RE2)"),
				flag("is_regex", "The query is a regular expression"), exclude), run(f.grep)),
		reads("get_file_info", "File information", "Show kind, size, times and permissions of a file or a directory.",
			object([]string{"path"}, path), run(f.info)),
		reads("list_allowed_directories", "List allowed directories", "Show the directories that these tools may use.", object(nil),
			run(func(_ context.Context, c tool.Call, _ struct{}) (tool.Result, error) {
				dirs, err := f.allowed(c)
				if err != nil {
					return failed("%v.", err), nil
				}
				return tool.Result{Output: strings.Join(dirs, "\n")}, nil
			})),
		writes("add_allowed_directory", "Allow directory", "Let these tools use one more directory, for this session.", tool.EffectIdempotent,
			object([]string{"path"}, text("path", "Absolute path of the directory"), text("reason", "Why it is needed")), run(f.addAllowed)),
	}}, nil
}

// allowed returns the directories that a call may use, the working directory
// first.
func (f *filesystem) allowed(c tool.Call) ([]string, error) {
	dirs := []string{f.dir}
	if c.State == nil {
		return dirs, nil
	}
	raw := c.State(allowedStateKey)
	if len(raw) == 0 {
		return dirs, nil
	}
	var added []string
	if err := json.Unmarshal(raw, &added); err != nil {
		return nil, errors.New("the allowed directories of this session cannot be read")
	}
	return append(dirs, added...), nil
}

// place is a path within an allowed directory.
type place struct {
	root *os.Root
	name string // relative to the root, with slashes, "." for the root itself
}

func (p *place) close() { _ = p.root.Close() }

// path is how the file is called outside.
func (p *place) path() string { return filepath.Join(p.root.Name(), filepath.FromSlash(p.name)) }

// find resolves a path. The caller closes the place.
func (f *filesystem) find(c tool.Call, path string) (*place, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, errors.New("the path is empty or contains a NUL character")
	}
	dirs, err := f.allowed(c)
	if err != nil {
		return nil, err
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = filepath.Join(f.home(), path[1:])
	}
	dir, name := dirs[0], path
	if filepath.IsAbs(path) {
		clean, found := filepath.Clean(path), false
		if rest, ok := beneath(f.named, clean); ok {
			name, found = rest, true
		}
		for _, d := range dirs {
			if rest, ok := beneath(d, clean); ok && !found {
				dir, name, found = d, rest, true
			}
		}
		if !found {
			return nil, errOutside
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the directory %s cannot be opened: %w", dir, reason(err))
	}
	return &place{root: root, name: filepath.ToSlash(filepath.Clean(name))}, nil
}

// home is what ~ stands for: where the commands of the same session are at home.
func (f *filesystem) home() string {
	if f.opts.Shell.Sandbox == nil {
		if home, err := os.UserHomeDir(); err == nil {
			return home
		}
	}
	return f.dir
}

var errOutside = errors.New("it is outside of the allowed directories (see list_allowed_directories)")

func beneath(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return rel, true
}

// reason takes the path from an error of the os package: the model knows it.
func reason(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	} else if le := (*os.LinkError)(nil); errors.As(err, &le) {
		err = le.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist")
	case strings.Contains(err.Error(), "escapes from parent"):
		return errOutside // os does not export that error
	}
	return err
}

// with calls a function with the place of a path and turns errors into results.
func (f *filesystem) with(c tool.Call, path string, do func(p *place) (tool.Result, error)) (tool.Result, error) {
	p, err := f.find(c, path)
	if err != nil {
		return failed("%s: %v.", path, err), nil
	}
	defer p.close()
	res, err := do(p)
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return tool.Result{}, fmt.Errorf("%s: %w", c.Name, err)
		}
		return failed("%s: %v.", path, reason(err)), nil
	}
	return res, nil
}

func (f *filesystem) info(_ context.Context, c tool.Call, a pathArguments) (tool.Result, error) {
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		info, err := p.root.Lstat(filepath.FromSlash(p.name))
		if err != nil {
			return tool.Result{}, err
		}
		return succeeded("path: %s\nkind: %s\nsize: %d\nmodified: %s\npermissions: %s", p.path(), fileKind(info.Mode()), info.Size(),
			info.ModTime().UTC().Format(time.RFC3339), info.Mode().Perm()), nil
	})
}

type addAllowedArguments struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (f *filesystem) addAllowed(_ context.Context, c tool.Call, a addAllowedArguments) (tool.Result, error) {
	if !f.opts.MayAdd {
		return failed("No directory can be added in this deployment; these tools stay in %s.", f.dir), nil
	}
	if !filepath.IsAbs(a.Path) {
		return failed("%s: the path must be absolute.", a.Path), nil
	}
	dir, err := filepath.EvalSymlinks(a.Path)
	if err != nil {
		return failed("%s: %v.", a.Path, reason(err)), nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return failed("%s: it is no directory.", a.Path), nil
	}
	dirs, err := f.allowed(c)
	if err != nil {
		return failed("%v.", err), nil
	}
	if slices.Contains(dirs, dir) {
		return succeeded("%s was allowed already.", dir), nil
	}
	if len(dirs) > maxAllowed {
		return failed("A session can have %d added directories.", maxAllowed), nil
	}
	state, err := json.Marshal(append(dirs[1:], dir))
	if err != nil {
		return tool.Result{}, fmt.Errorf("storing the allowed directories: %w", err)
	}
	return tool.Result{
		Output: fmt.Sprintf("%s may be used now.", dir),
		State:  map[string]json.RawMessage{allowedStateKey: state},
	}, nil
}
