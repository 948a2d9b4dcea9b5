package gemini

import (
	"encoding/json"
	"path"
	"strings"

	holdfast "github.com/holdfast-run/holdfast"
	"github.com/holdfast-run/holdfast/internal/model"
)

// noSignature is what Google documents for calls of the current turn that have
// no signature because another model made them
// (https://ai.google.dev/gemini-api/docs/thought-signatures).
const noSignature = "skip_thought_signature_validator"

// request composes the body of streamGenerateContent.
func (m *Model) request(req *model.Request) ([]byte, error) {
	b := make([]byte, 0, model.RequestSize(req))
	b = append(b, '{')
	var err error
	if b, err = m.system(b, req.Messages); err != nil {
		return nil, err
	}
	b = append(b, `"contents":[`...)
	if b, err = m.contents(b, req.Messages); err != nil {
		return nil, err
	}
	b = append(b, ']')
	if b, err = tools(b, req.Tools); err != nil {
		return nil, err
	}
	if b, err = m.generation(b, req.StructuredOutput); err != nil {
		return nil, err
	}
	b = append(b, m.set.extra...)
	return append(b, '}'), nil
}

func (m *Model) noImages() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s takes images only in messages of the user", m.cfg.Provider)
}

// system appends the system prompt, a part for each message.
func (m *Model) system(b []byte, messages []holdfast.Message) ([]byte, error) {
	n := 0
	for i := range messages {
		msg := &messages[i]
		if msg.Role != holdfast.RoleSystem {
			continue
		}
		if len(msg.Parts) > 0 {
			return nil, m.noImages()
		}
		if msg.Content == "" {
			continue
		}
		if n == 0 {
			b = append(b, `"systemInstruction":{"parts":[`...)
		} else {
			b = append(b, ',')
		}
		n++
		b = append(model.AppendString(append(b, `{"text":`...), msg.Content), '}')
	}
	if n > 0 {
		b = append(b, `]},`...)
	}
	return b, nil
}

// wireCall is what is known of a call when its answer is written.
type wireCall struct {
	name string
	id   string // that the API gave, "" if it gave none
}

