package builtin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
	"github.com/holdfast-run/holdfast/internal/tool/tooltest"
)

// files makes a directory with these files; a name that ends with a slash is a
// directory.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range content {
		full := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			mustDo(t, os.MkdirAll(full, 0o755))
			continue
		}
		mustDo(t, os.MkdirAll(filepath.Dir(full), 0o755))
		mustDo(t, os.WriteFile(full, []byte(body), 0o644))
	}
	return dir
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type fsCaller struct {
	t     *testing.T
	ts    *builtin.Toolset
	state tooltest.State
}

func filesystem(t *testing.T, o builtin.FilesystemOptions) *fsCaller {
	t.Helper()
	ts, err := builtin.NewFilesystem(o)
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, ts.Close()) })
	return &fsCaller{t, ts, tooltest.State{}}
}

// do calls a tool with pairs of argument and value.
func (f *fsCaller) do(name string, pairs ...any) tool.Result {
	f.t.Helper()
	args := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		args[pairs[i].(string)] = pairs[i+1]
	}
	raw, err := json.Marshal(args)
	mustDo(f.t, err)
	c := tooltest.Call(tool.Call{Name: name, Arguments: string(raw)})
	c.State = f.state.Get
	res, err := f.ts.Call(f.t.Context(), c)
	mustDo(f.t, err)
	f.state.Apply(res)
	return res
}

func (f *fsCaller) want(output, name string, pairs ...any) {
	f.t.Helper()
	if res := f.do(name, pairs...); res.IsError || res.Output != output {
		f.t.Errorf("%s %v: %+v, want %q", name, pairs, res, output)
	}
}

func (f *fsCaller) refuse(part, name string, pairs ...any) {
	f.t.Helper()
	if res := f.do(name, pairs...); !res.IsError || !strings.Contains(res.Output, part) {
		f.t.Errorf("%s %v: %+v, want an error with %q", name, pairs, res, part)
	}
}

func TestFilesystem(t *testing.T) {
	tooltest.Toolset(t, tooltest.Case{
		New: func(t *testing.T) tool.Toolset {
			dir := files(t, map[string]string{"a.txt": "hello\n", "sub/b.go": "package b\n", "big": strings.Repeat("0123456789", 500_000)})
			ts, err := builtin.NewFilesystem(builtin.FilesystemOptions{Dir: dir})
			mustDo(t, err)
			return ts
		},
		Good: []tool.Call{
			{Name: "read_file", Arguments: `{"path":"a.txt"}`},
			{Name: "read_file", Arguments: `{"path":"big"}`},
			{Name: "read_multiple_files", Arguments: `{"paths":["a.txt","none"],"json":true}`},
			{Name: "read_multiple_files", Arguments: `{"paths":["big","big","big"]}`},
			{Name: "write_file", Arguments: `{"path":"new/c.txt","content":""}`},
			{Name: "edit_file", Arguments: `{"path":"a.txt","edits":[{"oldText":"hello","newText":"bye"}]}`},
			{Name: "list_directory", Arguments: `{"path":"."}`},
			{Name: "list_directory_with_sizes", Arguments: `{"path":"sub"}`},
			{Name: "directory_tree", Arguments: `{"path":"."}`},
			{Name: "move_file", Arguments: `{"source":"a.txt","destination":"sub/a.txt"}`},
			{Name: "create_directory", Arguments: `{"path":"x/y/z"}`},
			{Name: "search_files", Arguments: `{"path":".","pattern":"*.go"}`},
			{Name: "search_files_content", Arguments: `{"path":".","query":"package"}`},
			{Name: "get_file_info", Arguments: `{"path":"sub"}`},
			{Name: "list_allowed_directories"},
		},
		Bad: []tool.Call{
			{Name: "read_file", Arguments: `{"path":""}`},
			{Name: "read_file", Arguments: `{"path":"none"}`},
			{Name: "read_file", Arguments: `{"path":"sub"}`},
			{Name: "read_file", Arguments: `{"path":"a\u0000"}`},
			{Name: "read_multiple_files", Arguments: `{"paths":[]}`},
			{Name: "read_multiple_files", Arguments: `{"paths":["none"]}`},
			{Name: "write_file", Arguments: `{"path":"x"}`},
			{Name: "write_file", Arguments: `{"path":"sub","content":"x"}`},
			{Name: "write_file", Arguments: `{"path":"a.txt/below","content":"x"}`},
			{Name: "edit_file", Arguments: `{"path":"a.txt","edits":[]}`},
			{Name: "edit_file", Arguments: `{"path":"a.txt","edits":[{"oldText":"","newText":"x"}]}`},
			{Name: "edit_file", Arguments: `{"path":"a.txt","edits":[{"oldText":"absent","newText":"x"}]}`},
			{Name: "list_directory", Arguments: `{"path":"a.txt"}`},
			{Name: "directory_tree", Arguments: `{"path":"none"}`},
			{Name: "move_file", Arguments: `{"source":"none","destination":"x"}`},
			{Name: "move_file", Arguments: `{"source":"a.txt","destination":"sub/b.go"}`},
			{Name: "create_directory", Arguments: `{"path":"a.txt"}`},
			{Name: "search_files", Arguments: `{"path":".","pattern":"[a"}`},
			{Name: "search_files", Arguments: `{"path":".","pattern":""}`},
			{Name: "search_files", Arguments: `{"path":".","pattern":"*","excludePatterns":["[a"]}`},
			{Name: "search_files_content", Arguments: `{"path":".","query":"("  ,"is_regex":true}`},
			{Name: "search_files_content", Arguments: `{"path":".","query":""}`},
			{Name: "add_allowed_directory", Arguments: `{"path":"/"}`},
		},
	})
	for _, dir := range []string{"", "/no/such/directory", "/etc/passwd"} {
		if _, err := builtin.NewFilesystem(builtin.FilesystemOptions{Dir: dir}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
			t.Errorf("%q: error %v", dir, err)
		}
	}
}

