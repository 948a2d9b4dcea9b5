package builtin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-run/holdfast/internal/tool"
)

var (
	errNoFile = errors.New("it is no regular file")
	errBinary = errors.New("it is no text file")
)

// openRegular opens a file for reading, without waiting on pipes and devices.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	file, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// readLimited reads a regular file that is not longer than limit.
func readLimited(root *os.Root, name string, limit int64) ([]byte, error) {
	file, _, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	body, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return body, err
}

func isBinary(body []byte) bool { return bytes.IndexByte(body[:min(len(body), 8000)], 0) >= 0 }

// maxShown is how much of a file a result holds, in bytes.
const maxShown = tool.MaxOutput - 1024

// readShown reads a text file for the model: what is too long is cut.
func readShown(p *place) (string, error) {
	file, info, err := openRegular(p.root, p.name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	body, err := io.ReadAll(io.LimitReader(file, maxShown))
	if err != nil {
		return "", err
	}
	if isBinary(body) {
		return "", errBinary
	}
	if info.Size() > maxShown {
		return fmt.Sprintf("%s\n[file cut: the first %d of %d bytes are shown; use line and limit for the rest]", body, len(body), info.Size()), nil
	}
	return string(body), nil
}

// readLines reads lines of a text file, the first of them from (counted from 1), at
// most limit of them; 0 is all. What does not fit into a result is cut.
func readLines(ctx context.Context, p *place, from, limit int) (string, error) {
	file, _, err := openRegular(p.root, p.name)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	r := bufio.NewReaderSize(file, 64<<10)
	if start, err := r.Peek(8000); isBinary(start) {
		return "", errBinary
	} else if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	var out []byte
	ended, line := false, 1
	for ctx.Err() == nil && (limit == 0 || line < from+limit) {
		piece, err := r.ReadSlice('\n') // a long line comes in pieces
		ended = ended || len(piece) > 0
		if line >= from {
			if len(out)+len(piece) > maxShown {
				return fmt.Sprintf("%s\n[cut in line %d: this is as much as one call shows]", append(out, piece[:maxShown-len(out)]...), line), nil
			}
			out = append(out, piece...)
		}
		if len(piece) > 0 && piece[len(piece)-1] == '\n' {
			line, ended = line+1, false
		}
		if errors.Is(err, io.EOF) {
			if ended {
				line++
			}
			if line <= from {
				return fmt.Sprintf("The file has %d lines; there is none from line %d on.", line-1, from), nil
			}
			break
		} else if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	return string(out), ctx.Err()
}

type pathArguments struct {
	Path string `json:"path"`
}

type readFileArguments struct {
	Path  string `json:"path"`
	Line  *whole `json:"line"`
	Limit *whole `json:"limit"`
}

func (f *filesystem) readFile(ctx context.Context, c tool.Call, a readFileArguments) (tool.Result, error) {
	from, limit := 1, 0
	if a.Line != nil {
		from = int(*a.Line)
	}
	if a.Limit != nil {
		limit = int(*a.Limit)
	}
	if from < 1 || a.Limit != nil && limit < 1 {
		return failed("Lines are counted from 1, and the limit is at least 1."), nil
	}
	return f.with(c, a.Path, func(p *place) (tool.Result, error) {
		var body string
		var err error
		if a.Line == nil && a.Limit == nil {
			if body, err = readShown(p); errors.Is(err, errBinary) {
				return readImage(p)
			}
		} else {
			body, err = readLines(ctx, p, from, limit)
		}
		return tool.Result{Output: body}, err
	})
}

// maxImageFile is the longest file that is read as an image, in bytes.
const maxImageFile = 16 << 20

// readImage reads a file that is no text for models that take images.
func readImage(p *place) (tool.Result, error) {
	body, err := readLimited(p.root, p.name, maxImageFile)
	if err != nil {
		return tool.Result{}, err
	}
	var res tool.Result
	if !res.AddImage(body) {
		return tool.Result{}, errBinary
	}
	res.Output = fmt.Sprintf("[%s, %d bytes: shown to models that take images]", http.DetectContentType(body), len(body))
	return res, nil
}

type readFilesArguments struct {
	Paths list[string] `json:"paths"`
	JSON  yes          `json:"json"`
}

func (f *filesystem) readFiles(ctx context.Context, c tool.Call, a readFilesArguments) (tool.Result, error) {
	if len(a.Paths) == 0 {
		return failed("There is no path."), nil
	}
	type file struct {
		Path    string `json:"path"`
		Content string `json:"content,omitempty"`
		Error   string `json:"error,omitempty"`
	}
	files := make([]file, 0, len(a.Paths))
	size, failures := 0, 0
	var images tool.Result
	for _, path := range a.Paths {
		if err := ctx.Err(); err != nil {
			return tool.Result{}, fmt.Errorf("reading files: %w", err)
		}
		one := file{Path: path}
		if size > tool.MaxOutput {
			one.Error = "it was not read: the files before it fill the answer"
		} else if res, err := f.readFile(ctx, c, readFileArguments{Path: path}); err != nil {
			return tool.Result{}, err
		} else if res.IsError {
			one.Error = res.Output
		} else {
			one.Content = res.Output
			if !images.Join(res.Images) {
				one.Content, one.Error = "", "it is an image, for which the answer has no room; read it alone"
			}
		}
		if one.Error != "" {
			failures++
		}
		size += len(one.Content)
		files = append(files, one)
	}
	res := tool.Result{IsError: failures == len(files), Images: images.Images}
	if a.JSON {
		out, err := json.Marshal(files)
		if err != nil {
			return tool.Result{}, fmt.Errorf("describing files: %w", err)
		}
		res.Output = string(out)
		return res, nil
	}
	var out strings.Builder
	for _, one := range files {
		fmt.Fprintf(&out, "=== %s ===\n", shown(one.Path))
		if one.Error != "" {
			fmt.Fprintf(&out, "Error: %s\n", one.Error)
			continue
		}
		out.WriteString(one.Content)
		if !strings.HasSuffix(one.Content, "\n") {
			out.WriteByte('\n')
		}
	}
	res.Output = out.String()
	return res, nil
}
