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
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/internal/tool"
)

func (f *filesystem) list(ctx context.Context, c tool.Call, a pathArguments) (tool.Result, error) {
	return f.listing(ctx, c, a.Path, func(out *strings.Builder, _ *place, e fs.DirEntry) error {
		fmt.Fprintf(out, "%s\n", name(e))
		return nil
	})
}

func (f *filesystem) listSizes(ctx context.Context, c tool.Call, a pathArguments) (tool.Result, error) {
	return f.listing(ctx, c, a.Path, func(out *strings.Builder, p *place, e fs.DirEntry) error {
		if e.IsDir() {
			fmt.Fprintf(out, "%s\n", name(e))
			return nil
		}
		// Asked beneath the root: the entry itself would look along its path.
		info, err := p.root.Lstat(filepath.FromSlash(path.Join(p.name, e.Name())))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted since it was listed
		} else if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %d\n", name(e), info.Size())
		return nil
	})
}

func name(e fs.DirEntry) string {
	switch {
	case e.IsDir():
		return "DIR  " + shown(e.Name())
	case e.Type()&fs.ModeSymlink != 0:
		return "LINK " + shown(e.Name())
	}
	return "FILE " + shown(e.Name())
}

func (f *filesystem) listing(ctx context.Context, c tool.Call, dir string, line func(*strings.Builder, *place, fs.DirEntry) error) (tool.Result, error) {
	return f.with(c, here(dir), func(p *place) (tool.Result, error) {
		found, more, err := f.entries(ctx, p, newIgnores(p.root), p.name)
		if err != nil {
			return tool.Result{}, err
		}
		var out strings.Builder
		for i, e := range found {
			if i == maxListed {
				break
			}
			if err := line(&out, p, e); err != nil {
				return tool.Result{}, err
			}
		}
		switch {
		case more:
			fmt.Fprintf(&out, "[list cut: %d of more than %d entries are shown]\n", min(maxListed, len(found)), maxEntries)
		case len(found) > maxListed:
			fmt.Fprintf(&out, "[list cut: %d of %d entries are shown]\n", maxListed, len(found))
		case out.Len() == 0:
			return succeeded("The directory is empty."), nil
		}
		return tool.Result{Output: out.String()}, nil
	})
}

// here is the directory of tools that were given none.
func here(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

type treeArguments struct {
	Path     string `json:"path"`
	MaxDepth whole  `json:"max_depth"`
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
	return f.with(c, here(a.Path), func(p *place) (tool.Result, error) {
		ignored := newIgnores(p.root)
		left := maxListed
		var grow func(n *treeNode, dir string, depth int) error
		grow = func(n *treeNode, dir string, depth int) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			found, more, err := f.entries(ctx, p, ignored, dir)
			if err != nil && dir != p.name && ctx.Err() == nil {
				n.Cut = true // a directory below that cannot be read
				return nil
			} else if err != nil {
				return err
			}
			n.Cut = more
			for _, e := range found {
				if left--; left < 0 {
					n.Cut = true
					return nil
				}
				child := &treeNode{Name: e.Name(), Type: fileKind(e.Type())}
				n.Children = append(n.Children, child)
				if !e.IsDir() {
					continue
				}
				if depth >= int(a.MaxDepth) {
					child.Cut = true
				} else if err := grow(child, path.Join(dir, e.Name()), depth+1); err != nil {
					return err
				}
			}
			return nil
		}
		root := &treeNode{Name: here(a.Path), Type: "directory"}
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

type searchArguments struct {
	Path            string       `json:"path"`
	Pattern         string       `json:"pattern"`
	ExcludePatterns list[string] `json:"excludePatterns"`
}

func (f *filesystem) search(ctx context.Context, c tool.Call, a searchArguments) (tool.Result, error) {
	wanted, err := newGlobs(a.Pattern)
	if err != nil || a.Pattern == "" {
		return failed("The pattern %q cannot be used.", a.Pattern), nil
	}
	return f.with(c, here(a.Path), func(p *place) (tool.Result, error) {
		var found []string
		err := f.walk(ctx, p, a.ExcludePatterns, func(name string, _ fs.DirEntry) error {
			if wanted.match(name) {
				if len(found) == maxListed {
					return errEnough
				}
				found = append(found, shown(path.Join(a.Path, name)))
			}
			return nil
		})
		switch {
		case err == nil && len(found) == 0:
			return succeeded("No file matches."), nil
		case err == nil:
			return succeeded("%d files:\n%s", len(found), strings.Join(found, "\n")), nil
		case errors.Is(err, errEnough):
			return succeeded("The first %d files:\n%s", len(found), strings.Join(found, "\n")), nil
		case errors.Is(err, errTooMany):
			return succeeded("%d files of those that were looked at (%v; narrow the search):\n%s", len(found), err, strings.Join(found, "\n")), nil
		}
		return tool.Result{}, err
	})
}

type grepArguments struct {
	Path            string       `json:"path"`
	Query           string       `json:"query"`
	IsRegex         yes          `json:"is_regex"`
	ExcludePatterns list[string] `json:"excludePatterns"`
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
	return f.with(c, here(a.Path), func(p *place) (tool.Result, error) {
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
				fmt.Fprintf(&out, "%s:%s\n", shown(path.Join(a.Path, name)), l)
			}
			if matches += len(lines); matches >= maxMatches {
				return errEnough
			}
			return nil
		})
		switch {
		case err == nil && matches == 0:
			return succeeded("Nothing was found."), nil
		case err == nil:
		case errors.Is(err, errEnough):
			fmt.Fprintf(&out, "[search cut after %d lines]", maxMatches)
		case errors.Is(err, errTooMany):
			fmt.Fprintf(&out, "[search cut: %v; narrow the search]", err)
		default:
			return tool.Result{}, err
		}
		return tool.Result{Output: out.String()}, nil
	})
}

// grepFile returns "line:column: text" of lines that match, both counted from 1 and
// the column in bytes. What is no text, too large or cannot be read has none. The error
// is the context's.
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
		if at := re.FindStringIndex(line); at != nil && (line != "" || err == nil) {
			found = append(found, fmt.Sprintf("%d:%d: %s", number, at[0]+1, around(line, at[0])))
		}
		if err != nil {
			break
		}
	}
	return found, ctx.Err()
}

// around returns the part of a line that has the byte at, so that what was found is
// seen.
func around(line string, at int) string {
	if len(line) <= maxMatchLine {
		return line
	}
	from := 0
	if at > maxMatchLine/2 {
		from = min(at-maxMatchLine/4, len(line)-maxMatchLine)
	}
	to := from + maxMatchLine
	for from > 0 && from < len(line) && !utf8.RuneStart(line[from]) {
		from--
	}
	for to < len(line) && to > from && !utf8.RuneStart(line[to]) {
		to--
	}
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if to < len(line) {
		after = "…"
	}
	return before + line[from:min(to, len(line))] + after
}
