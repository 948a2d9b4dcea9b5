package app_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestOAuthClientsAreChecked: clients that get tokens without a human need what
// their grant needs, and a server of their own.
func TestOAuthClientsAreChecked(t *testing.T) {
	base, _, _ := startPaying(t, filepath.Join(t.TempDir(), "data"), newProtected(t, false))
	for body, want := range map[string]string{
		`{"client_id":"c","grant":"client_credentials"}`:                                                                                                   "server_url",
		`{"client_id":"c","grant":"client_credentials","server_url":"https://s.example/mcp","assertion_secret":"A"}`:                                       "assertion_secret",
		`{"grant":"workload_identity","server_url":"https://s.example/mcp"}`:                                                                               "assertion_secret",
		`{"client_id":"c","grant":"enterprise_managed","server_url":"https://s.example/mcp","assertion_secret":"A"}`:                                       "identity_provider",
		`{"client_id":"c","grant":"enterprise_managed","server_url":"https://s.example/mcp","assertion_secret":"A","identity_provider":{"client_id":"i"}}`: "issuer",
		`{"client_id":"c","assertion_secret":"A"}`:                                                                                                         "assertion_secret",
		`{"server_url":"https://s.example/mcp"}`:                                                                                                           "client_id",
	} {
		if said := call(t, http.MethodPut, base+"/v1/oauth-clients/c", body, http.StatusBadRequest, nil); !strings.Contains(said, want) {
			t.Errorf("%s: %s", body, said)
		}
	}
	call(t, http.MethodPut, base+"/v1/oauth-clients/c", `{"grant":"workload_identity","server_url":"https://s.example/mcp","assertion_secret":"A"}`, http.StatusNoContent, nil)
	if list := call(t, http.MethodGet, base+"/v1/oauth-clients", "", http.StatusOK, nil); !strings.Contains(list, `"workload_identity"`) {
		t.Errorf("the list: %s", list)
	}
}
