package builtin_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/tool/builtin"
)

func TestFilesystemReadsLines(t *testing.T) {
	f := filesystem(t, builtin.FilesystemOptions{Dir: files(t, map[string]string{
		"a": "one\ntwo\r\nthree", "empty": "", "long": strings.Repeat("x", 200_000) + "\nend\n", "bin": "a\x00b\n",
	})})
	f.want("two\r\n", "read_file", "path", "a", "line", 2, "limit", 1)
	f.want("two\r\nthree", "read_file", "path", "a", "line", "2") // models write numbers as text
	f.want("one\n", "read_file", "path", "a", "limit", 1.0)
	f.want("end\n", "read_file", "path", "long", "line", 2, "limit", 9)
	f.want("The file has 3 lines; there is none from line 4 on.", "read_file", "path", "a", "line", 4)
	f.want("The file has 2 lines; there is none from line 3 on.", "read_file", "path", "long", "line", 3)
	f.want("The file has 0 lines; there is none from line 1 on.", "read_file", "path", "empty", "line", 1)
	f.refuse("at least 1", "read_file", "path", "a", "limit", 0)
	f.refuse("counted from 1", "read_file", "path", "a", "line", -1)
	f.refuse("no whole number", "read_file", "path", "a", "line", 1.5)
	f.refuse("no text file", "read_file", "path", "bin", "line", 1)
}

func TestFilesystemEditsOnePlace(t *testing.T) {
	dir := files(t, map[string]string{"a": "x = 1\nx = 1\n", "crlf": "a\r\nb\r\nc\r\n", "latin": "gr\xfcn\n", "bin": "a\x00b"})
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.refuse("in the file 2 times", "edit_file", "path", "a", "edits", []map[string]string{{"oldText": "x = 1", "newText": "y"}})
	f.want("Made 2 edits in a.", "edit_file", "path", "a",
		"edits", []map[string]string{{"oldText": "x = 1\nx", "newText": "y = 2\nx"}, {"oldText": "x = 1", "newText": "z = 3"}})
	f.want("y = 2\nz = 3\n", "read_file", "path", "a")
	// Models write a list as text, or its only element.
	f.want("Made 1 edits in a.", "edit_file", "path", "a", "edits", `[{"oldText":"y = 2","newText":"[{}]"}]`)
	f.want("Made 1 edits in a.", "edit_file", "path", "a", "edits", map[string]string{"oldText": "z", "newText": "w"})
	f.want("[{}]\nw = 3\n", "read_file", "path", "a")
	f.refuse("unknown field", "edit_file", "path", "a", "edits", []map[string]any{{"oldText": "w", "newText": "v", "replaceAll": true}})
	// Line ends stay what they are.
	f.want("Made 1 edits in crlf.", "edit_file", "path", "crlf", "edits", []map[string]string{{"oldText": "a\nb", "newText": "1\n2\n3"}})
	f.want("1\r\n2\r\n3\r\nc\r\n", "read_file", "path", "crlf")
	// Bytes that are no UTF-8 stay, and what is no text is not touched.
	f.want("Made 1 edits in latin.", "edit_file", "path", "latin", "edits", []map[string]string{{"oldText": "n\n", "newText": "m\n"}})
	if body, err := os.ReadFile(filepath.Join(dir, "latin")); string(body) != "gr\xfcm\n" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	f.refuse("no text file", "edit_file", "path", "bin", "edits", []map[string]string{{"oldText": "a", "newText": "b"}})
}

func TestFilesystemDirectories(t *testing.T) {
	dir := files(t, map[string]string{"full/x": "", "file": ""})
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.want("The directory a/b is there.\nThe directory c is there.", "create_directory", "paths", []string{"a/b", "c"})
	f.want("The directory d is there.", "create_directory", "path", "d") // as older versions have it
	f.want("The directory c is there.", "create_directory", "paths", "c")
	f.refuse("There is no path", "create_directory")
	f.want("The directory a/b was removed.\nThe directory c was removed.", "remove_directory", "paths", []string{"a/b", "c"})
	f.refuse("The directory d was removed.\nfull: ", "remove_directory", "paths", []string{"d", "full"})
	f.refuse("no directory", "remove_directory", "paths", []string{"file"})
	f.refuse("stays", "remove_directory", "paths", []string{"."})
	f.refuse("outside", "remove_directory", "paths", []string{".."})
	f.want("DIR  a\nFILE file\nDIR  full\n", "list_directory")
	f.want("1 files:\nfull/x", "search_files", "pattern", "x")
}

