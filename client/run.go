package client

import (
	"context"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// RunAgent runs the root agent of a file on the newest message and returns the
// events of the run. See [Client.RunAgentWithAgentName].
func (c *Client) RunAgent(ctx context.Context, session, agent string, messages []holdfast.Message) (<-chan holdfast.Event, error) {
	return c.RunAgentWithAgentName(ctx, session, agent, "", messages)
}

// RunAgentWithAgentName runs an agent of a file and returns the events of the
// run, without those that only keep a session durable; the arguments of a
// partial_tool_call are all so far. A session that does not exist is created.
//
// The messages may begin with all that the user has said in the session before;
// those of other roles are left out, the server has them. If there is nothing
// new, the events are those of the run that had it.
//
// The channel is closed when the run has finished, when ctx ends, or after an
// ErrorEvent of a failure that the client cannot mend. The run itself goes on
// whatever happens here.
func (c *Client) RunAgentWithAgentName(ctx context.Context, session, agent, agentName string, messages []holdfast.Message) (<-chan holdfast.Event, error) {
	in := NewRun{Agent: agent, AgentName: agentName, History: true}
	for _, m := range messages {
		if m.Role == holdfast.RoleUser || m.Role == "" {
			in.Messages = append(in.Messages, Message{Content: m.Content, Parts: m.Parts})
		}
	}
	s, err := c.settleRun(ctx, session, in)
	if holdfast.CodeOf(err) == holdfast.CodeNotFound {
		// It may be the session that is missing, or the agent.
		if _, serr := c.GetSession(ctx, session); holdfast.CodeOf(serr) == holdfast.CodeNotFound {
			_, serr = c.CreateSession(ctx, NewSession{ID: session})
			if serr != nil && holdfast.CodeOf(serr) != holdfast.CodeConflict {
				return nil, serr
			}
			s, err = c.settleRun(ctx, session, in)
		}
	}
	if err != nil {
		return nil, err
	}
	after, err := c.startOf(ctx, session, s)
	if err != nil {
		return nil, err
	}
	out := make(chan holdfast.Event)
	go func() {
		defer close(out)
		c.stream(ctx, session, s.Run, after, out)
	}()
	return out, nil
}

// settled makes a request and repeats it, with the same key, until it is known
// what became of it.
func (c *Client) settled(ctx context.Context, path, key string, in any) (Settled, error) {
	for attempt := 1; ; attempt++ {
		s, err := c.settleWithKey(ctx, path, key, in)
		if err != nil || s.Status != statusPending {
			return s, err
		}
		if !wait(ctx, attempt, nil) {
			return Settled{}, context.Cause(ctx)
		}
	}
}

// settleRun starts a run and asks until it is known which.
func (c *Client) settleRun(ctx context.Context, session string, in NewRun) (Settled, error) {
	return c.settled(ctx, path("v1", "sessions", session, "runs"), holdfast.NewID(), in)
}

// statusPending is the status of a request that is stored and whose outcome is
// not known yet.
const statusPending = "pending"

// startOf returns the seq after which the run's events begin. A request may have
// joined a run that began earlier.
func (c *Client) startOf(ctx context.Context, session string, s Settled) (uint64, error) {
	r, err := c.GetRun(ctx, session, s.Run)
	if err != nil {
		return 0, err
	}
	return max(1, min(r.FirstSeq, s.Seq)) - 1, nil
}

// stream sends the events of a run.
func (c *Client) stream(ctx context.Context, session, run string, after uint64, out chan<- holdfast.Event) {
	send := func(e holdfast.Event) bool {
		select {
		case out <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	args := map[string]*strings.Builder{}
	names := map[string]string{}
	err := c.follow(ctx, session, after, true, func(e Entry) bool {
		if e.Run != run {
			return true
		}
		switch ev := e.Event.(type) {
		case *holdfast.RunFinishedEvent:
			return false
		case *holdfast.PartialToolCallEvent:
			id := ev.ToolCall.ID
			if args[id] == nil {
				args[id] = new(strings.Builder)
			}
			names[id] += ev.ToolCall.Function.Name
			args[id].WriteString(ev.ToolCall.Function.Arguments)
			ev.ToolCall.Function = holdfast.FunctionCall{Name: names[id], Arguments: args[id].String()}
		case *holdfast.ModelCallFinishedEvent, *holdfast.ModelCallVoidedEvent:
			clear(args)
			clear(names)
		}
		if internal[e.Event.EventType()] {
			return true
		}
		return send(e.Event)
	})
	if err != nil && ctx.Err() == nil {
		send(&holdfast.ErrorEvent{Error: err.Error(), Code: holdfast.CodeOf(err)})
	}
}

// internal are the types that make a session durable and that say nothing to
// whoever waits for an answer.
var internal = map[string]bool{
	holdfast.TypeSessionCreated: true, holdfast.TypeSessionClaimed: true, holdfast.TypeSessionParked: true,
	holdfast.TypeSessionHandedOver: true, holdfast.TypeSessionDeleted: true, holdfast.TypeCommandAccepted: true,
	holdfast.TypeCommandRefused: true, holdfast.TypeAgentPinned: true, holdfast.TypeRunQueued: true,
	holdfast.TypeRunStarted: true, holdfast.TypeRunFinished: true, holdfast.TypeRunCanceled: true, holdfast.TypeRunContinued: true,
	holdfast.TypeModelCallStarted: true, holdfast.TypeModelCallFinished: true, holdfast.TypeModelCallVoided: true,
	holdfast.TypeToolCallsStarted: true, holdfast.TypeToolCallDecided: true, holdfast.TypeToolOutcomeUnknown: true,
	holdfast.TypeToolState: true, holdfast.TypePayloadPart: true, holdfast.TypeTimerSet: true, holdfast.TypeTimerFired: true,
}
