package runtime

import (
	"context"
	"encoding/json"
	"errors"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/events"
)

// What is stored in one frame has a limit, and what a model or a client makes has
// none: thousands of calls in a turn, arguments of a megabyte, thousands of
// messages in a run. So whatever closes or asks about many things does it in
// several steps, each of which the state alone can go on from, and what is too
// large by itself is refused or shown without its bulk.

const (
	// maxGroup is how many bytes of events one step adds, if it can do with less than
	// all. It leaves room in a frame for one more event of any kind.
	maxGroup = 96 << 10
	// maxArguments is how many bytes the arguments of a call may take in an event; of
	// more, the call is answered with an error.
	maxArguments = 160 << 10
	// maxCallID bounds the id that a model gives to a call.
	maxCallID = 1 << 10
	// maxLastWords is how many bytes of a sub-agent's answer the agent gets that gave
	// it the task.
	maxLastWords = 128 << 10
)

// jsonLen is how many bytes a text takes in an event.
func jsonLen(s string) int {
	if len(s) > maxArguments { // escaping makes nothing shorter
		return len(s)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return len(s)
	}
	return len(b)
}

// unwieldy reports whether the call is too large to be run and shown.
func unwieldy(c *holdfast.ToolCall) bool {
	return jsonLen(c.Function.Arguments)+jsonLen(c.Function.Name) > maxArguments
}

// shown is the call as events show it: one that is too large without its bulk.
func shown(c holdfast.ToolCall) holdfast.ToolCall {
	if unwieldy(&c) {
		c.Function.Arguments = ""
		c.Function.Name = clip(c.Function.Name, 200)
	}
	return c
}

// wieldy cuts a text to what takes at most n bytes in an event.
func wieldy(s string, n int) string {
	if len(s) <= n/6 { // no byte becomes more than six
		return s
	}
	for cut := false; ; cut = true {
		b, err := json.Marshal(s)
		if err == nil && len(b) <= n {
			if cut {
				s += " […]"
			}
			return s
		}
		s = shortened(s, min(len(s)/2, n))
	}
}

// bundle gathers the events of one step.
type bundle struct {
	evs   []holdfast.Event
	bytes int
}

// put adds events that belong together and reports whether they found room; the
// first ones always do.
func (b *bundle) put(evs ...holdfast.Event) bool {
	n := 0
	for _, ev := range evs {
		payload, err := holdfast.MarshalPayload(ev)
		if err == nil { // else adding it to the log says so
			n += len(payload)
		}
		n += 256 // more than what stands around a payload
	}
	if len(b.evs) > 0 && b.bytes+n > maxGroup {
		return false
	}
	b.evs, b.bytes = append(b.evs, evs...), b.bytes+n
	return true
}

// closing are the next events that close everything that is open in the run, from
// the inside out: streams for a reason, calls with a text. The caller holds mu.
func (d *drive) closing(reason, text string) []holdfast.Event {
	var b bundle
	who := holdfast.AgentContext{AgentName: d.s.Run.AgentInFile}
	if d.s.Compacting != nil {
		b.put(notCompacted(who, nil)...)
	}
	for i := len(d.s.Run.Threads) - 1; i >= 0; i-- {
		t := d.s.Run.Threads[i]
		if !b.put(t.breakOff("canceled")...) {
			return b.evs
		}
		for _, c := range t.Calls {
			if !b.put(response(t.Agent, c.ToolCall, text, true, nil)) {
				return b.evs // the next step goes on from here
			}
		}
		if !b.put(&holdfast.StreamStoppedEvent{AgentContext: holdfast.AgentContext{AgentName: t.Agent}, Reason: reason}) {
			return b.evs
		}
	}
	if len(d.s.Run.Threads) == 0 {
		b.put(&holdfast.StreamStartedEvent{AgentContext: who}, &holdfast.StreamStoppedEvent{AgentContext: who, Reason: reason})
	}
	return b.evs
}

// cancelRun closes everything that is open.
func (d *drive) cancelRun(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, d.closing("canceled", "The tool call was canceled by the user.")...)
}

// declinedRun ends a run whose user did not want to authorize a server.
func (d *drive) declinedRun(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, d.closing("rejected", "The user declined to authorize "+d.s.Run.Declined+".")...)
}

// answerFailed answers calls that the failure of their agent left without an
// answer: no model takes a conversation that has such a call.
func (d *drive) answerFailed(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.s.top()
	var b bundle
	for _, c := range t.Calls {
		text := "The tool call was not made: the agent failed before."
		if c.Status == CallStarted || c.Status == CallUnknown {
			text = "Whether this tool call had its effect is not known: the agent failed meanwhile."
		}
		if !b.put(response(t.Agent, c.ToolCall, text, true, nil)) {
			break
		}
	}
	return d.add(ctx, b.evs...)
}

// tooMany reports whether messages that fit a frame together do not fit one as
// the events that they become when their run begins.
func tooMany(msgs []holdfast.Message) bool {
	total := 0
	for i := range msgs {
		// Around a message's text and parts there is less than this.
		total += 128 + jsonLen(msgs[i].Content)
		if len(msgs[i].Parts) == 0 {
			continue
		}
		raw, err := json.Marshal(msgs[i].Parts)
		if err != nil {
			return true
		}
		total += len(raw)
	}
	return total > events.MaxFrame-4<<10
}

// errTooMany refuses them.
func errTooMany(msgs []holdfast.Message) error {
	return holdfast.Errorf(holdfast.CodeTooLarge, "the %d messages of the run do not fit the log together; send fewer", len(msgs))
}

// refuseRun ends a run that waits in the queue and cannot begin. The caller holds mu.
func (d *drive) refuseRun(ctx context.Context, q *Queued, err error) error {
	d.e.log.Info("a run cannot begin", "session", d.s.Ref.String(), "run", q.Run, "error", err)
	return d.addTo(ctx, q.Run,
		&holdfast.ErrorEvent{AgentContext: holdfast.AgentContext{AgentName: q.AgentInFile}, Error: holdfast.PublicMessage(err), Code: holdfast.CodeOf(err)},
		&holdfast.RunFinishedEvent{Run: q.Run, Reason: "error"})
}

// overfull ends the run whose next step does not fit the log: to take it up again
// would end the same way for ever. Other errors stay as they are.
func (d *drive) overfull(ctx context.Context, err error) error {
	if !errors.Is(err, events.ErrTooLarge) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.s.top()
	if t == nil || t.Open != nil || d.s.Run.Failed || d.s.Run.Canceled {
		return err
	}
	d.e.log.Error("a step does not fit the log", "session", d.s.Ref.String(), "error", err)
	return d.add(ctx, &holdfast.ErrorEvent{
		AgentContext: holdfast.AgentContext{AgentName: t.Agent}, Code: holdfast.CodeTooLarge, Error: "the next step of the run is too large for the log",
	})
}
