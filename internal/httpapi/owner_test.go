package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/natsbus"
	"github.com/holdfast-run/holdfast/internal/worker"
)

// owner takes the commands of all sessions and plays what the first word of the
// newest message asks for:
//
//	hello   text in three deltas, usage and a title
//	tool    a tool call that asks, then text
//	park    the same, and nobody owns the session while it waits
//	gate    text, then nothing until the test opens the gate, then text
//	big     a tool output, a message and a delta that do not fit a legacy line
//	write   a tool call whose arguments come in many pieces
//	voided  a model call that breaks off and is made again
//	fail    an error
//	fall    an error that ends the run
//	ask     a question that waits for an answer, then text
//	limit   the limit of model calls, then text
//	oauth   an authorization that waits for its user, then text
//
// It keeps the rules of the real one: what becomes of a command is an event, the
// same id gets the same answer, a run waits for its turn.
type owner struct {
	t     testing.TB
	bus   *natsbus.Bus
	store events.Store
	gate  chan struct{}

	sessions map[holdfast.SessionRef]*played
}

func newOwner(t testing.TB, bus *natsbus.Bus, store events.Store) *owner {
	return &owner{t: t, bus: bus, store: store, gate: make(chan struct{}), sessions: map[holdfast.SessionRef]*played{}}
}

func (o *owner) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		d, err := o.bus.NextCommand(ctx)
		if err != nil {
			if !errors.Is(err, worker.ErrNoCommand) && ctx.Err() == nil {
				o.t.Errorf("owner: %v", err)
				return
			}
			continue
		}
		p := o.sessions[d.Command.Session]
		if p == nil {
			p = &played{owner: o, ref: d.Command.Session, inbox: make(chan worker.Delivery, 100), settled: map[string]settled{}}
			o.sessions[d.Command.Session] = p
			wg.Go(func() {
				if err := p.play(ctx); err != nil && ctx.Err() == nil {
					o.t.Errorf("owner of %s: %v", p.ref, err)
				}
			})
		}
		p.inbox <- d
	}
}

type settled struct {
	hash string
	ans  events.Answer
}

// step is a piece of a run. Exactly one member is set, but for parks and fails.
type step struct {
	events []holdfast.Event
	gate   bool
	ask    *holdfast.ToolCall // wait for a decision
	parks  bool               // with ask: nobody owns the session meanwhile
	fails  bool               // with events: the run ends with an error
	hold   holdfast.Event     // wait for the command that settles it
}

// played is one session. One goroutine owns it.
type played struct {
	owner   *owner
	ref     holdfast.SessionRef
	inbox   chan worker.Delivery
	w       *events.Writer
	settled map[string]settled
	said    []string // by the user
	active  string   // run
	last    string   // run
	later   []string // runs that are scheduled
	steps   []step
	queue   []queuedRun
	waiting *holdfast.ToolCall
	decided map[string]string
	held    holdfast.Event
	given   string // the newest answer to a question
	deleted bool
	failed  bool // the active run
}

type queuedRun struct {
	run, agent string
	messages   []holdfast.Message
}

