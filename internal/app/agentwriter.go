package app

import (
	"context"
	"fmt"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/httpapi"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/ociregistry"
)

// maker returns what has a model write agent files, nil if no model is
// configured for it.
func (a *agents) maker() func(ctx context.Context, tenantID, prompt string) (agent.Composed, error) {
	if a.writer == "" {
		return nil
	}
	return func(ctx context.Context, tenantID, prompt string) (agent.Composed, error) {
		m, names, err := a.writerModel(ctx, tenantID)
		if err != nil {
			return agent.Composed{}, err
		}
		ask := func(ctx context.Context, messages []holdfast.Message) (string, error) {
			var out strings.Builder
			err := m.Stream(ctx, model.Request{Messages: messages}, func(c model.Chunk) error {
				if out.WriteString(c.Text); out.Len() > agent.MaxSource {
					return holdfast.Errorf(holdfast.CodeModelFailed, "the model wrote more than an agent file may have")
				}
				return nil
			})
			return out.String(), err
		}
		return agent.Compose(ctx, ask, prompt, names, a.opt)
	}
}

// writerModel builds the model that writes agent files, and names those that the
// files may use: the same one, where it can be named in a file of its own.
func (a *agents) writerModel(ctx context.Context, tenantID string) (model.Model, []string, error) {
	name, source := "writer.yaml", []byte(nil)
	var err error
	if strings.Contains(a.writer, "/") {
		source, err = agent.Simple(a.writer, "", "Write agent files.")
	} else {
		name, source, err = a.base.Load(ctx, a.writer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("HOLDFAST_AGENT_WRITER=%s: %w", a.writer, err)
	}
	team, err := agent.Parse(name, source, a.opt)
	if err != nil {
		return nil, nil, fmt.Errorf("HOLDFAST_AGENT_WRITER=%s: %w", a.writer, err)
	}
	settings := team.Root().Models[0]
	m, _, err := a.Model(ctx, tenantID, team, settings)
	if err != nil {
		return nil, nil, fmt.Errorf("HOLDFAST_AGENT_WRITER=%s: %w", a.writer, err)
	}
	return m, []string{settings.Kind + "/" + settings.Model}, nil
}

// registry is the client of OCI registries as the API wants it.
type registry struct{ *ociregistry.Client }

// Pull implements [httpapi.Registry].
func (r registry) Pull(ctx context.Context, reference string, login httpapi.Login) ([]byte, string, error) {
	p, err := r.Client.Pull(ctx, reference, ociregistry.Credential(login))
	return p.Source, p.Reference, err
}

// Push implements [httpapi.Registry].
func (r registry) Push(ctx context.Context, reference, name string, source []byte, login httpapi.Login) (string, error) {
	return r.Client.Push(ctx, reference, name, source, ociregistry.Credential(login))
}
