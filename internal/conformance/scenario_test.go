package conformance

import (
	"encoding/json"
	"strings"

	"github.com/holdfast-run/holdfast/internal/oauth/oauthtest"
)

// toolCall is what the model calls.
type toolCall struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// suiteContext is what the suite tells a client beforehand.
type suiteContext struct {
	ClientID         string     `json:"client_id"`
	ClientSecret     string     `json:"client_secret"`
	PrivateKey       string     `json:"private_key_pem"`
	Algorithm        string     `json:"signing_algorithm"`
	IDPClientID      string     `json:"idp_client_id"`
	IDPIDToken       string     `json:"idp_id_token"`
	IDPIssuer        string     `json:"idp_issuer"`
	IDPTokenEndpoint string     `json:"idp_token_endpoint"`
	WorkloadJWT      string     `json:"valid_jwt"`
	ToolCalls        []toolCall `json:"toolCalls"`
}

// suiteDocument is the client id that the suite expects of clients that publish a
// metadata document. A tenant that publishes one of its own stores it as a client.
const suiteDocument = "https://conformance-test.local/client-metadata.json"

const preservation = "json-schema-2020-12-preservation"

// scenarios are all scenarios for clients of the pinned suite, but for those of
// extensions that are not about authorization.
func scenarios() []oauthtest.Scenario {
	var out []oauthtest.Scenario
	for _, one := range []struct {
		name      string
		revisions string
	}{
		{"initialize", "2025-11-25"},
		{"tools_call", "2025-11-25 2026-07-28"},
		{"elicitation-sep1034-client-defaults", "2025-11-25"},
		{"sse-retry", "2025-11-25"},
		{"request-metadata", "2026-07-28"},
		{"sep-2322-client-request-state", "2026-07-28"},
		{"http-standard-headers", "2026-07-28"},
		{"http-custom-headers", "2026-07-28"},
		{"http-invalid-tool-headers", "2026-07-28"},
		{"json-schema-ref-no-deref", "2026-07-28"},
		{preservation, "2025-11-25 2026-07-28"},
	} {
		for revision := range strings.FieldsSeq(one.revisions) {
			out = append(out, oauthtest.Scenario{Name: one.name, Revision: revision, Scored: true})
		}
	}
	return append(out, oauthtest.AuthScenarios()...)
}

// quickly are the scenarios of the ordinary tests.
var quickly = map[string]bool{
	"2025-11-25/elicitation-sep1034-client-defaults": true, "2026-07-28/sep-2322-client-request-state": true,
	"2025-11-25/sse-retry": true, "2026-07-28/auth/scope-step-up": true, "2026-07-28/auth/iss-wrong-issuer": true,
	"/auth/enterprise-managed-authorization": true,
}

// calls are the tools that the model calls in a scenario, all in one turn.
func calls(name string, c suiteContext) []toolCall {
	plain := func(names ...string) (out []toolCall) {
		for _, n := range names {
			out = append(out, toolCall{n, json.RawMessage(`{}`)})
		}
		return out
	}
	switch name {
	case "initialize", "request-metadata", preservation:
		return nil
	case "tools_call":
		return []toolCall{{"add_numbers", json.RawMessage(`{"a":5,"b":3}`)}}
	case "elicitation-sep1034-client-defaults":
		return plain("test_client_elicitation_defaults")
	case "sse-retry":
		return plain("test_reconnection")
	case "sep-2322-client-request-state":
		return plain("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state", "test_mrtr_no_result_type")
	case "http-standard-headers":
		return plain("test_headers", "my-hyphenated-tool")
	case "http-custom-headers":
		return c.ToolCalls
	case "http-invalid-tool-headers":
		return append(plain("invalid_empty_header", "invalid_duplicate_diff_case"), toolCall{"valid_tool", json.RawMessage(`{"region":"eu"}`)})
	case "json-schema-ref-no-deref":
		return []toolCall{{"lookup_user", json.RawMessage(`{"id":"u-1"}`)}}
	}
	return plain("test-tool")
}
