package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/agent"
	"github.com/holdfast-run/holdfast/internal/tool"
)

const (
	// maxCorrections is how often a model is told that its answer does not fit the
	// schema of structured_output, before the run fails.
	maxCorrections = 2
	// tellRepeats is after how many turns in a row with the same calls and the same
	// results the model is told so; after maxRepeats the run fails.
	tellRepeats = 5
	maxRepeats  = 10

	noticeOutput  = "output_invalid"
	noticeRepeats = "repeated_calls"
)

// Repeats notices a model that goes round in a circle.
type Repeats struct {
	Sum   string `json:",omitempty"` // of the last turn's calls and results
	Count int    `json:",omitempty"` // turns in a row with that sum
	Told  bool   `json:",omitempty"`
}

// note adds a turn whose calls are all answered: the newest messages.
func (r *Repeats) note(msgs []holdfast.Message) {
	h := sha256.New()
	put := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	for i := len(msgs) - 1; i >= 0; i-- {
		m := &msgs[i]
		if m.Role == holdfast.RoleTool {
			put(m.Content)
			continue
		}
		for _, c := range m.ToolCalls {
			put(c.Function.Name)
			put(c.Function.Arguments)
		}
		break
	}
	if sum := hex.EncodeToString(h.Sum(nil)[:16]); sum != r.Sum {
		*r = Repeats{Sum: sum}
	}
	r.Count++
}

// applyNotice folds model_notice: the model reads it as if the user had said it.
func (s *State) applyNotice(t *Thread, m holdfast.Message, reason string) {
	msgs := s.messages(t)
	*msgs = append(*msgs, m)
	switch reason {
	case noticeOutput:
		t.Corrections++
	case noticeRepeats:
		t.Repeats.Told = true
	}
}

// endTurn closes the stream of an agent that has given its answer, if the answer
// fits the schema that it must fit.
func (d *drive) endTurn(ctx context.Context) error {
	var a *agent.Agent
	var err error
	var text string
	var corrections int
	var refused bool
	d.locked(func() {
		_, a, err = d.team()
		t := d.s.top()
		msgs := *d.s.messages(t)
		text, corrections, refused = msgs[len(msgs)-1].Content, t.Corrections, t.Refused
	})
	if err != nil || a.StructuredOutput == nil || refused {
		return d.stopThread("stop")(ctx)
	}
	schema, err := jsonMarshal(a.StructuredOutput.Schema)
	if err != nil {
		return fmt.Errorf("encode the schema of %s: %w", a.Name, err)
	}
	bad := tool.CheckSchema(schema)
	if bad == nil {
		if bad = tool.Validate(schema, json.RawMessage(text)); bad == nil {
			return d.stopThread("stop")(ctx)
		}
		if corrections < maxCorrections {
			return d.append(ctx, &holdfast.ModelNoticeEvent{
				AgentContext: holdfast.AgentContext{AgentName: a.Name}, Reason: noticeOutput,
				Message: "Your answer does not fit the JSON schema " + a.StructuredOutput.Name + ": " + bad.Error() +
					". Answer again with JSON that fits it, and with nothing else.",
			})
		}
	}
	return d.fail(ctx, a.Name, holdfast.Errorf(holdfast.CodeModelFailed, "the answer does not fit the schema of structured_output %s: %v", a.StructuredOutput.Name, bad))
}

// repeating tells a model that it repeats itself, and fails the run if that does
// not help.
func (d *drive) repeating(ctx context.Context) error {
	var name string
	var count int
	d.locked(func() {
		t := d.s.top()
		name, count = t.Agent, t.Repeats.Count
	})
	if count >= maxRepeats {
		return d.fail(ctx, name, holdfast.Errorf(holdfast.CodeModelFailed, "the model made the same tool calls %d times in a row with the same results", count))
	}
	return d.append(ctx, &holdfast.ModelNoticeEvent{
		AgentContext: holdfast.AgentContext{AgentName: name}, Reason: noticeRepeats,
		Message: fmt.Sprintf("You have made the same tool calls %d times in a row, and the results were the same each time. Do something else, or answer with what you have.", count),
	})
}

// describe adds to a tool's parameters a text with which the model says what a
// call is for. It reports false for a tool that has such a parameter itself.
func describe(parameters json.RawMessage) (json.RawMessage, bool) {
	var schema map[string]json.RawMessage
	props := map[string]json.RawMessage{}
	if json.Unmarshal(parameters, &schema) != nil || schema == nil {
		return parameters, false
	}
	if raw, ok := schema["properties"]; ok && json.Unmarshal(raw, &props) != nil {
		return parameters, false
	}
	if _, taken := props[descriptionParameter]; taken {
		return parameters, false
	}
	props[descriptionParameter] = json.RawMessage(`{"type":"string","description":"What this call is for, in a few words for the user"}`)
	raw, err := json.Marshal(props)
	if err != nil {
		return parameters, false
	}
	schema["properties"] = raw
	if raw, err = json.Marshal(schema); err != nil {
		return parameters, false
	}
	return raw, true
}

const descriptionParameter = "description"

// undescribed are the arguments without what describe added: the tool does not
// know it. The log and the user see it.
func undescribed(arguments string) string {
	var args map[string]json.RawMessage
	if json.Unmarshal([]byte(arguments), &args) != nil || args[descriptionParameter] == nil {
		return arguments
	}
	delete(args, descriptionParameter)
	raw, err := json.Marshal(args)
	if err != nil {
		return arguments
	}
	return string(raw)
}
