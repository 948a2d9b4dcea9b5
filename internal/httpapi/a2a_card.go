package httpapi

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/a2aproject/a2a-go/a2a"

	"github.com/holdfast-run/holdfast/internal/a2awire"
)

// agentCard is a card that clients of both versions read: 1.0 finds the agent by
// supportedInterfaces, 0.3 by url, and each passes over what it does not know.
// Where both have a member of one name its value suits both.
type agentCard struct {
	Name               string           `json:"name"`
	Description        string           `json:"description"`
	Version            string           `json:"version"`
	Capabilities       cardCapabilities `json:"capabilities"`
	DefaultInputModes  []string         `json:"defaultInputModes"`
	DefaultOutputModes []string         `json:"defaultOutputModes"`
	Skills             []cardSkill      `json:"skills"`
	// SecuritySchemes are told apart by their member type in 0.3, by the name of
	// their only member in 1.0.
	SecuritySchemes map[string]cardScheme `json:"securitySchemes"`

	SupportedInterfaces  []cardInterface   `json:"supportedInterfaces"`
	SecurityRequirements []cardRequirement `json:"securityRequirements"`

	ProtocolVersion    string                `json:"protocolVersion"`
	URL                string                `json:"url"`
	PreferredTransport string                `json:"preferredTransport"`
	Security           []map[string][]string `json:"security"`
}

type cardCapabilities struct {
	Streaming         bool `json:"streaming"`
	PushNotifications bool `json:"pushNotifications"`
	ExtendedAgentCard bool `json:"extendedAgentCard"`
}

type cardSkill struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
}

type cardInterface struct {
	URL             string `json:"url"`
	ProtocolBinding string `json:"protocolBinding"`
	ProtocolVersion string `json:"protocolVersion"`
}

type cardRequirement struct {
	Schemes map[string]cardScopes `json:"schemes"`
}

type cardScopes struct {
	List []string `json:"list"`
}

type cardScheme struct {
	Type   string `json:"type"`
	Scheme string `json:"scheme"`
	HTTP   struct {
		Scheme string `json:"scheme"`
	} `json:"httpAuthSecurityScheme"`
}

// newAgentCard makes the card of an agent whose endpoint is at.
func newAgentCard(name, description, version, at string) agentCard {
	text := []string{"text/plain"}
	bearer := cardScheme{Type: "http", Scheme: "bearer"}
	bearer.HTTP.Scheme = "bearer"
	rpc := string(a2a.TransportProtocolJSONRPC)
	return agentCard{
		Name: name, Description: cmp.Or(description, "The agent "+name+"."), Version: cmp.Or(version, "dev"),
		Capabilities:      cardCapabilities{Streaming: true},
		DefaultInputModes: text, DefaultOutputModes: text,
		Skills:          []cardSkill{{ID: name, Name: name, Description: cmp.Or(description, "What the agent "+name+" does."), Tags: []string{"agent"}}},
		SecuritySchemes: map[string]cardScheme{"bearer": bearer},
		SupportedInterfaces: []cardInterface{
			{URL: at, ProtocolBinding: rpc, ProtocolVersion: a2awire.Version},
			{URL: at, ProtocolBinding: string(a2a.TransportProtocolHTTPJSON), ProtocolVersion: a2awire.Version},
			{URL: at, ProtocolBinding: rpc, ProtocolVersion: "0.3"},
		},
		SecurityRequirements: []cardRequirement{{Schemes: map[string]cardScopes{"bearer": {List: []string{}}}}},
		ProtocolVersion:      a2aVersion03, URL: at, PreferredTransport: rpc,
		Security: []map[string][]string{{"bearer": {}}},
	}
}

// agentCard serves the card of an agent.
func (a *API) agentCard(w http.ResponseWriter, r *http.Request) {
	f, err := a.usableAgent(r.Context(), r.PathValue("name"))
	if err != nil {
		a.writeProblem(w, r, err)
		return
	}
	base := strings.TrimSuffix(a.cfg.PublicURL, "/")
	if base == "" {
		base = "http://" + r.Host
		if r.TLS != nil {
			base = "https://" + r.Host
		}
	}
	name := plainName(f.Name)
	writeJSON(w, http.StatusOK, "application/json", newAgentCard(name, f.Description, a.cfg.Version, base+"/v1/agents/"+name+"/a2a"))
}
