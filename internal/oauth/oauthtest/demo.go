package oauthtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Demo runs the official TypeScript SDK's example server with its example
// authorization server until the test ends, and returns the URL of the MCP server.
// strict says that it insists on the resource indicator (RFC 8707).
func Demo(t testing.TB, strict bool) (serverURL string) {
	t.Helper()
	dir := Modules(t)
	script := filepath.Join(dir, "node_modules", "@modelcontextprotocol", "sdk", "dist", "esm", "examples", "server", "simpleStreamableHttp.js")
	args := []string{script, "--oauth"}
	if strict {
		args = append(args, "--oauth-strict")
	}
	server, issuer := freePort(t), freePort(t)
	cmd := exec.Command(Node(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("MCP_PORT=%d", server), fmt.Sprintf("MCP_AUTH_PORT=%d", issuer))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed, and says so
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // one that has ended needs none
		<-ended
	})
	for _, at := range []string{
		fmt.Sprintf("http://localhost:%d/.well-known/oauth-authorization-server", issuer),
		fmt.Sprintf("http://localhost:%d/.well-known/oauth-protected-resource/mcp", server),
	} {
		until := time.Now().Add(time.Minute)
		for answers := false; !answers; {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body) // only that it answers counts
				_ = resp.Body.Close()
				answers = resp.StatusCode == http.StatusOK
			}
			select {
			case <-ended:
				t.Fatalf("the SDK's server ended:\n%s", &said)
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(until) {
				_ = cmd.Process.Kill()
				<-ended
				t.Fatalf("the SDK's server does not answer at %s:\n%s", at, &said)
			}
		}
	}
	return fmt.Sprintf("http://localhost:%d/mcp", server)
}

// freePort is one that nobody listened on a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // nothing was sent over it
	return ln.Addr().(*net.TCPAddr).Port
}
