package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// namedPrompt is a command of the agent file: the server makes the prompt of it when
// a message begins with its name.
type namedPrompt struct{ name, what string }

// commandsOf reads the commands of all agents of a file from its JSON form, by name:
// the conversation may be handed over to any of them.
func commandsOf(doc json.RawMessage) ([]namedPrompt, error) {
	var file struct {
		Agents map[string]struct {
			Commands map[string]json.RawMessage `json:"commands"`
		} `json:"agents"`
	}
	if err := json.Unmarshal(doc, &file); err != nil {
		return nil, fmt.Errorf("read the commands of the agent: %w", err)
	}
	var out []namedPrompt
	for _, a := range file.Agents {
		for name, raw := range a.Commands {
			var c struct{ Description, Instruction, Agent string }
			if json.Unmarshal(raw, &c.Instruction) != nil {
				if err := json.Unmarshal(raw, &c); err != nil {
					return nil, fmt.Errorf("read the command %s: %w", name, err)
				}
			}
			what := c.Description
			if what == "" {
				what = c.Instruction
			}
			if what == "" {
				what = "go on with " + c.Agent
			}
			out = append(out, namedPrompt{"/" + name, what})
		}
	}
	slices.SortFunc(out, func(a, b namedPrompt) int { return strings.Compare(a.name+a.what, b.name+b.what) })
	return slices.CompactFunc(out, func(a, b namedPrompt) bool { return a.name == b.name }), nil
}

// learn asks for the commands of the agent that the chat is with. Without them the
// chat goes on: /help then shows its own only.
func (ch *chat) learn(ctx context.Context) {
	if ch.agent == "" || ch.agent == ch.learned {
		return
	}
	name := ch.agent
	ch.learned = name
	var found []namedPrompt
	ch.beside(ctx, func(ctx context.Context) error {
		doc, err := ch.client.GetAgent(ctx, name)
		if err == nil {
			found, err = commandsOf(doc)
		}
		return err
	}, func(err error) {
		if err == nil && name == ch.learned {
			ch.custom = found
		}
	})
}

// isCustom reports whether the agent file has the command. One of the chat's own
// comes first; // then says the agent's.
func (ch *chat) isCustom(name string) bool {
	return slices.ContainsFunc(ch.custom, func(c namedPrompt) bool { return c.name == name })
}
