package app

import (
	"context"

	"github.com/holdfast-run/holdfast/internal/schedule"
)

// startKeeper starts what fires timers. It runs wherever a recorder may, since
// both need the database.
func (p *program) startKeeper() {
	k := schedule.New(schedule.Config{Timers: p.store, Sender: p.bus, Admit: p.quotas.Timer, Logger: p.log})
	p.background("timers", k.Run, nil)
}

// startStarter starts what starts the runs of schedules, in the same places.
func (p *program) startStarter() {
	s := schedule.NewStarter(schedule.StarterConfig{Schedules: p.store, Bus: p.bus, Log: p.store, Commands: p.commands(), Admit: p.admitFiring, Logger: p.log})
	p.background("schedules", s.Run, nil)
}

// admitFiring looks, before a schedule makes a session, whether there may be one more
// and whether anything is left to work with in it.
func (p *program) admitFiring(ctx context.Context, tenant string) error {
	if err := p.quotas.Spend(ctx, tenant); err != nil {
		return err
	}
	return p.quotas.Session(ctx, tenant)
}