func TestFilesystemStaysInside(t *testing.T) {
	outside := files(t, map[string]string{"secret": "s3cret", "sub/x": "x"})
	dir := files(t, map[string]string{"in.txt": "inside", "sub/": ""})
	for name, target := range map[string]string{
		"link": filepath.Join(outside, "secret"), "dirlink": outside, "up": "../..", "good": "in.txt", "sub/deep": "../in.txt", "dangling": "/none",
	} {
		mustDo(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	secret := filepath.Join(outside, "secret")
	for _, path := range []string{
		"../" + filepath.Base(outside) + "/secret", "sub/../../" + filepath.Base(outside) + "/secret", secret, "link", "dirlink/secret", "up/etc/passwd",
		"/etc/passwd", dir + "/../" + filepath.Base(outside) + "/secret", dir + "x", "dangling",
	} {
		for _, args := range [][]any{
			{"read_file", "path", path},
			{"write_file", "path", path, "content", "x"},
			{"edit_file", "path", path, "edits", []map[string]string{{"oldText": "s3cret", "newText": "x"}}},
			{"move_file", "source", path, "destination", "stolen"},
			{"move_file", "source", "in.txt", "destination", path + "/new"},
			{"create_directory", "path", path + "/new"},
			{"list_directory", "path", path},
			{"directory_tree", "path", path},
			{"search_files_content", "path", path, "query", "s3cret"},
		} {
			if path == "dangling" && args[0] != "read_file" {
				continue // a link that leads nowhere may be moved and looked at
			}
			res := f.do(args[0].(string), args[1:]...)
			if args[0] == "move_file" && args[2] == "link" {
				// Moving a link moves the link, not what it points to.
				mustDo(t, os.Rename(filepath.Join(dir, "stolen"), filepath.Join(dir, "link")))
				continue
			}
			if !res.IsError || strings.Contains(res.Output, "s3cret") {
				t.Errorf("%v: %+v", args, res)
			}
		}
	}
	if body, err := os.ReadFile(secret); string(body) != "s3cret" || err != nil {
		t.Errorf("the file outside: %q, %v", body, err)
	}
	f.want("inside", "read_file", "path", "good")
	f.want("inside", "read_file", "path", "sub/deep")
	f.want("inside", "read_file", "path", filepath.Join(dir, "in.txt"))
	f.want("inside", "read_file", "path", "sub/../in.txt")
	// Walks do not follow links.
	f.want("Nothing was found.", "search_files_content", "path", ".", "query", "s3cret")
	if res := f.do("directory_tree", "path", "."); strings.Contains(res.Output, "secret") {
		t.Errorf("tree %s", res.Output)
	}
}

func TestFilesystemDoesNotWaitOnPipes(t *testing.T) {
	dir := files(t, map[string]string{"a": "x"})
	mustDo(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.refuse("no regular file", "read_file", "path", "pipe")
	f.refuse("no regular file", "write_file", "path", "pipe", "content", "x")
	f.want("Nothing was found.", "search_files_content", "path", ".", "query", "nothing")
	f.refuse("no regular file", "read_file", "path", ".")
}

func TestFilesystemReads(t *testing.T) {
	f := filesystem(t, builtin.FilesystemOptions{Dir: files(t, map[string]string{
		"a.txt": "one\ntwo", "bin": "a\x00b", "latin": "gr\xfcn", "big": strings.Repeat("x", tool.MaxOutput+10),
	})})
	f.want("one\ntwo", "read_file", "path", "a.txt")
	f.refuse("no text file", "read_file", "path", "bin")
	f.want("gr\uFFFDn", "read_file", "path", "latin")
	picture := func() string {
		var b bytes.Buffer
		mustDo(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4))))
		return b.String()
	}()
	pictures := filesystem(t, builtin.FilesystemOptions{Dir: files(t, map[string]string{"a.png": picture, "b.gif": "\x00" + picture, "c.txt": "c"})})
	pictures.refuse("no text file", "read_file", "path", "b.gif")
	if res := pictures.do("read_file", "path", "a.png"); res.IsError || len(res.Images) != 1 || !strings.HasPrefix(res.Output, "[image/png, ") {
		t.Errorf("an image: %+v", res)
	}
	if res := pictures.do("read_multiple_files", "paths", []string{"a.png", "b.gif", "c.txt", "a.png"}); res.IsError || len(res.Images) != 2 {
		t.Errorf("two images: %+v", res)
	}
	if res := f.do("read_file", "path", "big"); !strings.Contains(res.Output, fmt.Sprintf("of %d bytes are shown;", tool.MaxOutput+10)) {
		t.Errorf("%d bytes without a marker", len(res.Output))
	}
	f.want("=== a.txt ===\none\ntwo\n=== none ===\nError: none: it does not exist.\n", "read_multiple_files", "paths", []string{"a.txt", "none"})
	if res := f.do("get_file_info", "path", "a.txt"); !strings.Contains(res.Output, "kind: file\nsize: 7\n") {
		t.Errorf("info %s", res.Output)
	}
}

