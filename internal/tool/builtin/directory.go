package builtin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

const (
	// maxEntries is how many entries of one directory are looked at. What fills a
	// directory is not always a friend of the worker that lists it.
	maxEntries = 50_000
	// maxVisited is how many entries one search looks at.
	maxVisited = 500_000
	// maxDepth is how deep a search goes.
	maxDepth = 500
)

// readDir returns the entries of a directory, at most limit of them, sorted by name;
// cut says that there are more.
func readDir(ctx context.Context, root *os.Root, name string, limit int) (found []fs.DirEntry, cut bool, err error) {
	// Without O_NONBLOCK a pipe that took the directory's place would hold the call.
	dir, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = dir.Close() }()
	if info, err := dir.Stat(); err != nil {
		return nil, false, err
	} else if !info.IsDir() {
		return nil, false, syscall.ENOTDIR
	}
	for len(found) <= limit {
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		some, err := dir.ReadDir(min(1024, limit+1))
		found = append(found, some...)
		if errors.Is(err, io.EOF) || err == nil && len(some) == 0 {
			break
		} else if err != nil {
			return nil, false, err
		}
	}
	if cut = len(found) > limit; cut {
		found = found[:limit]
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, cut, nil
}

// entries lists a directory without what is ignored.
func (f *filesystem) entries(ctx context.Context, p *place, ignored *ignores, name string) ([]fs.DirEntry, bool, error) {
	found, cut, err := readDir(ctx, p.root, name, maxEntries)
	if err != nil || !f.opts.IgnoreVCS {
		return found, cut, err
	}
	kept := found[:0]
	for _, e := range found {
		if !ignored.skip(path.Join(name, e.Name()), e.IsDir()) {
			kept = append(kept, e)
		}
	}
	return kept, cut, nil
}

var (
	errEnough = errors.New("enough was found")
	// errTooMany is of a search that did not see everything.
	errTooMany = errors.New("there are too many files to look at all")
)

// walk visits the files below a directory, in order, without what is ignored or
// excluded. Links are not followed. The name is relative to the directory. The error
// is errTooMany if there was more than is looked at.
func (f *filesystem) walk(ctx context.Context, p *place, exclude []string, visit func(name string, e fs.DirEntry) error) error {
	excluded, err := newGlobs(exclude...)
	if err != nil {
		return err
	}
	ignored := newIgnores(p.root)
	visited, partial := 0, false
	var down func(rel string, depth int) error
	down = func(rel string, depth int) error {
		found, cut, err := f.entries(ctx, p, ignored, path.Join(p.name, rel))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if rel == "" {
				return err
			}
			return nil // what cannot be read is left out
		}
		partial = partial || cut
		for _, e := range found {
			if visited++; visited > maxVisited {
				return errTooMany
			}
			name := path.Join(rel, e.Name())
			switch {
			case excluded.match(name):
			case !e.IsDir():
				if err := visit(name, e); err != nil {
					return err
				}
			case depth == maxDepth:
				partial = true
			default:
				if err := down(name, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := down("", 0); err != nil || !partial {
		return err
	}
	return errTooMany
}

// shown is a name as it stands in a list of lines: one that could be taken for
// something else, because it has line ends, control characters or bytes that are no
// UTF-8, is quoted as in Go.
func shown(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) && r != ' ' }) {
		return strconv.Quote(name)
	}
	return name
}
