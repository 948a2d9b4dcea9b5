package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/runtime"
	"github.com/holdfast-run/holdfast/internal/tool"
	"github.com/holdfast-run/holdfast/internal/tool/builtin"
)

// hookTimeout is for hooks that give none.
const hookTimeout = time.Minute

// keyVariable is where the command of a hook finds its idempotency key.
const keyVariable = "HOLDFAST_IDEMPOTENCY_KEY"

var _ runtime.HookRunner = (*agents)(nil)

// RunHook implements [runtime.HookRunner]: the command runs where those of a toolset
// of type shell do.
func (a *agents) RunHook(ctx context.Context, s holdfast.SessionRef, _ *agent.Agent, h *agent.Hook, in runtime.HookInput) (tool.HookOutput, error) {
	box, err := a.sandbox(s, "hooks touch the machine of the worker")
	if err != nil {
		return tool.HookOutput{}, err
	}
	shell := builtin.ShellOptions{Dir: a.under(""), InheritEnv: !a.hosted}
	c := builtin.HookCommand{Line: h.Command, Dir: a.under(h.WorkingDir), Timeout: hookTimeout}
	if box != nil {
		if h.WorkingDir != "" && !filepath.IsLocal(h.WorkingDir) {
			return tool.HookOutput{}, holdfast.Errorf(holdfast.CodeInvalid, "the working_dir %q leads out of the sandbox; write a path beneath it", h.WorkingDir)
		}
		shell.Sandbox, shell.Dir, c.Dir = box, box.Dir, filepath.Join(box.Dir, h.WorkingDir)
	}
	if h.Timeout != nil {
		c.Timeout = time.Duration(*h.Timeout) * time.Second
	}
	c.Env = map[string]string{}
	for name, value := range h.Env {
		if c.Env[name], err = agent.ExpandEnv(value, a.lookup(ctx, s.Tenant)); err != nil {
			return tool.HookOutput{}, fmt.Errorf("environment of the hook: %s: %w", name, err)
		}
	}
	c.Env[keyVariable] = in.IdempotencyKey
	in.Cwd = cmp.Or(in.Cwd, c.Dir)
	if c.Input, err = json.Marshal(in); err != nil {
		return tool.HookOutput{}, fmt.Errorf("encode what the hook is told: %w", err)
	}
	return builtin.RunHook(ctx, shell, c)
}

// RunHook implements [runtime.HookRunner].
func (h hostAgents) RunHook(ctx context.Context, s holdfast.SessionRef, ag *agent.Agent, k *agent.Hook, in runtime.HookInput) (tool.HookOutput, error) {
	r, ok := h.Agents.(runtime.HookRunner)
	if !ok {
		return tool.HookOutput{}, runtime.ErrNoHooks
	}
	return r.RunHook(ctx, s, ag, k, in)
}

// ExpandPrompt implements [runtime.Expander].
func (h hostAgents) ExpandPrompt(ctx context.Context, tenant, text string, kept bool) (string, error) {
	if x, ok := h.Agents.(runtime.Expander); ok {
		return x.ExpandPrompt(ctx, tenant, text, kept)
	}
	return text, nil
}

// Surroundings implements [runtime.Surroundings].
func (h hostAgents) Surroundings(s holdfast.SessionRef, ag *agent.Agent) []string {
	if r, ok := h.Agents.(runtime.Surroundings); ok {
		return r.Surroundings(s, ag)
	}
	return nil
}
