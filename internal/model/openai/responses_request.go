package openai

import (
	"encoding/json"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// opaque is what goes back with an assistant message on the next call: the
// order of the answer's items, and those of them that only OpenAI can read.
// Text and calls are not repeated: the message has them.
type opaque struct {
	API   string       `json:"api"` // "responses"
	Items []opaqueItem `json:"items"`
}

type opaqueItem struct {
	Type   string          `json:"type"` // "reasoning", "message" or "function_call"
	CallID string          `json:"call_id,omitempty"`
	Item   json.RawMessage `json:"item,omitempty"`
	// Of a message: how long its text is, and its phase ("commentary",
	// "final_answer"), which the API wants back. Items of earlier versions have
	// neither.
	Bytes int    `json:"bytes,omitempty"`
	Phase string `json:"phase,omitempty"`

	text string // what order fills in
}

// responsesRequest composes the body of POST /responses.
func (m *Model) responsesRequest(req *model.Request) ([]byte, error) {
	b := make([]byte, 0, len(m.set.fixed)+model.RequestSize(req))
	b = append(b, m.set.fixed...)
	b = append(b, `,"input":[`...)
	begin := len(b)
	for i := range req.Messages {
		var err error
		if b, err = m.inputItems(b, begin, &req.Messages[i]); err != nil {
			return nil, err
		}
	}
	b = append(b, ']')
	if len(req.Tools) > 0 {
		b = append(b, `,"tools":[`...)
		for i := range req.Tools {
			t := &req.Tools[i]
			if i > 0 {
				b = append(b, ',')
			}
			b = model.AppendString(append(b, `{"type":"function","name":`...), t.Name)
			if t.Description != "" {
				b = model.AppendString(append(b, `,"description":`...), t.Description)
			}
			b = append(b, `,"parameters":`...)
			var err error
			if b, err = m.appendSchema(b, t); err != nil {
				return nil, err
			}
			// This API checks schemas strictly unless told otherwise, and refuses most
			// that were not written for it.
			b = append(b, `,"strict":false}`...)
		}
		b = append(b, ']')
		b = append(b, m.set.withTools...)
	}
	if so := req.StructuredOutput; so != nil || m.set.verbosity != nil {
		b = append(b, `,"text":{`...)
		if so != nil {
			var err error
			if b, err = appendFormat(append(b, `"format":{"type":"json_schema",`...), so); err != nil {
				return nil, err
			}
			b = append(b, '}')
			if m.set.verbosity != nil {
				b = append(b, ',')
			}
		}
		if m.set.verbosity != nil {
			b = append(append(b, `"verbosity":`...), m.set.verbosity...)
		}
		b = append(b, '}')
	}
	if p := m.set.alias.quirks.endUser; p != "" && req.EndUser != "" {
		b = append(model.AppendString(append(b, ','), p), ':')
		b = model.AppendString(b, req.EndUser)
	}
	return append(b, '}'), nil
}

// inputItems appends the items that a message becomes. begin is where the list
// begins in b.
func (m *Model) inputItems(b []byte, begin int, msg *holdfast.Message) ([]byte, error) {
	if len(msg.Parts) > 0 && msg.Role != holdfast.RoleUser && msg.Role != holdfast.RoleTool {
		return nil, m.noImages()
	}
	comma := func() {
		if len(b) > begin {
			b = append(b, ',')
		}
	}
	text := func(role, content, phase string) {
		comma()
		b = model.AppendString(append(b, `{"type":"message","role":`...), role)
		b = model.AppendString(append(b, `,"content":`...), content)
		if phase != "" {
			b = model.AppendString(append(b, `,"phase":`...), phase)
		}
		b = append(b, '}')
	}
	switch msg.Role {
	case holdfast.RoleTool:
		comma()
		b = model.AppendString(append(b, `{"type":"function_call_output","call_id":`...), msg.ToolCallID)
		if len(msg.Parts) == 0 {
			b = model.AppendString(append(b, `,"output":`...), msg.Content)
			return append(b, '}'), nil
		}
		return append(inputContent(append(b, `,"output":`...), msg), '}'), nil
	case holdfast.RoleAssistant:
		order := m.order(msg)
		for i := range order {
			switch item := &order[i]; item.Type {
			case "reasoning":
				comma()
				b = append(b, item.Item...)
			case "message":
				text("assistant", item.text, item.Phase)
			case "function_call":
				for j := range msg.ToolCalls {
					c := &msg.ToolCalls[j]
					if c.ID != item.CallID {
						continue
					}
					comma()
					b = model.AppendString(append(b, `{"type":"function_call","call_id":`...), c.ID)
					b = model.AppendString(append(b, `,"name":`...), model.CallName(c.Function.Name))
					b = appendArguments(append(b, `,"arguments":`...), c)
					b = append(b, '}')
				}
			}
		}
		return b, nil
	}
	if len(msg.Parts) == 0 {
		text(string(msg.Role), msg.Content, "")
		return b, nil
	}
	comma()
	return append(inputContent(append(b, `{"type":"message","role":"user","content":`...), msg), '}'), nil
}

// inputContent appends the list of a message's text and parts.
func inputContent(b []byte, msg *holdfast.Message) []byte {
	b = append(b, '[')
	if msg.Content != "" {
		b = model.AppendString(append(b, `{"type":"input_text","text":`...), msg.Content)
		b = append(b, `},`...)
	}
	for i := range msg.Parts {
		if i > 0 {
			b = append(b, ',')
		}
		p := &msg.Parts[i]
		if p.ImageURL == nil {
			b = model.AppendString(append(b, `{"type":"input_text","text":`...), p.Text)
			b = append(b, '}')
			continue
		}
		b = model.AppendString(append(b, `{"type":"input_image","image_url":`...), p.ImageURL.URL)
		if p.ImageURL.Detail != "" {
			b = model.AppendString(append(b, `,"detail":`...), p.ImageURL.Detail)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func (m *Model) noImages() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s takes images only in messages of the user and in tools' answers", m.cfg.Provider)
}

// order is the order of a message's items: as the provider sent them where the
// message remembers it, and in any case everything that the message has.
func (m *Model) order(msg *holdfast.Message) []opaqueItem {
	var o opaque
	if len(msg.Opaque) > 0 && (msg.OpaqueProvider == m.cfg.Provider || msg.OpaqueProvider == m.name) {
		// What cannot be read came from another API or an older version of this
		// package. The message itself still says all that a model needs.
		if json.Unmarshal(msg.Opaque, &o) != nil || o.API != "responses" {
			o.Items = nil
		}
	}
	items := o.Items[:0:0]
	rest := msg.Content
	// Somebody may have changed the text; then its pieces cannot be told apart.
	total, broken := 0, false
	for i := range o.Items {
		total += o.Items[i].Bytes
		broken = broken || o.Items[i].Bytes < 0
	}
	whole := broken || total != len(msg.Content)
	called := map[string]bool{}
	for _, item := range o.Items {
		switch item.Type {
		case "reasoning":
			if len(item.Item) == 0 {
				continue
			}
		case "message":
			item.text = rest
			if !whole {
				item.text = rest[:item.Bytes]
			}
			if item.text == "" {
				continue
			}
			rest = rest[len(item.text):]
		case "function_call":
			called[item.CallID] = true
		}
		items = append(items, item)
	}
	if rest != "" {
		items = append(items, opaqueItem{Type: "message", text: rest})
	}
	for i := range msg.ToolCalls {
		if id := msg.ToolCalls[i].ID; !called[id] {
			items = append(items, opaqueItem{Type: "function_call", CallID: id})
		}
	}
	return items
}
