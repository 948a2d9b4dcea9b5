package httpapi

import (
	"context"
	"sync"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

// Searches of one tenant at the same time, and how long one waits for its turn: each
// holds a connection to the database for seconds if its words are common.
const (
	maxSearchesOfOne = 2
	searchWait       = time.Second
)

// turns lets only so many searches of a tenant run at the same time.
type turns struct {
	mu sync.Mutex // guards of and the counts
	of map[string]*places
}

// places are those of a tenant.
type places struct {
	taken chan struct{} // has a value for each that is taken
	users int           // who is at one or waits
}

// enter waits for a place of a tenant, which leave gives back. CodeRateLimited says
// that there was none for a while.
func (t *turns) enter(ctx context.Context, tenantID string) (leave func(), err error) {
	p := t.join(tenantID)
	wait := time.NewTimer(searchWait)
	defer wait.Stop()
	select {
	case p.taken <- struct{}{}:
		return func() { <-p.taken; t.part(tenantID, p) }, nil
	case <-wait.C:
		err = holdfast.Errorf(holdfast.CodeRateLimited, "%d searches of one tenant at the same time are possible; try again when one is done", maxSearchesOfOne)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	t.part(tenantID, p)
	return nil, err
}

func (t *turns) join(tenantID string) *places {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.of[tenantID]
	if p == nil {
		p = &places{taken: make(chan struct{}, maxSearchesOfOne)}
		if t.of == nil {
			t.of = map[string]*places{}
		}
		t.of[tenantID] = p
	}
	p.users++
	return p
}

func (t *turns) part(tenantID string, p *places) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(t.of, tenantID)
	}
}
