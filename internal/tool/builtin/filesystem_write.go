package builtin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

type writeFileArguments struct {
	Path    string  `json:"path"`
	Content *string `json:"content"`
}

func (f *filesystem) writeFile(ctx context.Context, c tool.Call, a writeFileArguments) (tool.Result, error) {
	if a.Content == nil {
		return failed("The content is missing. Nothing was written."), nil
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		if dir := path.Dir(p.name); dir != "." {
			if err := p.root.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
				return tool.Result{}, err
			}
		}
		if err := replaceFile(p, []byte(*a.Content)); err != nil {
			return tool.Result{}, err
		}
		return f.afterEdit(ctx, c, p, fmt.Sprintf("Wrote %d bytes to %s.", len(*a.Content), a.Path))
	})
}

type edit struct {
	OldText string `json:"oldText"`
	NewText string `json:"newText"`
}

type editFileArguments struct {
	Path  string     `json:"path"`
	Edits list[edit] `json:"edits"`
}

// apply makes an edit, or says why it cannot be made. Models write line ends as LF: in
// a file with CRLF that is what they mean.
func (e edit) apply(body string) (string, error) {
	count := strings.Count(body, e.OldText)
	if count == 0 && strings.Contains(e.OldText, "\n") && strings.Contains(body, "\r\n") {
		crlf := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n") }
		e.OldText, e.NewText = crlf(e.OldText), crlf(e.NewText)
		count = strings.Count(body, e.OldText)
	}
	switch count {
	case 0:
		return "", errors.New("is not in the file")
	case 1:
		return strings.Replace(body, e.OldText, e.NewText, 1), nil
	}
	return "", fmt.Errorf("is in the file %d times: give more of the text around it, or one edit for each place", count)
}

func (f *filesystem) editFile(ctx context.Context, c tool.Call, a editFileArguments) (tool.Result, error) {
	if len(a.Edits) == 0 {
		return failed("There are no edits."), nil
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		body, err := readLimited(p.root, p.name, maxEditFile)
		if err != nil {
			return tool.Result{}, err
		}
		if isBinary(body) {
			return tool.Result{}, errBinary
		}
		text := string(body)
		for i, e := range a.Edits {
			if e.OldText == "" {
				return failed("Edit %d has no oldText. Nothing was changed.", i+1), nil
			}
			if text, err = e.apply(text); err != nil {
				return failed("The oldText of edit %d %v. Nothing was changed.", i+1, err), nil
			}
		}
		if err := replaceFile(p, []byte(text)); err != nil {
			return tool.Result{}, err
		}
		return f.afterEdit(ctx, c, p, fmt.Sprintf("Made %d edits in %s.", len(a.Edits), a.Path))
	})
}

// replaceFile gives a file new content as a whole: whoever reads it sees the
// old or the new one. A link keeps being one: what it points to is written.
func replaceFile(p *place, body []byte) error {
	name := filepath.FromSlash(p.name)
	mode := fs.FileMode(0o644)
	switch info, err := p.root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return writeThrough(p.root, name, body)
	case !info.Mode().IsRegular():
		return errNoFile
	default:
		mode = info.Mode().Perm()
	}
	temporary := filepath.Join(filepath.Dir(name), ".holdfast-"+holdfast.NewID())
	file, err := p.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(body)
	if err == nil {
		err = file.Chmod(mode) // the umask may have taken something
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = p.root.Rename(temporary, name)
	}
	if err != nil {
		_ = p.root.Remove(temporary) // the first error is the one that matters
	}
	return err
}

// writeThrough writes to what a link points to. It is opened without waiting, and
// looked at before anything of it is lost: a pipe or a device may be there.
func writeThrough(root *os.Root, name string, body []byte) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) {
		return errNoFile // a pipe that nobody reads
	} else if err != nil {
		return err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errNoFile
	default:
		if err = file.Truncate(0); err == nil {
			_, err = file.Write(body)
		}
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// afterEdit runs the commands that the agent file wants after a change. That
// one fails does not undo the change, and the model hears of it.
func (f *filesystem) afterEdit(ctx context.Context, c tool.Call, p *place, done string) (tool.Result, error) {
	for i, g := range f.postEdit {
		if !g.match(p.name) {
			continue
		}
		res, err := f.host.run(ctx, command{
			line: f.opts.PostEdit[i].Cmd, dir: f.dir, env: map[string]string{"path": p.path()}, timeout: postEditTimeout, progress: c.Progress,
		})
		if err != nil {
			return tool.Result{}, err
		}
		if res.IsError {
			return failed("%s But a command that runs after edits failed. %s", done, res.Output), nil
		}
	}
	return tool.Result{Output: done}, nil
}

type moveArguments struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

func (f *filesystem) move(_ context.Context, c tool.Call, a moveArguments) (tool.Result, error) {
	return f.with(c, a.Source, func(from *place) (tool.Result, error) {
		return f.with(c, a.Destination, func(to *place) (tool.Result, error) {
			if from.root.Name() != to.root.Name() {
				return failed("Source and destination are in different allowed directories. Nothing was moved."), nil
			}
			source, destination := filepath.FromSlash(from.name), filepath.FromSlash(to.name)
			if _, err := from.root.Lstat(source); err != nil {
				return failed("%s: %v.", a.Source, reason(err)), nil
			}
			if _, err := from.root.Lstat(destination); err == nil {
				return failed("%s: it exists already. Nothing was moved.", a.Destination), nil
			}
			if err := from.root.Rename(source, destination); err != nil {
				return tool.Result{}, err
			}
			return succeeded("Moved %s to %s.", a.Source, a.Destination), nil
		})
	})
}

type directoriesArguments struct {
	Paths list[string] `json:"paths"`
	Path  string       `json:"path"`
}

// each does the same with several directories, in order, up to the first that fails.
func (f *filesystem) each(c tool.Call, a directoriesArguments, done string, do func(*place) error) (tool.Result, error) {
	paths := []string(a.Paths)
	if a.Path != "" {
		paths = append(paths, a.Path)
	}
	if len(paths) == 0 {
		return failed("There is no path."), nil
	}
	var out []string
	for _, one := range paths {
		res, err := f.with(c, one, func(p *place) (tool.Result, error) {
			if err := do(p); err != nil {
				return tool.Result{}, err
			}
			return succeeded(done, one), nil
		})
		out = append(out, res.Output)
		if res.Output = strings.Join(out, "\n"); err != nil || res.IsError {
			return res, err
		}
	}
	return tool.Result{Output: strings.Join(out, "\n")}, nil
}

func (f *filesystem) mkdir(_ context.Context, c tool.Call, a directoriesArguments) (tool.Result, error) {
	return f.each(c, a, "The directory %s is there.", func(p *place) error {
		return p.root.MkdirAll(filepath.FromSlash(p.name), 0o755)
	})
}

func (f *filesystem) rmdir(_ context.Context, c tool.Call, a directoriesArguments) (tool.Result, error) {
	return f.each(c, a, "The directory %s was removed.", func(p *place) error {
		name := filepath.FromSlash(p.name)
		if info, err := p.root.Lstat(name); err != nil {
			return err
		} else if !info.IsDir() {
			return errors.New("it is no directory")
		}
		if p.name == "." {
			return errors.New("the working directory stays")
		}
		return p.root.Remove(name)
	})
}
