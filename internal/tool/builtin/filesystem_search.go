package builtin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/internal/tool"
)

// entries lists a directory, sorted by name, without what is ignored.
func (f *filesystem) entries(p *place, ignored *ignores, name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(p.root.FS(), name)
	if err != nil {
		return nil, err
	}
	if !f.opts.IgnoreVCS {
		return list, nil
	}
	kept := list[:0]
	for _, e := range list {
		if !ignored.skip(path.Join(name, e.Name()), e.IsDir()) {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func (f *filesystem) list(_ context.Context, c tool.Call, a pathArguments) (tool.Result, error) {
	return f.listing(c, a.Path, func(out *strings.Builder, e fs.DirEntry) error {
		fmt.Fprintf(out, "%s\n", name(e))
		return nil
	})
}

func (f *filesystem) listSizes(_ context.Context, c tool.Call, a pathArguments) (tool.Result, error) {
	return f.listing(c, a.Path, func(out *strings.Builder, e fs.DirEntry) error {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted since it was listed
		} else if err != nil {
			return err
		}
		if e.IsDir() {
			fmt.Fprintf(out, "%s\n", name(e))
		} else {
			fmt.Fprintf(out, "%s %d\n", name(e), info.Size())
		}
		return nil
	})
}

func name(e fs.DirEntry) string {
	switch {
	case e.IsDir():
		return "DIR  " + e.Name()
	case e.Type()&fs.ModeSymlink != 0:
		return "LINK " + e.Name()
	}
	return "FILE " + e.Name()
}

func (f *filesystem) listing(c tool.Call, dir string, line func(*strings.Builder, fs.DirEntry) error) (tool.Result, error) {
	return f.with(c, dir, func(p *place) (tool.Result, error) {
		list, err := f.entries(p, newIgnores(p.root), p.name)
		if err != nil {
			return tool.Result{}, err
		}
		var out strings.Builder
		for i, e := range list {
			if i == maxListed {
				fmt.Fprintf(&out, "[list cut: %d of %d entries are shown]\n", maxListed, len(list))
				break
			}
			if err := line(&out, e); err != nil {
				return tool.Result{}, err
			}
		}
		if out.Len() == 0 {
			return succeeded("The directory is empty."), nil
		}
		return tool.Result{Output: out.String()}, nil
	})
}

type treeArguments struct {
	Path     string `json:"path"`
	MaxDepth int    `json:"max_depth"`
}

type treeNode struct {
	Name     string      `json:"name"`
	Type     string      `json:"type"`
	Children []*treeNode `json:"children,omitempty"`
	Cut      bool        `json:"cut,omitempty"` // there is more below than is shown
}

func (f *filesystem) tree(ctx context.Context, c tool.Call, a treeArguments) (tool.Result, error) {
	if a.MaxDepth <= 0 || a.MaxDepth > maxTreeDepth {
		a.MaxDepth = maxTreeDepth
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		ignored := newIgnores(p.root)
		left := maxListed
		var grow func(n *treeNode, dir string, depth int) error
		grow = func(n *treeNode, dir string, depth int) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			list, err := f.entries(p, ignored, dir)
			if err != nil && dir != p.name {
				n.Cut = true // a directory below that cannot be read
				return nil
			} else if err != nil {
				return err
			}
			for _, e := range list {
				if left--; left < 0 {
					n.Cut = true
					return nil
				}
				child := &treeNode{Name: e.Name(), Type: fileKind(e.Type())}
				n.Children = append(n.Children, child)
				if !e.IsDir() {
					continue
				}
				if depth >= a.MaxDepth {
					child.Cut = true
				} else if err := grow(child, path.Join(dir, e.Name()), depth+1); err != nil {
					return err
				}
			}
			return nil
		}
		root := &treeNode{Name: a.Path, Type: "directory"}
		if err := grow(root, p.name, 1); err != nil {
			return tool.Result{}, err
		}
		out, err := json.MarshalIndent(root, "", "  ")
		if err != nil {
			return tool.Result{}, fmt.Errorf("describing the tree: %w", err)
		}
		return tool.Result{Output: string(out)}, nil
	})
}

var errEnough = errors.New("enough was found")

