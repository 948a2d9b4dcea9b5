package a2atool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/a2aproject/a2a-go/a2a"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// stateKey is what the session's log keeps: the context of the conversation.
const stateKey = "context"

// maxDescription bounds what a card says of an agent, in bytes.
const maxDescription = 8 << 10

// parameters of the tool.
var parameters = json.RawMessage(`{"type":"object","properties":{` +
	`"message":{"type":"string","description":"What to say to the agent, with all that it needs to know"},` +
	`"task_id":{"type":"string","description":"The task that this message answers, if the agent asked for input"}},` +
	`"required":["message"],"additionalProperties":false}`)

// Toolset is one agent. It may be used by several goroutines.
type Toolset struct {
	name, given string
	opts        Options
	wire        *wire

	reading chan struct{} // holds a token while somebody reads the card

	mu    sync.Mutex
	known *agent
}

// agent is what its card said.
type agent struct {
	def     tool.Definition
	peer    peer
	streams bool
	readAt  time.Time
}

var _ tool.Toolset = (*Toolset)(nil)

// Name implements [tool.Toolset].
func (t *Toolset) Name() string { return t.name }

// Instructions implements [tool.Toolset]: there are none.
func (t *Toolset) Instructions() string { return "" }

// Tools implements [tool.Toolset].
func (t *Toolset) Tools(ctx context.Context) ([]tool.Definition, error) {
	a, err := t.agent(ctx)
	if err != nil {
		return nil, err
	}
	return []tool.Definition{a.def}, nil
}

// Close implements [tool.Toolset].
func (t *Toolset) Close() error {
	t.wire.release()
	return nil
}

// agent reads the card unless it is known and fresh. An old one still serves
// when it cannot be read anew.
func (t *Toolset) agent(ctx context.Context) (*agent, error) {
	known := func() (*agent, bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.known, t.known != nil && time.Since(t.known.readAt) < cardAge
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the card of the agent %s: %w", t.name, err)
	}
	if a, fresh := known(); fresh {
		return a, nil
	}
	select {
	case t.reading <- struct{}{}:
		defer func() { <-t.reading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("reading the card of the agent %s: %w", t.name, ctx.Err())
	}
	old, fresh := known()
	if fresh {
		return old, nil // somebody else was quicker
	}
	limited, cancel := context.WithTimeout(ctx, cardTimeout)
	defer cancel()
	card, peer, err := t.wire.card(limited)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("reading the card of the agent %s: %w", t.name, ctx.Err())
	case err != nil && old == nil:
		return nil, holdfast.WrapError(holdfast.CodeUnavailable, err, fmt.Sprintf("the agent %q cannot be used: %s", t.name, tool.DescribeNetwork(err)))
	case err != nil:
		t.opts.Logger.Info("the card of an A2A agent cannot be read again, the old one serves", "toolset", t.name, "err", err)
		return old, nil
	}
	a := &agent{
		peer: peer, streams: card.Capabilities.Streaming, readAt: time.Now(),
		def: tool.Definition{
			Name: tool.ModelName(cmp.Or(t.given, card.Name, "agent"), nil), Title: card.Name,
			Description: describe(card), Parameters: parameters,
		},
	}
	t.mu.Lock()
	t.known = a
	t.mu.Unlock()
	return a, nil
}

// describe says to the model what the agent is good for.
func describe(card *card) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Ask the agent %s and wait for its answer.", card.Name)
	if card.Description != "" {
		b.WriteString(" " + card.Description)
	}
	for i, skill := range card.Skills {
		if i == 0 {
			b.WriteString("\nIts skills:")
		}
		fmt.Fprintf(&b, "\n- %s: %s", skill.Name, skill.Description)
	}
	return tool.BoundTo(b.String(), maxDescription)
}

// Call implements [tool.Toolset]. Its only Go error is that of a canceled
// context.
func (t *Toolset) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if err := ctx.Err(); err != nil {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, err)
	}
	var args struct {
		Message string `json:"message"`
		Task    string `json:"task_id"`
	}
	d := json.NewDecoder(strings.NewReader(cmp.Or(strings.TrimSpace(c.Arguments), "{}")))
	d.DisallowUnknownFields()
	if err := d.Decode(&args); err != nil || strings.TrimSpace(args.Message) == "" {
		return tool.ErrorResult(fmt.Sprintf("The arguments of %s cannot be used: they must be an object with a message.", c.Name)), nil
	}
	a, err := t.agent(ctx)
	switch {
	case ctx.Err() != nil:
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, ctx.Err())
	case err != nil:
		return tool.ErrorResult("The call was not made: " + holdfast.PublicMessage(err) + "."), nil
	case a.def.Name != c.Name:
		return tool.ErrorResult(fmt.Sprintf("There is no tool %q in the toolset %q.", c.Name, t.name)), nil
	}
	message := a2a.NewMessage(a2a.MessageRoleUser, a2a.TextPart{Text: args.Message})
	message.ID = cmp.Or(c.IdempotencyKey, message.ID)
	message.TaskID = a2a.TaskID(args.Task)
	if c.State != nil {
		// A context that cannot be read begins a new conversation.
		_ = json.Unmarshal(c.State(stateKey), &message.ContextID)
	}
	callCtx, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
	defer cancel()
	talk := &talk{wire: t.wire, agent: a, progress: c.Progress}
	err = talk.run(callCtx, message)
	if err != nil && talk.task != "" && callCtx.Err() != nil {
		talk.cancel(callCtx)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return tool.Result{}, fmt.Errorf("calling %s: %w", c.Name, ctx.Err())
	}
	res := talk.result()
	if err != nil {
		res = tool.ErrorResult(t.failure(callCtx, talk, err))
	}
	if talk.context != "" {
		raw, err := json.Marshal(talk.context)
		if err == nil { // text always can
			res.State = map[string]json.RawMessage{stateKey: raw}
		}
	}
	return res, nil
}

func (t *Toolset) failure(callCtx context.Context, talk *talk, err error) string {
	var status *statusError
	var rpc *rpcError
	what := "The call failed: " + tool.DescribeNetwork(err) + "."
	switch {
	case callCtx.Err() != nil:
		what = fmt.Sprintf("The agent did not end in time (limit %v)", t.opts.CallTimeout)
		if talk.task != "" {
			what += " and was told to stop"
		}
		what += "."
	case errors.As(err, &rpc):
		return tool.BoundTo("The agent refused the message: "+rpc.Error()+".", maxDescription)
	case errors.As(err, &status) && talk.task == "":
		return what // it took nothing
	}
	return tool.BoundTo(what+" Whether the agent did something is unknown.", maxDescription)
}
