package app_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// writer is an agent file whose model writes agent files: it gets the first one
// wrong and mends it when it is told.
const writer = `version: "2"
agents:
  root: {model: m, instruction: Write.}
models:
  m:
    provider: scripted
    model: writer
    provider_opts:
      script:
        turns:
          - {when: {contains: cannot be used}, say: "` + "```yaml\\n# name: parrot\\nversion: '2'\\nagents:\\n  root: {model: bird, description: Speaks., instruction: Speak.}\\nmodels:\\n  bird: {provider: scripted, model: bird, provider_opts: {script: {turns: [{say: 'polly'}]}}}\\n```" + `"}
          - {say: "agents: {}"}
`

// TestAgents: an agent is written by a model, runs, is edited, goes to a registry
// and back, and is there after a restart.
func TestAgents(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	reg := strings.TrimPrefix(srv.URL, "http://")
	data, folder := filepath.Join(t.TempDir(), "data"), t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "writer.yaml"), []byte(writer), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOLDFAST_AGENTS=" + folder, "HOLDFAST_AGENT_WRITER=writer"}
	base, stop := start(t, data, env...)
	var made struct{ Path, Out string }
	call(t, http.MethodPost, base+"/api/agents", `{"prompt":"a bird that speaks"}`, http.StatusOK, &made)
	if made.Path != "parrot.yaml" || !strings.Contains(made.Out, "polly") {
		t.Fatalf("made %+v", made)
	}
	say := func(session, agent string) string {
		return call(t, http.MethodPost, base+"/api/sessions/"+session+"/agent/"+agent, `[{"role":"user","content":"hello"}]`, http.StatusOK, nil)
	}
	if stream := say("one", "parrot.yaml"); !strings.Contains(stream, "polly") {
		t.Errorf("the new agent: %s", stream)
	}
	edit, err := json.Marshal(map[string]any{"filename": "parrot.yaml", "agent_config": map[string]any{
		"models": map[string]any{"bird": map[string]any{"provider_opts": map[string]any{"script": map[string]any{"turns": []any{map[string]string{"say": "squawk"}}}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	call(t, http.MethodPut, base+"/api/agents/config", string(edit), http.StatusOK, nil)
	if stream := say("two", "parrot"); !strings.Contains(stream, "squawk") {
		t.Errorf("the edited agent: %s", stream)
	}
	if stream := say("three", "parrot@1"); !strings.Contains(stream, "polly") {
		t.Errorf("version 1: %s", stream)
	}
	call(t, http.MethodPost, base+"/api/agents/push", `{"filepath":"parrot.yaml","tag":"`+reg+`/birds/parrot:1"}`, http.StatusOK, nil)
	call(t, http.MethodDelete, base+"/api/agents", `{"file_path":"parrot.yaml"}`, http.StatusOK, nil)
	call(t, http.MethodPost, base+"/v1/agents/pull", `{"reference":"`+reg+`/birds/parrot:1","name":"parrot"}`, http.StatusCreated, nil)
	stop()

	base, _ = start(t, data, env...)
	var doc struct {
		Version int64
		Origin  string
	}
	call(t, http.MethodGet, base+"/v1/agents/parrot", "", http.StatusOK, &doc)
	if doc.Version != 4 || !strings.HasPrefix(doc.Origin, "pull "+reg+"/birds/parrot:1@sha256:") {
		t.Errorf("after a restart: %+v", doc)
	}
	if stream := say("four", "parrot"); !strings.Contains(stream, "squawk") {
		t.Errorf("the pulled agent: %s", stream)
	}
}
