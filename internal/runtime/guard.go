package runtime

import (
	"context"
	"fmt"
	"runtime/debug"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// A panic ends no worker. One in code that the loop calls (models, toolsets, agent
// files, authorizations) is an error of that call, so that the run goes on or ends
// as with any other error. One in the loop itself leaves a state that nobody can
// trust: the session is released with the word that it panicked, and the next
// owner folds the log anew. A run in which that happens maxPanics times ends with
// an error.

// maxPanics is how often a session may be released by a panic before what it was
// about is given up.
const maxPanics = 3

// panicked makes an error of what recover returned.
func (e *Engine) panicked(what string, r any) error {
	e.log.Error("panic", "in", what, "panic", r, "stack", string(debug.Stack()))
	return holdfast.WrapError(holdfast.CodeInternal, fmt.Errorf("%s: %w: %v", what, events.ErrPanicked, r), "internal error")
}

// guarded calls fn; a panic in it is an error.
func (e *Engine) guarded(what string, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked(what, r)
		}
	}()
	return fn()
}

// survive is deferred by goroutines whose failure may be passed over.
func (e *Engine) survive(what string, ref holdfast.SessionRef) {
	if r := recover(); r != nil {
		e.log.Error("panic", "in", what, "session", ref.String(), "panic", r, "stack", string(debug.Stack()))
	}
}

func (e *Engine) load(ctx context.Context, tenant, ref string) (name, text string, err error) {
	err = e.guarded("load an agent file", func() error {
		name, text, err = e.cfg.Agents.Load(ctx, tenant, ref)
		return err
	})
	return name, text, err
}

func (e *Engine) parse(name, source string) (t *agent.Team, err error) {
	err = e.guarded("parse an agent file", func() error {
		t, err = e.cfg.Agents.Parse(name, source)
		return err
	})
	return t, err
}

func (e *Engine) model(ctx context.Context, tenant string, team *agent.Team, m *agent.ModelSettings) (built model.Model, info ModelInfo, err error) {
	err = e.guarded("build a model", func() error {
		var err error
		if built, info, err = e.cfg.Agents.Model(ctx, tenant, team, m); err != nil {
			return err
		}
		built = &guardedModel{Model: built, name: built.Name(), settings: m, e: e}
		return nil
	})
	if err != nil {
		return nil, ModelInfo{}, err
	}
	return built, info, nil
}

// guardedModel is a model whose panics are errors and whose calls are spans.
type guardedModel struct {
	model.Model
	name     string
	settings *agent.ModelSettings
	e        *Engine
}

func (m *guardedModel) Name() string { return m.name }

// Stream implements [model.Model]. A panic of fn, which is the loop's own, is none
// of the model's and goes on behind it.
func (m *guardedModel) Stream(ctx context.Context, req model.Request, fn func(model.Chunk) error) error {
	var ours any
	err := m.e.guarded("stream from "+m.name, func() error {
		return m.e.traceModel(ctx, m.settings, req, func(c model.Chunk) (err error) {
			defer func() {
				if r := recover(); r != nil {
					ours, err = r, events.ErrPanicked
				}
			}()
			return fn(c)
		}, m.Model.Stream)
	})
	if ours != nil {
		panic(ours)
	}
	return err
}

func (e *Engine) toolset(ctx context.Context, s holdfast.SessionRef, team *agent.Team, a *agent.Agent, spec *agent.Toolset) (ts tool.Toolset, err error) {
	err = e.guarded("build toolset "+spec.Type, func() error {
		built, err := e.cfg.Agents.Toolset(ctx, s, team, a, spec)
		if err == nil {
			ts = &guardedToolset{Toolset: built, name: built.Name(), e: e}
		}
		return err
	})
	return ts, err
}

// guardedToolset is a toolset whose panics are errors. Those of its calls are
// outcomes: see [drive.call].
type guardedToolset struct {
	tool.Toolset
	name string
	e    *Engine
}

func (t *guardedToolset) Name() string { return t.name }

func (t *guardedToolset) Tools(ctx context.Context) (defs []tool.Definition, err error) {
	err = t.e.guarded("list the tools of "+t.name, func() error {
		defs, err = t.Toolset.Tools(ctx)
		return err
	})
	return defs, err
}