func (p *played) play(ctx context.Context) error {
	tail, err := events.ReadTail(ctx, p.owner.bus, p.owner.store, p.ref)
	if err != nil {
		return err
	}
	if p.w, _, err = events.Claim(ctx, p.owner.bus, p.owner.store, p.ref, tail, "w-test", "command"); err != nil {
		return err
	}
	defer func() { _ = p.w.Close(context.Background()) }()
	for {
		var gate <-chan struct{}
		switch {
		case p.waiting != nil || p.held != nil:
		case len(p.steps) > 0:
			s := p.steps[0]
			if s.gate {
				gate = p.owner.gate
				break
			}
			p.steps = p.steps[1:]
			switch {
			case s.ask != nil:
				p.waiting = s.ask
				evs := []holdfast.Event{&holdfast.ToolCallConfirmationEvent{AgentContext: root, ToolCall: *s.ask}}
				if s.parks {
					evs = append(evs, &holdfast.SessionParkedEvent{Waiting: events.WaitingApproval})
				}
				err = p.add(ctx, p.active, evs...)
			case s.hold != nil:
				p.held = s.hold
				err = p.add(ctx, p.active, s.hold)
			default:
				p.failed = p.failed || s.fails
				err = p.add(ctx, p.active, s.events...)
			}
			if err != nil {
				return err
			}
			continue
		case p.active != "":
			run := p.active
			p.last, p.active = run, ""
			reason := "stop"
			if p.failed {
				reason, p.failed = "error", false
			}
			if err := p.add(ctx, run, &holdfast.RunFinishedEvent{Run: run, Reason: reason}); err != nil {
				return err
			}
			if len(p.queue) == 0 {
				err = p.add(ctx, "", &holdfast.SessionParkedEvent{Waiting: "idle"})
			}
			if err != nil {
				return err
			}
			continue
		case len(p.queue) > 0:
			if err := p.start(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-gate:
			p.steps = p.steps[1:]
		case d := <-p.inbox:
			if err := p.take(ctx, d); err != nil {
				return err
			}
		}
	}
}

var root = holdfast.AgentContext{AgentName: "root"}

func (p *played) add(ctx context.Context, run string, evs ...holdfast.Event) error {
	if _, err := p.w.Add(ctx, run, evs...); err != nil {
		return err
	}
	return p.w.Flush(ctx)
}

// take settles one command.
func (p *played) take(ctx context.Context, d worker.Delivery) error {
	c := d.Command
	was, known := p.settled[c.ID]
	before := *p
	switch {
	case known && was.hash != c.Hash():
		was.ans = events.Answer{Command: c.ID, Seq: was.ans.Seq, Code: holdfast.CodeKeyReused, Message: "this Idempotency-Key was used before with another request"}
	case !known:
		seq := p.w.Stored() + 1
		evs, run, err := p.effect(c)
		was = settled{c.Hash(), events.Answer{Command: c.ID, Seq: seq, Run: run}}
		if err != nil {
			was.ans.Code, was.ans.Message = holdfast.CodeOf(err), holdfast.PublicMessage(err)
			evs = []holdfast.Event{&holdfast.CommandRefusedEvent{Command: c.ID, Kind: c.Kind, Hash: was.hash, Code: was.ans.Code, Message: was.ans.Message}}
		} else {
			evs = append([]holdfast.Event{&holdfast.CommandAcceptedEvent{Command: c.ID, Kind: c.Kind, Hash: was.hash, Run: run}}, evs...)
		}
		err = p.add(ctx, run, evs...)
		if errors.Is(err, events.ErrTooLarge) { // as the real one: refused, and nothing of it is done
			was.ans.Code, was.ans.Message, was.ans.Run = holdfast.CodeTooLarge, "the messages of one run may have 512 KiB at most", ""
			p.said, p.active, p.last, p.later, p.steps, p.queue = before.said, before.active, before.last, before.later, before.steps, before.queue
			p.waiting, p.decided, p.held, p.given = before.waiting, before.decided, before.held, before.given
			err = p.add(ctx, "", &holdfast.CommandRefusedEvent{Command: c.ID, Kind: c.Kind, Hash: was.hash, Code: was.ans.Code, Message: was.ans.Message})
		}
		if err != nil {
			return err
		}
		p.settled[c.ID] = was
	}
	if err := p.owner.bus.Answer(c, was.ans); err != nil {
		return err
	}
	return d.Ack(ctx)
}

func (p *played) effect(c events.Command) (evs []holdfast.Event, run string, err error) {
	if p.deleted {
		return nil, "", holdfast.Errorf(holdfast.CodeNotFound, "the session was deleted")
	}
	switch c.Kind {
	case events.KindRun:
		var b events.RunBody
		if err := json.Unmarshal(c.Body, &b); err != nil {
			return nil, "", err
		}
		if b.AgentInFile != "" && b.AgentInFile != "root" {
			return nil, "", holdfast.Errorf(holdfast.CodeNotFound, "%s has no agent %q; it has: root", b.Agent, b.AgentInFile)
		}
		var texts []string
		for _, m := range b.Messages {
			texts = append(texts, m.Content)
		}
		msgs := b.Messages
		if b.History && len(p.said) > 0 && len(texts) >= len(p.said) && slices.Equal(texts[:len(p.said)], p.said) {
			msgs = b.Messages[len(p.said):]
		}
		switch {
		case len(msgs) == 0 && p.active != "":
			return nil, p.active, nil
		case len(msgs) == 0:
			return nil, p.last, nil
		case b.Mode == events.ModeReject && p.active != "":
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "the session has an active run")
		}
		for _, m := range msgs {
			p.said = append(p.said, m.Content)
		}
		p.queue = append(p.queue, queuedRun{b.Run, b.Agent, msgs})
		return []holdfast.Event{&holdfast.RunQueuedEvent{Run: b.Run, Command: c.ID, Agent: b.Agent, Messages: msgs}}, b.Run, nil
	case events.KindSchedule:
		var b events.ScheduleBody
		if err := json.Unmarshal(c.Body, &b); err != nil {
			return nil, "", err
		}
		if d, err := time.ParseDuration(b.Delay); err == nil {
			b.At = c.Time.Add(d)
		}
		p.later = append(p.later, b.Run)
		return []holdfast.Event{
			&holdfast.RunScheduledEvent{Run: b.Run, Command: c.ID, Timer: "t-" + b.Run, At: b.At, Agent: b.Agent, Messages: b.Messages},
			&holdfast.TimerSetEvent{Timer: "t-" + b.Run, At: b.At, Kind: events.TimerRun},
		}, b.Run, nil
	case events.KindDecide:
		var b events.DecideBody
		if err := json.Unmarshal(c.Body, &b); err != nil {
			return nil, "", err
		}
		if was := p.decided[b.ToolCallID]; was != "" && was == b.Decision {
			return nil, p.active, nil
		}
		if p.waiting == nil || b.ToolCallID != "" && b.ToolCallID != p.waiting.ID {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "nothing waits for a decision")
		}
		call := *p.waiting
		p.waiting = nil
		p.decided = map[string]string{call.ID: b.Decision}
		response := "done"
		var first []holdfast.Event
		if b.Decision == "reject" {
			response = "The user rejected the tool call."
		} else {
			if b.Arguments != "" {
				call.Function.Arguments = b.Arguments
			}
			first = []holdfast.Event{&holdfast.ToolCallEvent{AgentContext: root, ToolCall: call}}
		}
		p.steps = append([]step{{events: append(first, toolResponse(call, response))}}, p.steps...)
		return []holdfast.Event{&holdfast.ToolCallDecidedEvent{ToolCallID: call.ID, Decision: b.Decision, Arguments: b.Arguments, Reason: b.Reason, Command: c.ID}}, p.active, nil
	case events.KindCancel:
		var b events.CancelBody
		if err := json.Unmarshal(c.Body, &b); err != nil {
			return nil, "", err
		}
		if i := slices.Index(p.later, b.Run); i >= 0 {
			p.later = slices.Delete(p.later, i, i+1)
			return []holdfast.Event{
				&holdfast.TimerFiredEvent{Timer: "t-" + b.Run, Canceled: true}, &holdfast.RunFinishedEvent{Run: b.Run, Reason: "canceled"},
			}, b.Run, nil
		}
		if p.active == "" || b.Run != "" && b.Run != p.active {
			return nil, "", holdfast.Errorf(holdfast.CodeConflict, "there is no active run to cancel")
		}
		p.waiting, p.held = nil, nil
		p.steps = []step{{events: []holdfast.Event{&holdfast.StreamStoppedEvent{AgentContext: root, Reason: "canceled"}}}}
		return []holdfast.Event{&holdfast.RunCanceledEvent{Run: p.active, Command: c.ID, Reason: b.Reason}}, p.active, nil
	case events.KindDelete:
		p.deleted = true
		p.steps, p.queue, p.active, p.waiting = nil, nil, "", nil
		return []holdfast.Event{&holdfast.SessionDeletedEvent{Command: c.ID}}, "", nil
	}
	return p.loopEffect(c)
}

