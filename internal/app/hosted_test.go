package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestHostedGoesOutThroughGuard: where agent files are a tenant's, neither a model's
// base_url nor an MCP server reaches what is not public, unless the operator says so.
func TestHostedGoesOutThroughGuard(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			var models, tools atomic.Int64
			inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/mcp") {
					tools.Add(1)
				} else {
					models.Add(1)
				}
				w.WriteHeader(http.StatusBadRequest)
			}))
			defer inside.Close()
			env := []string{"HOLDFAST_HOSTED=true"}
			if allowed {
				env = append(env, "HOLDFAST_EGRESS_ALLOW="+strings.TrimPrefix(inside.URL, "http://"))
			}
			base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), newProtected(t, false), env...)
			call(t, http.MethodPut, base+"/v1/secrets/KEY", `{"value":"k"}`, http.StatusNoContent, nil)
			call(t, http.MethodPut, base+"/v1/agents/inside", fmt.Sprintf(`{"source":%q}`, fmt.Sprintf(`version: "2"
agents:
  root: {model: m, description: d, instruction: i, toolsets: [{type: mcp, remote: {url: %q}}]}
models:
  m: {provider: openai, model: m, base_url: %q, token_key: KEY, provider_opts: {api_type: openai_chatcompletions}}
`, inside.URL+"/mcp", inside.URL+"/v1")), http.StatusCreated, nil)
			var s document
			call(t, http.MethodPost, base+"/v1/sessions", `{"agent":"inside"}`, http.StatusCreated, &s)
			call(t, http.MethodPost, base+"/v1/sessions/"+s.ID+"/runs", `{"messages":[{"role":"user","content":"go"}]}`, http.StatusOK, nil)
			follow(t, base, s.ID, 0, "run_finished")
			if m, n := models.Load(), tools.Load(); (m > 0) != allowed || (n > 0) != allowed {
				t.Errorf("allowed: %v; %d requests of models, %d of tools", allowed, m, n)
			}
		})
	}
}
