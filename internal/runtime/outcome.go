package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
	"github.com/holdfast-run/holdfast/internal/tool"
)

// outcome puts the outcome of a call into the log, and the intent of the next
// one behind it. An outcome that does not fit the log is an error of the tool: to
// give up on the session would make the call again, with the same end.
func (d *drive) outcome(ctx context.Context, a *agent.Agent, c holdfast.ToolCall, t boxed, o done, next holdfast.Event) error {
	err := d.putOutcome(ctx, a, c, t, o, next)
	if !errors.Is(err, events.ErrTooLarge) {
		return err
	}
	evs := []holdfast.Event{response(a.Name, c, "The tool was run, but what it answered is too large for the log.", true, nil)}
	if next != nil {
		evs = append(evs, next)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.add(ctx, evs...)
}

func (d *drive) putOutcome(ctx context.Context, a *agent.Agent, c holdfast.ToolCall, t boxed, o done, next holdfast.Event) error {
	res := o.result
	var questions *tool.InputRequired
	if errors.As(o.err, &questions) {
		bad := badQuestion(questions)
		if bad == "" {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.suspend(ctx, a, c, questions, next)
		}
		res = tool.ErrorResult(bad)
	} else if o.err != nil {
		var after []holdfast.Event
		if next != nil {
			after = append(after, next)
		}
		parked, why, err := d.authorize(ctx, a.Name, t.set.Name(), c.ID, o.err, after...)
		if parked || err != nil {
			return err
		}
		if why != nil {
			o.err = why
		}
		d.e.log.Info("tool call failed", "session", d.s.Ref.String(), "tool", c.Function.Name, "error", o.err)
		res = tool.ErrorResult("The tool failed: " + holdfast.PublicMessage(o.err))
		if errors.Is(o.err, context.DeadlineExceeded) {
			res = tool.ErrorResult("The tool took too long and was stopped.")
		}
	}
	text := strings.ToValidUTF8(res.Output, "\uFFFD")
	ev := response(a.Name, c, text, res.IsError, res.Meta)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(text) > maxResponse {
		if err := d.addWhole(ctx, a.Name, ev, text); err != nil {
			return err
		}
	}
	if len(ev.Result.Meta) > maxResponse {
		ev.Result.Meta = json.RawMessage(`{"omitted":"larger than the log keeps"}`)
	}
	var evs []holdfast.Event
	keys := make([]string, 0, len(res.State))
	for k := range res.State {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		evs = append(evs, &holdfast.ToolStateEvent{Toolset: t.set.Name(), Key: k, Value: res.State[k]})
	}
	evs = append(evs, ev)
	if next != nil {
		evs = append(evs, next)
	}
	ev.Parts = res.Images
	err := d.add(ctx, evs...)
	if len(ev.Parts) > 0 && errors.Is(err, events.ErrTooLarge) { // clients then see them as the model does
		meta := ev.Result.Meta
		ev.Result.Meta = json.RawMessage(`{"omitted":"larger than the log keeps"}`)
		if err = d.add(ctx, evs...); errors.Is(err, events.ErrTooLarge) {
			ev.Result.Meta, ev.Parts = meta, nil
			ev.Response += "\n[the images are not shown: with the rest they are larger than the log keeps]"
			ev.Result.Output = ev.Response
			err = d.add(ctx, evs...)
		}
	}
	return err
}

// addWhole stores an output that is too long for the conversation in parts and
// cuts the event's own text. The caller holds mu.
func (d *drive) addWhole(ctx context.Context, agentName string, ev *holdfast.ToolCallResponseEvent, text string) error {
	sum := sha256.Sum256([]byte(text))
	ev.SHA256, ev.Size = hex.EncodeToString(sum[:]), len(text)
	parts := (len(text) + maxPart - 1) / maxPart
	for i := range parts {
		piece := text[i*maxPart : min((i+1)*maxPart, len(text))]
		if err := d.add(ctx, &holdfast.PayloadPartEvent{
			AgentContext: holdfast.AgentContext{AgentName: agentName},
			SHA256:       ev.SHA256, Part: i + 1, Parts: parts, Data: []byte(piece),
		}); err != nil {
			return err
		}
	}
	cut := maxResponse
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	ev.Response = text[:cut] + fmt.Sprintf("\n[cut here: %d of %d bytes; the log keeps the whole, sha256 %s]", cut, len(text), ev.SHA256)
	ev.Result.Output = ev.Response
	return nil
}
