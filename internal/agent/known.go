package agent

import (
	"context"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
)

const (
	// maxKnown bounds what a library remembers for the time that its store is away.
	maxKnown = 1024
	// knownWait is how long the store is waited for when the file is known.
	knownWait = 2 * time.Second
)

// FindForRun is [Library.Find] for a run that is about to start. A store that is
// away stops no agent that ran before: the file is then the one that was found
// last under this reference. One that was never found here keeps the store's
// error, CodeUnavailable: the deployment's file of that name may not be the
// tenant's.
func (l *Library) FindForRun(ctx context.Context, tenant, ref string) (File, error) {
	key := tenant + "\x00" + ref
	l.mu.Lock()
	was, ok := l.known[key]
	l.mu.Unlock()
	fctx := ctx
	if ok {
		var cancel context.CancelFunc
		fctx, cancel = context.WithTimeout(ctx, knownWait)
		defer cancel()
	}
	f, err := l.Find(fctx, tenant, ref)
	if err != nil {
		away := holdfast.CodeOf(err) == holdfast.CodeUnavailable || fctx.Err() != nil
		if ok && away && ctx.Err() == nil {
			return was, nil
		}
		return f, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.known[key]; !there && len(l.known) >= maxKnown {
		clear(l.known)
	}
	l.known[key] = f
	return f, nil
}
