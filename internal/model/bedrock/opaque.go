package bedrock

import (
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
)

// opaque is what goes back with an assistant message on the next call: the order
// of the answer's blocks, and those of them that only the model can read. Text
// and calls are not repeated: the message has them.
type opaque struct {
	API    string  `json:"api"` // "converse"
	Blocks []block `json:"blocks"`
}

// block is one of an answer. Thinking is kept to the byte: its signature covers
// it.
type block struct {
	Type      string `json:"type"` // "thinking", "redacted_thinking", "text", "tool_use"
	Thinking  string `json:"thinking,omitempty"`
	Signature string `json:"signature,omitempty"`
	Data      string `json:"data,omitempty"`
	Bytes     int    `json:"bytes,omitempty"` // of text
	ID        string `json:"id,omitempty"`    // of the call

	// What order fills in.
	text string
	call *holdfast.ToolCall
}

// opaque returns what a message remembers of its blocks, nil if that is nothing
// or another provider's.
func (m *Model) opaque(msg *holdfast.Message) []block {
	if len(msg.Opaque) == 0 || msg.OpaqueProvider != m.cfg.Provider && msg.OpaqueProvider != m.name {
		return nil
	}
	var o opaque
	// What cannot be read came from another API or another version of this package.
	// The message itself still says all that a model needs.
	if json.Unmarshal(msg.Opaque, &o) != nil || o.API != "converse" {
		return nil
	}
	return o.Blocks
}

// order is the blocks of a message: as the provider sent them where the message
// remembers it, and in any case everything that the message has.
func (m *Model) order(msg *holdfast.Message) []block {
	kept := m.opaque(msg)
	out := make([]block, 0, len(kept)+1+len(msg.ToolCalls))
	// Somebody may have changed the text; then its pieces cannot be told apart.
	total, broken := 0, false
	for i := range kept {
		total += kept[i].Bytes
		broken = broken || kept[i].Bytes < 0 || kept[i].Bytes > 0 && kept[i].Type != "text"
	}
	whole := broken || total != len(msg.Content)
	rest := msg.Content
	used := make([]bool, len(msg.ToolCalls))
	for _, b := range kept {
		switch b.Type {
		case "thinking", "redacted_thinking":
			if b.Signature == "" && b.Data == "" {
				continue
			}
		case "text":
			b.text = rest
			if !whole {
				b.text = rest[:b.Bytes]
			}
			rest = rest[len(b.text):]
		case "tool_use":
			for i := range msg.ToolCalls {
				if msg.ToolCalls[i].ID == b.ID && !used[i] {
					used[i], b.call = true, &msg.ToolCalls[i]
					break
				}
			}
			if b.call == nil {
				continue // taken out of the message, with its answer
			}
		default:
			continue
		}
		out = append(out, b)
	}
	if rest != "" {
		out = append(out, block{Type: "text", text: rest})
	}
	for i := range msg.ToolCalls {
		if !used[i] {
			out = append(out, block{Type: "tool_use", call: &msg.ToolCalls[i]})
		}
	}
	return out
}
