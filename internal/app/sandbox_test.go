package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const handyAgent = `version: "2"
agents:
  root:
    model: m
    description: d
    instruction: i
    toolsets:
      - type: filesystem
      - {type: shell, env: {GIVEN: "to the command"}}
      - {type: script, shell: {count: {cmd: 'wc -c < "$file"', args: {file: {}}}}}
permissions: {allow: ["*"]}
models:
  m:
    provider: scripted
    model: demo
    provider_opts:
      script:
        turns:
          - when: {after_tool: count}
            say: "counted {{.Tool}}"
          - when: {after_tool: shell}
            say: "{{.Tool}}"
            call: [{name: count, arguments: {file: note.txt}}]
          - when: {after_tool: write_file}
            say: ok
            call: [{name: shell, arguments: {cmd: 'echo "$BOXED $GIVEN"; cat note.txt'}}]
          - say: begin
            call: [{name: write_file, arguments: {path: note.txt, content: "one line"}}]
`

// TestSandbox: with a sandbox, a hosted deployment offers what touches a machine: files
// in the session's folder, and commands by the operator's program. Without one it
// refuses them by name.
func TestSandbox(t *testing.T) {
	root := t.TempDir()
	program := filepath.Join(root, "sandbox")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nBOXED=\"$1 $HOLDFAST_TENANT\"\nexport BOXED\n[ -z \"${GIVEN-}\" ] || exit 9\nshift\nexec \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, boxed := range []bool{true, false} {
		t.Run(fmt.Sprint(boxed), func(t *testing.T) {
			env := []string{"HOLDFAST_HOSTED=true"}
			if boxed {
				env = append(env, "HOLDFAST_SANDBOX="+program+" in-the-box", "HOLDFAST_WORKSPACES="+filepath.Join(root, "workspaces"))
			}
			base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), newProtected(t, false), env...)
			file := fmt.Sprintf(`{"source":%q}`, handyAgent)
			if !boxed {
				call(t, http.MethodPut, base+"/v1/agents/handy", file, http.StatusNotImplemented, nil)
				return
			}
			call(t, http.MethodPut, base+"/v1/agents/handy", file, http.StatusCreated, nil)
			var s document
			call(t, http.MethodPost, base+"/v1/sessions", `{"agent":"handy"}`, http.StatusCreated, &s)
			call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"go"}]}`, http.StatusOK, nil)
			var all strings.Builder
			for _, e := range follow(t, base, s.ID, 0, "run_finished") {
				all.WriteString(e.raw)
			}
			for _, want := range []string{"in-the-box default to the command", "one line", `"response":"8\n"`} {
				if !strings.Contains(all.String(), want) {
					t.Errorf("the log has no %q:\n%s", want, all.String())
				}
			}
			if got, err := os.ReadFile(filepath.Join(root, "workspaces", "default", s.ID, "note.txt")); string(got) != "one line" {
				t.Errorf("the session's folder: %q, %v", got, err)
			}
		})
	}
}
