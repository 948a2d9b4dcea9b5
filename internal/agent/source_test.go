package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	holdfast "github.com/holdfast-run/holdfast"
)

const pirate = "agents: {root: {model: openai/gpt-4o, description: A pirate}}\n"

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func openDir(t *testing.T, dir string) *Dir {
	t.Helper()
	d, err := OpenDir(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDirList(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pirate.yaml", pirate)
	write(t, dir, "team.yml", "metadata: {description: Two}\nagents: {a: {model: openai/x}, b: {model: openai/x}}\n")
	write(t, dir, "broken.yaml", "agents: {root: {model: openai/x, descripton: x}}\n")
	write(t, dir, "big.yaml", strings.Repeat("#", MaxSource+1))
	write(t, dir, ".hidden.yaml", pirate)
	write(t, dir, "notes.txt", "x")
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, []byte(pirate), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, dir)
	list := func() []Summary {
		t.Helper()
		got, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := []Summary{
		{Name: "big.yaml", Problem: "agent file big.yaml has more than 1048576 bytes"},
		{Name: "broken.yaml", Problem: "broken.yaml:1:34: unknown key `descripton` in an agent; did you mean `description`?"},
		{Name: "link.yaml", Problem: "the file cannot be read"},
		{Name: "pirate.yaml", Description: "A pirate"},
		{Name: "team.yml", Description: "Two", Multi: true},
	}
	got := list()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A change is seen at the next call, and so is what is gone.
	write(t, dir, "pirate.yaml", strings.Replace(pirate, "A pirate", "A parrot", 1))
	if err := os.Chtimes(filepath.Join(dir, "pirate.yaml"), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "team.yml")); err != nil {
		t.Fatal(err)
	}
	got = list()
	if n := len(got); n != 4 || got[3].Description != "A parrot" {
		t.Errorf("after the change: %+v", got)
	}
	if len(d.cache) != 2 {
		t.Errorf("the cache holds %d files, want those 2 that were parsed and are still there", len(d.cache))
	}
}

func TestDirLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "pirate.yaml", pirate)
	write(t, dir, "other.yml", pirate)
	write(t, dir, "broken.yaml", "][")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, dir)
	for _, tc := range []struct {
		ref, name string
		code      holdfast.Code
	}{
		{"pirate", "pirate.yaml", ""},
		{"pirate.yaml", "pirate.yaml", ""},
		{"other", "other.yml", ""},
		{"broken", "broken.yaml", ""},
		{"pirate.yml", "", holdfast.CodeNotFound},
		{"pirat", "", holdfast.CodeNotFound},
		{"", "", holdfast.CodeInvalid},
		{"..", "", holdfast.CodeInvalid},
		{"../pirate", "", holdfast.CodeInvalid},
		{"/etc/passwd", "", holdfast.CodeInvalid},
		{`..\pirate`, "", holdfast.CodeInvalid},
		{"a\x00", "", holdfast.CodeInvalid},
		{"link", "", holdfast.CodeUnavailable},
	} {
		name, _, err := d.Load(t.Context(), tc.ref)
		if name != tc.name && err == nil || holdfast.CodeOf(err) != tc.code {
			t.Errorf("%q: %q, %v; want %q, code %q", tc.ref, name, err, tc.name, tc.code)
		}
	}
	_, _, err := d.Load(t.Context(), "pirat")
	const want = `there is no agent "pirat"; known: broken.yaml, link.yaml, other.yml, pirate.yaml`
	if got := holdfast.PublicMessage(err); got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if _, err := OpenDir(filepath.Join(dir, "absent"), Options{}); err == nil {
		t.Error("a folder that is not there was opened")
	}
}

func TestSources(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "demo.yml", pirate)
	write(t, dir, "own.yaml", pirate)
	s := Sources(openDir(t, dir), Builtin(map[string][]byte{
		"demo.yaml": []byte("agents: {root: {model: scripted/demo, description: Built in}}\n"),
		"more.yaml": []byte("agents: []\n"),
	}, Options{}))
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Summary{
		{Name: "demo.yml", Description: "A pirate"},
		{Name: "more.yaml", Problem: "more.yaml:1:9: `agents` takes names and agents, not a list"},
		{Name: "own.yaml", Description: "A pirate"},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for ref, want := range map[string]string{"demo": "demo.yml", "more": "more.yaml", "own.yaml": "own.yaml"} {
		if name, source, err := s.Load(t.Context(), ref); name != want || err != nil || len(source) == 0 {
			t.Errorf("%s: %q, %v", ref, name, err)
		}
	}
	_, _, err = s.Load(t.Context(), "nope")
	if holdfast.CodeOf(err) != holdfast.CodeNotFound || !strings.Contains(err.Error(), "demo.yml, more.yaml, own.yaml") {
		t.Errorf("error %v", err)
	}
	if _, _, err := Sources().Load(context.Background(), "x"); holdfast.CodeOf(err) != holdfast.CodeNotFound {
		t.Errorf("no sources: %v", err)
	}
}
