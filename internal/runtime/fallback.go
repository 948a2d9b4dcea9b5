package runtime

import (
	"context"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/model"
)

// defaultCooldown is how long a model that failed is left alone where the agent
// file names no cooldown.
const defaultCooldown = time.Minute

// fallsBack reports whether another model may do better after an error of this
// code. A content filter is not to be circumvented, and a conversation that is too
// long is compacted instead.
func fallsBack(code holdfast.Code) bool {
	switch code {
	case holdfast.CodeModelFilter, holdfast.CodeModelContext, holdfast.CodeCanceled:
		return false
	}
	return true
}

// choice is the model that makes the next call.
type choice struct {
	settings *agent.ModelSettings
	// position is 0 for the agent's own model, else the place in its list of
	// fallback models, from 1.
	position int
	// reader says that a toolset wants this model for its results.
	reader bool
}

// choose returns the model of the next call: the one that the results of a tool
// want, else the agent's own, else the first stand-in that is not left alone
// after a failure. The caller holds mu.
func (d *drive) choose(a *agent.Agent, box *toolbox) choice {
	t := d.s.top()
	own, readers := a.Models, box.readers(*d.s.messages(t))
	if len(readers) > 0 {
		own = readers
	}
	at := func(position int) choice {
		if position == 0 {
			return choice{settings: own[t.Iterations%len(own)], reader: len(readers) > 0}
		}
		return choice{settings: a.FallbackModels[position-1], position: position}
	}
	from := min(t.Fallback, len(a.FallbackModels))
	for position := from; position <= len(a.FallbackModels); position++ {
		if c := at(position); !d.e.isCooling(d.s.Ref.Tenant, c.settings) {
			return c
		}
	}
	return at(from) // all have failed of late: better one of them than none
}

// fallBack is the event with which the model behind the one that failed takes
// over, nil if none does. The caller holds mu.
func (d *drive) fallBack(a *agent.Agent, failed choice, err error) holdfast.Event {
	if len(a.FallbackModels) == 0 || !fallsBack(holdfast.CodeOf(err)) {
		return nil
	}
	cooldown := defaultCooldown
	if a.Fallback != nil && a.Fallback.Cooldown != nil {
		cooldown = time.Duration(*a.Fallback.Cooldown)
	}
	d.e.cool(d.s.Ref.Tenant, failed.settings, cooldown)
	if failed.position >= len(a.FallbackModels) {
		return nil
	}
	return &holdfast.ModelFallbackEvent{
		AgentContext: holdfast.AgentContext{AgentName: a.Name},
		FailedModel:  modelName(failed.settings), FallbackModel: modelName(a.FallbackModels[failed.position]),
		Reason: holdfast.PublicMessage(err), Position: failed.position + 1,
	}
}

func modelName(m *agent.ModelSettings) string { return m.Provider + "/" + m.Model }

// coolingKey is what failures of a model have in common within a tenant.
func coolingKey(tenant string, m *agent.ModelSettings) string {
	return tenant + "\x00" + m.Provider + "\x00" + m.Model + "\x00" + m.BaseURL + "\x00" + m.TokenKey
}

// maxCooling bounds the memory of models that failed.
const maxCooling = 4096

// cool leaves a model alone for a time. Each worker knows its own failures only:
// what it saves is calls that would fail, and nothing depends on it.
func (e *Engine) cool(tenant string, m *agent.ModelSettings, d time.Duration) {
	if d <= 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.cooling) >= maxCooling {
		clear(e.cooling)
	}
	e.cooling[coolingKey(tenant, m)] = time.Now().Add(d)
}

func (e *Engine) isCooling(tenant string, m *agent.ModelSettings) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	until, ok := e.cooling[coolingKey(tenant, m)]
	return ok && time.Now().Before(until)
}

// readers returns the models that a toolset names for the turn that reads the
// results of its tools, none if the newest message is no such result. Of several
// toolsets the first call decides.
func (b *toolbox) readers(msgs []holdfast.Message) []*agent.ModelSettings {
	at := len(msgs) - 1
	for at >= 0 && msgs[at].Role == holdfast.RoleTool {
		at--
	}
	if at < 0 || at == len(msgs)-1 {
		return nil
	}
	for _, c := range msgs[at].ToolCalls {
		if t, ok := b.find(c.Function.Name, false); ok && t.set != nil && len(t.set.spec.Models) > 0 {
			return t.set.spec.Models
		}
	}
	return nil
}

// built returns the chosen model, or takes the next one when it cannot be built.
// Both nil mean that the log says what follows.
func (d *drive) built(ctx context.Context, team *agent.Team, a *agent.Agent, c choice) (model.Model, ModelInfo, error) {
	m, info, err := d.e.model(ctx, d.s.Ref.Tenant, team, c.settings)
	if err == nil {
		return m, info, nil
	}
	if d.isAway(err) {
		return nil, ModelInfo{}, d.stayed(ctx, a.Name, err)
	}
	var next holdfast.Event
	var addErr error
	d.locked(func() {
		if next = d.fallBack(a, c, err); next != nil {
			addErr = d.add(ctx, next)
		}
	})
	if next != nil {
		return nil, ModelInfo{}, addErr
	}
	return nil, ModelInfo{}, d.fail(ctx, a.Name, err)
}
