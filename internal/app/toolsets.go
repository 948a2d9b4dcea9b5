package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/egress"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/a2atool"
	"github.com/holdfast-run/holdfast/internal/tool/httptool"
)

// newOutgoing returns the guard that carries the requests of toolsets to URLs
// that agent files and remote documents choose. A hosted deployment reaches
// public addresses over TLS and what its operator allows; on its user's own
// machine also that machine, and pages by http.
func newOutgoing(cfg config.Config, hosted bool) *egress.Guard {
	return egress.New(egress.Policy{AllowHosts: cfg.EgressAllow, AllowLoopback: !hosted, AllowHTTP: !hosted})
}

// api makes the toolset of one endpoint.
func (a *agents) api(ctx context.Context, tenant string, t *agent.Toolset) (tool.Toolset, error) {
	c := t.APIConfig
	headers, err := a.expand(ctx, tenant, c.Headers)
	if err != nil {
		return nil, err
	}
	cfg := httptool.API{
		Name: c.Name, Instruction: c.Instruction, Endpoint: c.Endpoint, Method: strings.ToUpper(c.Method),
		Headers: headers, Required: c.Required,
	}
	for _, part := range []struct {
		from agent.Object
		to   *json.RawMessage
	}{{c.Args, &cfg.Args}, {c.OutputSchema, &cfg.OutputSchema}} {
		if part.from == nil {
			continue
		}
		if *part.to, err = json.Marshal(part.from); err != nil {
			return nil, fmt.Errorf("schemas of the API %s: %w", c.Name, err)
		}
	}
	return httptool.NewAPI(cfg, a.httpOptions())
}

// openAPI makes the toolset of a document.
func (a *agents) openAPI(ctx context.Context, tenant string, t *agent.Toolset) (tool.Toolset, error) {
	headers, err := a.expand(ctx, tenant, t.Headers)
	if err != nil {
		return nil, err
	}
	url, err := a.expandText(ctx, tenant, t.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return httptool.NewOpenAPI(httptool.OpenAPI{
		URL: url, Name: t.Name, Headers: headers, Tools: t.Tools, Logger: a.log,
	}, a.httpOptions())
}

func (a *agents) httpOptions() httptool.Options {
	return httptool.Options{Transport: a.outgoing, Version: a.version}
}

// a2a makes the toolset of a remote agent.
func (a *agents) a2a(ctx context.Context, tenant string, t *agent.Toolset) (tool.Toolset, error) {
	headers, err := a.expand(ctx, tenant, t.Headers)
	if err != nil {
		return nil, err
	}
	url, err := a.expandText(ctx, tenant, t.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	return a2atool.New(a2atool.Config{URL: url, Name: t.Name, Headers: headers},
		a2atool.Options{Transport: a.outgoing, Logger: a.log, Version: a.version})
}
