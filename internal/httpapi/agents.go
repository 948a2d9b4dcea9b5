package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// plainName is an agent's name without the extension of its file.
func plainName(name string) string {
	for _, ext := range []string{".yaml", ".yml"} {
		if s, ok := strings.CutSuffix(name, ext); ok {
			return s
		}
	}
	return name
}

// agents lists the tenant's agent files, by name.
func (a *API) agents(ctx context.Context) ([]AgentInfo, error) {
	list, err := a.cfg.Agents.List(ctx, tenantOf(ctx))
	if err != nil {
		return nil, unavailable(fmt.Errorf("list agents: %w", err))
	}
	slices.SortStableFunc(list, func(x, y AgentInfo) int { return strings.Compare(x.Name, y.Name) })
	return list, nil
}

// agentNamed finds the agent file that a client means: that name, with or
// without .yaml, else what an alias stands for. CodeNotFound lists what there is.
func (a *API) agentNamed(ctx context.Context, name string) (AgentInfo, error) {
	list, err := a.agents(ctx)
	if err != nil {
		return AgentInfo{}, err
	}
	if info, ok := pick(list, name); ok {
		return info, nil
	}
	for from, to := range a.cfg.AgentAliases {
		if plainName(from) == plainName(name) {
			if info, ok := pick(list, to); ok {
				return info, nil
			}
		}
	}
	names := make([]string, len(list))
	for i, info := range list {
		names[i] = plainName(info.Name)
	}
	known := "there are none"
	if len(names) > 0 {
		known = "there are: " + strings.Join(names, ", ")
	}
	return AgentInfo{}, holdfast.Errorf(holdfast.CodeNotFound, "there is no agent %q; %s", plainName(name), known)
}

// usableAgent is agentNamed for an agent that is about to run.
func (a *API) usableAgent(ctx context.Context, name string) (AgentInfo, error) {
	info, err := a.agentNamed(ctx, name)
	if err == nil && info.Problem != "" {
		err = holdfast.Errorf(holdfast.CodeInvalid, "the file of agent %q cannot be used: %s", plainName(info.Name), info.Problem)
	}
	return info, err
}

func pick(list []AgentInfo, name string) (AgentInfo, bool) {
	for _, info := range list {
		if info.Name == name {
			return info, true
		}
	}
	for _, info := range list {
		if plainName(info.Name) == plainName(name) {
			return info, true
		}
	}
	return AgentInfo{}, false
}
