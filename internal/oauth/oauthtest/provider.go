package oauthtest

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Provider runs an oidc-provider until the test ends and returns its issuer. Its
// one user agrees to everything; access tokens are JWTs that live for 30 seconds,
// refresh tokens rotate.
func Provider(t testing.TB) (issuer string) {
	t.Helper()
	script, err := pinned.ReadFile("npm/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "provider.mjs")
	if err := os.WriteFile(at, script, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Node(t), at, Modules(t))
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
		t.Fatalf("oidc-provider does not start: %v\n%s", err, &said)
	}
	drained.Go(func() { _, _ = io.Copy(io.Discard, r) })
	return strings.TrimSpace(line)
}