func TestFilesystemWrites(t *testing.T) {
	dir := files(t, map[string]string{"run.sh": "old, old", "sub/": ""})
	mustDo(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o750))
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.want("Made 2 edits in run.sh.", "edit_file", "path", "run.sh",
		"edits", []map[string]string{{"oldText": "old,", "newText": "new"}, {"oldText": "old", "newText": "newer"}})
	f.want("new newer", "read_file", "path", "run.sh")
	f.refuse("edit 2 is not in the file", "edit_file", "path", "run.sh",
		"edits", []map[string]string{{"oldText": "new ", "newText": "x"}, {"oldText": "absent", "newText": "y"}})
	f.want("new newer", "read_file", "path", "run.sh")
	f.want("Wrote 3 bytes to run.sh.", "write_file", "path", "run.sh", "content", "abc")
	if info, err := os.Stat(filepath.Join(dir, "run.sh")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the permissions are lost: %v, %v", info.Mode(), err)
	}
	mustDo(t, os.Symlink("run.sh", filepath.Join(dir, "link")))
	f.want("Wrote 4 bytes to link.", "write_file", "path", "link", "content", "abcd")
	if info, err := os.Lstat(filepath.Join(dir, "link")); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
	f.want("abcd", "read_file", "path", "run.sh")
	f.want("Moved run.sh to sub/there.", "move_file", "source", "run.sh", "destination", "sub/there")
	f.want("LINK link\nDIR  sub\n", "list_directory", "path", ".")
	f.want("FILE there 4\n", "list_directory_with_sizes", "path", "sub")
}