// A name is shown so that it cannot be taken for several, or for another.
func TestFilesystemOddNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a\nDIR  b", "c\xff", "d e", "ü", "\x1b[2J"} {
		mustDo(t, os.WriteFile(filepath.Join(dir, name), []byte("needle\n"), 0o644))
	}
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.want(`FILE "\x1b[2J"`+"\n"+`FILE "a\nDIR  b"`+"\n"+`FILE "c\xff"`+"\nFILE d e\nFILE ü\n", "list_directory", "path", ".")
	f.want("5 files:\n"+`"\x1b[2J"`+"\n"+`"a\nDIR  b"`+"\n"+`"c\xff"`+"\nd e\nü", "search_files", "path", ".", "pattern", "*")
	if res := f.do("search_files_content", "path", ".", "query", "needle"); strings.Count(res.Output, "\n") != 5 {
		t.Errorf("%q", res.Output)
	}
	f.want("needle\n", "read_file", "path", "a\nDIR  b")
}

// A file may be larger than the memory, and a file may come in the way of any name.
func TestFilesystemHugeAndForbidden(t *testing.T) {
	dir := files(t, map[string]string{"shut/x": "needle", "open/y": "needle"})
	huge, err := os.Create(filepath.Join(dir, "huge"))
	mustDo(t, err)
	_, err = huge.WriteString("text\n" + strings.Repeat("needle\n", 2000))
	mustDo(t, err)
	mustDo(t, huge.Truncate(10<<30))
	mustDo(t, huge.Close())
	mustDo(t, os.Chmod(filepath.Join(dir, "shut"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	if res := f.do("read_file", "path", "huge"); res.IsError || !strings.Contains(res.Output, "of 10737418240 bytes are shown") {
		t.Errorf("%d bytes, error %v", len(res.Output), res.IsError)
	}
	f.want("needle\n", "read_file", "path", "huge", "line", 2, "limit", 1)
	f.refuse("longer than", "edit_file", "path", "huge", "edits", []map[string]string{{"oldText": "text", "newText": "x"}})
	f.want("FILE huge 10737418240\nDIR  open\nDIR  shut\n", "list_directory_with_sizes", "path", ".")
	if res := f.do("search_files_content", "path", ".", "query", "needle"); res.IsError || !strings.Contains(res.Output, "open/y:1:1: needle\n") || strings.Contains(res.Output, "huge") {
		t.Errorf("%+v", res)
	}
	if os.Getuid() != 0 {
		f.refuse("permission denied", "read_file", "path", "shut/x")
		f.refuse("permission denied", "write_file", "path", "shut/z", "content", "")
	}
}

// While something swaps what a path names for a link out of the workspace, a pipe and a
// file, no tool reaches what is outside, and none waits for ever.
func TestFilesystemWhileSomebodySwaps(t *testing.T) {
	outside := files(t, map[string]string{"secret": "s3cret", "d/secret": "s3cret"})
	dir := files(t, map[string]string{"real": "fine", "sub/f": "fine"})
	mustDo(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	link, subdir := filepath.Join(dir, "link"), filepath.Join(dir, "swap")
	swaps := []func(name string) error{
		func(name string) error { return os.Symlink(filepath.Join(outside, "secret"), name) },
		func(name string) error { return syscall.Mkfifo(name, 0o600) },
		func(name string) error { return os.Symlink("pipe", name) },
		func(name string) error { return os.Symlink("real", name) },
		func(name string) error { return os.Symlink(outside, name) },
		func(name string) error { return os.Symlink("sub", name) },
		func(name string) error { return os.Symlink("swap", name) }, // a loop
	}
	done := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			for _, name := range []string{link, subdir} {
				next := fmt.Sprintf("%s.%d", name, i)
				if swaps[i%len(swaps)](next) == nil {
					_ = os.Rename(next, name)
				}
			}
		}
	})
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	for i := range 60 {
		for _, args := range [][]any{
			{"read_file", "path", "link"},
			{"write_file", "path", "link", "content", fmt.Sprint(i)},
			{"edit_file", "path", "link", "edits", []map[string]string{{"oldText": "s3cret", "newText": "stolen"}}},
			{"read_file", "path", "swap/secret", "line", 1},
			{"write_file", "path", "swap/secret", "content", "overwritten"},
			{"write_file", "path", "swap/new", "content", "x"},
			{"create_directory", "paths", []string{"swap/made"}},
			{"remove_directory", "paths", []string{"swap/d"}},
			{"list_directory_with_sizes", "path", "swap"},
			{"directory_tree", "path", "swap"},
			{"search_files_content", "path", "swap", "query", "s3cret"},
		} {
			if res := f.do(args[0].(string), args[1:]...); strings.Contains(res.Output, "s3cret") && args[0] != "edit_file" {
				t.Fatalf("%v: %+v", args, res)
			}
		}
	}
	close(done)
	swapper.Wait()
	want := map[string]string{"secret": "s3cret", "d/secret": "s3cret"}
	mustDo(t, filepath.WalkDir(outside, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(outside, name)
		mustDo(t, err)
		if body, err := os.ReadFile(name); err != nil || want[rel] != string(body) {
			t.Errorf("outside: %s is %q, %v", rel, body, err)
		}
		delete(want, rel)
		return nil
	}))
	if len(want) != 0 {
		t.Errorf("gone outside: %v", want)
	}
	if _, err := os.Stat(filepath.Join(outside, "made")); err == nil {
		t.Error("a directory was made outside")
	}
}

