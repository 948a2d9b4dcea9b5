package oauthtest

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Fosite builds and runs an authorization server made of Ory Fosite until the test
// ends, and returns its address: /authorize, /token and /register at the root, no
// metadata, and /introspect?token= for the MCP server in front of it. The first
// build takes a minute of a processor.
func Fosite(t testing.TB) (address string) {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(here) {
		here = "" // built with -trimpath: the test runs in the folder of its package
	}
	dir := filepath.Join(filepath.Dir(here), "testdata", "fosite")
	if here == "" {
		dir = filepath.Join("..", "oauth", "oauthtest", "testdata", "fosite")
	}
	bin := filepath.Join(t.TempDir(), "fosite")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building Fosite: %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var drained sync.WaitGroup
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		drained.Wait()
		_ = cmd.Wait() // it was killed, and says so
	})
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("Fosite does not start: %v\n%s", err, &said)
	}
	drained.Go(func() { _, _ = io.Copy(io.Discard, r) })
	return strings.TrimSpace(line)
}
