package runtime

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/model"
)

// maxBroken is how many model calls of one turn may break off, because their
// worker died, before the run gives up.
const maxBroken = 5

// modelStep makes one model call: its deltas are events as they come, its end is
// a message of the assistant.
func (d *drive) modelStep(ctx context.Context) error {
	team, a, err := d.lockedTeam()
	if err != nil {
		return d.failTop(ctx, err)
	}
	var broken int
	var outermost, limited bool
	d.locked(func() {
		t := d.s.top()
		broken, outermost = t.Attempts, t.Task == nil
		limit := a.MaxIterations + d.s.Run.Extra
		if limited = a.MaxIterations > 0 && t.Iterations >= limit; limited {
			err = d.add(ctx, &holdfast.MaxIterationsReachedEvent{
				AgentContext: holdfast.AgentContext{AgentName: a.Name}, MaxIterations: limit,
			})
		}
	})
	if limited {
		return err
	}
	if broken >= maxBroken {
		return d.fail(ctx, a.Name, holdfast.Errorf(holdfast.CodeModelFailed, "the model call broke off %d times in a row", broken))
	}

	if m := d.turnStarts(a); m != nil {
		return d.runHooks(m)(ctx)
	}
	told := a
	var stop error // of the work: the run is canceled
	d.working(ctx, func(wctx context.Context) {
		told, err = d.instructed(wctx, a)
		stop = context.Cause(wctx)
	})
	switch {
	case err != nil && stop != nil:
		return d.stopped(ctx, stop)
	case err != nil && d.isAway(err):
		return d.stayed(ctx, a.Name, err)
	case err != nil:
		return d.stopped(ctx, d.fail(ctx, a.Name, err))
	}
	a = told

	var box *toolbox
	var boxErr error
	d.working(ctx, func(wctx context.Context) { box, boxErr = d.box(wctx, team, a) })
	if errors.Is(boxErr, errAway) {
		return d.stayed(ctx, a.Name, boxErr)
	}
	if boxErr != nil {
		return d.stopped(ctx, boxErr)
	}
	var chosen choice
	d.locked(func() { chosen = d.choose(a, box) })
	m, info, err := d.built(ctx, team, a, chosen)
	if m == nil {
		return err
	}
	d.isBack()

	call := holdfast.NewID()
	name := m.Name()
	var req model.Request
	d.locked(func() {
		if req, err = d.request(team, a, box); err == nil {
			req.Messages = pictured(req.Messages, info.Images)
			req.IdempotencyKey = call
			err = d.add(ctx, &holdfast.ModelCallStartedEvent{
				AgentContext: holdfast.AgentContext{AgentName: a.Name},
				Call:         call, Model: name, Attempt: broken + 1,
			})
		}
	})
	if err != nil {
		return err
	}

	c := &turn{d: d, agent: a, chosen: chosen, call: call, model: name, info: info}
	if outermost && !chosen.reader {
		c.spoke = func() { d.startTitle(ctx, team, m, info) }
	}
	d.working(ctx, func(wctx context.Context) {
		err = m.Stream(wctx, req, func(ch model.Chunk) error { return c.chunk(wctx, ch) })
		if err != nil && errors.Is(context.Cause(wctx), errRunCanceled) {
			err = errRunCanceled
		}
	})
	return c.end(ctx, err)
}