func toolResponse(call holdfast.ToolCall, text string) *holdfast.ToolCallResponseEvent {
	return &holdfast.ToolCallResponseEvent{
		AgentContext: root, ToolCall: call, Response: text, ToolCallID: call.ID, Result: holdfast.ToolCallOutcome{Output: text},
	}
}

// start begins the oldest queued run.
func (p *played) start(ctx context.Context) error {
	q := p.queue[0]
	p.queue = p.queue[1:]
	p.active = q.run
	evs := []holdfast.Event{&holdfast.RunStartedEvent{Run: q.run, Agent: q.agent}}
	for _, m := range q.messages {
		evs = append(evs, &holdfast.UserMessageEvent{Message: m.Content, Parts: m.Parts})
	}
	evs = append(evs, &holdfast.StreamStartedEvent{AgentContext: root})
	p.steps = append([]step{{events: evs}}, script(q.messages[len(q.messages)-1].Content)...)
	p.steps = append(p.steps, step{events: []holdfast.Event{
		&holdfast.StreamStoppedEvent{AgentContext: root, Reason: "stop"},
		&holdfast.SessionTitleEvent{Title: "About " + p.said[0]},
	}})
	return nil
}

func say(words ...string) step {
	evs := []holdfast.Event{&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "c", Model: "scripted/test"}}
	for _, w := range words {
		evs = append(evs, &holdfast.AgentChoiceEvent{AgentContext: root, Content: w})
	}
	return step{events: append(evs,
		&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "c", Model: "scripted/test", FinishReason: "stop"},
		&holdfast.TokenUsageEvent{AgentContext: root, Usage: holdfast.Usage{InputTokens: 10, OutputTokens: int64(len(words))}},
	)}
}