func (t *guardedToolset) Instructions() (text string) {
	// A toolset that has none goes without; the panic is in the log of the operators.
	_ = t.e.guarded("instructions of "+t.name, func() error {
		text = t.Toolset.Instructions()
		return nil
	})
	return text
}

func (t *guardedToolset) Close() error {
	return t.e.guarded("close "+t.name, t.Toolset.Close)
}

// guardedAuthorizer is an [Authorizer] whose panics are errors.
type guardedAuthorizer struct {
	Authorizer
	e *Engine
}

func (a *guardedAuthorizer) Server(cause error) (url, serverType string, ok bool) {
	_ = a.e.guarded("read a server's refusal", func() error { // then it is an error like any other
		url, serverType, ok = a.Authorizer.Server(cause)
		return nil
	})
	return url, serverType, ok
}

func (a *guardedAuthorizer) Begin(ctx context.Context, r AuthorizationRequest) (b AuthorizationBegun, err error) {
	err = a.e.guarded("begin an authorization", func() error {
		b, err = a.Authorizer.Begin(ctx, r)
		return err
	})
	return b, err
}

func (a *guardedAuthorizer) Deliver(ctx context.Context, s holdfast.SessionRef, flow string, sealed []byte) error {
	return a.e.guarded("keep an authorization's answer", func() error { return a.Authorizer.Deliver(ctx, s, flow, sealed) })
}

// Finish implements [Authorizer]. Whether the answer was used before a panic is
// not known, and it must not be used twice.
func (a *guardedAuthorizer) Finish(ctx context.Context, s holdfast.SessionRef, user, flow string) (res AuthorizationResult, err error) {
	broke := false
	if gerr := a.e.guarded("finish an authorization", func() error {
		broke = true
		res, err = a.Authorizer.Finish(ctx, s, user, flow)
		broke = false
		return nil
	}); broke {
		return AuthorizationResult{Outcome: AuthorizationFailed, Reason: holdfast.PublicMessage(gerr)}, nil
	}
	return res, err
}

// locked runs fn under the lock and gives it back whatever happens in fn. The
// caller does not hold mu.
func (d *drive) locked(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn()
}

// lockedTeam is team for who does not hold mu.
func (d *drive) lockedTeam() (team *agent.Team, a *agent.Agent, err error) {
	d.locked(func() { team, a, err = d.team() })
	return team, a, err
}

// failTop is fail with the innermost agent.
func (d *drive) failTop(ctx context.Context, err error) error {
	var name string
	d.locked(func() { name = d.s.top().Agent })
	return d.fail(ctx, name, err)
}

// givenUp reports whether what the session does has panicked too often, and there
// is something to give up.
func (s *State) givenUp() bool {
	switch {
	case s.Panics < maxPanics:
		return false
	case s.Run == nil:
		return s.Compacting != nil || s.CompactWanted || len(s.Queue) > 0
	case s.Run.Stopped != "":
		return true
	case s.Run.Canceled, s.Run.Failed:
		return false // it is being closed
	}
	t := s.top()
	return t == nil || t.Open == nil
}

// giveUp ends what has panicked too often, with as little code as possible.
func (d *drive) giveUp(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	const text = "The run was ended: an internal error occurred each time that it was taken up."
	s := d.s
	switch {
	case !s.givenUp():
		return nil // a command was quicker
	case s.Run == nil && (s.Compacting != nil || s.CompactWanted):
		who := holdfast.AgentContext{AgentName: s.LastAgentInFile}
		var evs []holdfast.Event
		if s.Compacting == nil {
			evs = append(evs, &holdfast.SessionCompactionEvent{AgentContext: who, Status: compactionStarted})
		}
		return d.add(ctx, append(evs, notCompacted(who, holdfast.Errorf(holdfast.CodeInternal, "internal error"))...)...)
	case s.Run == nil:
		return d.refuseRun(ctx, s.Queue[0], holdfast.Errorf(holdfast.CodeInternal, "%s", text))
	case s.Run.Stopped != "":
		return d.finish(ctx)
	}
	var evs []holdfast.Event
	who := holdfast.AgentContext{AgentName: s.Run.AgentInFile}
	if t := s.top(); t != nil {
		who.AgentName = t.Agent
	} else {
		evs = append(evs, &holdfast.StreamStartedEvent{AgentContext: who})
	}
	return d.add(ctx, append(evs, &holdfast.ErrorEvent{AgentContext: who, Error: text, Code: holdfast.CodeInternal})...)
}
