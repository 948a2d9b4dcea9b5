package app

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast/internal/config"
	"github.com/holdfast-run/holdfast/internal/search"
)

// indexed reports whether what is said is indexed for the search.
func indexed(cfg config.Config) bool { return cfg.Search.Or(true) }

// startIndexer starts what brings the index of the search up to the log, wherever a
// recorder may run.
func (p *program) startIndexer() {
	if !indexed(p.cfg) {
		p.background("search", p.forgetWalk, nil)
		return
	}
	x := search.New(search.Config{Index: p.store, Log: p.store, Logger: p.log})
	p.background("search", x.Run, nil)
}

// forgetWalk notes that all sessions are to be looked at if there is an index again
// some day: nobody notes what is said meanwhile.
func (p *program) forgetWalk(ctx context.Context) error {
	for {
		err := p.store.PutWalk(ctx, search.Walk{})
		if err == nil || ctx.Err() != nil {
			return nil
		}
		p.log.Warn("the search cannot be turned off for good, trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
	}
}

// searchOf is the search that the API offers, nil for none.
func (p *program) searchOf() search.Store {
	if !indexed(p.cfg) {
		return nil
	}
	return p.store
}
