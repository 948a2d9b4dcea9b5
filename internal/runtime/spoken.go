package runtime

import (
	"context"
	"encoding/json"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/events"
)

// maxAround is more than what the log puts around an event's own members.
const maxAround = 4 << 10

// Expander is what [Agents] implement that know values for ${env.NAME} in texts
// that models read: instructions and commands. What has no value is nothing.
type Expander interface {
	// ExpandPrompt expands a text. kept says that the log will have it, which no secret
	// may enter.
	ExpandPrompt(ctx context.Context, tenant, text string, kept bool) (string, error)
}

// expandPrompt puts in the values of a text. The caller does not hold mu.
func (d *drive) expandPrompt(ctx context.Context, text string, kept bool) (out string, err error) {
	x, ok := d.e.cfg.Agents.(Expander)
	if !ok || !strings.Contains(text, "${") {
		return text, nil
	}
	err = d.e.guarded("expand a text", func() error {
		out, err = x.ExpandPrompt(ctx, d.s.Ref.Tenant, text, kept)
		return err
	})
	return out, err
}

// instructed is the agent with the values in its instruction.
func (d *drive) instructed(ctx context.Context, a *agent.Agent) (*agent.Agent, error) {
	text, err := d.expandPrompt(ctx, a.Instruction, false)
	if err != nil || text == a.Instruction {
		return a, err
	}
	own := *a
	own.Instruction = text
	return &own, nil
}

// said are messages of the user as they enter the conversation. One that begins
// with /name, a command of the agent that has the conversation, becomes what the
// command says. It is done here and nowhere else: with the file that the run works
// with, and for whoever the message came from. to is the agent that a command
// hands the conversation to, "" for none. The caller does not hold mu.
func (d *drive) said(ctx context.Context, team *agent.Team, name string, msgs []holdfast.Message) (evs []holdfast.Event, to string, err error) {
	for _, m := range msgs {
		ev := &holdfast.UserMessageEvent{Message: m.Content, Parts: m.Parts}
		var a *agent.Agent
		if team != nil {
			a = team.Agent(name)
		}
		if a != nil {
			if c, rest := a.Commands.Find(m.Content); c != nil {
				// The values come first: what the user types names no secrets.
				text, err := d.expandPrompt(ctx, c.Instruction, true)
				if err != nil {
					return nil, "", err
				}
				if text = agent.Fill(text, rest); text != "" {
					ev.Message, ev.Typed = text, m.Content
				}
				if raw, err := json.Marshal(ev); err != nil || len(raw) > events.MaxPayload-maxAround {
					ev.Message, ev.Typed = m.Content, "" // with what was typed it is too much for an event
				}
				if c.Agent != "" && c.Agent != name {
					to, name = c.Agent, c.Agent
				}
			}
		}
		evs = append(evs, ev)
	}
	return evs, to, nil
}

// switched is the event of a command that hands the conversation over.
func switched(from, to string) *holdfast.AgentSwitchingEvent {
	return &holdfast.AgentSwitchingEvent{AgentContext: holdfast.AgentContext{AgentName: from}, Switching: true, FromAgent: from, ToAgent: to}
}