// callTool is the model's turn that ends in a tool call.
func callTool(call holdfast.ToolCall, pieces ...string) step {
	evs := []holdfast.Event{&holdfast.ModelCallStartedEvent{AgentContext: root, Call: "t", Model: "scripted/test"}}
	for i, p := range pieces {
		d := holdfast.NewToolCall(call.ID, "", p)
		if i == 0 {
			d.Function.Name = call.Function.Name
		}
		evs = append(evs, &holdfast.PartialToolCallEvent{AgentContext: root, ToolCall: d})
	}
	return step{events: append(evs,
		&holdfast.ModelCallFinishedEvent{AgentContext: root, Call: "t", Model: "scripted/test", FinishReason: "tool_calls"},
		&holdfast.TokenUsageEvent{AgentContext: root, Usage: holdfast.Usage{InputTokens: 5, OutputTokens: 1}},
	)}
}

const bigSize = 80 << 10

func script(text string) []step {
	call := holdfast.NewToolCall("call_1", "touch", `{"path":"a"}`)
	word, _, _ := strings.Cut(text, " ")
	switch word {
	case "tool":
		return []step{callTool(call, `{"pa`, `th":"a"}`), {ask: &call}, say("Touched.")}
	case "park":
		return []step{callTool(call, `{"path":"a"}`), {ask: &call, parks: true}, say("Touched.")}
	case "gate":
		return []step{say("Before."), {gate: true}, say("After.")}
	case "big":
		big := strings.Repeat("ö<\n", bigSize/4)
		args := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", bigSize))
		call.Function.Arguments = args
		return []step{
			callTool(call, args),
			{events: []holdfast.Event{&holdfast.ToolCallEvent{AgentContext: root, ToolCall: call}}},
			{events: []holdfast.Event{toolResponse(holdfast.NewToolCall("call_1", "touch", "{}"), big)}},
			say(big),
		}
	case "write":
		var pieces []string
		for i := range 1000 {
			pieces = append(pieces, fmt.Sprintf("%08d", i))
		}
		pieces[0], pieces[len(pieces)-1] = `{"text":"`, `"}`
		call.Function.Arguments = strings.Join(pieces, "")
		return []step{callTool(call, pieces...), {ask: &call}, say("Written.")}
	case "voided":
		first := say("Oh").events[:2]
		return []step{{events: first}, {events: []holdfast.Event{&holdfast.ModelCallVoidedEvent{AgentContext: root, Call: "c", Reason: "worker lost"}}}, say("Again.")}
	case "fail":
		return []step{{events: []holdfast.Event{&holdfast.ErrorEvent{AgentContext: root, Error: "the model is away", Code: holdfast.CodeModelFailed, Retryable: true}}}}
	}
	if word == "fall" {
		steps := script("fail")
		steps[0].fails = true
		return steps
	}
	if s := loopScript(word); s != nil {
		return s
	}
	return []step{say("Hello", ", ", "world.")}
}