// contents appends the conversation.
func (m *Model) contents(b []byte, messages []holdfast.Message) ([]byte, error) {
	current := currentTurn(messages)
	calls := map[string]wireCall{}
	begin := len(b)
	for i := 0; i < len(messages); i++ {
		msg := &messages[i]
		role := "user"
		switch msg.Role {
		case holdfast.RoleSystem:
			continue
		case holdfast.RoleAssistant:
			role = "model"
		}
		before := len(b)
		if before > begin {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"role":"`...), role...), `","parts":[`...)
		empty := len(b)
		switch msg.Role {
		case holdfast.RoleAssistant:
			if len(msg.Parts) > 0 {
				return nil, m.noImages()
			}
			b = m.parts(b, msg, calls, m.set.strict && i >= current)
		case holdfast.RoleTool:
			// The answers to the calls of one message belong into one content.
			for ; ; i++ {
				var err error
				if b, err = m.answer(b, &messages[i], calls); err != nil {
					return nil, err
				}
				if i+1 == len(messages) || messages[i+1].Role != holdfast.RoleTool {
					break
				}
				b = append(b, ',')
			}
		default:
			b = userParts(b, msg)
		}
		if len(b) == empty {
			b = b[:before] // the API refuses contents without parts
			continue
		}
		b = append(b, `]}`...)
	}
	return b, nil
}

// currentTurn is the index after the user's last message: where the API is
// strict about signatures.
func currentTurn(messages []holdfast.Message) int {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == holdfast.RoleUser {
			return i + 1
		}
	}
	return 0
}

// parts appends the parts of an assistant's message. strict says that its calls
// need a signature.
func (m *Model) parts(b []byte, msg *holdfast.Message, calls map[string]wireCall, strict bool) []byte {
	begin := len(b)
	called := false
	for _, p := range m.order(msg) {
		before := len(b)
		if before > begin {
			b = append(b, ',')
		}
		switch {
		case p.call != nil:
			c := p.call
			w := wireCall{name: model.CallName(c.Function.Name)}
			if p.Wire {
				w.id = c.ID
			}
			calls[c.ID] = w
			b = model.AppendString(append(b, `{"functionCall":{"name":`...), w.name)
			if w.id != "" {
				b = model.AppendString(append(b, `,"id":`...), w.id)
			}
			b = append(append(b, `,"args":`...), model.ArgumentsObject(c.Function.Arguments)...)
			b = append(b, '}')
			if strict && !called && p.Signature == "" {
				p.Signature = noSignature
			}
			called = true
		case p.text == "" && p.Signature == "":
			b = b[:before]
			continue
		case p.Type == "thought":
			b = model.AppendString(append(b, `{"thought":true,"text":`...), p.text)
		default:
			b = model.AppendString(append(b, `{"text":`...), p.text)
		}
		if p.Signature != "" {
			b = model.AppendString(append(b, `,"thoughtSignature":`...), p.Signature)
		}
		b = append(b, '}')
	}
	return b
}

// answer appends what a tool answered.
func (m *Model) answer(b []byte, msg *holdfast.Message, calls map[string]wireCall) ([]byte, error) {
	c, ok := calls[msg.ToolCallID]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s: the conversation has an answer to the call %q and not the call", m.cfg.Provider, msg.ToolCallID)
	}
	b = model.AppendString(append(b, `{"functionResponse":{"name":`...), c.name)
	if c.id != "" {
		b = model.AppendString(append(b, `,"id":`...), c.id)
	}
	// The members that the API knows: https://ai.google.dev/api/caching#FunctionResponse
	member := "output"
	if msg.IsError {
		member = "error"
	}
	b = append(append(append(b, `,"response":{"`...), member...), `":`...)
	b = model.AppendString(b, msg.Content)
	b = append(b, '}')
	if len(msg.Parts) == 0 {
		return append(b, `}}`...), nil
	}
	// Gemini 3 takes images as parts of the answer; models before take them beside it
	// (https://ai.google.dev/gemini-api/docs/function-calling#multimodal).
	images := userParts(nil, &holdfast.Message{Parts: msg.Parts})
	switch {
	case len(images) == 0:
		return append(b, `}}`...), nil
	case m.set.strict:
		return append(append(append(b, `,"parts":[`...), images...), `]}}`...), nil
	}
	return append(append(b, `}},`...), images...), nil
}

// userParts appends the parts of a user's message.
func userParts(b []byte, msg *holdfast.Message) []byte {
	begin := len(b)
	comma := func() {
		if len(b) > begin {
			b = append(b, ',')
		}
	}
	text := func(s string) {
		if s != "" {
			comma()
			b = append(model.AppendString(append(b, `{"text":`...), s), '}')
		}
	}
	text(msg.Content)
	for i := range msg.Parts {
		p := &msg.Parts[i]
		if p.ImageURL == nil {
			text(p.Text)
			continue
		}
		comma()
		if mediaType, data, ok := model.DataURL(p.ImageURL.URL); ok {
			b = model.AppendString(append(b, `{"inlineData":{"mimeType":`...), mediaType)
			b = model.AppendString(append(b, `,"data":`...), data)
		} else {
			b = model.AppendString(append(b, `{"fileData":{"fileUri":`...), p.ImageURL.URL)
			if t := imageType(p.ImageURL.URL); t != "" {
				b = model.AppendString(append(b, `,"mimeType":`...), t)
			}
		}
		b = append(b, `}}`...)
	}
	return b
}

// imageTypes are those that the API takes
// (https://ai.google.dev/gemini-api/docs/image-understanding#supported-formats).
var imageTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".heic": "image/heic", ".heif": "image/heif",
}

// imageType guesses the type of an image from its address, "" if that does not
// tell.
func imageType(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return imageTypes[strings.ToLower(path.Ext(address))]
}

// tools appends the tools.
func tools(b []byte, tools []model.Tool) ([]byte, error) {
	if len(tools) == 0 {
		return b, nil
	}
	b = append(b, `,"tools":[{"functionDeclarations":[`...)
	for i := range tools {
		t := &tools[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = model.AppendString(append(b, `{"name":`...), t.Name)
		if t.Description != "" {
			b = model.AppendString(append(b, `,"description":`...), t.Description)
		}
		if len(t.Parameters) > 0 {
			schema, err := t.Schema()
			if err != nil {
				return nil, err
			}
			b = append(append(b, `,"parametersJsonSchema":`...), schema...)
		}
		b = append(b, '}')
	}
	return append(b, `]}]`...), nil
}

// generation appends what steers the answer.
func (m *Model) generation(b []byte, so *model.StructuredOutput) ([]byte, error) {
	if m.set.generation == nil && so == nil {
		return b, nil
	}
	b = append(b, `,"generationConfig":`...)
	if m.set.generation == nil {
		b = append(b, '{')
	} else {
		b = append(b, m.set.generation...)
	}
	if so != nil {
		if !json.Valid(so.Schema) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the schema of structured_output %q is not JSON", so.Name)
		}
		if m.set.generation != nil {
			b = append(b, ',')
		}
		b = append(append(b, `"responseMimeType":"application/json","responseJsonSchema":`...), so.Schema...)
	}
	return append(b, '}'), nil
}
