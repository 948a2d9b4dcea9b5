package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// AgentRow is an agent file in a list.
type AgentRow struct {
	Name        string `json:"name" doc:"Name of the file, without .yaml."`
	Description string `json:"description"`
	Multi       bool   `json:"multi" doc:"The file has more than one agent."`
	Problem     string `json:"problem,omitempty" doc:"Why the file cannot be used."`
}

// AgentList is the list of agent files.
type AgentList struct {
	Agents []AgentRow `json:"agents" doc:"By name."`
}

func (a *API) agentRoutes(api huma.API) {
	const tag = "agents"
	huma.Register(api, a.operation("list-agents", http.MethodGet, "/v1/agents", tag, "List agents",
		"All agent files, those with a problem too."), a.listAgentsV1)
	huma.Register(api, a.operation("get-agent", http.MethodGet, "/v1/agents/{name}", tag, "Get an agent",
		"The agent file as JSON, upgraded to the newest schema.", http.StatusNotFound), a.getAgentV1)
}

func (a *API) listAgentsV1(ctx context.Context, _ *struct{}) (*struct{ Body AgentList }, error) {
	list, err := a.agents(ctx)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	out := AgentList{Agents: make([]AgentRow, len(list))}
	for i, info := range list {
		out.Agents[i] = AgentRow{Name: plainName(info.Name), Description: info.Description, Multi: info.Multi, Problem: info.Problem}
	}
	return &struct{ Body AgentList }{out}, nil
}

func (a *API) getAgentV1(ctx context.Context, in *struct {
	Name string `path:"name" doc:"Name of the file, with or without .yaml."`
},
) (*struct{ Body json.RawMessage }, error) {
	info, err := a.usableAgent(ctx, in.Name)
	if err != nil {
		return nil, a.respond(ctx, err)
	}
	doc, err := a.cfg.Agents.Describe(ctx, tenantOf(ctx), info.Name, false)
	if err != nil {
		return nil, a.respond(ctx, unavailable(err))
	}
	return &struct{ Body json.RawMessage }{doc}, nil
}
