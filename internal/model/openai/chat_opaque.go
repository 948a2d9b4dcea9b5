package openai

import (
	"encoding/json"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
)

// chatOpaque is what some servers behind chat completions want back with an
// assistant's message: what Google puts beside its calls (thought signatures,
// https://ai.google.dev/gemini-api/docs/openai#thinking), and OpenRouter's form of
// other models' signed or encrypted reasoning
// (https://openrouter.ai/docs/use-cases/reasoning-tokens).
type chatOpaque struct {
	API     string                     `json:"api"` // "chat"
	Calls   map[string]json.RawMessage `json:"calls,omitempty"`
	Details []json.RawMessage          `json:"reasoning_details,omitempty"`
}

// memory returns what a message remembers, nothing if that is another provider's.
func (m *Model) memory(msg *holdfast.Message) chatOpaque {
	if len(msg.Opaque) == 0 || msg.OpaqueProvider != m.cfg.Provider && msg.OpaqueProvider != m.name {
		return chatOpaque{}
	}
	var o chatOpaque
	// What cannot be read came from another API or another version of this package.
	if json.Unmarshal(msg.Opaque, &o) != nil || o.API != "chat" {
		return chatOpaque{}
	}
	return o
}

// reasoningDetail is a member of reasoning_details. Text and summaries come in
// pieces, which belong together again when they go back.
type reasoningDetail struct {
	kind, index string
	members     map[string]json.RawMessage
	text        strings.Builder
}

// detailTexts are the members that come in pieces, by the type of the detail.
var detailTexts = map[string]string{"reasoning.text": "text", "reasoning.summary": "summary"}

func (d *chatDecoder) detail(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return unreadable(err)
	}
	next := &reasoningDetail{kind: rawText(members["type"]), index: string(members["index"]), members: members}
	member := detailTexts[next.kind]
	if n := len(d.details); n > 0 && member != "" && d.details[n-1].kind == next.kind && d.details[n-1].index == next.index {
		next = d.details[n-1]
		for name, v := range members {
			if string(v) != "null" {
				next.members[name] = v
			}
		}
	} else {
		d.details = append(d.details, next)
	}
	if member != "" {
		next.text.WriteString(rawText(members[member]))
	}
	return nil
}

// opaque is nil for an answer of which nothing must go back.
func (d *chatDecoder) opaque() (json.RawMessage, error) {
	if d.extras == nil && d.details == nil {
		return nil, nil
	}
	o := chatOpaque{API: "chat", Calls: d.extras}
	for _, detail := range d.details {
		if member := detailTexts[detail.kind]; member != "" {
			text, err := json.Marshal(detail.text.String())
			if err != nil {
				return nil, err
			}
			detail.members[member] = text
		}
		b, err := json.Marshal(detail.members)
		if err != nil {
			return nil, err
		}
		o.Details = append(o.Details, b)
	}
	return json.Marshal(o)
}