// walk visits the files below a directory, in order, without what is ignored or
// excluded. Links are not followed. The name is relative to the directory.
func (f *filesystem) walk(ctx context.Context, p *place, exclude []string, visit func(name string, e fs.DirEntry) error) error {
	excluded, err := newGlobs(exclude...)
	if err != nil {
		return err
	}
	ignored := newIgnores(p.root)
	return fs.WalkDir(p.root.FS(), p.name, func(full string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if full == p.name {
				return err
			}
			return nil // what cannot be read is left out
		}
		rel := full
		if p.name != "." {
			rel = strings.TrimPrefix(strings.TrimPrefix(full, p.name), "/")
		}
		if rel == "" || rel == "." {
			return nil
		}
		if excluded.match(rel) || f.opts.IgnoreVCS && ignored.skip(full, e.IsDir()) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		return visit(rel, e)
	})
}

type searchArguments struct {
	Path            string   `json:"path"`
	Pattern         string   `json:"pattern"`
	ExcludePatterns []string `json:"excludePatterns"`
}

func (f *filesystem) search(ctx context.Context, c tool.Call, a searchArguments) (tool.Result, error) {
	wanted, err := newGlobs(a.Pattern)
	if err != nil || a.Pattern == "" {
		return failed("The pattern %q cannot be used.", a.Pattern), nil
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		var found []string
		err := f.walk(ctx, p, a.ExcludePatterns, func(name string, _ fs.DirEntry) error {
			if wanted.match(name) {
				if len(found) == maxListed {
					return errEnough
				}
				found = append(found, path.Join(a.Path, name))
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return tool.Result{}, err
		}
		if len(found) == 0 {
			return succeeded("No file matches."), nil
		}
		head := fmt.Sprintf("%d files:\n", len(found))
		if err != nil {
			head = fmt.Sprintf("The first %d files:\n", len(found))
		}
		return tool.Result{Output: head + strings.Join(found, "\n")}, nil
	})
}

type grepArguments struct {
	Path            string   `json:"path"`
	Query           string   `json:"query"`
	IsRegex         bool     `json:"is_regex"`
	ExcludePatterns []string `json:"excludePatterns"`
}

func (f *filesystem) grep(ctx context.Context, c tool.Call, a grepArguments) (tool.Result, error) {
	if a.Query == "" {
		return failed("The query is empty."), nil
	}
	expr := a.Query
	if !a.IsRegex {
		expr = regexp.QuoteMeta(expr)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return failed("The query is no regular expression: %v.", err), nil
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		var out strings.Builder
		matches := 0
		err := f.walk(ctx, p, a.ExcludePatterns, func(name string, e fs.DirEntry) error {
			if !e.Type().IsRegular() {
				return nil
			}
			lines, err := grepFile(ctx, p, path.Join(p.name, name), re, maxMatches-matches)
			if err != nil {
				return err
			}
			for _, l := range lines {
				fmt.Fprintf(&out, "%s:%s\n", path.Join(a.Path, name), l)
			}
			if matches += len(lines); matches >= maxMatches {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return tool.Result{}, err
		}
		if matches == 0 {
			return succeeded("Nothing was found."), nil
		}
		if err != nil {
			fmt.Fprintf(&out, "[search cut after %d lines]", maxMatches)
		}
		return tool.Result{Output: out.String()}, nil
	})
}

// grepFile returns "number: line" of lines that match. What is no text, too
// large or cannot be read has none. The error is the context's.
func grepFile(ctx context.Context, p *place, name string, re *regexp.Regexp, limit int) ([]string, error) {
	file, info, err := openRegular(p.root, name)
	if err != nil {
		return nil, ctx.Err()
	}
	defer func() { _ = file.Close() }()
	if info.Size() > maxSearchFile {
		return nil, ctx.Err()
	}
	r := bufio.NewReader(io.LimitReader(file, maxSearchFile))
	if start, err := r.Peek(4000); isBinary(start) || err != nil && !errors.Is(err, io.EOF) {
		return nil, ctx.Err()
	}
	var found []string
	for number := 1; len(found) < limit; number++ {
		line, err := r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if (line != "" || err == nil) && re.MatchString(line) {
			found = append(found, fmt.Sprintf("%d: %s", number, shorten(line)))
		}
		if err != nil {
			break
		}
	}
	return found, ctx.Err()
}

func shorten(line string) string {
	if len(line) <= maxMatchLine {
		return line
	}
	n := maxMatchLine
	for n > 0 && !utf8.RuneStart(line[n]) {
		n--
	}
	return line[:n] + "…"
}
