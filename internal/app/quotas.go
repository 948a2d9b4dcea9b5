package app

import (
	"context"

	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/quota"
)

// openQuotas makes what admits the work of tenants, in every process that has a door
// for it.
func (p *program) openQuotas() error {
	g, err := quota.New(quota.Config{Store: p.store, Default: p.cfg.DefaultQuota.Quota, Logger: p.log, Meter: p.o.Meter})
	if err != nil {
		return err
	}
	p.quotas = g
	if p.roles.API || p.roles.Recorder {
		p.background("quotas", g.Run, nil)
	}
	return nil
}

// commands are those that the quotas admit: the API and schedules ask for runs by them.
func (p *program) commands() quota.Commands { return quota.Commands{Gate: p.quotas, Next: p.bus} }

// limitedAgents are the agent files of tenants, as far as their storage goes.
type limitedAgents struct {
	agent.Store
	gate *quota.Gate
}

// PutRevision implements [agent.Store]. What is deleted needs no room.
func (l limitedAgents) PutRevision(ctx context.Context, tenantID string, r agent.Revision, after int64) error {
	if !r.Deleted {
		if err := l.gate.Write(ctx, tenantID); err != nil {
			return err
		}
	}
	return l.Store.PutRevision(ctx, tenantID, r, after)
}

// limitedMaker lets a model write agent files for tenants that can afford it; nil stays
// nil.
func limitedMaker(next func(context.Context, string, string) (agent.Composed, error), g *quota.Gate) func(context.Context, string, string) (agent.Composed, error) {
	if next == nil {
		return nil
	}
	return func(ctx context.Context, tenantID, prompt string) (agent.Composed, error) {
		if err := g.Spend(ctx, tenantID); err != nil {
			return agent.Composed{}, err
		}
		return next(ctx, tenantID, prompt)
	}
}