func TestFilesystemSearch(t *testing.T) {
	f := filesystem(t, builtin.FilesystemOptions{Dir: files(t, map[string]string{
		"a.go": "package a\n// TODO x\n", "src/b.go": "package b\n", "src/deep/c.ts": "let todo = 1\r\n", "src/deep/d.go": "\x00TODO",
		"long": strings.Repeat("é", 400) + "TODO\n", "odd[1].txt": "",
	})})
	f.want("3 files:\na.go\nsrc/b.go\nsrc/deep/d.go", "search_files", "path", ".", "pattern", "*.go")
	f.want("2 files:\nsrc/b.go\nsrc/deep/d.go", "search_files", "path", "src", "pattern", "*.go")
	f.want("1 files:\nsrc/deep/c.ts", "search_files", "path", ".", "pattern", "src/**/*.{ts,js}")
	f.want("1 files:\na.go", "search_files", "path", ".", "pattern", "[a-b].go", "excludePatterns", []string{"src"})
	f.want(`1 files:`+"\n"+`odd[1].txt`, "search_files", "path", ".", "pattern", `odd\[?].txt`)
	f.want("No file matches.", "search_files", "path", ".", "pattern", "*.rs")
	f.want("a.go:2:4: // TODO x\nlong:1:801: …"+strings.Repeat("é", 248)+"TODO\n", "search_files_content", "path", ".", "query", "TODO")
	f.want("a.go:2:4: // TODO x\nsrc/deep/c.ts:1:5: let todo = 1\n", "search_files_content", "path", ".", "query", `(?i)\btodo\b`, "is_regex", true, "excludePatterns", []string{"long"})
	f.want("Nothing was found.", "search_files_content", "path", ".", "query", "p.ckage")
	var tree struct {
		Children []struct {
			Name, Type string
			Cut        bool
		}
	}
	mustDo(t, json.Unmarshal([]byte(f.do("directory_tree", "path", ".", "max_depth", 1).Output), &tree))
	if len(tree.Children) != 4 || tree.Children[3].Name != "src" || tree.Children[3].Type != "directory" || !tree.Children[3].Cut {
		t.Errorf("tree %+v", tree)
	}
}

func TestFilesystemIgnores(t *testing.T) {
	dir := files(t, map[string]string{
		".git/config": "", ".gitignore": "# comment\n*.log\n/build\nnode_modules/\n!keep.log\ndoc/*.tmp\n[bad\n", "a.log": "", "keep.log": "", "build/x": "", "src/build/y": "",
		"src/node_modules/m.js": "", "src/.gitignore": "*.gen\n!a.log\n", "src/a.log": "", "src/z.gen": "", "doc/a.tmp": "", "doc/sub/a.tmp": "",
	})
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir, IgnoreVCS: true})
	f.want("6 files:\n.gitignore\ndoc/sub/a.tmp\nkeep.log\nsrc/.gitignore\nsrc/a.log\nsrc/build/y", "search_files", "path", ".", "pattern", "*", "excludePatterns", []string{"none"})
}

func TestFilesystemPostEdit(t *testing.T) {
	dir := files(t, map[string]string{"a.txt": "x"})
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir, PostEdit: []builtin.PostEdit{
		{Path: "*.go", Cmd: `printf formatted > "$path"`},
		{Path: "bad/*.go", Cmd: "echo no; exit 4"},
	}})
	f.want("Wrote 1 bytes to a.go.", "write_file", "path", "a.go", "content", "x")
	f.want("formatted", "read_file", "path", "a.go")
	f.want("Wrote 1 bytes to b.txt.", "write_file", "path", "b.txt", "content", "x")
	f.want("x", "read_file", "path", "b.txt")
	f.refuse("exit status 4.\nno", "write_file", "path", "bad/c.go", "content", "x")
	if _, err := builtin.NewFilesystem(builtin.FilesystemOptions{Dir: dir, PostEdit: []builtin.PostEdit{{Path: "[", Cmd: "true"}}}); holdfast.CodeOf(err) != holdfast.CodeInvalid {
		t.Errorf("a bad pattern: %v", err)
	}
}

func TestFilesystemAddedDirectories(t *testing.T) {
	dir, more := files(t, map[string]string{"a": "1"}), files(t, map[string]string{"b": "2"})
	closed := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	closed.refuse("No directory can be added", "add_allowed_directory", "path", more)

	f := filesystem(t, builtin.FilesystemOptions{Dir: dir, MayAdd: true})
	b := filepath.Join(more, "b")
	f.refuse("outside of the allowed directories", "read_file", "path", b)
	f.refuse("must be absolute", "add_allowed_directory", "path", "relative")
	f.refuse("no directory", "add_allowed_directory", "path", b)
	f.refuse("does not exist", "add_allowed_directory", "path", "/no/such")
	f.want(more+" may be used now.", "add_allowed_directory", "path", more, "reason", "tests")
	f.want(more+" was allowed already.", "add_allowed_directory", "path", more)
	f.want("2", "read_file", "path", b)
	f.want(dir+"\n"+more, "list_allowed_directories")
	f.refuse("different allowed directories", "move_file", "source", "a", "destination", b+"2")
	// It is the session's state that counts, not the toolset's.
	f.state = tooltest.State{}
	f.refuse("outside of the allowed directories", "read_file", "path", b)
	f.state = tooltest.State{"allowed_directories": json.RawMessage(`{`)}
	f.refuse("cannot be read", "read_file", "path", "a")
	if _, err := os.Stat(b + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("moved after all: %v", err)
	}
}
