package model

import (
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
)

// Blocks is what goes back with an assistant's message on the next call, for APIs
// whose answers are lists of blocks: the order of the blocks, and those of them
// that only the provider can read. Text and calls are not repeated: the message has
// them.
type Blocks struct {
	API    string  `json:"api"` // "messages" or "converse"
	Blocks []Block `json:"blocks"`
}

// Block is one of an answer. Thinking is kept to the byte: its signature covers
// it.
type Block struct {
	Type      string `json:"type"` // "thinking", "redacted_thinking", "text", "tool_use"
	Thinking  string `json:"thinking,omitempty"`
	Signature string `json:"signature,omitempty"`
	Data      string `json:"data,omitempty"`
	Bytes     int    `json:"bytes,omitempty"` // of text
	ID        string `json:"id,omitempty"`    // of the call

	// What [OrderBlocks] fills in.
	Text string             `json:"-"`
	Call *holdfast.ToolCall `json:"-"`
}

// KeptBlocks is what a message remembers of its blocks, nil if that is nothing or
// of another API. A message's OpaqueProvider must be one of the providers.
func KeptBlocks(msg *holdfast.Message, api string, providers ...string) []Block {
	if len(msg.Opaque) == 0 {
		return nil
	}
	for _, p := range providers {
		if msg.OpaqueProvider != p {
			continue
		}
		var o Blocks
		// What cannot be read came from another API or another version of the program.
		// The message itself still says all that a model needs.
		if json.Unmarshal(msg.Opaque, &o) != nil || o.API != api {
			return nil
		}
		return o.Blocks
	}
	return nil
}

// OrderBlocks is the blocks of a message: as the provider sent them where the
// message remembers it in kept, and in any case everything that the message has.
func OrderBlocks(msg *holdfast.Message, kept []Block) []Block {
	out := make([]Block, 0, len(kept)+1+len(msg.ToolCalls))
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
			b.Text = rest
			if !whole {
				b.Text = rest[:b.Bytes]
			}
			rest = rest[len(b.Text):]
		case "tool_use":
			for i := range msg.ToolCalls {
				if msg.ToolCalls[i].ID == b.ID && !used[i] {
					used[i], b.Call = true, &msg.ToolCalls[i]
					break
				}
			}
			if b.Call == nil {
				continue // taken out of the message, with its answer
			}
		default:
			continue
		}
		out = append(out, b)
	}
	if rest != "" {
		out = append(out, Block{Type: "text", Text: rest})
	}
	for i := range msg.ToolCalls {
		if !used[i] {
			out = append(out, Block{Type: "tool_use", Call: &msg.ToolCalls[i]})
		}
	}
	return out
}