// A hard link is written as a file of its own: what it shared keeps its content.
func TestFilesystemHardLinks(t *testing.T) {
	outside := files(t, map[string]string{"shared": "theirs"})
	dir := t.TempDir()
	mustDo(t, os.Link(filepath.Join(outside, "shared"), filepath.Join(dir, "mine")))
	f := filesystem(t, builtin.FilesystemOptions{Dir: dir})
	f.want("Wrote 4 bytes to mine.", "write_file", "path", "mine", "content", "mine")
	f.want("Made 1 edits in mine.", "edit_file", "path", "mine", "edits", []map[string]string{{"oldText": "mine", "newText": "ours"}})
	if body, err := os.ReadFile(filepath.Join(outside, "shared")); string(body) != "theirs" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

func TestShellHostile(t *testing.T) {
	dir := t.TempDir()
	ts := shell(t, builtin.ShellOptions{Dir: dir})
	for _, c := range []struct{ cmd, more, want string }{
		{"true #" + strings.Repeat("x", 200_000), "", "argument list too long"},
		{"true", `,"cwd":"gone"`, "no such file"},
		{"true", `,"cwd":"a\u0000b"`, "NUL"},
		{"kill -KILL $$", "", "killed"},
		{"exec /no/such/program", "", "127"},
	} {
		if res := sh(t, ts, c.cmd, c.more); !res.IsError || !strings.Contains(res.Output, c.want) {
			t.Errorf("%.40s: %.300s, want %q", c.cmd, res.Output, c.want)
		}
	}
	// What left the group and holds the output does not hold the call.
	if res := sh(t, ts, "setsid sleep 5 & echo done"); res.IsError || res.Output != "done\n" {
		t.Errorf("%+v", res)
	}
	// The folder goes away under the command.
	if res := sh(t, ts, "mkdir d && cd d && rmdir ../d && echo still"); res.IsError || res.Output != "still\n" {
		t.Errorf("%+v", res)
	}
	if res := sh(t, ts, `read -r x; echo "[$x]"; cat <&3`); !strings.Contains(res.Output, "[]\n") || strings.Contains(res.Output, "timeout") {
		t.Errorf("standard input: %+v", res)
	}
}
