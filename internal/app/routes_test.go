package app_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Every route of secrets, clients and connections, and those of usage: what
// succeeds, what is malformed, what is not there, what is too large.
func TestVaultRoutes(t *testing.T) {
	base, _ := start(t, filepath.Join(t.TempDir(), "data"), "HOLDFAST_MAX_BODY=131072")
	big := `{"value":"` + strings.Repeat("x", 140<<10) + `"}`
	for _, c := range []struct {
		method, path, body string
		status             int
		has                string
	}{
		{"PUT", "/v1/secrets/API_KEY", `{"value":"hush"}`, 204, ""},
		{"PUT", "/v1/secrets/API_KEY", `{"value":"hush again"}`, 204, ""},
		{"PUT", "/v1/secrets/API_KEY", `{"value":""}`, 400, "value"},
		{"PUT", "/v1/secrets/API_KEY", `{"valeu":"x"}`, 400, "valeu"},
		{"PUT", "/v1/secrets/no%20name", `{"value":"x"}`, 400, "invalid"},
		{"PUT", "/v1/secrets/API_KEY", big, 413, "too_large"},
		{"GET", "/v1/secrets", "", 200, `"name":"API_KEY"`},
		{"DELETE", "/v1/secrets/API_KEY", "", 204, ""},
		{"DELETE", "/v1/secrets/API_KEY", "", 404, "not_found"},
		{"GET", "/v1/secrets", "", 200, `"secrets":[]`},

		{"PUT", "/v1/oauth-clients/own", `{"client_id":"c","client_secret":"hush","server_url":"https://mcp.example/mcp"}`, 204, ""},
		{"PUT", "/v1/oauth-clients/own", `{"client_id":""}`, 400, "client_id"},
		{"PUT", "/v1/oauth-clients/own", `{"client_id":"c","token_endpoint_auth_method":"telepathy"}`, 400, "invalid"},
		{"PUT", "/v1/oauth-clients/own", `{"client_id":"c","server_url":"not a URL"}`, 400, "server_url"},
		{"PUT", "/v1/oauth-clients/own", big, 413, "too_large"},
		{"GET", "/v1/oauth-clients", "", 200, `"client_id":"c"`},
		{"DELETE", "/v1/oauth-clients/own", "", 204, ""},
		{"DELETE", "/v1/oauth-clients/own", "", 404, "not_found"},

		{"GET", "/v1/connections", "", 200, `"connections":[]`},
		{"GET", "/v1/connections?usr=x", "", 400, "usr"},
		{"DELETE", "/v1/connections/nobody", "", 404, "not_found"},

		{"GET", "/v1/usage", "", 200, `"calls":0`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		name := fmt.Sprintf("%s %s %.60s", c.method, c.path, c.body)
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.has) {
			t.Errorf("%s: %d %s, %v; want %d and %s", name, resp.StatusCode, body, err, c.status, c.has)
		}
		if strings.Contains(string(body), "hush") {
			t.Errorf("%s gives a secret out: %s", name, body)
		}
	}
}
