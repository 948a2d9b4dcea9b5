package app

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// HostTool is a tool that the program provides which this one is embedded in.
type HostTool struct {
	tool.Definition
	// Call runs the tool. An error is told to the model.
	Call func(ctx context.Context, c tool.Call) (tool.Result, error)
}

// hostToolset is the type of the toolset that holds them. No agent file can name
// it: the loader refuses types that it does not know.
const hostToolset = "host"

// hostAgents gives every agent the tools of the program around it, behind those of
// its file: where two have the same name, the file's wins.
type hostAgents struct {
	runtime.Agents
	tools []HostTool
}

// Parse implements [runtime.Agents].
func (h hostAgents) Parse(name, source string) (*agent.Team, error) {
	team, err := h.Agents.Parse(name, source)
	if err != nil {
		return nil, err
	}
	for _, a := range team.Agents {
		a.Toolsets = append(slices.Clone(a.Toolsets), &agent.Toolset{Type: hostToolset})
	}
	return team, nil
}

// Bury implements [runtime.Undertaker].
func (h hostAgents) Bury(s holdfast.SessionRef) {
	if u, ok := h.Agents.(runtime.Undertaker); ok {
		u.Bury(s)
	}
}

// Toolset implements [runtime.Agents].
func (h hostAgents) Toolset(ctx context.Context, s holdfast.SessionRef, team *agent.Team, a *agent.Agent, t *agent.Toolset) (tool.Toolset, error) {
	if t.Type == hostToolset {
		return hostTools(h.tools), nil
	}
	return h.Agents.Toolset(ctx, s, team, a, t)
}

// hostTools is a toolset of the program's own.
type hostTools []HostTool

// Name implements [tool.Toolset].
func (hostTools) Name() string { return hostToolset }

// Instructions implements [tool.Toolset].
func (hostTools) Instructions() string { return "" }

// Tools implements [tool.Toolset].
func (h hostTools) Tools(context.Context) ([]tool.Definition, error) {
	defs := make([]tool.Definition, len(h))
	for i, t := range h {
		defs[i] = t.Definition
	}
	return defs, nil
}

// Call implements [tool.Toolset].
func (h hostTools) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	i := slices.IndexFunc(h, func(t HostTool) bool { return t.Name == c.Name })
	if i < 0 {
		return tool.ErrorResult("there is no tool " + c.Name), nil
	}
	if strings.TrimSpace(c.Arguments) == "" {
		c.Arguments = "{}"
	}
	if !json.Valid([]byte(c.Arguments)) {
		return tool.ErrorResult("the arguments are not valid JSON"), nil
	}
	r, err := h[i].Call(ctx, c)
	if err != nil {
		if ctx.Err() != nil {
			return tool.Result{}, context.Cause(ctx)
		}
		return tool.ErrorResult(err.Error()), nil
	}
	if len(r.Output) > tool.MaxOutput {
		r.Output = r.Output[:tool.MaxOutput-64] + "\n[cut: the output is longer than 4 MiB]"
	}
	return r, nil
}

// Close implements [tool.Toolset].
func (hostTools) Close() error { return nil }
