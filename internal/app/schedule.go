package app

import "github.com/holdfast-run/holdfast/internal/schedule"

// startKeeper starts what fires timers. It runs wherever a recorder may, since
// both need the database.
func (p *program) startKeeper() {
	k := schedule.New(schedule.Config{Timers: p.store, Sender: p.bus, Logger: p.log})
	p.background("timers", k.Run, nil)
}
