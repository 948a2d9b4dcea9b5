//go:build unix

package app_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestJobsOfADeletedSession: what a session runs in the background outlives its runs,
// in a program of one worker, and ends with the session.
func TestJobsOfADeletedSession(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	base, _ := start(t, filepath.Join(dir, "data"))
	source := fmt.Sprintf(`version: "2"
agents:
  root: {model: m, description: d, instruction: i, toolsets: [{type: shell}]}
permissions: {allow: ["*"]}
models:
  m:
    provider: scripted
    model: m
    provider_opts:
      script:
        turns:
          - when: {after_tool: run_background_job}
            say: ok
          - call: [{name: run_background_job, arguments: {cmd: "exec 3>'%s'; echo begun >&3; sleep 600"}}]
`, pipe)
	call(t, http.MethodPut, base+"/v1/agents/busy", fmt.Sprintf(`{"source":%q}`, source), http.StatusCreated, nil)
	var s, other document
	call(t, http.MethodPost, base+"/v1/sessions", `{"agent":"busy"}`, http.StatusCreated, &s)
	call(t, http.MethodPost, base+"/v1/sessions", `{"agent":"busy"}`, http.StatusCreated, &other)
	call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"go"}]}`, http.StatusOK, nil)

	lines := make(chan string, 4)
	go func() { // ends when nobody has the pipe open for writing any more
		defer close(lines)
		f, err := os.Open(pipe)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for in := bufio.NewScanner(f); in.Scan(); {
			lines <- in.Text()
		}
	}()
	wait := func(what, want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("%s: %q", what, got)
			}
		case <-time.After(time.Minute):
			t.Fatalf("waited a minute: %s", what)
		}
	}
	wait("the job begins", "begun")
	follow(t, base, s.ID, 0, "session_parked")
	call(t, http.MethodDelete, base+"/v1/sessions/"+other.ID, "", http.StatusOK, nil)
	select {
	case got := <-lines:
		t.Fatalf("the job ended with another session: %q", got)
	default:
	}
	call(t, http.MethodDelete, base+"/v1/sessions/"+s.ID, "", http.StatusOK, nil)
	wait("the job ends", "")
}
