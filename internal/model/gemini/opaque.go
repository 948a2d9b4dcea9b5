package gemini

import (
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
)

// opaque is what goes back with an assistant message on the next call: the order
// of the answer's parts with their signatures. Text and calls are not repeated:
// the message has them.
type opaque struct {
	API   string `json:"api"` // "generateContent"
	Parts []part `json:"parts"`
}

// part is one of an answer, or several that follow each other and have no
// signature.
type part struct {
	Type      string `json:"type"`                // "text", "thought", "call"
	Bytes     int    `json:"bytes,omitempty"`     // of text or thought
	ID        string `json:"id,omitempty"`        // of the call
	Wire      bool   `json:"wire,omitempty"`      // the API gave the id
	Signature string `json:"signature,omitempty"` // base64, as it came

	// What order fills in.
	text string
	call *holdfast.ToolCall
}

// kept returns what a message remembers of its parts, nil if that is nothing or
// another provider's.
func (m *Model) kept(msg *holdfast.Message) []part {
	if len(msg.Opaque) == 0 || msg.OpaqueProvider != m.cfg.Provider && msg.OpaqueProvider != m.name {
		return nil
	}
	var o opaque
	// What cannot be read came from another API or another version of this package.
	// The message itself still says all that a model needs.
	if json.Unmarshal(msg.Opaque, &o) != nil || o.API != "generateContent" {
		return nil
	}
	return o.Parts
}

// order is the parts of a message: as the API sent them where the message
// remembers it, and in any case everything that the message has. Thoughts go
// back only where they carry a signature.
func (m *Model) order(msg *holdfast.Message) []part {
	kept := m.kept(msg)
	out := make([]part, 0, len(kept)+1+len(msg.ToolCalls))
	texts, thoughts := splitter(msg.Content, kept, "text"), splitter(msg.ReasoningContent, kept, "thought")
	used := make([]bool, len(msg.ToolCalls))
	for _, p := range kept {
		switch p.Type {
		case "text":
			p.text = texts.take(p.Bytes)
		case "thought":
			p.text = thoughts.take(p.Bytes)
			if p.Signature == "" {
				continue
			}
		case "call":
			for i := range msg.ToolCalls {
				if msg.ToolCalls[i].ID == p.ID && !used[i] {
					used[i], p.call = true, &msg.ToolCalls[i]
					break
				}
			}
			if p.call == nil {
				continue // taken out of the message, with its answer
			}
		default:
			continue
		}
		out = append(out, p)
	}
	if texts.rest != "" {
		out = append(out, part{Type: "text", text: texts.rest})
	}
	for i := range msg.ToolCalls {
		if !used[i] {
			out = append(out, part{Type: "call", call: &msg.ToolCalls[i]})
		}
	}
	return out
}

// pieces cuts a text into its parts again.
type pieces struct {
	rest  string
	whole bool // somebody has changed the text: its parts cannot be told apart
}

func splitter(text string, kept []part, kind string) *pieces {
	total, broken := 0, false
	for i := range kept {
		if kept[i].Type == kind {
			total += kept[i].Bytes
			broken = broken || kept[i].Bytes < 0
		}
	}
	return &pieces{rest: text, whole: broken || total != len(text)}
}

func (p *pieces) take(n int) (s string) {
	if p.whole {
		n = len(p.rest)
	}
	s, p.rest = p.rest[:n], p.rest[n:]
	return s
}