// stopped tells an error that ends the ownership from one that only says that
// the user canceled the run, which the loop will see in the state.
func (d *drive) stopped(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case d.w.Err() != nil:
		return d.w.Err()
	case errors.Is(err, errRunCanceled), errors.Is(err, errAwaiting), errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// turn is one model call under way. Its methods run on the loop's goroutine.
type turn struct {
	d      *drive
	agent  *agent.Agent
	chosen choice
	call   string
	model  string
	info   ModelInfo
	finish string
	usage  *model.Usage
	opaque []byte
	// refused says that the answer declines.
	refused bool
	addErr  error // the log did not take a chunk
	// spoke, if not nil, is called at the answer's first word: the title is asked for
	// beside the answer, and never before the question that the user waits for.
	spoke func()
}

// chunk turns one piece of the answer into events.
func (c *turn) chunk(ctx context.Context, ch model.Chunk) error {
	who := holdfast.AgentContext{AgentName: c.agent.Name}
	if ch.Text != "" && c.spoke != nil {
		c.spoke()
		c.spoke = nil
	}
	var evs []holdfast.Event
	if ch.Reasoning != "" {
		evs = append(evs, &holdfast.AgentChoiceReasoningEvent{AgentContext: who, Content: ch.Reasoning})
	}
	if ch.Text != "" {
		evs = append(evs, &holdfast.AgentChoiceEvent{AgentContext: who, Content: ch.Text})
	}
	for _, tc := range ch.ToolCalls {
		if len(tc.ID) > maxCallID {
			return holdfast.Errorf(holdfast.CodeModelFailed, "the model gave a tool call an id of %d bytes", len(tc.ID))
		}
		tc.Type = "function"
		evs = append(evs, &holdfast.PartialToolCallEvent{AgentContext: who, ToolCall: tc})
	}
	c.refused = c.refused || ch.Refusal
	if ch.FinishReason != "" {
		c.finish = ch.FinishReason
	}
	if ch.Usage != nil {
		c.usage = ch.Usage
	}
	if ch.Opaque != nil {
		c.opaque = ch.Opaque
	}
	if len(evs) == 0 {
		return nil
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if err := c.d.add(ctx, evs...); err != nil {
		c.addErr = err
		return err
	}
	return nil
}

// end closes the call in the log.
func (c *turn) end(ctx context.Context, err error) error {
	d := c.d
	switch {
	case d.w.Err() != nil:
		return d.w.Err()
	case ctx.Err() != nil:
		// The worker leaves: the call is made again by the next owner, who says so.
		return context.Cause(ctx)
	case errors.Is(err, errRunCanceled):
		return nil // the loop closes what is open
	case c.addErr != nil && !errors.Is(c.addErr, events.ErrTooLarge):
		return c.addErr
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.s.top()
	if err != nil {
		d.e.log.Info("model call failed", "session", d.s.Ref.String(), "model", c.model, "error", err)
		if holdfast.CodeOf(err) == holdfast.CodeModelContext && !d.e.cfg.NoCompaction {
			return d.add(ctx, t.voided(reasonOverflow))
		}
		if next := d.fallBack(c.agent, c.chosen, err); next != nil {
			return d.add(ctx, t.voided(reasonFallback), next)
		}
		if errors.Is(err, events.ErrTooLarge) {
			err = holdfast.WrapError(holdfast.CodeModelFailed, err, "the model sent a piece that is too large")
		}
		failed(trace.SpanFromContext(ctx), err)
		code := holdfast.CodeOf(err)
		evs := append(t.breakOff("error"), &holdfast.ErrorEvent{
			AgentContext: holdfast.AgentContext{AgentName: c.agent.Name},
			Error:        holdfast.PublicMessage(err), Code: code, Retryable: code.Retryable(),
		})
		return d.add(ctx, evs...)
	}
	who := holdfast.AgentContext{AgentName: c.agent.Name}
	finished := &holdfast.ModelCallFinishedEvent{AgentContext: who, Call: c.call, Model: c.model, FinishReason: c.finish, Refused: c.refused}
	if c.opaque != nil {
		finished.Opaque, finished.OpaqueProvider = c.opaque, provider(c.model)
	}
	usage := &holdfast.TokenUsageEvent{AgentContext: who, Usage: d.usage(c.usage, c.info), Model: c.model, PriceVersion: c.info.PriceVersion}
	err = d.add(ctx, usage, finished)
	if errors.Is(err, events.ErrTooLarge) { // what the provider wants back with the message
		evs := append(t.breakOff("error"), &holdfast.ErrorEvent{AgentContext: who, Error: "the model's answer is too large for the log", Code: holdfast.CodeModelFailed})
		return d.add(ctx, evs...)
	}
	return err
}

// usage returns the accounting of a call. The caller holds mu.
func (d *drive) usage(u *model.Usage, info ModelInfo) holdfast.Usage {
	out := holdfast.Usage{ContextLimit: info.ContextLimit, Cost: d.s.Cost, ContextLength: d.s.ContextLength}
	if u == nil {
		return out
	}
	out.InputTokens, out.OutputTokens = u.InputTokens, u.OutputTokens
	out.CachedInputTokens, out.CacheWriteTokens, out.ReasoningTokens = u.CachedInputTokens, u.CacheWriteTokens, u.ReasoningTokens
	out.ContextLength = u.InputTokens + u.OutputTokens
	if info.Cost != nil {
		out.CallCost = info.Cost(*u)
		out.Cost += out.CallCost
	}
	return out
}

// provider returns the part of "provider/model" that a message's opaque data
// belongs to.
func provider(name string) string {
	for i := range name {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return name
}

// breakOff returns the events that close a call that did not come to its end.
// Text that a reader may have seen stays as a message; without text the call
// leaves nothing.
func (t *Thread) breakOff(reason string) []holdfast.Event {
	if t.Open == nil {
		return nil
	}
	who := holdfast.AgentContext{AgentName: t.Agent}
	if t.Open.text.Len() == 0 {
		return []holdfast.Event{t.voided(reason)}
	}
	return []holdfast.Event{&holdfast.ModelCallFinishedEvent{AgentContext: who, Call: t.Open.ID, Model: t.Open.Model, FinishReason: reason}}
}

// voidCall closes a call whose worker is gone: its text is void, and it is made
// again.
func (d *drive) voidCall(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.s.top()
	return d.add(ctx, t.voided("worker_lost"))
}

// voided is the event that takes back what the open call has said.
func (t *Thread) voided(reason string) holdfast.Event {
	return &holdfast.ModelCallVoidedEvent{
		AgentContext: holdfast.AgentContext{AgentName: t.Agent}, Call: t.Open.ID, FromSeq: t.Open.FromSeq, Reason: reason,
	}
}

// overflown fails the run whose conversation does not fit the model's window,
// compacted as far as it can be.
func (d *drive) overflown(ctx context.Context) error {
	return d.failTop(ctx, holdfast.Errorf(holdfast.CodeModelContext, "the conversation does not fit the model's context window, and a summary does not make it fit"))
}

// request builds what the model gets to see. The caller holds mu.
func (d *drive) request(team *agent.Team, a *agent.Agent, box *toolbox) (model.Request, error) {
	t := d.s.top()
	all := *d.s.messages(t)
	before := d.s.summary(t)
	first := before.Messages
	if n := a.NumHistoryItems; n > 0 && len(all)-first > n {
		first = safeCut(all, len(all)-n)
	}
	msgs := make([]holdfast.Message, 0, len(all)-first+3)
	if system := d.systemPrompt(team, a, box); system != "" {
		msgs = append(msgs, holdfast.Message{Role: holdfast.RoleSystem, Content: system})
	}
	if before.Text != "" {
		text := "Summary of the conversation so far:\n\n" + before.Text
		if last := lastRequest(all, first); last != "" && first < len(all) {
			text += "\n\nThe last request, word for word:\n\n" + last
		}
		msgs = append(msgs, holdfast.Message{Role: holdfast.RoleUser, Content: text})
	}
	msgs = append(msgs, all[first:]...)
	req := model.Request{Messages: msgs, Tools: box.modelTools()}
	if so := a.StructuredOutput; so != nil {
		schema, err := jsonMarshal(so.Schema)
		if err != nil {
			return model.Request{}, fmt.Errorf("encode the schema of %s: %w", a.Name, err)
		}
		req.StructuredOutput = &model.StructuredOutput{Name: so.Name, Description: so.Description, Schema: schema, Strict: so.Strict}
	}
	return req, nil
}

// safeCut moves a cut of the history forward to where no answer of a tool is
// parted from its call.
func safeCut(msgs []holdfast.Message, at int) int {
	for at < len(msgs) && msgs[at].Role == holdfast.RoleTool {
		at++
	}
	return at
}
